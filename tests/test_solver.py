"""Where a solve starts, and how it goes on after another."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sk_linear_losses import _solver
from sk_linear_losses._certificate import lower_bound
from sk_linear_losses._envelope import HingeObjective, smoothed_term
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses._run import Iteration
from sk_linear_losses._solver import solve
from sk_linear_losses.losses import SoftmaxLoss, WestonWatkinsLoss

from .oracles import generated

TOL = 1e-6
X, Y = generated(0, 60, 4, 3)
ROWS = Rows(X, Y, np.ones(len(Y)), 3, 1)
# There is no intercept: with one, steps of the intercept alone would follow the last iteration.
STATISTICS = statistics_of(ROWS, False)
SOFTMAX = Objective(ROWS, SmoothTerm(SoftmaxLoss()), 1.0, 1.0, False, STATISTICS, False)
ZERO, ONES = np.zeros(SOFTMAX.shape), np.ones(SOFTMAX.shape)
BEFORE = solve(SOFTMAX, [ZERO], TOL, 100, 0.0)


def hinge_objective(loss):
    term = smoothed_term(loss, ROWS, 1.0, STATISTICS)
    return HingeObjective(ROWS, term, 1.0, 1.0, False, STATISTICS, False)


def start_of(*starts, objective=SOFTMAX):
    """The point that a solve without iterations takes of these starts."""
    return solve(objective, list(starts), TOL, 0, 0.0).theta


@pytest.mark.parametrize("loss", [None, WestonWatkinsLoss()])
def test_the_best_start_is_taken(loss):
    """The loss itself decides: the envelope of a hinge makes shorter coefficients look better."""
    objective = SOFTMAX if loss is None else hinge_objective(loss)
    best, *others = (share * BEFORE.theta for share in (1.0, 0.3, -1.0, 0.0))
    for starts in ((best, *others), (*others, best)):
        assert start_of(*starts, objective=objective) is best


def test_of_equally_good_starts_the_first_is_taken():
    """The first start is the one known from before."""
    shifted = ZERO.copy()
    assert start_of(shifted, ZERO) is shifted
    assert start_of(ZERO, shifted) is ZERO


def test_a_start_that_is_no_number_is_taken_only_alone():
    none = ONES * np.nan
    assert start_of(none, ONES) is ONES
    assert start_of(ONES, none) is ONES
    assert start_of(none) is none


def test_what_a_start_proves_is_known_before_any_iteration():
    at, known = SOFTMAX.evaluate(BEFORE.theta / 2), []
    reporter = SimpleNamespace(
        begin=lambda result: known.append(result()), end=lambda *args: True, milestone=lambda *args: None
    )
    solve(SOFTMAX, [at.theta], TOL, 10, 0.0, (reporter,))
    assert known[0].bound == pytest.approx(lower_bound(SOFTMAX, at))
    assert known[0].history == ()


def test_a_solve_goes_on_with_what_another_has_proven_and_spent():
    left = 3
    previous = replace(BEFORE, gap=0.0, history=5 * (Iteration(7.0, 1.0, 0.0),))
    result = solve(SOFTMAX, [ZERO], 0.0, len(previous.history) + left, 0.0, (), previous)
    assert result.history[:5] == previous.history
    assert len(result.history) == 5 + left
    assert result.bound == pytest.approx(BEFORE.objective, rel=1e-12)
    assert len(previous.history) == 5
    # The point of the previous solve is not among the starts.
    assert solve(SOFTMAX, [ZERO], TOL, 0, 0.0, (), previous).theta is ZERO


def test_hinges_go_on_with_multipliers_and_only_with_those_of_a_hinge(monkeypatch):
    """A squared hinge may have been minimised without multipliers."""
    given = []
    monkeypatch.setattr(
        _solver, "minimise_hinge", lambda run, objective, plain, at: given.append(objective) or objective
    )
    objective = hinge_objective(WestonWatkinsLoss(squared=True))
    moved = objective.with_multipliers(ONES).with_smoothing(0.1)
    for minimised in (moved, objective.unsmoothed()):
        solve(objective, [ZERO], TOL, 0, 0.0, (), replace(BEFORE, minimised=minimised))
    resumed, anew = (each.term for each in given)
    assert resumed.smoothing == moved.term.smoothing
    assert_array_equal(resumed.flows, moved.term.flows)
    assert anew is objective.term
