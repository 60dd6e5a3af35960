"""Stages against Newton's steps and optima from other solvers, and how they end."""

import math
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sk_linear_losses._cost import START_BUDGET, START_ITERATIONS, Form, Plan
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._preconditioner import Preconditioner, precondition_by_class, precondition_exactly
from sk_linear_losses._roots import DiagonalRoot
from sk_linear_losses._rows import Rows
from sk_linear_losses._run import Run
from sk_linear_losses._stage import ENVELOPE, SMOOTH, Assessment, Stage, StageLengths, stage_length
from sk_linear_losses.losses import SoftmaxLoss

from .oracles import generated, relative_error, slopes, softmax_newton

N_CLASSES, C = 3, 0.2
X, Y = generated(0, 60, 4, N_CLASSES)
# Two features are nearly equal: the curvature of each alone says nothing of their difference.
X_ALIKE = np.column_stack([X, X[:, 0] + 0.05 * np.random.default_rng(1).normal(size=60)])


def softmax_objective(X=X, C=C):
    rows = Rows(X, Y, np.ones(len(Y)), N_CLASSES, 1)
    return Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, True, statistics_of(rows, True), False)


def exact(objective, theta):
    """All second derivatives."""
    return precondition_exactly(objective, theta, Plan(Form.EXACT, 1.0, np.inf))


def by_feature(objective, theta):
    """The curvature of each feature alone."""
    return precondition_by_class(objective, theta, budget=0.0)


def optimum(X=X, C=C):
    """The objective's optimal theta, by Newton's method."""
    coef, intercept = softmax_newton(X, Y, C)
    return softmax_objective(X, C).coded_parameters(coef.T, intercept)


def new_run(start, max_iter=1000, reporters=()):
    """A run that has made no iteration yet and knows no bound."""
    return Run(tol=0.0, max_iter=max_iter, reporters=reporters, best=start, started=time.perf_counter())


def never(at, decrement):
    """An assessment that knows nothing of the goal."""
    return Assessment(False)


def end_of_stage(curvature=exact, planned=100, assess=never, run=None, objective=None, theta=None):
    """The end of a stage from theta, by default zero, with the curvature there."""
    objective = objective or softmax_objective()
    start = objective.evaluate(np.zeros(objective.shape) if theta is None else theta)
    preconditioner = curvature(objective, start.theta)
    return Stage(run or new_run(start), objective, preconditioner, start, assess).minimise(planned)


@pytest.mark.parametrize("distance", [1e-4, 0.1, 3.0])
def test_the_first_step_with_exact_curvature_is_newtons(distance):
    """This holds where Newton's step lowers the value: for a weak loss everywhere."""
    objective = softmax_objective(C=0.01)
    theta = optimum(C=0.01) + distance * np.random.default_rng(2).normal(size=objective.shape)
    hessian = slopes(lambda theta: objective.evaluate(theta).gradient.ravel(), theta)
    gradient = objective.evaluate(theta).gradient
    step = np.linalg.solve(hessian, -gradient.ravel()).reshape(theta.shape)
    end = end_of_stage(planned=1, objective=objective, theta=theta)
    assert end.iterations == 1
    assert relative_error(end.at.theta - theta, step) < 1e-6
    # The gradient at the end is that of its point.
    assert_array_equal(end.at.gradient, objective.evaluate(end.at.theta).gradient)


@pytest.mark.parametrize("curvature", [exact, by_feature])
def test_a_stage_goes_on_to_digits_that_the_value_does_not_show(curvature):
    theta = optimum() * (1 + 1e-7)
    end = end_of_stage(curvature, theta=theta)
    assert relative_error(end.at.theta, optimum()) < 1e-12


def test_changes_that_the_value_does_not_show_are_known_from_slopes():
    """Units are such that the first step has length 1 and the curvature is near the identity."""
    objective = softmax_objective()
    start = objective.evaluate(optimum() * (1 + 1e-9))
    stage = Stage(new_run(start), objective, exact(objective, start.theta), start, never)
    slope = stage.origin.slope
    assert np.linalg.norm(slope) == pytest.approx(1)
    for share in (0.5, 1.0, 1.5):
        change = stage._value(-share * slope)
        assert change == pytest.approx(share**2 / 2 - share, rel=1e-3)


