"""Weighted Gram matrices of the classes against sums over samples written out."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal

from sk_linear_losses import _objective
from sk_linear_losses._curvature import CurvatureAt, _gathered_gram
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import SoftmaxLoss, WestonWatkinsLoss

from .oracles import COEF, INTEGERS, INTERCEPT, N_CLASSES, WEIGHT, Y

C = 2.5
MARGIN = 1 + np.arange(9.0).reshape(3, 3)


def class_weights(curvature):
    """Curvature in the score of each class, set to zero for the last class."""
    weights = curvature.diagonal - curvature.left * curvature.right
    return weights * [1, 1, 0]


def choose(block, curvature):
    """Every third row, three times."""
    return 3.0 * (np.arange(block.start, block.start + len(block.y)) % 3 == 0)[:, None]


def written_out(fit_intercept):
    """The matrices from whole arrays."""
    mean = WEIGHT @ INTEGERS / WEIGHT.sum() if fit_intercept else 0.0
    probabilities = scipy.special.softmax(INTEGERS @ COEF + fit_intercept * INTERCEPT, axis=1)
    weights = probabilities * (1 - probabilities) * WEIGHT[:, None] * [1, 1, 0]
    weights *= 3 * (np.arange(len(INTEGERS)) % 3 == 0)[:, None]
    centred = np.hstack([INTEGERS - mean, np.ones((len(INTEGERS), 1))]) if fit_intercept else INTEGERS
    return C * np.einsum("nk,np,nq->kpq", weights, centred, centred)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("storage", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gram_matrices_of_the_classes(storage, n_threads, fit_intercept):
    rows = Rows(storage(INTEGERS), Y, WEIGHT, N_CLASSES, n_threads)
    statistics = statistics_of(rows, fit_intercept)
    objective = Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, fit_intercept, statistics, False)
    theta = objective.coded_parameters(COEF, INTERCEPT)

    expected = written_out(fit_intercept)
    assert not expected[-1].any()
    together = CurvatureAt(objective, theta).grams_together(class_weights, choose)
    assert_allclose(together, expected, rtol=1e-10, atol=1e-10)
    for as_stored in [False, True] if rows.is_sparse else [False]:
        one_by_one = list(CurvatureAt(objective, theta).grams_one_by_one(class_weights, choose, as_stored))
        assert_allclose(one_by_one, expected, rtol=1e-10, atol=1e-10)


def test_gram_matrices_in_single_precision():
    """Products of large float32 rows are made in float32, as the last digits show."""
    rows = Rows(INTEGERS.astype(np.float32), Y, WEIGHT, N_CLASSES, 1)
    statistics = statistics_of(rows, True)
    objective = Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, True, statistics, False)
    rounded = objective.to_float32()
    chosen, factors = np.arange(len(INTEGERS)), np.sqrt(WEIGHT)
    gram, expected = (_gathered_gram(each, chosen, factors) for each in (rounded, objective))
    assert gram.dtype == np.float64
    assert 1e-9 < np.abs(gram - expected).max() / expected.max() < 1e-6


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_products_with_the_second_derivative_are_differences_of_gradients(storage, fit_intercept):
    rows = Rows(storage(INTEGERS), Y, WEIGHT, N_CLASSES, 1)
    statistics = statistics_of(rows, fit_intercept)
    objective = Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, fit_intercept, statistics, False)
    theta = objective.coded_parameters(COEF / 10, INTERCEPT / 10)
    direction = np.random.default_rng(0).normal(size=theta.shape)
    step = 1e-5 * direction
    difference = objective.evaluate(theta + step).gradient - objective.evaluate(theta - step).gradient
    product = CurvatureAt(objective, theta).product()(direction)
    assert_allclose(product, difference / 2e-5, rtol=1e-5, atol=1e-5 * np.abs(product).max())


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("storage", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_few_features(storage, fit_intercept):
    weight = WEIGHT * (np.arange(len(Y)) % 7 > 0)
    rows = Rows(storage(INTEGERS), Y, weight, N_CLASSES, 2)
    statistics = statistics_of(rows, fit_intercept)
    objective = Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, fit_intercept, statistics, False)
    mean = weight @ INTEGERS / weight.sum() if fit_intercept else np.zeros(INTEGERS.shape[1])
    features = np.array([2, 0])
    for block in rows.blocks:
        parts = list(objective.centred_columns(features, block, 7))
        assert max(len(places) for places, _ in parts) == 7
        places, entries = (np.concatenate(part) for part in zip(*parts, strict=True))
        assert_array_equal(places, np.flatnonzero(block.weight))
        expected = (INTEGERS - mean)[block.start + places][:, features]
        assert_allclose(entries, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("storage", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", [SoftmaxLoss(0.1), WestonWatkinsLoss(MARGIN, squared=True)])
def test_start_is_evaluated_without_the_rows(storage, fit_intercept, loss, monkeypatch):
    offset = None if storage is sp.csr_array else np.arange(INTEGERS.shape[1]) - 2.0
    rows = Rows(storage(INTEGERS), Y, WEIGHT, N_CLASSES, 2, offset)
    statistics = statistics_of(rows, fit_intercept)
    objective = Objective(rows, SmoothTerm(loss), C, 1.0, fit_intercept, statistics, False)
    theta = objective.coded_parameters(0 * COEF, INTERCEPT)
    expected = objective.evaluate(theta)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "sum", None)
        start = objective.condensed(theta).evaluate(theta)
    for name, value in expected._asdict().items():
        assert_allclose(getattr(start, name), value, rtol=1e-12, atol=1e-10, err_msg=name)
    theta = objective.coded_parameters(COEF, INTERCEPT)
    assert_allclose(objective.condensed(theta).evaluate(theta).gradient, objective.evaluate(theta).gradient)


def two_class_objective(X, y, weight):
    rows = Rows(X, y, weight, 2, 1)
    return Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, True, statistics_of(rows, True), True)


def test_a_sample_that_is_too_large_is_not_taken(monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(8000, 4)), np.arange(8000) % 2
    objective = two_class_objective(X, y, np.ones(8000))
    monkeypatch.setattr(_objective, "MAX_THINNED", X.size / 8)
    assert objective.thinned().rows.sampled
    monkeypatch.setattr(_objective, "MAX_THINNED", X.size / 8 - 1)
    assert objective.thinned() is None


def test_samples_without_weight_do_not_keep_classes_from_being_separated():
    y = np.arange(60) % 2
    X = np.random.default_rng(0).normal(size=(60, 2)) + 8 * np.column_stack([y, 0 * y])
    wrong, weight = y.copy(), np.ones(60)
    wrong[:2], weight[:2] = 1 - y[:2], 0
    for found, weights in ((True, weight), (False, np.ones(60))):
        objective = two_class_objective(X, wrong, weights)
        theta = objective.coded_parameters(np.array([[-1.0, 1.0], [0.0, 0.0]]), np.array([4.0, -4.0]))
        assert objective.separates(theta) == found
