"""What a solve knows: the best point and bound so far, its history, and who is told of its progress.

Knows an objective and its certificate. Knows nothing of how points are found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from ._certificate import lower_bound
from ._numerics import ROUND_OFF
from ._objective import Evaluation, Objective
from ._typing import Array

# Relative accuracy beyond which nothing is gained: FINEST_DECREMENT of a decrement, which is the square of a
# gradient, FINEST_GAP of a gap, which is a difference of sums.
FINEST_DECREMENT, FINEST_GAP = 1e-22, 1e-14
# Largest relative round-off of the losses that counts as the best attainable accuracy. What is computed as
# round-off is an upper bound: the error is rarely as large.
LARGEST_ROUND_OFF = 1e-9
# Largest relative gap with which an estimate of the distance from the optimum counts. On real tables as they
# come, none of 756 squared hinges left a gap above 1e-4, nor did any of 150 softmax fits that was at its
# optimum.
CREDIBLE = 0.01
# Until one certifies the fit, bounds are computed for iterates at which half the squared gradient, the least
# gap that a bound leaves, is at most this many times `tol`, relative to the objective.
BOUNDED_FROM = 1e2


class Iteration(NamedTuple):
    """One line of the history."""

    objective: float
    gap: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """Where a solve ended. ``gap`` is infinite where nothing is certified.

    ``minimised`` is the last objective: for a hinge, with its last multipliers. ``converged`` may rest on an
    estimate, ``certified`` rests on the gap. ``stopped`` says that a reporter asked for the end.
    """

    theta: Array
    minimised: Objective
    objective: float
    gap: float
    converged: bool
    certified: bool
    unbounded: bool
    stopped: bool
    history: tuple[Iteration, ...]

    @property
    def parameters(self) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes) and intercept for the given features."""
        return self.minimised.feature_parameters(self.theta)

    @property
    def bound(self) -> float:
        """Lower bound of the optimum."""
        return self.objective - self.gap

    @property
    def is_final(self) -> bool:
        """Whether other coordinates can bring neither convergence nor, with a penalty, a certificate."""
        proven = self.certified or self.minimised.penalty == 0
        finest = self.gap <= FINEST_GAP * abs(self.objective)
        return (self.converged and proven) or finest or self.unbounded or self.stopped


@dataclass(frozen=True)
class Progress:
    """How far a solve is after `n_iter` iterations.

    At iterations, objective and gap are those of the iteration's point; at milestones, those of the best one.
    """

    n_iter: int
    objective: float
    gap: float
    seconds: float


class Reporter(Protocol):
    """Receives the progress of a solve.

    ``result`` returns what the solve would return if it ended at that point; call it before the solve goes
    on, or never. While sums are rounded to float32, such a result has not converged: the sums are made again
    in the end.
    """

    def begin(self, result: Callable[[], Result]) -> None:
        """An iteration begins."""

    def end(self, progress: Progress, result: Callable[[], Result]) -> bool:
        """An iteration has ended. Returns whether the solve is to end too."""

    def milestone(self, kind: str, progress: Progress, detail: str) -> None:
        """A step has ended: a "stage", an "outer step", "ascent", or the fit to a "sample" of the rows.

        ``detail`` is text to follow the name of the step, or empty.
        """