@pytest.mark.parametrize("curvature", [exact, by_feature])
def test_a_goal_that_is_met_ends_the_stage(curvature):
    assessed = []

    def assess(at, decrement):
        assessed.append((at, decrement))
        return Assessment(decrement <= 1e-6)

    end = end_of_stage(curvature, assess=assess)
    assert end.finished
    assert end.decrement <= 1e-6 < assessed[-2][1]
    # Curvature that is not exact promises nothing before a step has been made.
    assert end.iterations == len(assessed) - (curvature is exact) > 1
    assert end.at is assessed[-1][0]


def test_exact_curvature_sees_that_a_goal_is_met_from_the_start():
    objective = softmax_objective()
    start, assess = objective.evaluate(optimum()), lambda at, decrement: Assessment(True)
    for curvature, iterations in ((exact, 0), (by_feature, 1)):
        theta = optimum() + 0.01
        end = end_of_stage(curvature, assess=assess, theta=theta)
        assert end.finished
        assert end.iterations == iterations
        assert (end.at.value < objective.evaluate(theta).value) == (iterations == 1)
        assert end.at.value > start.value


def test_a_stage_from_the_optimum_itself_ends_there_whatever_the_curvature():
    y = np.arange(8) % 2
    rows = Rows(np.repeat([[1.0], [-1.0]], 4, axis=0), y, np.ones(8), 2, 1)
    objective = Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, True, statistics_of(rows, True), True)
    for curvature in (exact, by_feature):
        end = end_of_stage(
            curvature, assess=lambda at, decrement: Assessment(decrement == 0), objective=objective
        )
        assert end[1:] == (0.0, 0, True)


