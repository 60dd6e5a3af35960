"""A stage: iterations of scipy's L-BFGS with one change of variables.

Knows an objective and a preconditioner. Knows nothing of why a stage is run, nor of what comes after it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from ._cost import START_BUDGET, START_ITERATIONS, n_corrections
from ._numerics import EPSILON
from ._objective import Evaluation, Objective
from ._preconditioner import Preconditioner
from ._run import FINEST_DECREMENT, Run
from ._typing import Array

# Number of latest iterations from which the rate of convergence is estimated, with exact curvature and with
# other curvature, where single iterations vary more.
EXACT_RATE, INEXACT_RATE = 2, 7
# Most evaluations of one line search. With half as many, some line searches between kinks found no acceptable
# point, and the next stage repeated the same search.
LINE_SEARCH = 60


class StageLengths(NamedTuple):
    """Least and most iterations of a stage, with exact curvature and with other curvature."""

    exact: tuple[int, int]
    other: tuple[int, int]


# Stage lengths for a smooth loss. With exact curvature, a stage lasts as many iterations as the curvature
# costs in evaluations, within these limits. With other curvature it lasts half as many, but the limits are
# higher: a new change of variables discards what L-BFGS has learnt, which is worth more there. It is worth
# most with curvature that does not couple all features, and the more the slower the fit, so such a stage is
# at least as long as all stages before it together. On word counts this took 0.5 to 0.9 of the iterations,
# and stages twice as long took no fewer. With the same rule for the other forms of curvature, raw MNIST did
# not converge in twice the iterations.
SMOOTH = StageLengths((5, 30), (25, 100))
# Stage lengths for the envelope of a hinge, squared or not, around its multipliers. Exact curvature ages
# sooner there: longer stages save no time and take more iterations in all, and a few times as many
# evaluations where line searches stumble over kinks. With other curvature the multipliers move after each
# stage: where the least length was 40 iterations, fits of sparse rows were left with 10 to 1000 times the
# gap.
ENVELOPE = StageLengths((2, 10), (10, 100))
# Share of the cost of exact curvature for which a stage may last where such longer stages are allowed. Where
# curvature costs hundreds of evaluations, as for hinges of 50 to 100 classes, fits took 0.4 to 1 of the time.
DEAR_SHARE = 0.5


class Assessment(NamedTuple):
    """Whether an iterate meets the goal of its stage; if not, the factor by which its decrement is too large.

    The factor, ``excess``, is infinite where it is unknown.
    """

    is_met: bool
    excess: float = math.inf


class StageEnd(NamedTuple):
    """Where a stage ended, the Newton decrement there, its iterations, and whether its goal was met."""

    at: Evaluation
    decrement: float
    iterations: int
    finished: bool


def stage_length(
    preconditioner: Preconditioner,
    lengths: StageLengths = SMOOTH,
    made: int = 0,
    most_if_dear: float = 0.0,
) -> int:
    """Iterations after which curvature is computed anew; `made` counts those that a smooth fit has had.

    With exact curvature that is dear, they may be as many as `most_if_dear`.
    """
    if preconditioner.exact:
        (least, most), cost = lengths.exact, preconditioner.renewal_cost
        return int(min(max(cost, least), max(most, min(DEAR_SHARE * cost, most_if_dear))))
    least, most = lengths.other
    # The diagonal then stands in for better curvature, which costs more than a start should. Leading
    # directions, whose renewal cost is their own, may pass this test too: it makes little difference to them.
    if not preconditioner.couples_features and preconditioner.renewal_cost > START_BUDGET:
        least = START_ITERATIONS
    length = min(max(preconditioner.renewal_cost / 2, least), most)
    return int(length if preconditioner.couples_features else max(length, made))


class _Trial(NamedTuple):
    """A point that L-BFGS has evaluated: its parameters, evaluation, and scaled value and gradient."""

    u: Array
    at: Evaluation
    value: float
    slope: Array


class Stage:
    """L-BFGS from `start` in the preconditioned parameters, scaled so that its first step has length 1.

    By the curvature at hand this first step is Newton's step; unscaled, scipy's own first step would be a
    short one along the gradient. The decrement is half the squared preconditioned gradient, divided by the
    least curvature met on the way if that is less than 1, the curvature at hand. A preconditioner that
    overestimates curvature in some direction thus does not end the fit early.

    `assess` receives each iterate and its decrement. It notes the estimated distance from the optimum in the
    run, and tells whether the goal of the stage is met. After `tried_after` iterations, the stage also
    ends once its exact curvature is found to have aged.
    """

    def __init__(
        self,
        run: Run,
        objective: Objective,
        preconditioner: Preconditioner,
        start: Evaluation,
        assess: Callable[[Evaluation, float], Assessment],
        tried_after: float = math.inf,
    ) -> None:
        self.run, self.objective, self.preconditioner = run, objective, preconditioner
        self.start, self.assess, self.tried_after = start, assess, tried_after
        slope = preconditioner.gradient(start.gradient)
        self.length = math.sqrt(slope @ slope)
        self.end = StageEnd(start, self.length**2 / 2, 0, False)
        self.least_curvature = 1.0
        n_steps = EXACT_RATE if preconditioner.exact else INEXACT_RATE
        self.decrements: deque[float] = deque(maxlen=1 + n_steps)
        # Round-off leaves few digits of changes of the value up to this: they are integrated from the slopes.
        self.noise = objective.rows.resolution**0.75 * abs(start.value)
        self.origin = _Trial(np.zeros_like(slope), start, 0.0, slope / (self.length or 1.0))
        self.latest = self.accepted = self.origin

    def minimise(self, planned: int) -> StageEnd:
        """Run `planned` iterations, or more while the goal costs less than new curvature; return the end."""
        preconditioner, run = self.preconditioner, self.run
        self.planned = planned
        # Unless it is negligible, a decrement by inexact curvature means little before the first step.
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
        # scipy asks for the gradient at the point where it has just asked for the value. With `jac=True` it
        # would compare the points first, which takes a few per cent of the time of a small fit.
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
        """Scaled change of the value at `u`; the point is stored, with its slope, as `latest`."""
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
        """Take the latest point as the next iterate; end the stage if it is to be the last one."""
        latest, accepted = self.latest, self.accepted
        step = latest.u - accepted.u
        # Exact curvature may leave directions in which nothing curves. A step there measures only round-off.
        known = not self.preconditioner.exact or accepted.at.value - latest.at.value > self.noise
        if known and (squared := float(step @ step)) > 0:
            change = latest.slope - accepted.slope
            self.least_curvature = min(self.least_curvature, float(step @ change) / squared)
        self.accepted = latest
        decrement = self.length**2 * float(latest.slope @ latest.slope) / 2
        decrement /= max(self.least_curvature, EPSILON)
        self.run.accept(self.objective, latest.at)
        is_met, excess = self.assess(latest.at, decrement)
        self.end = StageEnd(latest.at, decrement, self.end.iterations + 1, is_met)
        self.run.end(self.objective, latest.at)
        self.decrements.append(decrement)
        if is_met or self.run.stopped or self._has_lasted(excess) or self._curvature_has_aged():
            raise StopIteration

    def _has_lasted(self, excess: float) -> bool:
        """Whether the planned iterations are made, and the way to the goal costs more than new curvature.

        The cost of the way to the goal is estimated from the rate of the last iterations.
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
        """Whether exact curvature has gained less than it promised, and promises more than at the start."""
        promised, brought = self.length**2 / 2, self.start.value - self.end.at.value
        tried = self.preconditioner.exact and self.end.iterations >= self.tried_after
        return tried and brought < promised < self.end.decrement
