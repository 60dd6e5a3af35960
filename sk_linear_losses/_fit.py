"""A fit: from samples and a loss to coefficients, in one system of coordinates after the other.

Knows the solver and the coordinates that it may work in. Knows neither labels nor scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ._cost import is_worth_turning, iterations_before_turning
from ._envelope import HingeObjective, smoothed_term
from ._objective import Objective, SmoothTerm, Statistics, statistics_of
from ._row_space import RowSpace, near_zero, row_spaces
from ._rows import ROUND_OFF, Block, Rows, Samples
from ._run import Reporter, Result
from ._solver import solve
from ._typing import Array
from .losses import HingeLoss, Loss

# Share by which rounding of what is stored may raise the objective before longer coefficients are tried, with
# kinks and without, and how much longer.
KINKED_COST, SMOOTH_COST, LONGER = 1e-10, 1e-4, tuple(1 + 2.0**-k for k in range(48, 20, -2))
# Most that rounding of what is stored may cost a fit that converged, as a share of the objective.
MOST_LOST = 0.01
EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Model:
    """Coefficients (n_features, n_classes) and intercept to store, and what is known of them.

    ``objective`` is theirs, and ``gap`` bounds its distance from the optimum.
    """

    coef: Array
    intercept: Array
    objective: float
    gap: float
    converged: bool


class _Stored(NamedTuple):
    """Coefficients and intercept as they are stored, their objective, and how much more it may be."""

    coef: Array
    intercept: Array
    objective: float
    doubt: float

    @property
    def worst(self) -> float:
        """The objective without round-off in its favour."""
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
        Whether the penalty is that of one weight vector for two classes, not of a vector for each class.
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
    ) -> Result:
        """Where the fit ends, from no coefficients or, if that is better, from those `known`.

        Those are an array (n_features, n_classes) and an intercept. Seconds are since `time.perf_counter` was
        at `started`.
        """
        samples, previous = self.samples, None
        spaces = row_spaces(samples.X, samples.weight, self.fit_intercept, samples.n_classes)
        for space, next_work in spaces:
            objective = self._objective(space)
            starts = [self._start(objective)]
            if known is not None:
                starts.insert(0, objective.coded_parameters(*known))
            most = iterations_before_turning(objective, next_work, self.max_iter)
            result = solve(objective, starts, self.tol, most, started, reporters, previous)
            if result.is_final or len(result.history) >= self.max_iter:
                break
            if not is_worth_turning(objective, next_work, result.converged):
                break
            known, previous = result.parameters, result
        # Other coordinates may find what coefficients of the features have too few digits for.
        if previous is not None and self.model(previous).objective < self.model(result).objective:
            gap = previous.objective - result.bound
            return replace(previous, gap=gap, stopped=result.stopped, history=result.history)
        return result

    def model(self, result: Result) -> Model:
        """The model of a result, in which what storing it costs and saves is accounted for."""
        stored = self._stored(result)
        objective, doubt = stored.objective, stored.doubt
        gap = max(result.gap - (result.objective - objective) + doubt, ROUND_OFF * objective)
        spoilt = stored.worst - result.objective > MOST_LOST * result.objective
        converged = (result.converged and not spoilt) or gap <= self.tol * objective
        return Model(stored.coef, stored.intercept, objective, gap, converged)

    def _stored(self, result: Result) -> _Stored:
        """Coefficients and intercept to store.

        A hard margin takes all digits, an intercept far from zero has few of them, and where coordinates mix
        features, coefficients may cancel. Where rounding costs much, the best of some that are longer by a
        little are taken, which may meet a margin.
        """
        solved = result.minimised
        coef, intercept = result.parameters
        intercept = intercept - intercept.mean()
        if not self._may_be_rounded(solved, coef, intercept, result.objective):
            return _Stored(coef, intercept, result.objective, 0.0)
        space = solved.space
        rows, offset = (solved.rows, solved.rows.offset) if space is None else self._rows_as_given(space)
        # Of the intercept for these rows, what cancels the offset is gone and the rest is to have all digits.
        moved = offset.astype(np.longdouble) @ coef + intercept
        round_off = _round_off(rows, coef, moved)

        def stored(factor: float) -> _Stored:
            W, b = factor * coef, factor * intercept
            moved = np.asarray(offset.astype(np.longdouble) @ W + b, dtype=np.float64)
            # Two classes have one vector, of which W has plus and minus a half.
            penalty = solved.penalty * float(np.vdot(W, W)) * (1 if self.one_vector else 0.5)
            loss, doubt = self._loss_and_doubt(rows, W, moved, factor * round_off)
            return _Stored(W, b, penalty + solved.C * loss, solved.C * doubt)

        first = stored(1.0)
        if first.worst <= (1 + (KINKED_COST if self.loss.has_kinks else SMOOTH_COST)) * result.objective:
            return first
        return min([first, *map(stored, LONGER)], key=lambda longer: longer.worst)

    def _may_be_rounded(self, solved: Objective, coef: Array, intercept: Array, objective: float) -> bool:
        """Whether round-off of the scores may cost more than a loss with kinks may lose, by their size."""
        statistics = solved.statistics
        sizes = np.hypot(np.sqrt(statistics.variance), statistics.mean)
        weights = np.linalg.norm(coef, axis=1)
        if solved.space is not None:
            # Its coordinates are no features, but have the same length.
            sizes, weights = (np.linalg.norm(part, axis=0, keepdims=True) for part in (sizes, weights))
        size = sizes @ weights + np.linalg.norm(intercept)
        slope = 2 * (solved.n_classes - 1) * solved.C * statistics.total_weight
        return bool(EPSILON * size * slope > KINKED_COST * objective)

    def _loss_and_doubt(
        self, rows: Rows, coef: Array, intercept: Array, round_off: Array
    ) -> tuple[float, float]:
        """Weighted sum of the losses, and by how much round-off of the scores may have lowered it."""
        loss, classes = self.loss, np.arange(rows.n_classes)

        def sums(block: Block) -> tuple[float, float]:
            scores, y = block.scores(coef, intercept)[:, :-1], block.y
            value = float(block.weight @ loss.value(scores, y))
            doubt = round_off[block.places, None]
            scores += np.where(classes == y[:, None], -doubt, doubt)
            return value, float(block.weight @ loss.value(scores, y)) - value

        value, doubt = rows.sum(sums)
        return float(value), max(float(doubt), 0.0)

    def _rows_as_given(self, space: RowSpace) -> tuple[Rows, Array]:
        """The samples by their features less an offset, with the digits of the rows of the space."""
        X = self.samples.X
        if sp.issparse(X):
            moved, offset = near_zero(X, self.samples.weight)
            return self._rows(moved), offset
        return self._rows(X, space.shift), space.shift

    def _objective(self, space: RowSpace | None) -> Objective:
        """The objective in the coordinates of this space."""
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
        """No coefficients, and the intercept that is best without, or near it."""
        theta = np.zeros(objective.shape)
        if self.fit_intercept:
            theta[-1] = self.loss._constant_scores(objective.statistics.class_totals) @ objective.decoding
        return theta

    def _rows_near_zero(self, X: Any) -> tuple[Rows, Statistics]:
        """The samples with rows X, moved to zero where that keeps digits, and their statistics."""
        rows = self._rows(X)
        statistics = statistics_of(rows, self.fit_intercept)
        if statistics.is_far_from_zero() and not sp.issparse(X):
            rows = self._rows(X, statistics.mean)
            statistics = statistics_of(rows, self.fit_intercept)
        return rows, statistics

    def _rows(self, X: Any, offset: Array | None = None) -> Rows:
        """The samples with rows X, less an offset."""
        samples = self.samples
        return Rows(X, samples.y, samples.weight, samples.n_classes, samples.n_threads, offset)


def _round_off(rows: Rows, coef: Array, intercept: Array) -> Array:
    """Round-off of each sample's scores, (n_samples,)."""
    sizes = np.abs(intercept)
    parts = rows.map(lambda block: (block.terms(coef) + sizes).max(axis=1))
    return np.asarray(EPSILON * np.concatenate(parts), dtype=np.float64)
