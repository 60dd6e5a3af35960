"""SoftmaxClassifier against Newton's method, scikit-learn's LogisticRegression and scipy's minimiser."""

from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_class_weight

from sk_linear_losses import SoftmaxClassifier

from .oracles import bundled, generated, primal, relative_error, softmax_loss, softmax_newton

BUNDLED = ["iris", "wine", "breast_cancer", "digits"]
# Numbers of samples, features and classes: few and many of each, and fewer samples than features.
SHAPES = [(60, 4, 2), (90, 5, 3), (150, 12, 10), (300, 6, 26), (25, 60, 2), (30, 100, 3), (40, 45, 5)]


@cache
def bundled_solution(name, C):
    """Newton's solution on the raw data; shared by the storages of X."""
    return softmax_newton(*bundled(name), C)


@cache
def badly_scaled(shape):
    """Features whose scales run from 1e-6 to 1e6, in random order."""
    X, y = generated(sum(shape), *shape)
    rng = np.random.default_rng(0)
    return X * rng.permutation(np.logspace(-6, 6, shape[1])), y


def assert_solution(model, coef, intercept, X, tolerance=1e-6):
    """Assert that coefficients agree in their own units and in those of each column's part of the scores."""
    spread = X.std(axis=0)
    assert relative_error(model.coef_, coef) <= tolerance
    assert relative_error(model.coef_ * spread, coef * spread) <= tolerance
    if model.fit_intercept:
        assert relative_error(model.intercept_, intercept) <= tolerance
    else:
        assert (model.intercept_ == 0).all()


@pytest.mark.parametrize("C", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_raw_data(name, C, storage):
    X, y = bundled(name)
    model = SoftmaxClassifier(C).fit(storage(X), y)
    coef, intercept = bundled_solution(name, C)
    assert_solution(model, coef, intercept, X)
    np.testing.assert_allclose(model.objective_, primal(softmax_loss, X, y, coef, intercept, C), rtol=1e-9)


@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_logistic_regression_on_standardised_data(name, C):
    X, y = bundled(name)
    X = StandardScaler().fit_transform(X)
    theirs = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X, y)
    ours = SoftmaxClassifier(C).fit(X, y)
    assert_solution(ours, theirs.coef_, theirs.intercept_, X)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("C", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_column_scales_from_millionth_to_million(shape, storage, fit_intercept, C):
    X, y = badly_scaled(shape)
    model = SoftmaxClassifier(C, fit_intercept=fit_intercept).fit(storage(X), y)
    coef, intercept = softmax_newton(X, y, C, fit_intercept=fit_intercept)
    assert_solution(model, coef, intercept, X)
    np.testing.assert_allclose(model.objective_, primal(softmax_loss, X, y, coef, intercept, C), rtol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_raw_data_with_and_without_intercept(name, fit_intercept):
    X, y = bundled(name)
    model = SoftmaxClassifier(fit_intercept=fit_intercept).fit(X, y)
    assert_solution(model, *softmax_newton(X, y, fit_intercept=fit_intercept), X)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.3, 1: 2.0, 2: 5.0}])
@pytest.mark.parametrize("name", ["iris", "wine"])
def test_weights(name, class_weight):
    X, y = bundled(name)
    sample_weight = np.random.default_rng(0).uniform(0, 3, len(y))
    sample_weight[::7] = 0
    if class_weight == "balanced":
        totals = np.bincount(y, weights=sample_weight)
        per_class = totals.sum() / (3 * totals)
    else:
        per_class = compute_class_weight(class_weight, classes=np.arange(3), y=y)
    model = SoftmaxClassifier(class_weight=class_weight).fit(X, y, sample_weight)
    assert_solution(model, *softmax_newton(X, y, weight=sample_weight * per_class[y]), X)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.3, 1: 2.0}])
def test_class_weight_of_logistic_regression(class_weight):
    X, y = generated(0, 120, 5, 2)
    y[:40] = 0
    settings = {"C": 0.7, "class_weight": class_weight}
    theirs = LogisticRegression(**settings, solver="newton-cholesky", tol=1e-12).fit(X, y)
    assert_solution(SoftmaxClassifier(**settings).fit(X, y), theirs.coef_, theirs.intercept_, X)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("shape", [(80, 3, 2), (200, 4, 3), (900, 5, 10)], ids=str)
