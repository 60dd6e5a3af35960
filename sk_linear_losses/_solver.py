"""scipy's L-BFGS in preconditioned stages; for hinges, inside the method of multipliers.

Knows an objective, its preconditioners and its certificate. Knows neither labels nor scikit-learn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from ._certificate import ROUND_OFF, corrected_bound, lower_bound
from ._cost import digits_are_cheap, is_small, memory
from ._objective import EnvelopeTerm, Evaluation, Objective
from ._preconditioner import Preconditioner, precondition
from .losses import Array

# Iterations of a stage, at least and at most. It lasts as many as its curvature costs in evaluations. Where
# that is not exact, half as many: what L-BFGS has learnt is lost with the change of variables, and is worth
# more. Where a loss has kinks, exact curvature ages sooner: longer stages save no time and take more
# iterations in all, and a few times as many evaluations where line searches stumble over the kinks.
EXACT_STAGE, KINKED_STAGE, INEXACT_STAGE = (5, 30), (2, 10), (25, 100)
# Most evaluations of a line search. With half as many, some between kinks found no point to go on from, and
# the next stage tried the same again.
LINE_SEARCH = 60
# Relative accuracy to stop at where exact curvature makes more digits cheap: of a decrement, which is the
# square of a gradient, and of a gap, which is a difference of sums.
FINEST_DECREMENT, FINEST_GAP = 1e-22, 1e-14
# Where curvature is not exact the decrement must be this many times less than `tol`. While the gap is not
# certified it must then be a hundred times less again, up to so often: in bad units that takes ten digits,
# which come fast by then.
CAUTION, DOUBTS = 10, 5
# Bounds are computed for iterates whose squared gradient is down to so many times `tol`, until one certifies
# the fit: half the squared gradient is the least that a bound leaves.
NEAR = 1e2
# Most iterations on a sample of the rows, and the share of its noise, or of its objective, at which they end.
SAMPLE_ITERATIONS, SAMPLE_DIGITS = 100, 0.01
# Factor on the smoothing once a subproblem took no more than so many iterations, or left more than this share
# of the distance that the one before had left.
SHRINK, EASY, SLOW = 0.3, 10, 0.7
# A subproblem is solved early once its decrement is this share of what moving the multipliers brings, as long
# as their complementarity is more than a relative FAR. From there on the gradient must be small too, which
# takes many more digits where scales differ: bounds need it.
INEXACT, FAR = 0.01, 0.01
# Factor on the smoothing for the last steps of the intercept alone: they need digits to spare.
BALANCING = 1e4
# A squared hinge is minimised without multipliers first, beyond so many iterations only as long as it is
# estimated to be within a relative PROMISING of its optimum. There multipliers would take up to three times
# as long, and in few cases half as long; farther off, where the margin is hard, going on without them takes
# up to fourteen times as long.
SOFT, PROMISING = 50, 0.5
# Tolerance from which on a small problem with kinks is solved to the last digit, and the steps that it takes
# beyond the finest gap: sums no longer show it, but each squares the error of the coefficients.
FINE, LAST_STEPS = 1e-6, 2
# Factor on the smoothing whose curvature is taken when a stage brings nothing, and the most it may reach.
WIDEN, WIDEST = 10.0, 1e8
# Share of the distance to the optimum that is progress, and most iterations without: before `tol` is reached,
# and after. A line search that comes to nothing counts for as many as it may have evaluations.
PROGRESS, PATIENCE, LAST_PATIENCE = 0.9, 600, 20
# Most Newton steps of the intercept alone at a time.
BALANCING_STEPS = 3
# Change of a score in a Newton step that shows an optimum at infinity, once the decrement is down to this
# share of the objective; near a finite optimum the change is then tiny.
DIVERGING_STEP, SETTLED = 0.1, 1e-10


class Iteration(NamedTuple):
    """One line of the history."""

    objective: float
    gap: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """Where a solve ended. ``gap`` is infinite where nothing is certified.

    ``problem`` is the objective as it was minimised last: for a hinge, with its multipliers. ``stopped`` says
    that a reporter asked for the end.
    """

    theta: Array
    problem: Objective
    objective: float
    gap: float
    converged: bool
    unbounded: bool
    stopped: bool
    history: tuple[Iteration, ...]

    @property
    def is_final(self) -> bool:
        """Whether more iterations would not change it."""
        return self.converged or self.unbounded or self.stopped


@dataclass(frozen=True)
class Progress:
    """Where a solve is after a step: an iteration, or what a reporter's `milestone` is told of.

    Objective and gap are those of an iteration's own point, and of the best one at milestones.
    """

    step: str
    n_iter: int
    objective: float
    gap: float
    seconds: float


class Reporter(Protocol):
    """Whom a solve tells how far it is.

    ``result`` makes what the solve returns if it ends there, and is to be called before it goes on or never.
    """

    def begin(self, result: Callable[[], Result]) -> None:
        """An iteration begins."""

    def end(self, progress: Progress, result: Callable[[], Result]) -> bool:
        """An iteration has ended. Returns whether the solve is to end with it."""

    def milestone(self, progress: Progress) -> None:
        """A stage, an outer step or the fit to a sample has ended."""


@dataclass
class _Run:
    """The best point and bound so far, how near the optimum they are estimated to be, and the history."""

    tol: float
    max_iter: int
    reporters: tuple[Reporter, ...]
    best: Evaluation
    started: float
    bound: float = -np.inf
    estimate: float = np.inf
    round_off: float = 0.0
    rounded: bool = False
    doubts: int = 0
    stopped: bool = False
    history: list[Iteration] = field(default_factory=list)

    def note(self, objective: Objective, at: Evaluation) -> None:
        """Take a point and its bound into account."""
        self.bound = max(self.bound, lower_bound(objective, at))
        self._take(at)

    def restart(self, objective: Objective, at: Evaluation) -> None:
        """Forget points and bounds that came from rounded sums, all but this point."""
        self.rounded, self.best, self.bound = False, at, -np.inf
        self.note(objective, at)

    def accept(self, objective: Objective, at: Evaluation) -> None:
        """Take an iterate into account and into the history, its bound where that says something new."""
        if not self.is_certified and objective.stationarity(at) <= NEAR * self.tol * abs(at.objective):
            self.bound = max(self.bound, lower_bound(objective, at))
        self._take(at)
        seconds = time.perf_counter() - self.started
        self.history.append(Iteration(at.objective, self._proven(at.objective - self.bound), seconds))

    def begin(self, objective: Objective) -> None:
        """Report that an iteration begins."""
        for reporter in self.reporters:
            reporter.begin(partial(self.result, objective))

    def end(self, objective: Objective) -> None:
        """Report that an iteration has ended."""
        for reporter in self.reporters:
            progress = Progress("iteration", len(self.history), *self.history[-1])
            self.stopped |= reporter.end(progress, partial(self.result, objective))

    def milestone(self, step: str) -> None:
        """Report that something else has ended."""
        for reporter in self.reporters:
            seconds = time.perf_counter() - self.started
            gap = self._proven(self.gap)
            reporter.milestone(Progress(step, len(self.history), self.best.objective, gap, seconds))

    def result(self, objective: Objective, unbounded: bool = False) -> Result:
        """What the solve returns if it ends here."""
        return Result(
            self.best.theta,
            objective,
            self.best.objective,
            self._proven(max(self.gap, ROUND_OFF * abs(self.best.objective))),
            self.is_within(self.tol) and math.isfinite(self.best.objective) and not unbounded,
            unbounded,
            self.stopped,
            tuple(self.history),
        )

    def _proven(self, gap: float) -> float:
        """The gap, or infinity where it comes from sums that are rounded."""
        return np.inf if self.rounded else gap

    def _take(self, at: Evaluation) -> None:
        """Keep the point if it is the best; of points that round-off cannot tell apart the last is."""
        if at.objective <= self.best.objective + FINEST_GAP * abs(self.best.objective):
            self.best = at

    @property
    def gap(self) -> float:
        """Certified gap of the best point."""
        return self.best.objective - self.bound

    @property
    def iterations_left(self) -> int:
        """Iterations that may still be made."""
        return 0 if self.stopped else self.max_iter - len(self.history)

    @property
    def distance(self) -> float:
        """How far the best point is from the optimum, as certified or as estimated."""
        return max(min(self.gap, self.estimate), 0.0)

    @property
    def is_certified(self) -> bool:
        """Whether the best point is certified to be within a relative `tol` or round-off of the optimum.

        Relative to the bound, which the optimum is not below: so it holds for the largest `tol` too.
        """
        return self.gap <= max(self.tol * self.bound, self.round_off)

    @property
    def is_promising(self) -> bool:
        """Whether the optimum is estimated to be near; the gap can be small where the margin is hard, too."""
        return self.estimate <= PROMISING * abs(self.best.objective)

    def is_within(self, tol: float) -> bool:
        """Whether the best point is within a relative `tol` of the optimum, or of its round-off."""
        return self.distance <= max(tol * abs(self.best.objective), self.round_off)


class _StageEnd(NamedTuple):
    """Where a stage ended, the Newton decrement estimated there, and whether its goal was met."""

    at: Evaluation
    decrement: float
    iterations: int
    finished: bool


class _Stop(Enum):
    """Why stages ended."""

    CERTAIN = "The goal is met by exact curvature."
    ESTIMATED = "The goal is met by curvature that is not exact."
    GUESSED = "The goal is met by the curvature of each feature alone."
    STALLED = "A stage made no progress."
    LIMIT = "There are no iterations left."
    UNBOUNDED = "The optimum is at infinity."


class _SmoothEnd(NamedTuple):
    """Where stages ended, why, and the curvature to go on with."""

    at: Evaluation
    why: _Stop
    preconditioner: Preconditioner | None


def solve(
    objective: Objective,
    starts: list[Array],
    tol: float,
    max_iter: int,
    started: float,
    reporters: tuple[Reporter, ...] = (),
    previous: Result | None = None,
) -> Result:
    """Minimise `objective` from the best of `starts` until it is within ``tol * objective`` of the optimum.

    The fit ends when the certified gap is small enough or, where that is loose, the Newton decrement;
    or when a reporter asks for it. Its seconds are since `time.perf_counter` was at `started`. It goes on
    where a `previous` one in other coordinates ended, with its multipliers; its iterations count.
    """
    if previous is not None:
        objective = objective.resumed(previous.problem)
    at = min(map(objective.evaluate, starts), key=lambda at: np.nan_to_num(at.objective, nan=np.inf))
    run = _Run(tol, max_iter, reporters, at, started)
    if previous is not None:
        run.bound, run.history = previous.objective - previous.gap, list(previous.history)
    run.note(objective, at)
    unbounded = False
    if isinstance(objective.term, EnvelopeTerm):
        objective = _minimise_hinge(run, objective, at)
    else:
        unbounded = _minimise_smooth(run, objective, at).why is _Stop.UNBOUNDED
    return run.result(objective, unbounded)


def _minimise_smooth(
    run: _Run, objective: Objective, at: Evaluation, most_iterations: float = math.inf
) -> _SmoothEnd:
    """Minimise over a sample of the rows, in float32 where X is, then as asked.

    After `most_iterations` only as long as that is promising. Returns where that ended.
    """
    at, preconditioner = _warm_start(run, objective, at)
    if preconditioner is not None:
        run.note(objective, at)
    # Half the precision saves nothing where an evaluation costs little.
    if not is_small(objective) and (rounded := objective.in_single_precision()) is not None:
        # Bounds say when to go on in full precision, but prove nothing until then.
        run.rounded = True
        preconditioner = _run_stages(run, rounded, at, preconditioner, most_iterations).preconditioner
        at = objective.evaluate(run.best.theta)
        run.restart(objective, at)
    end = _run_stages(run, objective, at, preconditioner, most_iterations)
    while end.why is not _Stop.UNBOUNDED:
        run.note(objective, end.at)
        _certify(run, objective, end.at)
        if not _may_be_certified(run, objective, end):
            break
        run.doubts += 1
        known = end.preconditioner if run.doubts <= DOUBTS else None
        end = _run_stages(run, objective, end.at, known, most_iterations)
    if end.why is _Stop.GUESSED and objective.penalty and not run.is_certified:
        # What moves the objective may be hidden, as the difference of two features is that are nearly equal.
        run.estimate = np.inf
    return end


def _may_be_certified(run: _Run, objective: Objective, end: _SmoothEnd) -> bool:
    """Whether an estimate alone ended the stages, so that going on may bring a certificate.

    Where it is that of each feature alone, going on ends with better curvature at any cost.
    """
    if run.is_certified or objective.penalty == 0 or run.iterations_left == 0:
        return False
    if end.why is _Stop.GUESSED:
        return run.doubts <= DOUBTS
    return end.why is _Stop.ESTIMATED and run.doubts < DOUBTS


def _warm_start(run: _Run, objective: Objective, at: Evaluation) -> tuple[Evaluation, Preconditioner | None]:
    """A better point to start from, by way of samples of the rows, and the curvature found there.

    The optimum for m of the samples is some n_parameters / (2 m) nats per sample above that for all, and one
    evaluation costs so much less. It is not sought to more digits than that. Neither values nor bounds for a
    sample hold for all rows, so that each sample has a run of its own; `run` only reports them.
    """
    sample = objective.thinned()
    if sample is None:
        return at, None
    start, preconditioner = _warm_start(run, sample, sample.evaluate(at.theta))
    trial = _Run(0.0, SAMPLE_ITERATIONS, (), start, run.started)
    n_parameters = objective.shape[0] * objective.shape[1]
    weight = float(objective.statistics.class_weight.sum())
    noise = SAMPLE_DIGITS * objective.C * weight * n_parameters / sample.rows.n_samples

    def is_finished(at: Evaluation, decrement: float) -> bool:
        return decrement <= min(noise, SAMPLE_DIGITS * abs(at.value))

    preconditioner = preconditioner or precondition(sample, start.theta, whole=objective)
    end, stuck = _StageEnd(start, np.inf, 0, False), 0
    # The first curvature may be that of a smaller sample and allow no step where its own does.
    while trial.iterations_left > 0 and not end.finished and stuck < 2:
        most = _stage_length(preconditioner)
        end = _Stage(trial, sample, preconditioner, end.at, is_finished).minimise(most)
        stuck = 0 if end.iterations else stuck + 1
        preconditioner = precondition(sample, end.at.theta, whole=objective)
    trial.note(sample, end.at)
    trial.reporters = run.reporters
    trial.milestone(f"sample of {sample.rows.n_samples} rows")
    moved = objective.evaluate(end.at.theta)
    if not moved.objective < at.objective:
        return at, None
    return moved, preconditioner


def _run_stages(
    run: _Run,
    objective: Objective,
    at: Evaluation,
    preconditioner: Preconditioner | None,
    most_iterations: float,
) -> _SmoothEnd:
    """Stages, each with curvature taken anew but for the first where that is given.

    Like `_minimise_smooth` they end after `most_iterations`. Returns where they ended.
    """
    decrement = np.inf
    while run.iterations_left > 0 and (len(run.history) < most_iterations or run.is_promising):
        n_iter = len(run.history) if run.doubts <= DOUBTS else math.inf
        preconditioner = preconditioner or precondition(objective, at.theta, n_iter)
        if objective.may_be_unbounded and _diverges(objective, preconditioner, at):
            return _SmoothEnd(at, _Stop.UNBOUNDED, preconditioner)
        is_finished = partial(_is_minimised, run, objective, preconditioner)
        most = _stage_length(preconditioner)
        end = _Stage(run, objective, preconditioner, at, is_finished).minimise(most)
        run.milestone("stage")
        if end.finished:
            return _SmoothEnd(end.at, _met_by(preconditioner), preconditioner)
        # Of numbers that overflowed none is less than another.
        if not end.at.value < at.value and not end.decrement < decrement / 10:
            return _SmoothEnd(end.at, _Stop.STALLED, preconditioner)
        at, decrement, preconditioner = end.at, end.decrement, None
    return _SmoothEnd(at, _Stop.LIMIT, preconditioner)


def _met_by(preconditioner: Preconditioner) -> _Stop:
    """The end of stages whose goal is met with this curvature."""
    if preconditioner.exact:
        return _Stop.CERTAIN
    return _Stop.ESTIMATED if preconditioner.correlated else _Stop.GUESSED


def _is_minimised(
    run: _Run, objective: Objective, preconditioner: Preconditioner, at: Evaluation, decrement: float
) -> bool:
    """Whether a differentiable objective is close enough to its optimum; notes the estimate in `run`.

    The certificate decides where it can be had: exact curvature makes it tight. From all samples and in
    double precision, exact curvature also makes digits cheap, so that the coefficients, of which the
    decrement bounds the squared error, get as accurate as the objective.
    """
    run.estimate = decrement
    scale = abs(run.best.objective)
    if not preconditioner.exact:
        return run.is_certified or run.is_within(run.tol / (CAUTION * 100**run.doubts))
    rough = preconditioner.sampled or objective.rows.resolution > ROUND_OFF
    accurate = rough or decrement <= (run.tol / CAUTION) ** 2 * (at.norm or scale)
    return (run.is_certified and accurate) or decrement <= FINEST_DECREMENT * scale


def _is_solved(run: _Run, objective: Objective, at: Evaluation, decrement: float) -> bool:
    """Whether what is left of the envelope is less than what moving the multipliers brings.

    Notes the estimate in `run`: the best point is no farther from the optimum than this one.
    """
    parts = objective.gap_parts(at)
    run.estimate = decrement + parts.complementarity
    if decrement <= FINEST_DECREMENT * abs(at.objective):
        return True
    if decrement <= INEXACT * parts.proximity and parts.complementarity > FAR * abs(at.objective):
        return True
    # Round-off keeps the intercept's condition from zero, so it is not held to the smallest part.
    balanced = parts.imbalance <= max(parts.proximity, parts.complementarity)
    return balanced and max(decrement, parts.stationarity) <= parts.proximity


def _diverges(objective: Objective, preconditioner: Preconditioner, at: Evaluation) -> bool:
    """Whether the optimum is at infinity.

    It is where the classes are separated, and where scores still move that no longer change the objective.
    """
    slope = preconditioner.gradient(at.gradient)
    if slope @ slope / 2 > SETTLED * at.objective:
        return objective.separates(at.theta)
    return objective.largest_score(preconditioner.step(slope)) > DIVERGING_STEP


@dataclass
class _Patience:
    """How many iterations have passed since the optimum came nearer."""

    nearest: float = np.inf
    failures: int = 0

    def note(self, distance: float, end: _StageEnd) -> None:
        """Take the distance from the optimum after a stage into account."""
        if distance < PROGRESS * self.nearest:
            self.failures = 0
        else:
            self.failures += end.iterations or (1 if end.finished else LINE_SEARCH)
        self.nearest = min(self.nearest, distance)


def _minimise_hinge(run: _Run, objective: Objective, at: Evaluation) -> Objective:
    """Method of multipliers: each outer step minimises the envelope, then moves the multipliers.

    A loss without kinks is tried as it is before. Returns the objective as it was minimised last.
    """
    run.round_off = objective.loss_round_off()
    if (loss := objective.unsmoothed()) is not None:
        end = _minimise_smooth(run, loss, loss.evaluate(at.theta), SOFT)
        # Where its curvature jumps, a step may fail that promises little.
        settled = run.is_within(run.tol) and end.why is not _Stop.STALLED
        if run.is_certified or run.iterations_left == 0 or settled:
            return loss
        at = objective.evaluate(run.best.theta)
        run.note(objective, at)
    # Where digits are cheap and wanted, the fit ends on the active set.
    thorough = run.tol <= FINE and digits_are_cheap(objective)
    steps = LAST_STEPS if thorough else 0
    patience, iterations, widening, left, slow = _Patience(), 0, 1.0, np.inf, False
    while True:
        # Where an envelope is flat its own curvature says nothing; that of a smoother one does.
        preconditioner = precondition(objective.smoothed(widening), at.theta, len(run.history))
        most = _stage_length(preconditioner, KINKED_STAGE)
        is_finished = partial(_is_solved, run, objective)
        end_of_stage = _Stage(run, objective, preconditioner, at, is_finished).minimise(most)
        run.milestone("stage")
        idle = end_of_stage.at.value >= at.value - FINEST_GAP * abs(at.value)
        at = end_of_stage.at
        iterations += end_of_stage.iterations
        patience.note(run.distance, end_of_stage)
        if run.is_within(run.tol) and not thorough:
            _certify(run, objective, at)
        reached = run.is_within(FINEST_GAP) if thorough else run.is_certified
        spent = patience.failures >= (LAST_PATIENCE if run.is_certified else PATIENCE)
        if (reached and steps == 0) or spent or run.iterations_left == 0:
            break
        steps -= reached
        stuck = end_of_stage.iterations == 0 and end_of_stage.decrement <= FINEST_GAP * abs(at.objective)
        if end_of_stage.finished or stuck or widening >= WIDEST:
            objective = objective.with_multipliers(at.theta)
            if iterations <= EASY or slow:
                objective = objective.smoothed(SHRINK)
            at = objective.evaluate(at.theta)
            run.note(objective, at)
            left, slow = run.distance, run.distance > SLOW * left
            run.milestone("outer step")
            iterations, widening = 0, 1.0
        else:
            widening = WIDEN * widening if idle else max(widening / WIDEN, 1.0)
    if not run.is_certified:
        # Rounding of scores, over the smoothing, keeps the intercept's condition from being met.
        smoother = objective.with_multipliers(at.theta).smoothed(BALANCING)
        at = smoother.evaluate(at.theta)
        run.note(smoother, at)
        _certify(run, smoother, at)
    return objective


def _certify(run: _Run, objective: Objective, at: Evaluation) -> None:
    """Raise the bound by what does not move the coefficients."""
    at = _balance_intercept(run, objective, at)
    if objective.penalty and not run.is_certified:
        run.bound = max(run.bound, corrected_bound(objective, at))


def _balance_intercept(run: _Run, objective: Objective, at: Evaluation) -> Evaluation:
    """Where Newton steps of the intercept alone end, made as long as its condition holds the bound back."""
    if not objective.fit_intercept:
        return at
    for _ in range(BALANCING_STEPS):
        if run.is_certified:
            break
        gap = run.gap
        curvature = objective.total_curvature(at.theta)
        theta = at.theta.copy()
        theta[-1] -= np.linalg.lstsq(curvature, at.gradient[-1], rcond=None)[0]
        moved = objective.evaluate(theta)
        if not np.linalg.norm(moved.gradient[-1]) < np.linalg.norm(at.gradient[-1]):
            break
        at = moved
        run.note(objective, at)
        # From here on it is not the intercept that keeps them apart.
        if run.gap > gap / 2:
            break
    return at


def _stage_length(preconditioner: Preconditioner, bounds: tuple[int, int] = EXACT_STAGE) -> int:
    """Iterations after which the curvature is taken anew, within these bounds where it is exact."""
    if preconditioner.exact:
        least, most = bounds
        return int(min(max(preconditioner.cost, least), most))
    least, most = INEXACT_STAGE
    length = min(max(preconditioner.cost / 2, least), most)
    return int(min(length, preconditioner.most_iterations))


class _Trial(NamedTuple):
    """A point that L-BFGS has looked at: parameters, evaluation, and scaled value and slope."""

    u: Array
    at: Evaluation
    value: float
    slope: Array


class _Stage:
    """L-BFGS from `start` in the preconditioned parameters, scaled so that its first step has length 1.

    With the curvature at hand this first step is Newton's, where scipy's own first step would be a short
    one along the gradient. The decrement is half the squared preconditioned gradient over the least
    curvature met on the way, so a preconditioner that misses some curvature does not end the fit early.
    """

    def __init__(
        self,
        run: _Run,
        objective: Objective,
        preconditioner: Preconditioner,
        start: Evaluation,
        is_finished: Callable[[Evaluation, float], bool],
    ) -> None:
        self.run, self.objective, self.preconditioner = run, objective, preconditioner
        self.start, self.is_finished = start, is_finished
        slope = preconditioner.gradient(start.gradient)
        self.length = math.sqrt(slope @ slope)
        self.end = _StageEnd(start, self.length**2 / 2, 0, False)
        self.least_curvature = 1.0
        # Smaller changes of the objective drown in round-off and are integrated from the slopes.
        self.rounded = objective.rows.resolution**0.75 * abs(start.value)
        self.origin = _Trial(np.zeros_like(slope), start, 0.0, slope / (self.length or 1.0))
        self.latest = self.accepted = self.origin

    def minimise(self, most: int) -> _StageEnd:
        """Where at most so many iterations end."""
        preconditioner, run = self.preconditioner, self.run
        if (preconditioner.exact or run.is_certified) and self.is_finished(self.start, self.end.decrement):
            return self.end._replace(finished=True)
        if self.length**2 == 0:
            return self.end
        options = {
            "maxiter": min(most, run.iterations_left),
            "maxcor": memory(self.objective),
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
        if abs(at.value - accepted.at.value) <= self.rounded:
            value = accepted.value + float((accepted.slope + slope) @ (u - accepted.u)) / 2
        self.latest = _Trial(u.copy(), at, value, slope)
        return value

    def _accept(self, intermediate_result: OptimizeResult) -> None:
        """Take the point that was looked at last as the next iterate; ends the stage if it is the last."""
        latest, accepted = self.latest, self.accepted
        step = latest.u - accepted.u
        if (squared := float(step @ step)) > 0:
            change = latest.slope - accepted.slope
            self.least_curvature = min(self.least_curvature, float(step @ change) / squared)
        self.accepted = latest
        decrement = self.length**2 * float(latest.slope @ latest.slope) / 2
        decrement /= max(self.least_curvature, np.finfo(float).eps)
        self.run.accept(self.objective, latest.at)
        finished = self.is_finished(latest.at, decrement)
        self.end = _StageEnd(latest.at, decrement, self.end.iterations + 1, finished)
        self.run.end(self.objective)
        if finished or self.run.stopped:
            raise StopIteration
