"""Changes of variables theta = start + T u under which the objective's curvature is near the identity.

Knows the objective's curvature and what it costs. Knows nothing of how the solver moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from ._objective import Objective
from .losses import Array, Curvature

# The cost model counts multiply-adds of a large matrix product. Beside it, the thin products of an
# evaluation run at a third of the speed, and the loss of one score costs as much as 200 multiply-adds
# (measured on 15000 x 16 with 26 classes and 7291 x 256 with 10).
THIN_PRODUCT = 3
SCORE = 200
# Most that building a preconditioner may cost, in evaluations; exact curvature may always cost this many
# multiply-adds, some ten milliseconds.
EXACT_BUDGET, SHARED_BUDGET = 60, 40
SMALL_WORK = 3 * 10**8
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
        """What building it took, in evaluations of the objective."""
        ...

    @property
    def exact(self) -> bool:
        """Whether it comes from all second derivatives."""
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
    exact: bool = True

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        return self.factor.solve_transposed(u).reshape(self.shape[::-1]).T

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        return self.factor.solve(gradient.T.ravel())


@dataclass(frozen=True)
class SharedCurvature:
    """T from one Gram matrix for all classes times their mean curvature, a Kronecker product.

    `rotation` diagonalises the mean curvature of the codes; each of its eigenvalues has a factor.
    """

    factors: tuple[Factor | Scale, ...]
    rotation: Array
    cost: float
    exact: bool = False

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        parts = u.reshape(len(self.factors), -1)
        solved = [f.solve_transposed(part) for f, part in zip(self.factors, parts, strict=True)]
        return np.stack(solved, axis=1) @ self.rotation.T

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        rotated = (gradient @ self.rotation).T
        solved = [f.solve(part) for f, part in zip(self.factors, rotated, strict=True)]
        return np.concatenate(solved)


@dataclass(frozen=True)
class Factor:
    """Lower Cholesky factor of a matrix scaled to a unit diagonal, and that scale."""

    lower: Array
    scale: Array

    def solve(self, vectors: Array) -> Array:
        """``inv(L) @ vectors`` for the unscaled factor L and a vector or a matrix of columns."""
        scaled = (vectors.T / self.scale).T
        return np.asarray(solve_triangular(self.lower, scaled, lower=True, check_finite=False))

    def solve_transposed(self, vectors: Array) -> Array:
        """``inv(L).T @ vectors`` for the unscaled factor L and a vector or a matrix of columns."""
        solved = solve_triangular(self.lower, vectors, lower=True, trans="T", check_finite=False)
        return np.asarray((solved.T / self.scale).T)


@dataclass(frozen=True)
class Scale:
    """The factor of a diagonal matrix."""

    scale: Array

    def solve(self, vector: Array) -> Array:
        """``inv(L) @ vector``."""
        return np.asarray(vector / self.scale)

    solve_transposed = solve


def precondition(objective: Objective, theta: Array) -> Preconditioner:
    """The best preconditioner at theta whose cost is within its budget."""
    n_features, n_codes = objective.shape
    rows = objective.rows
    evaluation = rows.n_stored * objective.n_classes * 2 * THIN_PRODUCT
    evaluation += rows.n_samples * objective.n_classes * SCORE
    size = n_features * n_codes
    if size <= MAX_PARAMETERS:
        factor = size**3 / 6 / evaluation
        row = n_features**2 / evaluation
        pairs = n_codes * (n_codes + 1) // 2
        cost = factor + rows.n_samples * pairs * row
        if cost > EXACT_BUDGET > factor:
            # Hinges curve at few samples: worth a look before giving up.
            cost = factor + row * objective.count_curved(theta, _pair_weights)
        if cost <= max(EXACT_BUDGET, SMALL_WORK / evaluation):
            return exact_curvature(objective, theta, cost)
    cost = (rows.n_samples * n_features**2 + n_codes * n_features**3 / 6) / evaluation
    if cost <= SHARED_BUDGET:
        return _shared(objective, theta, cost)
    return _diagonal(objective, theta)


def _pair_weights(curvature: Curvature) -> Array:
    """Each sample's curvature for the pairs of classes without the last, (n_samples, n_pairs)."""
    diagonal, left, right = curvature
    n_free = diagonal.shape[1] - 1
    first, second = np.triu_indices(n_free)
    weights = -(left[:, first] * right[:, second] + left[:, second] * right[:, first]) / 2
    weights[:, first == second] += diagonal[:, :n_free]
    return np.asarray(weights)


