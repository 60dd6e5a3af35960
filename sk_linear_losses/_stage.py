"""A stage: scipy's L-BFGS in preconditioned parameters.

Knows an objective and a change of variables. Knows nothing of why a stage is made, nor what comes after it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from ._cost import START_BUDGET, START_ITERATIONS, n_corrections
from ._objective import Evaluation, Objective
from ._preconditioner import Preconditioner
from ._run import FINEST_DECREMENT, Run
from ._typing import Array

# Last iterations from which the rate of convergence is told, with exact curvature and with other curvature,
# where single ones vary more.
EXACT_RATE, INEXACT_RATE = 2, 7
# Most evaluations of a line search. With half as many, some between kinks found no point to go on from, and
# the next stage tried the same again.
LINE_SEARCH = 60


class StageLengths(NamedTuple):
    """Iterations of a stage, at least and at most, with exact curvature and with other curvature."""

    exact: tuple[int, int]
    other: tuple[int, int]


# A stage lasts as many iterations as its curvature costs in evaluations. Where that is not exact, half as
# many: what L-BFGS has learnt is lost with the change of variables, and is worth more. With the curvature of
# each feature alone it is worth most, and the more the slower a fit: such a stage is as long as all before it
# (on word counts 0.5 to 0.9 of the iterations, with twice as long no fewer; with other curvature raw MNIST
# did not converge in twice the iterations).
SMOOTH = StageLengths((5, 30), (25, 100))
# Where a loss has kinks, exact curvature ages sooner: longer stages save no time and take more iterations in
# all, and a few times as many evaluations where line searches stumble over the kinks. With other curvature
# multipliers move after each stage: with 40 iterations at least, sparse rows had 10 to 1000 times the gap.
KINKED = StageLengths((2, 10), (10, 100))


class Assessment(NamedTuple):
    """Whether an iterate meets the goal of its stage; if not, how many times too large its decrement is.

    That is infinite where nothing is known of it.
    """

    is_met: bool
    excess: float = math.inf


class StageEnd(NamedTuple):
    """Where a stage ended, the Newton decrement estimated there, and whether its goal was met."""

    at: Evaluation
    decrement: float
    iterations: int
    finished: bool


def stage_length(preconditioner: Preconditioner, lengths: StageLengths = SMOOTH, made: int = 0) -> int:
    """Iterations after which the curvature is taken anew. Of a smooth problem `made` are those so far."""
    if preconditioner.exact:
        least, most = lengths.exact
        return int(min(max(preconditioner.renewal_cost, least), most))
    least, most = lengths.other
    # That of each feature alone stands in for better that is dearer than a start should be. It makes little
    # difference to stages with leading directions, which have a cost of their own.
    if not preconditioner.couples_features and preconditioner.renewal_cost > START_BUDGET:
        least = START_ITERATIONS
    length = min(max(preconditioner.renewal_cost / 2, least), most)
    return int(length if preconditioner.couples_features else max(length, made))


class _Trial(NamedTuple):
    """A point that L-BFGS has looked at: parameters, evaluation, and scaled value and slope."""

    u: Array
    at: Evaluation
    value: float
    slope: Array


class Stage:
    """L-BFGS from `start` in the preconditioned parameters, scaled so that its first step has length 1.

    With the curvature at hand this first step is Newton's, where scipy's own first step would be a short
    one along the gradient. The decrement is half the squared preconditioned gradient over the least
    curvature met on the way, so a preconditioner that misses some curvature does not end the fit early.

    `assess` is given each iterate and its decrement. It notes in the run how far from the optimum they are
    estimated to be, and tells whether the goal of the stage is met. After `tried` iterations exact curvature
    that is found to have aged ends the stage too.
    """

    def __init__(
        self,
        run: Run,
        objective: Objective,
        preconditioner: Preconditioner,
        start: Evaluation,
        assess: Callable[[Evaluation, float], Assessment],
        tried: float = math.inf,
    ) -> None:
        self.run, self.objective, self.preconditioner = run, objective, preconditioner
        self.start, self.assess, self.tried = start, assess, tried
        slope = preconditioner.gradient(start.gradient)
        self.length = math.sqrt(slope @ slope)
        self.end = StageEnd(start, self.length**2 / 2, 0, False)
        self.least_curvature = 1.0
        n_steps = EXACT_RATE if preconditioner.exact else INEXACT_RATE
        self.decrements: deque[float] = deque(maxlen=1 + n_steps)
        # Smaller changes have few digits left of round-off: they are integrated from the slopes.
        self.noise = objective.rows.resolution**0.75 * abs(start.value)
        self.origin = _Trial(np.zeros_like(slope), start, 0.0, slope / (self.length or 1.0))
        self.latest = self.accepted = self.origin

    def minimise(self, planned: int) -> StageEnd:
        """Where so many iterations end, or the few more that are better than curvature taken anew."""
        preconditioner, run = self.preconditioner, self.run
        self.planned = planned
        # Decrements of other curvature mean little before a step has been made, unless nothing is left.
        nothing_left = self.end.decrement <= FINEST_DECREMENT * abs(self.start.value)
        known = preconditioner.exact or run.is_certified or nothing_left
        if known and self.assess(self.start, self.end.decrement).is_met:
            return self.end._replace(finished=True)
        options = {
            "maxiter": run.iterations_left,
            "maxcor": n_corrections(self.objective),
            "maxls": LINE_SEARCH,
            "maxfun": np.iinfo(np.int32).max,
            "ftol": 0.0,
            "gtol": 0.0,
        }
        # scipy asks for the slope where it has just asked for the value; with `jac=True` it would first
        # compare the points, which takes a few per cent of a small fit.
        minimize(
            self._value,
            self.origin.u,
            jac=lambda u: self.latest.slope,
            method="L-BFGS-B",
            callback=self._accept,
            options=options,
        )
        return self.end

    def _value(self, u: Array) -> float:
        """Scaled change of the value; with the slope it is `latest`."""
        if not u.any():
            self.latest = self.origin
            return self.latest.value
        accepted = self.accepted
        if self.latest is accepted:
            self.run.begin(self.objective)
        theta = self.preconditioner.step(u)
        theta *= self.length
        theta += self.start.theta
        at = self.objective.evaluate(theta)
        slope = self.preconditioner.gradient(at.gradient)
        slope /= self.length
        value = (at.value - self.start.value) / self.length**2
        if abs(at.value - accepted.at.value) <= self.noise:
            value = accepted.value + float((accepted.slope + slope) @ (u - accepted.u)) / 2
        self.latest = _Trial(u.copy(), at, value, slope)
        return value

    def _accept(self, intermediate_result: OptimizeResult) -> None:
        """Take the point that was looked at last as the next iterate; ends the stage if it is the last."""
        latest, accepted = self.latest, self.accepted
        step = latest.u - accepted.u
        # Where exact curvature leaves directions in which nothing curves, what is measured is round-off.
        known = not self.preconditioner.exact or accepted.at.value - latest.at.value > self.noise
        if known and (squared := float(step @ step)) > 0:
            change = latest.slope - accepted.slope
            self.least_curvature = min(self.least_curvature, float(step @ change) / squared)
        self.accepted = latest
        decrement = self.length**2 * float(latest.slope @ latest.slope) / 2
        decrement /= max(self.least_curvature, np.finfo(float).eps)
        self.run.accept(self.objective, latest.at)
        is_met, excess = self.assess(latest.at, decrement)
        self.end = StageEnd(latest.at, decrement, self.end.iterations + 1, is_met)
        self.run.end(self.objective, latest.at)
        self.decrements.append(decrement)
        if is_met or self.run.stopped or self._has_lasted(excess) or self._curvature_has_aged():
            raise StopIteration

    def _has_lasted(self, excess: float) -> bool:
        """Whether the planned iterations are made, and curvature taken anew would not cost more.

        That is, than what is left to the goal at the rate of the last iterations.
        """
        n_steps = len(self.decrements) - 1
        if self.end.iterations < self.planned or n_steps < EXACT_RATE:
            return self.end.iterations >= self.planned
        before, now = self.decrements[0], self.decrements[-1]
        if not now < before:
            return True
        needed, per_iteration = math.log(excess), math.log(before / now) / n_steps
        return needed > per_iteration * (self.preconditioner.renewal_cost + 1)

    def _curvature_has_aged(self) -> bool:
        """Whether exact curvature has brought less than it promised, and promises more than at the start."""
        promised, brought = self.length**2 / 2, self.start.value - self.end.at.value
        tried = self.preconditioner.exact and self.end.iterations >= self.tried
        return tried and brought < promised < self.end.decrement
