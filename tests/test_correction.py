"""What a correction of multipliers claims of them holds."""

from dataclasses import replace

import numpy as np
import pytest

from sk_linear_losses import _correction
from sk_linear_losses._correction import _coordinates, _Multipliers, correct
from sk_linear_losses._envelope import HingeObjective, smoothed_term
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import ROUND_OFF, Rows
from sk_linear_losses.losses import CrammerSingerLoss, SoftmaxLoss, WestonWatkinsLoss

LOSSES = {
    "softmax": SoftmaxLoss(),
    "smoothed": SoftmaxLoss(label_smoothing=0.1),
    "weston_watkins": WestonWatkinsLoss(),
    "squared": WestonWatkinsLoss(squared=True),
    "crammer_singer": CrammerSingerLoss(),
}
C, N_SAMPLES, N_CLASSES = 2.0, 120, 4
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
    if hasattr(loss, "envelope"):
        term = replace(smoothed_term(loss, rows, C, statistics), smoothing=2.0)
        objective = HingeObjective(rows, term, *settings)
    else:
        objective = Objective(rows, SmoothTerm(loss), *settings)
    scale = np.sqrt(np.append(statistics.variance, np.ones(int(fit_intercept))))
    return objective, objective.evaluate(rng.normal(size=objective.shape) / scale[:, None])


@each_loss
def test_conjugates_within_the_leeway_are_below_the_ceiling(name):
    objective, at = evaluated(name)
    correction = correct(objective, at, np.array([2, 3]))
    multipliers, rng = _Multipliers(objective, at.theta), np.random.default_rng(1)
    (block,) = objective.rows.blocks
    gradient, leeway = multipliers.of(block)
    for _ in range(100):
        ends = gradient + leeway.product(rng.integers(0, 2, gradient.shape))
        conjugates = objective.term.loss.conjugate(ends, block.y)
        assert C * (block.weight @ conjugates) <= correction.ceiling


def test_a_squared_hinge_that_is_large_has_a_ceiling_above_zero():
    """Twice as large flows cost more than none."""
    objective, at = evaluated("squared")
    at = objective.evaluate(5 * at.theta)
    (block,) = objective.rows.blocks
    gradient, _ = _Multipliers(objective, at.theta).of(block)
    end = C * (block.weight @ objective.term.loss.conjugate(2 * gradient, block.y))
    assert 0 < end <= correct(objective, at, np.array([2, 3])).ceiling


@each_loss
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_round_off_of_the_gradient_is_less_than_allowed_for(name, fit_intercept):
    objective, at = evaluated(name, fit_intercept)
    features = np.array([2, 3])
    coordinates, multipliers = _coordinates(objective, features), _Multipliers(objective, at.theta)
    _, pull, squares = multipliers.sums(coordinates)
    (block,) = objective.rows.blocks
    gradient, _ = multipliers.of(block)
    exact = block.X[:, features].astype(np.longdouble) - objective.statistics.mean[features]
    of_features = (exact * block.weight[:, None]).T @ (gradient.astype(np.longdouble) @ objective.coding)
    # The coordinates' pull, taken back to the features.
    back = coordinates.root.astype(np.longdouble) @ pull[:2]
    weight = objective.statistics.total_weight
    sizes = np.sqrt(objective.statistics.variance[features])
    error = np.abs(back - of_features).max(axis=1).astype(float)
    assert (error > 0).all()
    assert (error <= ROUND_OFF * sizes * np.sqrt(weight * squares)).all()


@each_loss
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("round_off", [ROUND_OFF, 1e-2])
def test_sizes_bound_the_correction_and_allow_for_round_off(name, fit_intercept, round_off, monkeypatch):
    monkeypatch.setattr(_correction, "ROUND_OFF", round_off)
    objective, at = evaluated(name, fit_intercept)
    correction = correct(objective, at, np.array([2, 3]))
    coordinates, multipliers = _coordinates(objective, np.array([2, 3])), _Multipliers(objective, at.theta)
    matrix, pull, squares = multipliers.sums(coordinates)
    n, m = pull.shape
    system = C * matrix.transpose(0, 2, 1, 3).reshape(n * m, n * m)
    wanted = C * pull
    wanted[:2] += coordinates.of(at.theta[2:4])
    allowed = C * np.sqrt(objective.statistics.total_weight * squares) * coordinates.round_off
    (block,) = objective.rows.blocks
    (inner,) = (entries for _, entries in coordinates(block))
    rng = np.random.default_rng(2)
    for _ in range(20):
        error = allowed[:, None] * rng.choice([-1, 1], (n, m))
        change = np.linalg.solve(system, (wanted + error).ravel()).reshape(n, m)
        moves = inner @ change @ objective.coding.T
        assert np.ptp(moves, axis=1).max() <= correction.share
        energy = change.ravel() @ system @ change.ravel()
        others = objective.centred_rows(block, np.flatnonzero(block.weight))[:, :2]
        _, leeway = multipliers.of(block)
        kept = np.flatnonzero(block.weight)
        moved = type(leeway)(*(part[kept] for part in leeway)).product(moves)
        pulls = C * (others * block.weight[kept, None]).T @ (moved @ objective.coding)
        roots = np.sqrt(C * (block.weight[kept] @ others**2))
        assert (np.linalg.norm(pulls, axis=1) <= correction.moved * roots).all()
        assert np.sqrt(energy) <= correction.moved / round_off


def test_no_feature_is_moved_more_than_a_copy_of_the_corrected_one():
    """All samples have the same leeway here, so that the bound is met."""
    x = np.random.default_rng(0).normal(size=N_SAMPLES)
    rows = Rows(np.column_stack([x, x]), np.arange(N_SAMPLES) % 2, np.ones(N_SAMPLES), 2, 1)
    statistics = statistics_of(rows, False)
    objective = Objective(rows, SmoothTerm(LOSSES["squared"]), C, 1.0, False, statistics, False)
    at = objective.evaluate(np.zeros(objective.shape))
    (moved,) = np.abs(at.gradient[0])
    bound = correct(objective, at, np.array([0])).moved * np.sqrt(C * x @ x)
    assert moved <= bound <= (1 + 1e-9) * moved


@pytest.mark.parametrize("apart", [1e-12, 1e-6])
def test_features_that_are_the_same_up_to_round_off_are_not_told_apart(apart):
    correlations = np.array([[1, 1 - apart], [1 - apart, 1]])
    assert (_correction._inverse(correlations) is None) == (apart < 1e-10)
