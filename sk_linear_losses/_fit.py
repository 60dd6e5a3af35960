"""A fit: from samples and a loss to coefficients, in one coordinate system after another.

Knows the solver and the coordinates that it may work in. Knows neither labels nor scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._cost import is_worth_rotation, iterations_before_rotation
from ._envelope import HingeObjective, smoothed_term
from ._model import Model, model_of
from ._objective import Objective, SmoothTerm, Statistics, statistics_of
from ._row_space import RowSpace, near_zero, row_spaces
from ._rows import Rows, Samples
from ._run import Reporter, Result
from ._solver import solve
from ._typing import Array
from .losses import HingeLoss, Loss


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
        # A solution in other coordinates may need more digits than coefficients of the features have. Bounds
        # are the same, so the least gap has the least objective at the worst, with all scores rounded against
        # the model.
        models = ((end, self.model(end)) for end in ends)
        return min(models, key=lambda end: (end[1].gap, end[1].objective))

    def model(self, result: Result) -> Model:
        """The model of a result."""
        return model_of(result, partial(self._rows_as_given, result.minimised), self.tol)

    def _rows_as_given(self, solved: Objective) -> tuple[Rows, Array]:
        """The samples in the features less an offset, with the digits of the solved rows; and the offset."""
        space = solved.space
        if space is None:
            return solved.rows, solved.rows.offset
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