@dataclass
class Run:
    """The best point and bound so far, the estimated distance from the optimum, and the history.

    ``estimate`` is that distance; it is infinite while there is none to believe. ``loss_round_off`` is the
    round-off of C times the weighted sum of the losses.
    """

    tol: float
    max_iter: int
    reporters: tuple[Reporter, ...]
    best: Evaluation
    started: float
    bound: float = -np.inf
    estimate: float = np.inf
    loss_round_off: float = 0.0
    sums_are_rounded: bool = False
    stopped: bool = False
    history: list[Iteration] = field(default_factory=list)

    def note(self, objective: Objective, at: Evaluation) -> None:
        """Take a point and its bound into account."""
        self.raise_bound(lower_bound(objective, at))
        self._take(at)

    def raise_bound(self, bound: float) -> None:
        """Take a bound into account."""
        self.bound = max(self.bound, bound)

    def note_estimate(self, distance: float) -> None:
        """Take this estimate of the best point's distance from the optimum in place of the last one."""
        self.estimate = distance

    def distrust_estimate(self) -> None:
        """Drop the estimate: only the certified gap then tells how far the optimum is."""
        self.estimate = math.inf

    def round_sums(self) -> None:
        """Note that points and bounds come from rounded sums until `restart`."""
        self.sums_are_rounded = True

    def restart(self, objective: Objective, at: Evaluation) -> None:
        """Forget points and bounds that came from rounded sums; keep this point, and the estimate."""
        self.sums_are_rounded, self.best, self.bound = False, at, -np.inf
        self.note(objective, at)

    def accept(self, objective: Objective, at: Evaluation) -> None:
        """Take an iterate into account, and its bound where the gradient is small enough to need one."""
        goal = BOUNDED_FROM * self.tol * abs(at.objective)
        if not self.is_certified and objective.stationarity(at) <= goal:
            self.raise_bound(lower_bound(objective, at))
        self._take(at)

    def begin(self, objective: Objective) -> None:
        """Report that an iteration begins."""
        for reporter in self.reporters:
            reporter.begin(partial(self.result, objective))

    def end(self, objective: Objective, at: Evaluation) -> None:
        """Put an iterate into the history, with its gap to the best bound so far, and report it."""
        seconds = time.perf_counter() - self.started
        self.history.append(Iteration(at.objective, self._proven(at.objective - self.bound), seconds))
        for reporter in self.reporters:
            progress = Progress(len(self.history), *self.history[-1])
            self.stopped |= reporter.end(progress, partial(self.result, objective))

    def milestone(self, kind: str, detail: str = "") -> None:
        """Report that a step of this kind has ended."""
        for reporter in self.reporters:
            seconds = time.perf_counter() - self.started
            gap = self._proven(self.gap)
            reporter.milestone(kind, Progress(len(self.history), self.best.objective, gap, seconds), detail)

    def result(self, objective: Objective, unbounded: bool = False) -> Result:
        """What the solve returns if it ends now."""
        proven = not self.sums_are_rounded
        # Round-off may end a solve, but a round-off above `tol` is no success.
        converged = proven and self.distance <= self.tol * abs(self.best.objective) < math.inf
        return Result(
            theta=self.best.theta,
            minimised=objective,
            objective=self.best.objective,
            gap=self._proven(max(self.gap, ROUND_OFF * abs(self.best.objective))),
            converged=converged and not unbounded,
            certified=proven and self.is_certified,
            unbounded=unbounded,
            stopped=self.stopped,
            history=tuple(self.history),
        )

    def _proven(self, gap: float) -> float:
        """The gap, or infinity where it comes from rounded sums."""
        return np.inf if self.sums_are_rounded else gap

    def _take(self, at: Evaluation) -> None:
        """Keep the point if it is the best; of points that round-off cannot tell apart, the last counts."""
        if at.objective <= self.best.objective + FINEST_GAP * abs(self.best.objective):
            self.best = at

    @property
    def gap(self) -> float:
        """Certified gap of the best point."""
        return self.best.objective - self.bound

    @property
    def iterations_left(self) -> int:
        """Number of iterations that may still be made."""
        return 0 if self.stopped else max(self.max_iter - len(self.history), 0)

    @property
    def distance(self) -> float:
        """Distance of the best point from the optimum, the lesser of certified gap and estimate."""
        return max(min(self.gap, self.estimate), 0.0)

    @property
    def is_certified(self) -> bool:
        """Whether the best point is certified to be within a relative `tol` or round-off of the optimum.

        `tol` is relative to the bound, which is at most the optimum, so this holds for the largest `tol` too.
        """
        return self.bound > -math.inf and self.gap <= self._negligible(self.tol, self.bound)

    @property
    def is_credible(self) -> bool:
        """Whether an estimate of the distance may stand for a certificate.

        On the other side of a kink, or of an outlying sample's margin, curvature may be less by any factor.
        Where it is, the decrement does not tell how far the optimum is.
        """
        return self.gap <= max(CREDIBLE, self.tol) * abs(self.best.objective)

    def is_within(self, tol: float) -> bool:
        """Whether, by gap or estimate, the best point is within a relative `tol` or round-off."""
        return self.distance <= self._negligible(tol, abs(self.best.objective))

    def _negligible(self, tol: float, objective: float) -> float:
        """`tol` times the objective or, if larger, the round-off, which counts up to LARGEST_ROUND_OFF."""
        return max(tol * objective, min(self.loss_round_off, LARGEST_ROUND_OFF * objective))
