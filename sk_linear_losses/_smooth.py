"""Differentiable objectives: stages of L-BFGS, from a sample of the rows to all of them.

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
from ._objective import Evaluation, Objective
from ._preconditioner import Preconditioner, precondition
from ._run import FINEST_DECREMENT, Run
from ._stage import SMOOTH, Assessment, Stage, StageEnd, stage_length

# How many times less than `tol` the decrement must be where curvature is not exact; each time that the gap is
# not certified then, the next of these: in bad units that takes ten digits, which come fast by then.
CAUTIONS = tuple(10.0 * 100.0**k for k in range(6))
CAUTION = CAUTIONS[0]
# Most steps of the intercept alone at a time, and how many times nearer the optimum the next ones are made.
BALANCING_STEPS, REBALANCING = 3, 10
# Most iterations on a sample of the rows, and the share of its noise, or of its objective, at which they end.
SAMPLE_ITERATIONS, SAMPLE_DIGITS = 100, 0.01
# Largest relative distance from the optimum, by estimate, that is promising, and by the curvature of each
# feature alone, which knows less of it.
PROMISING, ALONE_PROMISING = 0.5, 0.1
# Share of the objective that exact curvature promises to take where it says nothing of what is there: next to
# other samples, which do not curve yet. Of soft margins it promised at most 0.6 after twenty iterations.
IMPLAUSIBLE = 0.8
# In place of an objective that is zero.
SMALLEST = float(np.finfo(float).tiny)
# Change of a score in a Newton step that shows an optimum at infinity, once the decrement is down to this
# share of the objective; near a finite optimum the change is then tiny.
DIVERGING_STEP, STATIONARY = 0.1, 1e-10


class Stop(Enum):
    """Why stages ended."""

    MET = "The goal is met, as far as this curvature can tell."
    STALLED = "A stage made no progress."
    LIMIT = "No iterations are left, or the optimum does not seem near."
    UNBOUNDED = "The optimum is at infinity."


class IterationLimit(NamedTuple):
    """No stage begins after so many iterations; a soft limit is passed as long as the optimum seems near.

    After another limit others go on, and no time is taken for a certificate. Once `tried`, no stage begins
    either whose exact curvature promises what is not plausible.
    """

    iterations: float = math.inf
    is_soft: bool = True
    tried: float = math.inf


NO_LIMIT = IterationLimit()


class SmoothEnd(NamedTuple):
    """Where stages ended, why, and the last curvature, with which others may go on."""

    at: Evaluation
    why: Stop
    preconditioner: Preconditioner | None


def minimise_smooth(
    run: Run, objective: Objective, at: Evaluation, limit: IterationLimit = NO_LIMIT
) -> SmoothEnd:
    """Minimise over samples of the rows, then in float32 where that is what X holds, then as asked.

    Returns where that ended.
    """
    at, preconditioner = _warm_start(run, objective, at)
    if preconditioner is not None:
        run.note(objective, at)
    # Half the precision saves nothing where an evaluation costs little.
    if not is_small(objective) and (rounded := objective.to_float32()) is not None:
        # Bounds say when to go on in full precision, but prove nothing until then.
        run.round_sums()
        stages = _Stages(run, rounded, limit)
        preconditioner = stages.minimise(at, preconditioner).preconditioner
        at = objective.evaluate(run.best.theta)
        run.restart(objective, at)
    return _Stages(run, objective, limit).minimise_and_certify(at, preconditioner)


def certify(run: Run, objective: Objective, at: Evaluation, thoroughly: bool) -> None:
    """Raise the bound of a run by what hardly moves the coefficients.

    `thoroughly` by corrections too: they take as long as many evaluations, and bring nothing as long as
    iterations bring the gradient down.
    """
    if objective.fit_intercept and not run.is_certified:
        at = balance_intercept(run, objective, at)
    if thoroughly and objective.penalty and not run.is_certified:
        run.raise_bound(corrected_bound(objective, at))


def balance_intercept(run: Run, objective: Objective, at: Evaluation) -> Evaluation:
    """Where steps of the intercept alone end, made while its condition keeps the bound low.

    They are Newton's but for the curvature, which is that at the first: they are short.
    """
    curvature = CurvatureAt(objective, at.theta).total()
    round_off = len(curvature) * np.finfo(float).eps
    for _ in range(BALANCING_STEPS):
        gap, theta = run.gap, at.theta.copy()
        step, *_ = scipy.linalg.lstsq(
            curvature, at.gradient[-1], cond=round_off, check_finite=False, lapack_driver="gelsy"
        )
        theta[-1] -= step
        moved = objective.evaluate(theta)
        if not np.linalg.norm(moved.gradient[-1]) < np.linalg.norm(at.gradient[-1]):
            break
        at = moved
        run.note(objective, at)
        # From here on it is not the intercept that keeps them apart.
        if run.is_certified or run.gap > gap / 2:
            break
    return at


def _warm_start(run: Run, objective: Objective, at: Evaluation) -> tuple[Evaluation, Preconditioner | None]:
    """A better point to start from, by way of samples of the rows, and the curvature found there.

    The optimum for m of the samples is some n_parameters / (2 m) nats per sample above that for all, and one
    evaluation costs so much less. It is not sought to more digits than that. Neither values nor bounds for a
    sample hold for all rows, so that each sample has a run of its own; `run` only reports them. Nor does what
    the curvature costs: taken anew it is that of all rows.
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
        # The optimum may be known from before: that of a sample, whose slope has such an error, is farther.
        slope = preconditioner.gradient(at.gradient)
        error = preconditioner.gradient(start.gradient - at.gradient)
        if error @ error >= slope @ slope:
            return at, replace(preconditioner, renewal_cost=cost)
    end, stuck = StageEnd(start, np.inf, 0, False), 0
    # The first curvature may be that of a smaller sample and allow no step where its own does.
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
    """Stages of one objective, each with curvature taken anew but for the first where that is given."""

    def __init__(self, run: Run, objective: Objective, limit: IterationLimit) -> None:
        self.run, self.objective, self.limit = run, objective, limit
        # How cautious estimates are, and whether curvature may cost anything.
        self.caution, self.at_any_cost = CAUTION, False
        # Relative distance from the optimum, by estimate, at which the intercept is balanced next.
        self.balanced_at = run.tol / CAUTION

    def minimise_and_certify(self, at: Evaluation, preconditioner: Preconditioner | None) -> SmoothEnd:
        """Where stages end, made again with more caution as long as that may bring a certificate."""
        end = self._attempt(at, preconditioner)
        for caution in CAUTIONS[1:]:
            if not self._rests_on_estimate(end):
                break
            self.caution = caution
            end = self._attempt(end.at, end.preconditioner)
        # Where estimates have failed, the best curvature is taken at any cost.
        if self._rests_on_estimate(end) and _is_blind(end.preconditioner):
            self.at_any_cost = True
            end = self._attempt(end.at, None)
        if not self.run.is_certified and not self._is_trusted(end.preconditioner):
            self.run.estimate = math.inf
        return end

    def _attempt(self, at: Evaluation, preconditioner: Preconditioner | None) -> SmoothEnd:
        """Where stages end, certified as far as that may be had there."""
        end = self.minimise(at, preconditioner)
        if end.why is not Stop.UNBOUNDED:
            self.run.note(self.objective, end.at)
            no_more = self.limit.is_soft and not self._rests_on_estimate(end)
            thoroughly = no_more or self.caution == CAUTIONS[-1]
            certify(self.run, self.objective, end.at, thoroughly=thoroughly)
        return end

    def minimise(self, at: Evaluation, preconditioner: Preconditioner | None) -> SmoothEnd:
        """Where stages end."""
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
            tried = preconditioner.exact and len(run.history) >= self.limit.tried
            if tried and stage.end.decrement > IMPLAUSIBLE * abs(at.objective):
                return SmoothEnd(at, Stop.LIMIT, preconditioner)
            end = stage.minimise(most)
            run.milestone("stage")
            # For digits that the certificate does not ask for, dear curvature is not taken anew.
            if end.finished or (run.is_certified and _is_dear(preconditioner)):
                return SmoothEnd(end.at, Stop.MET, preconditioner)
            # Of numbers that overflowed none is less than another.
            if not end.at.value < at.value and not end.decrement < decrement / 10:
                return SmoothEnd(end.at, Stop.STALLED, preconditioner)
            at, decrement, latest, preconditioner = end.at, end.decrement, preconditioner, None
        return SmoothEnd(at, Stop.LIMIT, latest)

    def _assess(self, preconditioner: Preconditioner, at: Evaluation, decrement: float) -> Assessment:
        """Note the decrement as the distance from the optimum, and assess it; may balance the intercept.

        The certificate decides where it can be had: exact curvature makes it tight, but for sums that are
        rounded. From all samples and in double precision, exact curvature also makes digits cheap, so that
        the coefficients, of which the decrement bounds the squared error, get as accurate as the objective.
        """
        run = self.run
        run.estimate = decrement
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
        # Where that is no excess, it says nothing of what a certificate lacks.
        return Assessment(is_met, excess if excess > 1 else math.inf)

    def _may_go_on(self, latest: Preconditioner | None) -> bool:
        """Whether the limit allows another stage, the latest curvature being this.

        A soft limit does if it says that the optimum is near. The gap says less: it can be small where the
        margin is hard, too.
        """
        if len(self.run.history) < self.limit.iterations:
            return True
        share = PROMISING if latest is not None and latest.couples_features else ALONE_PROMISING
        return self.limit.is_soft and self.run.estimate <= share * abs(self.run.best.objective)

    def _balance(self, at: Evaluation, distance: float) -> None:
        """Make steps of the intercept alone where its condition is all that a certificate lacks.

        With many or rare classes the other parameters would take digits that nobody asked for until it holds.
        """
        run, objective = self.run, self.objective
        lacking = objective.penalty and objective.fit_intercept and not run.is_certified
        if lacking and objective.stationarity(at) <= run.tol * abs(at.objective):
            self.balanced_at = distance / REBALANCING
            balance_intercept(run, objective, at)

    def _rests_on_estimate(self, end: SmoothEnd) -> bool:
        """Whether an estimate alone ended the stages, so that going on may bring a certificate."""
        run, known = self.run, end.preconditioner
        if run.is_certified or self.objective.penalty == 0 or run.iterations_left == 0:
            return False
        return end.why is Stop.MET and known is not None and not known.exact

    def _is_trusted(self, preconditioner: Preconditioner | None) -> bool:
        """Whether the estimate of the distance may stand for a certificate, however the stages ended.

        Where there is no penalty, and no certificate to be had, it is all there is.
        """
        if self.objective.penalty and (_is_blind(preconditioner) or not self.run.is_credible):
            return False
        return self.run.is_within(self.run.tol / CAUTION)


def _is_blind(preconditioner: Preconditioner | None) -> bool:
    """Whether this curvature may hide what moves the objective.

    That of each feature alone can, as the difference of two features does that are nearly equal.
    """
    return preconditioner is not None and not preconditioner.couples_features


def _ratio(distance: float, goal: float) -> float:
    """How many times the goal a distance is; infinite where float64 has no such number."""
    return float(distance) / float(goal) if goal > 0 else math.inf


def _is_dear(preconditioner: Preconditioner) -> bool:
    """Whether taking this curvature anew costs more than the longest stage that it is kept for."""
    _, longest = SMOOTH.exact
    return preconditioner.renewal_cost > longest


def _diverges(objective: Objective, preconditioner: Preconditioner, at: Evaluation) -> bool:
    """Whether the optimum is at infinity.

    It is where the classes are separated, and where scores still move that no longer change the objective.
    """
    slope = preconditioner.gradient(at.gradient)
    if slope @ slope / 2 > STATIONARY * at.objective:
        return objective.separates(at.theta)
    return objective.largest_score(preconditioner.step(slope)) > DIVERGING_STEP
