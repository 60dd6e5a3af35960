"""Lower bounds on the optimum from the dual: what makes a duality gap a certificate.

Knows the objective's dual quantities. Knows nothing of solvers.

For multipliers g_i, one per sample, in the domain of the loss's conjugate and with sum_i w_i g_i = 0
(the intercept's condition), weak duality bounds the optimum from below by

    D(g) = -|C sum_i w_i g_i x_i'|^2 / 2 - C sum_i w_i conjugate(g_i).

The gradients of the loss at any theta are in the domain, and meet the condition at the optimum. Before the
optimum, they are mixed with small flows that are equal within a class and cancel the residual of the
condition. As conjugates are convex, sums that are known already bound D of the mixture from below: no further
pass over the data is needed.
"""

from __future__ import annotations

import math

import numpy as np

from ._correction import correct
from ._numerics import ROUND_OFF
from ._objective import Evaluation, Objective
from ._typing import Array

# MOST_CORRECTED: most features along which multipliers are corrected. WORTH_CORRECTING: least cost to the
# bound of the gradient in each, as a share of the objective. ROUNDS: most corrections, each along more
# features than the one before.
MOST_CORRECTED, WORTH_CORRECTING, ROUNDS = 32, 1e-10, 4
# Most unknowns of the correction's linear system (2 MB), and most multiply-adds to set it up (some seconds).
MOST_UNKNOWNS, MOST_WORK = 512, 5e9


def lower_bound(objective: Objective, at: Evaluation) -> float:
    """A lower bound on the optimum; minus infinity where there is no penalty."""
    if objective.penalty == 0:
        return -math.inf
    return _bound(objective, *_balanced(objective, at))


def corrected_bound(objective: Objective, at: Evaluation) -> float:
    """The lower bound of multipliers corrected along the features whose gradient costs the bound most.

    Minus infinity where these cannot be corrected, or where they are not what keeps the bound low.
    """
    V, pull, slope = (part[: objective.rows.n_features] for part in (at.theta, at.pull, at.gradient))
    costs = (slope**2).sum(axis=1) / 2
    worth = WORTH_CORRECTING * abs(at.objective)
    sizes = np.sqrt(objective.C * objective.statistics.total_weight * objective.statistics.variance)
    most_unknowns = min(MOST_UNKNOWNS, math.sqrt(MOST_WORK / objective.rows.n_samples))
    most = min(MOST_CORRECTED, int(most_unknowns) // objective.shape[1] - objective.fit_intercept)
    bound = -math.inf
    for _ in range(ROUNDS):
        features = np.argsort(-costs)[: max(most, 0)]
        features = features[costs[features] > worth]
        others = np.ones(len(V), dtype=bool)
        others[features] = False
        if len(features) == 0 or costs[others].sum() > costs[features].sum():
            break
        correction = correct(objective, at, features)
        if correction is None:
            break
        moved, doubt = correction.pull[: len(V)], correction.doubt * sizes
        lengths = np.linalg.norm(pull + moved, axis=1) + doubt
        norm = float((V[features] ** 2).sum() + (lengths[others] ** 2).sum())
        cost = norm / 2 + correction.conjugate
        bound = max(bound, -cost - ROUND_OFF * (norm / 2 + abs(correction.conjugate)))
        # Features whose gradient the correction, or its round-off, moves too far join the next round.
        costs = np.where(others, (np.linalg.norm(slope + moved, axis=1) + doubt) ** 2 / 2, np.inf)
        if len(features) == most or not (costs[others] > worth).any():
            break
    return bound


def _bound(objective: Objective, pull: Array, conjugate: float) -> float:
    """The lower bound of the best multiple of balanced multipliers."""
    rest = objective.conjugate_at_rest
    norm = float(np.vdot(pull, pull))
    # Far from the optimum the multipliers are far too long.
    share = 1.0 if norm == 0 else min(max((rest - conjugate) / norm, 0.0), 1.0)
    terms = (share**2 * norm / 2, share * conjugate, (1 - share) * rest)
    bound = -sum(terms) - ROUND_OFF * sum(map(abs, terms))
    return bound if math.isfinite(bound) else -math.inf


def relative_gap(objective: float, gap: float) -> float:
    """The gap as a share of the objective; the gap itself where the objective is zero."""
    return gap / abs(objective) if objective else gap


def _balanced(objective: Objective, at: Evaluation) -> tuple[Array, float]:
    """Pull and conjugate of multipliers mixed with class-wise flows so that they sum to zero."""
    pull, conjugate = at.pull[: objective.rows.n_features], at.conjugate
    needed = objective.relative_imbalance(at)
    if needed == 0:
        return pull, conjugate
    share = needed / (1 + needed)
    wanted = -(objective.decoding @ at.pull[-1]) / objective.C / needed
    received, given = np.maximum(wanted, 0), np.maximum(-wanted, 0)
    repair, cost = objective.class_flows(given, received / received.sum())
    return (1 - share) * pull + share * repair, (1 - share) * conjugate + share * cost
