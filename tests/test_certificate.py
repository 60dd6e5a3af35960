"""`duality_gap_` bounds the distance to the optimum wherever a fit stops, and so does `history_`."""

import warnings
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, _certificate, _fit, _model
from sk_linear_losses._certificate import corrected_bound, lower_bound
from sk_linear_losses._correction import Correction
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import SoftmaxLoss

from .oracles import (
    bundled,
    crammer_singer_loss,
    generated,
    hinge_program,
    primal,
    softmax_loss,
    softmax_newton,
    squared_loss,
    weston_watkins_loss,
)

# Estimator, its parameters, the loss, and an independent solver with its options.
VARIANTS = {
    "softmax": (SoftmaxClassifier, {}, softmax_loss, softmax_newton, {}),
    "smoothed": (SoftmaxClassifier, {}, softmax_loss, softmax_newton, {}),
    "weston_watkins": (MulticlassSVMClassifier, {}, weston_watkins_loss, hinge_program, {}),
    "squared": (
        MulticlassSVMClassifier,
        {"loss": "squared_hinge"},
        squared_loss,
        hinge_program,
        {"squared": True},
    ),
    "crammer_singer": (
        MulticlassSVMClassifier,
        {"multi_class": "crammer_singer"},
        crammer_singer_loss,
        hinge_program,
        {"worst": True},
    ),
}
HINGES = [name for name, variant in VARIANTS.items() if variant[0] is MulticlassSVMClassifier]
each_variant = pytest.mark.parametrize("variant", VARIANTS)
# Relative error that summing an objective in float64 may cause.
ROUND_OFF = 1e-13


@cache
def problem(variant, seed):
    """A small random problem: estimator, X, y, weights and an independent value of its optimum.

    Odd seeds have no intercept. Every third seed has weights, of which some are zero. Every other pair of
    seeds has a margin for each pair of classes.
    """
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(2, 6))
    n_samples, n_features = int(rng.integers(n_classes, 30)), int(rng.integers(1, 6))
    X, y = generated(seed, n_samples, n_features, n_classes, noise=rng.uniform(0, 2))
    X = X * 10.0 ** rng.uniform(-2, 2, n_features) + rng.normal(size=n_features) * 10.0 ** rng.uniform(-2, 1)
    weight = np.ones(n_samples)
    if seed % 3 == 0:
        weight = rng.uniform(0, 2, n_samples) * (rng.random(n_samples) < 0.8)
        weight[:n_classes] = 1
    estimator, parameters, loss, solution, options = VARIANTS[variant]
    shared, extra = {"C": 10.0 ** rng.uniform(-3, 3), "fit_intercept": seed % 2 == 0}, {}
    if variant == "smoothed":
        extra["smoothing"] = rng.uniform(0.01, 0.9)
        parameters = {"label_smoothing": extra["smoothing"]}
    elif solution is hinge_program and seed % 4 > 1:
        extra["margin"] = rng.uniform(0, 2, (n_classes, n_classes))
        parameters = {**parameters, **extra}
    coef, intercept = solution(X, y, weight=weight, **shared, **options, **extra)
    optimum = primal(loss, X, y, coef, intercept, shared["C"], weight, **extra)
    return estimator(**shared, **parameters), X, y, weight, optimum


