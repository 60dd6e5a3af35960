"""Minimises differentiable objectives by stages of L-BFGS, from a sample of the rows to all of them.

Knows an objective, its preconditioners and stages.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.linalg

from ._certificate import corrected_bound
from ._cost import CostModel, is_small, saves_evaluations
from ._curvature import CurvatureAt
from ._numerics import EPSILON, SMALLEST
from ._objective import Evaluation, Objective
from ._preconditioner import Preconditioner, precondition
from ._run import FINEST_DECREMENT, Run
from ._stage import SMOOTH, Assessment, Stage, StageEnd, stage_length

# Where curvature is not exact, stages end once the relative decrement is at most `tol` over the first of
# these. Each time that the gap is not certified then, they go on to the next. Features in bad units take ten
# digits, which come fast by then.
CAUTIONS = tuple(10.0 * 100.0**k for k in range(6))
CAUTION = CAUTIONS[0]
# BALANCING_STEPS: most steps of the intercept alone at a time.
# BALANCED: they end once the imbalance is at most this share of the gap, which other parts then keep open.
# REBALANCING: such steps are made again once the optimum is this many times nearer.
BALANCING_STEPS, BALANCED, REBALANCING = 5, 0.01, 10
# SAMPLE_ITERATIONS: most iterations on a sample of the rows.
# SAMPLE_DIGITS: they end once the decrement is at most this share of the sample's noise, n_parameters /
# n_samples nats per sample, and of its objective.
SAMPLE_ITERATIONS, SAMPLE_DIGITS = 100, 0.01
# Largest estimated distance from the optimum, as a share of the objective, at which going on is promising.
# The second is for curvature that does not couple all features: by it the estimate is less reliable.
PROMISING, UNCOUPLED_PROMISING = 0.5, 0.1
# Share of the objective above which the decrease that exact curvature promises is not believed: the step ends
# near other samples, which do not curve yet. With soft margins at most 0.6 was promised after twenty
# iterations.
IMPLAUSIBLE = 0.8
# DIVERGING_STEP: a Newton step that changes a score by more shows an optimum at infinity, once the decrement
# is down to the share STATIONARY of the objective. Near a finite optimum the change is then tiny.
DIVERGING_STEP, STATIONARY = 0.1, 1e-10


class Stop(Enum):
    """Why stages ended."""

    MET = "The goal is met, as far as this curvature can tell."
    STALLED = "A stage made no progress."
    LIMIT = "No iterations are left, the optimum does not seem near, or too much of a decrease is promised."
    UNBOUNDED = "The optimum is at infinity."


class IterationLimit(NamedTuple):
    """Iterations after which no stage begins; a soft limit is passed as long as the optimum seems near.

    After a hard limit another method goes on, so no time is spent on a thorough certificate. After
    `tried_after` iterations, a stage does not begin either if its exact curvature promises an implausible
    decrease.
    """

    iterations: float = math.inf
    is_soft: bool = True
    tried_after: float = math.inf


NO_LIMIT = IterationLimit()


class SmoothEnd(NamedTuple):
    """Where stages ended, why, and the last preconditioner, with which other stages may go on."""

    at: Evaluation
    why: Stop
    preconditioner: Preconditioner | None


def minimise_smooth(
    run: Run, objective: Objective, at: Evaluation, limit: IterationLimit = NO_LIMIT
) -> SmoothEnd:
    """Minimise over samples of the rows, then over all rows in float32 if X holds that, then in float64.

    Return where the last of these ended.
    """
    at, preconditioner = _warm_start(run, objective, at)
    if preconditioner is not None:
        run.note(objective, at)
    # Single precision saves nothing where an evaluation costs little.
    if not is_small(objective) and (rounded := objective.to_float32()) is not None:
        # Bounds from rounded sums tell when to go on in float64, but prove nothing.
        run.round_sums()
        stages = _Stages(run, rounded, limit)
        preconditioner = stages.minimise(at, preconditioner).preconditioner
        at = objective.evaluate(run.best.theta)
        run.restart(objective, at)
    return _Stages(run, objective, limit).minimise_and_bound(at, preconditioner)


def tighten_bound(run: Run, objective: Objective, at: Evaluation, thoroughly: bool) -> None:
    """Raise the bound of a run by steps of the intercept alone; `thoroughly` also by corrected multipliers.

    Neither moves the coefficients. Corrections take as long as many evaluations, and bring nothing as long as
    iterations reduce the gradient.
    """
    if objective.fit_intercept and not run.is_certified:
        at = balance_intercept(run, objective, at)
    if thoroughly and objective.penalty and not run.is_certified:
        run.raise_bound(corrected_bound(objective, at))


def balance_intercept(run: Run, objective: Objective, at: Evaluation) -> Evaluation:
    """Make steps of the intercept alone while its condition keeps the bound low; return where they end.

    They are Newton steps, except that all use the curvature at the first point: the steps are short.
    """
    curvature = CurvatureAt(objective, at.theta).total()
    round_off = len(curvature) * EPSILON
    for _ in range(BALANCING_STEPS):
        theta = at.theta.copy()
        step, *_ = scipy.linalg.lstsq(
            curvature, at.gradient[-1], cond=round_off, check_finite=False, lapack_driver="gelsy"
        )
        theta[-1] -= step
        moved = objective.evaluate(theta)
        if not np.linalg.norm(moved.gradient[-1]) < np.linalg.norm(at.gradient[-1]):
            break
        at = moved
        run.note(objective, at)
        if run.is_certified or objective.relative_imbalance(at) * abs(at.objective) <= BALANCED * run.gap:
            break
    return at


def _warm_start(run: Run, objective: Objective, at: Evaluation) -> tuple[Evaluation, Preconditioner | None]:
    """A better starting point, found by minimising over samples of the rows, and the curvature found there.

    A sample starts from the optimum of a smaller sample, and so on. Its evaluations cost much less. At the
    optimum for m samples, the objective for all is some n_parameters / (2 m) nats per sample above its least,
    so a sample's optimum is not sought to more digits. Values and bounds for a sample do not hold for all
    rows: each sample has a run of its own, and `run` only reports them. The renewal cost of the curvature
    returned is that for all rows.
    """
    sample = objective.thinned()
    if sample is None or not saves_evaluations(sample, objective):
        return at, None
    start, preconditioner = _warm_start(run, sample, sample.evaluate(at.theta))
    trial = Run(0.0, SAMPLE_ITERATIONS, (), start, run.started)
    weight = objective.C * objective.statistics.total_weight
    noise = SAMPLE_DIGITS * weight * objective.n_parameters / sample.rows.n_samples

    def assess(at: Evaluation, decrement: float) -> Assessment:
        return Assessment(decrement <= min(noise, SAMPLE_DIGITS * abs(at.value)))

    preconditioner = preconditioner or precondition(sample, start.theta, whole=objective)
    cost = CostModel(objective, objective, 0).best.cost
    if start.theta is at.theta:
        # `at` may be near the optimum already, known from an earlier fit. The optimum of the sample is
        # farther away if the error of the sample's slope is at least as large as the slope.
        slope = preconditioner.gradient(at.gradient)
        error = preconditioner.gradient(start.gradient - at.gradient)
        if error @ error >= slope @ slope:
            return at, replace(preconditioner, renewal_cost=cost)
    end, stuck = StageEnd(start, np.inf, 0, False), 0
    # The first curvature may be that of a smaller sample: it may allow no step where the sample's own does.
    while trial.iterations_left > 0 and not end.finished and stuck < 2:
        most = stage_length(preconditioner, made=len(trial.history))
        end = Stage(trial, sample, preconditioner, end.at, assess).minimise(most)
        stuck = 0 if end.iterations else stuck + 1
        preconditioner = precondition(sample, end.at.theta, whole=objective)
    trial.note(sample, end.at)
    replace(trial, reporters=run.reporters).milestone("sample", f" of {sample.rows.n_samples} rows")
    moved = objective.evaluate(end.at.theta)
    if not moved.objective < at.objective:
        return at, None
    return moved, replace(preconditioner, renewal_cost=cost)


class _Stages:
    """Stages of one objective, each with new curvature, except that the first may be given its curvature."""

    def __init__(self, run: Run, objective: Objective, limit: IterationLimit) -> None:
        self.run, self.objective, self.limit = run, objective, limit
        # The factor of `CAUTIONS` in use, and whether curvature is taken at any cost.
        self.caution, self.at_any_cost = CAUTION, False
        # Estimated relative distance from the optimum at which the intercept is balanced next.
        self.balanced_at = run.tol / CAUTION

    def minimise_and_bound(self, at: Evaluation, preconditioner: Preconditioner | None) -> SmoothEnd:
        """Run stages, and again with more caution as long as that may bring a certificate; return the end."""
        end = self._attempt(at, preconditioner)
        for caution in CAUTIONS[1:]:
            if not self._rests_on_estimate(end):
                break
            self.caution = caution
            end = self._attempt(end.at, end.preconditioner)
        # Where estimates have failed, the best curvature is taken at any cost.
        if self._rests_on_estimate(end) and _may_miss_directions(end.preconditioner):
            self.at_any_cost = True
            end = self._attempt(end.at, None)
        if not self.run.is_certified and not self._is_trusted(end.preconditioner):
            self.run.distrust_estimate()
        return end

    def _attempt(self, at: Evaluation, preconditioner: Preconditioner | None) -> SmoothEnd:
        """Run stages, raise the bound where they end, and return the end."""
        end = self.minimise(at, preconditioner)
        if end.why is not Stop.UNBOUNDED:
            self.run.note(self.objective, end.at)
            no_more = self.limit.is_soft and not self._rests_on_estimate(end)
            thoroughly = no_more or self.caution == CAUTIONS[-1]
            tighten_bound(self.run, self.objective, end.at, thoroughly=thoroughly)
        return end

    def minimise(self, at: Evaluation, preconditioner: Preconditioner | None) -> SmoothEnd:
        """Run stages and return where they end."""
        run, objective = self.run, self.objective
        decrement, latest = np.inf, preconditioner
        while run.iterations_left > 0 and self._may_go_on(latest):
            n_iter = math.inf if self.at_any_cost else len(run.history)
            preconditioner = preconditioner or precondition(objective, at.theta, n_iter)
            if objective.may_be_unbounded and _diverges(objective, preconditioner, at):
                return SmoothEnd(at, Stop.UNBOUNDED, preconditioner)
            assess = partial(self._assess, preconditioner)
            most = stage_length(preconditioner, made=len(run.history))
            stage = Stage(run, objective, preconditioner, at, assess)
            tried = preconditioner.exact and len(run.history) >= self.limit.tried_after
            if tried and stage.end.decrement > IMPLAUSIBLE * abs(at.objective):
                return SmoothEnd(at, Stop.LIMIT, preconditioner)
            end = stage.minimise(most)
            run.milestone("stage")
            # Dear curvature is not taken anew for digits that the certificate does not need.
            if end.finished or (run.is_certified and _is_dear(preconditioner)):
                return SmoothEnd(end.at, Stop.MET, preconditioner)
            # Numbers that overflowed are not less than one another: such a stage counts as stalled.
            if not end.at.value < at.value and not end.decrement < decrement / 10:
                return SmoothEnd(end.at, Stop.STALLED, preconditioner)
            at, decrement, latest, preconditioner = end.at, end.decrement, preconditioner, None
        return SmoothEnd(at, Stop.LIMIT, latest)

    def _assess(self, preconditioner: Preconditioner, at: Evaluation, decrement: float) -> Assessment:
        """Assess the decrement and note it as the distance from the optimum; may balance the intercept.

        With exact curvature the certificate decides: it is tight, unless sums are rounded. Exact curvature
        from all samples, in double precision, also makes digits cheap. The stage then goes on until the
        coefficients, whose squared error the decrement bounds, are as accurate as the objective.
        """
        run = self.run
        run.note_estimate(decrement)
        scale = float(abs(run.best.objective)) or SMALLEST
        if not preconditioner.exact or run.sums_are_rounded:
            tol = run.tol / self.caution
            is_met = run.is_certified or run.is_within(tol)
            return Assessment(is_met, _ratio(run.distance, tol * scale))
        goal = min(run.tol / CAUTION, 1.0) ** 2 * (at.penalty or scale)
        accurate = preconditioner.sampled or decrement <= goal
        if decrement <= self.balanced_at * scale and (accurate or _is_dear(preconditioner)):
            self._balance(at, decrement / scale)
        is_met = (run.is_certified and accurate) or decrement <= FINEST_DECREMENT * scale
        excess = _ratio(max(decrement, self.objective.stationarity(at)), run.tol * scale)
        if not preconditioner.sampled and not _is_dear(preconditioner):
            excess = max(excess, _ratio(decrement, goal))
        # A factor of at most one does not tell how much a certificate lacks.
        return Assessment(is_met, excess if excess > 1 else math.inf)

    def _may_go_on(self, latest: Preconditioner | None) -> bool:
        """Whether the limit allows another stage after one with the preconditioner `latest`.

        A soft limit does if the optimum is near by the estimate of that stage. The gap tells less: it can be
        small where the margin is hard, too.
        """
        if len(self.run.history) < self.limit.iterations:
            return True
        share = PROMISING if latest is not None and latest.couples_features else UNCOUPLED_PROMISING
        return self.limit.is_soft and self.run.estimate <= share * abs(self.run.best.objective)

    def _balance(self, at: Evaluation, distance: float) -> None:
        """Make steps of the intercept alone where its condition is all that a certificate lacks.

        With many or rare classes, waiting for the condition to hold would bring the other parameters to
        digits that nobody asked for.
        """
        run, objective = self.run, self.objective
        lacking = objective.penalty and objective.fit_intercept and not run.is_certified
        if lacking and objective.stationarity(at) <= run.tol * abs(at.objective):
            self.balanced_at = distance / REBALANCING
            balance_intercept(run, objective, at)

    def _rests_on_estimate(self, end: SmoothEnd) -> bool:
        """Whether only an estimate ended the stages, so that going on may bring a certificate."""
        run, known = self.run, end.preconditioner
        if run.is_certified or self.objective.penalty == 0 or run.iterations_left == 0:
            return False
        return end.why is Stop.MET and known is not None and not known.exact

    def _is_trusted(self, preconditioner: Preconditioner | None) -> bool:
        """Whether the estimate of the distance may stand for a certificate, however the stages ended.

        Without a penalty there is no certificate, and the estimate is all there is.
        """
        if self.objective.penalty and (_may_miss_directions(preconditioner) or not self.run.is_credible):
            return False
        return self.run.is_within(self.run.tol / CAUTION)


def _may_miss_directions(preconditioner: Preconditioner | None) -> bool:
    """Whether the curvature may hide a direction that moves the objective.

    Curvature that does not couple all features may hide the difference of two that are nearly equal.
    """
    return preconditioner is not None and not preconditioner.couples_features


def _ratio(distance: float, goal: float) -> float:
    """The distance as a multiple of the goal; infinite where float64 cannot hold that."""
    return float(distance) / float(goal) if goal > 0 else math.inf


def _is_dear(preconditioner: Preconditioner) -> bool:
    """Whether taking this curvature anew costs more evaluations than an exact stage may have iterations."""
    _, longest = SMOOTH.exact
    return preconditioner.renewal_cost > longest


def _diverges(objective: Objective, preconditioner: Preconditioner, at: Evaluation) -> bool:
    """Whether the optimum is at infinity.

    It is where the classes are separated, or where scores still move but no longer change the objective.
    """
    slope = preconditioner.gradient(at.gradient)
    if slope @ slope / 2 > STATIONARY * at.objective:
        return objective.separates(at.theta)
    return objective.largest_score(preconditioner.step(slope)) > DIVERGING_STEP
