"""Fits end at the optimum whatever the units, shifts and quirks of the data, or say that they do not."""

import re
import time
import warnings
from dataclasses import replace
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from sk_linear_losses import (
    MulticlassSVMClassifier,
    SoftmaxClassifier,
    _classifiers,
    _cost,
    _fit,
    _model,
    _multipliers,
    _preconditioner,
    _row_space,
    _run,
    _smooth,
    _solver,
    _stage,
)
from sk_linear_losses._cost import CostModel
from sk_linear_losses._objective import Objective
from sk_linear_losses._stage import Stage, stage_length

from .oracles import (
    bundled,
    counted,
    crammer_singer_loss,
    generated,
    hinge_program,
    primal,
    relative_error,
    softmax_loss,
    softmax_newton,
    squared_loss,
    weston_watkins_loss,
)

# Classifier, its parameters, the loss, and an independent solver with its options.
VARIANTS = {
    "softmax": (SoftmaxClassifier, {}, softmax_loss, softmax_newton, {}),
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
# Steps between the rows that are taken of a bundled data set.
STEPS = {"iris": 3, "wine": 3, "breast_cancer": 10}
each_variant = pytest.mark.parametrize("variant", VARIANTS)
each_data_set = pytest.mark.parametrize("name", STEPS)


@cache
def thinned(name):
    """A bundled data set with fewer rows, so that the quadratic programs stay small."""
    X, y = bundled(name)
    return X[:: STEPS[name]], y[:: STEPS[name]]


def build(variant, C=1.0, **parameters):
    """The classifier of a variant."""
    estimator, own = VARIANTS[variant][:2]
    return estimator(C, **own, **parameters)


def optimum(variant, X, y, C=1.0, fit_intercept=True):
    """An independent value of the optimum; C above 100 is for separable classes only."""
    _, _, loss, solution, options = VARIANTS[variant]
    if C > 100 and variant in ("weston_watkins", "crammer_singer"):
        # From some C on the hinges' optimum is the hard margin, which is far easier to find.
        coef, _ = solution(X, y, np.inf, fit_intercept=fit_intercept)
        return (coef**2).sum() / 2
    return primal(loss, X, y, *solution(X, y, C, fit_intercept=fit_intercept, **options), C)


def assert_optimal(model, variant, X, y, wanted):
    """Assert that the objective is within a millionth of the optimum, and is that of the coefficients."""
    assert model.converged_
    np.testing.assert_allclose(model.objective_, wanted, rtol=1e-6)
    found = primal(VARIANTS[variant][2], X, y, model.coef_, model.intercept_, model.C)
    np.testing.assert_allclose(found, model.objective_, rtol=1e-6)


def separable(n_classes, seed=0):
    """Well separated clusters, with 36 rows in all."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), 36 // n_classes)
    return rng.normal(size=(n_classes, 3))[y] * 10 + rng.normal(size=(len(y), 3)), y


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("factor", [1e-6, 1e6])
@each_data_set
@each_variant
def test_units_of_one_column(variant, name, factor, fit_intercept):
    X, y = thinned(name)
    for column in (0, 1):
        scaled = X.copy()
        scaled[:, column] *= factor
        model = build(variant, fit_intercept=fit_intercept).fit(scaled, y)
        assert_optimal(model, variant, scaled, y, optimum(variant, scaled, y, 1.0, fit_intercept))


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3])
@each_data_set
@each_variant
def test_units_of_all_columns(variant, name, factor):
    X, y = thinned(name)
    model = build(variant).fit(factor * X, y)
    assert_optimal(model, variant, factor * X, y, optimum(variant, X, y, factor**2) / factor**2)


@each_data_set
def test_softmax_in_units_of_a_millionth(name):
    X, y = thinned(name)
    model = build("softmax").fit(1e6 * X, y)
    assert_optimal(model, "softmax", 1e6 * X, y, optimum("softmax", 1e6 * X, y))


@each_data_set
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "softmax"])
def test_hinges_in_units_of_a_millionth(variant, name):
    """The penalty is less than the rounding of the losses. What a fit claims must hold all the same."""
    X, y = thinned(name)
    model = build(variant, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(1e6 * X, y)
    wanted, rounding = optimum(variant, X, y, 1e12) / 1e12, 1e-15 * len(y)
    assert model.duality_gap_ >= model.objective_ - wanted - rounding
    if model.converged_:
        assert abs(model.objective_ - wanted) <= 1e-6 * wanted + rounding
    assert model.score(1e6 * X, y) == 1


@pytest.mark.parametrize("factor", [1e-6, 1e-4, 1e4, 1e6])
@each_data_set
@each_variant
def test_units_that_C_makes_up_for(variant, name, factor):
    """The same problem in other units has the same solution in these units."""
    X, y = thinned(name)
    wanted = build(variant).fit(X, y)
    found = build(variant, C=1 / factor**2).fit(factor * X, y)
    assert found.converged_
    np.testing.assert_allclose(found.objective_ * factor**2, wanted.objective_, rtol=1e-6)
    assert relative_error(found.coef_ * factor, wanted.coef_) <= 1e-5
    assert found.duality_gap_ * factor**2 <= max(1e-6 * wanted.objective_, 10 * wanted.duality_gap_)


@pytest.mark.parametrize("shift", [1e3, 1e6, -1e6, 1e8])
@each_data_set
@each_variant
def test_origin_does_not_matter(variant, name, shift):
    X, y = thinned(name)
    model = build(variant).fit(X + shift, y)
    assert_optimal(model, variant, X + shift, y, optimum(variant, X, y))


@each_variant
def test_far_origin_costs_no_digits(variant):
    """Fits to the same numbers, far from zero and moved back without round-off."""
    X, y = thinned("iris")
    far = X + 1e9
    found, wanted = build(variant).fit(far, y), build(variant).fit(far - 1e9, y)
    assert relative_error(found.coef_, wanted.coef_) <= 1e-6


@pytest.mark.parametrize("value", [0.0, 1.0, -1e6, 0.1, 1e30])
@each_data_set
@each_variant
def test_constant_columns(variant, name, value):
    X, y = thinned(name)
    padded = np.insert(X, 1, value, axis=1)
    model = build(variant).fit(padded, y)
    assert_optimal(model, variant, padded, y, optimum(variant, X, y))
    assert abs(model.coef_[:, 1]).max() <= 1e-9 * abs(model.coef_).max()


@each_data_set
@each_variant
def test_duplicated_columns(variant, name):
    X, y = thinned(name)
    model = build(variant).fit(np.hstack([X, X]), y)
    # Two equal columns act as one column times the square root of two.
    wanted = optimum(variant, np.sqrt(2) * X, y)
    assert_optimal(model, variant, np.hstack([X, X]), y, wanted)
    first, second = np.hsplit(model.coef_, 2)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5 * abs(first).max())


@pytest.mark.parametrize("noise", [1e-3, 1e-9])
@each_variant
def test_nearly_equal_columns(variant, noise):
    X, y = thinned("wine")
    X = np.hstack([X, X * (1 + noise * np.random.default_rng(0).normal(size=X.shape))])
    assert_optimal(build(variant).fit(X, y), variant, X, y, optimum(variant, X, y))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("n_classes", [2, 3, 6])
@each_variant
def test_separable_classes(variant, n_classes, C, fit_intercept):
    X, y = separable(n_classes)
    model = build(variant, C, fit_intercept=fit_intercept).fit(X, y)
    assert_optimal(model, variant, X, y, optimum(variant, X, y, C, fit_intercept))


@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0, 1e2, 1e4])
@each_data_set
@each_variant
def test_any_penalty(variant, name, C):
    X, y = thinned(name)
    assert_optimal(build(variant, C).fit(X, y), variant, X, y, optimum(variant, X, y, C))


@pytest.mark.parametrize("C", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
@each_variant
def test_overlapping_classes(variant, n_classes, C):
    X, y = generated(6, 60, 4, n_classes, noise=2.0)
    assert_optimal(build(variant, C).fit(X, y), variant, X, y, optimum(variant, X, y, C))


@pytest.mark.parametrize("C", [1e4, 1e8])
@each_variant
def test_overlapping_raw_data_at_large_C(variant, C):
    """No oracle of these tests can solve this; the certificate tells."""
    for name in ("iris", "breast_cancer"):
        X, y = bundled(name)
        model = build(variant, C).fit(X * 1e-2, y)
        assert model.converged_
        if variant != "softmax":
            assert model.duality_gap_ <= 1e-6 * model.objective_


@pytest.mark.parametrize("C", [1.0, 1e4])
@each_variant
def test_separable_pixels(variant, C):
    """Digits are separable; the gap certifies their optimum."""
    X, y = bundled("digits")
    model = build(variant, C).fit(X, y)
    assert model.converged_
    assert model.duality_gap_ <= 1e-6 * model.objective_
    assert model.score(X, y) == 1


@pytest.mark.parametrize("C", [1e-2, 100.0])
def test_softmax_with_many_parameters(C):
    """A thousand parameters, so that all second derivatives of all rows would cost too much."""
    X, y = generated(0, 2000, 110, 10, noise=5.0)
    X *= np.random.default_rng(0).permutation(np.logspace(-3, 3, X.shape[1]))
    coef, intercept = softmax_newton(X, y, C)
    wanted = primal(softmax_loss, X, y, coef, intercept, C)
    model = SoftmaxClassifier(C).fit(X, y)
    assert_optimal(model, "softmax", X, y, wanted)
    assert model.duality_gap_ >= model.objective_ - wanted
    assert relative_error(model.set_params(tol=1e-12).fit(X, y).coef_, coef) <= 1e-6


def span(X):
    """Fewer columns that have the same penalised fit, as the rows are few."""
    return np.linalg.qr((X - X.mean(axis=0)).T)[1].T


@pytest.mark.parametrize("C", [0.1, 3.0, 1000.0])
@pytest.mark.parametrize("shape", [(60, 100, 6), (150, 150, 6), (100, 1500, 6)], ids=str)
def test_softmax_with_more_features_than_rows_in_bad_units(shape, C):
    X, y = generated(7, *shape)
    X *= np.random.default_rng(7).permutation(np.logspace(-3, 3, X.shape[1]))
    model = SoftmaxClassifier(C).fit(X, y)
    assert_optimal(model, "softmax", X, y, optimum("softmax", span(X), y, C))


@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize("shape", [(20, 60, 15), (20, 40, 4)], ids=str)
@each_variant
def test_few_separable_rows_in_bad_units(variant, shape, C):
    X, y = generated(1, *shape)
    X *= np.random.default_rng(1).permutation(np.logspace(-4, 4, X.shape[1]))
    model = build(variant, C).fit(X, y)
    assert model.converged_
    if variant != "softmax":
        # A hinge's losses are sums of differences from 1. C multiplies their round-off.
        round_off = np.finfo(float).eps * C * len(y)
        assert model.duality_gap_ <= max(1e-6 * model.objective_, round_off)


@each_variant
def test_many_classes_without_structure(variant):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(200, 60)), rng.integers(15, size=200)
    model = build(variant).fit(X, y)
    assert model.converged_
    if variant == "softmax":
        assert_optimal(model, variant, X, y, optimum(variant, X, y))
    else:
        assert model.duality_gap_ <= 1e-6 * model.objective_


@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0])
@each_variant
def test_wide_sparse_rows(variant, C):
    """Rows like those of text: far more features than rows, and nearly all entries zero."""
    X = sp.csr_array(sp.random(200, 3000, 0.02, random_state=0))
    rng = np.random.default_rng(0)
    y = (X @ rng.normal(size=(3000, 4)) + 0.5 * rng.gumbel(size=(200, 4))).argmax(axis=1)
    model = build(variant, C).fit(X, y)
    assert model.converged_
    if variant != "softmax":
        assert model.duality_gap_ <= 1e-6 * model.objective_
        return
    dense = X.toarray()
    wanted = optimum("softmax", span(dense), y, C)
    assert_optimal(model, "softmax", dense, y, wanted)
    assert model.duality_gap_ >= model.objective_ - wanted


@each_variant
def test_more_features_than_rows(variant):
    X, y = generated(0, 20, 60, 3)
    for C in (1e-2, 1.0, 1e4):
        assert_optimal(build(variant, C).fit(X, y), variant, X, y, optimum(variant, X, y, C))


@pytest.mark.parametrize("C", [0.1, 100.0])
@each_variant
def test_class_of_one_row(variant, C):
    X, y = generated(1, 40, 3, 2)
    y[7] = 2
    model = build(variant, C).fit(X, y)
    assert_optimal(model, variant, X, y, optimum(variant, X, y, C))
    assert model.coef_.shape == (3, 3)


@each_variant
def test_every_class_of_one_row(variant):
    X, y = generated(2, 5, 3, 5)
    assert_optimal(build(variant).fit(X, y), variant, X, y, optimum(variant, X, y))


@each_data_set
@each_variant
def test_labels_are_only_names(variant, name):
    X, y = thinned(name)
    names = np.random.default_rng(0).permutation(y.max() + 1)
    wanted, found = build(variant).fit(X, y), build(variant).fit(X, names[y])
    np.testing.assert_allclose(found.objective_, wanted.objective_, rtol=1e-9)
    if len(names) == 2:
        assert relative_error(found.coef_ * (names[1] - names[0]), wanted.coef_) <= 1e-6
    else:
        assert relative_error(found.coef_[names], wanted.coef_) <= 1e-6


@each_variant
def test_order_of_rows_and_columns_does_not_matter(variant):
    X, y = thinned("wine")
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(y)), rng.permutation(X.shape[1])
    wanted, found = build(variant).fit(X, y), build(variant).fit(X[rows][:, columns], y[rows])
    np.testing.assert_allclose(found.objective_, wanted.objective_, rtol=1e-9)
    assert relative_error(found.coef_, wanted.coef_[:, columns]) <= 1e-6


@pytest.mark.parametrize("max_iter", [1, 3, 10, 40])
@each_variant
def test_running_out_of_iterations_is_said(variant, max_iter):
    X, y = bundled("wine")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = build(variant, max_iter=max_iter).fit(X, y)
    gap = model.duality_gap_ / model.objective_
    assert len(caught) == (not model.converged_)
    if max_iter in (1, 3, 40):
        assert (gap < 0.5) == (max_iter == 40)
    for warning in caught:
        assert model.n_iter_ == max_iter
        message = str(warning.message)
        assert re.search(rf"max_iter={max_iter}\b.*tol=1e-06. Increase max_iter", message)
        stated = re.search(r"certified to be within a relative ([-+.e\d]+)", message)
        # A gap that says nothing is not called a bound.
        if gap < 0.5:
            assert float(stated[1]) == pytest.approx(gap, rel=0.1)
        else:
            assert stated is None
            told = re.search(r"not certified to be near the optimum: .* gap is ([-+.e\d]+), more", message)
            assert float(told[1]) == pytest.approx(gap, rel=0.1)


def test_rounding_is_said_to_be_what_keeps_a_fit_from_its_tolerance(monkeypatch):
    X, y = bundled("wine")
    with pytest.warns(ConvergenceWarning, match=r"float64 arithmetic.* more than tol=0\. Increase tol\.$"):
        model = SoftmaxClassifier(tol=0).fit(X, y)
    assert not model.converged_
    assert model.n_iter_ < model.max_iter
    # At a larger distance, nearly identical columns could be the reason.
    monkeypatch.setattr(_classifiers, "FLOAT64_LIMITED_GAP", 0)
    with pytest.warns(
        ConvergenceWarning, match=r"Increase tol or, .* nearly identical columns.* decrease C\.$"
    ):
        SoftmaxClassifier(tol=0).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "advice"),
    [
        (
            {"C": 1e30},
            r"not certified .* gap is \S+, more than tol=1e-06\. Increase tol or, .* or decrease C\.",
        ),
        (
            {"C": np.inf, "tol": 0, "label_smoothing": 0.1},
            r"no certificate, .* estimated .* more than tol=0\. Increase tol\.",
        ),
    ],
    ids=["penalty too weak for float64", "tolerance of zero"],
)
def test_advice_is_about_what_keeps_a_fit_from_its_tolerance(parameters, advice):
    X, y = bundled("iris")
    with pytest.warns(ConvergenceWarning, match=f"could not get closer.*{advice}$"):
        SoftmaxClassifier(**parameters).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_to_the_last_digit_goes_on_in_no_other_coordinates(monkeypatch):
    """It does not go on although it fails: no fit meets a tolerance of zero."""
    solved = []
    monkeypatch.setattr(_fit, "solve", lambda *args: solved.append(_solver.solve(*args)) or solved[-1])
    X, y = generated(0, 300, 40, 3)
    X[np.random.default_rng(0).random(X.shape) < 0.9] = 0
    model = SoftmaxClassifier(tol=0).fit(sp.csr_array(X), y)
    assert not model.converged_
    assert len(solved) == 1


def test_seconds_are_since_fit_began(monkeypatch):
    validate = _classifiers.make_problem

    def validate_slowly(*arguments):
        time.sleep(0.2)
        return validate(*arguments)

    monkeypatch.setattr(_classifiers, "make_problem", validate_slowly)
    model = SoftmaxClassifier().fit(*bundled("iris"))
    assert model.history_["seconds"][0] >= 0.2


@pytest.mark.parametrize(
    "model", [SoftmaxClassifier(), MulticlassSVMClassifier(loss="squared_hinge")], ids=repr
)
def test_curvature_is_not_taken_anew_for_the_last_few_iterations(model):
    centers = np.random.default_rng(3).normal(size=(6, 30))
    X, y = make_blobs(3000, 30, centers=centers, cluster_std=2, random_state=0)
    with counted(_smooth, "precondition") as taken:
        model.fit(X, y)
    assert model.duality_gap_ <= 1e-6 * model.objective_
    assert taken.call_count == 2


@pytest.mark.parametrize(
    "model", [SoftmaxClassifier(), MulticlassSVMClassifier(loss="squared_hinge")], ids=repr
)
def test_curvature_is_taken_as_often_in_float32(model):
    X, y = generated(0, 16_000, 60, 5, noise=3.0)
    taken = {}
    for dtype in (np.float64, np.float32):
        with counted(_smooth, "precondition") as precondition:
            model.fit(X.astype(dtype), y)
        taken[dtype] = precondition.call_count
    assert taken[np.float32] == taken[np.float64]


def test_accurate_coefficients_are_among_what_a_stage_goes_on_for(monkeypatch):
    excesses, original = [], Stage._has_lasted

    def record(stage, excess):
        if stage.run.is_certified:
            excesses.append(excess)
        return original(stage, excess)

    monkeypatch.setattr(Stage, "_has_lasted", record)
    SoftmaxClassifier().fit(*bundled("wine"))
    assert len(excesses) > 0
    assert np.isfinite(excesses).all()


@pytest.mark.parametrize(("C", "factorised"), [(0.1, 0), (1.0, 1)])
def test_dear_curvature_is_not_taken_where_a_fit_gets_on_without(C, factorised):
    """The fit waits longer for expensive curvature than where the goal is far away."""
    X, y = generated(0, 1000, 400, 2)
    with counted(_preconditioner, "factorise") as factorise, counted(_smooth, "Stage") as stage:
        model = SoftmaxClassifier(C).fit(X, y)
    assert model.duality_gap_ <= 1e-6 * model.objective_
    assert factorise.call_count == factorised
    assert stage.call_count == 1 + factorised
    assert model.n_iter_ > stage_length(stage.call_args_list[0].args[2])


def test_curvature_from_a_sample_is_priced_as_that_of_all_rows(monkeypatch):
    found, original = [], _smooth._warm_start

    def record(run, objective, at):
        start = original(run, objective, at)
        found.append((objective, start[1]))
        return start

    monkeypatch.setattr(_smooth, "_warm_start", record)
    SoftmaxClassifier().fit(*generated(0, 20_000, 30, 3))
    _, *of_samples = found
    assert len(of_samples) > 0
    for objective, preconditioner in of_samples:
        assert preconditioner.renewal_cost == CostModel(objective, objective, 0).best.cost


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-5, 1e-7, 1e-9])
@each_data_set
@each_variant
def test_tol_is_kept(variant, name, tol):
    X, y = thinned(name)
    model = build(variant, tol=tol).fit(X, y)
    assert model.converged_
    assert model.objective_ <= optimum(variant, X, y) * (1 + tol)


@each_data_set
@each_variant
def test_smaller_tol_means_smaller_gap(variant, name):
    X, y = thinned(name)
    models = [build(variant, tol=tol).fit(X, y) for tol in (1e-1, 1e-2, 1e-4, 1e-6, 1e-8)]
    gaps = [model.duality_gap_ for model in models]
    assert gaps == sorted(gaps, reverse=True)
    # Between the other tolerances, curvature taken anew may save the finer fit an iteration.
    assert models[0].n_iter_ <= min(model.n_iter_ for model in models[1:])


@each_variant
def test_tol_zero_ends_at_the_optimum(variant):
    X, y = thinned("wine")
    with warnings.catch_warnings():
        # Whether the last bit was reached is a matter of luck.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = build(variant, tol=0.0).fit(X, y)
    np.testing.assert_allclose(model.objective_, optimum(variant, X, y), rtol=1e-9)


def quasi_separable(n_classes):
    """Overlapping classes, except for a feature that only some rows of class 0 have."""
    X, y = generated(3, 90, 2, n_classes, noise=3.0)
    marker = np.zeros(len(y))
    marker[np.flatnonzero(y == 0)[:5]] = 1
    return np.column_stack([X, marker]), y


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        *(pytest.param(separable(k), id=f"separable_{k}") for k in (2, 3, 6)),
        *(pytest.param(quasi_separable(k), id=f"quasi_separable_{k}") for k in (2, 3)),
        pytest.param(generated(4, 20, 40, 3), id="few_rows"),
        *(pytest.param(bundled(name), id=name) for name in ("iris", "wine", "breast_cancer")),
    ],
)
def test_maximum_likelihood_of_separable_classes_is_said(data, fit_intercept, scale):
    X, y = data
    with pytest.warns(ConvergenceWarning, match=r"separa.*Set C to a finite") as caught:
        model = SoftmaxClassifier(np.inf, fit_intercept=fit_intercept).fit(X * scale, y)
    assert len(caught) == 1
    assert not model.converged_
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.predict_log_proba(X * scale)).all()


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("n_overlapping", [1, 2, 5])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_maximum_likelihood_of_classes_that_overlap_a_little(n_classes, n_overlapping, scale):
    """A few rows on the wrong side make the optimum finite, but far away."""
    X, y = separable(n_classes)
    for k in range(n_classes):
        y = y.copy()
        y[np.flatnonzero(y == k)[-n_overlapping:]] = (k + 1) % n_classes
    X = X * scale
    model = SoftmaxClassifier(np.inf).fit(X, y)
    assert_optimal(model, "softmax", X, y, optimum("softmax", X, y, np.inf))


@pytest.mark.parametrize("column", [0.0, 1.0, 1e6])
def test_maximum_likelihood_with_a_constant_column(column):
    """The data do not determine the column's coefficient, but the likelihood has a maximum."""
    X, y = generated(5, 100, 2, 3, noise=2.0)
    wanted = optimum("softmax", X, y, np.inf)
    model = SoftmaxClassifier(np.inf).fit(np.insert(X, 1, column, axis=1), y)
    assert model.converged_
    np.testing.assert_allclose(model.objective_, wanted, rtol=1e-6)
    assert np.isfinite(model.coef_).all()


def test_maximum_likelihood_with_duplicated_columns():
    X, y = generated(5, 100, 2, 3, noise=2.0)
    model = SoftmaxClassifier(np.inf).fit(np.hstack([X, X]), y)
    assert model.converged_
    np.testing.assert_allclose(model.objective_, optimum("softmax", X, y, np.inf), rtol=1e-6)


@pytest.mark.parametrize("model", [MulticlassSVMClassifier(), MulticlassSVMClassifier(loss="squared_hinge")])
def test_svm_needs_a_penalty(model):
    with pytest.raises(ValueError, match="C=inf"):
        model.set_params(C=np.inf).fit(*bundled("iris"))


class TestSampleFirst:
    """Fits to many rows start with a sample of the rows."""

    X, Y = generated(7, 60_000, 5, 3)

    def evaluations(self, monkeypatch, X, y):
        """The number of rows in each evaluation of a fit, and the fitted model."""
        n_rows, evaluate = [], Objective.evaluate

        def recorded(self, theta):
            n_rows.append(self.rows.n_samples)
            return evaluate(self, theta)

        monkeypatch.setattr(Objective, "evaluate", recorded)
        model = SoftmaxClassifier().fit(X, y)
        monkeypatch.undo()
        return n_rows, model

    def test_most_evaluations_are_over_few_rows(self, monkeypatch):
        n_rows, model = self.evaluations(monkeypatch, self.X, self.Y)
        assert model.converged_
        assert n_rows.count(len(self.Y)) <= 10 < len(n_rows)
        assert min(n_rows) < len(self.Y) / 16
        # Only iterations on all rows count, and only they are in the history.
        assert model.n_iter_ < n_rows.count(len(self.Y))
        assert (model.history_["objective"] >= model.objective_ * (1 - 1e-12)).all()

    def test_none_is_taken_where_most_of_the_time_is_spent_around_evaluations(self, monkeypatch):
        n_rows, _ = self.evaluations(monkeypatch, self.X[:3000], self.Y[:3000])
        # The start is evaluated on one sample for each class.
        assert n_rows[0] == 3
        assert set(n_rows[1:]) == {3000}

    def test_order_of_the_rows_does_not_matter(self, monkeypatch):
        order = np.argsort(self.Y, kind="stable")
        n_rows, by_class = self.evaluations(monkeypatch, self.X[order], self.Y[order])
        assert n_rows.count(len(self.Y)) <= 10
        shuffled = SoftmaxClassifier().fit(self.X, self.Y)
        assert by_class.objective_ == pytest.approx(shuffled.objective_, rel=1e-6)

    def test_a_start_that_is_worse_is_not_taken(self):
        model = SoftmaxClassifier(warm_start=True).fit(self.X, self.Y)
        model.set_params(max_iter=1, tol=0.01).fit(self.X, self.Y)
        assert model.converged_
        assert model.n_iter_ <= 1

    @pytest.mark.parametrize("tol", [1e-2, 1e-6])
    @pytest.mark.parametrize("seed", [13, 25])
    def test_samples_of_samples_say_nothing_of_all_rows(self, seed, tol):
        """The optimum of these samples is 3 to 5 % below that of all rows."""
        rng = np.random.default_rng(seed)
        coef = 0.3 * rng.normal(size=(3, 3))
        X = rng.normal(size=(30_000, 3))
        y = (X @ coef + rng.gumbel(size=(30_000, 3))).argmax(axis=1)
        model = SoftmaxClassifier(tol=tol).fit(X, y)
        found = primal(softmax_loss, X, y, model.coef_, model.intercept_)
        np.testing.assert_allclose(model.objective_, found, rtol=1e-12)
        wanted = primal(softmax_loss, X, y, *softmax_newton(X, y))
        assert found - model.duality_gap_ <= wanted * (1 + 1e-14)
        assert found <= wanted * (1 + tol)


def twins(n_samples, n_others, seed=0):
    """Start and end of events, in seconds since 1970. The class depends on the duration."""
    rng = np.random.default_rng(seed)
    start = 1.7e9 + 3e7 * rng.random(n_samples)
    duration = 60 * rng.random(n_samples)
    others = rng.normal(size=(n_samples, n_others))
    y = np.floor(duration / 20 + 0.2 * rng.normal(size=n_samples) + 0.3 * others[:, 0]).clip(0, 2)
    return np.column_stack([start, start + duration, others]), y.astype(int)


@each_variant
@pytest.mark.parametrize("n_samples", [100, 300])
def test_columns_that_are_nearly_equal_are_told_apart(variant, n_samples):
    """Their difference, a millionth of their size, decides. Rotating the two columns does not change a fit.

    Scores are sums of numbers of 1e9 with seven decimals: on some machines certificates lack the last digit.
    """
    classifier, options = VARIANTS[variant][:2]
    options = {**options, "tol": 2e-6}
    X, y = twins(n_samples, 3)
    turned = X.copy()
    start, duration = X[:, 0] - X[:, 0].mean(), X[:, 1] - X[:, 0]
    turned[:, :2] = np.column_stack([2 * start + duration, duration]) / np.sqrt(2)
    model, easy = classifier(**options).fit(X, y), classifier(**options).fit(turned, y)
    assert model.converged_
    np.testing.assert_allclose(model.objective_, easy.objective_, rtol=2e-6)


def hidden_pair():
    """More than a thousand rows and still more features, of which two are equal but for 1e-12 of their size.

    The difference of the two determines the classes, and the optimum is below 36.
    """
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1500)
    y[0] = 0
    pair = np.zeros((1500, 2))
    pair[0] = 1e12
    pair[np.arange(1, 1500), y[1:]] = 1
    others = rng.random((1500, 2000)) * (rng.random((1500, 2000)) < 0.003)
    return sp.csr_array(np.hstack([pair, others])), y