@pytest.mark.parametrize("curvature", [exact, by_feature])
def test_the_decrement_is_no_less_than_the_distance_to_the_optimum(curvature):
    """Where curvature misses what two features do together, this holds nearly, once steps have met that."""
    objective = softmax_objective(X_ALIKE, C=5.0)
    best = optimum(X_ALIKE, 5.0)
    least = objective.evaluate(best).value
    distances, decrements = [], []

    def assess(at, decrement):
        distances.append(at.value - least)
        decrements.append(decrement)
        return Assessment(at.value - least < 1e-8)

    theta = best * 1.2 if curvature is exact else np.zeros(best.shape)
    end = end_of_stage(curvature, assess=assess, objective=objective, theta=theta)
    assert end.finished
    known = slice(0 if curvature is exact else len(distances) // 2, None)
    assert len(distances[known]) >= 5
    assert (np.array(distances) <= 1.5 * np.array(decrements))[known].all()


class Observer:
    """A reporter that counts, and asks for the end after `last` iterations."""

    def __init__(self, last=math.inf):
        self.last, self.begun, self.ended = last, 0, []

    def begin(self, result):
        self.begun += 1

    def end(self, progress, result):
        self.ended.append(progress)
        return len(self.ended) >= self.last


def test_iterations_end_at_the_limit_and_where_a_reporter_asks_for_it():
    start = softmax_objective().evaluate(np.zeros(softmax_objective().shape))
    for max_iter, last, expected in ((3, math.inf, 3), (100, 2, 2)):
        observer = Observer(last)
        run = new_run(start, max_iter, (observer,))
        end = end_of_stage(by_feature, run=run)
        assert not end.finished
        assert end.iterations == len(run.history) == len(observer.ended) == observer.begun == expected
        assert run.iterations_left == 0
        assert run.best is end.at
        assert [each.objective for each in observer.ended] == [each.objective for each in run.history]


def test_iterations_go_on_after_the_plan_only_where_the_goal_is_near():
    """The goal, at the rate of the last iterations, must take no more than curvature taken anew costs."""
    goal = 1e-9

    def assess(at, decrement):
        return Assessment(decrement <= goal, decrement / goal)

    needed = end_of_stage(assess=assess).iterations
    assert needed >= 6
    near = end_of_stage(assess=assess, planned=needed - 1)
    assert near.finished
    assert near.iterations == needed
    far = end_of_stage(assess=assess, planned=needed - 4)
    assert not far.finished
    assert far.iterations == needed - 4
    assert end_of_stage(planned=needed - 1).iterations == needed - 1


def misleading(objective, theta, form=Form.EXACT, factors=(0.5, 3.0)):
    """Curvature, by default declared exact, too small along some parameters and too large along others."""
    hessian = slopes(lambda theta: objective.evaluate(theta).gradient.ravel(), theta)
    scales = np.sqrt(hessian.diagonal()).reshape(theta.shape).T.ravel()
    scales *= np.resize(factors, scales.size)
    return Preconditioner(DiagonalRoot(scales), np.eye(N_CLASSES - 1), form, renewal_cost=1.0)


def test_exact_curvature_that_brings_less_than_it_promises_is_given_up_once_tried():
    objective = softmax_objective()
    start = objective.evaluate(np.random.default_rng(0).normal(size=objective.shape) / 2)
    brought, decrements = [], []

    def record(at, decrement):
        brought.append(start.value - at.value)
        decrements.append(decrement)
        return Assessment(False)

    def iterations(tried_after, assess=never, **options):
        preconditioner = misleading(objective, start.theta, **options)
        stage = Stage(new_run(start), objective, preconditioner, start, assess, tried_after)
        return stage.minimise(8).iterations

    assert iterations(math.inf, record) == 8
    promised = decrements[0]
    aged = [i for i in range(1, 9) if brought[i] < promised < decrements[i]]
    assert 1 < aged[0] < aged[1] < 8
    assert iterations(1) == iterations(aged[0]) == aged[0]
    assert iterations(aged[0] + 1) == aged[1]
    assert iterations(1, form=Form.SHARED) == 8
    # Curvature that is too large everywhere brings more than it promises.
    assert iterations(1, factors=(3.0, 3.0)) == 8


def test_stages_last_as_long_as_their_curvature_costs_but_within_bounds():
    def lengths(form):
        costs = (0.0, 20.0, 60.0, 1e9)
        curvatures = [Preconditioner(None, None, form, cost) for cost in costs]
        return [stage_length(curvature, StageLengths((4, 40), (15, 200))) for curvature in curvatures]

    assert lengths(Form.EXACT) == [4, 20, 40, 40]
    assert lengths(Form.SHARED) == [15, 15, 30, 200]
    dear = Preconditioner(None, None, Form.EXACT, 1e9)
    assert stage_length(dear) == SMOOTH.exact[1]
    dearer = [Preconditioner(None, None, Form.EXACT, cost) for cost in (60.0, 80.0, 300.0, 1e9)]
    assert [stage_length(each, ENVELOPE, most_if_dear=200) for each in dearer] == [30, 40, 150, 200]
    assert stage_length(dear, ENVELOPE, most_if_dear=2) == ENVELOPE.exact[1]
    assert stage_length(Preconditioner(None, None, Form.SHARED, 1e9), most_if_dear=200) == SMOOTH.other[1]
    # The curvature of an envelope ages sooner.
    assert all(envelope < smooth for envelope, smooth in zip(ENVELOPE.exact, SMOOTH.exact, strict=True))
    assert ENVELOPE.other[0] < SMOOTH.other[0]


def test_stages_of_each_feature_alone_last_as_long_as_all_before_them():
    alone = Preconditioner(None, None, Form.DIAGONAL, 1.0)
    least, _ = SMOOTH.other
    assert [stage_length(alone, made=made) for made in (0, least, 400)] == [least, least, 400]
    # In place of better curvature they last half as long as that costs, but at least START_ITERATIONS.
    costs = (START_BUDGET + 1, 30.0)
    instead = [stage_length(Preconditioner(None, None, Form.DIAGONAL, cost)) for cost in costs]
    assert instead == [START_ITERATIONS, 15]
    assert stage_length(Preconditioner(None, None, Form.SHARED, 1.0), made=400) == least
    assert stage_length(Preconditioner(None, None, Form.EXACT, 1.0), made=400) == SMOOTH.exact[0]
