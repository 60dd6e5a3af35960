"""Envelopes of hinges against their definition, differences of values, and optima of quadratic programs."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from sk_linear_losses import _blocks
from sk_linear_losses._envelope import HingeObjective, smoothed_term
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import CrammerSingerLoss, SoftmaxLoss, WestonWatkinsLoss

from .oracles import (
    COEF,
    INTEGERS,
    INTERCEPT,
    N_CLASSES,
    N_SAMPLES,
    WEIGHT,
    Y,
    crammer_singer_loss,
    generated,
    hinge_program,
    primal,
    quadratic_program,
    slopes,
    squared_loss,
    weston_watkins_loss,
)

pytestmark = pytest.mark.usefixtures("small_blocks")

C = 0.3
MARGIN = 1 + np.arange(9.0).reshape(3, 3) / 4
OWN = np.eye(N_CLASSES, dtype=bool)[Y]
LOSSES = {
    "Weston-Watkins": (WestonWatkinsLoss(MARGIN), weston_watkins_loss),
    "squared": (WestonWatkinsLoss(MARGIN, squared=True), squared_loss),
    "Crammer-Singer": (CrammerSingerLoss(MARGIN), crammer_singer_loss),
}


def hinge(loss, X=INTEGERS, y=Y, weight=WEIGHT, fit_intercept=True, C=C, flows=None, smoothing=None):
    """An objective of three classes, by default without multipliers and with its own smoothing."""
    rows = Rows(X, y, weight, N_CLASSES, 1)
    statistics = statistics_of(rows, fit_intercept)
    term = smoothed_term(loss, rows, C, statistics)
    if flows is not None:
        term = replace(term, flows=np.asfortranarray(flows))
    if smoothing is not None:
        term = replace(term, smoothing=smoothing)
    return HingeObjective(rows, term, C, 1.0, fit_intercept, statistics, False)


def multipliers(seed):
    """Multipliers that every hinge admits: flows to the wrong classes that add up to at most one."""
    flows = np.random.default_rng(seed).dirichlet(np.ones(N_CLASSES + 1), N_SAMPLES)[:, :N_CLASSES]
    return np.where(OWN, 0, flows)


def shortfalls(objective, theta):
    """Shortfalls from the margins, from whole arrays: may be negative; zero for a sample's own class."""
    coef, intercept = objective.feature_parameters(theta)
    scores = INTEGERS @ coef + intercept
    return np.where(OWN, 0, MARGIN[Y] + scores - scores[OWN][:, None])


def flows_of_weston_watkins(objective, theta, flows):
    """The maximiser in the definition of the envelope, and each sample's smoothing."""
    smoothing = objective.term.smoothing * np.where(WEIGHT > 0, WEIGHT, 1)[:, None]
    return np.clip(flows + shortfalls(objective, theta) / smoothing, 0, 1) * ~OWN, smoothing


def point(objective, size=0.3):
    """Parameters at which some samples meet their margins and others do not."""
    return objective.coded_parameters(size * COEF, size * INTERCEPT)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [1e-6, 0.1, 10.0])
