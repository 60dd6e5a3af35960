"""Input that fit and predict accept or refuse. A refusal changes nothing."""

import copy
import re
import tracemalloc
import warnings
from decimal import Decimal
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, _blocks, _problem, _rows
from sk_linear_losses._envelope import HingeObjective
from sk_linear_losses._objective import Objective

# Whole numbers, which every type of array holds exactly.
X, Y = load_iris(return_X_y=True)
X = np.round(10 * X)
SPECIES = np.array(["setosa", "versicolor", "virginica"])[Y]
COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]


@pytest.fixture(params=[SoftmaxClassifier(), MulticlassSVMClassifier()], ids=["softmax", "svm"])
def estimator(request):
    """One of the estimators at its defaults."""
    return clone(request.param)


@pytest.fixture(
    params=[
        SoftmaxClassifier(),
        SoftmaxClassifier(label_smoothing=0.1),
        MulticlassSVMClassifier(),
        MulticlassSVMClassifier(loss="squared_hinge"),
        MulticlassSVMClassifier(multi_class="crammer_singer"),
    ],
    ids=["softmax", "smoothed", "hinge", "squared", "crammer-singer"],
)
def variant(request):
    """An estimator with one of the losses."""
    return clone(request.param)


@pytest.mark.parametrize("tol", [1.0, 1e300])
def test_any_certificate_is_enough_for_a_large_tolerance(variant, tol):
    model = variant.set_params(tol=tol).fit(X, Y)
    assert model.converged_
    assert 0 <= model.duality_gap_ <= model.objective_


@cache
def reference_fit(estimator_class):
    """A fit at the defaults."""
    return estimator_class().fit(X, SPECIES)


def fit_to_another_problem(estimator):
    """Fit to fewer features, with names, and to other classes."""
    return estimator.fit(pd.DataFrame(X[::5, :2], columns=COLUMNS[:2]), SPECIES[::5])


def assert_same_fit(model, reference, rtol=1e-9):
    """Assert that classes, optimum and parameters are the same."""
    assert_array_equal(model.classes_, reference.classes_)
    assert_allclose(model.objective_, reference.objective_, rtol=rtol)
    size = np.abs(reference.coef_).max()
    assert_allclose(model.coef_, reference.coef_, rtol=0, atol=1e3 * rtol * size)
    size = 1 + np.abs(reference.intercept_).max()
    assert_allclose(model.intercept_, reference.intercept_, rtol=0, atol=1e3 * rtol * size)


