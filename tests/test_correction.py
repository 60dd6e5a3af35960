"""The claims of a correction of multipliers hold."""

from dataclasses import replace

import numpy as np
import pytest

from sk_linear_losses import _correction
from sk_linear_losses._correction import _coordinates, _MovableMultipliers, correct
from sk_linear_losses._envelope import HingeObjective, smoothed_term
from sk_linear_losses._numerics import ROUND_OFF
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import CrammerSingerLoss, HingeLoss, SoftmaxLoss, WestonWatkinsLoss

LOSSES = {
    "softmax": SoftmaxLoss(),
    "smoothed": SoftmaxLoss(label_smoothing=0.1),
    "weston_watkins": WestonWatkinsLoss(),
    "squared": WestonWatkinsLoss(squared=True),
    "crammer_singer": CrammerSingerLoss(),
}
C, N_SAMPLES, N_CLASSES = 2.0, 2000, 4
each_loss = pytest.mark.parametrize("name", LOSSES)


def evaluated(name, fit_intercept=True):
    """An objective whose last two features are powers of a variable, and an evaluation of it."""
    rng = np.random.default_rng(0)
    variable = 1e3 * rng.random(N_SAMPLES)
    X = np.column_stack([rng.normal(size=(N_SAMPLES, 2)), variable**2, variable**3])
    weight = rng.integers(0, 3, N_SAMPLES).astype(float)
    rows = Rows(X, np.arange(N_SAMPLES) % N_CLASSES, weight, N_CLASSES, 1)
    statistics = statistics_of(rows, fit_intercept)
    loss, settings = LOSSES[name], (C, 1.0, fit_intercept, statistics, False)
    if isinstance(loss, HingeLoss):
        term = replace(smoothed_term(loss, rows, C, statistics), smoothing=2.0)
        objective = HingeObjective(rows, term, *settings)
    else:
        objective = Objective(rows, SmoothTerm(loss), *settings)
    scale = np.sqrt(np.append(statistics.variance, np.ones(int(fit_intercept))))
    return objective, objective.evaluate(0.01 * rng.normal(size=objective.shape) / scale[:, None])


@each_loss
def test_conjugates_within_the_leeway_are_below_the_ceiling(name):
    objective, at = evaluated(name)
    multipliers, rng = _MovableMultipliers(objective, at.theta), np.random.default_rng(1)
    *_, squares = multipliers.sums(_coordinates(objective, np.array([2, 3])))
    (block,) = objective.rows.blocks
    gradient, leeway = multipliers.of(block)
    for _ in range(100):
        ends = gradient + leeway.product(rng.integers(0, 2, gradient.shape))
        conjugates = objective.term.loss.conjugate(ends, block.y)
        assert block.weight @ conjugates <= squares


def test_a_squared_hinge_that_is_large_has_a_ceiling_above_zero():
    """Flows of twice the size cost more than no flows."""
    objective, at = evaluated("squared")
    multipliers = _MovableMultipliers(objective, 500 * at.theta)
    *_, squares = multipliers.sums(_coordinates(objective, np.array([2, 3])))
    (block,) = objective.rows.blocks
    gradient, _ = multipliers.of(block)
    end = block.weight @ objective.term.loss.conjugate(2 * gradient, block.y)
    assert 0 < end <= squares


@each_loss
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_round_off_of_the_gradient_is_less_than_allowed_for(name, fit_intercept):
    objective, at = evaluated(name, fit_intercept)
    features = np.array([2, 3])
    coordinates, multipliers = _coordinates(objective, features), _MovableMultipliers(objective, at.theta)
    _, pull, squares = multipliers.sums(coordinates)
    (block,) = objective.rows.blocks
    gradient, _ = multipliers.of(block)
    exact = block.X[:, features].astype(np.longdouble) - objective.statistics.mean[features]
    of_features = (exact * block.weight[:, None]).T @ (gradient.astype(np.longdouble) @ objective.coding)
    # The pull on the coordinates, transformed back to the features.
    back = coordinates.root.astype(np.longdouble) @ pull[:2]
    weight = objective.statistics.total_weight
    sizes = np.sqrt(objective.statistics.variance[features])
    error = np.abs(back - of_features).max(axis=1).astype(float)
    assert (error > 0).all()
    assert (error <= ROUND_OFF * sizes * np.sqrt(weight * squares)).all()


