"""Leading directions against eigenvectors, their root against the matrix, and fits that they shorten."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, _cost, _preconditioner
from sk_linear_losses._cost import CostModel, Form
from sk_linear_losses._leading import LeadingRoot, leading_directions
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._roots import DiagonalRoot
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import SoftmaxLoss

from .oracles import counted, word_counts


def spiked(size, values, seed=0):
    """A matrix whose eigenvalues are these and ones, and the eigenvectors of the former."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    leading = basis[:, : len(values)]
    return np.eye(size) + (leading * (np.array(values) - 1)) @ leading.T, leading


def test_directions_are_eigenvectors_of_what_stands_out():
    values = [400.0, 100.0, 30.0]
    matrix, leading = spiked(60, values)
    found, basis = leading_directions(matrix.__matmul__, 60, 12, 2)
    assert_allclose(found[:3], values, rtol=0.01)
    assert (found[:3] <= values).all()
    assert found[3:].max() < 1 + 1e-9
    assert_allclose(basis.T @ basis, np.eye(12), atol=1e-12)
    assert_allclose(np.abs(np.sum(basis[:, :3] * leading, axis=0)), 1, atol=0.01)


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_of_a_matrix_of_lower_rank_all_is_found(rank):
    rows = np.random.default_rng(1).normal(size=(rank, 40))
    values, basis = leading_directions(lambda directions: rows.T @ (rows @ directions), 40, 12, 2)
    assert_allclose((basis * values) @ basis.T, rows.T @ rows, atol=1e-8 * values[0])


def test_more_directions_than_there_are_features_are_all_of_them():
    matrix, _ = spiked(5, [7.0, 3.0])
    values, basis = leading_directions(matrix.__matmul__, 5, 12, 2)
    assert_allclose((basis * values) @ basis.T, matrix, atol=1e-12)


@pytest.mark.parametrize("factor", [0.0, np.inf])
def test_there_is_no_direction_where_nothing_curves_or_numbers_overflow(factor):
    with np.errstate(invalid="ignore"):
        values, basis = leading_directions(lambda directions: factor * np.abs(directions), 30, 12, 1)
    assert values.shape == (0,)
    assert basis.shape == (30, 0)
    root = LeadingRoot(DiagonalRoot(np.full(60, 2.0)), basis, values, 2)
    assert_allclose(root.solve(np.ones(60)), 0.5)


def test_both_solutions_together_solve_the_system_of_each_block():
    """Blocks have scales of their own, and one input more than the directions: an intercept."""
    core, basis = spiked(20, [50.0, 9.0, 4.0])
    scales = np.random.default_rng(2).uniform(0.1, 10, (3, 21))
    root = LeadingRoot(DiagonalRoot(scales.ravel()), basis, np.array([50.0, 9.0, 4.0]), 3)
    right = np.random.default_rng(3).normal(size=63)
    given = right.copy()
    solved = root.solve_transposed(root.solve(right)).reshape(3, 21)
    assert_allclose(right, given, rtol=0)
    for scale, solution, wanted in zip(scales, solved, right.reshape(3, 21), strict=True):
        features = scale[:20, None] * core * scale[:20]
        assert_allclose(features @ solution[:20], wanted[:20], rtol=1e-10, atol=1e-10)
        assert solution[20] == pytest.approx(wanted[20] / scale[20] ** 2)


def softmax(X, y, n_classes, weight=None, fit_intercept=True, n_threads=1):
    """The objective of the softmax with C = 1."""
    rows = Rows(X, y, np.ones(len(y)) if weight is None else weight, n_classes, n_threads)
    statistics = statistics_of(rows, fit_intercept)
    return Objective(rows, SmoothTerm(SoftmaxLoss()), 1.0, 1.0, fit_intercept, statistics, n_classes == 2)


def transformation(preconditioner, objective):
    """T as a matrix, for parameters of two classes."""
    return np.column_stack([preconditioner.step(u).ravel() for u in np.eye(objective.n_parameters)])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_what_stands_out_beside_the_diagonal_becomes_one(storage, n_threads):
    """This is exact for two classes, which curve alike, with enough directions and without an intercept."""
    rng = np.random.default_rng(4)
    dense = rng.integers(0, 3, (50, 6)).astype(float)
    y, weight = rng.integers(0, 2, 50), rng.uniform(0, 2, 50)
    objective = softmax(storage(dense), y, 2, weight, fit_intercept=False, n_threads=n_threads)
    theta = rng.normal(size=objective.shape) / 3
    plan = CostModel(objective, objective, 0).leading()
    preconditioner = _preconditioner._leading(objective, theta, plan)
    coef, _ = objective.score_parameters(theta)
    p = 1 / (1 + np.exp(-(dense @ coef).ravel()))
    pull = (coef / theta)[0, 0] ** 2
    hessian = np.eye(6) + dense.T @ (dense * (pull * weight * p * (1 - p))[:, None])
    T = transformation(preconditioner, objective)
    sizes = np.sqrt(hessian.diagonal())
    eigenvalues = np.linalg.eigvalsh(hessian / np.outer(sizes, sizes))
    assert eigenvalues[0] < 0.9
    assert eigenvalues[-1] > 1.5
    assert_allclose(np.sort(np.linalg.eigvals(T @ T.T @ hessian)), np.minimum(eigenvalues, 1), atol=1e-9)


