"""What a solve keeps of the points that it meets, and when it takes one for the optimum."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sk_linear_losses import _run
from sk_linear_losses._certificate import lower_bound
from sk_linear_losses._numerics import ROUND_OFF
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses._run import BOUNDED_FROM, FINEST_GAP, LARGEST_ROUND_OFF, Result, Run
from sk_linear_losses.losses import SoftmaxLoss

from .oracles import counted, generated, softmax_newton

C = 0.5
X, Y = generated(0, 60, 4, 3)


@pytest.fixture(scope="module")
def objective():
    rows = Rows(X, Y, np.ones(len(Y)), 3, 1)
    return Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, True, statistics_of(rows, True), False)


@pytest.fixture(scope="module")
def start(objective):
    return objective.evaluate(np.zeros(objective.shape))


@pytest.fixture(scope="module")
def near(objective):
    """A point near the optimum, which its bound certifies to five digits."""
    coef, intercept = softmax_newton(X, Y, C)
    return objective.evaluate(objective.coded_parameters(1.001 * coef.T, intercept))


def new_run(best, tol=1e-4, max_iter=10, **known):
    return Run(tol, max_iter, known.pop("reporters", ()), best, 0.0, **known)


class Recorder:
    """A reporter that keeps what it is told, and may ask for the end."""

    def __init__(self, ends=False):
        self.ends, self.told = ends, []

    def begin(self, result):
        self.told.append(result())

    def end(self, progress, result):
        self.told.append(progress)
        return self.ends

    def milestone(self, kind, progress, detail):
        self.told.append(progress)


def test_of_points_that_round_off_cannot_tell_apart_the_last_is_the_best(start):
    run = new_run(start._replace(objective=2.0))
    for objective, is_best in (
        (1.0, True),
        (1 + FINEST_GAP / 2, True),
        (1 + 3 * FINEST_GAP, False),
        (1.5, False),
        (math.nan, False),
    ):
        at = start._replace(objective=objective)
        run._take(at)
        assert (run.best is at) == is_best


def test_points_with_worse_bounds_leave_the_best_bound_and_those_with_better_ones_the_best_point(
    objective, start, near
):
    run = new_run(start)
    for at in (near, start):
        run.note(objective, at)
        assert run.bound == lower_bound(objective, near)
        assert run.best is near
    lower = near._replace(objective=near.objective / 2)
    run = new_run(lower)
    run.note(objective, near)
    assert run.bound == lower_bound(objective, near)
    assert run.best is lower


def test_bounds_of_iterates_are_made_near_the_optimum_and_until_one_certifies_it(objective, near):
    share = objective.stationarity(near) / near.objective
    for tol, n_bounds in ((0.9 * share / BOUNDED_FROM, 0), (1.1 * share / BOUNDED_FROM, 2)):
        run = new_run(near, tol)
        with counted(_run, "lower_bound") as bounds:
            run.accept(objective, near)
            run.accept(objective, near)
        assert bounds.call_count == n_bounds
        assert not run.is_certified
    run = new_run(near, tol=0.1)
    with counted(_run, "lower_bound") as bounds:
        run.accept(objective, near)
        assert run.is_certified
        better = near._replace(objective=0.99 * near.objective)
        run.accept(objective, better)
    assert bounds.call_count == 1
    assert run.best is better


def test_a_restart_keeps_one_point_however_good_the_others_seemed(objective, start, near):
    run = new_run(near._replace(objective=0.0), bound=np.inf, sums_are_rounded=True)
    run.restart(objective, start)
    assert run.best is start
    assert run.bound == lower_bound(objective, start)
    assert not run.sums_are_rounded


def test_a_certificate_is_relative_to_the_bound(start):
    """The optimum is not below the bound, but it may be below any share of the objective."""
    run = new_run(start._replace(objective=2.0), tol=1.0)
    for bound, certified in ((-np.inf, False), (0.0, False), (0.9, False), (1.0, True), (1.9, True)):
        run.bound = bound
        assert run.is_certified == certified
    # Without a bound nothing is certified, not even with a tolerance of zero.
    run.tol, run.bound = 0.0, -np.inf
    assert not run.is_certified
    run.tol = 1.0
    # An estimate is no certificate: by the estimate the point is near enough, but the bound is far below.
    run.bound = 0.0
    run.note_estimate(2.0)
    assert run.is_within(1.0)
    assert not run.is_certified


def test_round_off_is_taken_for_the_end_but_no_more_than_is_plausible(start):
    def ends(gap, loss_round_off):
        at = start._replace(objective=1 + gap)
        run = new_run(at, tol=0.0, bound=1.0, loss_round_off=loss_round_off)
        assert run.is_certified == run.is_within(0.0)
        return run.is_certified

    assert not ends(1e-12, 1e-13)
    assert ends(1e-12, 2e-12)
    assert ends(LARGEST_ROUND_OFF / 2, 1.0)
    assert not ends(2 * LARGEST_ROUND_OFF, 1.0)


def test_gaps_of_rounded_sums_are_told_to_nobody_but_decide(objective, start):
    recorder = Recorder()
    run = new_run(start, bound=start.objective, reporters=(recorder,))
    for rounded in (False, True):
        recorder.told.clear()
        if rounded:
            run.round_sums()
        run.begin(objective)
        run.end(objective, start)
        run.milestone("stage")
        assert [np.isinf(each.gap) for each in recorder.told] == 3 * [rounded]
        assert np.isinf(run.history[-1].gap) == rounded
        assert run.is_certified


def test_iterations_tell_of_their_own_point_and_milestones_of_the_best(objective, start, near):
    recorder = Recorder()
    run = new_run(near, bound=near.objective - 1, reporters=(recorder,))
    run.end(objective, start)
    run.milestone("stage")
    for progress, at in zip(recorder.told, (start, near), strict=True):
        assert progress.n_iter == 1
        assert progress.objective == at.objective
        assert progress.gap == pytest.approx(at.objective - near.objective + 1)


def test_one_reporter_that_asks_for_the_end_is_enough(objective, start):
    """Other reporters do not matter, and all are told."""
    recorders = [Recorder(), Recorder(ends=True), Recorder()]
    run = new_run(start, reporters=tuple(recorders))
    assert run.iterations_left == 10
    run.end(objective, start)
    assert [len(each.told) for each in recorders] == [1, 1, 1]
    assert run.stopped
    assert run.iterations_left == 0
    assert run.result(objective).stopped


def test_a_history_from_before_counts_and_may_be_longer_than_allowed(objective, start):
    run = new_run(start, max_iter=3)
    for left in (2, 1, 0, 0):
        run.end(objective, start)
        assert run.iterations_left == left


def test_a_gap_that_is_less_than_round_off_is_not_claimed(objective, start):
    """Neither is a gap below zero, where round-off lifts the bound above the objective."""
    for bound in (start.objective, start.objective * (1 + 1e-15)):
        run = new_run(start, bound=bound)
        assert run.distance == 0
        assert run.result(objective).gap == ROUND_OFF * start.objective
        assert run.result(objective).bound < start.objective


def test_what_other_coordinates_could_bring_decides_whether_a_result_is_final(objective):
    nothing = Result(
        theta=np.zeros(objective.shape),
        minimised=objective,
        objective=1.0,
        gap=1e-3,
        converged=False,
        certified=False,
        unbounded=False,
        stopped=False,
        history=(),
    )

    def is_final(minimised=objective, **known):
        return replace(nothing, minimised=minimised, **known).is_final

    without_penalty = replace(objective, penalty=0.0)
    assert not is_final()
    # An estimate or a gap alone is not final, unless no certificate is possible.
    assert not is_final(converged=True)
    assert not is_final(certified=True)
    assert is_final(converged=True, certified=True)
    assert is_final(without_penalty, converged=True)
    assert not is_final(without_penalty)
    # A gap of the last digit, an optimum at infinity and a stop on request are final, whatever the tolerance.
    assert is_final(gap=FINEST_GAP)
    assert not is_final(gap=2 * FINEST_GAP)
    assert is_final(unbounded=True)
    assert is_final(stopped=True)