def step_of(objective, at, features, error):
    """Multipliers, and their step from the linear system with this error on its right side."""
    coordinates, multipliers = _coordinates(objective, features), _MovableMultipliers(objective, at.theta)
    matrix, pull, squares = multipliers.sums(coordinates)
    n, m = pull.shape
    system = C * matrix.transpose(0, 2, 1, 3).reshape(n * m, n * m)
    wanted = C * pull
    wanted[: len(features)] += coordinates.of(at.theta[features])
    allowed = C * np.sqrt(objective.statistics.total_weight * squares) * coordinates.round_off
    wanted += allowed[:, None] * error
    (block,) = objective.rows.blocks
    (inner,) = (entries for _, entries in coordinates(block))
    moves = np.zeros((N_SAMPLES, N_CLASSES))
    change = np.linalg.solve(system, wanted.ravel()).reshape(n, m)
    moves[block.weight > 0] = -inner @ change @ objective.coding.T
    gradient, leeway = multipliers.of(block)
    return gradient, leeway.product(moves)


@each_loss
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("round_off", [ROUND_OFF, 1e-5])
def test_a_correction_is_known_but_for_what_round_off_is_allowed(name, fit_intercept, round_off, monkeypatch):
    monkeypatch.setattr(_correction, "ROUND_OFF", round_off)
    objective, at = evaluated(name, fit_intercept)
    features = np.array([2, 3])
    correction = correct(objective, at, features)
    (block,) = objective.rows.blocks
    weight = block.weight[:, None]
    others = objective.centred_rows(block, np.arange(N_SAMPLES))[:, :2]
    roots = np.sqrt(C * (weight * others**2).sum(axis=0))
    rng = np.random.default_rng(2)
    for _ in range(20):
        error = rng.choice([-1, 1], (2 + fit_intercept, N_CLASSES - 1))
        gradient, step = step_of(objective, at, features, error)
        conjugate = C * (block.weight @ objective.term.loss.conjugate(gradient + step, block.y))
        assert conjugate <= correction.conjugate + 1e-12 * abs(at.conjugate)
        pull = C * (others * weight).T @ (step @ objective.coding)
        assert (np.linalg.norm(pull - correction.pull[:2], axis=1) <= correction.doubt * roots).all()


@pytest.mark.parametrize("name", ["weston_watkins", "crammer_singer"])
def test_conjugates_of_corrected_hinges_are_exact(name):
    """The conjugates of hinges are linear."""
    objective, at = evaluated(name)
    features = np.array([2, 3])
    gradient, step = step_of(objective, at, features, 0)
    (block,) = objective.rows.blocks
    conjugate = C * (block.weight @ objective.term.loss.conjugate(gradient + step, block.y))
    assert conjugate != pytest.approx(at.conjugate, rel=1e-6)
    assert correct(objective, at, features).conjugate == pytest.approx(conjugate, rel=1e-9)


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_there_is_no_correction_beyond_the_leeway(share, monkeypatch):
    objective, at = evaluated("softmax")
    monkeypatch.setattr(_MovableMultipliers, "extremes", lambda *arguments: (share / 2, np.zeros(3), 1.0))
    assert (correct(objective, at, np.array([2, 3])) is None) == (share > 1)


def test_a_copy_of_a_corrected_feature_is_corrected_with_it():
    x = np.random.default_rng(0).normal(size=N_SAMPLES)
    rows = Rows(np.column_stack([x, x]), np.arange(N_SAMPLES) % 2, np.ones(N_SAMPLES), 2, 1)
    statistics = statistics_of(rows, False)
    objective = Objective(rows, SmoothTerm(LOSSES["squared"]), C, 1.0, False, statistics, False)
    at = objective.evaluate(np.zeros(objective.shape))
    correction = correct(objective, at, np.array([0]))
    assert correction.pull[1] == pytest.approx(-at.gradient[1], rel=1e-9)
    assert correction.doubt * np.sqrt(C * x @ x) <= 1e-9 * abs(at.gradient[1, 0])


@pytest.mark.parametrize("apart", [1e-12, 1e-6])
def test_features_that_are_the_same_up_to_round_off_are_not_told_apart(apart):
    correlations = np.array([[1, 1 - apart], [1 - apart, 1]])
    assert (_correction._inverse(correlations) is None) == (apart < 1e-10)
