"""The estimators inside scikit-learn's tools, pickles and threads, and on its raw data sets."""

import pickle
from io import BytesIO
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, _problem, _rows
from sk_linear_losses._problem import _n_threads
from sk_linear_losses._threads import single_threaded_blas

X, Y = load_iris(return_X_y=True)
# Two more columns that have nothing to do with the classes.
WITH_NOISE = np.column_stack([X, np.random.default_rng(0).normal(size=(len(X), 2))])
NOISE = [False, False, False, False, True, True]


@pytest.fixture(params=[SoftmaxClassifier(), MulticlassSVMClassifier()], ids=["softmax", "svm"])
def estimator(request):
    """One of the estimators at its defaults."""
    return clone(request.param)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(estimator, protocol):
    estimator.fit(pd.DataFrame(X, columns=list("abcd")), Y)
    revived = pickle.loads(pickle.dumps(estimator, protocol))
    assert vars(revived).keys() == vars(estimator).keys()
    frame = pd.DataFrame(X, columns=list("abcd"))
    assert_array_equal(revived.decision_function(frame), estimator.decision_function(frame))
    assert_array_equal(revived.history_["gap"], estimator.history_["gap"])


@pytest.mark.parametrize("compress", [0, 3])
def test_joblib(estimator, compress):
    file = BytesIO()
    joblib.dump(estimator.fit(X, Y), file, compress=compress)
    file.seek(0)
    assert_array_equal(joblib.load(file).predict_proba(X), estimator.predict_proba(X))


def test_joblib_memory_mapped(estimator, tmp_path):
    joblib.dump(estimator.fit(X, Y), tmp_path / "model.joblib")
    revived = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert not revived.coef_.flags.writeable
    assert_array_equal(revived.predict(X), estimator.predict(X))
    revived.set_params(warm_start=True).fit(X, Y)
    assert_allclose(revived.coef_, estimator.coef_, rtol=1e-6, atol=1e-8)


def test_clone(estimator):
    estimator.set_params(C=3.0, class_weight={0: 2.0, 1: 1.0, 2: 1.0}).fit(X, Y)
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert not hasattr(twin, "coef_")


def test_clone_keeps_pair_margins():
    margin = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    twin = clone(MulticlassSVMClassifier(margin=margin))
    assert_array_equal(twin.margin, margin)
    assert_array_equal(twin.fit(X, Y).coef_, MulticlassSVMClassifier(margin=margin).fit(X, Y).coef_)


@pytest.mark.parametrize(
    ("estimator_class", "parameters"),
    [
        (
            SoftmaxClassifier,
            {
                "C": 1.0,
                "fit_intercept": True,
                "class_weight": None,
                "label_smoothing": 0.0,
                "tol": 1e-6,
                "max_iter": 1000,
                "warm_start": False,
                "n_jobs": None,
                "verbose": 0,
            },
        ),
        (
            MulticlassSVMClassifier,
            {
                "C": 1.0,
                "loss": "hinge",
                "multi_class": "weston_watkins",
                "margin": 1.0,
                "fit_intercept": True,
                "class_weight": None,
                "tol": 1e-6,
                "max_iter": 1000,
                "warm_start": False,
                "n_jobs": None,
                "verbose": 0,
            },
        ),
    ],
)
def test_parameters(estimator_class, parameters):
    assert estimator_class().get_params() == parameters
    assert estimator_class(2.0).C == 2.0
    with pytest.raises(TypeError, match="positional"):
        estimator_class(1.0, False)
    model = estimator_class().set_params(C=0.1, fit_intercept=False)
    assert repr(model) == f"{estimator_class.__name__}(C=0.1, fit_intercept=False)"
    with pytest.raises(ValueError, match="Invalid parameter 'penalty'"):
        model.set_params(penalty="l2")


def test_changed_parameters_are_those_of_a_new_estimator(estimator):
    estimator.fit(X, Y).set_params(C=0.01, fit_intercept=False).fit(X, Y)
    new = type(estimator)(C=0.01, fit_intercept=False).fit(X, Y)
    assert_array_equal(estimator.coef_, new.coef_)


