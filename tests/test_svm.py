"""MulticlassSVMClassifier against libsvm, liblinear and the interior-point method of `oracles`."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from sk_linear_losses import MulticlassSVMClassifier

from .oracles import (
    bundled,
    crammer_singer_loss,
    generated,
    hinge_program,
    primal,
    relative_error,
    squared_loss,
    weston_watkins_loss,
)

# Parameters of the classifier, options of the quadratic program, and the loss.
VARIANTS = {
    "weston_watkins": ({}, {}, weston_watkins_loss),
    "squared": ({"loss": "squared_hinge"}, {"squared": True}, squared_loss),
    "crammer_singer": ({"multi_class": "crammer_singer"}, {"worst": True}, crammer_singer_loss),
}
HINGES = ["weston_watkins", "crammer_singer"]
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def two_classes(name):
    """Two overlapping classes of a bundled data set."""
    X, y = bundled(name)
    kept = y > 0 if name == "iris" else y < 2
    return X[kept], y[kept]


def pair_margins(n_classes, seed=0):
    """A margin for each pair of classes, of which some are zero. The diagonal must not matter."""
    margins = np.random.default_rng(seed).uniform(0, 2, (n_classes, n_classes))
    margins[0, 1] = 0
    margins[np.diag_indices(n_classes)] = 7
    return margins


def random_problem(seed, n_classes):
    """A small problem: rows, classes, C, weights and pair margins."""
    rng = np.random.default_rng(seed)
    n_samples, n_features = rng.integers(2 * n_classes, 30), rng.integers(1, 6)
    X, y = generated(seed, n_samples, n_features, n_classes)
    weight = rng.uniform(0, 2, n_samples)
    weight[rng.random(n_samples) < 0.1] = 0
    weight[:n_classes] = 1
    return X * 10.0 ** rng.uniform(-2, 2, n_features), y, 10.0 ** rng.uniform(-2, 2), weight


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("multi_class", HINGES)
@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_two_classes_are_svc(name, C, multi_class, weighted):
    X, y = two_classes(name)
    # libsvm keeps inner products in float32, which holds those of small integers exactly.
    X = np.round(4 * StandardScaler().fit_transform(X))
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else np.ones(len(y))
    class_weight = dict(zip(np.unique(y), [0.5, 3.0], strict=True)) if weighted else None
    theirs = SVC(C=C, kernel="linear", class_weight=class_weight, tol=1e-10).fit(X, y, weight)
    ours = MulticlassSVMClassifier(C, class_weight=class_weight, multi_class=multi_class).fit(X, y, weight)
    assert relative_error(ours.coef_, theirs.coef_) <= 1e-5
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_two_classes_squared_are_linear_svc(name, C, dual):
    X, y = two_classes(name)
    X = StandardScaler().fit_transform(X)
    settings = {"C": C, "loss": "squared_hinge", "fit_intercept": False}
    theirs = LinearSVC(**settings, dual=dual, tol=1e-10, max_iter=10**6, random_state=0).fit(X, y)
    ours = MulticlassSVMClassifier(**settings).fit(X, y)
    assert relative_error(ours.coef_, theirs.coef_) <= 1e-6
    assert (ours.intercept_ == 0).all()


@pytest.mark.parametrize("C", [0.01, 0.1])
@pytest.mark.parametrize("name", ["iris", "wine"])
def test_crammer_singer_is_linear_svc(name, C):
    X, y = bundled(name)
    X = StandardScaler().fit_transform(X)
    settings = {"C": C, "multi_class": "crammer_singer", "fit_intercept": False}
    theirs = LinearSVC(**settings, tol=1e-6, max_iter=10**6, random_state=0)
    with warnings.catch_warnings():
        # liblinear leaves its count of iterations unset for this loss, so that it warns at random.
        warnings.filterwarnings("ignore", "Liblinear failed to converge", ConvergenceWarning)
        theirs.fit(X, y)
    ours = MulticlassSVMClassifier(**settings).fit(X, y)
    their_objective = primal(crammer_singer_loss, X, y, theirs.coef_, 0.0, C)
    assert ours.objective_ <= their_objective * (1 + 1e-9)
    assert ours.objective_ >= their_objective * (1 - 1e-5)
    assert relative_error(ours.coef_, theirs.coef_) <= 1e-2


@pytest.mark.parametrize("margins", [False, True], ids=["margin", "pair_margins"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
@each_variant
def test_quadratic_program(variant, seed, n_classes, fit_intercept, margins):
    parameters, options, loss = VARIANTS[variant]
    X, y, C, weight = random_problem(seed, n_classes)
    margin = pair_margins(n_classes, seed) if margins else 0.7
    model = MulticlassSVMClassifier(C, margin=margin, fit_intercept=fit_intercept, **parameters)
    model.fit(X, y, weight)
    coef, intercept = hinge_program(X, y, C, weight, fit_intercept, margin, **options)
    wanted = primal(loss, X, y, coef, intercept, C, weight, margin=margin)
    np.testing.assert_allclose(model.objective_, wanted, rtol=1e-9)
    found = primal(loss, X, y, model.coef_, model.intercept_, C, weight, margin=margin)
    np.testing.assert_allclose(found, model.objective_, rtol=1e-9)
    np.testing.assert_allclose(model.coef_, coef, rtol=0, atol=1e-5 * np.linalg.norm(coef) + 1e-9)


@pytest.mark.parametrize("margin", [1.0, "pairs"])
@each_variant
def test_quadratic_program_is_slsqp(variant, margin):
    """Compare the oracle of this module with scipy's SLSQP, which is given the losses alone."""
    _, options, loss = VARIANTS[variant]
    X, y = generated(0, 12, 2, 3)
    margin = pair_margins(3) if margin == "pairs" else margin
    coef, intercept = hinge_program(X, y, 2.0, margin=margin, **options)
    n_slacks = len(y) if variant == "crammer_singer" else 3 * len(y)
    penalised = np.array([1, 1, 0] * 3)
    wrong = ~np.eye(3, dtype=bool)[y]

    def room(x):
        theta, slack = x[:9].reshape(3, 3), x[9:].reshape(len(y), -1)
        scores = X @ theta[:, :2].T + theta[:, 2]
        needed = np.broadcast_to(margin, (3, 3))[y] + scores - scores[np.arange(len(y)), y][:, None]
        return (slack - needed)[wrong]

    def value_and_gradient(x):
        theta, slack = x[:9], x[9:]
        cost, price = (slack**2, 2 * slack) if variant == "squared" else (slack, np.ones(n_slacks))
        return penalised @ theta**2 / 2 + 2 * cost.sum(), np.append(penalised * theta, 2 * price)

    start = np.append(np.zeros(9), np.full(n_slacks, 3.0))
    slope = np.array([room(unit) - room(0 * unit) for unit in np.eye(len(start))]).T
    settings = {
        "bounds": [(None, None)] * 9 + [(0, None)] * n_slacks,
        "constraints": {"type": "ineq", "fun": room, "jac": lambda x: slope},
        "options": {"ftol": 1e-12, "maxiter": 1000},
    }
    found = minimize(value_and_gradient, start, jac=True, method="SLSQP", **settings)
    assert found.success
    wanted = primal(loss, X, y, coef, intercept, 2.0, margin=margin)
    np.testing.assert_allclose(found.fun, wanted, rtol=1e-9)
    np.testing.assert_allclose(found.x[:9].reshape(3, 3)[:, :2], coef, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
@each_variant
def test_class_parameters_sum_to_zero(variant, name):
    X, y = bundled(name)
    model = MulticlassSVMClassifier(**VARIANTS[variant][0]).fit(X, y)
    n_classes = len(np.unique(y))
    rows = 1 if n_classes == 2 else n_classes
    assert model.coef_.shape == (rows, X.shape[1])
    assert model.intercept_.shape == (rows,)
    if n_classes > 2:
        assert abs(model.coef_.sum(axis=0)).max() <= 1e-12 * abs(model.coef_).max()
        assert abs(model.intercept_.sum()) <= 1e-12 * abs(model.intercept_).max()


@pytest.mark.parametrize("storage", [sp.csr_array, np.float32])
@pytest.mark.parametrize("name", ["iris", "wine"])
@each_variant
def test_storage_does_not_matter(variant, name, storage):
    X, y = bundled(name)
    X = X.astype(np.float32).astype(np.float64)
    parameters = VARIANTS[variant][0]
    wanted = MulticlassSVMClassifier(**parameters).fit(X, y)
    found = MulticlassSVMClassifier(**parameters).fit(storage(X), y)
    np.testing.assert_allclose(found.objective_, wanted.objective_, rtol=1e-9)
    assert relative_error(found.coef_, wanted.coef_) <= 1e-5


@pytest.mark.parametrize("margin", [1e-3, 0.3, 50.0])
@pytest.mark.parametrize("n_classes", [2, 4])
@each_variant
def test_margin_is_a_unit_of_the_scores(variant, n_classes, margin):
    """Coefficients scale with the margin, at C / margin for hinges and at the same C for squares."""
    parameters = VARIANTS[variant][0]
    X, y = generated(3, 40, 3, n_classes)
    C = 0.5 if variant == "squared" else 0.5 * margin
    scaled = MulticlassSVMClassifier(C, margin=margin, **parameters).fit(X, y)
    unit = MulticlassSVMClassifier(0.5, **parameters).fit(X, y)
    np.testing.assert_allclose(scaled.objective_, unit.objective_ * margin**2, rtol=1e-9)
    assert relative_error(scaled.coef_, margin * unit.coef_) <= 1e-6


@pytest.mark.parametrize("n_classes", [2, 4])
@each_variant
def test_equal_pair_margins_are_one_margin(variant, n_classes):
    X, y = generated(4, 40, 3, n_classes)
    parameters = VARIANTS[variant][0]
    one = MulticlassSVMClassifier(margin=0.8, **parameters).fit(X, y)
    pairs = MulticlassSVMClassifier(margin=np.full((n_classes,) * 2, 0.8), **parameters).fit(X, y)
    np.testing.assert_allclose(pairs.objective_, one.objective_, rtol=1e-12)
    assert relative_error(pairs.coef_, one.coef_) <= 1e-7


@pytest.mark.parametrize("margin", [1.0, np.array([[0, 0.5], [2, 0]])], ids=["margin", "pair_margins"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_both_hinges_are_the_same_for_two_classes(seed, fit_intercept, margin):
    X, y, C, weight = random_problem(seed, 2)
    settings = {"C": C, "margin": margin, "fit_intercept": fit_intercept}
    sums = MulticlassSVMClassifier(**settings).fit(X, y, weight)
    worst = MulticlassSVMClassifier(multi_class="crammer_singer", **settings).fit(X, y, weight)
    np.testing.assert_allclose(sums.objective_, worst.objective_, rtol=1e-9)
    # Where no feature is worth a coefficient, there is only round-off.
    error = np.linalg.norm(sums.coef_ - worst.coef_)
    assert error <= max(1e-6 * np.linalg.norm(worst.coef_), 1e-12)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@each_variant
def test_satisfied_samples_can_be_removed(variant, n_classes):
    X, y = generated(5, 120, 4, n_classes, noise=0.1)
    parameters, _, loss = VARIANTS[variant]
    model = MulticlassSVMClassifier(**parameters).fit(X, y)
    scores = model.decision_function(X)
    scores = np.column_stack([-scores / 2, scores / 2]) if n_classes == 2 else scores
    needed = loss(scores, y, margin=1 + 1e-6) > 0
    assert 0 < needed.sum() < len(y)
    again = MulticlassSVMClassifier(**parameters).fit(X[needed], y[needed])
    np.testing.assert_allclose(again.objective_, model.objective_, rtol=1e-9)
    assert relative_error(again.coef_, model.coef_) <= 1e-6


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_crammer_singer_is_never_above_weston_watkins(name):
    X, y = bundled(name)
    worst = MulticlassSVMClassifier(0.01, multi_class="crammer_singer").fit(X, y)
    sums = MulticlassSVMClassifier(0.01).fit(X, y)
    assert worst.objective_ <= sums.objective_ * (1 + 1e-9)
    if len(worst.classes_) == 3:
        assert worst.objective_ < sums.objective_ * (1 - 1e-3)
