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


def lower_bound(objective: Objective, at: Evaluation) -> float:
    """A number that the optimum is not below; minus infinity where there is no penalty."""
    if objective.penalty == 0:
        return -math.inf
    pull, conjugate = _balanced(objective, at)
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