def test_maximum_likelihood(shape, scale, fit_intercept):
    X, y = generated(1, *shape, noise=2.0)
    X[:, 0] *= scale
    model = SoftmaxClassifier(np.inf, fit_intercept=fit_intercept).fit(X, y)
    coef, intercept = softmax_newton(X, y, np.inf, fit_intercept=fit_intercept)
    assert_solution(model, coef, intercept, X)
    wanted = primal(softmax_loss, X, y, coef, intercept, np.inf)
    np.testing.assert_allclose(model.objective_, wanted, rtol=1e-9)
    assert model.duality_gap_ == np.inf


@pytest.mark.parametrize("weight", [1 / 3, 1.0, 1e19])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_maximum_likelihood_with_a_constant_column(fit_intercept, storage, weight):
    """Weights round the mean of a constant column. The remainder after centring is not a feature."""
    X, y = generated(0, 20_000, 4, 3, noise=2.0)
    with_constant = np.hstack([X, np.full((len(y), 1), 0.1)])
    sample_weight = np.full(len(y), weight)
    # A sample without weight may have another value.
    sample_weight[0], with_constant[0, -1] = 0, 5
    coef, intercept = softmax_newton(X, y, np.inf, sample_weight / weight)
    model = SoftmaxClassifier(np.inf, fit_intercept=fit_intercept)
    model.fit(storage(with_constant), y, sample_weight)
    assert relative_error(model.coef_[:, :-1], coef) <= 1e-6
    if fit_intercept:
        assert (model.coef_[:, -1] == 0).all()
    found = model.intercept_ + 0.1 * model.coef_[:, -1]
    assert relative_error(found - found.mean(), intercept) <= 1e-6


