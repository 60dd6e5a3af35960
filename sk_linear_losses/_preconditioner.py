"""Changes of variables theta = start + T u under which the objective's curvature is near the identity.

Knows the objective's curvature and what it costs. Knows nothing of how the solver moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import cho_solve
from scipy.linalg.blas import dtrsv
from scipy.linalg.lapack import dpotrf

from ._objective import Objective
from ._rows import Block, pairs, products_of_pairs
from .losses import Array, Curvature

# The cost model counts multiply-adds of a large matrix product. Beside it, the thin products of an evaluation
# run at two thirds of the speed, sparse ones at a ninth; the loss of one score costs as much as 100
# multiply-adds, and what Python and scipy do around an evaluation as much as two million.
THIN_PRODUCT, SPARSE_PRODUCT = 1.5, 9.0
SCORE, CALL = 100, 2 * 10**6
# To weight a row costs a Gram matrix as much as this many features more.
FORMING = 8
# Most that taking all second derivatives anew may cost, in evaluations or in multiply-adds (some ten
# milliseconds), and those of each class alone, in evaluations.
BUDGET, SMALL_WORK = 60, 3 * 10**8
CLASS_BUDGET = 500
# Curvature comes from a sample of the rows where that is much cheaper: from at least so many rows for each
# feature, for all second derivatives and for one class, and from as many as cost this many evaluations.
EXACT_ROWS, CLASS_ROWS = 50, 10
SAMPLE_BUDGET = 5
# Share of a sample that is drawn without regard to curvature.
UNIFORM_SHARE = 0.1
# Largest matrix of second derivatives that is factorised (128 MB).
MAX_PARAMETERS = 4000
# Smallest eigenvalue that a factor keeps, relative to a diagonal of ones.
RIDGE = 1e-13
# Least curvature of a code's intercept, relative to the largest of any code's; relative to one unit for every
# sample where no sample curves.
INTERCEPT_FLOOR, FLAT_INTERCEPT = 1e-8, 1e-10


class Preconditioner(Protocol):
    """A linear map T."""

    @property
    def cost(self) -> float:
        """What taking curvature anew costs, in evaluations of the objective."""
        ...

    @property
    def exact(self) -> bool:
        """Whether it comes from all second derivatives."""
        ...

    @property
    def sampled(self) -> bool:
        """Whether it comes from a part of the samples."""
        ...

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        ...

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        ...


@dataclass(frozen=True)
class ExactCurvature:
    """T from the Cholesky factor of all second derivatives: the first step is Newton's."""

    factor: Factor
    shape: tuple[int, int]
    cost: float
    sampled: bool
    exact: bool = True

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        return self.factor.solve_transposed(u).reshape(self.shape[::-1]).T

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        return self.factor.solve(gradient.T.ravel())


@dataclass(frozen=True)
class BlockCurvature:
    """T from one factor for each row of an orthonormal or tight frame of the codes.

    `frame` has shape (n_factors, n_codes), with ``frame.T @ frame`` the identity.
    """

    factors: tuple[Factor, ...]
    frame: Array
    cost: float
    sampled: bool
    exact: bool = False

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        parts = u.reshape(len(self.factors), -1)
        solved = [f.solve_transposed(part) for f, part in zip(self.factors, parts, strict=True)]
        return np.asarray(np.stack(solved).T @ self.frame)

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        parts = self.frame @ gradient.T
        return np.concatenate([f.solve(part) for f, part in zip(self.factors, parts, strict=True)])


@dataclass(frozen=True)
class DiagonalCurvature:
    """T from the square roots of each class's second derivatives, (n_classes, n_features)."""

    scales: Array
    frame: Array
    cost: float
    sampled: bool = False
    exact: bool = False

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        return np.asarray((u.reshape(self.scales.shape) / self.scales).T @ self.frame)

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        parts = self.frame @ gradient.T
        parts /= self.scales
        return np.asarray(parts.ravel())