def quiet_fit(model, *data):
    """The fitted model, which may have stopped early, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data)


def assert_bounds(objective, gap, optimum):
    """Assert that the gap is finite and not below the distance to the optimum."""
    assert np.isfinite(objective)
    assert np.isfinite(gap)
    assert gap >= 0
    assert gap >= objective - optimum - ROUND_OFF * objective


@pytest.mark.parametrize("max_iter", [1, 2, 5, 20, 1000])
@pytest.mark.parametrize("seed", range(40))
@each_variant
def test_gap_is_never_below_the_distance(variant, seed, max_iter):
    model, X, y, weight, optimum = problem(variant, seed)
    quiet_fit(model.set_params(max_iter=max_iter), X, y, weight)
    assert model.objective_ >= optimum * (1 - 1e-9)
    assert_bounds(model.objective_, model.duality_gap_, optimum)
    gaps = model.history_["gap"]
    for objective, gap in zip(model.history_["objective"], gaps, strict=True):
        assert not np.isnan(gap)
        assert gap >= objective - optimum - ROUND_OFF * objective
    if max_iter == 1000:
        assert model.converged_
        assert model.objective_ <= optimum * (1 + model.tol)
        if variant in HINGES:
            assert model.duality_gap_ <= model.tol * model.objective_


@pytest.mark.parametrize("tol", [1e-2, 1e-6])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
@each_variant
def test_gap_on_raw_data(variant, name, tol):
    X, y = bundled(name)
    estimator, parameters = VARIANTS[variant][:2]
    best = estimator(tol=1e-12, **parameters)
    optimum = quiet_fit(best, X, y).objective_
    assert best.duality_gap_ <= 1e-8 * optimum
    for max_iter in (1, 3, 10, 50, 1000):
        model = quiet_fit(estimator(tol=tol, max_iter=max_iter, **parameters), X, y)
        assert_bounds(model.objective_, model.duality_gap_, optimum)


@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize(
    "model", [SoftmaxClassifier(), MulticlassSVMClassifier(loss="squared_hinge")], ids=repr
)
def test_bad_units_do_not_loosen_the_gap(model, C):
    """With curvature by class alone, the decrement is small long before the gradient."""
    X, y = generated(0, 1000, 150, 7)
    X *= 10 ** np.random.default_rng(0).uniform(-4, 4, X.shape[1])
    model = clone(model).set_params(C=C).fit(X, y)
    assert model.converged_
    assert model.duality_gap_ <= model.tol * model.objective_


@pytest.mark.parametrize("max_iter", [3, 1000])
@each_variant
def test_history_is_consistent(variant, max_iter):
    X, y = bundled("wine")
    estimator, parameters = VARIANTS[variant][:2]
    model = quiet_fit(estimator(max_iter=max_iter, **parameters), X, y)
    assert 1 <= model.n_iter_ <= max_iter
    assert set(model.history_) == {"objective", "gap", "seconds"}
    assert {len(column) for column in model.history_.values()} == {model.n_iter_}
    assert {column.dtype for column in model.history_.values()} == {np.dtype(float)}
    assert (np.diff(model.history_["seconds"]) >= 0).all()
    assert model.history_["seconds"][0] >= 0
    # The solution is the best point met, with the best bound met, except for what storing it may cost.
    assert model.objective_ <= (1 + 1e-13) * model.history_["objective"].min()
    assert model.duality_gap_ <= model.history_["gap"].min() + _model.UNMEASURED * model.objective_


@each_variant
def test_last_line_of_a_converged_history_is_the_solution(variant):
    X, y = bundled("wine")
    estimator, parameters = VARIANTS[variant][:2]
    model = estimator(**parameters).fit(X, y)
    np.testing.assert_allclose(model.history_["objective"][-1], model.objective_, rtol=model.tol)
    assert model.history_["gap"][-1] <= 1e-3 * model.objective_


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_gap_without_a_penalty(fit_intercept):
    X, y = generated(0, 90, 3, 3, noise=2.0)
    model = SoftmaxClassifier(np.inf, fit_intercept=fit_intercept).fit(X, y)
    assert model.converged_
    assert model.duality_gap_ == np.inf
    assert (model.history_["gap"] == np.inf).all()
    assert "inf" in SoftmaxClassifier.__doc__.partition("duality_gap_ :")[2].partition("converged_")[0]


@pytest.mark.parametrize(
    "counts", [[2, 2], [1, 3], [1, 1, 2], [5, 4, 3, 2, 1], [8, 7, 6, 6, 5, 4, 3, 1]], ids=str
)
@each_variant
def test_rows_that_are_all_alike(variant, counts):
    """Only the intercept tells the classes apart."""
    estimator, parameters = VARIANTS[variant][:2]
    counts = np.array(counts)
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.full((len(y), 2), 3.0)
    model = estimator(C=2.0, **parameters).fit(X, y)
    np.testing.assert_allclose(model.coef_, 0, atol=1e-9)
    assert_bounds(model.objective_, model.duality_gap_, model.objective_)
    assert model.duality_gap_ <= model.tol * model.objective_
    if variant == "softmax":
        np.testing.assert_allclose(model.objective_, -2 * counts @ np.log(counts / len(y)), rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", HINGES)
def test_rows_that_are_all_alike_but_for_their_weights(variant, seed):
    """Only the intercept is fitted, and multipliers of heavy rows must match those of many light ones."""
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=30)
    model = MulticlassSVMClassifier(0.03, **VARIANTS[variant][1])
    model.fit(np.full((30, 1), 3.7), y, 10.0 ** rng.uniform(-3, 3, 30))
    assert model.converged_
    assert_bounds(model.objective_, model.duality_gap_, model.objective_)
    assert model.duality_gap_ <= model.tol * model.objective_


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("model", [SoftmaxClassifier(), MulticlassSVMClassifier(loss="squared_hinge")])
def test_features_far_from_zero_are_not_taken_for_constant(model, storage):
    """Sums of squares less the squared mean would lose all digits of their variance."""
    X, y = generated(0, 200, 3, 3)
    near = clone(model).fit(X, y)
    far = clone(model).fit(storage(X + 2.0**28), y)
    assert_bounds(far.objective_, far.duality_gap_, near.objective_)
    assert far.objective_ <= near.objective_ * (1 + 1e-3)


def test_history_ends_with_the_gap_that_steps_of_the_intercept_leave():
    X, y = generated(0, 15_000, 16, 26)
    model = SoftmaxClassifier().fit(X, y)
    assert model.duality_gap_ <= model.history_["gap"][-1] <= model.tol * model.objective_


def test_history_of_single_precision_claims_no_bound():
    X, y = generated(0, 40_000, 30, 4)
    model = SoftmaxClassifier(tol=1e-4).fit(X.astype(np.float32), y)
    bound = model.objective_ - model.duality_gap_
    below = model.history_["objective"] - model.history_["gap"]
    assert np.isinf(model.history_["gap"][0])
    assert (below <= bound * (1 + 1e-12)).all()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("unit", [1e5, 1e8])
def test_squared_hinge_does_not_end_at_the_round_off_of_the_margin(unit, n_classes):
    """Classes are far apart in large units, so the sum of all losses is below that round-off."""
    X, y = make_blobs(600, 5, centers=10 * np.eye(5)[:n_classes], random_state=0)
    model = MulticlassSVMClassifier(loss="squared_hinge").fit(unit * X, y)
    assert model.converged_
    assert model.duality_gap_ <= 1e-6 * model.objective_


@each_variant
@pytest.mark.parametrize("seed", range(40))
def test_corrected_multipliers_bound_the_optimum(variant, seed, monkeypatch):
    """All features are corrected or only one, near the optimum and away from it."""
    monkeypatch.setattr(_certificate, "MOST_CORRECTED", 1 + 31 * (seed % 2))
    estimator, X, y, weight, optimum = problem(variant, seed)
    results, solve = [], _fit.solve
    monkeypatch.setattr(_fit, "solve", lambda *args: results.append(solve(*args)) or results[-1])
    clone(estimator).set_params(max_iter=10_000).fit(X, y, sample_weight=weight)
    objective, theta = results[-1].minimised, results[-1].theta
    rng = np.random.default_rng(seed)
    for size in (1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1):
        at = objective.evaluate(theta * (1 + size * rng.normal(size=theta.shape)))
        assert corrected_bound(objective, at) <= optimum * (1 + ROUND_OFF)


def powers(name):
    """Rows with powers of a variable that is far from zero, and classes that depend on it."""
    rng = np.random.default_rng(0)
    Z, days, share = rng.normal(size=(200, 3)), rng.integers(0, 3650, 200).astype(float), rng.random(200)
    seconds, unit = 1.7e9 + np.floor(3e7 * share), 1e3 * share
    of_variable = {
        "days": [days, days**2, days**3],
        "seconds": [seconds, seconds**2],
        "unit": [unit, unit**2, unit**3, unit**4],
        "products": [unit, days, unit * days, unit**2, days**2],
    }[name]
    first = Z[:, 0] + days / 1000 + rng.normal(size=200) > 1.5
    return np.column_stack([Z, *of_variable]), first + (Z[:, 1] + 2 * share > 1.5)


@each_variant
@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize("name", ["days", "seconds", "unit", "products"])
def test_powers_of_a_variable_do_not_undo_the_certificate(variant, name, C, monkeypatch):
    """Gradients are round-off of up to 1e9. Away from the optimum, too, bounds are below the objective."""
    estimator, parameters = VARIANTS[variant][:2]
    X, y = powers(name)
    results, solve = [], _fit.solve
    monkeypatch.setattr(_fit, "solve", lambda *args: results.append(solve(*args)) or results[-1])
    model = estimator(C, **parameters).fit(X, y)
    assert model.duality_gap_ <= 1e-4 * model.objective_
    objective, theta = results[-1].minimised, results[-1].theta
    rng = np.random.default_rng(0)
    for size in (1e-14, 1e-12, 1e-10, 1e-8, 1e-6):
        at = objective.evaluate(theta * (1 + size * rng.normal(size=theta.shape)))
        assert corrected_bound(objective, at) <= model.objective_ * (1 + ROUND_OFF)


def test_doubt_of_a_correction_is_charged_to_each_feature_alone(monkeypatch):
    """Features in large units have most of the doubt, but tiny coefficients."""
    results, solve = [], _fit.solve
    monkeypatch.setattr(_fit, "solve", lambda *args: results.append(solve(*args)) or results[-1])
    SoftmaxClassifier(1e4).fit(*powers("seconds"))
    monkeypatch.setattr(_certificate, "MOST_CORRECTED", 1)
    objective = results[-1].minimised
    at = objective.evaluate(results[-1].theta)
    others = np.delete(np.arange(5), np.abs(at.gradient[:5, 0]).argmax())
    lengths = np.linalg.norm(at.pull, axis=1)[others]
    weight = objective.C * objective.statistics.total_weight
    doubts = 1e-10 * np.sqrt(weight * objective.statistics.variance)[others]

    def bound(doubt):
        correction = Correction(at.conjugate, np.zeros_like(at.theta), doubt)
        monkeypatch.setattr(_certificate, "correct", lambda *arguments: correction)
        return corrected_bound(objective, at)

    charged = float((lengths * doubts + doubts**2 / 2).sum())
    assert bound(0.0) - bound(1e-10) == pytest.approx(charged, rel=1e-6)


@each_variant
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("column", ["time", "identifier"])
def test_a_column_in_tiny_units_does_not_undo_the_certificate(variant, storage, column):
    """Its gradient is round-off of size one. In larger units only the penalty changes the optimum."""
    estimator, parameters, loss, solution, options = VARIANTS[variant]
    X, y = generated(1, 60, 3, 3)
    share = np.random.default_rng(1).random(60)
    tiny = 1.7e18 + 3e16 * share if column == "time" else np.floor(1e16 * share)
    larger = 1e4 * (tiny - tiny.mean()) / tiny.std()
    coef, intercept = solution(np.column_stack([X, larger]), y, **options)
    optimum = primal(loss, np.column_stack([X, larger]), y, coef, intercept)
    model = estimator(**parameters).fit(storage(np.column_stack([X, tiny])), y)
    assert model.duality_gap_ <= model.tol * model.objective_
    assert model.objective_ - model.duality_gap_ <= optimum * (1 + ROUND_OFF)
    np.testing.assert_allclose(model.objective_, optimum, rtol=2e-6)


def test_many_classes_do_not_loosen_the_bound_of_an_intercept_that_is_nearly_balanced():
    """When no sample's flow exceeded one over the number of classes, the bound was 120 times as far."""
    rng, y = np.random.default_rng(0), np.arange(200) % 100
    X = rng.normal(size=(200, 5))
    model = SoftmaxClassifier().fit(X, y)
    rows = Rows(X, y, np.ones(200), 100, n_threads=1)
    statistics = statistics_of(rows, True)
    objective = Objective(rows, SmoothTerm(SoftmaxLoss()), 1.0, 1.0, True, statistics, False)
    moved = model.intercept_ + 1e-4 * rng.normal(size=100)
    at = objective.evaluate(objective.coded_parameters(model.coef_.T, moved))
    assert 0 <= model.objective_ - lower_bound(objective, at) <= 5e-4 * at.objective


@pytest.mark.parametrize("C", [1e-200, 1e-150])
def test_an_objective_that_is_too_small_for_float64_is_no_error(C):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.repeat([0, 1, 2], [30, 20, 10])
    model = MulticlassSVMClassifier(C, margin=1e-100, loss="squared_hinge")
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert model.duality_gap_ >= 0


def test_round_off_is_taken_from_the_bound():
    objective = SimpleNamespace(conjugate_at_rest=0.0)
    bound = _certificate._bound(objective, np.array([1.0]), -1.0)
    assert 0.5 - 1e-12 < bound < 0.5
