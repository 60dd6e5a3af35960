"""A fit: from samples and a loss to coefficients, in one coordinate system after another.

Knows the solver and the coordinates that it may work in. Knows neither labels nor scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ._blocks import Block
from ._cost import is_worth_rotation, iterations_before_rotation
from ._envelope import HingeObjective, smoothed_term
from ._numerics import ROUND_OFF
from ._objective import Objective, SmoothTerm, Statistics, statistics_of
from ._row_space import RowSpace, near_zero, row_spaces
from ._rows import Rows, Samples
from ._run import Reporter, Result
from ._solver import solve
from ._typing import Array
from .losses import HingeLoss, Loss

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
EPSILON = float(np.finfo(float).eps)


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


@dataclass(frozen=True)
class Fit:
    """What is to be fitted.

    Parameters
    ----------
    samples : Samples
    loss : Loss
    C : float
        Infinite for maximum likelihood.
    fit_intercept : bool
    one_vector : bool
        Whether two classes are penalised as one weight vector, not as one for each class.
    tol : float
    max_iter : int
    """

    samples: Samples
    loss: Loss
    C: float
    fit_intercept: bool
    one_vector: bool
    tol: float
    max_iter: int

    def minimise(
        self, known: tuple[Array, Array] | None, started: float, reporters: tuple[Reporter, ...] = ()
    ) -> tuple[Result, Model]:
        """Fit from zero coefficients or, if they are better, from those `known`; return result and model.

        The fit goes on in the next coordinates unless its result is final or they are not worth their cost.
        `known` are coefficients (n_features, n_classes) and an intercept. Seconds count from `started`, a
        reading of `time.perf_counter`.
        """
        samples, previous = self.samples, None
        spaces = row_spaces(*self._near_zero, samples.weight, self.fit_intercept, samples.n_classes)
        for space, next_work in spaces:
            objective = self._objective(space)
            starts = [self._start(objective)]
            nearer = known if previous is None else previous.parameters
            if nearer is not None:
                starts.insert(0, objective.coded_parameters(*nearer))
            most = iterations_before_rotation(objective, next_work, self.max_iter)
            result = solve(objective, starts, self.tol, most, started, reporters, previous)
            if result.is_final or len(result.history) >= self.max_iter:
                break
            if not is_worth_rotation(objective, next_work, result.converged):
                break
            previous = result
        ends = [result]
        if previous is not None:
            gap = previous.objective - result.bound
            ends.append(replace(previous, gap=gap, stopped=result.stopped, history=result.history))
        # A solution in other coordinates may need more digits than coefficients of the features have.
        return min(((end, self.model(end)) for end in ends), key=lambda end: end[1].objective)

    def model(self, result: Result) -> Model:
        """The model of a result; its objective and gap account for what storing costs and saves."""
        chosen = self._chosen(result)
        objective = chosen.objective
        gap = max(result.gap - (result.objective - objective) + chosen.doubt, ROUND_OFF * objective)
        spoilt = chosen.worst - result.objective > MOST_LOST * result.objective
        converged = (result.converged and not spoilt) or gap <= self.tol * objective < np.inf
        return Model(chosen.coef, chosen.intercept, objective, gap, converged)

    def _chosen(self, result: Result) -> _Candidate:
        """The coefficients and intercept of a result to store.

        A hard margin needs all digits, and an intercept far from zero has few of them. Where rounding costs
        much, slightly longer coefficients are tried too, which may meet a margin. The best ones are taken.
        """
        solved, space = result.minimised, result.minimised.space
        coef, intercept = result.parameters
        intercept = intercept - intercept.mean()
        doubt = self._round_off_bound(solved, result.theta, intercept)
        # Where the bound would undo a certificate, the cost is worth measuring: it is less than its bound.
        undone = result.gap <= self.tol * result.objective < result.gap + doubt
        if doubt <= UNMEASURED * result.objective and not undone:
            return _Candidate(coef, intercept, result.objective, doubt)
        rows, offset = (solved.rows, solved.rows.offset) if space is None else self._rows_as_given(space)
        offset = offset.astype(np.longdouble)
        # The intercept cancels the offset. The rest, which is the intercept for these rows, needs all digits.
        round_off = _round_off(rows, coef, offset @ coef + intercept)

        def candidates(
            coef: Array, intercept: Array, round_off: Array, factors: tuple[float, ...]
        ) -> list[_Candidate]:
            pairs = [(factor * coef, factor * intercept) for factor in factors]
            moved = [np.asarray(offset @ W + b, dtype=np.float64) for W, b in pairs]
            losses, doubts = self._losses_and_doubts(rows, coef, moved, factors, round_off)
            # Two classes may have one weight vector: W then has plus and minus half of it.
            strength = solved.penalty * (1 if self.one_vector else 0.5)
            return [
                _Candidate(W, b, strength * float(np.vdot(W, W)) + solved.C * loss, solved.C * doubt)
                for (W, b), loss, doubt in zip(pairs, losses, doubts, strict=True)
            ]

        (plain,) = candidates(coef, intercept, round_off, (1.0,))
        if plain.worst <= (1 + (KINKED_COST if self.loss.has_kinks else SMOOTH_COST)) * result.objective:
            return plain
        # One product of the rows serves all longer coefficients. Its roundings are not those of each product,
        # so twice the round-off is allowed here, and the best ones are evaluated again by themselves.
        longer = min(candidates(coef, intercept, 2 * round_off, LONGER), key=lambda each: each.worst)
        (longer,) = candidates(longer.coef, longer.intercept, round_off, (1.0,))
        return min(plain, longer, key=lambda each: each.worst)

    def _round_off_bound(self, solved: Objective, theta: Array, intercept: Array) -> float:
        """Most that round-off of the scores may cost, or nearly so, by the mean squares of the features."""
        statistics = solved.statistics
        coef = theta[: solved.rows.n_features] @ solved.coding.T
        # The intercept cancels the distance of the rows from zero, be it in their mean or in their offset.
        sizes = np.hypot(np.sqrt(statistics.variance), np.abs(statistics.mean) + np.abs(solved.rows.offset))
        terms = sizes @ np.linalg.norm(coef, axis=1) + np.linalg.norm(intercept)
        slope = 2 * (solved.n_classes - 1) * solved.C * statistics.total_weight
        round_off = EPSILON if solved.space is None else solved.space.round_off
        return round_off * float(terms * slope)

    def _losses_and_doubts(
        self, rows: Rows, coef: Array, intercepts: list[Array], factors: tuple[float, ...], round_off: Array
    ) -> tuple[list[float], list[float]]:
        """Weighted sums of the losses, and their increases if all scores are rounded against the model.

        There is one of each for every factor, which multiplies the coefficients, and its intercept.
        """
        loss, classes = self.loss, np.arange(rows.n_classes)
        none = np.zeros(rows.n_classes)

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

    def _rows_as_given(self, space: RowSpace) -> tuple[Rows, Array]:
        """The samples in the features less an offset, with the digits of the space's rows; and the offset."""
        X, offset = self._near_zero
        if sp.issparse(X):
            return self._rows(X), np.zeros(X.shape[1]) if offset is None else offset
        return self._rows(X, space.shift), space.shift

    @cached_property
    def _near_zero(self) -> tuple[Any, Array | None]:
        """The features less an offset, and the offset; None where they are as they were given."""
        X = self.samples.X
        if self.fit_intercept and sp.issparse(X):
            return near_zero(X, self.samples.weight)
        return X, None

    def _objective(self, space: RowSpace | None) -> Objective:
        """The objective in the coordinates of the space, or of the given features if it is None."""
        rows, statistics = self._rows_near_zero(self.samples.X if space is None else space.rows)
        penalty = float(np.isfinite(self.C))
        settings: dict[str, Any] = {
            "C": self.C if penalty else 1.0,
            "penalty": penalty,
            "fit_intercept": self.fit_intercept,
            "statistics": statistics,
            "one_vector": self.one_vector,
            "space": space,
        }
        if isinstance(self.loss, HingeLoss):
            return HingeObjective(rows, smoothed_term(self.loss, rows, self.C, statistics), **settings)
        return Objective(rows, SmoothTerm(self.loss), **settings)

    def _start(self, objective: Objective) -> Array:
        """Parameters with zero coefficients and with the constant scores that the loss starts from."""
        theta = np.zeros(objective.shape)
        if self.fit_intercept:
            theta[-1] = self.loss._constant_scores(objective.statistics.class_totals) @ objective.decoding
        return theta

    def _rows_near_zero(self, X: Any) -> tuple[Rows, Statistics]:
        """The samples with rows X, centred where that keeps digits, and their statistics."""
        rows = self._rows(X)
        statistics = statistics_of(rows, self.fit_intercept)
        if statistics.is_far_from_zero() and not sp.issparse(X):
            rows = self._rows(X, statistics.mean)
            statistics = statistics_of(rows, self.fit_intercept)
        return rows, statistics

    def _rows(self, X: Any, offset: Array | None = None) -> Rows:
        """The samples with rows X less an offset."""
        samples = self.samples
        return Rows(X, samples.y, samples.weight, samples.n_classes, samples.n_threads, offset)


def _round_off(rows: Rows, coef: Array, intercept: Array) -> Array:
    """Round-off of each sample's scores, (n_samples,)."""
    sizes = np.abs(intercept)
    parts = rows.map(lambda block: (block.terms(coef) + sizes).max(axis=1))
    return np.asarray(EPSILON * np.concatenate(parts), dtype=np.float64)
