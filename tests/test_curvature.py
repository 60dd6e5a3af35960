"""Second derivatives as sums over samples, against differences of gradients and sums written out."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal

from sk_linear_losses._curvature import CurvatureAt, pairs, products_of_pairs
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import SoftmaxLoss, WestonWatkinsLoss

from .oracles import COEF, INTEGERS, INTERCEPT, N_CLASSES, N_SAMPLES, WEIGHT, Y, slopes

pytestmark = pytest.mark.usefixtures("small_blocks")

C = 2.5
STORAGES = pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
INTERCEPTS = pytest.mark.parametrize("fit_intercept", [True, False])


def curvature_at(storage=np.asarray, fit_intercept=True, loss=None, n_threads=1, penalty=1.0):
    """Curvature of an objective of the small problem, at parameters of about size one."""
    rows = Rows(storage(INTEGERS), Y, WEIGHT, N_CLASSES, n_threads)
    statistics = statistics_of(rows, fit_intercept)
    term = SmoothTerm(loss or SoftmaxLoss())
    objective = Objective(rows, term, C, penalty, fit_intercept, statistics, False)
    return CurvatureAt(objective, objective.coded_parameters(COEF / 3, INTERCEPT))


def hessian(curvature):
    """All second derivatives by differences of gradients, for parameters in the order of theta's entries."""
    return slopes(lambda theta: curvature.objective.evaluate(theta).gradient.ravel(), curvature.theta)


def probabilities(fit_intercept):
    """Softmax probabilities at the point, from whole arrays."""
    return scipy.special.softmax(INTEGERS @ COEF / 3 + fit_intercept * INTERCEPT, axis=1)


def centred(fit_intercept):
    """Centred inputs, from whole arrays."""
    if not fit_intercept:
        return INTEGERS
    return np.column_stack([INTEGERS - WEIGHT @ INTEGERS / WEIGHT.sum(), np.ones(N_SAMPLES)])


def of_pairs(curvature):
    """Negated off-diagonal entries of each sample's matrix, (n_samples, n_pairs)."""
    left, right = curvature.left, curvature.right
    two = [(left[:, a] * right[:, b] + right[:, a] * left[:, b]) / 2 for a, b in combinations(range(3), 2)]
    return np.column_stack(two)


def every_row(block, curvature):
    return np.ones((len(block.y), 1))


@STORAGES
@pytest.mark.parametrize("loss", [SoftmaxLoss(0.2), WestonWatkinsLoss(squared=True)], ids=repr)
def test_total_is_the_second_derivative_in_the_intercept(storage, loss):
    curvature = curvature_at(storage, loss=loss)
    n_codes = N_CLASSES - 1
    assert_allclose(curvature.total(), hessian(curvature)[-n_codes:, -n_codes:], rtol=1e-6, atol=1e-6)


