"""A fit: from samples and a loss to coefficients, in one system of coordinates after the other.

Knows the solver and the coordinates that it may work in. Knows neither labels nor scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._cost import is_worth_turning, iterations_before_turning
from ._envelope import HingeObjective, smoothed_term
from ._objective import Objective, SmoothTerm, Statistics, statistics_of
from ._row_space import RowSpace, row_spaces
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
        coef, intercept, objective = self._stored(result)
        gap = max(result.gap - (result.objective - objective), ROUND_OFF * objective)
        spoilt = objective - result.objective > MOST_LOST * result.objective
        converged = (result.converged and not spoilt) or gap <= self.tol * objective
        return Model(coef, intercept, objective, gap, converged)

    def _stored(self, result: Result) -> tuple[Array, Array, float]:
        """Coefficients and intercept to store, and the objective there.

        A hard margin takes all digits, an intercept far from zero has few of them, and where coordinates mix
        features, coefficients may cancel. Where rounding costs much, the best of some that are longer by a
        little are taken, which may meet a margin, and the objective is theirs.
        """
        solved, objective = result.minimised, result.objective
        coef, intercept = result.parameters
        intercept = intercept - intercept.mean()
        space, has_kinks = solved.space, self.loss.has_kinks
        mixes = space is not None and space.mixes
        if not (has_kinks or mixes or solved.rows.offset.any()):
            return coef, intercept, objective
        rows = solved.rows
        if space is not None:
            rows = self._rows(self.samples.X, None if sp.issparse(self.samples.X) else space.shift)
        # The intercept cancels what was taken from the rows, and what is left of it is to have all digits.
        offset = rows.offset.astype(np.longdouble)

        def objective_of(factor: float) -> float:
            W, b = factor * coef, factor * intercept
            b = np.asarray(b + offset @ W, dtype=np.float64)

            def losses(block: Block) -> tuple[float]:
                return (float(block.weight @ self.loss.value(block.scores(W, b)[:, :-1], block.y)),)

            # Two classes have one vector, of which W has plus and minus a half.
            norm = float(np.vdot(W, W)) * (2 if self.one_vector else 1)
            return solved.penalty * norm / 2 + solved.C * float(rows.sum(losses)[0])

        stored = objective_of(1.0)
        if stored <= (1 + (KINKED_COST if has_kinks else SMOOTH_COST)) * objective:
            return coef, intercept, objective
        reached, factor = min([(stored, 1.0), *((objective_of(factor), factor) for factor in LONGER)])
        return factor * coef, factor * intercept, reached

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