@pytest.mark.parametrize("model", [SoftmaxClassifier(), MulticlassSVMClassifier(loss="squared_hinge")])
def test_optimum_known_from_before_is_not_left_for_that_of_a_sample(model):
    X, y = generated(0, 30_000, 20, 4)
    coef = model.set_params(warm_start=True).fit(X, y).coef_
    with counted(Objective, "evaluate") as evaluate:
        model.fit(X, y)
    assert model.converged_
    assert model.n_iter_ == 0
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-9)
    # Evaluations at zero and at the optimum, there also of two samples, and of a hinge without its envelope.
    assert evaluate.call_count <= 5


@pytest.mark.parametrize("model", [SoftmaxClassifier(), MulticlassSVMClassifier(loss="squared_hinge")])
def test_multipliers_are_not_corrected_as_long_as_iterations_help(model, monkeypatch):
    X, y = generated(0, 2000, 60, 30)
    monkeypatch.setattr(_smooth, "corrected_bound", None)
    model.fit(X * 10 ** np.random.default_rng(0).uniform(-3, 3, 60), y)
    assert model.duality_gap_ <= model.tol * model.objective_


def test_beyond_tol_a_hinge_goes_on_as_long_as_digits_come_quickly():
    patience = _multipliers._Patience()
    stage = SimpleNamespace(iterations=7, finished=True)
    for distance, idle in [(1.0, 0), (0.5, 7), (0.09, 0), (0.05, 7), (0.015, 14), (0.008, 0)]:
        patience.note(distance, stage, _multipliers.LAST_DISTANCE_LEFT)
        assert patience.idle == idle