@INTERCEPTS
@pytest.mark.parametrize(
    ("storage", "way"),
    [
        (np.asarray, "together"),
        (np.asarray, "one by one"),
        (sp.csr_array, "together"),
        (sp.csr_array, "one by one"),
        (sp.csr_array, "as stored"),
    ],
)
@pytest.mark.parametrize("loss", [SoftmaxLoss(), WestonWatkinsLoss(squared=True)], ids=repr)
def test_matrices_of_the_pairs_of_classes_make_up_all_second_derivatives(storage, fit_intercept, way, loss):
    """Each matrix is for the difference of two classes' scores. The penalty is not included."""
    curvature = curvature_at(storage, fit_intercept, loss, n_threads=2, penalty=0.0)
    if way == "together":
        grams = curvature.grams_together(of_pairs, every_row)
    else:
        grams = curvature.grams_one_by_one(of_pairs, every_row, as_stored=way == "as stored")
    total = 0.0
    for (a, b), gram in zip(combinations(range(N_CLASSES), 2), grams, strict=True):
        towards = curvature.objective.coding[a] - curvature.objective.coding[b]
        total = total + np.kron(gram, np.outer(towards, towards))
    expected = hessian(curvature)
    assert_allclose(total, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@STORAGES
@INTERCEPTS
def test_products_with_units_are_all_second_derivatives_with_the_penalty(storage, fit_intercept):
    curvature = curvature_at(storage, fit_intercept, penalty=1.0)
    product, theta = curvature.product(), curvature.theta
    products = [product(unit.reshape(theta.shape)).ravel() for unit in np.eye(theta.size)]
    expected = hessian(curvature)
    assert_allclose(products, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())
    unpenalised = curvature_at(storage, fit_intercept, penalty=0.0)
    penalty = np.ravel(product(theta) - unpenalised.product()(theta))
    on_features = np.ravel(theta * (np.arange(len(theta)) < INTEGERS.shape[1])[:, None])
    assert_allclose(penalty, on_features, atol=1e-10)


@STORAGES
@INTERCEPTS
@pytest.mark.parametrize("n_threads", [1, 3])
def test_diagonals_by_feature_are_weighted_sums_of_squares(storage, fit_intercept, n_threads):
    def weightings(curvature):
        own = curvature.diagonal - curvature.left * curvature.right
        return np.column_stack([own, own.sum(axis=1)])

    found = curvature_at(storage, fit_intercept, n_threads=n_threads).by_feature(weightings)
    p = probabilities(fit_intercept)
    weights = WEIGHT[:, None] * np.column_stack([p * (1 - p), 1 - (p**2).sum(axis=1)])
    assert_allclose(found, C * weights.T @ centred(fit_intercept) ** 2, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_sums_see_each_sample_once_with_its_weight(n_threads):
    """Only one of the two factors of a product may be weighted."""

    def contribution(block, curvature):
        diagonal, left, right = curvature
        seen = np.zeros((N_SAMPLES, N_CLASSES, N_CLASSES))
        seen[block.places] = diagonal[:, :, None] * np.eye(N_CLASSES)
        seen[block.places] -= (left[:, :, None] * right[:, None] + right[:, :, None] * left[:, None]) / 2
        return seen, len(block.y)

    matrices, count = curvature_at(n_threads=n_threads).sum(contribution)
    p = probabilities(True)
    expected = p[:, :, None] * np.eye(N_CLASSES) - p[:, :, None] * p[:, None]
    assert_allclose(matrices, WEIGHT[:, None, None] * expected, atol=1e-13)
    assert count == N_SAMPLES


def test_weights_and_entries_may_be_large_together_in_single_precision():
    """Each fits into float32, but squares of both together do not."""
    entries, weight = 2.0**40, 2.0**48
    grams = []
    for X, of_sample in ((INTEGERS, WEIGHT), (entries * INTEGERS, weight * WEIGHT)):
        rows = Rows(X.astype(np.float32), Y, of_sample, N_CLASSES, 1)
        objective = Objective(
            rows, SmoothTerm(SoftmaxLoss()), C, 1.0, False, statistics_of(rows, False), False
        )
        rounded = objective.to_float32()
        curvature = CurvatureAt(rounded, np.zeros(objective.shape))
        (gram,) = curvature.grams_one_by_one(lambda each: each.diagonal[:, :1], every_row, as_stored=False)
        grams.append(gram)
    assert weight * (entries * np.abs(INTEGERS).max()) ** 2 > np.finfo(np.float32).max
    assert_allclose(grams[1], weight * entries**2 * grams[0], rtol=1e-5)
    assert_allclose(grams[0], C / 3 * INTEGERS.T @ (WEIGHT[:, None] * INTEGERS), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("distinct", [0, 1])
def test_products_of_pairs_come_in_the_order_of_the_pairs(distinct):
    left, right = np.random.default_rng(0).normal(size=(2, 4, 7))
    listed = [(i, j) for i in range(4) for j in range(i + distinct, 4)]
    assert_array_equal(np.transpose(pairs(4, distinct)), listed)
    expected = [left[i] * right[j] for i, j in listed]
    assert_array_equal(products_of_pairs(left, right, distinct), expected)
    assert_array_equal(
        products_of_pairs(left.T.copy().T, distinct=distinct), [left[i] * left[j] for i, j in listed]
    )


@pytest.mark.parametrize("weight", [1.0, 1e-240, 1e300])
@pytest.mark.parametrize("loss", [WestonWatkinsLoss(squared=True), SoftmaxLoss()])
def test_factors_are_those_of_each_samples_curvature(loss, weight):
    rows = Rows(INTEGERS, Y, weight * WEIGHT, N_CLASSES, 1)
    objective = Objective(rows, SmoothTerm(loss), 1.0, 1.0, True, statistics_of(rows, True), False)
    at = CurvatureAt(objective, objective.coded_parameters(COEF / 3, INTERCEPT))
    samples, owners, factors = at.factors()
    ranks = at.ranks()
    assert_array_equal(samples, np.flatnonzero(ranks))
    assert_array_equal(np.bincount(owners, minlength=len(samples)), ranks[samples])
    coef, intercept = objective.score_parameters(at.theta)
    scores = np.column_stack([INTEGERS @ coef + intercept, np.zeros(N_SAMPLES)])
    diagonal, left, right = loss.curvature(scores, Y)
    cross = left[:, :, None] * right[:, None]
    expected = np.einsum("ij,jk->ijk", diagonal, np.eye(N_CLASSES)) - (cross + cross.swapaxes(1, 2)) / 2
    found = np.zeros_like(expected)
    np.add.at(found, samples[owners], factors[:, :, None] * factors[:, None] / weight)
    assert_allclose(found, WEIGHT[:, None, None] * expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weight", [5e-324, 1e-310, 1e-260])
def test_weights_near_the_end_of_float64_leave_no_curvature(weight):
    at = curvature_at(loss=WestonWatkinsLoss(squared=True))
    tiny = Rows(INTEGERS, Y, weight * (WEIGHT > 0), N_CLASSES, 1)
    at = CurvatureAt(replace(at.objective, rows=tiny), at.theta)
    assert not at.ranks().any()
    assert [part.size for part in at.factors()] == [0, 0, 0]
