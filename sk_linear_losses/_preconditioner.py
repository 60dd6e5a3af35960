"""Changes of variables theta = start + T u under which the objective's curvature is near the identity.

Knows the objective's curvature and what it costs. Knows nothing of how the solver moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg.blas import dtrsv
from scipy.linalg.lapack import dpotrf, dpotri

from ._objective import EnvelopeTerm, Objective
from ._rows import Block, pairs, products_of_pairs
from .losses import Array, Curvature

# The cost model counts multiply-adds of a large matrix product. Beside it, the thin products of an evaluation
# run at two thirds of the speed, sparse ones at a ninth; the loss of one score costs as much as 100
# multiply-adds, and what Python and scipy do around an evaluation as much as two million.
THIN_PRODUCT, SPARSE_PRODUCT = 1.5, 9.0
SCORE, CALL = 100, 2 * 10**6
# A small problem's evaluation costs at most so many times what is around it.
SMALL = 10
# To weight a row costs a Gram matrix as much as this many features more. Of rows that stay sparse each pair
# of stored entries costs so many multiply-adds (60 to 400 measured, the more the emptier the rows).
FORMING, STORED_PAIR = 8, 150
# Up to so many features for each pair of classes, and so many at most, one product of all pairs of features
# with all pairs of classes makes their Gram matrices faster than one product each: it has half the
# multiply-adds and little of Python, but the pairs of features have to be formed and leave the cache.
FEATURES_PER_PAIR, FEW_FEATURES = 4, 40
# Most that taking second derivatives anew may cost, in evaluations or in multiply-adds (some ten
# milliseconds). What a fit has already spent may be spent again.
BUDGET, SMALL_WORK = 60, 3 * 10**8
# Cost, in evaluations, beyond which the first second derivatives of a fit wait until iterations with those of
# each feature alone have not been enough: half as many as they cost, but at least so many.
START_BUDGET, START_ITERATIONS = 4, 8
# Most that leaving out samples one by one may cost, in evaluations, or in multiply-adds (some hundredths of a
# second).
LEAVE_OUT_BUDGET, LEAVE_OUT_WORK = 30, 10**9
# Curvature comes from a sample of the rows where that is much cheaper: from at least so many rows for each
# feature of a class, for all second derivatives and for one class alone, and from as many as cost this many
# evaluations; for all second derivatives, once a fit has spent more than the budget, half of what it has.
EXACT_ROWS, CLASS_ROWS = 50, 10
SAMPLE_BUDGET = 5.0
# Share of the rows from which on a sample is as good as all of them. Where the pairs of classes share their
# rows all are taken then: the sample would save little.
AS_GOOD_AS_ALL = 1 / 4
# Share of a sample that is drawn without regard to curvature.
UNIFORM_SHARE = 0.1
# Most entries of the matrices that are factorised, in all: this (128 MB) or, for a fit that has spent more
# than the budget, so many times the entries of X, but never more than that (512 MB).
MAX_ENTRIES, MAX_SHARE, MOST_ENTRIES = 2**24, 2, 2**26
# L-BFGS keeps as many pairs of vectors as cost an evaluation, each this many multiply-adds for each parameter
# (measured in scipy's), but at least and at most so many: beyond, no fit gained.
PAIR, LEAST_PAIRS, MOST_PAIRS = 200, 5, 20
# Most features for symmetric roots, which take all eigenvectors.
MOST_TURNED = 1024
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
        """Whether it is as good as all second derivatives."""
        ...

    @property
    def sampled(self) -> bool:
        """Whether it comes from a small part of the samples."""
        ...

    @property
    def most_iterations(self) -> float:
        """After how many iterations there is a better one that has paid."""
        ...

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        ...

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        ...


@dataclass(frozen=True)
class ExactCurvature:
    """T from the Cholesky factor of all second derivatives: the first step is Newton's.

    They are those in the scores of the classes less the last one's; `decoding` (n_codes, n_codes) makes codes
    of these.
    """

    factor: Factor
    decoding: Array
    cost: float
    sampled: bool
    exact: bool = True
    most_iterations: float = np.inf

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        by_class = self.factor.solve_transposed(u).reshape(len(self.decoding), -1)
        return np.asarray(by_class.T @ self.decoding)

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        return self.factor.solve((self.decoding @ gradient.T).ravel())


@dataclass(frozen=True)
class BlockCurvature:
    """T from one factor for each row of an orthonormal or tight frame of the codes.

    `frame` has shape (n_factors, n_codes), with ``frame.T @ frame`` the identity.
    """

    factors: tuple[Factor | SymmetricFactor, ...]
    frame: Array
    cost: float
    sampled: bool
    exact: bool = False
    most_iterations: float = np.inf

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
    most_iterations: float = np.inf

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
        inverse, _ = dpotri(self.lower, lower=True)
        _reflect(inverse)
        inverse /= self.scale
        inverse /= self.scale[:, None]
        return np.asarray(inverse)


@dataclass(frozen=True)
class SymmetricFactor:
    """Symmetric root of the inverse of a matrix."""

    root: Array

    def solve(self, vector: Array) -> Array:
        """``inv(L) @ vector`` for the symmetric root L."""
        return np.asarray(self.root @ vector)

    solve_transposed = solve


def precondition(
    objective: Objective, theta: Array, spent: int = 0, whole: Objective | None = None
) -> Preconditioner:
    """The best preconditioner at theta that can be had within the budget, `spent` evaluations at least.

    `whole` is the objective whose evaluations it is to save, where `objective` is that of a sample.
    """
    model = _CostModel(objective, whole or objective, spent)
    budget = max(model.exact_budget, spent)
    at_zero = not theta[: objective.rows.n_features].any()
    # What would be taken later, and now, where one Gram matrix is all that it takes at zero coefficients.
    awaited = next((c for c in (model.exact, model.blocks, model.shared) if c <= budget), 0.0)
    first = min(model.shared, awaited) if at_zero else awaited
    if whole is None and spent == 0 and first > START_BUDGET:
        return _diagonal(objective, theta, max(awaited / 2, START_ITERATIONS))
    if (cost := model.exact) <= budget:
        if at_zero:
            return _shared(objective, theta, cost, True, model.shared_rows)
        return exact_curvature(objective, theta, model.exact_chosen, cost)
    if isinstance(objective.term, EnvelopeTerm) and not at_zero and model.factor <= budget:
        # Hinges curve at few samples: worth a look before giving up.
        cost = model.factor + model.entry * _count_curved(objective, theta)
        if cost <= budget:
            return exact_curvature(objective, theta, cost=cost)
    if (cost := model.blocks) <= budget and not at_zero:
        return _class_blocks(objective, theta, cost, model.class_rows)
    if (cost := model.shared) <= budget:
        return _shared(objective, theta, cost, False, model.shared_rows)
    return _diagonal(objective, theta)


def precondition_by_class(objective: Objective, theta: Array, budget: float) -> Preconditioner:
    """From the curvature of all samples for each class alone; feature by feature where that costs too much.

    That is more than `budget` evaluations, or too large matrices.
    """
    n_classes, n_features = objective.n_classes, objective.shape[0]
    work = n_classes * (n_features**3 / 6 + objective.rows.n_samples * _outer_product(objective))
    if n_classes * n_features**2 > MAX_ENTRIES or work > budget * _evaluation(objective):
        return _diagonal(objective, theta)
    return _class_blocks(objective, theta, 0.0, np.inf)


def precondition_alike(objective: Objective, theta: Array) -> Preconditioner:
    """Like `precondition_by_class`, but the same in turned coordinates or, of many, in another order."""
    if objective.shape[0] > MOST_TURNED or objective.n_classes * objective.shape[0] ** 2 > MAX_ENTRIES:
        return _diagonal(objective, theta)
    return _class_blocks(objective, theta, 0.0, np.inf, _penalised_root)


def memory(objective: Objective) -> int:
    """How many pairs of vectors L-BFGS should keep."""
    size = objective.shape[0] * objective.shape[1]
    return int(np.clip(_evaluation(objective) / (PAIR * size), LEAST_PAIRS, MOST_PAIRS))


def is_small(objective: Objective) -> bool:
    """Whether an evaluation costs little beside what Python does around it."""
    return _evaluation(objective) <= SMALL * CALL


def may_be_inverted(objective: Objective, n_samples: float, n_left_out: float) -> bool:
    """Whether all second derivatives may be inverted, to leave out so many of as many samples with it.

    Does not depend on the number of rows, of which several may be one sample.
    """
    n_features, n_codes = objective.shape
    size, n_pairs = n_features * n_codes, objective.n_classes * n_codes / 2
    products = n_samples * (n_features + FORMING) ** 2 / 2 + n_left_out * n_features**2
    work = size**3 / 2 + n_pairs * products
    scores = n_samples * objective.n_classes
    evaluation = CALL + scores * (2 * THIN_PRODUCT * n_features + SCORE)
    return size**2 <= MAX_ENTRIES and work <= max(LEAVE_OUT_BUDGET * evaluation, LEAVE_OUT_WORK)


def _evaluation(objective: Objective) -> float:
    """What an evaluation costs, in multiply-adds."""
    rows = objective.rows
    product = SPARSE_PRODUCT if rows.is_sparse else THIN_PRODUCT
    return CALL + objective.n_classes * (2 * product * rows.n_stored + SCORE * rows.n_samples)


def _outer_product(objective: Objective) -> float:
    """What a Gram matrix costs for each row, in multiply-adds."""
    if _as_stored(objective):
        return STORED_PAIR * objective.rows.stored_pairs
    return (objective.shape[0] + FORMING) ** 2 / 2


def _as_stored(objective: Objective) -> bool:
    """Whether Gram matrices are best made of sparse rows as they are, and centred without losing digits."""
    rows = objective.rows
    if not rows.is_sparse or objective.statistics.is_far_from_zero():
        return False
    return STORED_PAIR * rows.stored_pairs < objective.shape[0] ** 2 / 2


def _pairs_together(objective: Objective) -> bool:
    """Whether the Gram matrices of all pairs of classes are best made together."""
    n_pairs = objective.n_classes * (objective.n_classes - 1) // 2
    return objective.shape[0] <= min(FEATURES_PER_PAIR * n_pairs, FEW_FEATURES)


class _CostModel:
    """What taking curvature costs in evaluations, and how many rows it is taken from.

    For all second derivatives ``exact_chosen`` counts rows where the pairs of classes share them, and rows of
    all pairs where each has its own.
    """

    def __init__(self, objective: Objective, whole: Objective, spent: int) -> None:
        n_classes, n_samples = objective.n_classes, objective.rows.n_samples
        n_features, n_codes = objective.shape
        evaluation = _evaluation(whole)
        self.entry = _outer_product(objective) / evaluation
        self.exact_budget = max(BUDGET, SMALL_WORK / evaluation)

        size = n_features * n_codes
        n_pairs = n_classes * n_codes // 2
        most_entries, sample_budget = MAX_ENTRIES, SAMPLE_BUDGET
        self.factor = size**3 / 6 / evaluation
        if spent > BUDGET:
            most_entries = min(max(MAX_ENTRIES, MAX_SHARE * whole.rows.n_stored), MOST_ENTRIES)
            sample_budget = max(SAMPLE_BUDGET, (spent - self.factor) / 2)
        if size**2 > most_entries:
            self.factor = np.inf
        if _pairs_together(objective):
            chosen = self._rows(objective, EXACT_ROWS, n_pairs, sample_budget)
            self.exact_chosen = chosen if chosen < AS_GOOD_AS_ALL * n_samples else n_samples
            grams = self.exact_chosen * n_pairs
        else:
            wanted = max(EXACT_ROWS * size, sample_budget / self.entry)
            grams = self.exact_chosen = min(wanted, n_samples * n_pairs)
        self.exact = self.factor + grams * self.entry

        self.shared_rows = self._rows(objective, CLASS_ROWS, 1, SAMPLE_BUDGET)
        self.class_rows = self._rows(objective, CLASS_ROWS, n_classes, SAMPLE_BUDGET)
        factors = n_classes * n_features**3 / 6 / evaluation
        if n_classes * n_features**2 > most_entries:
            factors = np.inf
        self.shared = factors + self.shared_rows * self.entry
        self.blocks = factors + n_classes * self.class_rows * self.entry

    def _rows(self, objective: Objective, per_feature: float, n_weightings: int, budget: float) -> float:
        """Rows to take so many weighted Gram matrices from."""
        wanted = max(per_feature * objective.shape[0], budget / (n_weightings * self.entry))
        return float(min(wanted, objective.rows.n_samples))


def _count_curved(objective: Objective, theta: Array) -> int:
    """How many curvatures of samples for pairs of classes are not zero."""

    def contribution(block: Block, curvature: Curvature) -> tuple[int]:
        return (int(np.count_nonzero(_pair_weights(curvature))),)

    return int(objective.sum_curvature(theta, contribution)[0])


class _Sample:
    """Chooses `n_rows` rows for each weighting, with probabilities in proportion to curvature and reach.

    Called with a block and its curvature it returns factors (n_samples, n_weightings): the inverse
    probabilities of the rows that are chosen, zero for the others. The draw depends on the row alone. With
    `pooled` the weightings share the number of rows, each in proportion to its own.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Array,
        weightings: Callable[[Curvature], Array],
        n_rows: float,
        pooled: bool = False,
    ) -> None:
        self.weightings, self.n_rows = weightings, n_rows
        self.shift = objective.statistics.mean
        n_pools = objective.n_classes * (objective.n_classes - 1) // 2 if pooled else 1
        self.n_candidates = n_pools * objective.rows.n_samples
        self.all = n_rows >= self.n_candidates
        self.sampled = n_rows < AS_GOOD_AS_ALL * self.n_candidates or objective.rows.sampled
        if not self.all:
            ridge = objective.penalty / (objective.C * objective.statistics.class_weight.sum())
            self.scale = 1 / np.maximum(objective.statistics.variance + ridge, np.finfo(float).tiny)
            (totals,) = objective.sum_curvature(theta, lambda *args: (self._sizes(*args).sum(axis=0),))
            self.totals = totals.sum() if pooled else totals

    def __call__(self, block: Block, curvature: Curvature) -> Array:
        if self.all:
            return np.asarray(np.any(self.weightings(curvature) != 0, axis=1, keepdims=True))
        sizes = self._sizes(block, curvature)
        shares = sizes / np.maximum(self.totals, np.finfo(float).tiny)
        shares = (1 - UNIFORM_SHARE) * shares + UNIFORM_SHARE / self.n_candidates * (sizes > 0)
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
    """Each sample's curvature between the classes of each pair, (n_samples, n_pairs).

    Rows of a sample's curvature sum to zero, so it is ``sum_ab w_ab (e_a - e_b)(e_a - e_b)'``, the Laplacian
    of a graph, with what stands beside its diagonal as weights.
    """
    left, right = curvature.left.T, curvature.right.T
    weights = products_of_pairs(left, right, distinct=1)
    weights += products_of_pairs(right, left, distinct=1)
    weights /= 2
    return np.asarray(weights.T)


