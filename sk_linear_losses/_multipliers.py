"""Minimises hinges by the method of multipliers.

An outer step minimises the objective with envelopes around the multipliers in place of the hinges, by stages
of L-BFGS: that is its subproblem. Then it moves the multipliers. What comes before that, for a squared hinge
or for many features, is in `minimise_hinge`.

Knows an objective with an envelope, its preconditioners and stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ._ascent import ascend
from ._cost import ascent_blocks, digits_are_cheap
from ._envelope import GapParts, HingeObjective
from ._objective import Evaluation, Objective
from ._preconditioner import precondition
from ._run import FINEST_DECREMENT, FINEST_GAP, Run
from ._smooth import IterationLimit, Stop, balance_intercept, minimise_smooth, tighten_bound
from ._stage import ENVELOPE, LINE_SEARCH, Assessment, Stage, StageEnd, stage_length

# Iterations of a stage after which exact curvature may be found to have aged: at least TRIED_AFTER, and the
# share TRIED_SHARE of those planned. Without this, fits took twice as many iterations.
TRIED_AFTER, TRIED_SHARE = 2, 0.2
# Most iterations of a stage that is longer because its curvature is dear, as a share of those that the fit
# has left. Without this limit, fits to 40 classes of features in units over twelve decades made over 1000
# iterations. With it they make up to 840, without longer stages up to 630, but take 0.5 to 1 of the time.
DEAR_STAGE = 0.05
# SHRINK: factor on the smoothing after a subproblem that took at most EASY iterations.
SHRINK, EASY = 0.3, 10
# Factor on the smoothing where inexact curvature has not solved a subproblem in one stage. The multipliers
# then move all the same. Where margins are hard such subproblems take hundreds of iterations each: waiting
# for them left 40 to 400 times the gap on counted words of 20 classes.
GROW = 1.5
# As long as the complementarity is more than the share INCOMPLETE of the objective, a subproblem counts as
# solved once its decrement is at most the share INEXACT of what moving the multipliers brings. From there on
# the gradient must be small too, because bounds need it; where features differ in scale this takes many more
# digits.
INEXACT, INCOMPLETE = 0.01, 0.01
# A squared hinge is minimised without multipliers first, beyond this limit only as long as the optimum seems
# near. Near the optimum, multipliers would take up to three times as long, and in few cases half as long.
# Farther off, where the margin is hard, going on without them takes up to fourteen times as long. Multipliers
# may begin after twenty iterations already if exact curvature shows a hard margin then: hard margins took 0.7
# to 1 of the time.
BEFORE_MULTIPLIERS = IterationLimit(50, tried_after=20)
# The same where there may be ascent of the dual, and never beyond this limit. On texts this is up to four
# times as fast as ascent alone where C is small, and takes up to 1.4 times as long where C is large. Going on
# without ascent could take three times as long.
BEFORE_ASCENT = IterationLimit(25, is_soft=False)
# GRADIENT_TELLS: relative gap up to which the gradient of the squared hinge itself makes better multipliers
# than zeros.
# NO_ASCENT: relative gap up to which a start, from an earlier fit, needs no ascent of the dual.
GRADIENT_TELLS, NO_ASCENT = 0.5, 0.1
# FINE: largest tolerance at which the method of multipliers solves a small problem to the last digit.
# LAST_STAGES: stages that it then makes beyond the finest gap. Sums no longer show their gain, but each
# squares the error of the coefficients.
FINE, LAST_STAGES = 1e-6, 2
# WIDEN: factor on the smoothing at which curvature is taken, each time that a stage brings nothing.
# WIDEST: most that these factors may reach together.
WIDEN, WIDEST = 10.0, 1e8
# DISTANCE_LEFT: a stage brings the optimum nearer if it leaves less than this share of the distance that the
# last such stage left.
# PATIENCE: most iterations since the last such stage, before `tol` is reached. A line search that comes to
# nothing counts as many iterations as it may have evaluations.
DISTANCE_LEFT, PATIENCE = 0.9, 600
# The same once `tol` is reached: more digits are only for problems where each step squares the distance.
LAST_DISTANCE_LEFT, LAST_PATIENCE = 0.1, 20


def minimise_hinge(run: Run, objective: HingeObjective, plain: Objective | None, at: Evaluation) -> Objective:
    """Minimise a hinge; return the objective as it was minimised last, with its multipliers.

    `plain`, the objective with the loss itself, is minimised first; it is None for a loss with kinks. Its
    gradient may become the first multipliers. Ascent of the dual comes next where it is worth its cost, but
    not from a start that is near, nor in a fit that has made iterations in other coordinates. Last comes the
    method of multipliers. `at` is an evaluation of `plain` or, without it, of `objective`.
    """
    run.loss_round_off = objective.loss_round_off()
    may_ascend = not run.history and run.gap > NO_ASCENT * run.best.objective
    n_blocks = ascent_blocks(objective) if may_ascend else 0
    if plain is not None:
        end = minimise_smooth(run, plain, at, BEFORE_ASCENT if n_blocks else BEFORE_MULTIPLIERS)
        # Where the curvature jumps, a step that promises little may fail: a stalled end settles nothing.
        settled = run.is_within(run.tol) and end.why is not Stop.STALLED and run.is_credible
        if run.is_certified or run.iterations_left == 0 or settled:
            return plain
        if not objective.has_multipliers and run.gap <= GRADIENT_TELLS * run.best.objective:
            objective = objective.with_gradient(run.best.theta)
    if n_blocks:
        objective = ascend(run, objective, run.best.theta, n_blocks)
        if run.is_certified or run.iterations_left == 0:
            return objective
    if plain is not None or n_blocks:
        at = objective.evaluate(run.best.theta)
        run.note(objective, at)
    minimised = _MethodOfMultipliers(run, objective, at).minimise()
    if not run.is_credible:
        run.distrust_estimate()
    return minimised


@dataclass
class _Subproblem:
    """How far the minimisation around the present multipliers has come.

    ``iterations`` have been made. Curvature is taken at ``widening`` times the smoothing; ``exact`` tells
    whether that of the last stage was exact. The intercept is balanced by steps of its own at most once:
    ``may_balance`` tells whether it may be.
    """

    iterations: int = 0
    widening: float = 1.0
    exact: bool = True
    may_balance: bool = True


class _MethodOfMultipliers:
    """Outer steps from `at`: each minimises the envelope around the multipliers, then moves them."""

    def __init__(self, run: Run, objective: HingeObjective, at: Evaluation) -> None:
        self.run, self.objective, self.at = run, objective, at
        # Where digits are cheap and asked for, the fit goes on to the last of them, on the active set.
        self.thorough = run.tol <= FINE and digits_are_cheap(objective)
        self.patience = _Patience()
        self.subproblem = _Subproblem()
        # The smoothing of the start, which is right where nothing is known.
        self.most_smoothing = objective.term.smoothing

    def minimise(self) -> Objective:
        """Make outer steps until nothing is left to gain; return the objective as it was minimised last."""
        run = self.run
        last_stages = LAST_STAGES if self.thorough else 0
        while True:
            before, subproblem = self.at.value, self.subproblem
            end = self._stage()
            self._tighten_bound_near_goal()
            reached = run.is_within(FINEST_GAP) if self.thorough else run.is_certified
            spent = self.patience.idle >= (LAST_PATIENCE if run.is_certified else PATIENCE)
            if (reached and last_stages == 0) or spent or run.iterations_left == 0:
                break
            if reached:
                last_stages -= 1
            stuck = end.at.value >= before - FINEST_GAP * abs(before)
            nothing_left = end.iterations == 0 and end.decrement <= FINEST_GAP * abs(end.at.objective)
            if end.finished or nothing_left or subproblem.widening >= WIDEST:
                self._move_multipliers()
            elif not (subproblem.exact or stuck):
                self._move_multipliers(solved=False)
            elif stuck:
                subproblem.widening *= WIDEN
            else:
                subproblem.widening = max(subproblem.widening / WIDEN, 1.0)
        if not run.is_certified:
            self._tighten_bound_with_smoothing()
        return self.objective

    def _stage(self) -> StageEnd:
        """Run one stage of the present subproblem, and return where it ends."""
        run, objective, subproblem = self.run, self.objective, self.subproblem
        # Where an envelope is flat its own curvature tells nothing, but that of a smoother envelope does.
        smoother = objective.with_smoothing(subproblem.widening)
        preconditioner = precondition(smoother, self.at.theta, len(run.history))
        most = stage_length(preconditioner, ENVELOPE, most_if_dear=DEAR_STAGE * run.iterations_left)
        assess = partial(_assess, run, objective, subproblem.may_balance)
        tried_after = max(TRIED_AFTER, TRIED_SHARE * most)
        end = Stage(run, objective, preconditioner, self.at, assess, tried_after).minimise(most)
        subproblem.exact = preconditioner.exact
        if end.finished and not _assess(run, objective, False, end.at, end.decrement).is_met:
            subproblem.may_balance = False
            at = balance_intercept(run, objective, end.at)
            end = end._replace(at=at, finished=_assess(run, objective, False, at, end.decrement).is_met)
        run.milestone("stage")
        self.at = end.at
        subproblem.iterations += end.iterations
        self.patience.note(run.distance, end, LAST_DISTANCE_LEFT if run.is_certified else DISTANCE_LEFT)
        return end

    def _tighten_bound_near_goal(self) -> None:
        """Raise the bound where only a certificate may be lacking, unless stages bring all digits anyway."""
        if not self.thorough and self.run.is_within(self.run.tol):
            tighten_bound(self.run, self.objective, self.at, thoroughly=self.patience.idle > 0)

    def _move_multipliers(self, solved: bool = True) -> None:
        """Take the multipliers that the present point implies, and adapt the smoothing.

        Smooth less after an easy subproblem, and more, up to the initial smoothing, after one that was not
        solved. Where multipliers are complementary enough, only their round-off may keep the bound low, which
        grows as the smoothing falls: tighten the bound and, if that does not certify, smooth more, up to the
        natural smoothing.
        """
        run, term = self.run, self.objective.term
        complementarity = self.objective.gap_parts(self.at).complementarity
        complementary = complementarity <= run.tol * abs(self.at.objective)
        if complementary:
            tighten_bound(run, self.objective, self.at, thoroughly=True)
        rounded = complementary and not run.is_certified
        self.objective = self.objective.with_multipliers(self.at.theta)
        if rounded and term.smoothing < term.natural_smoothing:
            growth = min(1 / SHRINK, term.natural_smoothing / term.smoothing)
            self.objective = self.objective.with_smoothing(growth)
        elif not solved:
            growth = max(1.0, min(GROW, self.most_smoothing / term.smoothing))
            self.objective = self.objective.with_smoothing(growth)
        elif self.subproblem.iterations <= EASY:
            self.objective = self.objective.with_smoothing(SHRINK)
        self.at = self.objective.evaluate(self.at.theta)
        run.note(self.objective, self.at)
        run.milestone("outer step")
        self.subproblem = _Subproblem()

    def _tighten_bound_with_smoothing(self) -> None:
        """Raise the bound with more smoothing: with little, rounding violates the intercept's condition."""
        smoother = self.objective.with_multipliers(self.at.theta).at_rest()
        at = smoother.evaluate(self.at.theta)
        self.run.note(smoother, at)
        tighten_bound(self.run, smoother, at, thoroughly=True)