class TestParameters:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("C", value) for value in (0, -1.0, 1e-201, 1e201, 10**400, float("nan"), "1", True, None)),
            *(("tol", value) for value in (-1e-3, float("nan"), float("inf"), True, None)),
            *(("max_iter", value) for value in (0, -3, 1.5, True, None)),
            *(("class_weight", value) for value in ("unbalanced", {"setosa": -1}, [1, 1, 1])),
            *(("class_weight", {"setosa": value}) for value in (float("nan"), float("inf"), "a", None)),
            ("class_weight", {"setosa": 10**400}),
            *(("n_jobs", value) for value in (0, 1.5, "a", True)),
            *(("verbose", value) for value in (-1, 0.5, "a", None)),
            *((name, value) for name in ("fit_intercept", "warm_start") for value in ("False", 1, None)),
        ],
    )
    def test_refused_by_both(self, estimator, name, value):
        self.assert_refused(estimator, {name: value}, rf"(?s){name}.*{re.escape(str(value))}")

    @pytest.mark.parametrize("value", [-0.1, 1, 1.0, 2.0, float("nan"), "0.1", False, None])
    def test_label_smoothing(self, value):
        self.assert_refused(SoftmaxClassifier(), {"label_smoothing": value}, f"label_smoothing={value!r}")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("C", float("inf")),
            *(("loss", value) for value in ("log_loss", np.array(["hinge"]), None, 1)),
            *(("multi_class", value) for value in ("ovr", None)),
            *(("margin", value) for value in (0, -1.0, 1e-101, 1e101, float("nan"), float("inf"))),
            *(("margin", value) for value in ("1", True, None)),
        ],
    )
    def test_refused_by_svm(self, name, value):
        self.assert_refused(MulticlassSVMClassifier(), {name: value}, re.escape(f"{name}={value!r}"))

    @pytest.mark.parametrize(
        ("margin", "message"),
        [
            (np.ones((2, 2)), r"margin.*\(2, 2\).*\(3, 3\)"),
            (np.ones(3), r"margin.*\(3,\).*\(3, 3\)"),
            (np.ones((3, 3, 1)), r"margin.*\(3, 3, 1\).*\(3, 3\)"),
            ([[0, 1, 1], [1, 0], [1, 1, 0]], "margin"),
            (np.array([[0, 1, 1], [1, 0, -0.5], [1, 1, 0]]), r"(?s)margin.*-0\.5"),
            (np.array([[0, 1, 1], [1, 0, np.nan], [1, 1, 0]]), "(?s)margin.*nan"),
            (np.array([[0, 1, 1], [1, 0, np.inf], [1, 1, 0]]), "(?s)margin.*inf"),
            (np.array([[0, 1, 1], [1, 0, 1e101], [1, 1, 0]]), r"(?s)margin.*1.e\+101.*to 1e\+100"),
            (np.array([[0, 1, 1], [1, 0, 1e-101], [1, 1, 0]]), r"(?s)margin.*1.e-101.*from 1e-100"),
            (np.array(-1.0), r"margin=-1\.0"),
        ],
        ids=["2x2", "1-D", "3-D", "ragged", "negative", "nan", "inf", "huge", "tiny", "0-D"],
    )
    def test_pair_margins(self, margin, message):
        self.assert_refused(MulticlassSVMClassifier(), {"margin": margin}, message)

    def test_labelled_margins_are_put_in_the_order_of_the_classes(self):
        costs = pd.DataFrame(np.arange(9.0).reshape(3, 3), index=[2, 0, 1], columns=[1, 2, 0])
        model = MulticlassSVMClassifier(margin=costs).fit(X, Y)
        ordered = costs.loc[[0, 1, 2], [0, 1, 2]].to_numpy()
        assert_array_equal(model.coef_, MulticlassSVMClassifier(margin=ordered).fit(X, Y).coef_)

    def test_labels_of_margins_may_be_truth_values(self):
        """pandas would take truth values for a mask."""
        costs = np.array([[1.0, 2.0], [3.0, 1.0]])
        labelled = pd.DataFrame(costs[::-1], index=[True, False], columns=[False, True])
        model = MulticlassSVMClassifier(margin=labelled).fit(X, Y == 1)
        assert_array_equal(model.coef_, MulticlassSVMClassifier(margin=costs).fit(X, Y == 1).coef_)

    def test_margins_in_a_table_without_row_labels_are_in_order(self):
        costs = np.arange(9.0).reshape(3, 3)
        model = MulticlassSVMClassifier(margin=pl.DataFrame(costs)).fit(X, Y)
        assert_array_equal(model.coef_, MulticlassSVMClassifier(margin=costs).fit(X, Y).coef_)

    def test_margins_in_a_table_with_columns_in_another_order_have_no_order_of_rows(self):
        costs = np.arange(9.0).reshape(3, 3)
        names = np.unique(SPECIES).tolist()
        model = MulticlassSVMClassifier(margin=pl.DataFrame(costs, schema=names)).fit(X, SPECIES)
        assert_array_equal(model.coef_, MulticlassSVMClassifier(margin=costs).fit(X, SPECIES).coef_)
        for y, schema in ((SPECIES, names[::-1]), (SPECIES, [*names[:2], "rose"]), (Y, ["2", "1", "0"])):
            with pytest.raises(ValueError, match=r"margin has columns named .*no row labels.* in the order"):
                MulticlassSVMClassifier(margin=pl.DataFrame(costs, schema=schema)).fit(X, y)

    def test_labelled_margins_of_more_classes_than_a_fold_has(self):
        names = ["virginica", "rose", "versicolor", "setosa"]
        costs = pd.DataFrame(np.arange(16.0).reshape(4, 4), index=names, columns=names)
        fold = SPECIES != "setosa"
        model = MulticlassSVMClassifier(margin=costs).fit(X[fold], SPECIES[fold])
        here = model.classes_
        assert here.tolist() == ["versicolor", "virginica"]
        reference = MulticlassSVMClassifier(margin=costs.loc[here, here].to_numpy())
        assert_array_equal(model.coef_, reference.fit(X[fold], SPECIES[fold]).coef_)
        for label in ("virginica", "rose"):
            twice = pd.DataFrame(np.ones((4, 4)), index=names, columns=[*names[:3], label])
            with pytest.raises(ValueError, match=r"margin has the labels .* each once"):
                MulticlassSVMClassifier(margin=twice).fit(X[fold], SPECIES[fold])

    def test_margins_without_labels_are_of_the_classes_that_a_fold_has(self):
        with pytest.raises(
            ValueError,
            match=r"\(3, 3\); .* shape \(2, 2\), .* the classes are \[0, 1\]\. .* DataFrame .* further",
        ):
            MulticlassSVMClassifier(margin=np.ones((3, 3))).fit(X[:100], Y[:100])

    def test_margins_of_classes_are_none_of_pairs(self):
        with pytest.raises(ValueError, match=r"margin has shape \(3,\); expected a number or shape \(3, 3\)"):
            MulticlassSVMClassifier(margin=pd.Series(np.ones(3))).fit(X, Y)

    def test_only_the_softmax_is_said_to_take_no_penalty(self):
        self.assert_refused(SoftmaxClassifier(), {"C": -1}, "C=-1 must be .*np.inf for no penalty")
        self.assert_refused(MulticlassSVMClassifier(), {"C": -1}, r"C=-1 must be a number from \S+ to \S+$")

    def test_numbers_may_be_arrays(self):
        fractions = [Decimal(3)] * len(Y)
        assert_array_equal(
            SoftmaxClassifier().fit(X, Y, fractions).coef_, SoftmaxClassifier().fit(X, Y, 3).coef_
        )
        model = MulticlassSVMClassifier(margin=np.array(2.0), verbose=np.False_).fit(X, Y, np.array(3.0))
        reference = MulticlassSVMClassifier(margin=2.0).fit(X, Y, np.full(len(Y), 3.0))
        assert_array_equal(model.coef_, reference.coef_)

    @pytest.mark.parametrize("axis", ["index", "columns"])
    def test_labels_of_margins_that_are_no_classes(self, axis):
        labels = {"index": [0, 1, 2], "columns": [0, 1, 2], axis: ["a", "b", "c"]}
        with pytest.raises(ValueError, match=r"margin has the labels \['a', 'b', 'c'\].*to_numpy"):
            MulticlassSVMClassifier(margin=pd.DataFrame(np.ones((3, 3)), **labels)).fit(X, Y)

    def test_squared_crammer_singer(self):
        parameters = {"loss": "squared_hinge", "multi_class": "crammer_singer"}
        message = "crammer_singer.*squared_hinge.* Use loss='hinge'"
        self.assert_refused(MulticlassSVMClassifier(), parameters, message)

    @pytest.mark.parametrize("kind", [np.float32, np.float64, np.longdouble, np.int8, Fraction])
    @pytest.mark.parametrize("name", ["C", "tol", "margin", "label_smoothing"])
    def test_any_kind_of_number(self, name, kind):
        estimator = MulticlassSVMClassifier() if name == "margin" else SoftmaxClassifier()
        value = 0 if name == "label_smoothing" else 2
        reference = clone(estimator).set_params(**{name: value}).fit(X, SPECIES)
        model = clone(estimator).set_params(**{name: kind(value)}).fit(X, SPECIES)
        assert_array_equal(model.coef_, reference.coef_)

    def test_class_weight_of_an_unknown_class(self, estimator):
        class_weight = dict.fromkeys(["setosa", "versicolor", "rose"], 2.0)
        message = r"class_weight has the keys \['rose'\].* and none for \['virginica'\]"
        self.assert_refused(estimator, {"class_weight": class_weight}, message)
        # The weight of a class that is absent is checked too, so that no single fold fails.
        class_weight = {"setosa": 1, "versicolor": 1, "virginica": 1, "rose": -1}
        estimator.set_params(class_weight=None)
        self.assert_refused(estimator, {"class_weight": class_weight}, r"class_weight=.*non-negative")

    @pytest.mark.parametrize(
        ("y", "keys", "reason"),
        [
            (Y, "012", "Keys of type str equal no class of type int."),
            (SPECIES, range(3), "Keys of type int equal no class of type str."),
            (
                SPECIES,
                [0.0, "setosa", ("rose", 1)],
                "Keys of type float and tuple equal no class of type str.",
            ),
            (Y, np.arange(1, 4), "Give each class a key; a weight of 1 changes nothing."),
        ],
        ids=["str", "int", "some", "none"],
    )
    def test_class_weight_by_labels_of_another_type(self, estimator, y, keys, reason):
        with pytest.raises(ValueError, match=rf"class_weight has the keys .*{re.escape(reason)}$"):
            estimator.set_params(class_weight=dict.fromkeys(keys, 2)).fit(X, y)

    def test_class_weight_in_a_series(self, estimator):
        class_weight = pd.Series({"setosa": 1, "versicolor": 2, "virginica": 3})
        message = r"^class_weight is a Series, but must be a dict.* Pass class_weight\.to_dict\(\)\.$"
        with pytest.raises(ValueError, match=message):
            estimator.set_params(class_weight=class_weight).fit(X, SPECIES)
        estimator.set_params(class_weight=class_weight.to_dict()).fit(X, SPECIES)

    def test_weights_of_zero_for_all_classes(self, estimator):
        class_weight = dict.fromkeys(("setosa", "versicolor", "virginica"), 0.0)
        self.assert_refused(estimator, {"class_weight": class_weight}, "is zero for all samples.* above 0")

    def test_weights_of_classes_that_a_fold_lacks(self, estimator):
        class_weight = {"setosa": 1.0, "versicolor": 2.0, "virginica": 3.0}
        fold = SPECIES != "setosa"
        model = estimator.set_params(class_weight=class_weight).fit(X[fold], SPECIES[fold])
        assert model.classes_.tolist() == ["versicolor", "virginica"]
        reference = clone(estimator).set_params(class_weight=None)
        reference.fit(X[fold], SPECIES[fold], [class_weight[label] for label in SPECIES[fold]])
        assert_array_equal(model.coef_, reference.coef_)

    def assert_refused(self, estimator, parameters, message):
        fit_to_another_problem(estimator).set_params(**parameters)
        before = copy.deepcopy(vars(estimator))
        with pytest.raises((ValueError, TypeError), match=message):
            estimator.fit(X, SPECIES)
        assert_equal(vars(estimator), before)


