"""How the method of multipliers chooses its smoothing, and when a subproblem is solved."""

from dataclasses import replace

import numpy as np
import pytest

from sk_linear_losses import MulticlassSVMClassifier, _cost, _multipliers
from sk_linear_losses._envelope import GapParts, HingeObjective, smoothed_term
from sk_linear_losses._multipliers import EASY, GROW, SHRINK, _assess, _is_balanced, _MethodOfMultipliers
from sk_linear_losses._objective import statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses._run import Iteration, Run
from sk_linear_losses._solver import solve
from sk_linear_losses.losses import WestonWatkinsLoss

from .oracles import counted, generated, word_counts

TOL = 1e-8


@pytest.fixture(scope="module")
def objective():
    """A hinge objective with the smoothing with which a fit starts."""
    X, y = generated(0, 400, 5, 3)
    rows = Rows(X, y, np.ones(len(y)), 3, 1)
    statistics = statistics_of(rows, True)
    term = smoothed_term(WestonWatkinsLoss(), rows, 1.0, statistics)
    return HingeObjective(rows, term, 1.0, 1.0, True, statistics, False)


def moved(objective, theta, certified=False, solved=True, **state):
    """Ratio of the smoothing after one outer step from theta to that before."""
    at = objective.evaluate(theta)
    run = Run(TOL, 1000, (), at, 0.0, bound=at.objective if certified else -np.inf)
    method = _MethodOfMultipliers(run, objective, at)
    subproblem = vars(method.subproblem)
    for name, value in state.items():
        (subproblem if name in subproblem else vars(method))[name] = value
    method._move_multipliers(solved)
    return method.objective.term.smoothing / objective.term.smoothing


def test_smoothing_shrinks_towards_the_optimum(objective):
    assert moved(objective, np.zeros(objective.shape)) < 1


def test_smoothing_grows_where_round_off_alone_keeps_multipliers_from_a_certificate(objective, monkeypatch):
    """Round-off of multipliers grows as smoothing shrinks: with too little, nothing would be certified."""
    monkeypatch.setattr(_multipliers, "tighten_bound", lambda *args, **kwargs: None)
    theta = solve(objective, [np.zeros(objective.shape)], TOL, 1000, 0.0).theta
    rounded = objective.with_smoothing(1e-7)
    at = rounded.evaluate(theta)
    assert rounded.gap_parts(at).complementarity < TOL * at.objective
    assert moved(rounded, theta) == pytest.approx(1 / SHRINK)
    assert moved(rounded, theta, certified=True) < 1
    for factor in (1.0, 1.5):
        natural = replace(rounded.term, natural_smoothing=factor * rounded.term.smoothing)
        assert moved(replace(rounded, term=natural), theta) <= factor


def test_smoothing_does_not_grow_where_a_tightened_bound_certifies(objective, monkeypatch):
    def certify(run, objective, at, thoroughly):
        assert thoroughly
        run.raise_bound(at.objective)

    monkeypatch.setattr(_multipliers, "tighten_bound", certify)
    theta = solve(objective, [np.zeros(objective.shape)], TOL, 1000, 0.0).theta
    assert moved(objective.with_smoothing(1e-7), theta) <= 1
    assert moved(objective, np.zeros(objective.shape)) == SHRINK


@pytest.mark.parametrize("multi_class", ["weston_watkins", "crammer_singer"])
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("kind", ["time stamps", "fill values"])
def test_huge_columns_neither_prolong_a_fit_nor_cost_its_certificate(kind, C, multi_class):
    """The last digit of a multiplier, times 1e18, moves the gradient.

    Smoothing again without tightening the bound first took more than 200 iterations. Never smoothing again
    left some fits without a bound.
    """
    rng = np.random.default_rng(2)
    X = rng.normal(size=(300, 4))
    y = (X @ rng.normal(size=(4, 3)) + rng.gumbel(size=(300, 3))).argmax(axis=1)
    stamps = rng.uniform(1.6e18, 1.7e18, 300)
    filled = np.where(rng.random(300) < 0.3, 1e20, rng.normal(size=300))
    column = {"time stamps": stamps, "fill values": filled}[kind]
    model = MulticlassSVMClassifier(C, multi_class=multi_class).fit(np.c_[X, column], y)
    assert model.converged_
    assert model.n_iter_ <= 200
    assert model.duality_gap_ <= 1e-6 * model.objective_


def test_smoothing_grows_after_subproblems_that_are_not_solved_up_to_that_of_the_start(objective):
    theta, start = np.zeros(objective.shape), objective.term.smoothing
    assert moved(objective, theta, solved=False) == 1
    assert moved(objective, theta, solved=False, most_smoothing=10 * start) == GROW
    assert moved(objective, theta, solved=False, most_smoothing=1.2 * start) == pytest.approx(1.2)


@pytest.mark.parametrize("exact", [True, False])
def test_smoothing_shrinks_after_easy_subproblems(exact, objective):
    theta = np.zeros(objective.shape)
    assert moved(objective, theta, exact=exact, iterations=EASY) == SHRINK
    assert moved(objective, theta, exact=exact, iterations=EASY + 1) == 1


def solve_subproblem(method):
    for _ in range(100):
        if method._stage().finished:
            return
    pytest.fail("Stages go on without end.")


