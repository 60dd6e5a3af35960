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

import numpy as np

from ._objective import Evaluation, Objective
from .losses import Array

# Round-off in the sums that make up a bound, as a share of their size.
ROUND_OFF = 16 * float(np.finfo(float).eps)
# Most features along which multipliers are corrected, what the gradient in each must cost the bound, as a
# share of the objective, and the least eigenvalue of the features' correlations that has digits.
MOST_CORRECTED, WORTH_CORRECTING, LEAST_EIGENVALUE = 32, 1e-10, 1e-9
# Round-off of a pull, relative to the size of what it sums.
PULL_ROUND_OFF = 1e-12


def lower_bound(objective: Objective, at: Evaluation) -> float:
    """A number that the optimum is not below; minus infinity where there is no penalty."""
    if objective.penalty == 0:
        return -math.inf
    return _bound(objective, *_balanced(objective, at))


def corrected_bound(objective: Objective, at: Evaluation) -> float:
    """The lower bound of multipliers corrected along the features in which the gradient is largest.

    Minus infinity where they cannot be.

    In large units round-off alone keeps a gradient from vanishing: a feature of size 1e16 and multipliers
    with 16 digits leave 1 of it, and the bound half of its square. Multipliers ``g_i - x_i' B``, with x_i the
    features concerned and ``C sum_i w_i x_i x_i' B`` their gradient, have none. B is too small for their
    digits, but all that the bound asks of it is its size. It takes a share of small flows, equal within a
    class, to keep these multipliers in the conjugate's domain.
    """
    pull, conjugate = _balanced(objective, at)
    V = at.theta[: len(pull)]
    costs = ((V + pull) ** 2).sum(axis=1) / 2
    features = np.argsort(-costs)[:MOST_CORRECTED]
    features = features[costs[features] > WORTH_CORRECTING * abs(at.objective)]
    if len(features) == 0:
        return _bound(objective, pull, conjugate)
    gram, reach = objective.feature_gram(features)
    size = np.sqrt(gram.diagonal())
    inverse = _sizes_of_inverse(gram, size)
    if inverse is None:
        return -math.inf

    class_weight = objective.statistics.class_weight
    total = objective.C * class_weight.sum()
    # Flows in proportion to the weights of classes meet the intercept's condition; the domain of every
    # conjugate has zero and twice these in it, and so what is near them.
    n_classes = objective.n_classes
    flows = np.tile(class_weight / class_weight.sum() / n_classes, (n_classes, 1))
    slack = flows[0].copy()
    np.fill_diagonal(flows, flows.diagonal() - 1 / n_classes)
    mixed, _ = objective.class_flows(flows)

    # How large B is at most without flows and for each unit of them, and the share of them that makes room.
    decoding = np.abs(objective.decoding).T
    gradient = np.abs((V + pull)[features]) + PULL_ROUND_OFF * np.sqrt(total) * size[:, None]
    own = inverse @ gradient
    added = inverse @ np.abs((mixed - pull)[features])
    room = slack - reach @ added @ decoding
    if not (room > 0).all():
        return -math.inf
    share = float((reach @ own @ decoding / room).max())
    if share > 1:
        return -math.inf
    others = np.ones(len(pull), dtype=bool)
    others[features] = False
    moved = np.sqrt(total * objective.statistics.variance[others].sum())
    moved *= np.linalg.norm(size @ (own + share * added))
    pull = (1 - share) * pull + share * mixed
    norm = float((V[features] ** 2).sum() + (np.linalg.norm(pull[others]) + moved) ** 2)
    # What the flows cost, squared or not, is below a quarter for each unit of weight.
    conjugate = (1 - share) * conjugate + share * total / 4
    return float(-(norm / 2 + conjugate) - ROUND_OFF * (norm / 2 + abs(conjugate)))


def _sizes_of_inverse(gram: Array, size: Array) -> Array | None:
    """Absolute values of a Gram matrix's inverse, for features of these sizes; None if it has no digits."""
    if not (np.isfinite(size) & (size > 0)).all():
        return None
    scale = np.outer(size, size)
    eigenvalues, axes = np.linalg.eigh(gram / scale)
    if not eigenvalues[0] > LEAST_EIGENVALUE:
        return None
    return np.asarray(np.abs((axes / eigenvalues) @ axes.T) / scale)


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