@dataclass(frozen=True)
class Factor:
    """Lower Cholesky factor of a matrix scaled to a unit diagonal, and that scale."""

    lower: Array
    scale: Array

    def solve(self, vector: Array) -> Array:
        """``inv(L) @ vector`` for the unscaled factor L."""
        return np.asarray(dtrsv(self.lower, vector / self.scale, lower=True, overwrite_x=True))

    def solve_transposed(self, vector: Array) -> Array:
        """``inv(L).T @ vector`` for the unscaled factor L."""
        return np.asarray(dtrsv(self.lower, vector, lower=True, trans=True) / self.scale)

    def inverse(self) -> Array:
        """Inverse of the unscaled matrix."""
        inverse = cho_solve((self.lower, True), np.eye(len(self.lower)), check_finite=False)
        return np.asarray(inverse / self.scale / self.scale[:, None])


def precondition(objective: Objective, theta: Array) -> Preconditioner:
    """The best preconditioner at theta that can be had within the budget."""
    model = _CostModel(objective)
    at_zero = not theta[: objective.rows.n_features].any()
    if (cost := model.exact) <= model.exact_budget:
        if at_zero:
            return _shared(objective, theta, cost, True, model.shared_rows)
        return exact_curvature(objective, theta, model.exact_rows, cost)
    if not at_zero and model.factor <= BUDGET:
        # Hinges curve at few samples: worth a look before giving up.
        cost = model.factor + model.entry * _count_curved(objective, theta)
        if cost <= model.exact_budget:
            return exact_curvature(objective, theta, objective.rows.n_samples, cost)
    if (cost := model.blocks) > CLASS_BUDGET:
        return _diagonal(objective, theta)
    if at_zero:
        return _shared(objective, theta, cost, False, model.shared_rows)
    return _class_blocks(objective, theta, cost, model.class_rows)


class _CostModel:
    """What taking curvature costs in evaluations, and how many rows it is taken from."""

    def __init__(self, objective: Objective) -> None:
        rows, n_classes = objective.rows, objective.n_classes
        n_features, n_codes = objective.shape
        product = SPARSE_PRODUCT if rows.is_sparse else THIN_PRODUCT
        evaluation = CALL + n_classes * (2 * product * rows.n_stored + SCORE * rows.n_samples)
        self.entry = (n_features + FORMING) ** 2 / 2 / evaluation
        self.exact_budget = max(BUDGET, SMALL_WORK / evaluation)

        size = n_features * n_codes
        n_pairs = n_codes * (n_codes + 1) // 2
        self.factor = size**3 / 6 / evaluation if size <= MAX_PARAMETERS else np.inf
        self.exact_rows = self._rows(objective, EXACT_ROWS, n_pairs)
        self.exact = self.factor + self.exact_rows * n_pairs * self.entry

        self.shared_rows = self._rows(objective, CLASS_ROWS, 1)
        self.class_rows = self._rows(objective, CLASS_ROWS, n_classes)
        self.blocks = n_classes * (n_features**3 / 6 / evaluation + self.class_rows * self.entry)

    def _rows(self, objective: Objective, per_feature: float, n_weightings: int) -> float:
        """Rows to take so many weighted Gram matrices from."""
        wanted = max(per_feature * objective.shape[0], SAMPLE_BUDGET / (n_weightings * self.entry))
        return float(min(wanted, objective.rows.n_samples))


def _count_curved(objective: Objective, theta: Array) -> int:
    """How many curvatures of samples for pairs of classes are not zero."""

    def contribution(block: Block, curvature: Curvature) -> tuple[int]:
        return (int(np.count_nonzero(_pair_weights(curvature))),)

    return int(objective.sum_curvature(theta, contribution)[0])