@pytest.fixture
def unbalanced(objective):
    """The method near the optimum, a point solved except for the intercept, and a small decrement."""
    at = objective.evaluate(np.zeros(objective.shape))
    method = _MethodOfMultipliers(Run(TOL, 1000, (), at, 0.0), objective, at)
    for _ in range(20):
        solve_subproblem(method)
        parts = method.objective.gap_parts(method.at)
        if parts.complementarity <= 1e-4 * method.at.objective:
            break
        method._move_multipliers()
    theta = method.at.theta.copy()
    theta[-1] += 1e-4
    off = method.objective.evaluate(theta)
    parts = method.objective.gap_parts(off)
    assert not _is_balanced(parts)
    assert parts.stationarity <= parts.proximity
    return method, off, parts.proximity / 1000


@pytest.mark.parametrize(
    ("cost", "left", "planned", "tried_after"),
    [(4.0, 1000, 4, 2), (20.0, 1000, 10, 2), (60.0, 1000, 30, 6), (400.0, 1000, 50, 10), (400.0, 100, 10, 2)],
)
def test_dear_curvature_is_kept_longer(objective, cost, left, planned, tried_after, monkeypatch):
    """But not for a large part of the iterations that are left. Its age is looked at later, too."""
    take, stages = _multipliers.precondition, []

    def minimise(stage, planned):
        assert stage.preconditioner.exact
        stages.append((planned, stage.tried_after))
        return stage.end

    monkeypatch.setattr(_multipliers, "precondition", lambda *args: replace(take(*args), renewal_cost=cost))
    monkeypatch.setattr(_multipliers.Stage, "minimise", minimise)
    at = objective.evaluate(np.zeros(objective.shape))
    made = [Iteration(at.objective, np.inf, 0.0)] * (1000 - left)
    _MethodOfMultipliers(Run(TOL, 1000, (), at, 0.0, history=made), objective, at)._stage()
    assert stages == [(planned, tried_after)]


def test_a_subproblem_counts_as_solved_where_only_the_intercept_is_left(unbalanced):
    method, off, decrement = unbalanced
    assert _assess(method.run, method.objective, True, off, decrement).is_met
    assert _assess(method.run, method.objective, False, off, decrement) == (False, np.inf)
    assert _assess(method.run, method.objective, True, off, 1e9 * decrement) == (False, np.inf)


@pytest.mark.parametrize("succeeds", [True, False])
def test_the_intercept_is_balanced_once_in_each_outer_step(unbalanced, succeeds, monkeypatch):
    """If its own steps do not help, the subproblem is solved as before."""
    method, off, decrement = unbalanced
    if not succeeds:
        monkeypatch.setattr(_multipliers, "balance_intercept", lambda run, objective, at: at)
    end = _multipliers.StageEnd(off, decrement, 0, True)
    method.at = off
    with monkeypatch.context() as patched:
        patched.setattr(_multipliers.Stage, "minimise", lambda self, planned: end)
        finished = method._stage().finished
    assert finished == succeeds
    assert _is_balanced(method.objective.gap_parts(method.at)) == succeeds
    assert not method.subproblem.may_balance
    solve_subproblem(method)
    assert _is_balanced(method.objective.gap_parts(method.at))
    method._move_multipliers()
    assert method.subproblem.may_balance


def test_fits_of_many_classes_take_fewer_iterations_where_the_intercept_moves_alone(monkeypatch):
    """Their curvature is that of each class alone, which says little of how intercepts move together."""
    rng, K = np.random.default_rng(0), 40
    y = np.r_[np.arange(K), rng.integers(K, size=1500)]
    X = rng.normal(size=(K, 30))[y] + 1.5 * rng.normal(size=(len(y), 30))
    with counted(_multipliers, "balance_intercept") as balanced:
        model = MulticlassSVMClassifier(0.01).fit(X, y)
    assert balanced.call_count > 0
    monkeypatch.setattr(_multipliers, "balance_intercept", lambda run, objective, at: at)
    without = MulticlassSVMClassifier(0.01).fit(X, y)
    assert model.converged_
    assert model.n_iter_ < 0.8 * without.n_iter_
    assert model.objective_ == pytest.approx(without.objective_, rel=2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_without_an_intercept_none_is_balanced(seed):
    """This also holds where the parts compared with the imbalance are round-off below zero."""
    X, y = generated(seed, 60, 4, 3)
    with counted(_multipliers, "balance_intercept") as balanced:
        for C in (0.01, 1.0, 100.0):
            for multi_class in ("weston_watkins", "crammer_singer"):
                model = MulticlassSVMClassifier(C, multi_class=multi_class, fit_intercept=False, tol=1e-10)
                assert model.fit(X, y).converged_
    assert balanced.call_count == 0
    assert _is_balanced(GapParts(1.0, 0.0, -1e-26, -1e-13))


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_hard_margins_do_not_wait_for_subproblems_that_no_curvature_solves(loss, monkeypatch):
    """Memory allows no exact curvature. When multipliers waited for solutions, gaps stayed above 1e-4."""
    for name in "MAX_ENTRIES", "LATE_MAX_ENTRIES":
        monkeypatch.setattr(_cost, name, 2**16)
    X, y = word_counts(0, 1050, 2000, 6)
    model = MulticlassSVMClassifier(loss=loss, tol=1e-5).fit(X, y)
    assert model.converged_
    assert model.duality_gap_ <= 1e-5 * model.objective_
