"""What is stored of a fit, and what rounding it costs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp

from sk_linear_losses import _model
from sk_linear_losses._model import KINKED_COST, LONGER, MOST_LOST, SMOOTH_COST, UNMEASURED, _Candidate
from sk_linear_losses._numerics import ROUND_OFF
from sk_linear_losses._row_space import RowSpace

from .oracles import counted, relative_error, softmax_loss, weston_watkins_loss
from .test_fit import LOSSES, TOL, C, X, Y, each_loss, end_of, new_fit


def chosen_of(fit, result):
    return _model._chosen(result, partial(fit._rows_as_given, result.minimised), fit.tol)


@pytest.mark.parametrize(("share", "n_measured"), [(0.9, 0), (1.1, 1)])
def test_little_round_off_is_charged_as_it_may_be_and_not_measured(share, n_measured, monkeypatch):
    fit = new_fit()
    result = end_of(fit)
    doubt = share * UNMEASURED * result.objective
    monkeypatch.setattr(_model, "_round_off_bound", lambda *args: doubt)
    with counted(_model._Stored, "losses_and_doubts") as measured:
        chosen = chosen_of(fit, result)
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
    monkeypatch.setattr(_model, "_round_off_bound", lambda *args: unit / 2)
    with counted(_model._Stored, "losses_and_doubts") as measured:
        model = fit.model(replace(result, gap=gap * unit))
    assert measured.call_count == n_measured
    assert (model.gap <= fit.tol * model.objective) == (gap < 1)


@each_loss
@pytest.mark.parametrize(("mean", "fit_intercept"), [(0.0, True), (0.0, False), (1e3, True)])
def test_the_bound_of_round_off_is_above_what_is_measured_but_not_far(loss, mean, fit_intercept, monkeypatch):
    fit = new_fit(X + mean, loss, fit_intercept=fit_intercept)
    result = end_of(fit)
    _, intercept = result.parameters
    bound = _model._round_off_bound(result.minimised, result.theta, intercept - intercept.mean())
    monkeypatch.setattr(_model, "_round_off_bound", lambda *args: np.inf)
    assert 1 < bound / chosen_of(fit, result).doubt < 40


def test_the_bound_of_round_off_grows_with_what_the_intercept_cancels():
    """The intercept cancels the mean of the features or the offset by which they were moved."""
    bounds = []
    for mean in (1e3, 1e7):
        fit = new_fit(X + mean)
        result = end_of(fit)
        assert result.minimised.rows.offset.any() == (mean == 1e7)
        bounds.append(_model._round_off_bound(result.minimised, result.theta, np.zeros(3)))
        bounds.append(_model._round_off_bound(result.minimised, 0 * result.theta, mean * np.ones(3)))
    of_features, of_intercepts = np.reshape(bounds, (2, 2)).T
    assert of_features[1] / of_features[0] == pytest.approx(1e4, rel=1e-2)
    assert of_intercepts[1] / of_intercepts[0] == pytest.approx(1e4)
    assert (of_intercepts > 0.1 * of_features).all()


def test_round_off_of_coordinates_is_that_of_their_features(monkeypatch):
    """There is no bound where terms by feature are larger and cancel."""
    fit = new_fit()
    result = end_of(fit)
    _, intercept = result.parameters
    bound = _model._round_off_bound(result.minimised, result.theta, intercept)
    merged = RowSpace(X, sp.eye_array(4, format="csr"), np.zeros(4), np.zeros(4))
    for space, factor in ((merged, 16), (replace(merged, basis=np.eye(4)), np.inf)):
        solved = replace(result.minimised, space=space)
        assert _model._round_off_bound(solved, result.theta, intercept) == pytest.approx(factor * bound)


@each_loss
def test_what_is_measured_is_the_objective_of_what_is_stored(loss, monkeypatch):
    monkeypatch.setattr(_model, "_round_off_bound", lambda *args: np.inf)
    fit = new_fit(X + 1e6, loss)
    chosen = chosen_of(fit, end_of(fit))
    scores = (X + 1e6).astype(np.longdouble) @ chosen.coef + chosen.intercept
    losses = (softmax_loss if loss is LOSSES[0] else weston_watkins_loss)(scores.astype(float), Y)
    stored = (chosen.coef**2).sum() / 2 + C * losses.sum()
    assert chosen.objective == pytest.approx(stored, rel=1e-10)


def measured_as(fit, result, monkeypatch, plain, longer):
    """What is chosen if these are the doubts of the plain coefficients and of the longer ones.

    Doubts are in units of the objective. The third from the end is the best of the longer coefficients.
    """
    measured = []

    def losses_and_doubts(stored, coef, intercepts, factors, round_off):
        measured.append((coef, factors))
        loss = (result.objective - (coef**2).sum() / 2) / C
        shares = np.full(len(factors), plain if len(measured) == 1 else longer)
        if len(factors) > 1:
            shares[:] = 1.0
            shares[-3] = longer
        return [loss] * len(factors), list(shares * result.objective / C)

    monkeypatch.setattr(_model, "_round_off_bound", lambda *args: np.inf)
    monkeypatch.setattr(_model._Stored, "losses_and_doubts", losses_and_doubts)
    return chosen_of(fit, result), measured


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
        monkeypatch.setattr(_model, "_chosen", lambda *args, chosen=chosen: chosen)
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
    monkeypatch.setattr(_model, "_chosen", lambda *args: chosen)
    assert fit.model(result).converged == is_converged