class _Sample:
    """Chooses `n_rows` rows for each weighting, with probabilities in proportion to curvature and reach.

    Called with a block and its curvature it returns factors (n_samples, n_weightings): the inverse
    probabilities of the rows that are chosen, zero for the others. The draw depends on the row alone.
    """

    def __init__(
        self, objective: Objective, theta: Array, weightings: Callable[[Curvature], Array], n_rows: float
    ) -> None:
        self.weightings, self.n_rows = weightings, n_rows
        self.shift = objective.statistics.mean
        self.all = n_rows >= objective.rows.n_samples
        if not self.all:
            self.n_samples = objective.rows.n_samples
            ridge = objective.penalty / (objective.C * objective.statistics.class_weight.sum())
            self.scale = 1 / np.maximum(objective.statistics.variance + ridge, np.finfo(float).tiny)
            self.totals = objective.sum_curvature(theta, lambda *args: (self._sizes(*args).sum(axis=0),))[0]

    def __call__(self, block: Block, curvature: Curvature) -> Array:
        if self.all:
            return np.asarray(np.any(self.weightings(curvature) != 0, axis=1, keepdims=True))
        sizes = self._sizes(block, curvature)
        shares = sizes / np.maximum(self.totals, np.finfo(float).tiny)
        shares = (1 - UNIFORM_SHARE) * shares + UNIFORM_SHARE / self.n_samples * (sizes > 0)
        probability = np.minimum(self.n_rows * shares, 1)
        draws = np.random.Generator(np.random.PCG64(0).advance(block.start * sizes.shape[1]))
        chosen = draws.random(sizes.shape) < probability
        return np.asarray(np.divide(chosen, probability, out=np.zeros_like(probability), where=chosen))

    def _sizes(self, block: Block, curvature: Curvature) -> Array:
        """Curvature of each row in each weighting, times one more than its squared distance from the mean."""
        weights = np.abs(self.weightings(curvature))
        reach = 1 + block.lengths(self.shift, self.scale)
        return np.asarray(weights * reach[:, None])


def _pair_weights(curvature: Curvature) -> Array:
    """Each sample's curvature for the pairs of classes without the last, (n_samples, n_pairs)."""
    diagonal, left, right = (part[:, :-1].T for part in curvature)
    weights = products_of_pairs(left, right)
    weights += products_of_pairs(right, left)
    weights /= -2
    n_free = len(diagonal)
    weights[np.equal(*pairs(n_free))] += diagonal
    return np.asarray(weights.T)


def exact_curvature(
    objective: Objective, theta: Array, n_rows: float = np.inf, cost: float = 0.0
) -> ExactCurvature:
    """The preconditioner from the second derivatives of all parameters, codes before features."""
    choose = _Sample(objective, theta, _trace, n_rows)
    grams = objective.class_curvature(theta, _pair_weights, choose)
    n_free, n_features = objective.n_classes - 1, grams.shape[1]
    blocks = np.empty((n_free, n_free, n_features, n_features))
    first, second = pairs(n_free)
    blocks[first, second] = blocks[second, first] = grams
    # Curvature sums to zero over classes, so the pairs without the last class hold all of it.
    code = objective.coding[:-1] - objective.coding[-1]
    blocks = (code.T @ blocks.reshape(n_free, -1)).reshape(n_free, n_free, -1)
    blocks = (code.T @ blocks).reshape(n_free, n_free, n_features, n_features)
    size = n_free * n_features
    hessian = blocks.transpose(0, 2, 1, 3).reshape(size, size)
    hessian.flat[:: size + 1] += np.tile(_penalty(objective), n_free)
    return ExactCurvature(_factorise(hessian, objective), objective.shape, cost, not choose.all)


def _shared(objective: Objective, theta: Array, cost: float, exact: bool, n_rows: float) -> BlockCurvature:
    """From one Gram matrix, weighted by each sample's mean curvature, times that of the classes.

    Where all samples curve alike, as those of the softmax do for zero coefficients, these are all second
    derivatives; for a hinge they are near enough to start from.
    """
    mean = _mean_curvature(objective, theta)
    choose = _Sample(objective, theta, _trace, n_rows)
    (gram,) = objective.map_grams(theta, _trace, choose, lambda gram: gram)
    eigenvalues, rotation = np.linalg.eigh(mean / max(np.trace(mean), np.finfo(float).tiny))
    factors = (_penalised_factor(e * gram, objective) for e in np.maximum(eigenvalues, 0))
    return BlockCurvature(tuple(factors), rotation.T, cost, not choose.all, exact)