def test_directions_bring_curvature_near_that_of_the_identity():
    """Rows are centred counts of words, of two classes. The diagonal alone leaves the effect of length."""
    X, y = word_counts(0, 400, 300, 2)
    objective = softmax(X, y, 2)
    theta = np.zeros(objective.shape)
    theta[:-1] = np.random.default_rng(5).normal(size=(300, 1)) / 100
    plan = CostModel(objective, objective, 0).leading()
    product = _preconditioner.CurvatureAt(objective, theta).product()
    hessian = np.column_stack([product(unit[:, None]).ravel() for unit in np.eye(objective.n_parameters)])
    alone = _preconditioner._diagonal(objective, theta)
    largest = []
    for known in alone, _preconditioner._leading(objective, theta, plan):
        T = transformation(known, objective)
        largest.append(np.linalg.eigvalsh(T.T @ hessian @ T)[-1])
    assert largest[0] > 20
    assert largest[1] < 5


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_a_constant_feature_is_in_no_direction(storage):
    """In single precision, centring a constant feature leaves much round-off."""
    X, y = word_counts(0, 300, 200, 3)
    X = storage(np.column_stack([X.toarray(), np.full(300, 1e6)]).astype(np.float32))
    objective = softmax(X, y, 3).to_float32()
    theta = np.zeros(objective.shape)
    theta[:200] = np.random.default_rng(6).normal(size=(200, 2)) / 100
    plan = CostModel(objective, objective, 0).leading()
    root = _preconditioner._leading(objective, theta, plan).root
    assert np.abs(root.basis[200]).max() < 1e-12
    assert 20 < root.eigenvalues[0] < 200


def test_a_fit_spends_no_more_on_directions_than_on_its_iterations():
    X, y = word_counts(0, 1200, 4500, 2)
    objective = softmax(X, y, 2)
    cost = CostModel(objective, objective, 0).leading().cost
    assert 5 < cost < 60
    forms = [CostModel(objective, objective, n_iter).best.form for n_iter in (0, cost - 1, cost)]
    assert forms == [Form.DIAGONAL, Form.DIAGONAL, Form.LEADING]
    # The more classes share the directions, the cheaper these are beside an evaluation.
    many = softmax(X, np.arange(1200) % 20, 20)
    assert CostModel(many, many, 0).leading().cost < cost / 4


def test_directions_are_taken_once_they_have_paid(monkeypatch):
    X, y = word_counts(0, 1200, 4500, 4)
    with counted(_preconditioner, "_leading") as taken:
        SoftmaxClassifier(1e-5).fit(X, y)
        assert taken.call_count == 0
        model = SoftmaxClassifier().fit(X, y)
        assert taken.call_count > 1
    monkeypatch.setattr(CostModel, "leading", lambda self: _cost.Plan(Form.LEADING, np.inf, 0))
    without = SoftmaxClassifier().fit(X, y)
    assert model.converged_
    assert model.n_iter_ < 0.6 * without.n_iter_
    assert model.objective_ == pytest.approx(without.objective_, rel=2e-6)


@pytest.mark.parametrize("change", ["weights", "float32", "constants", "two threads"])
def test_directions_change_nothing_that_a_fit_promises(change):
    """Weights for repetition, rows in single precision and constant columns make no difference."""
    X, y = word_counts(1, 1100, 4500, 3)
    plain = SoftmaxClassifier(tol=1e-8).fit(X, y)
    given, weight, model = X, None, SoftmaxClassifier(tol=1e-8)
    if change == "weights":
        again = np.arange(0, 1100, 3)
        plain = SoftmaxClassifier(tol=1e-8).fit(sp.vstack([X, X[again]]).tocsr(), np.r_[y, y[again]])
        weight = np.ones(1100)
        weight[again] = 2
    elif change == "float32":
        given = X.astype(np.float32)
    elif change == "constants":
        given = sp.hstack([X, np.full((1100, 1), 1e6), np.zeros((1100, 1))]).tocsr()
    else:
        model.set_params(n_jobs=2)
    with counted(_preconditioner, "_leading") as taken:
        model.fit(given, y, weight)
    assert taken.call_count > 0
    assert model.converged_
    assert model.objective_ == pytest.approx(plain.objective_, rel=2e-8)
    assert_allclose(model.coef_[:, :4500], plain.coef_, atol=1e-4)


def test_hinges_take_them_where_no_better_curvature_has_room(monkeypatch):
    X, y = word_counts(2, 1050, 2000, 6)
    exact = MulticlassSVMClassifier(0.01, loss="squared_hinge").fit(X, y)
    for name in "MAX_ENTRIES", "LATE_MAX_ENTRIES":
        monkeypatch.setattr(_cost, name, 2**16)
    with counted(_preconditioner, "_leading") as taken:
        model = MulticlassSVMClassifier(0.01, loss="squared_hinge").fit(X, y)
    assert taken.call_count > 0
    assert model.converged_
    assert model.objective_ == pytest.approx(exact.objective_, rel=2e-6)