@pytest.mark.parametrize("dear", [False, True])
def test_dear_curvature_is_taken_for_a_certificate_but_not_for_digits(dear, monkeypatch):
    longest = 0 if dear else np.inf
    monkeypatch.setattr(_smooth, "SMOOTH", _smooth.SMOOTH._replace(exact=(5, longest)))
    X, y = bundled("iris")
    with counted(_smooth, "precondition") as precondition, counted(_smooth, "balance_intercept") as balance:
        model = SoftmaxClassifier(100).fit(X, y)
    assert model.converged_
    assert model.duality_gap_ <= model.tol * model.objective_
    # Once the intercept's condition is met, the third curvature certifies the fit. The fourth adds digits
    # only.
    assert (precondition.call_count, balance.call_count) == ((3, 1) if dear else (4, 0))


@pytest.mark.parametrize("longest", [0, np.inf])
def test_without_a_penalty_the_intercept_takes_no_steps_for_a_certificate(longest, monkeypatch):
    monkeypatch.setattr(_smooth, "SMOOTH", _smooth.SMOOTH._replace(exact=(5, longest)))
    X, y = bundled("iris")
    with counted(_smooth, "balance_intercept") as balance:
        SoftmaxClassifier(np.inf).fit(X[y > 0, :2], y[y > 0])
    # The intercept is improved only when the fit ends.
    assert balance.call_count == 1