def _class_blocks(objective: Objective, theta: Array, cost: float, n_rows: float) -> BlockCurvature:
    """From one Gram matrix for each class, weighted by each sample's curvature in its score."""
    choose = _Sample(objective, theta, _class_weights, n_rows)
    scale = _class_scale(objective)

    def factor(gram: Array) -> Factor:
        gram *= scale
        return _penalised_factor(gram, objective)

    factors = objective.map_grams(theta, _class_weights, choose, factor)
    return BlockCurvature(tuple(factors), _class_frame(objective), cost, not choose.all)


def _diagonal(objective: Objective, theta: Array) -> DiagonalCurvature:
    """From the diagonals of the Gram matrices of the classes."""
    diagonals = _class_scale(objective) * objective.feature_curvature(theta, _class_weights)
    diagonals += _penalty(objective)
    scales = _scales(diagonals, objective).reshape(diagonals.shape)
    return DiagonalCurvature(scales, _class_frame(objective), 1.0)


def _class_frame(objective: Objective) -> Array:
    """The coding, scaled to a tight frame."""
    return np.asarray(objective.coding / np.sqrt((objective.coding[:, 0] ** 2).sum()))


def _class_scale(objective: Objective) -> float:
    """Factor on curvature by class that makes it exact where all classes curve alike."""
    n_classes = objective.n_classes
    return float((objective.coding[:, 0] ** 2).sum()) * n_classes / (n_classes - 1)


def _penalised_factor(gram: Array, objective: Objective) -> Factor:
    """Factor of a Gram matrix of the features with the penalty added."""
    gram.flat[:: len(gram) + 1] += _penalty(objective)
    return _factorise(gram, objective)


def _class_weights(curvature: Curvature) -> Array:
    """Each sample's curvature in the score of each class alone, (n_samples, n_classes)."""
    return np.asarray(curvature.diagonal - curvature.left * curvature.right)


def _trace(curvature: Curvature) -> Array:
    """Trace of each sample's curvature, of shape (n_samples, 1)."""
    diagonal, left, right = curvature
    trace = diagonal.sum(axis=1) - np.einsum("ij,ij->i", left, right)
    return np.asarray(trace[:, None])


def _mean_curvature(objective: Objective, theta: Array) -> Array:
    """C times the weighted sum of the samples' curvature in the codes, (n_codes, n_codes)."""
    total = objective.total_curvature(theta)
    return np.asarray(objective.coding.T @ total @ objective.coding)


def _penalty(objective: Objective) -> Array:
    """The penalty's second derivative for the features of one code, intercept last."""
    penalty = np.full(objective.shape[0], objective.penalty)
    if objective.fit_intercept:
        penalty[-1] = 0
    return penalty


def _scales(diagonal: Array, objective: Objective) -> Array:
    """Square roots of a diagonal; infinite where a parameter has no curvature, so that it stays put."""
    diagonal = diagonal.reshape(-1, objective.shape[0]).copy()
    statistics = objective.statistics
    # Round-off is all that the data say of a constant feature.
    diagonal[:, statistics.constant] = objective.penalty
    if objective.fit_intercept:
        floor = INTERCEPT_FLOOR * diagonal[:, -1].max()
        flat = FLAT_INTERCEPT * objective.C * statistics.class_weight.sum()
        diagonal[:, -1] = np.maximum(diagonal[:, -1], floor or flat)
    return np.where(diagonal > 0, np.sqrt(diagonal), np.inf).ravel()


def _factorise(matrix: Array, objective: Objective) -> Factor:
    """Cholesky factor, with as much added to the scaled diagonal as it takes."""
    scale = _scales(matrix.diagonal(), objective)
    ridge = RIDGE
    while True:
        scaled = matrix / scale / scale[:, None]
        scaled.flat[:: len(scaled) + 1] = 1 + ridge
        # LAPACK's own order is that of the transpose, which is the same matrix.
        lower, failed = dpotrf(scaled.T, lower=True, overwrite_a=True)
        if not failed:
            return Factor(lower, scale)
        ridge *= 100
