"""The model of a solve: the coefficients to store, and what storing them costs.

The solver may work in other coordinates, whose scores have more digits than those by coefficients of the
given features. Knows a minimised objective and rows. Knows neither how it was minimised nor scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ._blocks import Block
from ._numerics import EPSILON, ROUND_OFF
from ._objective import Objective
from ._rows import Rows
from ._run import Result
from ._typing import Array

# Share of the objective up to which the cost of round-off in the scores is bounded and not measured: smaller
# digits do not matter.
UNMEASURED = 1e-10
# Share of the objective that round-off may cost, as measured, before longer coefficients are tried: for
# losses with kinks, and without.
KINKED_COST, SMOOTH_COST = 1e-10, 1e-4
# Factors of the longer coefficients: above one by a few roundings, up to a four-millionth.
LONGER = tuple(1 + 2.0**-k for k in range(48, 20, -2))
# Most that rounding of the stored numbers may cost a fit that converged, as a share of the objective.
MOST_LOST = 0.01


@dataclass(frozen=True)
class Model:
    """Coefficients (n_features, n_classes) and intercept to store, and what is known of them.

    ``objective`` is the objective at these, and ``gap`` bounds its distance from the optimum.
    """

    coef: Array
    intercept: Array
    objective: float
    gap: float
    converged: bool


class _Candidate(NamedTuple):
    """Coefficients and intercept that may be stored, and their objective.

    ``doubt`` is the increase of the objective at the worst: with all scores rounded against the model.
    """

    coef: Array
    intercept: Array
    objective: float
    doubt: float

    @property
    def worst(self) -> float:
        """The objective with all scores rounded against the model."""
        return self.objective + self.doubt


# The rows in the given features less an offset, and the offset.
RowsAsGiven = Callable[[], tuple[Rows, Array]]


def model_of(result: Result, rows_as_given: RowsAsGiven, tol: float) -> Model:
    """The model of a result; its objective and gap account for what storing costs and saves."""
    chosen = _chosen(result, rows_as_given, tol)
    objective = chosen.objective
    gap = max(result.gap - (result.objective - objective) + chosen.doubt, ROUND_OFF * objective)
    spoilt = chosen.worst - result.objective > MOST_LOST * result.objective
    converged = (result.converged and not spoilt) or gap <= tol * objective < np.inf
    return Model(chosen.coef, chosen.intercept, objective, gap, converged)


def _chosen(result: Result, rows_as_given: RowsAsGiven, tol: float) -> _Candidate:
    """The coefficients and intercept of a result to store.

    A hard margin needs all digits, and an intercept far from zero has few of them. Where rounding costs
    much, slightly longer coefficients are tried too, which may meet a margin. The best ones are taken.
    """
    solved = result.minimised
    coef, intercept = result.parameters
    intercept = intercept - intercept.mean()
    doubt = _round_off_bound(solved, result.theta, intercept)
    # Where the bound would undo a certificate, the cost is worth measuring: it is less than its bound.
    undone = result.gap <= tol * result.objective < result.gap + doubt
    if doubt <= UNMEASURED * result.objective and not undone:
        return _Candidate(coef, intercept, result.objective, doubt)
    rows, offset = rows_as_given()
    stored = _Stored(solved, rows, offset.astype(np.longdouble))
    round_off = stored.round_off(coef, intercept)
    (plain,) = stored.candidates(coef, intercept, round_off)
    cost = KINKED_COST if solved.term.loss.has_kinks else SMOOTH_COST
    if plain.worst <= (1 + cost) * result.objective:
        return plain
    # One product of the rows serves all longer coefficients. Its roundings are not those of each product,
    # so twice the round-off is allowed here, and the best ones are evaluated again by themselves.
    longer = min(stored.candidates(coef, intercept, 2 * round_off, LONGER), key=lambda each: each.worst)
    (longer,) = stored.candidates(longer.coef, longer.intercept, round_off)
    return min(plain, longer, key=lambda each: each.worst)


def _round_off_bound(solved: Objective, theta: Array, intercept: Array) -> float:
    """Most that round-off of the scores may cost, or nearly so, by the mean squares of the features."""
    statistics = solved.statistics
    coef = theta[: solved.rows.n_features] @ solved.coding.T
    # The intercept cancels the distance of the rows from zero, be it in their mean or in their offset.
    sizes = np.hypot(np.sqrt(statistics.variance), np.abs(statistics.mean) + np.abs(solved.rows.offset))
    terms = sizes @ np.linalg.norm(coef, axis=1) + np.linalg.norm(intercept)
    slope = 2 * (solved.n_classes - 1) * solved.C * statistics.total_weight
    round_off = EPSILON if solved.space is None else solved.space.round_off
    return round_off * float(terms * slope)


@dataclass(frozen=True)
class _Stored:
    """The objective of coefficients and an intercept as they are stored, for the given features.

    Parameters
    ----------
    solved : Objective
        The solver's. Only its loss, C and penalty are used.
    rows : Rows
        The samples in the given features less `offset`.
    offset : longdouble array of shape (n_features,)
        The intercept cancels it. The rest, which is the intercept for `rows`, needs all digits.
    """

    solved: Objective
    rows: Rows
    offset: Array

    def round_off(self, coef: Array, intercept: Array) -> Array:
        """Round-off of each sample's scores, (n_samples,)."""
        sizes = np.abs(self.offset @ coef + intercept)
        parts = self.rows.map(lambda block: (block.terms(coef) + sizes).max(axis=1))
        return np.asarray(EPSILON * np.concatenate(parts), dtype=np.float64)

    def candidates(
        self, coef: Array, intercept: Array, round_off: Array, factors: tuple[float, ...] = (1.0,)
    ) -> list[_Candidate]:
        """What may be stored, for each factor on the coefficients and the intercept."""
        solved, pairs = self.solved, [(factor * coef, factor * intercept) for factor in factors]
        moved = [np.asarray(self.offset @ W + b, dtype=np.float64) for W, b in pairs]
        losses, doubts = self.losses_and_doubts(coef, moved, factors, round_off)
        # Two classes may have one weight vector: W then has plus and minus half of it.
        strength = solved.penalty * (1 if solved.one_vector else 0.5)
        return [
            _Candidate(W, b, strength * float(np.vdot(W, W)) + solved.C * loss, solved.C * doubt)
            for (W, b), loss, doubt in zip(pairs, losses, doubts, strict=True)
        ]

    def losses_and_doubts(
        self, coef: Array, intercepts: list[Array], factors: tuple[float, ...], round_off: Array
    ) -> tuple[list[float], list[float]]:
        """Weighted sums of the losses, and their increases if all scores are rounded against the model.

        There is one of each for every factor, which multiplies the coefficients, and its intercept.
        """
        rows, loss = self.rows, self.solved.term.loss
        classes, none = np.arange(rows.n_classes), np.zeros(rows.n_classes)

        def sums(block: Block) -> tuple[Array, Array]:
            products, y = block.scores(coef, none)[:, :-1], block.y
            doubt = round_off[block.places, None]
            against = np.where(classes == y[:, None], -doubt, doubt)
            values, rounded = np.empty(len(factors)), np.empty(len(factors))
            for k, (factor, intercept) in enumerate(zip(factors, intercepts, strict=True)):
                scores = factor * products + intercept
                values[k] = block.weight @ loss._value_and_gradient(scores, y)[0]
                rounded[k] = block.weight @ loss._value_and_gradient(scores + factor * against, y)[0]
            return values, rounded - values

        values, doubts = rows.sum(sums)
        return values.tolist(), np.maximum(doubts, 0).tolist()