def test_what_features_alone_do_not_show_is_found_by_curvature_across_them(monkeypatch):
    monkeypatch.setattr(_row_space, "MAX_ROTATED_ENTRIES", 0)
    model = SoftmaxClassifier().fit(*hidden_pair())
    assert model.converged_
    assert model.objective_ < 36


def forbid_curvature_across_features(monkeypatch):
    """Leave too little memory for curvature that couples features."""
    monkeypatch.setattr(_cost, "MAX_ENTRIES", 0)
    monkeypatch.setattr(_cost, "LATE_MAX_ENTRIES", 0)


def test_what_features_alone_do_not_show_is_found_in_other_coordinates(monkeypatch):
    """The second coordinates go on where the first ended, with all that was known of the optimum."""
    forbid_curvature_across_features(monkeypatch)
    X, y = hidden_pair()
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        assert SoftmaxClassifier(max_iter=1).fit(X, y).n_iter_ == 1
    model = SoftmaxClassifier(tol=1e-4).fit(X, y)
    assert model.converged_
    objective, gap = model.history_["objective"], model.history_["gap"]
    assert len(objective) == model.n_iter_
    assert objective[0] > 800
    assert objective[-1] < 36
    assert (np.diff(objective) <= 1e-9 * objective[:-1]).all()
    bound = objective - gap
    np.testing.assert_allclose(bound, np.maximum.accumulate(bound), rtol=1e-12)
    assert (np.diff(model.history_["seconds"]) >= 0).all()


@pytest.mark.parametrize("classifier", [SoftmaxClassifier, MulticlassSVMClassifier])
def test_what_cannot_be_found_is_not_called_converged(classifier, monkeypatch):
    """If only the curvature of each feature alone is known, a small decrement proves nothing."""
    forbid_curvature_across_features(monkeypatch)
    monkeypatch.setattr(_row_space, "MAX_ROTATED_ENTRIES", 0)
    monkeypatch.setattr(_smooth, "CAUTIONS", _smooth.CAUTIONS[:1])
    options = {"loss": "squared_hinge"} if classifier is MulticlassSVMClassifier else {}
    with pytest.warns(ConvergenceWarning, match="is not certified to be near the optimum"):
        model = classifier(max_iter=200, **options).fit(*hidden_pair())
    assert not model.converged_
    assert model.objective_ > 100


@pytest.mark.parametrize("classifier", [SoftmaxClassifier, MulticlassSVMClassifier])
def test_more_than_a_thousand_wide_rows_of_few_directions(classifier):
    """Features are correlated, like those of genes or of a network: L-BFGS alone ends at max_iter."""
    rng = np.random.default_rng(0)
    n, p, n_factors = 1001, 1500, 20
    factors = rng.normal(size=(n, n_factors))
    X = 10 * factors @ rng.normal(size=(n_factors, p)) + rng.normal(size=(n, p))
    scores = X[:, :20] @ rng.normal(size=(20, 3))
    y = (2 * scores / scores.std(axis=0) + rng.gumbel(size=scores.shape)).argmax(axis=1)
    model = classifier(tol=1e-4).fit(X, y)
    assert model.converged_
    assert model.duality_gap_ <= 1e-4 * model.objective_