def exact_curvature(objective: Objective, theta: Array, cost: float = 0.0) -> ExactCurvature:
    """The preconditioner from the second derivatives of all parameters, codes before features."""
    grams = objective.class_curvature(theta, _pair_weights)
    n_free, n_features = objective.n_classes - 1, grams.shape[1]
    blocks = np.empty((n_free, n_free, n_features, n_features))
    first, second = np.triu_indices(n_free)
    blocks[first, second] = blocks[second, first] = grams
    # Curvature sums to zero over classes, so the pairs without the last class hold all of it.
    code = objective.coding[:-1] - objective.coding[-1]
    blocks = np.tensordot(code.T, np.tensordot(code.T, blocks, (1, 1)), (1, 1))
    size = n_free * n_features
    hessian = blocks.transpose(0, 2, 1, 3).reshape(size, size)
    hessian[np.diag_indices(size)] += np.tile(_penalty(objective), n_free)
    return ExactCurvature(_factorise(hessian, objective), objective.shape, cost)


def _shared(objective: Objective, theta: Array, cost: float) -> SharedCurvature:
    """From the Gram matrix weighted by each sample's mean curvature."""
    mean = _mean_curvature(objective, theta)
    gram = objective.class_curvature(theta, _trace)[0]
    eigenvalues, rotation = np.linalg.eigh(mean / max(np.trace(mean), np.finfo(float).tiny))
    factors = []
    for eigenvalue in np.maximum(eigenvalues, 0):
        matrix = eigenvalue * gram
        matrix[np.diag_indices(len(gram))] += _penalty(objective)
        factors.append(_factorise(matrix, objective))
    return SharedCurvature(tuple(factors), rotation, cost)


def _diagonal(objective: Objective, theta: Array) -> SharedCurvature:
    """From the features' variances and the mean curvature."""
    mean = _mean_curvature(objective, theta)
    eigenvalues, rotation = np.linalg.eigh(mean)
    variance = objective.statistics.variance
    if objective.fit_intercept:
        variance = np.append(variance, 1.0)
    factors = []
    for eigenvalue in np.maximum(eigenvalues, 0):
        diagonal = eigenvalue * variance + _penalty(objective)
        factors.append(Scale(_scales(diagonal, objective)))
    return SharedCurvature(tuple(factors), rotation, 1.0)


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
    constant = np.flatnonzero(statistics.variance == 0)
    diagonal[:, constant] = objective.penalty
    if objective.fit_intercept:
        floor = INTERCEPT_FLOOR * diagonal[:, -1].max()
        flat = FLAT_INTERCEPT * objective.C * statistics.class_weight.sum()
        diagonal[:, -1] = np.maximum(diagonal[:, -1], floor or flat)
    return np.where(diagonal > 0, np.sqrt(diagonal), np.inf).ravel()


def _factorise(matrix: Array, objective: Objective) -> Factor:
    """Cholesky factor, with as much added to the scaled diagonal as it takes."""
    scale = _scales(matrix.diagonal(), objective)
    scaled = matrix / scale / scale[:, None]
    ridge = RIDGE
    while True:
        scaled[np.diag_indices(len(scaled))] = 1 + ridge
        try:
            return Factor(cholesky(scaled, lower=True, check_finite=False), scale)
        except LinAlgError:
            ridge *= 100