def test_the_envelope_is_below_the_loss_and_within_the_smoothing_of_it(name, smoothing):
    """Within half the smoothing times the squared distance between its multipliers and the loss's."""
    loss, values = LOSSES[name]
    objective = hinge(loss, flows=multipliers(0), smoothing=smoothing)
    theta = point(objective)
    at = objective.evaluate(theta)
    coef, intercept = objective.feature_parameters(theta)
    expected = primal(values, INTEGERS, Y, coef.T, intercept, C, WEIGHT, margin=MARGIN)
    assert at.objective == pytest.approx(expected, rel=1e-12)
    slopes_of_loss = 2 * np.maximum(shortfalls(objective, theta), 0)
    farthest = ((slopes_of_loss - multipliers(0)) ** 2).sum(axis=1) if name == "squared" else 2.0
    assert 0 < at.objective - at.value <= C * smoothing / 2 * (WEIGHT**2 * farthest).sum()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gradients_are_differences_of_values(name, fit_intercept):
    objective = hinge(LOSSES[name][0], fit_intercept=fit_intercept, flows=multipliers(0), smoothing=0.7)
    theta = point(objective)
    expected = slopes(lambda theta: objective.evaluate(theta).value, theta).reshape(theta.shape)
    assert_allclose(objective.evaluate(theta).gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_curvature_is_differences_of_gradients(name):
    objective = hinge(LOSSES[name][0], flows=multipliers(0), smoothing=0.7)
    coef, intercept = objective.score_parameters(point(objective))

    def differences(block):
        scores, term, units = block.scores(coef, intercept), objective.term, 1e-7 * np.eye(N_CLASSES)
        ends = [[term.gradient(scores + sign * unit, block) for unit in units] for sign in (1, -1)]
        curvature = term.curvature(scores, block)
        products = [curvature.product(unit) for unit in np.eye(N_CLASSES)]
        return np.subtract(*ends) / 2e-7, np.array(products)

    for expected, products in objective.rows.map(differences):
        assert_allclose(products, expected, atol=1e-5)


def dual_optimum(X, y, weight, C):
    """Flows and coefficients of the Weston-Watkins hinge without intercept, from its dual program."""
    sample, wrong = np.nonzero(y[:, None] != np.arange(N_CLASSES))
    towards = np.eye(N_CLASSES)[wrong] - np.eye(N_CLASSES)[y[sample]]
    pulls = np.einsum("p,pk,pj->pkj", C * weight[sample], towards, X[sample]).reshape(len(sample), -1)
    units = np.eye(len(sample))
    limits = np.append(np.ones(len(sample)), np.zeros(len(sample)))
    gain = C * weight[sample] * MARGIN[y[sample], wrong]
    flows = np.zeros((len(y), N_CLASSES))
    flows[sample, wrong] = quadratic_program(pulls @ pulls.T, -gain, np.vstack([units, -units]), limits)
    return flows, -(flows[sample, wrong] @ pulls).reshape(N_CLASSES, -1).T


@pytest.mark.parametrize("smoothing", [0.01, 1.0, 100.0])
def test_optimal_multipliers_stay_and_make_the_optimum_of_the_loss_that_of_the_envelope(smoothing):
    X, y = generated(0, 40, 8, N_CLASSES)
    weight = 1 + np.arange(40) % 3 / 2
    flows, coef = dual_optimum(X, y, weight, C)
    assert np.count_nonzero((flows > 1e-6) & (flows < 1 - 1e-6)) >= 8
    loss = WestonWatkinsLoss(MARGIN)
    objective = hinge(loss, X, y, weight, fit_intercept=False, flows=flows, smoothing=smoothing)
    theta = objective.coded_parameters(coef, np.zeros(N_CLASSES))
    at = objective.evaluate(theta)
    oracle = hinge_program(X, y, C, weight, fit_intercept=False, margin=MARGIN)
    expected = primal(weston_watkins_loss, X, y, *oracle, C, weight, margin=MARGIN)
    assert at.objective == pytest.approx(expected, rel=1e-8)
    assert at.value == pytest.approx(expected, rel=1e-8)
    assert_allclose(at.gradient, 0, atol=1e-6)
    assert_allclose(objective.gap_parts(at), 0, atol=1e-7 * expected)
    moved = objective.with_multipliers(theta)
    assert_allclose(moved.term.flows, flows, atol=1e-6)


def test_moved_multipliers_are_those_of_the_definition_and_nothing_else_is_moved():
    objective = hinge(WestonWatkinsLoss(MARGIN), flows=multipliers(0), smoothing=0.7)
    theta = point(objective)
    moved = objective.with_multipliers(theta)
    expected, _ = flows_of_weston_watkins(objective, theta, multipliers(0))
    assert_allclose(moved.term.flows, expected, atol=1e-12)
    assert_allclose(objective.term.flows, multipliers(0))
    assert replace(moved, term=objective.term) == objective
    # Around better multipliers the envelope is closer to the loss.
    assert objective.evaluate(theta).value < moved.evaluate(theta).value < moved.evaluate(theta).objective


@pytest.mark.parametrize("size", [0.0, 0.1, 1.0])
def test_gap_parts_add_up_to_the_objective_less_the_dual(size):
    """Without an intercept there is no condition that multipliers would have to meet for the dual."""
    objective = hinge(WestonWatkinsLoss(MARGIN), fit_intercept=False, flows=multipliers(0), smoothing=2.0)
    theta = point(objective, size)
    at = objective.evaluate(theta)
    flows, smoothing = flows_of_weston_watkins(objective, theta, multipliers(0))
    gradients = np.where(OWN, -flows.sum(axis=1)[:, None], flows)
    pull = C * INTEGERS.T @ (WEIGHT[:, None] * gradients)
    dual = C * WEIGHT @ (flows * MARGIN[Y]).sum(axis=1) - (pull**2).sum() / 2
    parts = objective.gap_parts(at)
    assert min(parts) >= -1e-10
    assert parts.stationarity + parts.complementarity == pytest.approx(at.objective - dual, rel=1e-10)
    assert parts.imbalance == 0
    way = smoothing / 2 * (flows - multipliers(0)) ** 2
    assert parts.proximity == pytest.approx(C * WEIGHT @ way.sum(axis=1), rel=1e-10)


def test_stationarity_and_imbalance_vanish_where_the_envelope_is_minimised_and_the_others_do_not():
    objective = hinge(CrammerSingerLoss(MARGIN), flows=multipliers(0), smoothing=0.7)

    def value_and_gradient(theta):
        at = objective.evaluate(theta.reshape(objective.shape))
        return at.value, at.gradient.ravel()

    start = objective.gap_parts(objective.evaluate(point(objective)))
    assert min(start) > 0.1
    end = minimize(value_and_gradient, np.zeros(objective.n_parameters), jac=True, options={"gtol": 1e-7})
    parts = objective.gap_parts(objective.evaluate(end.x.reshape(objective.shape)))
    assert max(parts.stationarity, parts.imbalance) < 1e-5
    assert min(parts.complementarity, parts.proximity) > 0.1


@pytest.mark.parametrize("C", [1e-6, 1e3])
def test_weights_may_be_moved_into_the_strength_of_the_loss(C):
    """The envelope with 8 times the weight and C / 8 is the same, as all samples have equal curvature."""
    loss = WestonWatkinsLoss(MARGIN)
    ones = np.ones(N_SAMPLES)
    found, expected = (hinge(loss, weight=c * ones, C=C / c) for c in (8.0, 1.0))
    theta = point(expected)
    assert found.evaluate(theta).value == pytest.approx(expected.evaluate(theta).value, rel=1e-12)
    assert_allclose(found.evaluate(theta).gradient, expected.evaluate(theta).gradient, rtol=1e-10)


def test_where_the_penalty_rules_multipliers_take_all_values_between_two_margins():
    """The flow to a class is zero once the class is behind by its margin, and one once it leads by it."""
    margin = 3.0
    objective = hinge(WestonWatkinsLoss(margin), weight=np.ones(N_SAMPLES), C=1e-6)
    for lead, flow in ((-1.01, 0.0), (-1, 0.0), (-0.5, 0.25), (0, 0.5), (1, 1.0), (1.01, 1.0)):

        def flows(block, lead=lead):
            scores = lead * margin * (np.arange(N_CLASSES) != block.y[:, None])
            return objective.term.gradient(scores, block)

        gradients = np.concatenate(objective.rows.map(flows))
        assert_allclose(gradients[~OWN], flow, atol=1e-12)


def test_smoothing_is_multiplied_but_keeps_a_least_share_of_the_natural_one():
    objective = hinge(WestonWatkinsLoss(MARGIN), flows=multipliers(0))
    term = objective.term
    assert 0 < term.natural_smoothing <= term.smoothing
    # Margins ask for one smoothing, the loss's strength for another: the natural one is the lesser.
    # A fit starts with the larger one.
    weak, strong = (hinge(WestonWatkinsLoss(MARGIN), C=C).term for C in (1e-6, 1e3))
    assert weak.natural_smoothing < weak.smoothing == strong.natural_smoothing < strong.smoothing
    less = objective.with_smoothing(0.3)
    assert less.term.smoothing == pytest.approx(0.3 * term.smoothing)
    assert less.with_smoothing(1 / 0.3).term.smoothing == pytest.approx(term.smoothing)
    assert_array_equal(less.term.flows, multipliers(0))
    least = [objective.with_smoothing(factor).term.smoothing for factor in (0.0, 1e-30)]
    assert least[0] == least[1]
    assert 0 < least[0] < 1e-3 * term.natural_smoothing


@pytest.mark.parametrize("name", LOSSES)
def test_without_smoothing_there_is_the_loss_itself_unless_it_has_kinks(name):
    loss, values = LOSSES[name]
    objective = hinge(loss, flows=multipliers(0))
    plain = objective.unsmoothed()
    if name != "squared":
        assert plain is None
        assert 0 < objective.loss_round_off() < 1e-12 * C * WEIGHT.sum()
        return
    at = plain.evaluate(point(objective))
    coef, intercept = objective.feature_parameters(at.theta)
    expected = primal(values, INTEGERS, Y, coef.T, intercept, C, WEIGHT, margin=MARGIN)
    assert at.value == at.objective == pytest.approx(expected, rel=1e-12)
    assert objective.loss_round_off() == 0


def test_multipliers_go_along_into_other_blocks(monkeypatch):
    previous = hinge(WestonWatkinsLoss(MARGIN), flows=multipliers(0), smoothing=0.7)
    monkeypatch.setattr(_blocks, "DENSE_BLOCK_ROWS", 37)
    objective = hinge(WestonWatkinsLoss(MARGIN))
    assert len(objective.rows.blocks) < len(previous.rows.blocks)
    resumed = objective.resumed(previous)
    theta = point(objective)
    assert resumed.evaluate(theta).value == pytest.approx(previous.evaluate(theta).value, rel=1e-12)
    assert resumed.evaluate(theta).value != pytest.approx(objective.evaluate(theta).value, rel=1e-3)
    softmax = Objective(objective.rows, SmoothTerm(SoftmaxLoss()), C, 1.0, True, objective.statistics, False)
    assert objective.resumed(softmax) is objective


def test_the_gradient_of_a_squared_hinge_makes_multipliers():
    objective = hinge(WestonWatkinsLoss(MARGIN, squared=True))
    assert not objective.has_multipliers
    theta = point(objective)
    around = objective.with_gradient(theta)
    expected = np.where(OWN, 0, 2 * np.maximum(shortfalls(objective, theta), 0))
    assert_allclose(around.term.flows, expected, atol=1e-12)
    assert around.has_multipliers
    assert replace(around, term=objective.term) == objective
    assert around.term.flows.flags.f_contiguous