@each_variant
@pytest.mark.parametrize("value", [1e9, 1e20, -3.4e38])
def test_fill_values_in_a_wide_table_cost_nothing(variant, value):
    """Without the column the optimum can only be higher. The objective is that of the coefficients."""
    classifier, options, loss, _, _ = VARIANTS[variant]
    X, y = generated(0, 100, 150, 3)
    clean = classifier(**options).fit(np.delete(X, 7, axis=1), y)
    X[5:25, 7] = value
    model = classifier(**options).fit(X, y)
    assert model.objective_ <= clean.objective_ * (1 + 1e-6)
    found = primal(loss, X, y, model.coef_, model.intercept_)
    np.testing.assert_allclose(found, model.objective_, rtol=1e-10)


def test_a_sample_that_gets_nowhere_ends(monkeypatch):
    """With another sample's curvature a squared hinge may find no step. The fit goes on with all rows."""
    original = _stage.Stage.minimise

    def minimise(stage, most):
        if stage.objective.rows.sampled:
            return stage.end
        return original(stage, most)

    monkeypatch.setattr(_stage.Stage, "minimise", minimise)
    assert SoftmaxClassifier().fit(*generated(7, 20_000, 5, 3)).converged_


def test_an_estimate_below_zero_is_no_progress():
    """Differences of sums can be below zero. A loop that waited for a smaller estimate would never end."""
    run = _run.Run(1e-6, 10, (), SimpleNamespace(objective=1.0), 0.0, bound=0.9, estimate=-1e-14)
    assert run.distance == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_start_near_the_solution_of_other_data_is_no_trap(seed):
    """With the least smoothing that raises the bound at all, it took a thousand iterations, not 20."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 12, 2000)
    X = rng.normal(size=(12, 10))[y] + 3 * rng.normal(size=(2000, 10))
    warm = MulticlassSVMClassifier(1 / 64, tol=1e-2, warm_start=True).fit(X[::8], y[::8])
    warm.set_params(tol=1e-3).fit(X, y)
    assert warm.converged_
    assert warm.n_iter_ <= 30


@pytest.mark.parametrize("seed", [0, 7, 21, 23])
def test_the_bound_is_not_held_back_by_rounding_of_the_intercept(seed):
    """With little smoothing at the end or few steps of the intercept, 1e-10 to 6e-10 would stay."""
    rng = np.random.default_rng(seed)
    y = np.arange(500) % 6
    X = (rng.normal(size=(6, 2))[y] + rng.normal(size=(500, 2))) @ rng.normal(size=(2, 2))
    X = X * 10 ** rng.uniform(-2, 2, 2) + 1000
    model = MulticlassSVMClassifier(0.015, multi_class="crammer_singer", tol=1e-10).fit(X, y)
    assert model.duality_gap_ <= 1e-10 * model.objective_


def test_a_step_that_fails_belies_the_estimate():
    """The squared hinge's curvature jumps by a factor of 1e8: a step that promised 1e-8 brought nothing."""
    rng = np.random.default_rng(2)
    X = rng.poisson(np.exp(rng.uniform(-2, 2, 20)), (200, 20)).astype(float)
    y = ((X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(20, 6))).argmax(axis=1)
    model = MulticlassSVMClassifier(loss="squared_hinge").fit(X * 10 ** rng.uniform(-4, 4, 20), y)
    assert model.duality_gap_ <= 1e-6 * model.objective_


@pytest.mark.parametrize("multi_class", ["weston_watkins", "crammer_singer"])
def test_a_fit_cut_short_in_bad_units_has_a_bound(multi_class):
    """Where units differ, rough solutions give no bound, so the fit looks for better ones in time."""
    X, y = generated(0, 500, 60, 5)
    X = np.exp(1.5 * X) * 10 ** np.random.default_rng(0).uniform(-4, 4, 60)
    with pytest.warns(ConvergenceWarning):
        model = MulticlassSVMClassifier(multi_class=multi_class, max_iter=120).fit(X, y)
    assert model.duality_gap_ <= 0.01 * model.objective_


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("variant", ["weston_watkins", "squared", "crammer_singer"])
def test_equal_rows_of_different_classes(variant, seed):
    """The kinks of equal rows coincide, so a line search has to find a narrow gap between kinks."""
    rng = np.random.default_rng(seed)
    X = 10 * rng.normal(size=(3, int(rng.integers(1, 8))))
    X[2] = X[1]
    model = build(variant, C=10 ** rng.uniform(-2, 2)).fit(X, np.arange(3))
    assert model.duality_gap_ <= 1e-6 * model.objective_
    assert model.n_iter_ <= 100


@pytest.mark.parametrize("C", [1, 100, 1e4])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", ["weston_watkins", "crammer_singer"])
def test_hard_margins_of_time_stamps(variant, seed, C):
    """Seconds since 1970, within one hour, leave scores few digits. A hinge multiplies the error by C."""
    rng = np.random.default_rng(seed)
    y = np.arange(40) % 2
    X = 1.7e9 + 1e3 * (rng.normal(size=(40, 4)) + np.outer(y, [6, 0, 0, 0]))
    model = build(variant, C=C).fit(X, y)
    assert model.duality_gap_ <= 1e-6 * model.objective_
    exact = [np.asarray(array, dtype=np.longdouble) for array in (model.coef_, model.intercept_)]
    found = primal(VARIANTS[variant][2], X.astype(np.longdouble), y, *exact, C)
    assert float(found) == pytest.approx(model.objective_, rel=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@each_variant
def test_a_column_that_varies_in_its_last_digits(variant):
    """The column varies by less than the error of a constant column's mean."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = np.column_stack([rng.normal(size=40), 1e18 + 3e5 * (y + rng.random(40) / 2)])
    moved = np.column_stack([X[:, 0], X[:, 1] - 1e18])
    assert build(variant).fit(moved, y).objective_ < 1e-6
    model = build(variant).fit(X, y)
    # This includes what storing costs. Without the column the objective would be above 1.
    assert model.objective_ < 1e-3
    assert not model.converged_ or model.duality_gap_ <= 0.02 * model.objective_


@each_variant
def test_a_column_that_is_constant_but_for_its_mean(variant):
    """The mean of thousands of equal numbers is off by more than one rounding."""
    X, y = generated(0, 20_000, 2, 3)
    objectives = []
    original = _solver.solve

    def solve(objective, *arguments):
        objectives.append(objective)
        return original(objective, *arguments)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_fit, "solve", solve)
        build(variant, tol=1e-1).fit(np.column_stack([X, np.full((len(X), 3), [0.1, 1 / 3, -31.4])]), y)
    (objective,) = objectives
    assert objective.statistics.constant.tolist() == [2, 3, 4]
    assert not objective.rows.offset.any()


@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("variant", ["weston_watkins", "crammer_singer"])
def test_rounding_of_what_is_stored_is_not_charged_to_a_hard_margin(variant, n_classes, C):
    """The objective is a penalty of 2e-6; C times the round-off of scores is about 1e-8 C of this.

    Slightly longer coefficients meet the margins in spite of round-off, so the gap need not cover it.
    """
    rng = np.random.default_rng(0)
    y = np.arange(60) % n_classes
    X = rng.poisson(np.exp(rng.normal(5, 2, 5000)), (60, 5000)).astype(float)
    X[:, :20] *= 1 + 0.3 * y[:, None]
    model = build(variant, C).fit(X, y)
    coef, intercept = model.coef_, model.intercept_
    if n_classes == 2:
        coef, intercept = np.vstack([0 * coef, coef]), np.append(0, intercept)
    scores = X.astype(np.longdouble) @ coef.T.astype(np.longdouble) + intercept.astype(np.longdouble)
    stored = float((coef**2).sum() / 2 + C * VARIANTS[variant][2](scores, y).sum())
    assert stored == pytest.approx(model.objective_, rel=1e-8)
    assert model.duality_gap_ <= 1e-8 * model.objective_


@pytest.mark.parametrize("C", [0.79, 10.0])
@pytest.mark.parametrize("variant", ["weston_watkins", "crammer_singer"])
def test_line_searches_that_bring_nothing_are_not_repeated(variant, C):
    """A fill value makes an envelope so steep that line searches bring nothing, at many evaluations each."""
    X = np.column_stack([[1.66, 0.91, 0.1, 0.46, 0.38], [-999999, 99436.8, 99435.8, 99435.1, 99438.5]])
    with counted(Objective, "evaluate") as evaluate:
        model = build(variant, C).fit(X, [0, 1, 2, 2, 1])
    assert model.duality_gap_ <= 1e-6 * model.objective_
    assert evaluate.call_count < 5000


@pytest.mark.parametrize("C", [1e8, 1e12, 1e16, 1e20])
@pytest.mark.parametrize("variant", ["weston_watkins", "squared", "crammer_singer"])
@pytest.mark.parametrize("name", ["points", "iris"])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_a_hard_margin_is_found_whatever_C(storage, name, variant, C):
    """The round-off of C times the losses far exceeds the optimum, but the fit does not end with it."""
    X, y = (np.arange(4.0)[:, None], np.array([0, 0, 1, 1])) if name == "points" else bundled(name)
    X, y = X[y < 2], y[y < 2]
    vector = SVC(C=1e10, kernel="linear", tol=1e-12).fit(X, y).coef_
    model = build(variant, C).fit(storage(X), y)
    assert model.objective_ == pytest.approx((vector**2).sum() / 2, rel=1e-5)
    assert model.duality_gap_ <= 1e-6 * model.objective_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("size", [1e13, 1e15, 1e17, 1e18, 1e20])
@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_of_fill_values_is_solved_or_no_success(variant, C, size):
    """The rounding of a long row's scores exceeds the losses of the other rows."""
    X, y = generated(2, 40, 100, 3)
    alone = build(variant, C=C).fit(X, y)
    filled = np.vstack([X, size * np.random.default_rng(0).normal(size=(1, 100))])
    model = build(variant, C=C).fit(filled, np.append(y, 0))
    assert model.objective_ - model.duality_gap_ <= 1.02 * alone.objective_
    assert model.objective_ <= 1.02 * alone.objective_ or not model.converged_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("size", [1e12, 1e13, 1e20])
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_opposite_rows_of_fill_values_leave_a_bound(variant, size):
    """Both rows meet their class only if no score changes along them, as if they were rows of zeros."""
    X, y = generated(2, 40, 60, 3)
    y[:2] = 0
    projected = X - X.mean(axis=1, keepdims=True)
    projected[:2] = 0
    optimum = build(variant).fit(projected, y).objective_
    X[:2] = [[size], [-size]]
    model = build(variant).fit(X, y)
    assert model.objective_ - model.duality_gap_ <= optimum * (1 + 1e-2)
    assert model.objective_ <= optimum * (1 + 1e-2) or not model.converged_


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("variant", VARIANTS)
def test_columns_far_from_zero_without_an_intercept(variant, storage):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20)) + 10 ** rng.uniform(0, 7, 20)
    scores = (X - X.mean(axis=0)) @ rng.normal(size=(20, 3))
    y = (scores + 2 * rng.gumbel(size=scores.shape)).argmax(axis=1)
    model = build(variant, fit_intercept=False).fit(storage(X), y)
    assert model.duality_gap_ <= 1e-6 * model.objective_


