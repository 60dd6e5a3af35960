"""Differentiable objectives: stages of L-BFGS, from a sample of the rows to all of them.

Knows an objective, its preconditioners and stages.
"""

from __future__ import annotations

import math
from enum import Enum
from functools import partial
from typing import NamedTuple

import numpy as np

from ._cost import is_small
from ._objective import Evaluation, Objective
from ._preconditioner import Preconditioner, precondition
from ._rows import ROUND_OFF
from ._run import FINEST_DECREMENT, Run
from ._stage import Stage, StageEnd, stage_length

# Where curvature is not exact the decrement must be this many times less than `tol`. While the gap is not
# certified it must then be a hundred times less again, up to so often: in bad units that takes ten digits,
# which come fast by then.
CAUTION, DOUBTS = 10, 5
# Most iterations on a sample of the rows, and the share of its noise, or of its objective, at which they end.
SAMPLE_ITERATIONS, SAMPLE_DIGITS = 100, 0.01
# Change of a score in a Newton step that shows an optimum at infinity, once the decrement is down to this
# share of the objective; near a finite optimum the change is then tiny.
DIVERGING_STEP, STATIONARY = 0.1, 1e-10


class Stop(Enum):
    """Why stages ended."""

    CERTAIN = "The goal is met by exact curvature."
    ESTIMATED = "The goal is met by curvature that is not exact."
    GUESSED = "The goal is met by the curvature of each feature alone."
    STALLED = "A stage made no progress."
    LIMIT = "There are no iterations left."
    UNBOUNDED = "The optimum is at infinity."


class SmoothEnd(NamedTuple):
    """Where stages ended, why, and the curvature to go on with."""

    at: Evaluation
    why: Stop
    preconditioner: Preconditioner | None


def minimise_smooth(
    run: Run, objective: Objective, at: Evaluation, most_iterations: float = math.inf
) -> SmoothEnd:
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
    while end.why is not Stop.UNBOUNDED:
        run.note(objective, end.at)
        run.certify(objective, end.at)
        if not _may_be_certified(run, objective, end):
            break
        run.doubts += 1
        known = end.preconditioner if run.doubts <= DOUBTS else None
        end = _run_stages(run, objective, end.at, known, most_iterations)
    if not run.is_certified and not _is_trusted(run, objective, end.preconditioner):
        run.estimate = np.inf
    return end


def _may_be_certified(run: Run, objective: Objective, end: SmoothEnd) -> bool:
    """Whether an estimate alone ended the stages, so that going on may bring a certificate.

    Where it is that of each feature alone, going on ends with better curvature at any cost.
    """
    if run.is_certified or objective.penalty == 0 or run.iterations_left == 0:
        return False
    if end.why is Stop.GUESSED:
        return run.doubts <= DOUBTS
    return end.why is Stop.ESTIMATED and run.doubts < DOUBTS


def _is_trusted(run: Run, objective: Objective, preconditioner: Preconditioner | None) -> bool:
    """Whether the estimate of the distance may stand for a certificate, however the stages ended.

    With the curvature of each feature alone it may not: it can hide what moves the objective, as the
    difference of two features does that are nearly equal. Where there is no penalty, and no certificate to be
    had, it is all there is.
    """
    if objective.penalty and preconditioner is not None and not preconditioner.correlated:
        return False
    return run.is_within(run.tol / CAUTION)


def _warm_start(run: Run, objective: Objective, at: Evaluation) -> tuple[Evaluation, Preconditioner | None]:
    """A better point to start from, by way of samples of the rows, and the curvature found there.

    The optimum for m of the samples is some n_parameters / (2 m) nats per sample above that for all, and one
    evaluation costs so much less. It is not sought to more digits than that. Neither values nor bounds for a
    sample hold for all rows, so that each sample has a run of its own; `run` only reports them.
    """
    sample = objective.thinned()
    if sample is None:
        return at, None
    start, preconditioner = _warm_start(run, sample, sample.evaluate(at.theta))
    trial = Run(0.0, SAMPLE_ITERATIONS, (), start, run.started)
    n_parameters = objective.shape[0] * objective.shape[1]
    weight = float(objective.statistics.class_weight.sum())
    noise = SAMPLE_DIGITS * objective.C * weight * n_parameters / sample.rows.n_samples

    def is_finished(at: Evaluation, decrement: float) -> bool:
        return decrement <= min(noise, SAMPLE_DIGITS * abs(at.value))

    preconditioner = preconditioner or precondition(sample, start.theta, whole=objective)
    end, stuck = StageEnd(start, np.inf, 0, False), 0
    # The first curvature may be that of a smaller sample and allow no step where its own does.
    while trial.iterations_left > 0 and not end.finished and stuck < 2:
        most = stage_length(preconditioner)
        end = Stage(trial, sample, preconditioner, end.at, is_finished).minimise(most)
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
    run: Run,
    objective: Objective,
    at: Evaluation,
    preconditioner: Preconditioner | None,
    most_iterations: float,
) -> SmoothEnd:
    """Stages, each with curvature taken anew but for the first where that is given.

    Like `minimise_smooth` they end after `most_iterations`. Returns where they ended.
    """
    decrement, latest = np.inf, preconditioner
    while run.iterations_left > 0 and (len(run.history) < most_iterations or run.is_promising):
        n_iter = len(run.history) if run.doubts <= DOUBTS else math.inf
        preconditioner = preconditioner or precondition(objective, at.theta, n_iter)
        if objective.may_be_unbounded and _diverges(objective, preconditioner, at):
            return SmoothEnd(at, Stop.UNBOUNDED, preconditioner)
        is_finished = partial(_is_minimised, run, objective, preconditioner)
        most = stage_length(preconditioner)
        end = Stage(run, objective, preconditioner, at, is_finished).minimise(most)
        run.milestone("stage")
        if end.finished:
            return SmoothEnd(end.at, _met_by(preconditioner), preconditioner)
        # Of numbers that overflowed none is less than another.
        if not end.at.value < at.value and not end.decrement < decrement / 10:
            return SmoothEnd(end.at, Stop.STALLED, preconditioner)
        at, decrement, latest, preconditioner = end.at, end.decrement, preconditioner, None
    return SmoothEnd(at, Stop.LIMIT, latest)


def _met_by(preconditioner: Preconditioner) -> Stop:
    """The end of stages whose goal is met with this curvature."""
    if preconditioner.exact:
        return Stop.CERTAIN
    return Stop.ESTIMATED if preconditioner.correlated else Stop.GUESSED


def _is_minimised(
    run: Run, objective: Objective, preconditioner: Preconditioner, at: Evaluation, decrement: float
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
    accurate = rough or decrement <= (run.tol / CAUTION) ** 2 * (at.penalty or scale)
    return (run.is_certified and accurate) or decrement <= FINEST_DECREMENT * scale


def _diverges(objective: Objective, preconditioner: Preconditioner, at: Evaluation) -> bool:
    """Whether the optimum is at infinity.

    It is where the classes are separated, and where scores still move that no longer change the objective.
    """
    slope = preconditioner.gradient(at.gradient)
    if slope @ slope / 2 > STATIONARY * at.objective:
        return objective.separates(at.theta)
    return objective.largest_score(preconditioner.step(slope)) > DIVERGING_STEP