def changed(array, index, value):
    """A copy of the array with one entry changed."""
    array = np.array(array)
    array[index] = value
    return array


ONES = np.ones(len(Y))
DAYS = np.datetime64("2026-01-01") + np.arange(len(Y))
DURATIONS = (DAYS - DAYS[0]).astype("m8[us]")
BAD_DATA = {
    "X nan": ({"X": changed(X, (5, 1), np.nan)}, "X contains NaN"),
    "X inf": ({"X": changed(X, (5, 1), np.inf)}, "X contains infinity"),
    "X float32 nan": ({"X": changed(X.astype(np.float32), (5, 1), np.nan)}, "X contains NaN"),
    "X sparse nan": ({"X": sp.csr_array(changed(X, (5, 1), np.nan))}, "X contains NaN"),
    "X 1e200": ({"X": 1e200 * X}, r"X is 7\.9e\+201.*[Ss]cale"),
    "X 1e-200": ({"X": 1e-200 * X}, r"X is 7\.9e-199.*[Ss]cale"),
    "X -1e200": ({"X": changed(X, (5, 1), -1e200)}, r"X is 1e\+200.*[Ss]cale"),
    "X sparse 1e200": ({"X": sp.csr_array(1e200 * X)}, r"X is 7\.9e\+201.*[Ss]cale"),
    "X 1-D": ({"X": X[:, 0]}, "Expected 2D array, got 1D array"),
    "X 3-D": ({"X": X[:, :, None]}, "dim 3"),
    "X complex": ({"X": X + 1j}, "Complex data not supported"),
    "X strings": ({"X": np.full(X.shape, "a")}, "could not convert string to float|numeric"),
    "X mixed": ({"X": changed(X.astype(object), (5, 1), "a")}, "could not convert string to float"),
    "X dict": ({"X": changed(X.astype(object), (5, 1), {})}, "float"),
    "X without rows": ({"X": X[:0], "y": Y[:0]}, r"0 sample\(s\)"),
    "X without columns": ({"X": X[:, :0]}, r"0 feature\(s\)"),
    "y short": ({"y": Y[:-1]}, r"\[150, 149\]"),
    "y continuous": ({"y": Y + 0.5 * X[:, 0]}, "continuous"),
    "y one class": ({"y": np.full(len(Y), "rose")}, "class.*rose"),
    "y none": ({"y": np.array([0, 1, None] * 50, dtype=object)}, "Unknown label type|str|None"),
    "y bytes": ({"y": Y.astype("S1")}, "bytes"),
    "y mixed": ({"y": changed(Y.astype(object), 5, "a")}, "str|label type"),
    "y nan": ({"y": changed(Y.astype(float), 5, np.nan)}, "y contains NaN"),
    "y missing": ({"y": None}, "y"),
    "y multilabel": ({"y": np.eye(3)[Y]}, "y should be a 1d array|multilabel"),
    "weight nan": ({"sample_weight": changed(ONES, 5, np.nan)}, "sample_weight contains NaN"),
    "weight inf": ({"sample_weight": changed(ONES, 5, np.inf)}, "sample_weight contains infinity"),
    "weight negative": ({"sample_weight": changed(ONES, 5, -0.5)}, r"sample_weight.*-0\.5"),
    "weights zero": ({"sample_weight": 0 * ONES}, "sample_weight is zero.* above 0"),
    "weights huge": ({"sample_weight": 1e308 * ONES}, "sample_weight"),
    "weights tiny": ({"sample_weight": 1e-103 * ONES}, r"sum of sample_weight.* is 1\.5e-101"),
    "weights short": ({"sample_weight": ONES[:-1]}, r"sample_weight.*\(149,\).*150"),
    "weights 2-D": ({"sample_weight": ONES[:, None]}, r"sample_weight.*\(150, 1\).*150.*ravel"),
    "weights balanced": ({"sample_weight": "balanced"}, "sample_weight='balanced'.*each row.*class_weight"),
    "weights strings": (
        {"sample_weight": np.full(len(Y), "a")},
        "sample_weight must hold a real number.*'a'",
    ),
    "weights dates": ({"sample_weight": DAYS}, "sample_weight must hold a real number.* datetime64"),
    "weights durations": (
        {"sample_weight": DURATIONS},
        "sample_weight must hold a real number.* timedelta64",
    ),
    "weights complex": ({"sample_weight": ONES + 1j}, "sample_weight must hold a real number.* complex"),
    "weights sparse": ({"sample_weight": sp.csr_array(ONES[None])}, "sample_weight must hold a real number"),
    "weights by class": ({"sample_weight": {0: 1.0}}, "sample_weight is a dict.* class_weight takes"),
    "weight of a class tiny": (
        {"sample_weight": np.where(Y == 2, 1e-310, 1.0)},
        r"sum of sample_weight.* is 5e-309 for class 2 and 100 for all classes.*weight 0",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_DATA.values(), ids=BAD_DATA)
@pytest.mark.parametrize("fitted", [False, True], ids=["new", "fitted"])
def test_bad_data_is_refused(estimator, fitted, data, message):
    if fitted:
        fit_to_another_problem(estimator)
    before = copy.deepcopy(vars(estimator))
    # Older scikit-learn deprecates labels in bytes, which 1.7 refuses, and warnings are errors here.
    with pytest.raises((ValueError, TypeError, FutureWarning), match=message):
        estimator.fit(**{"X": X, "y": Y, **data})
    assert_equal(vars(estimator), before)


def test_errors_of_arguments_name_nothing_private(estimator):
    for arguments, message in (({}, "missing 1 required .*'y'"), ({"y": Y, "classes": 3}, "'classes'")):
        with pytest.raises(TypeError, match=rf"^LinearClassifier\.fit\(\) .*{message}"):
            estimator.fit(X, **arguments)


def test_missing_values_are_not_assumed_away(estimator):
    """A sum that is made anyway finds them. Later they would end the fit without a useful message."""
    with config_context(assume_finite=True):
        with pytest.raises(ValueError, match="X contains NaN"):
            estimator.fit(changed(X, (5, 1), np.nan), Y)
        with pytest.raises(ValueError, match="sample_weight contains NaN"):
            estimator.fit(X, Y, changed(ONES, 5, np.nan))


DATED = {
    "dates": (DAYS[:, None], "datetime64[D]"),
    "durations": (DURATIONS[:, None], "timedelta64[us]"),
    "big endian": (DAYS[:, None].astype(">M8[s]"), ">M8[s]"),
    "objects": (np.array([[1.0, day] for day in DAYS], dtype=object), "datetime64[D]"),
    "lists": ([[day] for day in DAYS], "datetime64[D]"),
    "mixed lists": ([(1.0, duration) for duration in DURATIONS], "timedelta64[us]"),
    "pandas dates": (pd.DataFrame({"t": DAYS.astype("M8[us]")}), "column 't', datetime64[us]"),
    "pandas durations": (pd.DataFrame({"a": ONES, "t": DURATIONS}), "column 't', timedelta64[us]"),
    "pandas mixed": (pd.DataFrame({"t": DAYS.astype("M8[us]"), "a": ONES}), "column 't', datetime64[us]"),
    "pandas zone": (
        pd.DataFrame({"t": pd.DatetimeIndex(DAYS.astype("M8[us]"), tz="UTC"), 1: ONES}),
        "column 't', datetime64[us, UTC]",
    ),
    "pandas twice": (
        pd.DataFrame(np.stack([DAYS, DAYS], axis=1).astype("M8[us]"), columns=[1, 1]),
        "column 1, datetime64[us]",
    ),
    "pandas categories": (
        pd.DataFrame({"t": pd.Categorical(DAYS.astype("M8[us]"))}),
        "column 't', datetime64[us]",
    ),
    "polars dates": (pl.DataFrame({"t": DAYS}), "column 't', Date"),
    "polars mixed": (pl.DataFrame({"a": ONES, "t": DAYS.astype("M8[us]")}), "column 't', Datetime("),
    "polars durations": (pl.DataFrame({"a": ONES, "t": DURATIONS}), "column 't', Duration("),
}


@pytest.mark.parametrize(("data", "told"), DATED.values(), ids=DATED)
def test_dates_are_no_numbers(estimator, data, told):
    """As integers they would count some unit, which may differ between fit and predictions."""
    found = rf"X has dates or durations \({re.escape(told)}.*\)"
    wanted = rf"{found}, which are not numbers\. .* divide durations by a unit"
    with pytest.raises(ValueError, match=wanted):
        estimator.fit(data, Y)
    assert vars(estimator) == vars(clone(estimator))
    estimator.fit(X, Y)
    with pytest.raises(ValueError, match=wanted):
        estimator.predict(data)


class Table:
    """A table that numpy can convert, with attributes that say of its columns what is not understood."""

    def __init__(self, **attributes):
        self.shape = X.shape
        vars(self).update(attributes)

    def __len__(self):
        return len(X)

    def __array__(self, dtype=None, copy=None):
        return np.array(X, dtype=dtype)


@pytest.mark.parametrize(
    "attributes",
    [
        {"columns": ["a"], "dtypes": lambda: None},
        {"columns": None, "dtypes": [np.float64]},
        {"columns": ["a", "b"], "dtypes": [np.float64]},
        {"columns": ["a"], "dtypes": {"a": np.float64}},
        {"columns": ["a"], "dtypes": [SimpleNamespace(is_temporal=False)]},
    ],
)
def test_tables_of_other_kinds_are_taken(estimator, attributes):
    """The check for dates refuses no table that numpy can convert."""
    found = estimator.fit(Table(**attributes), Y).coef_
    assert_array_equal(found, clone(estimator).fit(X, Y).coef_)


def test_ragged_lists_are_reported_whole(estimator):
    with pytest.raises(ValueError, match=rf"detected shape was \({len(Y)}, 2\)"):
        estimator.fit([[1, [2, 3]]] * len(Y), Y)


@pytest.mark.parametrize("scale", [1e-90, 1e-60, 1e60, 1e90])
def test_extreme_scales_that_are_accepted_give_finite_fits(variant, scale):
    variant.set_params(C=1 / scale**2).fit(scale * X, Y)
    reference = clone(variant).set_params(C=1.0).fit(X, Y)
    assert_allclose(variant.coef_ * scale, reference.coef_, rtol=1e-4, atol=1e-5)
    assert_array_equal(variant.predict(scale * X), reference.predict(X))


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_one_column_of_another_scale(variant, scale):
    data = X * [1, 1, scale, 1]
    variant.fit(data, Y)
    assert variant.score(data, Y) > 0.95
    assert np.isfinite(variant.predict_log_proba(data)).all()


def test_underflow_is_no_error(variant):
    """Probabilities of classes that are out of the question underflow to zero, as they may."""
    data, labels = load_breast_cancer(return_X_y=True)
    with np.errstate(all="raise"):
        variant.set_params(C=100.0).fit(data, labels)


class TestPredict:
    METHODS = ("predict", "decision_function", "predict_proba", "predict_log_proba")

    @pytest.mark.parametrize("method", METHODS)
    def test_refuses_bad_input(self, estimator, method):
        with pytest.raises(NotFittedError):
            getattr(estimator, method)(X)
        estimator.fit(X, Y)
        before = copy.deepcopy(vars(estimator))
        for data, message in (
            (X[:, :3], "X has 3 features, but .* is expecting 4"),
            (X[:, 0], "Expected 2D array"),
            (changed(X, (0, 0), np.nan), "X contains NaN"),
            (X[:0], r"0 sample\(s\)"),
        ):
            with pytest.raises(ValueError, match=message):
                getattr(estimator, method)(data)
        assert_equal(vars(estimator), before)

    @pytest.mark.parametrize("method", METHODS)
    def test_accepts_what_fit_accepts(self, variant, method):
        expected = getattr(variant.fit(X, Y), method)(X)
        for kind in ACCEPTED:
            if not kind.startswith(("pandas", "polars")):
                computed = getattr(variant, method)(ACCEPTED[kind](X))
                if method == "predict":
                    assert_array_equal(computed, expected)
                else:
                    assert_allclose(computed, expected, rtol=1e-9, atol=1e-9)

    def test_many_rows_are_few_rows(self, variant):
        """Rows are scored in batches, the last of which is shorter."""
        expected = variant.fit(X, Y).decision_function(X)
        assert_allclose(
            variant.decision_function(np.tile(X, (60, 1))), np.tile(expected, (60, 1)), rtol=1e-12
        )

    def test_a_tie_goes_to_the_first_class(self, variant):
        variant.set_params(fit_intercept=False).fit(X[50:], Y[50:])
        tie = np.zeros((1, X.shape[1]))
        assert variant.decision_function(tie) == 0
        assert variant.predict(tie) == variant.classes_[variant.predict_proba(tie).argmax(axis=1)] == 1

    def test_leaves_its_input_alone(self, variant):
        variant.fit(X, Y)
        for kind in (np.array, sp.csr_array):
            data = kind(X.astype(np.float32))
            before = copy.deepcopy(data)
            variant.predict_proba(data)
            assert (data != before).sum() == 0


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def memory_mapped(X, path):
    np.save(path / "X.npy", X)
    return np.load(path / "X.npy", mmap_mode="r")


def diagonals(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sp.SparseEfficiencyWarning)
        return sp.dia_array(X)


def with_64_bit_indices(X):
    X = X.copy()
    for name in ("indices", "indptr", "row", "col"):
        if hasattr(X, name):
            setattr(X, name, getattr(X, name).astype(np.int64))
    return X


def not_canonical(X):
    """Columns in descending order, each entry as a sum of two, and explicit zeros."""
    n_samples, n_features = X.shape
    columns = np.tile(np.repeat(np.arange(n_features)[::-1], 2), n_samples)
    values = np.repeat(X[:, ::-1], 2, axis=1) * np.tile([0.25, 0.75], n_features)
    return sp.csr_array(
        (values.ravel(), columns, np.arange(n_samples + 1) * 2 * n_features), shape=(n_samples, n_features)
    )


def read_only_sparse(X):
    X = sp.csr_array(X)
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    return X


ACCEPTED = {
    "float64 C": np.array,
    "float64 F": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "reversed": lambda X: X[:, ::-1].copy()[:, ::-1],
    "float32": lambda X: X.astype(np.float32),
    "float32 F": lambda X: np.asfortranarray(X, dtype=np.float32),
    "float16": lambda X: X.astype(np.float16),
    "big endian": lambda X: X.astype(">f8"),
    "int64": lambda X: X.astype(np.int64),
    "uint8": lambda X: X.astype(np.uint8),
    "object": lambda X: X.astype(object),
    "list": lambda X: X.tolist(),
    "read-only": read_only,
    "pandas": lambda X: pd.DataFrame(X, columns=COLUMNS),
    "pandas int8": lambda X: pd.DataFrame(X.astype(np.int8), columns=COLUMNS),
    "pandas nullable": lambda X: pd.DataFrame(X, columns=COLUMNS).astype("Int64"),
    "polars": lambda X: pl.DataFrame(X, schema=COLUMNS),
    "polars float32": lambda X: pl.DataFrame(X.astype(np.float32), schema=COLUMNS),
    "dia_array": diagonals,
    "sparse not canonical": not_canonical,
    "sparse read-only": read_only_sparse,
    "sparse int64": lambda X: sp.csr_array(X.astype(np.int64)),
    "sparse float32": lambda X: sp.csr_array(X.astype(np.float32)),
    **{
        f"{layout}_{kind}": lambda X, kind=kind, layout=layout: getattr(sp, f"{layout}_{kind}")(X)
        for kind in ("array", "matrix")
        for layout in ("csr", "csc", "coo", "dok", "lil", "bsr")
    },
    **{
        f"{layout}_{kind} 64-bit": lambda X, kind=kind, layout=layout: with_64_bit_indices(
            getattr(sp, f"{layout}_{kind}")(X)
        )
        for kind in ("array", "matrix")
        for layout in ("csr", "csc", "coo")
    },
}


class TestAcceptedInput:
    @pytest.mark.parametrize("kind", ACCEPTED)
    def test_gives_the_same_fit(self, estimator, kind):
        assert_same_fit(estimator.fit(ACCEPTED[kind](X), SPECIES), reference_fit(type(estimator)))

    def test_memory_mapped(self, variant, tmp_path):
        assert_same_fit(variant.fit(memory_mapped(X, tmp_path), Y), clone(variant).fit(X, Y))

    @pytest.mark.parametrize("kind", ["float32", "sparse float32", "csr_array", "csc_array"])
    def test_gives_the_same_fit_with_every_loss(self, variant, kind):
        assert_same_fit(variant.fit(ACCEPTED[kind](X), Y), clone(variant).fit(X, Y))

    @pytest.mark.parametrize(
        ("labels", "classes"),
        [
            (SPECIES.tolist(), np.unique(SPECIES)),
            (SPECIES.astype(object), np.unique(SPECIES)),
            (pd.Series(SPECIES), np.unique(SPECIES)),
            (pd.Series(SPECIES, dtype="category"), np.unique(SPECIES)),
            (pl.Series(SPECIES), np.unique(SPECIES)),
            (Y.astype(np.int8) - 1, [-1, 0, 1]),
            (Y * 10.0, [0.0, 10.0, 20.0]),
        ],
        ids=["list", "object", "pandas", "category", "polars", "int8", "whole floats"],
    )
    def test_labels(self, estimator, labels, classes):
        reference = clone(estimator).fit(X, Y)
        estimator.fit(X, labels)
        assert_array_equal(estimator.classes_, classes)
        assert_array_equal(estimator.coef_, reference.coef_)
        assert_array_equal(estimator.predict(X), np.asarray(classes)[reference.predict(X)])

    def test_two_labels(self, estimator):
        reference = clone(estimator).fit(X[50:], Y[50:])
        estimator.fit(X[50:], Y[50:] == 2)
        assert_array_equal(estimator.classes_, [False, True])
        assert_array_equal(estimator.coef_, reference.coef_)
        assert estimator.predict(X[50:]).dtype == bool

    @pytest.mark.parametrize("kind", [list, pd.Series, pl.Series, np.float32, np.int64, read_only])
    def test_weights(self, estimator, kind):
        weight = 1 + Y % 2
        reference = clone(estimator).fit(X, Y, sample_weight=weight.astype(float))
        assert_same_fit(estimator.fit(X, Y, sample_weight=kind(weight)), reference)

    def test_one_weight_for_all(self, estimator):
        reference = clone(estimator).fit(X, Y, sample_weight=2 * ONES)
        assert_array_equal(estimator.fit(X, Y, sample_weight=2).coef_, reference.coef_)

    @pytest.mark.parametrize("kind", ["float64 C", "float64 F", "float32", "pandas", "sparse not canonical"])
    def test_is_left_alone(self, variant, kind):
        data, labels, weight = ACCEPTED[kind](X), SPECIES.copy(), 1.0 + Y
        before = copy.deepcopy(data)
        variant.set_params(class_weight="balanced").fit(data, labels, sample_weight=weight)
        if sp.issparse(data):
            for part in ("data", "indices", "indptr"):
                assert_array_equal(getattr(data, part), getattr(before, part))
        else:
            assert_array_equal(data, before)
        assert_array_equal(labels, SPECIES)
        assert_array_equal(weight, 1.0 + Y)

    def test_sparse_rows_are_copied_only_to_add_up_what_they_store_twice(self):
        shuffled = sp.csr_array(([1.0, 2.0, 3.0], [2, 0, 1], [0, 2, 3]), shape=(2, 3))
        assert np.shares_memory(_problem._as_rows(shuffled).data, shuffled.data)
        twice = sp.csr_array(([1.0, 2.0, 3.0], [2, 0, 2], [0, 3, 3]), shape=(2, 3))
        rows = _problem._as_rows(twice)
        assert_array_equal(np.sort(rows.data), [2.0, 4.0])
        assert_array_equal(twice.data, [1.0, 2.0, 3.0])

    def test_pair_margins_are_left_alone(self):
        margin = np.full((3, 3), 2.0)
        assert MulticlassSVMClassifier(margin=margin).fit(X, Y).margin is margin
        assert_array_equal(margin, 2.0)


class TestMemory:
    """Peak memory that a fit and a prediction allocate beside the data."""

    @pytest.fixture(
        params=[SoftmaxClassifier(max_iter=3), MulticlassSVMClassifier(max_iter=3)], ids=["softmax", "svm"]
    )
    def quick(self, request):
        return clone(request.param)

    def peak(self, model, X):
        """Peak bytes allocated by a fit to two classes, which need not converge, and a prediction."""
        y = np.arange(X.shape[0]) % 2
        tracemalloc.start()
        try:
            model.fit(X, y).predict(X)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dense_rows_are_not_copied(self, quick, dtype, order):
        data = np.random.default_rng(0).standard_normal((16_000, 150), dtype=np.float32)
        data = np.asarray(data, dtype=dtype, order=order)
        assert self.peak(quick, data) < 0.7 * data.nbytes

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_sparse_rows_are_not_made_dense(self, quick, dtype):
        data = np.random.default_rng(0).standard_normal((30_000, 100), dtype=np.float32)
        data *= data > 1.5
        sparse = sp.csr_array(data.astype(dtype))
        assert self.peak(quick, sparse) < data.nbytes


class TestInterruption:
    @pytest.mark.parametrize("fitted", [False, True], ids=["new", "fitted"])
    def test_leaves_the_estimator_as_it_was(self, variant, fitted, monkeypatch):
        if fitted:
            fit_to_another_problem(variant)
        before = copy.deepcopy(vars(variant))
        evaluate, calls = Objective.evaluate, []

        def interrupted(self, theta):
            calls.append(theta)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return evaluate(self, theta)

        monkeypatch.setattr(Objective, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            variant.fit(X, Y)
        assert len(calls) == 3
        assert_equal(vars(variant), before)
        monkeypatch.undo()
        assert_same_fit(variant.fit(X, SPECIES), clone(variant).fit(X, SPECIES), rtol=0)


class TestClassWithoutWeight:
    four = np.where(X[:, 1] > 33, 3, Y)

    def without(self, variant, how, y, absent):
        """The variant fitted with zero weight for one class, by class or by sample."""
        if how == "class_weight":
            return variant.set_params(class_weight={k: float(k != absent) for k in np.unique(y)}).fit(X, y)
        return variant.fit(X, y, sample_weight=1.0 * (y != absent))

    @pytest.mark.parametrize("how", ["sample_weight", "class_weight"])
    @pytest.mark.parametrize("absent", [0, 1, 3])
    def test_three_classes_are_left(self, variant, how, absent):
        kept = self.four != absent
        reference = clone(variant).fit(X[kept], self.four[kept])
        self.without(variant, how, self.four, absent)
        rest = np.arange(4) != absent
        assert_array_equal(variant.classes_, range(4))
        assert_allclose(variant.objective_, reference.objective_, rtol=1e-9)
        assert_allclose(variant.coef_[rest], reference.coef_, rtol=1e-6, atol=1e-7)
        assert_allclose(variant.intercept_[rest], reference.intercept_, rtol=1e-6, atol=1e-6)
        assert_array_equal(variant.predict(X), reference.predict(X))

    @pytest.mark.parametrize("how", ["sample_weight", "class_weight"])
    @pytest.mark.parametrize("fit_intercept", [True, False])
    def test_two_classes_are_left(self, variant, how, fit_intercept):
        """Each still has a vector of coefficients, w/2 or -w/2. Their penalty is half the penalty of w."""
        variant.set_params(fit_intercept=fit_intercept)
        reference = clone(variant).set_params(C=2 * variant.C).fit(X[Y != 1], Y[Y != 1])
        self.without(variant, how, Y, 1)
        assert_allclose(variant.objective_, reference.objective_ / 2, rtol=1e-9)
        assert variant.coef_.shape == (3, 4)
        assert variant.intercept_.shape == (3,)
        assert_allclose(variant.coef_[2] - variant.coef_[0], reference.coef_[0], rtol=1e-6, atol=1e-7)
        assert_array_equal(variant.predict(X), reference.predict(X))
        probability = variant.predict_proba(X)
        assert_array_equal(probability[:, 1], 0)
        assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
        assert not np.isnan(variant.predict_log_proba(X)).any()

    def test_two_classes_are_left_as_in_scikit_learn(self):
        weight = 1.0 * (Y != 1)
        model = SoftmaxClassifier().fit(X, Y, sample_weight=weight)
        theirs = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, Y, sample_weight=weight)
        assert_allclose(model.coef_, theirs.coef_, atol=1e-5)

    def test_is_never_predicted_far_from_the_data(self, variant):
        self.without(variant, "sample_weight", Y, 1)
        directions = np.random.default_rng(0).normal(size=(500, 4))
        assert not (variant.predict(1e6 * directions) == 1).any()
        assert not (variant.predict(0 * directions) == 1).any()

    def test_balanced_weights_count_the_others(self, variant):
        variant.set_params(class_weight="balanced")
        reference = clone(variant).fit(X[self.four != 1], self.four[self.four != 1])
        self.without(variant, "sample_weight", self.four, 1)
        assert_allclose(variant.objective_, reference.objective_, rtol=1e-9)

    def test_pair_margins_lose_its_row_and_column(self):
        margin = np.arange(16.0).reshape(4, 4) / 8
        kept = self.four != 1
        model = MulticlassSVMClassifier(margin=margin).fit(X, self.four, sample_weight=1.0 * kept)
        rest = [0, 2, 3]
        reference = MulticlassSVMClassifier(margin=margin[np.ix_(rest, rest)]).fit(X[kept], self.four[kept])
        assert_allclose(model.objective_, reference.objective_, rtol=1e-9)
        assert_allclose(model.coef_[rest], reference.coef_, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("fit_intercept", [True, False])
    @pytest.mark.parametrize(("n_classes", "left"), [(2, 0), (2, 1), (3, 1)])
    def test_one_class_alone_is_certain(self, variant, n_classes, left, fit_intercept):
        data, labels = X[: 50 * n_classes], Y[: 50 * n_classes]
        variant.set_params(fit_intercept=fit_intercept).fit(data, labels, 1.0 * (labels == left))
        expected = np.eye(n_classes)[[left] * len(X)]
        assert_array_equal(variant.predict(X), left)
        assert_array_equal(variant.predict_proba(X), expected)
        assert_array_equal(np.exp(variant.predict_log_proba(X)), expected)
        assert_array_equal(variant.coef_, np.zeros((1 if n_classes == 2 else n_classes, 4)))
        assert variant.objective_ == variant.duality_gap_ == variant.n_iter_ == 0
        assert variant.converged_
        assert all(column.shape == (0,) for column in variant.history_.values())

    def test_one_class_alone_may_be_left_by_a_bootstrap(self, estimator):
        """BaggingClassifier makes a bootstrap by weights."""
        y = np.repeat([0, 1], [148, 2])
        bagging = BaggingClassifier(estimator, 40, random_state=0).fit(X, y)
        assert any(np.isinf(model.intercept_).any() for model in bagging.estimators_)
        probability = bagging.predict_proba(X)
        assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)

    def test_all_are_refused(self, estimator):
        estimator.set_params(class_weight={0: 0, 1: 1, 2: 1})
        with pytest.raises(ValueError, match="sample_weight times class_weight is zero for all samples"):
            estimator.fit(X, Y, 1.0 * (Y == 0))


def test_a_fit_does_not_pickle(estimator):
    """Subclasses may omit attributes from pickles, or refuse to be pickled."""

    class Unpicklable(type(estimator)):
        def __getstate__(self):
            raise TypeError("no pickles")

    model = Unpicklable()
    model.cache = cache = {}
    assert model.fit(X, Y).cache is cache


def test_many_classes_may_be_meant_for_regression(estimator):
    """The estimators warn of this just as newer versions of scikit-learn do."""
    told = []
    for model in (estimator, LogisticRegression(max_iter=10_000)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X[::3] - X.mean(axis=0), np.arange(50) % 30)
        told.append([str(each.message) for each in caught if each.category is UserWarning])
    assert told[0] == told[1]


@pytest.mark.parametrize("with_classes", [False, True])
def test_a_warm_start_from_coefficients_set_by_hand(estimator, with_classes):
    """Without labels the coefficients are for the classes of y. Other shapes are not used."""
    reference = clone(estimator).fit(X, Y)
    estimator.set_params(warm_start=True, max_iter=1)
    estimator.coef_, estimator.intercept_ = reference.coef_.tolist(), reference.intercept_.tolist()
    if with_classes:
        estimator.classes_ = [0, 1, 2]
    others = [
        (estimator.coef_[:2], estimator.intercept_[:2]),
        (estimator.coef_, 0.0),
        (None, estimator.intercept_),
        (np.full((3, 4), np.inf), estimator.intercept_),
        (estimator.coef_[:1], estimator.intercept_[:1]),
    ]
    objectives = []
    for coef, intercept in [(estimator.coef_, estimator.intercept_), *others]:
        model = clone(estimator)
        vars(model).update(vars(estimator), coef_=coef, intercept_=intercept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            objectives.append(model.fit(X, Y).objective_)
    assert objectives[0] == pytest.approx(reference.objective_, rel=1e-5)
    assert min(objectives[1:]) == max(objectives[1:]) > 1.1 * reference.objective_


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_shapes(variant, n_classes, fit_intercept):
    data, labels = X[50 * (3 - n_classes) :], Y[50 * (3 - n_classes) :]
    variant.set_params(fit_intercept=fit_intercept).fit(data, labels)
    n_rows = 1 if n_classes == 2 else n_classes
    assert variant.coef_.shape == (n_rows, 4)
    assert variant.intercept_.shape == (n_rows,)
    assert fit_intercept == variant.intercept_.any()
    assert variant.decision_function(data).shape == ((100,) if n_classes == 2 else (150, 3))
    assert (
        variant.predict_proba(data).shape == variant.predict_log_proba(data).shape == (len(data), n_classes)
    )
    assert variant.coef_.dtype == variant.intercept_.dtype == np.float64
    assert all(column.shape == (variant.n_iter_,) for column in variant.history_.values())


class TestWarmStart:
    @pytest.fixture
    def starts(self, monkeypatch):
        """Coefficients and intercepts of the classes at the first point of each fit."""
        objectives, points = [], []

        def recording(condensed):
            def recorded(self, theta):
                if not any(self.rows is objective.rows for objective in objectives):
                    objectives.append(self)
                    points.append(np.vstack(self.feature_parameters(theta)))
                return condensed(self, theta)

            return recorded

        for kind in (Objective, HingeObjective):
            monkeypatch.setattr(kind, "condensed", recording(kind.condensed))
        return points

    def parameters(self, model):
        """Coefficients and intercept of each class; with two classes, too, a row for each."""
        rows = np.column_stack([model.coef_, model.intercept_])
        return np.vstack([-rows, rows]) / 2 if len(rows) == 1 else rows

    @pytest.mark.parametrize(
        ("first", "second", "renamed"),
        [
            ([0, 1, 2], [0, 1, 2], {}),
            ([0, 1, 2], [0, 1, 2], {"versicolor": "violet"}),
            ([0, 1, 2], [0, 1, 2], {"versicolor": "anemone", "setosa": "versicolor"}),
            ([0, 1, 2], [0, 2], {}),
            ([0, 2], [0, 1, 2], {}),
            ([0, 1], [1, 2], {}),
            ([0, 1, 2], [0, 1, 2], {"setosa": "a", "versicolor": "b", "virginica": "c"}),
        ],
        ids=["same", "renamed", "permuted", "removed", "added", "exchanged", "unknown"],
    )
    def test_goes_by_label(self, estimator, starts, first, second, renamed):
        kept = np.isin(Y, first)
        estimator.set_params(warm_start=True).fit(X[kept], SPECIES[kept])
        known = dict(zip(estimator.classes_, self.parameters(estimator), strict=True))
        labels = np.array([renamed.get(name, name) for name in SPECIES.tolist()])
        kept = np.isin(Y, second)
        estimator.fit(X[kept], labels[kept])
        expected = np.stack([known.get(label, np.zeros(5)) for label in estimator.classes_])
        expected -= expected.mean(axis=0)
        assert_allclose(starts[1].T, expected, rtol=1e-9, atol=1e-9)

    def test_saves_iterations(self, variant):
        variant.set_params(warm_start=True).fit(X, SPECIES)
        cold, objective = variant.n_iter_, variant.objective_
        variant.fit(X, SPECIES)
        # A hinge has to find its multipliers again.
        assert variant.n_iter_ < cold or isinstance(variant, MulticlassSVMClassifier)
        assert_allclose(variant.objective_, objective, rtol=1e-9)

    @pytest.mark.parametrize("rows", [slice(50, None), slice(0, 100), slice(None)])
    def test_does_not_change_the_optimum(self, variant, rows):
        variant.set_params(warm_start=True).fit(X, Y)
        variant.fit(X[rows], Y[rows] + 1)
        assert_same_fit(variant, clone(variant).fit(X[rows], Y[rows] + 1), rtol=1e-8)

    @pytest.mark.parametrize("change", [lambda coef: coef * 1e8, lambda coef: coef * np.nan])
    def test_begins_afresh_where_that_is_nearer(self, variant, change):
        """The known coefficients are far off, as after a change of units."""
        reference = variant.set_params(warm_start=True).fit(X, Y)
        changed = clone(variant).fit(X, Y)
        changed.coef_ = change(changed.coef_)
        assert_same_fit(changed.fit(X, Y), reference, rtol=0)

    def test_begins_afresh_with_other_features(self, variant):
        variant.set_params(warm_start=True).fit(X[:, :3], Y)
        assert_same_fit(variant.fit(X, Y), clone(variant).fit(X, Y), rtol=0)

    def test_after_a_class_without_weight(self, variant):
        variant.set_params(warm_start=True).fit(X, Y, sample_weight=1.0 * (Y != 1))
        assert_same_fit(variant.fit(X, Y), clone(variant).fit(X, Y), rtol=1e-8)

    def test_cold_fits_forget(self, variant):
        reference = clone(variant).fit(X, Y)
        variant.fit(X[:100], Y[:100])
        assert_same_fit(variant.fit(X, Y), reference, rtol=0)


def test_feature_names_come_and_go(estimator):
    estimator.fit(ACCEPTED["pandas"](X), Y)
    assert estimator.feature_names_in_.tolist() == COLUMNS
    estimator.fit(X[:, :3], Y)
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.n_features_in_ == 3


@pytest.mark.parametrize(("kind", "n_jobs"), [("float32", 2), ("csr_array", None)])
def test_same_input_gives_same_bits(variant, kind, n_jobs, monkeypatch):
    monkeypatch.setattr(_rows, "MIN_WORK_PER_THREAD", 1)
    monkeypatch.setattr(_blocks, "DENSE_BLOCK_ROWS", 40)
    monkeypatch.setattr(_blocks, "SPARSE_BLOCK_SCORES", 120)
    data, labels = make_classification(n_classes=3, n_informative=4, random_state=0)
    data, labels = ACCEPTED[kind](np.round(100 * data)), labels
    variant.set_params(n_jobs=n_jobs, C=1e-3)
    fits = [vars(clone(variant).fit(data, labels)) for _ in range(2)]
    for held in fits:
        del held["history_"]["seconds"]
        assert_equal(held, fits[0])


def test_running_out_of_iterations_still_fits(variant):
    variant.set_params(max_iter=1)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        variant.fit(X, Y)
    assert not variant.converged_
    assert variant.predict(X).shape == Y.shape