def exact_curvature(
    objective: Objective, theta: Array, n_chosen: float = np.inf, cost: float = 0.0
) -> ExactCurvature:
    """The preconditioner from the second derivatives of all parameters, classes before features."""
    grams: Iterable[Array]
    if _pairs_together(objective):
        choose = _Sample(objective, theta, _trace, n_chosen)
        grams = objective.class_curvature(theta, _pair_weights, choose)
    else:
        choose = _Sample(objective, theta, _pair_weights, n_chosen, pooled=True)
        grams = objective.each_gram(theta, _pair_weights, choose, _as_stored(objective))
    n_features, n_free = objective.shape
    own = np.zeros((n_free + 1, n_features, n_features))
    hessian = np.empty((n_free, n_features, n_free, n_features))
    for a, b, gram in zip(*pairs(n_free + 1, 1), grams, strict=True):
        own[a] += gram
        own[b] += gram
        if b < n_free:
            hessian[a, :, b] = hessian[b, :, a] = -gram
    for k in range(n_free):
        hessian[k, :, k] = own[k]
    decoding = np.linalg.inv(objective.contrast).T
    # A view of what each feature has with itself, for all pairs of classes.
    diagonals = np.einsum("aibi->abi", hessian)
    diagonals += (decoding @ decoding.T)[:, :, None] * _penalty(objective)
    size = n_free * n_features
    factor = _factorise(hessian.reshape(size, size), objective)
    return ExactCurvature(factor, decoding, cost, choose.sampled)


