"""Hinges by the method of multipliers.

Knows an objective with an envelope, its preconditioners and stages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from ._ascent import ascend
from ._cost import ascent_blocks, digits_are_cheap
from ._envelope import GapParts, HingeObjective
from ._objective import Evaluation, Objective
from ._preconditioner import precondition
from ._run import FINEST_DECREMENT, FINEST_GAP, Run
from ._smooth import IterationLimit, Stop, balance_intercept, certify, minimise_smooth
from ._stage import KINKED, LINE_SEARCH, Assessment, Stage, StageEnd, stage_length

# Iterations after which exact curvature may be found to have aged: without, fits took twice as many.
TRIED = 2
# Factor on the smoothing once a subproblem took no more than so many iterations, or left more than this share
# of the distance that the one before had left.
SHRINK, EASY, SLOW = 0.3, 10, 0.7
# Factor on the smoothing where curvature that is not exact has not solved a subproblem in one stage, after
# which the multipliers move all the same. Where margins are hard such subproblems take hundreds of iterations
# each: waiting for them left 40 to 400 times the gap on counted words of 20 classes.
GROW = 1.5
# A subproblem is solved early once its decrement is this share of what moving the multipliers brings, as long
# as their complementarity is more than a relative INCOMPLETE. From there on the gradient must be small too,
# which takes many more digits where scales differ: bounds need it.
INEXACT, INCOMPLETE = 0.01, 0.01
# A squared hinge is minimised without multipliers first, beyond so many iterations only as long as the
# optimum seems near. There multipliers would take up to three times as long, and in few cases half as long;
# farther off, where the margin is hard, going on without them takes up to fourteen times as long. Where exact
# curvature shows that after twenty, they may begin then: hard margins took 0.7 to 1 of the time. Where
# there may be ascent it is so many iterations and no more: on texts up to four times as fast as ascent alone
# where C is small, and up to 1.4 times as long where it is large; going on could take three times as long.
BEFORE_MULTIPLIERS = IterationLimit(50, tried=20)
BEFORE_ASCENT = IterationLimit(25, is_soft=False)
# Relative gap up to which the gradient of the squared hinge itself is better for multipliers than none, and
# that of a start, by an earlier fit, from which none of them need ascent.
GRADIENT_TELLS, NO_ASCENT = 0.5, 0.1
# Tolerance from which on a small problem with kinks is solved to the last digit, and the steps that it takes
# beyond the finest gap: sums no longer show it, but each squares the error of the coefficients.
FINE, LAST_STEPS = 1e-6, 2
# Factor on the smoothing whose curvature is taken when a stage brings nothing, and the most it may reach.
WIDEN, WIDEST = 10.0, 1e8
# Share of the distance to the optimum that may be left for it to be nearer, and most iterations without that
# before `tol` is reached. A line search that comes to nothing counts for as many as it may have evaluations.
DISTANCE_LEFT, PATIENCE = 0.9, 600
# The same afterwards: more digits are for problems where each step squares what is left.
LAST_DISTANCE_LEFT, LAST_PATIENCE = 0.1, 20


def minimise_hinge(run: Run, objective: HingeObjective, plain: Objective | None, at: Evaluation) -> Objective:
    """The objective as it was minimised last: `plain`, of the loss itself, is tried before its envelope.

    `at` is of the first that is tried, whose gradient may become the first multipliers. Ascent of the dual
    comes between both where it is worth its while, but not from a start that is near, nor in a fit that has
    made iterations in other coordinates.
    """
    run.round_off = objective.loss_round_off()
    may_ascend = not run.history and run.gap > NO_ASCENT * run.best.objective
    n_blocks = ascent_blocks(objective) if may_ascend else 0
    if plain is not None:
        end = minimise_smooth(run, plain, at, BEFORE_ASCENT if n_blocks else BEFORE_MULTIPLIERS)
        # Where its curvature jumps, a step may fail that promises little.
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
        run.estimate = math.inf
    return minimised


@dataclass
class _Subproblem:
    """How far the minimisation of the envelope around the present multipliers has come.

    That is the iterations made, the factor on the smoothing whose curvature is taken, whether that of the
    last stage was exact, and whether the intercept may be balanced by steps of its own, which is tried once.
    """

    iterations: int = 0
    widening: float = 1.0
    exact: bool = True
    may_balance: bool = True


class _MethodOfMultipliers:
    """Outer steps from `at`: each minimises the envelope around the multipliers, then moves them."""

    def __init__(self, run: Run, objective: HingeObjective, at: Evaluation) -> None:
        self.run, self.objective, self.at = run, objective, at
        # Where digits are cheap and wanted, the fit ends on the active set.
        self.thorough = run.tol <= FINE and digits_are_cheap(objective)
        self.patience = _Patience()
        self.subproblem = _Subproblem()
        # That of the start, which is right where nothing is known.
        self.most_smoothing = objective.term.smoothing
        # Of the last outer step: the distance that it left, and whether that was most of what there had been.
        self.left, self.slow = np.inf, False

    def minimise(self) -> Objective:
        """The objective as it was minimised last, once nothing is left to gain."""
        run = self.run
        last_steps = LAST_STEPS if self.thorough else 0
        while True:
            before, subproblem = self.at.value, self.subproblem
            end = self._stage()
            self._certify_near_goal()
            reached = run.is_within(FINEST_GAP) if self.thorough else run.is_certified
            spent = self.patience.idle >= (LAST_PATIENCE if run.is_certified else PATIENCE)
            if (reached and last_steps == 0) or spent or run.iterations_left == 0:
                break
            if reached:
                last_steps -= 1
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
            self._certify_smoothed()
        return self.objective

    def _stage(self) -> StageEnd:
        """Where one stage of the present subproblem ends."""
        run, objective, subproblem = self.run, self.objective, self.subproblem
        # Where an envelope is flat its own curvature says nothing; that of a smoother one does.
        smoother = objective.with_smoothing(subproblem.widening)
        preconditioner = precondition(smoother, self.at.theta, len(run.history))
        most = stage_length(preconditioner, KINKED)
        assess = partial(_assess, run, objective, subproblem.may_balance)
        end = Stage(run, objective, preconditioner, self.at, assess, TRIED).minimise(most)
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

    def _certify_near_goal(self) -> None:
        """Raise the bound where a certificate may be all that is lacking, unless steps bring all digits."""
        if not self.thorough and self.run.is_within(self.run.tol):
            certify(self.run, self.objective, self.at, thoroughly=self.patience.idle > 0)

    def _move_multipliers(self, solved: bool = True) -> None:
        """Take the multipliers that the present point implies; smooth less after an easy or a slow step.

        More, up to what this began with, after one that was not solved. Where multipliers are complementary
        enough but not certified, what is left is their round-off, of which there is more the less is
        smoothed: smooth more, up to what is natural.
        """
        run, term = self.run, self.objective.term
        complementarity = self.objective.gap_parts(self.at).complementarity
        rounded = complementarity <= run.tol * abs(self.at.objective) and not run.is_certified
        self.objective = self.objective.with_multipliers(self.at.theta)
        if rounded and term.smoothing < term.natural_smoothing:
            growth = min(1 / SHRINK, term.natural_smoothing / term.smoothing)
            self.objective = self.objective.with_smoothing(growth)
        elif not solved:
            growth = max(1.0, min(GROW, self.most_smoothing / term.smoothing))
            self.objective = self.objective.with_smoothing(growth)
        elif self.subproblem.iterations <= EASY or (self.slow and self.subproblem.exact):
            self.objective = self.objective.with_smoothing(SHRINK)
        self.at = self.objective.evaluate(self.at.theta)
        run.note(self.objective, self.at)
        self.left, self.slow = run.distance, run.distance > SLOW * self.left
        run.milestone("outer step")
        self.subproblem = _Subproblem()

    def _certify_smoothed(self) -> None:
        """Raise the bound with more smoothing: with little, rounding prevents the intercept's condition."""
        smoother = self.objective.with_multipliers(self.at.theta).at_rest()
        at = smoother.evaluate(self.at.theta)
        self.run.note(smoother, at)
        certify(self.run, smoother, at, thoroughly=True)