def _assess(
    run: Run, objective: HingeObjective, may_balance: bool, at: Evaluation, decrement: float
) -> Assessment:
    """Note how far the point is estimated to be from the optimum, and assess it.

    The best point is no farther. The goal is met where minimising the envelope further would bring less than
    moving the multipliers, and where the intercept is balanced or may yet be by steps of its own.
    """
    parts = objective.gap_parts(at)
    run.note_estimate(decrement + parts.complementarity)
    if decrement <= FINEST_DECREMENT * abs(at.objective):
        return Assessment(True)
    if decrement <= INEXACT * parts.proximity and parts.complementarity > INCOMPLETE * abs(at.objective):
        return Assessment(True)
    balanced = may_balance or _is_balanced(parts)
    return Assessment(balanced and max(decrement, parts.stationarity) <= parts.proximity)


def _is_balanced(parts: GapParts) -> bool:
    """Whether the intercept's condition holds; true without an intercept.

    Round-off keeps the imbalance from zero, so it is held to the larger of proximity and complementarity, not
    to the smallest part. Round-off may make these two negative.
    """
    return parts.imbalance <= max(parts.proximity, parts.complementarity, 0.0)


@dataclass
class _Patience:
    """The distance when the optimum last came nearer, and the idle iterations that have passed since then."""

    nearest: float = np.inf
    idle: int = 0

    def note(self, distance: float, end: StageEnd, progress: float) -> None:
        """Note the distance after a stage; only less than `progress` times `nearest` counts as nearer."""
        if distance < progress * self.nearest:
            self.idle, self.nearest = 0, distance
        else:
            self.idle += end.iterations or (1 if end.finished else LINE_SEARCH)