def _penalised_factor(gram: Array, objective: Objective) -> Factor:
    """Factor of a Gram matrix of the features with the penalty added."""
    gram.flat[:: len(gram) + 1] += _penalty(objective)
    return _factorise(gram, objective)


def _penalised_root(gram: Array, objective: Objective) -> SymmetricFactor:
    """Symmetric inverse root of a Gram matrix of the features with the penalty added."""
    gram.flat[:: len(gram) + 1] += _penalty(objective)
    eigenvalues, vectors = np.linalg.eigh(gram)
    least = max(RIDGE * eigenvalues[-1], np.finfo(float).tiny)
    return SymmetricFactor((vectors / np.sqrt(np.maximum(eigenvalues, least))) @ vectors.T)


def _shared(objective: Objective, theta: Array, cost: float, exact: bool, n_rows: float) -> BlockCurvature:
    """From one Gram matrix, weighted by each sample's mean curvature, times that of the classes.

    Where all samples curve alike, as those of the softmax do for zero coefficients, these are all second
    derivatives; for a hinge they are near enough to start from.
    """
    mean = _mean_curvature(objective, theta)
    choose = _Sample(objective, theta, _trace, n_rows)
    (gram,) = objective.each_gram(theta, _trace, choose, _as_stored(objective))
    eigenvalues, rotation = np.linalg.eigh(mean / max(np.trace(mean), np.finfo(float).tiny))
    factors = (_penalised_factor(e * gram, objective) for e in np.maximum(eigenvalues, 0))
    return BlockCurvature(tuple(factors), rotation.T, cost, choose.sampled, exact)