def _assess(
    run: Run, objective: HingeObjective, may_balance: bool, at: Evaluation, decrement: float
) -> Assessment:
    """Note how far from the optimum the point is, the best one being no farther, and assess it.

    The goal is met where what is left of the envelope is less than what moving the multipliers brings, and
    the intercept is balanced or may be by steps of its own.
    """
    parts = objective.gap_parts(at)
    run.estimate = decrement + parts.complementarity
    if decrement <= FINEST_DECREMENT * abs(at.objective):
        return Assessment(True)
    if decrement <= INEXACT * parts.proximity and parts.complementarity > INCOMPLETE * abs(at.objective):
        return Assessment(True)
    balanced = may_balance or _is_balanced(parts)
    return Assessment(balanced and max(decrement, parts.stationarity) <= parts.proximity)


def _is_balanced(parts: GapParts) -> bool:
    """Whether the intercept's condition holds, if there is one.

    Round-off keeps it from zero, so it is not held to the smallest part; others may be less than zero by it.
    """
    return parts.imbalance <= max(parts.proximity, parts.complementarity, 0.0)


@dataclass
class _Patience:
    """How many iterations have passed since the optimum came nearer: those that were idle."""

    nearest: float = np.inf
    idle: int = 0

    def note(self, distance: float, end: StageEnd, progress: float) -> None:
        """Take the distance from the optimum after a stage into account; such a share of it is progress."""
        if distance < progress * self.nearest:
            self.idle, self.nearest = 0, distance
        else:
            self.idle += end.iterations or (1 if end.finished else LINE_SEARCH)