def test_metadata_routing(estimator):
    """Weights reach the fit through pipeline and cross-validation. Wrong labels have zero weight."""
    wrong = np.arange(len(Y)) % 3 == 0
    labels = np.where(wrong, (Y + 1) % 3, Y)
    with sklearn.config_context(enable_metadata_routing=True):
        options = {
            "cv": StratifiedKFold(5, shuffle=True, random_state=0),
            "scoring": make_scorer(accuracy_score).set_score_request(sample_weight=True),
            "params": {"sample_weight": np.where(wrong, 0.0, 1.0)},
            "error_score": "raise",
        }
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            cross_val_score(make_pipeline(scaler, estimator), X, labels, **options)
        ignoring = make_pipeline(scaler, clone(estimator).set_fit_request(sample_weight=False))
        asking = make_pipeline(scaler, clone(estimator).set_fit_request(sample_weight=True))
        ignored = cross_val_score(ignoring, X, labels, **options)
        scores = cross_val_score(asking, X, labels, **options)
    assert scores.mean() > 0.9
    assert scores.mean() > ignored.mean() + 0.05


def test_grid_search(estimator):
    search = GridSearchCV(make_pipeline(StandardScaler(), estimator), {f"{step(estimator)}__C": [1e-6, 1.0]})
    search.fit(X, Y)
    assert search.best_params_ == {f"{step(estimator)}__C": 1.0}
    assert search.score(X, Y) > 0.95


def step(estimator):
    """The name that ``make_pipeline`` gives to the step."""
    return type(estimator).__name__.lower()


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_grid_search_over_losses(loss):
    grid = [{"loss": [loss]}, {"multi_class": ["weston_watkins", "crammer_singer"]}, {"margin": [0.5, 2.0]}]
    search = GridSearchCV(MulticlassSVMClassifier(), grid, cv=3, error_score="raise").fit(X, Y)
    assert np.min(search.cv_results_["mean_test_score"]) > 0.9


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", "roc_auc_ovr"])
def test_cross_val_score(estimator, scoring):
    scores = cross_val_score(estimator, X, Y, scoring=scoring, error_score="raise")
    assert scores.shape == (5,)
    assert scores.mean() > {"accuracy": 0.95, "neg_log_loss": -0.5, "roc_auc_ovr": 0.95}[scoring]


def test_pipeline(estimator):
    pipeline = Pipeline([("scale", StandardScaler()), ("classify", estimator)]).fit(X, Y)
    alone = clone(estimator).fit(StandardScaler().fit_transform(X), Y)
    assert_array_equal(pipeline.predict_proba(X), alone.predict_proba(StandardScaler().fit_transform(X)))
    assert_array_equal(pipeline[-1].coef_, alone.coef_)
    weighted = pipeline.fit(X, Y, classify__sample_weight=1.0 + Y)
    assert not np.allclose(weighted[-1].coef_, alone.coef_)


def test_pandas_output_gives_feature_names(estimator):
    frame = pd.DataFrame(X, columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler(), estimator).set_output(transform="pandas").fit(frame, Y)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")
    model = pipeline[-1]
    for columns, message in ((list("abdc"), "same order"), (list("abcx"), "unseen at fit time:\n- x")):
        with pytest.raises(ValueError, match=f"(?s)feature names.*{message}"):
            model.predict(frame.set_axis(columns, axis=1))
    with pytest.raises(ValueError, match=r"(?s)feature names.*seen at fit time.*- d"):
        model.predict(frame[list("abc")])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(estimator, method):
    calibrated = CalibratedClassifierCV(estimator, method=method, cv=3).fit(X, Y)
    probability = calibrated.predict_proba(X)
    assert_allclose(probability.sum(axis=1), 1)
    assert calibrated.score(X, Y) > 0.9


def test_one_vs_rest(estimator):
    model = OneVsRestClassifier(estimator).fit(X, Y)
    for one, own in zip(model.estimators_, np.eye(3, dtype=int)[Y].T, strict=True):
        assert_array_equal(one.coef_, clone(estimator).fit(X, own).coef_)
    assert model.predict_proba(X).shape == (150, 3)


def test_stacking(estimator):
    stack = StackingClassifier(
        [("small", clone(estimator).set_params(C=0.01)), ("large", estimator)],
        final_estimator=SoftmaxClassifier(),
        cv=3,
    )
    assert stack.fit(X, Y).score(X, Y) > 0.95


def test_sequential_feature_selection(estimator):
    selector = SequentialFeatureSelector(estimator, n_features_to_select=2, cv=3).fit(WITH_NOISE, Y)
    assert not (selector.get_support() & NOISE).any()


