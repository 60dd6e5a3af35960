"""Lower bounds on the optimum from the dual: what makes a duality gap a certificate.

Knows the objective's dual quantities. Knows nothing of solvers.

For multipliers g_i, one per sample, in the domain of the loss's conjugate and with sum_i w_i g_i = 0
(the intercept's condition), weak duality bounds the optimum from below by

    D(g) = -|C sum_i w_i g_i x_i'|^2 / 2 - C sum_i w_i conjugate(g_i).

The gradients of the loss at any theta are in the domain, and meet the condition at the optimum. Before,
they are mixed with small flows that are equal within a class and carry the residual back; D of the
mixture is bounded from below by convexity, so no further pass over the data is needed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from ._objective import Evaluation, Objective
from ._rows import Block, chunks
from .losses import Array, Curvature

# Round-off in the sums that make up a bound, as a share of their size.
ROUND_OFF = 16 * float(np.finfo(float).eps)
# Most features along which multipliers are corrected, most numbers that this takes, what the gradient in each
# feature must cost the bound, as a share of the objective, and how often more features join.
MOST_CORRECTED, MOST_CORRECTIONS, WORTH_CORRECTING, ROUNDS = 32, 256, 1e-10, 4
# Least eigenvalue of correlations that has digits.
LEAST_EIGENVALUE = 1e-10
# Entries of the products of some samples that are made at a time.
PART_ENTRIES = 2**20


def lower_bound(objective: Objective, at: Evaluation) -> float:
    """A number that the optimum is not below; minus infinity where there is no penalty."""
    if objective.penalty == 0:
        return -math.inf
    return _bound(objective, *_balanced(objective, at))


def corrected_bound(objective: Objective, at: Evaluation) -> float:
    """The lower bound of multipliers corrected along the features in which the gradient is largest.

    Minus infinity where they cannot be, or where that is not what keeps the bound low.

    In large units round-off alone keeps a gradient from vanishing: a feature of size 1e16 and multipliers
    with 16 digits leave 1 of it, and the bound half of its square. Multipliers ``g_i + M_i B' x_i``, with x_i
    the features concerned and M_i the leeway of g_i in the conjugate's domain, have none for some B. It is
    too small for their digits, but all that the bound asks of it is its size.
    """
    n_features = objective.rows.n_features
    V, gradient = at.theta[:n_features], at.gradient[:n_features]
    pull = at.pull[:n_features]
    weight = objective.C * objective.statistics.class_weight.sum()
    costs = (gradient**2).sum(axis=1) / 2
    most = min(MOST_CORRECTED, MOST_CORRECTIONS // objective.shape[1] - objective.fit_intercept)
    bound = -math.inf
    for _ in range(ROUNDS):
        features = np.argsort(-costs)[: max(most, 0)]
        features = features[costs[features] > WORTH_CORRECTING * abs(at.objective)]
        others = np.ones(n_features, dtype=bool)
        others[features] = False
        if len(features) == 0 or costs[others].sum() > costs[features].sum():
            break
        correction = _correction(objective, at, features)
        if correction is None:
            break
        moved = np.where(others, correction.moved * np.sqrt(weight * objective.statistics.variance), 0.0)
        norm = float((V[features] ** 2).sum())
        norm += float(np.linalg.norm(pull[others]) + np.linalg.norm(moved)) ** 2
        # The conjugate is convex: on the way to the end of its leeway, where it is highest.
        conjugate = at.conjugate + correction.share * (correction.ceiling - at.conjugate)
        if correction.share <= 1:
            size = norm / 2 + abs(conjugate)
            bound = max(bound, -(norm / 2 + conjugate) - ROUND_OFF * size)
        # Features that the correction, or round-off, moves by more than may be are corrected too.
        if not (moved**2 > WORTH_CORRECTING * abs(at.objective)).any():
            break
        costs = np.maximum(costs, moved**2)
    return bound


class _Correction(NamedTuple):
    """What a correction of multipliers along some features changes, at most.

    ``share`` is that of the leeway which a sample needs, ``ceiling`` what all conjugates together are not
    above at its end. The gradient in a feature of unit mean square, were all weights one, changes by no more
    than ``moved``.
    """

    share: float
    ceiling: float
    moved: float


def _correction(objective: Objective, at: Evaluation, features: Array) -> _Correction | None:
    """The correction that leaves no gradient in the features and the intercept; None if there is none.

    It is found in uncorrelated coordinates of the features, in which sums have most digits.
    """
    root = _root(objective, features)
    if root is None:
        return None
    coding, term, C = objective.coding, objective.term, objective.C
    coef, intercept = objective.score_parameters(at.theta)
    n_codes = objective.shape[1]

    def coordinates(block: Block) -> tuple[Array, Array]:
        weighted, rows = objective.few_features(features, block)
        inner = scipy.linalg.solve_triangular(root, rows.T, lower=True).T
        return weighted, np.hstack([inner, np.ones((len(rows), int(objective.fit_intercept)))])

    def contribution(block: Block) -> tuple[Any, ...]:
        weighted, inner = coordinates(block)
        scores = block.scores(coef, intercept)
        gradient = term.gradient(scores, block)
        leeway = term.leeway(gradient, block.y)
        pull, squares = np.zeros((inner.shape[1], n_codes)), 0.0
        matrix = np.zeros((inner.shape[1], inner.shape[1] * n_codes**2))
        for part in chunks(np.arange(len(weighted)), -(-PART_ENTRIES // matrix.shape[1])):
            rows, places = inner[part], weighted[part]
            scaled = rows * block.weight[places, None]
            pull += scaled.T @ (gradient[places] @ coding)
            squares += float(block.weight[places] @ (gradient[places] ** 2).sum(axis=1))
            of_part = Curvature(*(array[places] for array in leeway))
            coded = of_part.product(coding.T[:, None, :]) @ coding
            products = np.einsum("ig,aib->igab", scaled, coded)
            matrix += rows.T @ products.reshape(len(rows), -1)
        stiffness = float(leeway.diagonal[weighted].max(initial=0))
        return matrix, pull, squares, np.abs(inner).max(axis=0, initial=0), stiffness

    matrices, pulls, squares, reaches, stiffnesses = zip(*objective.rows.map(contribution), strict=True)
    size = len(reaches[0])
    matrix = C * sum(matrices).reshape(size, size, n_codes, n_codes).transpose(0, 2, 1, 3)
    inverse = _inverse(matrix.reshape(size * n_codes, -1))
    if inverse is None:
        return None

    gradient = C * sum(pulls)
    V = at.theta[features]
    gradient[: len(features)] += scipy.linalg.solve_triangular(root, V, lower=True)
    ceiling = C * sum(squares)
    weight = C * objective.statistics.class_weight.sum()
    # A sum's is a share of the terms' sizes, and coordinates have that of the features that make them up.
    back = scipy.linalg.solve_triangular(root, np.eye(len(root)), lower=True)
    sizes = np.ones(size)
    sizes[: len(features)] = np.abs(back) @ np.linalg.norm(root, axis=1)
    round_off = ROUND_OFF * math.sqrt(weight * ceiling) * np.repeat(sizes, n_codes)

    change = (inverse @ gradient.ravel()).reshape(gradient.shape) @ coding.T
    largest = max(objective.rows.map(lambda block: np.abs(coordinates(block)[1] @ change).max(initial=0)))
    doubt = (np.abs(inverse) @ round_off).reshape(gradient.shape) @ np.abs(coding).T
    largest += (np.max(reaches, axis=0) @ doubt).max()
    energy = math.sqrt(max(gradient.ravel() @ inverse @ gradient.ravel(), 0.0))
    energy += math.sqrt(round_off @ np.abs(inverse) @ round_off)
    # No eigenvalue of a leeway is more than twice the largest entry of its diagonal.
    moved = math.sqrt(2 * max(stiffnesses)) * energy + ROUND_OFF * math.sqrt(ceiling)
    return _Correction(2 * float(largest), ceiling, moved)


def _root(objective: Objective, features: Array) -> Array | None:
    """Cholesky factor of the covariance of a few features; None if it has no digits."""

    def contribution(block: Block) -> Array:
        weighted, rows = objective.few_features(features, block)
        return np.asarray((rows * block.weight[weighted, None]).T @ rows)

    covariance = sum(objective.rows.map(contribution)) / objective.statistics.class_weight.sum()
    sizes = np.sqrt(covariance.diagonal())
    if _inverse(covariance) is None:
        return None
    return np.asarray(np.linalg.cholesky(covariance / np.outer(sizes, sizes)) * sizes[:, None])


def _inverse(matrix: Array) -> Array | None:
    """Inverse of a positive definite matrix; None if, scaled to a diagonal of ones, it has no digits."""
    diagonal = matrix.diagonal()
    if not (np.isfinite(diagonal) & (diagonal > 0)).all():
        return None
    sizes = np.sqrt(diagonal)
    scale = np.outer(sizes, sizes)
    eigenvalues, axes = np.linalg.eigh(matrix / scale)
    if not eigenvalues[0] > LEAST_EIGENVALUE:
        return None
    return np.asarray((axes / eigenvalues) @ axes.T / scale)


def _bound(objective: Objective, pull: Array, conjugate: float) -> float:
    """The lower bound of the best multiple of balanced multipliers."""
    rest = objective.conjugate_at_rest
    norm = float(np.vdot(pull, pull))
    # The best multiple of the multipliers: far from the optimum they are far too long.
    share = 1.0 if norm == 0 else min(max((rest - conjugate) / norm, 0.0), 1.0)
    terms = (share**2 * norm / 2, share * conjugate, (1 - share) * rest)
    bound = -sum(terms) - ROUND_OFF * sum(map(abs, terms))
    return bound if math.isfinite(bound) else -math.inf


def relative_gap(objective: float, gap: float) -> float:
    """The gap as a share of the objective; as it is where that is zero."""
    return gap / abs(objective) if objective else gap


def _balanced(objective: Objective, at: Evaluation) -> tuple[Array, float]:
    """Pull and conjugate of multipliers mixed with class-wise flows so that they sum to zero."""
    pull, conjugate = at.pull[: objective.rows.n_features], at.conjugate
    needed = objective.imbalance(at)
    if needed == 0:
        return pull, conjugate
    weight = objective.statistics.class_weight
    share = needed / (1 + needed)
    wanted = -(objective.decoding @ at.pull[-1]) / objective.C / needed
    received, given = np.maximum(wanted, 0), np.maximum(-wanted, 0)
    # No class both gives and receives, so the diagonal is free for what each class gives.
    flows = np.outer(given / weight, received / received.sum())
    np.fill_diagonal(flows, -given / weight)
    repair, cost = objective.class_flows(flows)
    return (1 - share) * pull + share * repair, (1 - share) * conjugate + share * cost
