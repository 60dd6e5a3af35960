"""Preconditioners against second derivatives written out, and the budget they are chosen by."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
from numpy.testing import assert_allclose

from sk_linear_losses import _blocks, _cost, _preconditioner
from sk_linear_losses._cost import (
    CostModel,
    Form,
    Plan,
    is_worth_rotation,
    iterations_before_rotation,
    n_corrections,
)
from sk_linear_losses._curvature import CurvatureAt
from sk_linear_losses._envelope import HingeObjective, smoothed_term
from sk_linear_losses._low_rank import LowRankRoot
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._preconditioner import (
    _active,
    _by_class,
    _centred_rows,
    _curvature_trace,
    _diagonal,
    _groups,
    _RowSampler,
    _shared,
    hessian_factor,
    precondition,
    precondition_by_class,
    precondition_exactly,
)
from sk_linear_losses._roots import BlockRoot, DiagonalRoot, Factor
from sk_linear_losses._rows import Rows
from sk_linear_losses._stage import stage_length
from sk_linear_losses.losses import CrammerSingerLoss, SoftmaxLoss, WestonWatkinsLoss

from .oracles import COEF, INTEGERS, INTERCEPT, N_CLASSES, N_SAMPLES, WEIGHT, Y, counted, generated, slopes

C = 2.5
ALL_ROWS = Plan(Form.EXACT, 1.0, np.inf)


def softmax_objective(X, y, weight, n_classes, fit_intercept=True, n_threads=1):
    rows = Rows(X, y, weight, n_classes, n_threads)
    statistics = statistics_of(rows, fit_intercept)
    return Objective(rows, SmoothTerm(SoftmaxLoss()), C, 1.0, fit_intercept, statistics, n_classes == 2)


def hessian_in_codes(objective, X, weight, theta):
    """All second derivatives, from whole arrays, for parameters in the order of ``theta.T.ravel()``."""
    n_features = X.shape[1]
    centred = X - objective.statistics.mean
    rows = np.hstack([centred, np.ones((len(X), 1))]) if objective.fit_intercept else X
    p = scipy.special.softmax(rows @ theta @ objective.coding.T, axis=1)
    curvature = np.einsum("ia,ab->iab", p, np.eye(p.shape[1])) - p[:, :, None] * p[:, None, :]
    coded = objective.coding.T @ curvature @ objective.coding
    hessian = C * np.einsum("i,iab,ip,iq->apbq", weight, coded, rows, rows)
    penalty = np.append(np.ones(n_features), np.zeros(rows.shape[1] - n_features))
    hessian += np.einsum("ab,pq->apbq", np.eye(coded.shape[1]), np.diag(penalty))
    return hessian.reshape(2 * [theta.size])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("few_features", [0, 1000])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_exact_curvature_is_the_inverse_root(storage, few_features, fit_intercept, n_classes, monkeypatch):
    monkeypatch.setattr(_cost, "FEATURES_PER_PAIR", 1000)
    monkeypatch.setattr(_cost, "FEW_FEATURES", few_features)
    y = np.minimum(Y, n_classes - 1)
    objective = softmax_objective(storage(INTEGERS), y, WEIGHT, n_classes, fit_intercept, n_threads=2)
    theta = objective.coded_parameters(COEF[:, :n_classes] / 10, INTERCEPT[:n_classes])
    preconditioner = precondition_exactly(objective, theta, ALL_ROWS)
    units = np.eye(theta.size)
    T = np.column_stack([preconditioner.step(unit).T.ravel() for unit in units])
    transposed = np.column_stack(
        [preconditioner.gradient(unit.reshape(theta.shape[::-1]).T) for unit in units]
    )
    assert_allclose(transposed, T.T, rtol=1e-12, atol=1e-12)
    hessian = hessian_in_codes(objective, INTEGERS, WEIGHT, theta)
    assert_allclose(T.T @ hessian @ T, units, rtol=0, atol=1e-9)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_first_curvature_of_each_feature_takes_no_pass(storage, fit_intercept, monkeypatch):
    objective = softmax_objective(storage(INTEGERS), Y, WEIGHT, N_CLASSES, fit_intercept)
    theta = objective.coded_parameters(0 * COEF, INTERCEPT)
    with monkeypatch.context() as patch:
        patch.setattr(objective.rows, "sum", None)
        found = _diagonal(objective, theta)
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "condensed", lambda self, theta: self)
        expected = _diagonal(objective, theta)
    assert_allclose(found.root.scales, expected.root.scales, rtol=1e-12)
    assert not found.couples_features


HINGES = {
    "Weston-Watkins": WestonWatkinsLoss(),
    "squared": WestonWatkinsLoss(squared=True),
    "Crammer-Singer": CrammerSingerLoss(),
}


def hinge_objective(loss, storage=np.asarray, fit_intercept=True, penalty=1.0, unit=1.0):
    rows = Rows(storage(unit * INTEGERS), Y, WEIGHT, N_CLASSES, 1)
    statistics = statistics_of(rows, fit_intercept)
    term = replace(smoothed_term(loss, rows, C, statistics), smoothing=0.5)
    return HingeObjective(rows, term, C, penalty, fit_intercept, statistics, False)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", HINGES.values(), ids=HINGES)
def test_curvature_by_way_of_the_active_samples_is_exact(storage, fit_intercept, loss, monkeypatch):
    """Some samples have no curvature, some have it between two classes, and some between all three."""
    monkeypatch.setattr(CostModel, "counts_active", True)
    objective = hinge_objective(loss, storage, fit_intercept)
    theta = objective.coded_parameters(COEF / 8, INTERCEPT / 8)
    model = CostModel(objective, objective, np.inf)
    monkeypatch.setattr(CostModel, "prefers_active", lambda *arguments: True)
    preconditioner = _active(objective, theta, model)
    assert preconditioner.exact
    samples = preconditioner.root.products
    assert preconditioner.renewal_cost == model.of_active(len(samples.rows), len(samples.factors))
    assert set(np.bincount(preconditioner.root.products.owners)) == {1, 2}
    assert len(preconditioner.root.products.rows) < N_SAMPLES

    order = np.arange(theta.size).reshape(theta.shape).T.ravel()
    hessian = slopes(lambda theta: objective.evaluate(theta).gradient.ravel(), theta)[np.ix_(order, order)]
    units = np.eye(theta.size)
    T = np.column_stack([preconditioner.step(unit).T.ravel() for unit in units])
    assert_allclose(T.T @ hessian @ T, units, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "objective",
    [
        softmax_objective(INTEGERS, Y, WEIGHT, N_CLASSES),
        hinge_objective(WestonWatkinsLoss(), penalty=0.0),
        hinge_objective(WestonWatkinsLoss(), unit=1e8),
    ],
    ids=["all samples curve", "no penalty", "too few digits"],
)
def test_the_active_samples_are_not_always_a_way(objective, monkeypatch):
    monkeypatch.setattr(CostModel, "counts_active", True)
    monkeypatch.setattr(CostModel, "prefers_active", lambda *arguments: True)
    theta = objective.coded_parameters(COEF / 5e8, INTERCEPT / 5)
    assert _active(objective, theta, CostModel(objective, objective, np.inf)) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_rows_of_active_samples_that_stay_sparse_are_centred_in_products(dtype, fit_intercept, monkeypatch):
    """One column is constant and stored; another has a mean."""
    rng = np.random.default_rng(0)
    entries = rng.normal(size=(60, 400)) * (rng.random((60, 400)) < 0.05)
    entries[:, 7], entries[:, 8] = 1e6 / 3, 2 + rng.random(60)
    y = np.arange(60) % 3
    rows = Rows(sp.csr_array(entries.astype(dtype)), y, np.ones(60), 3, 1)
    statistics = statistics_of(rows, fit_intercept)
    assert (7 in statistics.constant) == fit_intercept
    term = smoothed_term(WestonWatkinsLoss(), rows, C, statistics)
    objective = HingeObjective(rows, term, C, 1.0, fit_intercept, statistics, False)
    theta = rng.normal(size=objective.shape) / 10
    theta[statistics.constant] = 0
    chosen = np.array([3, 5, 40])
    selected = _centred_rows(objective, chosen)
    assert sp.issparse(selected.stored)
    dense = objective.centred_rows(rows, chosen)[:, :400]
    assert_allclose(selected.multiply(np.eye(400)), dense, rtol=1e-6, atol=1e-6)
    # Nothing is left of a constant, not even round-off.
    assert_allclose(selected.multiply(np.eye(400))[:, 7], dense[:, 7], rtol=0, atol=0)
    assert selected.stored.dtype == np.float64
    monkeypatch.setattr(CostModel, "counts_active", True)
    monkeypatch.setattr(CostModel, "prefers_active", lambda *arguments: True)
    sparse = _active(objective, theta, CostModel(objective, objective, np.inf))
    monkeypatch.setattr(_preconditioner, "rows_stay_sparse", lambda objective: False)
    dense = _active(objective, theta, CostModel(objective, objective, np.inf))
    u, gradient = rng.normal(size=theta.size), rng.normal(size=theta.shape)
    assert_allclose(sparse.step(u), dense.step(u), rtol=1e-6, atol=1e-9)
    assert_allclose(sparse.gradient(gradient), dense.gradient(gradient), rtol=1e-6, atol=1e-9)


def many_parameters():
    """A hinge of 15 classes, at a point where a third of the samples curve."""
    X, y = generated(0, 120, 80, 15)
    rows = Rows(X, y, np.ones(120), 15, 1)
    statistics = statistics_of(rows, True)
    term = replace(smoothed_term(WestonWatkinsLoss(), rows, C, statistics), smoothing=0.1)
    objective = HingeObjective(rows, term, C, 1.0, True, statistics, False)
    theta = np.random.default_rng(0).normal(size=objective.shape)
    return objective, theta


def test_the_active_samples_are_taken_where_they_are_few():
    objective, theta = many_parameters()
    assert isinstance(precondition(objective, theta, 20).root, LowRankRoot)


def test_the_active_samples_are_not_counted_where_that_cannot_help(monkeypatch):
    """Without coefficients all samples are active. With few parameters the matrix is small."""
    objective, theta = many_parameters()
    small = hinge_objective(WestonWatkinsLoss())
    with counted(CurvatureAt, "ranks") as ranks:
        precondition(objective, 0 * theta, 20)
        precondition(small, small.coded_parameters(COEF / 8, INTERCEPT / 8), 20)
        assert ranks.call_count == 0
        monkeypatch.setattr(CostModel, "prefers_active", lambda *arguments: False)
        assert not isinstance(precondition(objective, theta, 20).root, LowRankRoot)
        assert ranks.call_count == 1


@pytest.mark.parametrize("few_features", [0, 1000])
def test_sampled_curvature_is_near_the_exact_one(few_features, monkeypatch):
    """It is near enough for steps: no direction is off by more than a factor of two."""
    monkeypatch.setattr(_cost, "FEATURES_PER_PAIR", 1000)
    monkeypatch.setattr(_cost, "FEW_FEATURES", few_features)
    X, y = generated(0, 8000, 6, 4)
    objective = softmax_objective(X, y, np.ones(len(y)), 4)
    theta = np.random.default_rng(0).normal(size=objective.shape)
    preconditioner = precondition_exactly(objective, theta, Plan(Form.EXACT, 1.0, 1500, 1500))
    assert preconditioner.sampled
    T = np.column_stack([preconditioner.step(unit).T.ravel() for unit in np.eye(theta.size)])
    curvature = np.linalg.eigvalsh(T.T @ hessian_in_codes(objective, X, np.ones(len(y)), theta) @ T)
    assert curvature.min() > 0.5
    assert curvature.max() < 2


@pytest.mark.parametrize("few_features", [0, 1000])
def test_rows_without_curvature_are_none_to_choose_from(few_features, monkeypatch):
    monkeypatch.setattr(_cost, "FEATURES_PER_PAIR", 1000)
    monkeypatch.setattr(_cost, "FEW_FEATURES", few_features)
    X, y = generated(0, 4000, 4, 3)
    weight = (np.arange(len(y)) < 200).astype(float)
    objective = softmax_objective(X, y, weight, 3)
    theta = np.ones(objective.shape)
    # The number of rows with curvature, and the total over pairs of classes.
    n_rows, n_pooled = 200, 600
    factor, sampled = hessian_factor(objective, theta, n_rows, n_pooled)
    assert not sampled
    wanted, _ = hessian_factor(objective, theta)
    assert_allclose(factor.inverse(), wanted.inverse(), rtol=1e-9)
    other, _ = hessian_factor(objective, theta, n_rows - 1, n_pooled - 1)
    assert not np.allclose(other.inverse(), wanted.inverse(), rtol=1e-9)


def test_as_many_rows_are_drawn_as_are_asked_for():
    """Rows are drawn from those with curvature: nine tenths in proportion to it, one tenth uniformly."""
    X, y = generated(0, 160_000, 4, 3)
    weight = (np.arange(len(y)) % 2).astype(float)
    objective = softmax_objective(X, y, weight, 3)
    theta = np.zeros(objective.shape)
    choose = _RowSampler(objective, theta, _curvature_trace, 8000)
    (drawn,) = CurvatureAt(objective, theta).sum(lambda *args: (np.count_nonzero(choose(*args)),))
    assert abs(drawn - 8000) <= 200


@pytest.mark.parametrize("few_features", [0, 1000])
def test_rows_are_drawn_whatever_the_blocks(few_features, monkeypatch):
    monkeypatch.setattr(_cost, "FEATURES_PER_PAIR", 1000)
    monkeypatch.setattr(_cost, "FEW_FEATURES", few_features)
    monkeypatch.setattr(_blocks, "DENSE_BLOCK_ENTRIES", 1)
    X, y = generated(0, 4000, 4, 3)
    inverses = []
    for n_rows in (512, 4000):
        monkeypatch.setattr(_blocks, "DENSE_BLOCK_ROWS", n_rows)
        objective = softmax_objective(X, y, np.ones(len(y)), 3)
        factor, sampled = hessian_factor(objective, np.ones(objective.shape), 500, 500)
        assert sampled
        inverses.append(factor.inverse())
    assert_allclose(*inverses, rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_curvature_by_class_is_exact_where_all_classes_curve_alike(n_classes):
    X, _ = generated(0, 300, 4, 3)
    objective = softmax_objective(X, np.arange(300) % n_classes, np.ones(300), n_classes)
    theta = np.zeros(objective.shape)

    def inverse(preconditioner):
        gradients = np.eye(theta.size).reshape(-1, *theta.shape)
        return [preconditioner.step(preconditioner.gradient(gradient)) for gradient in gradients]

    expected = inverse(precondition_exactly(objective, theta, ALL_ROWS))
    assert_allclose(inverse(_by_class(objective, theta, ALL_ROWS)), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_matrix_is_exact_where_all_samples_curve_alike(n_classes):
    X, y = generated(0, 300, 4, n_classes)
    objective = softmax_objective(X, y, np.ones(300), n_classes)
    theta = np.zeros(objective.shape)
    theta[-1] = 0.3
    preconditioner = precondition(objective, theta)
    assert preconditioner.exact
    T = np.column_stack([preconditioner.step(unit).T.ravel() for unit in np.eye(theta.size)])
    hessian = hessian_in_codes(objective, X, np.ones(300), theta)
    assert_allclose(T.T @ hessian @ T, np.eye(theta.size), atol=1e-9)


@pytest.mark.parametrize("alike", [1.0, 1.5])
def test_classes_that_curve_nearly_alike_share_a_root(alike):
    X, _ = generated(0, 300, 6, 5)
    y = np.repeat(np.arange(5), [140, 50, 45, 40, 25])
    objective = softmax_objective(X, y, np.ones(300), 5)
    theta = objective.coded_parameters(np.zeros((6, 5)), np.log(np.bincount(y)))
    preconditioner = _shared(objective, theta, ALL_ROWS, alike)
    root = preconditioner.root
    assert sum(root.n_blocks) == 4
    assert (len(root.roots) == 4) if alike == 1 else (1 < len(root.roots) < 4)
    T = np.column_stack([preconditioner.step(unit).T.ravel() for unit in np.eye(theta.size)])
    curvature = np.linalg.eigvalsh(T.T @ hessian_in_codes(objective, X, np.ones(300), theta) @ T)
    assert curvature.min() > 1 / alike - 1e-9
    assert curvature.max() < alike + 1e-9
    assert curvature.mean() == pytest.approx(1, abs=1e-3)
    gradients = np.column_stack([preconditioner.gradient(g.reshape(5 - 1, -1).T) for g in np.eye(theta.size)])
    assert_allclose(gradients, T.T, atol=1e-12)


def test_groups_span_at_most_a_factor():
    assert _groups(np.array([0.0, 0.0, 1.0, 1.4, 1.9, 2.5]), 1.5) == [[0, 0], [1, 1.4], [1.9, 2.5]]


def test_what_was_spent_may_be_spent_again(monkeypatch):
    monkeypatch.setattr(_cost, "CURVATURE_BUDGET", 0)
    monkeypatch.setattr(_cost, "SMALL_WORK", 0)
    X, y = generated(0, 300, 40, 4)
    objective = softmax_objective(X, y, np.ones(len(y)), 4)
    theta = np.ones(objective.shape)
    assert not precondition(objective, theta).exact
    assert isinstance(precondition(objective, theta, n_iter=10**6).root, Factor)


def test_a_gram_matrix_at_the_start_costs_one_evaluation_at_most():
    def start(n_features):
        X, y = generated(0, 5000, n_features, 2)
        objective = softmax_objective(X, y, np.ones(len(y)), 2)
        return precondition(objective, np.zeros(objective.shape)).form

    assert [start(n_features) for n_features in (20, 80)] == [Form.EXACT, Form.DIAGONAL]


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_dear_curvature_waits_for_as_many_iterations_as_it_costs_half(start):
    X, y = generated(0, 3000, 250, 3)
    objective = softmax_objective(X, y, np.ones(len(y)), 3)
    theta = np.full(objective.shape, start)
    first, second = precondition(objective, theta), precondition(objective, theta + 1, n_iter=8)
    assert isinstance(first.root, DiagonalRoot)
    assert second.renewal_cost / 2 >= _cost.START_ITERATIONS
    assert not isinstance(second.root, DiagonalRoot)
    assert stage_length(first) == int(second.renewal_cost / 2)
    # Curvature does not wait if it is cheap beside evaluations of the whole objective that it is to save.
    assert not isinstance(precondition(objective, theta, whole=objective).root, DiagonalRoot)


def few_entries(n_samples=300, n_features=100):
    """Three entries in each row."""
    columns = np.random.default_rng(0).integers(n_features, size=(n_samples, 3))
    columns[:, 0] = np.arange(n_samples) % n_features
    rows = np.repeat(np.arange(n_samples), 3)
    return sp.csr_array((np.linspace(1, 2, 3 * n_samples), (rows, columns.ravel())), (n_samples, n_features))


def test_rows_with_few_entries_are_multiplied_as_they_are(monkeypatch):
    sparse = few_entries()
    y = np.arange(300) % 3

    def exact(X):
        objective = softmax_objective(X, y, np.ones(300), 3)
        monkeypatch.setattr(Rows, "centre", lambda *args, **kwargs: pytest.fail("made dense"))
        return hessian_factor(objective, np.ones(objective.shape))[0]

    factor = exact(sparse)
    monkeypatch.undo()
    with pytest.raises(pytest.fail.Exception):
        exact(sp.csr_array(sparse.toarray() + 1))
    monkeypatch.undo()
    objective = softmax_objective(sparse.toarray(), y, np.ones(300), 3)
    expected = hessian_factor(objective, np.ones(objective.shape))[0]
    assert_allclose(factor.inverse(), expected.inverse(), rtol=1e-9, atol=1e-12)


def test_sparse_columns_far_from_zero_are_centred_before_they_are_multiplied():
    """If they were centred afterwards, nothing would be left of their variation."""
    X = few_entries().toarray()
    X[:, 0] = 1e8 + np.arange(300) % 2
    y = np.arange(300) % 3
    dense, sparse = (
        softmax_objective(storage(X), y, np.ones(300), 3) for storage in (np.array, sp.csr_array)
    )
    theta = np.zeros(dense.shape)
    assert_allclose(
        hessian_factor(sparse, theta)[0].inverse(),
        hessian_factor(dense, theta)[0].inverse(),
        rtol=1e-6,
        atol=1e-9,
    )


def test_constant_sparse_columns_leave_no_trace_in_curvature():
    """Their products with other columns are round-off, which grows with the constant."""
    X = few_entries().toarray()
    y = np.arange(300) % 3
    inverses = []
    for constant in (0.0, 1e13):
        X[:, 0] = constant
        objective = softmax_objective(sp.csr_array(X), y, np.ones(300), 3)
        inverses.append(hessian_factor(objective, np.zeros(objective.shape))[0].inverse())
    assert_allclose(*inverses, rtol=1e-9, atol=1e-12)


def test_curvature_by_class_is_for_what_it_may_cost():
    X, y = generated(0, 300, 40, 4)
    objective = softmax_objective(X, y, np.ones(len(y)), 4)
    theta = np.ones(objective.shape)
    assert isinstance(precondition_by_class(objective, theta, 10).root, BlockRoot)
    assert isinstance(precondition_by_class(objective, theta, 0.01).root, DiagonalRoot)


def test_drawing_rows_for_each_pair_of_classes_counts_as_a_cost(monkeypatch):
    X, y = generated(0, 3000, 60, 30)
    objective = softmax_objective(X, y, np.ones(len(y)), 30)
    model = CostModel(objective, objective, 0)
    assert model.exact().cost == np.inf
    assert CostModel(objective, objective, 1000).exact().cost < 1000
    monkeypatch.setattr(_cost, "DRAWN_ROW", 0)
    assert model.exact().cost <= model.budget


def test_memory_is_cut_where_vectors_cost_more_than_evaluations():
    dense = softmax_objective(INTEGERS, Y, WEIGHT, N_CLASSES)
    assert n_corrections(dense) == 20
    wide = sp.csr_array(
        (np.ones(N_SAMPLES), (np.arange(N_SAMPLES), np.arange(N_SAMPLES))), (N_SAMPLES, 10**6)
    )
    assert n_corrections(softmax_objective(wide, Y, WEIGHT, N_CLASSES)) == 5


def test_curvature_by_class_that_takes_too_much_memory_is_not_taken(monkeypatch):
    X, y = generated(0, 300, 40, 4)
    objective = softmax_objective(X, y, np.ones(len(y)), 4)
    for theta in (np.zeros(objective.shape), np.ones(objective.shape)):
        monkeypatch.setattr(_cost, "MAX_ENTRIES", 4 * 41**2)
        assert isinstance(precondition(objective, theta).root, BlockRoot)
        monkeypatch.setattr(_cost, "MAX_ENTRIES", 4 * 41**2 - 1)
        assert isinstance(precondition(objective, theta).root, DiagonalRoot)


@pytest.mark.parametrize(("n_iter", "most"), [(0, 4096), (100, 8192)])
def test_matrices_take_128_megabytes_at_most_and_four_times_that_late_in_a_fit(n_iter, most):
    def cost(n_parameters):
        X = sp.csr_array(([1.0], ([0], [0])), shape=(4, n_parameters - 1))
        objective = softmax_objective(X, np.arange(4) % 2, np.ones(4), 2)
        return CostModel(objective, objective, n_iter).of_all(0)

    assert cost(most) < np.inf
    assert cost(most + 1) == np.inf


def test_curvature_by_class_waits_until_it_has_paid(monkeypatch):
    """Until iterations have paid for it, the classes share one Gram matrix."""
    X, y = generated(0, 300, 40, 12)
    objective = softmax_objective(X, y, np.ones(len(y)), 12)
    theta = np.ones(objective.shape)
    monkeypatch.setattr(_cost, "SMALL_WORK", 0)
    monkeypatch.setattr(_cost, "MAX_ENTRIES", 12 * 41**2)
    monkeypatch.setattr(_cost, "LATE_MAX_ENTRIES", 12 * 41**2)
    monkeypatch.setattr(_cost, "CURVATURE_BUDGET", 1)
    first, later = precondition(objective, theta), precondition(objective, theta, n_iter=100)
    assert sum(first.root.n_blocks) == 11
    assert len(later.root.roots) == 12
    assert 1 < later.renewal_cost < 100


def test_other_coordinates_wait_for_the_iterations_that_they_cost_but_not_for_more_than_half():
    objective = softmax_objective(INTEGERS, Y, WEIGHT, N_CLASSES)
    evaluation = _cost._evaluation(objective)
    cases = ((300, 1000, 300), (3, 1000, 250), (3, 500, 250), (3, 499, 499), (600, 1000, 500))
    for cost, max_iter, expected in cases:
        assert iterations_before_rotation(objective, 1.001 * cost * evaluation, max_iter) == expected
    assert iterations_before_rotation(objective, np.inf, 1000) == 1000


def test_sparse_rows_wait_for_dense_coordinates_until_there_are_no_iterations_left():
    """These are rows that store less than a sixth of their entries: dense ones are dearer to evaluate."""
    n_samples, n_features = 60, 13
    y, ones = np.arange(n_samples) % N_CLASSES, np.ones(n_samples)
    for n_stored, expected in ((2, 1000), (3, 250)):
        X = np.zeros((n_samples, n_features))
        X[:, :n_stored] = np.random.default_rng(0).normal(size=(n_samples, n_stored))
        objective = softmax_objective(sp.csr_array(X), y, ones, N_CLASSES)
        assert iterations_before_rotation(objective, 1.0, 1000) == expected
        wide = softmax_objective(sp.csr_array(X[:10]), y[:10], ones[:10], N_CLASSES)
        assert iterations_before_rotation(wide, 1.0, 1000) == 1


def test_other_coordinates_for_a_certificate_alone_are_to_be_cheap():
    objective = softmax_objective(INTEGERS, Y, WEIGHT, N_CLASSES)
    evaluation = _cost._evaluation(objective)
    for work, converged, expected in [
        (200, True, True),
        (300, True, False),
        (1e9, False, True),
        (np.inf, False, False),
    ]:
        assert is_worth_rotation(objective, work * evaluation, converged) == expected