def _class_blocks(
    objective: Objective,
    theta: Array,
    cost: float,
    n_rows: float,
    factorise: Callable[[Array, Objective], Factor | SymmetricFactor] = _penalised_factor,
) -> BlockCurvature:
    """From one Gram matrix for each class, weighted by each sample's curvature in its score."""
    choose = _Sample(objective, theta, _class_weights, n_rows)
    scale = _class_scale(objective)
    grams = objective.each_gram(theta, _class_weights, choose, _as_stored(objective))
    factors = tuple(factorise(scale * gram, objective) for gram in grams)
    return BlockCurvature(factors, _class_frame(objective), cost, choose.sampled)


def _diagonal(objective: Objective, theta: Array, most_iterations: float = np.inf) -> DiagonalCurvature:
    """From the diagonals of the Gram matrices of the classes."""
    diagonals = _class_scale(objective) * objective.feature_curvature(theta, _class_weights)
    diagonals += _penalty(objective)
    scales = _scales(diagonals, objective).reshape(diagonals.shape)
    frame = _class_frame(objective)
    return DiagonalCurvature(scales, frame, 1.0, most_iterations=most_iterations)


def _class_frame(objective: Objective) -> Array:
    """The coding, scaled to a tight frame."""
    return np.asarray(objective.coding / np.sqrt((objective.coding[:, 0] ** 2).sum()))


def _class_scale(objective: Objective) -> float:
    """Factor on curvature by class that makes it exact where all classes curve alike."""
    n_classes = objective.n_classes
    return float((objective.coding[:, 0] ** 2).sum()) * n_classes / (n_classes - 1)


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
    """Cholesky factor, written over the matrix, with as much added to the scaled diagonal as it takes."""
    scale = _scales(matrix.diagonal(), objective)
    matrix /= scale
    matrix /= scale[:, None]
    ridge = RIDGE
    while True:
        matrix.flat[:: len(matrix) + 1] = 1 + ridge
        # LAPACK's own order is that of the transpose, which is the same matrix.
        lower, failed = dpotrf(matrix.T, lower=True, clean=False, overwrite_a=True)
        if not failed:
            return Factor(lower, scale)
        _reflect(matrix)
        ridge *= 100


def _reflect(matrix: Array) -> None:
    """Copy what is below the diagonal to above it."""
    for i in range(len(matrix)):
        matrix[i, i + 1 :] = matrix[i + 1 :, i]