@pytest.mark.parametrize("seed", range(5))
def test_one_hot_columns_beside_one_in_large_units_take_no_dear_curvature(seed):
    """Coefficients are right at once, and corrected multipliers prove it in a hundredth of the time."""
    rng = np.random.default_rng(seed)
    n_samples, n_categories = 6000, 1200
    category = rng.integers(0, n_categories, n_samples)
    one_hot = sp.csr_array((np.ones(n_samples), (np.arange(n_samples), category)))
    amount = sp.csr_array(rng.normal(0, 1e5, (n_samples, 1)))
    y = np.digitize(rng.normal(size=n_categories)[category] + rng.logistic(size=n_samples), [-1, 1])
    with counted(_preconditioner, "precondition_exactly") as exactly:
        model = SoftmaxClassifier().fit(sp.csr_array(sp.hstack([one_hot, amount])), y)
    assert exactly.call_count == 0
    assert model.duality_gap_ <= model.tol * model.objective_


@pytest.mark.parametrize(("C", "tol"), [(1e50, 1e-6), (1e12, 1e-14)])
def test_round_off_is_no_success(C, tol):
    with pytest.warns(ConvergenceWarning, match="float64 arithmetic"):
        model = MulticlassSVMClassifier(C=C, tol=tol).fit(np.arange(4.0)[:, None], [0, 0, 1, 1])
    assert model.duality_gap_ > tol * model.objective_
    assert not model.converged_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("variant", VARIANTS)
def test_coefficients_that_cancel_are_not_stored(variant, monkeypatch):
    """Start and end in nanoseconds differ by round-off, which orthonormal coordinates make a feature.

    Its coefficients cancel in every score, and float64 has too few digits for the rest.
    """
    rng = np.random.default_rng(0)
    start, others = 1.7e18 + rng.uniform(0, 3e16, 1000), rng.normal(size=(1000, 4))
    y = (others @ rng.normal(size=(4, 3)) + rng.gumbel(size=(1000, 3))).argmax(axis=1)
    once = build(variant).fit(np.column_stack([start, others]), y)
    ends, solve = [], _fit.solve
    monkeypatch.setattr(_fit, "solve", lambda *args: ends.append(solve(*args)) or ends[-1])
    twice = build(variant).fit(np.column_stack([start, start + 8.64e13, others]), y)
    assert twice.objective_ == pytest.approx(once.objective_, rel=1e-3)
    loss = VARIANTS[variant][2](twice.decision_function(np.column_stack([start, start + 8.64e13, others])), y)
    assert (twice.coef_**2).sum() / 2 + loss.sum() == pytest.approx(twice.objective_, rel=1e-6)
    assert twice.objective_ - twice.duality_gap_ == pytest.approx(ends[-1].bound, rel=1e-9)


def test_a_stop_in_other_coordinates_is_said_where_they_brought_nothing(monkeypatch):
    ends, solve = [], _fit.solve

    def solve_badly(*args):
        end = replace(solve(*args), converged=False, certified=False)
        worse = 2 * end.objective
        ends.append(replace(end, objective=worse, gap=worse, stopped=True) if ends else end)
        return ends[-1]

    monkeypatch.setattr(_fit, "solve", solve_badly)
    with pytest.warns(ConvergenceWarning, match="was stopped by a callback"):
        model = SoftmaxClassifier().fit(*generated(0, 60, 4, 3))
    assert len(ends) == 2
    assert model.objective_ == pytest.approx(ends[0].objective, rel=1e-14)


@pytest.mark.parametrize("variant", ["softmax", "squared"])
def test_other_coordinates_bring_a_certificate(variant):
    """The gradient in powers of uncentred variables does not vanish, so only an estimate ends the fit."""
    rng = np.random.default_rng(0)
    price, year = np.exp(rng.normal(12, 1, 1000)), rng.integers(1950, 2020, 1000)
    X = np.column_stack([price, year, rng.uniform(30, 50, 1000)])
    y = (StandardScaler().fit_transform(X) @ rng.normal(size=(3, 3)) + rng.gumbel(size=(1000, 3))).argmax(1)
    powers = PolynomialFeatures(3, include_bias=False).fit_transform(X)
    model = build(variant).fit(powers, y)
    assert model.duality_gap_ <= 1e-6 * model.objective_
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_fit, "is_worth_rotation", lambda *args: False)
        alone = build(variant).fit(powers, y)
    assert alone.converged_
    assert alone.duality_gap_ > 1e-6 * alone.objective_