def test_recursive_feature_elimination(estimator):
    scaled = StandardScaler().fit_transform(WITH_NOISE)
    selector = RFE(estimator, n_features_to_select=2).fit(scaled, Y)
    assert not (selector.get_support() & NOISE).any()


def test_selection_by_coefficients(estimator):
    scaled = StandardScaler().fit_transform(WITH_NOISE)
    selector = SelectFromModel(estimator, max_features=2, threshold=-np.inf).fit(scaled, Y)
    assert not (selector.get_support() & NOISE).any()


def test_permutation_importance(estimator):
    estimator.fit(WITH_NOISE, Y)
    importance = permutation_importance(estimator, WITH_NOISE, Y, n_repeats=3, random_state=0)
    assert importance.importances_mean[2:4].min() > np.abs(importance.importances_mean[4:]).max()


@pytest.mark.parametrize(
    ("model", "share"),
    [
        (SoftmaxClassifier(), 1),
        (SoftmaxClassifier(), 10),
        (MulticlassSVMClassifier(), 10),
        (MulticlassSVMClassifier(loss="squared_hinge"), 10),
        (MulticlassSVMClassifier(multi_class="crammer_singer"), 10),
    ],
    ids=["softmax, large", "softmax", "hinge", "squared", "crammer-singer"],
)
def test_two_threads_find_what_one_finds(model, share, monkeypatch):
    """Fits use data that are just large enough for two threads, or a tenth of that."""
    monkeypatch.setattr(_rows, "MIN_WORK_PER_THREAD", _rows.MIN_WORK_PER_THREAD // share)
    n_features, n_classes = 30, 3
    n_samples = _rows.MIN_WORK_PER_THREAD // (n_features * n_classes) + 1
    rng = np.random.default_rng(0)
    data = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    labels = (data[:, :n_classes] + rng.normal(size=(n_samples, n_classes))).argmax(axis=1)
    assert _rows.Rows(data, labels, np.ones(n_samples), n_classes, n_threads=2).workers.n_threads == 2
    one, two = (clone(model).set_params(C=1e-3, n_jobs=n_jobs).fit(data, labels) for n_jobs in (1, 2))
    assert_allclose(two.objective_, one.objective_, rtol=1e-9)
    assert_allclose(two.coef_, one.coef_, rtol=1e-5, atol=1e-6)


def test_threads_by_default_are_those_of_blas():
    with threadpool_limits(2, user_api="blas"):
        assert _n_threads(None) == 2
        with single_threaded_blas:  # as if a fit in another thread held it
            assert _n_threads(None) == 2
    with threadpool_limits(1, user_api="blas"):
        assert _n_threads(None) == 1
    assert _n_threads(3) == 3


def test_all_cores(estimator):
    assert _n_threads(-1) == joblib.cpu_count()
    assert estimator.set_params(n_jobs=-1).fit(X, Y).converged_


def test_fits_side_by_side_share_the_cores():
    tasks = [joblib.delayed(_n_threads)(None)] * 4
    with threadpool_limits(2, user_api="blas"):
        assert joblib.Parallel(n_jobs=2, backend="threading")(tasks) == [1] * 4
    with joblib.parallel_backend("loky", inner_max_num_threads=1):
        assert joblib.Parallel(n_jobs=2)(tasks) == [1] * 4


def test_a_fit_in_a_process_of_its_own_has_the_threads_that_this_is_given(monkeypatch):
    """In such a process the fit is in the main thread, although joblib runs it."""
    inside = SimpleNamespace(nesting_level=1), 1
    monkeypatch.setattr(_problem, "get_active_backend", lambda: inside)
    with threadpool_limits(2, user_api="blas"):
        assert _n_threads(None) == 2


@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits, load_breast_cancer])
@pytest.mark.parametrize(
    "model",
    [
        SoftmaxClassifier(),
        MulticlassSVMClassifier(),
        MulticlassSVMClassifier(loss="squared_hinge"),
        MulticlassSVMClassifier(multi_class="crammer_singer"),
    ],
    ids=["softmax", "hinge", "squared", "crammer-singer"],
)
def test_raw_data_converge_at_defaults(load, model):
    """A warning would be an error in these tests."""
    data, labels = load(return_X_y=True)
    model = clone(model).fit(data, labels)
    assert model.converged_
    assert 0 <= model.duality_gap_ <= model.tol * model.objective_
    assert model.score(data, labels) > 0.9
