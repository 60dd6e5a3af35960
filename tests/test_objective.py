"""Weighted Gram matrices of the classes against sums over samples written out."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
from numpy.testing import assert_allclose

from sk_linear_losses import _rows
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import SoftmaxLoss

N_SAMPLES, N_FEATURES, N_CLASSES, C = 103, 6, 3, 2.5
X = np.random.default_rng(0).integers(-3, 4, size=(N_SAMPLES, N_FEATURES)).astype(float)
Y = np.arange(N_SAMPLES) % N_CLASSES
WEIGHT = np.arange(N_SAMPLES) % 4 / 2
COEF = np.random.default_rng(1).normal(size=(N_FEATURES, N_CLASSES))
INTERCEPT = np.array([1.0, -2.0, 0.5])


def class_weights(curvature):
    """Curvature in the score of each class; none in that of the last."""
    weights = curvature.diagonal - curvature.left * curvature.right
    return weights * [1, 1, 0]


def choose(block, curvature):
    """Every third row, three times."""
    return 3.0 * (np.arange(block.start, block.start + len(block.y)) % 3 == 0)[:, None]


def written_out(fit_intercept):
    """The matrices from whole arrays."""
    mean = WEIGHT @ X / WEIGHT.sum() if fit_intercept else 0.0
    probabilities = scipy.special.softmax(X @ COEF + fit_intercept * INTERCEPT, axis=1)
    weights = probabilities * (1 - probabilities) * WEIGHT[:, None] * [1, 1, 0]
    weights *= 3 * (np.arange(len(X)) % 3 == 0)[:, None]
    centred = np.hstack([X - mean, np.ones((len(X), 1))]) if fit_intercept else X
    return C * np.einsum("nk,np,nq->kpq", weights, centred, centred)


@pytest.mark.parametrize("storage", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gram_matrices_of_the_classes(monkeypatch, storage, n_threads, fit_intercept):
    monkeypatch.setattr(_rows, "DENSE_BLOCK_ROWS", 20)
    monkeypatch.setattr(_rows, "DENSE_BLOCK_ENTRIES", 1)
    monkeypatch.setattr(_rows, "MIN_WORK_PER_THREAD", 1)
    rows = Rows(storage(X), Y, WEIGHT, N_CLASSES, n_threads)
    statistics = statistics_of(rows, N_CLASSES, fit_intercept)
    objective = Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, N_CLASSES, fit_intercept, statistics)
    theta = objective.coded_parameters(COEF, INTERCEPT)

    expected = written_out(fit_intercept)
    assert not expected[-1].any()
    together = objective.class_curvature(theta, class_weights, choose)
    assert_allclose(together, expected, rtol=1e-10, atol=1e-10)
    one_by_one = objective.map_grams(theta, class_weights, choose, np.copy)
    assert_allclose(one_by_one, expected, rtol=1e-10, atol=1e-10)