def test_a_start_that_is_the_optimum():
    """Only the curvature of each feature is known, and no step is left to show whether to trust it."""
    model = SoftmaxClassifier(np.inf).fit(np.full((10, 6000), 3.0), np.arange(10) % 2)
    assert model.converged_
    assert model.n_iter_ == 0
    assert model.objective_ == pytest.approx(10 * np.log(2), rel=1e-15)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("variant", ["softmax", "squared"])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_digits_that_an_intercept_lacks_are_charged_to_a_smooth_loss(variant, storage):
    """At 1e15 the stored intercept has no digit after the decimal point."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = 1e15 + rng.normal(size=(60, 3)) + 4 * np.eye(3)[y]
    model = build(variant, C=1e4).fit(storage(X), y)
    scores = X.astype(np.longdouble) @ model.coef_.T.astype(np.longdouble) + model.intercept_
    loss = VARIANTS[variant][2]
    true = float((model.coef_**2).sum() / 2 + 1e4 * loss(scores, y).sum())
    assert model.objective_ == pytest.approx(true, rel=0.01)
    assert true < model.objective_ + model.duality_gap_
    # Ten times the tolerance at least: how much is lost differs between machines.
    assert model.duality_gap_ > 1e-5 * true


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@each_variant
@pytest.mark.parametrize("fill", [1e13, 1e16, 1e20])
@pytest.mark.parametrize("shape", [(60, 4), (30, 45)])
def test_round_off_of_scores_is_charged(variant, shape, fill):
    """The scores of a row of fill values are round-off, as other rows require coefficients near one."""
    X, y = generated(0, *shape, 3)
    X[7], X[8, ::2] = fill, -fill
    model = build(variant, C=100).fit(X, y)
    coef, intercept = (np.vectorize(Fraction)(array) for array in (model.coef_, model.intercept_))
    scores = np.vectorize(Fraction)(X) @ coef.T + intercept
    leads = (scores - scores[np.arange(len(y)), y][:, None]).astype(float)
    true = float((model.coef_**2).sum() / 2 + 100 * VARIANTS[variant][2](leads, y).sum())
    assert true <= model.objective_ * (1 + 1e-9) + model.duality_gap_
    assert not model.converged_ or true <= 1.02 * model.objective_
    if fill > 1e13 and shape == (30, 45):
        assert not model.converged_


@pytest.mark.parametrize("variant", ["weston_watkins", "crammer_singer", "squared"])
@pytest.mark.parametrize("offset", [1e8, 1e10, 1e12])
def test_an_offset_that_cancels_in_the_intercept_is_charged(variant, offset):
    """Two columns are equally far from zero, and their coefficients differ in sign, so the offsets cancel."""
    rng = np.random.default_rng(0)
    half = np.round(64 * rng.normal(size=(60, 2))) / 64 + [0, 3]
    above = half[:, 0] - half[:, 1] + 3 + rng.normal(size=60) / 2 > 0
    X, y = offset + np.vstack([half, half[:, ::-1]]), np.concatenate([above, ~above])
    model = build(variant).fit(X, y)
    assert abs(model.intercept_[0]) < 1e-3 * offset
    coef, intercept = (np.vectorize(Fraction)(array) for array in (model.coef_, model.intercept_))
    lead = (np.vectorize(Fraction)(X) @ coef.T + intercept).astype(float)
    losses = VARIANTS[variant][2](np.hstack([0 * lead, lead]), y.astype(int))
    true = float((model.coef_**2).sum() / 2 + losses.sum())
    assert true <= model.objective_ * (1 + 1e-13) + model.duality_gap_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_longer_coefficients_share_one_product_of_the_rows():
    """One product is for the plain coefficients, one for all longer ones, and one for the best of these.

    The product for all longer ones has other roundings than the stored coefficients, so it allows for twice
    as many.
    """
    rng = np.random.default_rng(0)
    X, y = 1e12 + rng.normal(size=(60, 3)), np.arange(60) % 3
    with counted(_model._Stored, "losses_and_doubts") as measured:
        model = MulticlassSVMClassifier(100).fit(X, y)
    assert type(model.objective_) is type(model.duality_gap_) is float
    round_offs = [call.args[-1] for call in measured.call_args_list]
    assert len(round_offs) == 3
    assert round_offs[1] == pytest.approx(2 * round_offs[0])
    assert round_offs[2] == pytest.approx(round_offs[0])


@pytest.mark.parametrize("seed", range(60))
def test_certificates_hold_to_the_last_digit(seed):
    """Compare with exact arithmetic, where the hinge is solved to all digits of its objective."""
    rng = np.random.default_rng(seed)
    n, p, K = rng.integers(10, 40), rng.integers(1, 5), rng.integers(3, 5)
    X = rng.normal(size=(n, p)) * 10.0 ** rng.integers(-2, 3, p) + rng.choice([0, 1e2, 1e3], p)
    y, C = np.arange(n) % K, 10.0 ** rng.integers(-2, 3)
    model = MulticlassSVMClassifier(C).fit(X, y)
    X, coef, intercept = (np.vectorize(Fraction)(array) for array in (X, model.coef_, model.intercept_))
    scores = X @ coef.T + intercept
    shortfalls = np.maximum(scores - scores[np.arange(n), y][:, None] + 1, 0)
    true = (coef**2).sum() / 2 + Fraction(C) * (shortfalls.sum() - n)
    assert true <= Fraction(model.objective_) + Fraction(model.duality_gap_)


@pytest.mark.parametrize("variant", ["weston_watkins", "crammer_singer"])
def test_coefficients_out_of_a_space_are_measured(variant):
    """They are sums over the rows, whose roundings cannot be told from the size of scores or coefficients."""
    rng = np.random.default_rng(0)
    X, y = np.abs(rng.normal(size=(12, 5000))) + 1, np.arange(12) % 3
    model = build(variant, fit_intercept=False).fit(sp.csr_array(X), y)
    scores = X.astype(np.longdouble) @ model.coef_.T.astype(np.longdouble)
    true = float((model.coef_**2).sum() / 2 + VARIANTS[variant][2](scores, y).sum())
    assert true <= model.objective_ + model.duality_gap_
    assert model.converged_


@pytest.mark.parametrize("variant", ["softmax", "weston_watkins"])
def test_coefficients_out_of_merged_columns_need_not_be_measured(variant):
    """The terms of merged columns in a score are no larger than the terms of their coordinate."""
    rng = np.random.default_rng(0)
    X = sp.random(1200, 1500, 0.01, random_state=0, format="csr")
    X, y = sp.csr_array(sp.hstack([X, 3 * X])), rng.integers(0, 3, 1200)
    with counted(_model._Stored, "losses_and_doubts") as measured:
        model = build(variant, C=0.1).fit(X, y)
    assert not measured.called
    coef, intercept = model.coef_.astype(np.longdouble), model.intercept_.astype(np.longdouble)
    scores = X.astype(np.longdouble).toarray() @ coef.T + intercept
    true = float((model.coef_**2).sum() / 2 + 0.1 * VARIANTS[variant][2](scores, y).sum())
    assert model.objective_ == pytest.approx(true, rel=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_classes", [3, 7])
@pytest.mark.parametrize("fill", [1e9, 1e12])
def test_the_curvature_on_one_side_of_a_kink_is_no_success(n_classes, fill):
    """One sample's curvature is 1e18 times that of all others, until the sample meets its margin."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(28, 2)), np.arange(28) % n_classes
    X[5, 1] = 1e6
    attained = build("squared").fit(X, y)
    X[5, 1] = fill
    model = build("squared").fit(X, y)
    assert attained.converged_
    assert not model.converged_ or model.objective_ <= (1 + 1e-5) * attained.objective_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_hard_margin_of_squares_is_met_or_missed_openly():
    """At such a C the penalty's curvature is below the round-off of that of the rows short of their margins.

    Once rows meet their margins, exact curvature tells nothing of their directions, so a small decrement does
    not show that the optimum is near.
    """
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 200)), np.arange(30) % 3
    attained = build("squared", C=1e14).fit(X, y)
    for C in (1e30, 1e40):
        model = build("squared", C=C).fit(X, y)
        assert not model.converged_ or model.objective_ <= 1.01 * attained.objective_


@pytest.mark.parametrize("shape", [(40, 4), (40, 100)])
@pytest.mark.parametrize("variant", ["weston_watkins", "squared", "crammer_singer"])
def test_no_pair_of_classes_has_a_margin(variant, shape):
    model = build(variant, margin=np.zeros((3, 3))).fit(*generated(0, *shape, 3))
    assert model.objective_ == 0
    assert model.converged_
    assert not model.coef_.any()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_ratios_to_a_tolerance_of_zero_do_not_overflow():
    """Repeated rows are fitted exactly, and the rest of the objective is round-off or zero."""
    X = np.repeat(np.random.default_rng(33).normal(size=(8, 60)), 3, axis=0)
    model = build("squared", C=1e10, tol=0).fit(X, np.arange(24) % 3)
    assert 0 < model.duality_gap_ < 1e-12 * model.objective_


def test_what_is_stored_decides_whether_a_fit_has_converged(monkeypatch):
    """Longer coefficients may meet a hard margin that the solver missed by round-off."""
    missed = 1e-5
    solve, chosen = _fit.solve, _model._chosen

    def solve_to_less(*args):
        result = solve(*args)
        cost = missed * result.objective
        return replace(result, objective=result.objective + cost, gap=result.gap + cost, converged=False)

    def store_no_better(result, *args):
        return chosen(result, *args)._replace(objective=result.objective)

    X, y = generated(0, 60, 4, 3)
    X += 1e6
    monkeypatch.setattr(_fit, "solve", solve_to_less)
    assert MulticlassSVMClassifier().fit(X, y).converged_
    monkeypatch.setattr(_model, "_chosen", store_no_better)
    with pytest.warns(ConvergenceWarning, match="certified to be within a relative 1e-05"):
        assert not MulticlassSVMClassifier().fit(X, y).converged_


@each_variant
@pytest.mark.parametrize("shape", [(60, 4), (6, 20)])
def test_no_feature_has_an_entry(variant, shape):
    """Only the frequencies of the classes can be fitted, whatever the storage."""
    y = np.arange(shape[0]) % 3
    dense = build(variant).fit(np.zeros(shape), y)
    model = build(variant).fit(sp.csr_array(shape), y)
    assert not model.coef_.any()
    assert model.objective_ == pytest.approx(dense.objective_, rel=1e-12)


