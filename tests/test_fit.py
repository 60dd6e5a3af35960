"""The coordinates in which a fit works, which of its results it takes, and what it stores."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sk_linear_losses import _fit
from sk_linear_losses._fit import KINKED_COST, LONGER, MOST_LOST, SMOOTH_COST, UNMEASURED, Fit, _Candidate
from sk_linear_losses._numerics import ROUND_OFF
from sk_linear_losses._row_space import RowSpace
from sk_linear_losses._rows import Samples
from sk_linear_losses.losses import SoftmaxLoss, WestonWatkinsLoss

from .oracles import counted, generated, relative_error, softmax_loss, weston_watkins_loss

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
    rotations, chosen = Rotations(monkeypatch, {"objective": 10.0}, {"objective": 12.0}), Fit._chosen

    def rounded(fit, result):
        return chosen(fit, result)._replace(objective=13.0 if result.objective == 10.0 else result.objective)

    monkeypatch.setattr(Fit, "_chosen", rounded)
    result, model = new_fit().minimise(None, 0.0)
    assert result is rotations.results[1]
    assert model.objective == 12.0


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


@pytest.mark.parametrize(("share", "n_measured"), [(0.9, 0), (1.1, 1)])
def test_little_round_off_is_charged_as_it_may_be_and_not_measured(share, n_measured, monkeypatch):
    fit = new_fit()
    result = end_of(fit)
    doubt = share * UNMEASURED * result.objective
    monkeypatch.setattr(Fit, "_round_off_bound", lambda *args: doubt)
    with counted(Fit, "_losses_and_doubts") as measured:
        chosen = fit._chosen(result)
    assert measured.call_count == n_measured
    if n_measured:
        assert 0 < chosen.doubt < doubt / 10
    else:
        assert chosen.doubt == doubt
        assert chosen.objective == result.objective


@pytest.mark.parametrize(("gap", "n_measured"), [(0.4, 0), (0.9, 1), (1.1, 0)])
def test_a_certificate_that_the_bound_of_round_off_would_undo_is_measured(gap, n_measured, monkeypatch):
    fit = replace(new_fit(), tol=UNMEASURED)
    result = end_of(new_fit())
    unit = UNMEASURED * result.objective
    monkeypatch.setattr(Fit, "_round_off_bound", lambda *args: unit / 2)
    with counted(Fit, "_losses_and_doubts") as measured:
        model = fit.model(replace(result, gap=gap * unit))
    assert measured.call_count == n_measured
    assert (model.gap <= fit.tol * model.objective) == (gap < 1)


@each_loss
@pytest.mark.parametrize(("mean", "fit_intercept"), [(0.0, True), (0.0, False), (1e3, True)])
def test_the_bound_of_round_off_is_above_what_is_measured_but_not_far(loss, mean, fit_intercept, monkeypatch):
    fit = new_fit(X + mean, loss, fit_intercept=fit_intercept)
    result = end_of(fit)
    _, intercept = result.parameters
    bound = fit._round_off_bound(result.minimised, result.theta, intercept - intercept.mean())
    monkeypatch.setattr(Fit, "_round_off_bound", lambda *args: np.inf)
    assert 1 < bound / fit._chosen(result).doubt < 40


def test_the_bound_of_round_off_grows_with_what_the_intercept_cancels():
    """The intercept cancels the mean of the features or the offset by which they were moved."""
    bounds = []
    for mean in (1e3, 1e7):
        fit = new_fit(X + mean)
        result = end_of(fit)
        assert result.minimised.rows.offset.any() == (mean == 1e7)
        bounds.append(fit._round_off_bound(result.minimised, result.theta, np.zeros(3)))
        bounds.append(fit._round_off_bound(result.minimised, 0 * result.theta, mean * np.ones(3)))
    of_features, of_intercepts = np.reshape(bounds, (2, 2)).T
    assert of_features[1] / of_features[0] == pytest.approx(1e4, rel=1e-2)
    assert of_intercepts[1] / of_intercepts[0] == pytest.approx(1e4)
    assert (of_intercepts > 0.1 * of_features).all()


def test_round_off_of_coordinates_is_that_of_their_features(monkeypatch):
    """There is no bound where terms by feature are larger and cancel."""
    fit = new_fit()
    result = end_of(fit)
    _, intercept = result.parameters
    bound = fit._round_off_bound(result.minimised, result.theta, intercept)
    merged = RowSpace(X, sp.eye_array(4, format="csr"), np.zeros(4), np.zeros(4))
    for space, factor in ((merged, 16), (replace(merged, basis=np.eye(4)), np.inf)):
        solved = replace(result.minimised, space=space)
        assert fit._round_off_bound(solved, result.theta, intercept) == pytest.approx(factor * bound)


@each_loss
def test_what_is_measured_is_the_objective_of_what_is_stored(loss, monkeypatch):
    monkeypatch.setattr(Fit, "_round_off_bound", lambda *args: np.inf)
    fit = new_fit(X + 1e6, loss)
    chosen = fit._chosen(end_of(fit))
    scores = (X + 1e6).astype(np.longdouble) @ chosen.coef + chosen.intercept
    losses = (softmax_loss if loss is LOSSES[0] else weston_watkins_loss)(scores.astype(float), Y)
    stored = (chosen.coef**2).sum() / 2 + C * losses.sum()
    assert chosen.objective == pytest.approx(stored, rel=1e-10)


def measured_as(fit, result, monkeypatch, plain, longer):
    """What is chosen if these are the doubts of the plain coefficients and of the longer ones.

    Doubts are in units of the objective. The third from the end is the best of the longer coefficients.
    """
    measured = []

    def losses_and_doubts(fit, rows, coef, intercepts, factors, round_off):
        measured.append((coef, factors))
        loss = (result.objective - (coef**2).sum() / 2) / C
        shares = np.full(len(factors), plain if len(measured) == 1 else longer)
        if len(factors) > 1:
            shares[:] = 1.0
            shares[-3] = longer
        return [loss] * len(factors), list(shares * result.objective / C)

    monkeypatch.setattr(Fit, "_round_off_bound", lambda *args: np.inf)
    monkeypatch.setattr(Fit, "_losses_and_doubts", losses_and_doubts)
    return fit._chosen(result), measured


@pytest.mark.parametrize(("loss", "cost"), [(LOSSES[0], SMOOTH_COST), (LOSSES[1], KINKED_COST)])
def test_longer_coefficients_are_tried_where_round_off_costs_much(loss, cost, monkeypatch):
    """Longer coefficients are taken if they save some of this cost."""
    fit = new_fit(loss=loss)
    result = end_of(fit)
    coef, _ = result.parameters

    def length(plain, longer):
        chosen, measured = measured_as(fit, result, monkeypatch, plain, longer)
        assert [factors for _, factors in measured[1:]] in ([], [LONGER, (1.0,)])
        return len(measured), np.vdot(chosen.coef, coef) / np.vdot(coef, coef)

    assert length(0.9 * cost, 0.0) == (1, 1.0)
    assert length(1.1 * cost, 0.0) == (3, pytest.approx(LONGER[-3], rel=1e-14))
    n_measured, factor = length(1.1 * cost, 1.2 * cost)
    assert n_measured == 3
    assert factor == pytest.approx(1, rel=1e-15)


def test_longer_coefficients_come_with_an_intercept_as_much_longer(monkeypatch):
    fit = new_fit(loss=LOSSES[1])
    result = end_of(fit)
    chosen, _ = measured_as(fit, result, monkeypatch, 1.0, 0.0)
    coef, intercept = result.parameters
    for stored, solved in ((chosen.coef, coef), (chosen.intercept, intercept - intercept.mean())):
        assert relative_error(stored, LONGER[-3] * solved) < 1e-14


def test_the_gap_of_a_model_has_what_storing_costs_and_saves(monkeypatch):
    fit = new_fit()
    result = replace(end_of(fit), objective=10.0, gap=1.0)
    coef, intercept = result.parameters
    for objective, doubt, gap in (
        (10.0, 0.0, 1.0),
        (9.5, 0.2, 0.7),
        (11.0, 0.2, 2.2),
        (8.0, 0.0, 8 * ROUND_OFF),
    ):
        chosen = _Candidate(coef, intercept, objective, doubt)
        monkeypatch.setattr(Fit, "_chosen", lambda fit, result, chosen=chosen: chosen)
        model = fit.model(result)
        assert model.objective == objective
        assert model.gap == pytest.approx(gap)


@pytest.mark.parametrize(
    ("converged", "lost", "gap", "is_converged"),
    [
        (True, 0.9 * MOST_LOST, 1.0, True),
        (True, 1.1 * MOST_LOST, 1.0, False),
        (False, 0.0, 1.0, False),
        # A certificate for what is stored is success, too.
        (False, 0.0, TOL / 2, True),
    ],
)
@pytest.mark.parametrize("charged", [False, True])
def test_rounding_of_what_is_stored_may_cost_success(
    converged, lost, gap, is_converged, charged, monkeypatch
):
    """The cost counts both as measured and at the worst."""
    fit = new_fit()
    result = replace(end_of(fit), objective=1.0, gap=gap, converged=converged)
    objective, doubt = (1.0, lost) if charged else (1 + lost, 0.0)
    chosen = _Candidate(*result.parameters, objective, doubt)
    monkeypatch.setattr(Fit, "_chosen", lambda fit, result: chosen)
    assert fit.model(result).converged == is_converged