@pytest.mark.parametrize("C", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", BUNDLED)
def test_float32_rows(name, storage, C):
    X, y = bundled(name)
    model = SoftmaxClassifier(C).fit(storage(X.astype(np.float32)), y)
    coef, intercept = bundled_solution(name, C)
    assert_solution(model, coef, intercept, X, tolerance=1e-3)


@cache
def large():
    """So many samples that products and Gram matrices are made in float32 first, and their solutions."""
    X, y = generated(0, 20_000, 60, 6, noise=0.5)
    X = (X * np.logspace(0, -2, 60)).astype(np.float32)
    return X, y, {C: softmax_newton(X.astype(np.float64), y, C) for C in (100.0, np.inf)}


@pytest.mark.parametrize("weight", [1e-50, 1e-25, 1.0, 1e14, 1e40])
@pytest.mark.parametrize("unit", [1e-25, 1e-10, 1.0, -1e14, 1e20])
@pytest.mark.parametrize("C", [100.0, np.inf])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_float32_rows_and_weights_in_any_unit(storage, C, unit, weight):
    """Squares and products that leave the range of float32 are made in float64."""
    X, y, solutions = large()
    with_constant = np.hstack([X, np.full((len(y), 1), np.float32(7))]) * np.float32(unit)
    model = SoftmaxClassifier(C / weight / unit**2)
    model.fit(storage(with_constant), y, sample_weight=np.full(len(y), weight))
    wanted, _ = solutions[C]
    assert relative_error(model.coef_[:, :-1] * unit, wanted) <= 1e-3
    np.testing.assert_allclose(model.coef_[:, -1] * unit, 0, atol=1e-6)
    # Sums that overflow or underflow would cost iterations.
    assert model.n_iter_ <= (18 if np.isinf(C) else 10)


def test_a_constant_float32_column_where_the_penalty_is_tiny():
    X, y, solutions = large()
    with_constant = np.hstack([X, np.full((len(y), 1), np.float32(7))])
    # At such a C the bound is round-off.
    with pytest.warns(ConvergenceWarning):
        model = SoftmaxClassifier(1e90).fit(with_constant, y)
    assert relative_error(model.coef_[:, :-1], solutions[np.inf][0]) <= 1e-3


def test_large_float32_entries_of_samples_without_weight():
    """The entries are so many times the spread of the features that their squares do not fit into float32."""
    X, y, _ = large()
    X = X * np.float32(1e-6)
    weight = (np.arange(len(y)) >= 50).astype(float)
    expected = SoftmaxClassifier(1e14).fit(X, y, sample_weight=weight)
    X[:50] = 1e14
    model = SoftmaxClassifier(1e14).fit(X, y, sample_weight=weight)
    assert relative_error(model.coef_, expected.coef_) <= 1e-3


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("smoothing", [0.01, 0.1, 0.9])
@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_label_smoothing(n_classes, smoothing, fit_intercept):
    X, y = generated(0, 80, 3, n_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    targets = (1 - smoothing) * np.eye(n_classes)[y] + smoothing / n_classes
    # The binary model is the symmetric model at half the C.
    C = 0.35 if n_classes == 2 else 0.7
    rows = np.hstack([X, np.full((len(y), 1), float(fit_intercept))])
    penalised = np.array([1, 1, 1, 0])

    def value_and_gradient(flat):
        theta = flat.reshape(n_classes, 4)
        scores = rows @ theta.T
        value = (penalised * theta**2).sum() / 2 - C * weight @ (targets * log_softmax(scores, axis=1)).sum(1)
        slopes = weight[:, None] * (softmax(scores, axis=1) - targets)
        return value, (penalised * theta + C * slopes.T @ rows).ravel()

    found = minimize(value_and_gradient, np.zeros(n_classes * 4), jac=True, method="BFGS", tol=1e-9).x
    coef, intercept = np.split(found.reshape(n_classes, 4), [3], axis=1)
    intercept = intercept.ravel() - intercept.mean()
    if n_classes == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    model = SoftmaxClassifier(0.7, label_smoothing=smoothing, fit_intercept=fit_intercept)
    assert_solution(model.fit(X, y, weight), coef, intercept, X)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["iris", "breast_cancer", "wine"])
def test_label_smoothing_bounds_the_scores_without_a_penalty(name, n_classes):
    """Separable classes have a finite optimum once no target is certain."""
    X, y = bundled(name)
    X, y = X[y < n_classes], y[y < n_classes]
    model = SoftmaxClassifier(np.inf, label_smoothing=0.1).fit(X, y)
    coef, intercept = softmax_newton(X, y, np.inf, smoothing=0.1)
    assert_solution(model, coef, intercept, X)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(("seed", "n_samples"), [(3, 200), (5, 5000)])
def test_dummy_columns_without_penalty(seed, n_samples, storage):
    """No level is dropped, so coefficients may change without a change of scores."""
    rng = np.random.default_rng(seed)
    levels = [rng.integers(0, n, n_samples) for n in (3, 4, 5)]
    dummies = [np.eye(n)[level] for n, level in zip((3, 4, 5), levels, strict=True)]
    X = np.hstack([*dummies, rng.normal([40, 0], [10, 0.01], (n_samples, 2))])
    y = ((X - X.mean(axis=0)) @ rng.normal(size=14) / X.std() + rng.logistic(size=n_samples) > 0).astype(int)
    model = SoftmaxClassifier(np.inf).fit(storage(X), y)
    assert model.converged_
    # One level of each factor is dropped.
    reduced = np.delete(X, [0, 3, 7], axis=1)
    coef, intercept = softmax_newton(reduced, y, np.inf)
    assert model.objective_ == pytest.approx(
        primal(softmax_loss, reduced, y, coef, intercept, np.inf), rel=1e-9
    )


@pytest.mark.parametrize("name", BUNDLED)
def test_class_parameters_sum_to_zero(name):
    X, y = bundled(name)
    model = SoftmaxClassifier(1e4).fit(X, y)
    n_classes = len(np.unique(y))
    rows = 1 if n_classes == 2 else n_classes
    assert model.coef_.shape == (rows, X.shape[1])
    assert model.intercept_.shape == (rows,)
    if n_classes > 2:
        assert abs(model.coef_.sum(axis=0)).max() <= 1e-12 * abs(model.coef_).max()
        assert abs(model.intercept_.sum()) <= 1e-12 * abs(model.intercept_).max()


@pytest.mark.parametrize("seed", range(5))
def test_newton_is_logistic_regression(seed):
    """Compare the oracle of this module with scikit-learn, on data that suit both."""
    n_classes = 2 + seed
    X, y = generated(seed, 100, 4, n_classes)
    weight = np.random.default_rng(seed).uniform(0, 2, len(y))
    C, fit_intercept = 10.0 ** (seed - 2), seed != 3
    settings = {"C": C, "fit_intercept": fit_intercept, "solver": "newton-cholesky", "tol": 1e-11}
    theirs = LogisticRegression(**settings, max_iter=1000).fit(X, y, weight)
    coef, intercept = softmax_newton(X, y, C, weight, fit_intercept)
    assert relative_error(coef, theirs.coef_) <= 1e-9
    np.testing.assert_allclose(intercept, theirs.intercept_, atol=1e-9)


@pytest.mark.parametrize("tiny", [1e-270, 1e-60])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_a_class_that_has_hardly_any_weight(tiny, label_smoothing):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.arange(60) % 3
    model = SoftmaxClassifier(1e-20, label_smoothing=label_smoothing).fit(X, y, np.where(y == 2, tiny, 1e20))
    assert model.converged_
    assert np.isfinite(model.predict_proba(X)).all()