def test_powers_of_a_variable():
    """Powers are correlated up to round-off; orthonormal coordinates tell them apart.

    The optimum comes from Newton's method in an orthonormal basis of the powers, made with 60 digits.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 100, 200)
    y = np.digitize(np.sin(x / 15) + 0.3 * rng.normal(size=200), [-0.4, 0.4])
    for degree, optimum in ((10, 76.18580801923599), (12, 73.26983079149474)):
        model = SoftmaxClassifier().fit(np.vander(x, degree + 1, increasing=True)[:, 1:], y)
        assert model.converged_
        assert model.objective_ == pytest.approx(optimum, rel=1e-8)


def test_a_hinge_takes_its_multipliers_to_other_coordinates(monkeypatch):
    """Without its multipliers the hinge would start again."""
    X, y = generated(0, 200, 20, 4)
    monkeypatch.setattr(_cost, "ROTATION_ITERATIONS", 30)
    ends, original = [], _solver.solve

    def solve(objective, *arguments):
        result = original(objective, *arguments)
        ends.append((objective, result))
        return result

    monkeypatch.setattr(_fit, "solve", solve)
    MulticlassSVMClassifier().fit(X, y)
    (_, first), (objective, second) = ends
    assert len(first.history) == 30
    moved, last = objective.resumed(first.minimised), first.minimised.term
    assert moved.term.smoothing == last.smoothing < objective.term.smoothing
    np.testing.assert_array_equal(moved.term.flows, last.flows)
    # The first gap after the change is not much above the last one before.
    assert second.history[30].gap <= 2 * first.history[-1].gap


def test_what_was_proven_in_other_coordinates_stays_proven(monkeypatch):
    """The start is bad, and no iterations are left to make up for it."""
    calls, original = [], _solver.solve

    def solve(*arguments):
        calls.append((arguments, original(*arguments)))
        return calls[-1][1]

    monkeypatch.setattr(_fit, "solve", solve)
    SoftmaxClassifier().fit(*generated(0, 200, 20, 4))
    (((objective, starts, tol, *_), first),) = calls
    second = original(objective, starts, tol, len(first.history), 0.0, (), first)
    assert second.history == first.history
    assert second.objective > 1.1 * first.objective
    assert second.objective - second.gap == pytest.approx(first.objective - first.gap, rel=1e-9)


def _has_kinks(variant):
    """Whether the loss of a variant has kinks, where round-off costs most."""
    return variant in ("weston_watkins", "crammer_singer")


@each_variant
@pytest.mark.parametrize("n_samples", [30, 300])
def test_sparse_columns_far_from_zero(variant, n_samples):
    """After centring, sparse columns have as many digits as dense ones."""
    X, y = generated(0, n_samples, 60, 3)
    X[:, 5:] *= np.random.default_rng(0).random((n_samples, 55)) < 0.1
    weight = np.ones(n_samples)
    weight[:2], X[:2, :3] = 0, 0
    near = build(variant).fit(X[2:], y[2:])
    X[2:, :3] += [1e5, -1e8, 1e11]
    dense = build(variant).fit(X, y, weight)
    for storage in (sp.csr_array, sp.csc_matrix, sp.coo_array):
        model = build(variant).fit(storage(X), y, weight)
        bound, dense_bound = model.objective_ - model.duality_gap_, dense.objective_ - dense.duality_gap_
        assert bound == pytest.approx(dense_bound, rel=1e-9)
        # Objective and gap include the rounding of scores, 1e11 times 1e-16.
        assert abs(model.objective_ - dense.objective_) <= max(model.duality_gap_, dense.duality_gap_)
        assert model.duality_gap_ <= (1e-3 if _has_kinks(variant) else 1e-6) * model.objective_
        np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-6)
        # Rows without weight are 1e11 away, which multiplies the difference of the coefficients.
        np.testing.assert_allclose(
            model.decision_function(X), dense.decision_function(X), rtol=2e-6, atol=1e-3
        )
    assert dense.objective_ - dense.duality_gap_ == pytest.approx(near.objective_, rel=1e-5)


@each_variant
def test_sparse_columns_far_from_zero_but_where_they_are_zero(variant):
    """Here a zero is as far away as the other entries are from zero."""
    X, y = generated(0, 20_000, 3, 3)
    X[:, 0] += 1e6
    X[7, 0] = 0
    dense, sparse = build(variant, 1e-3).fit(X, y), build(variant, 1e-3).fit(sp.csr_array(X), y)
    assert sparse.objective_ == pytest.approx(dense.objective_, rel=1e-6)
    np.testing.assert_allclose(sparse.decision_function(X), dense.decision_function(X), atol=1e-2)


def test_a_warning_without_a_penalty_speaks_of_no_bound():
    X, y = generated(0, 200, 5, 3)
    with pytest.warns(ConvergenceWarning, match="the objective has no certificate"):
        SoftmaxClassifier(C=np.inf, max_iter=1).fit(X, y)


@pytest.mark.parametrize("C", [1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("variant", ["weston_watkins", "crammer_singer"])
def test_rounding_of_what_is_stored_is_charged_to_a_soft_margin(variant, C):
    """The reported objective is that of the coefficients, and the gap covers what rounding adds to it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4))
    y = (3 * X @ rng.normal(size=(4, 3)) + rng.normal(size=(50, 3))).argmax(axis=1)
    X[:, 3] += 1e6
    model = build(variant, C).fit(X, y)
    scores = X.astype(np.longdouble) @ model.coef_.T + model.intercept_
    loss = {"weston_watkins": weston_watkins_loss, "crammer_singer": crammer_singer_loss}[variant]
    found = float(np.sum(model.coef_**2) / 2 + C * np.sum(loss(scores, y)))
    # Where long doubles are no longer than doubles, neither value is more exact than the gap.
    share = 0.05 if np.finfo(np.longdouble).eps < np.finfo(float).eps else 10
    assert abs(found - model.objective_) <= share * model.duality_gap_
    assert model.converged_


@pytest.mark.parametrize("eps", [1e-3, 1e-4])
def test_an_estimate_is_no_success_before_it_would_end_the_fit(eps):
    """After few iterations the decrement was a little below the tol of 1 %, at 1.2 % from the optimum."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 120))
    X = np.column_stack([X, X[:, 0] + eps * rng.normal(size=len(X))])
    directions = np.column_stack([X[:, :5], (X[:, -1] - X[:, 0]) / eps])
    scores = directions @ rng.normal(size=(6, 8))
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    with pytest.warns(ConvergenceWarning, match="max_iter=5"):
        model = SoftmaxClassifier(C=1 / eps**2, tol=1e-2, max_iter=5).fit(X, y)
    assert not model.converged_


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("parameters", [{}, {"loss": "squared_hinge"}, {"multi_class": "crammer_singer"}])
def test_an_objective_beyond_float64_is_no_success(parameters):
    """Comparisons with NaN are false, so a loop that waited for a true one would never end."""
    model = MulticlassSVMClassifier(C=1e200, margin=1e100, **parameters)
    X, y = bundled("iris")
    weight = np.full(len(y), 1e50)
    with pytest.warns(ConvergenceWarning, match="float64 arithmetic"):
        model.fit(X, y, weight)
    assert not np.isfinite(model.objective_)
    assert not model.converged_


def test_bounds_beyond_float64_are_none():
    """Squares overflow. The only warning says that there is no certificate."""
    X, y = bundled("iris")
    model = SoftmaxClassifier(C=1e200)
    with pytest.warns(ConvergenceWarning, match="no certificate"):
        model.fit(X, y)
    assert model.duality_gap_ == np.inf
    assert model.objective_ <= 1e200 * 5.95


def test_objectives_near_the_end_of_float64_give_no_other_warning():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 12)), np.arange(400) % 3
    with pytest.warns(ConvergenceWarning) as caught:
        SoftmaxClassifier(C=1e190).fit(X, y)
    assert [warning.category for warning in caught] == [ConvergenceWarning]


@pytest.mark.parametrize("size", [1e12, 1e15, 1e18])
def test_a_row_of_fill_values_is_no_success_by_estimate(size):
    """Where the curvature is that of one row, Newton's decrement says nothing of the other rows."""
    X, y = bundled("wine")
    X = X.copy()
    X[3] = size
    model = SoftmaxClassifier()
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert not model.converged_
    assert model.duality_gap_ > 0.01 * model.objective_


def test_hinges_of_many_rare_classes_that_overlap():
    """Iterations meet kinks other than those whose curvature is known, so the curvature ages at once."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 40))
    y = rng.choice(12, 300, p=rng.dirichlet(np.full(12, 0.5)))
    model = MulticlassSVMClassifier(100, multi_class="crammer_singer").fit(X, y)
    assert model.duality_gap_ <= 1e-6 * model.objective_
    assert model.n_iter_ < 600


@pytest.mark.parametrize("C", [1e200, np.inf])
def test_a_tolerance_is_not_reached_by_overflow(C):
    X, y = bundled("iris")
    with pytest.warns(ConvergenceWarning):
        model = SoftmaxClassifier(C, tol=1e308).fit(X, y)
    assert not model.converged_
    assert model.duality_gap_ == np.inf
