"""The coordinates in which a fit works, and which of its results it takes."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sk_linear_losses import _fit, _model
from sk_linear_losses._fit import Fit
from sk_linear_losses._row_space import RowSpace
from sk_linear_losses._rows import Samples
from sk_linear_losses.losses import SoftmaxLoss, WestonWatkinsLoss

from .oracles import generated

C, TOL = 0.5, 1e-4
X, Y = generated(0, 60, 4, 3)
LOSSES = [SoftmaxLoss(), WestonWatkinsLoss()]
each_loss = pytest.mark.parametrize("loss", LOSSES)


def new_fit(X=X, loss=LOSSES[0], C=C, max_iter=1000, fit_intercept=True):
    samples = Samples(X, Y, np.ones(len(Y)), 3, 1)
    return Fit(samples, loss, C, fit_intercept, one_vector=False, tol=TOL, max_iter=max_iter)


def end_of(fit):
    return fit.minimise(None, 0.0)[0]


class Rotations:
    """Replaces `solve`: keeps its arguments and changes each result as the next entry of the script says."""

    def __init__(self, monkeypatch, *script, spaces=None, worth_rotation=True):
        self.script, self.calls, self.results, self.asked = list(script), [], [], []
        self.worth_rotation = worth_rotation
        self.solve = _fit.solve
        monkeypatch.setattr(_fit, "solve", self)
        monkeypatch.setattr(_fit, "row_spaces", lambda *args: iter(spaces or [(None, 1.0), (None, np.inf)]))
        monkeypatch.setattr(_fit, "is_worth_rotation", self.is_worth_rotation)

    def __call__(self, objective, starts, *args):
        self.calls.append((objective, starts, *args))
        result = self.solve(objective, starts, TOL, 1000, 0.0)
        said = {"converged": False, "certified": False, "gap": 1.0, **self.script[len(self.results)]}
        self.results.append(replace(result, **said))
        return self.results[-1]

    def is_worth_rotation(self, objective, work, converged):
        self.asked.append((objective, work, converged))
        return self.worth_rotation and work < np.inf


def test_a_fit_turns_to_other_coordinates_until_nothing_is_left_to_gain(monkeypatch):
    final = {"converged": True, "certified": True}
    history = 1000 * (None,)
    for script, worth_rotation, n_solves in (
        ([{}, {}], True, 2),
        ([final], True, 1),
        ([{"history": history}], True, 1),
        ([{"history": history[1:]}, {}], True, 2),
        ([{}], False, 1),
    ):
        with monkeypatch.context() as context:
            rotations = Rotations(context, *script, worth_rotation=worth_rotation)
            new_fit().minimise(None, 0.0)
        assert len(rotations.calls) == n_solves
        assert len(rotations.asked) == (0 if script[0] not in ({}, {"history": history[1:]}) else n_solves)


@pytest.mark.parametrize("converged", [False, True])
def test_whether_to_turn_depends_on_what_is_missing_and_on_the_next_coordinates(converged, monkeypatch):
    rotations = Rotations(
        monkeypatch, {"converged": converged}, spaces=[(None, 7.0), (None, 8.0)], worth_rotation=False
    )
    asked = []
    monkeypatch.setattr(_fit, "iterations_before_rotation", lambda *args: asked.append(args) or 5)
    new_fit(max_iter=9).minimise(None, 0.0)
    (call,) = rotations.calls
    assert rotations.asked == [(call[0], 7.0, converged)]
    assert asked == [(call[0], 7.0, 9)]
    assert call[3] == 5


def test_coordinates_are_taken_in_order_and_each_goes_on_from_the_last(monkeypatch):
    """Coefficients known before the fit are no start for later coordinates."""
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    space = RowSpace(X @ turned, turned, np.zeros(4), np.zeros(4))
    rotations = Rotations(monkeypatch, {}, {}, spaces=[(None, 1.0), (space, np.inf)])
    known = np.ones((4, 3)) * [1, 0, -1], np.array([1.0, 0.0, -1.0])
    new_fit().minimise(known, 0.0)
    (first, starts, *_, before), (second, later, *_, previous) = rotations.calls
    assert first.space is None
    assert second.space is space
    assert before is None
    assert previous is rotations.results[0]
    assert_allclose(starts[0], first.coded_parameters(*known))
    assert_allclose(later[0], second.coded_parameters(*previous.parameters))
    for objective, (_, none) in ((first, starts), (second, later)):
        assert_array_equal(none, new_fit()._start(objective))


@pytest.mark.parametrize("better", [0, 1])
def test_the_best_of_ends_is_taken_with_all_that_was_proven(better, monkeypatch):
    """It does not matter in which coordinates a bound was proven or a fit was stopped."""
    objectives = [10.0, 12.0] if better == 0 else [12.0, 10.0]
    script = [{"objective": each, "gap": gap} for each, gap in zip(objectives, (1.0, 5.0), strict=True)]
    script[1]["stopped"] = True
    script[1]["history"] = (None,)
    rotations = Rotations(monkeypatch, *script)
    result, model = new_fit().minimise(None, 0.0)
    assert result.theta is rotations.results[better].theta
    assert model.objective == result.objective == 10.0
    assert result.bound == pytest.approx(objectives[1] - 5.0)
    assert result.stopped
    assert result.history == (None,)


def test_ends_are_compared_by_what_can_be_stored_of_them(monkeypatch):
    rotations, chosen = Rotations(monkeypatch, {"objective": 10.0}, {"objective": 12.0}), _model._chosen

    def rounded(result, *args):
        return chosen(result, *args)._replace(
            objective=13.0 if result.objective == 10.0 else result.objective
        )

    monkeypatch.setattr(_model, "_chosen", rounded)
    result, model = new_fit().minimise(None, 0.0)
    assert result is rotations.results[1]
    assert model.objective == 12.0


def test_ends_are_compared_at_the_worst(monkeypatch):
    """A smaller objective that rounding may undo is no better, and leaves a larger gap."""
    script = [{"objective": each, "gap": 1.0} for each in (10.1, 10.0)]
    rotations, chosen = Rotations(monkeypatch, *script), _model._chosen

    def doubtful(result, *args):
        doubt = 0.2 if result.objective == 10.0 else 0.0
        return chosen(result, *args)._replace(objective=result.objective, doubt=doubt)

    monkeypatch.setattr(_model, "_chosen", doubtful)
    result, model = new_fit().minimise(None, 0.0)
    assert result.theta is rotations.results[0].theta
    assert model.objective == 10.1
    assert model.gap == pytest.approx(1.1)


@pytest.mark.parametrize("better", [0, 1])
def test_without_a_bound_ends_are_compared_by_their_objectives(better, monkeypatch):
    script = [{"objective": 10.0 + abs(k - better), "gap": np.inf} for k in range(2)]
    rotations = Rotations(monkeypatch, *script)
    result, _ = new_fit().minimise(None, 0.0)
    assert result.theta is rotations.results[better].theta


@each_loss
def test_a_fit_starts_from_the_best_intercept_alone(loss):
    fit = new_fit(loss=loss)
    objective = fit._objective(None)
    theta = fit._start(objective)
    assert not theta[:-1].any()
    gradient = objective.evaluate(theta).gradient[-1]
    if loss is LOSSES[0]:
        assert_allclose(gradient, 0, atol=1e-13)
    else:
        assert not theta.any()
    fit = new_fit(loss=loss, fit_intercept=False)
    assert not fit._start(fit._objective(None)).any()
