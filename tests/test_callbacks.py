"""What a fit reports of its progress: printed lines, reporters, and callbacks of scikit-learn."""

import pickle
import re
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_array_equal, assert_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_linear_losses
from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, _classifiers, _run, _stage

from .oracles import (
    crammer_singer_loss,
    generated,
    primal,
    softmax_loss,
    squared_loss,
    weston_watkins_loss,
)

# Callbacks came with scikit-learn 1.9.
HAS_CALLBACKS = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 9)

X, Y = load_iris(return_X_y=True)
MANY = generated(7, 20_000, 5, 3)
# So many rows that those in float32 are multiplied in float32 first.
MORE = generated(0, 60_000, 20, 6)
# Each takes another way through the solver. With its data and its loss.
VARIANTS = {
    "softmax": (SoftmaxClassifier(), X, Y, softmax_loss),
    "two classes": (SoftmaxClassifier(), *load_breast_cancer(return_X_y=True), softmax_loss),
    "no penalty": (SoftmaxClassifier(np.inf), X[50:], Y[50:], softmax_loss),
    "sampled": (SoftmaxClassifier(), *MANY, softmax_loss),
    "float32": (SoftmaxClassifier(), MORE[0].astype(np.float32), MORE[1], softmax_loss),
    "sparse": (SoftmaxClassifier(), sp.csr_array(X), Y, softmax_loss),
    "wide": (SoftmaxClassifier(), *generated(0, 30, 200, 3), softmax_loss),
    "hinge": (MulticlassSVMClassifier(), X, Y, weston_watkins_loss),
    "hinge, two classes": (MulticlassSVMClassifier(), X[50:], Y[50:], weston_watkins_loss),
    "squared": (MulticlassSVMClassifier(loss="squared_hinge"), X, Y, squared_loss),
    "crammer-singer": (MulticlassSVMClassifier(multi_class="crammer_singer"), X, Y, crammer_singer_loss),
}
each_variant = pytest.mark.parametrize("name", VARIANTS)
each_estimator = pytest.mark.parametrize(
    "estimator", [SoftmaxClassifier(), MulticlassSVMClassifier()], ids=["softmax", "svm"]
)


def variant(name):
    """An unfitted estimator and its data."""
    model, X, y, _ = VARIANTS[name]
    return clone(model), X, y


def objective_of(name, model):
    """The objective at the parameters of a model, computed independently."""
    _, X, y, loss = VARIANTS[name]
    X = X.toarray() if sp.issparse(X) else X.astype(float)
    return primal(loss, X, np.unique(y, return_inverse=True)[1], model.coef_, model.intercept_, model.C)


def stopped_by_max_iter(name, n_iter):
    """A fit of a variant that ends after so many iterations."""
    model, X, y = variant(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.set_params(max_iter=n_iter).fit(X, y)


def assert_same_state(model, other):
    """Assert that all fitted attributes are equal, except for seconds."""
    state, wanted = (
        {key: value for key, value in vars(m).items() if key.endswith("_") and key[0] != "_"}
        for m in (model, other)
    )
    for each in (state, wanted):
        each["history_"] = {key: value for key, value in each["history_"].items() if key != "seconds"}
    assert_equal(state, wanted)


class TestVerbose:
    LINE = re.compile(
        r"\[(\w+)\] ([a-z ]+) (\d+)(?: of (\d+) rows)?(?:, (\d+) iterations?)?: "
        r"objective (\S+),(?: gap (\S+) \(relative (\S+)\),)? (\d+\.\d+) s"
    )

    def lines(self, capsys, model, X, y):
        """The parts of each line that a fit prints."""
        capsys.readouterr()
        model.fit(X, y)
        out, err = capsys.readouterr()
        assert err == ""
        return [self.LINE.fullmatch(line).groups() for line in out.splitlines()]

    def numbers(self, lines, kind):
        """The lines of one kind; asserts that they are numbered from 1."""
        chosen = [line for line in lines if line[1] == kind]
        assert [int(line[2]) for line in chosen] == list(range(1, len(chosen) + 1))
        return chosen

    @each_variant
    def test_silence(self, name, capsys):
        model, X, y = variant(name)
        model.fit(X, y)
        assert capsys.readouterr() == ("", "")

    @each_variant
    def test_line_for_each_stage(self, name, capsys):
        model, X, y = variant(name)
        lines = self.lines(capsys, model.set_params(verbose=1), X, y)
        assert {line[0] for line in lines} == {type(model).__name__}
        kinds = ["sample"] * (name in ("sampled", "float32")) + ["stage"]
        # Without kinks no multipliers are needed.
        kinds += ["outer step"] * (isinstance(model, MulticlassSVMClassifier) and name != "squared")
        assert list(dict.fromkeys(line[1] for line in lines)) == kinds
        stages = self.numbers(lines, "stage")
        iterations = [int(line[4]) for line in stages]
        assert iterations == sorted(iterations)
        assert iterations[-1] == model.n_iter_
        assert float(stages[-1][5]) == pytest.approx(model.objective_, rel=1e-9)
        seconds = [float(line[8]) for line in lines]
        assert seconds == sorted(seconds)
        gap, relative = (float(part or "inf") for part in stages[-1][6:8])
        assert relative == pytest.approx(gap / model.objective_, rel=0.1)

    @each_variant
    def test_line_for_each_iteration(self, name, capsys):
        model, X, y = variant(name)
        lines = self.lines(capsys, model.set_params(verbose=2), X, y)
        iterations = self.numbers(lines, "iteration")
        for column, field in ((5, "objective"), (6, "gap"), (8, "seconds")):
            printed = [float(line[column] or "inf") for line in iterations]
            np.testing.assert_allclose(printed, model.history_[field], rtol=6e-3, atol=6e-4)
        others = [line[:5] for line in lines if line[1] != "iteration"]
        assert others == [line[:5] for line in self.lines(capsys, model.set_params(verbose=1), X, y)]

    @pytest.mark.parametrize(("max_iter", "count"), [(1, "1 iteration"), (2, "2 iterations")])
    def test_one_iteration_is_no_plural(self, max_iter, count, capsys):
        with pytest.warns(ConvergenceWarning):
            SoftmaxClassifier(max_iter=max_iter, verbose=1).fit(X, Y)
        assert capsys.readouterr().out.startswith(f"[SoftmaxClassifier] stage 1, {count}: ")

    def test_samples_grow(self, capsys):
        lines = self.lines(capsys, SoftmaxClassifier(verbose=1), *MORE)
        rows = [int(line[3]) for line in self.numbers(lines, "sample")]
        assert len(rows) > 1
        assert rows == sorted(rows)
        assert rows[-1] < len(MORE[1]) / 4
        assert all(0 <= float(line[7]) <= 1 for line in self.numbers(lines, "sample"))

    def test_outer_steps_follow_stages(self, capsys):
        lines = self.lines(capsys, MulticlassSVMClassifier(verbose=True), X, Y)
        kinds = [line[1] for line in lines]
        assert 1 < kinds.count("outer step") < kinds.count("stage")
        assert "outer step, outer step" not in ", ".join(kinds)

    @each_variant
    def test_saying_it_changes_nothing(self, name):
        model, X, y = variant(name)
        assert_same_state(clone(model).set_params(verbose=2).fit(X, y), model.fit(X, y))

    def test_no_gap_where_there_is_none(self, capsys):
        lines = self.lines(capsys, SoftmaxClassifier(np.inf, label_smoothing=0.1, verbose=2), X, Y)
        assert {line[1] for line in lines} == {"iteration", "stage"}
        assert {line[6:8] for line in lines} == {(None, None)}

    def test_objective_of_zero(self, capsys):
        """Without a margin there is no loss, so no gap can be stated as a share of it."""
        model = MulticlassSVMClassifier(margin=np.zeros((3, 3)), verbose=1)
        lines = self.lines(capsys, model, X, Y)
        assert model.objective_ == 0
        assert lines[-1][5:8] == ("0", lines[-1][6], lines[-1][6])


class Stopper:
    """A reporter that asks for the end at iteration `at` and records what it is told."""

    def __init__(self, at):
        self.at, self.begun, self.ended, self.milestones = at, [], [], []

    def begin(self, result):
        self.begun.append(result())

    def end(self, progress, result):
        self.ended.append((progress, result()))
        return len(self.ended) == self.at

    def milestone(self, kind, progress, detail):
        self.milestones.append(progress)


def fit_with(reporter, model, data, monkeypatch):
    """Fit with a reporter, and return the warnings."""

    @contextmanager
    def reporting(*args):
        yield (reporter,)

    monkeypatch.setattr(_classifiers, "reporting", reporting)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*data)
    monkeypatch.undo()
    return caught


class TestReporters:
    """What a solve tells, whatever the version of scikit-learn."""

    @each_variant
    def test_each_iteration_begins_where_the_last_ended(self, name, monkeypatch):
        model, *data = variant(name)
        reporter = Stopper(None)
        assert not fit_with(reporter, model, data, monkeypatch)
        assert len(reporter.ended) == model.n_iter_
        for i, (progress, result) in enumerate(reporter.ended):
            line = tuple(column[i] for column in model.history_.values())
            assert (progress.objective, progress.gap, progress.seconds) == line
            assert progress.n_iter == len(result.history) == i + 1
            assert result.objective <= progress.objective * (1 + 1e-12)
            assert not result.stopped
        begun = [len(result.history) for result in reporter.begun]
        assert begun[: model.n_iter_] == list(range(model.n_iter_))

    @pytest.mark.parametrize("share", [0, 1 / 3])
    @each_variant
    def test_stop(self, name, share, monkeypatch):
        model, *data = variant(name)
        n_iter = max(1, int(share * clone(model).fit(*data).n_iter_))
        (warning,) = fit_with(Stopper(n_iter), model, data, monkeypatch)
        assert warning.category is ConvergenceWarning
        assert warning.filename == __file__
        assert f"{type(model).__name__} was stopped by a callback: the objective" in str(warning.message)
        assert "max_iter" not in str(warning.message)
        assert not model.converged_
        assert model.n_iter_ == n_iter
        assert_same_state(model, stopped_by_max_iter(name, n_iter))
        assert model.predict_proba(data[0]).shape == (len(data[1]), len(model.classes_))

    @each_variant
    def test_stop_where_the_fit_ends_anyway(self, name, monkeypatch):
        model, *data = variant(name)
        whole = clone(model).fit(*data)
        assert not fit_with(Stopper(whole.n_iter_), model, data, monkeypatch)
        assert model.converged_
        assert model.objective_ == pytest.approx(whole.objective_, rel=1e-6)

    def test_several_reporters_each_have_their_say(self, monkeypatch):
        first, second = Stopper(3), Stopper(None)
        model = SoftmaxClassifier()

        @contextmanager
        def reporting(*args):
            yield (first, second)

        monkeypatch.setattr(_classifiers, "reporting", reporting)
        with pytest.warns(ConvergenceWarning, match="stopped by a callback"):
            model.fit(X, Y)
        assert len(first.ended) == len(second.ended) == 3

    def test_no_reporter_costs_no_record(self, monkeypatch):
        def fail(*args):
            raise AssertionError("nobody asked")

        monkeypatch.setattr(_run, "Progress", fail)
        assert SoftmaxClassifier().fit(*MANY).converged_
        assert MulticlassSVMClassifier().fit(X, Y).converged_


@each_estimator
def test_callbacks_where_scikit_learn_has_them(estimator):
    assert hasattr(estimator, "set_callbacks") == HAS_CALLBACKS


def test_without_the_interface():
    """If the interface is missing or has moved, everything else works."""
    program = """
import builtins
original = builtins.__import__

def without(name, globals=None, *args):
    if name == "sklearn.callback" and globals["__name__"].startswith("sk_linear_losses"):
        raise ImportError(name)
    return original(name, globals, *args)

builtins.__import__ = without
from sklearn.datasets import load_iris
from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
for model in (SoftmaxClassifier(verbose=1), MulticlassSVMClassifier()):
    assert not hasattr(model, "set_callbacks")
    assert model.fit(*load_iris(return_X_y=True)).converged_
print("done")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.stdout.splitlines()[-1] == "done"


class Recorder:
    """A callback that records what it is told, asks for everything, and can stop or fail."""

    def __init__(self, stop_at=None, fail=None, error=ValueError):
        self.stop_at, self.fail, self.error = stop_at, fail, error
        self.calls = []
        self.max_subtasks = None

    def record(self, hook, estimator, context, **kwargs):
        self.calls.append((hook, context.task_name, context.task_id, {"estimator": estimator, **kwargs}))
        if hook == "setup":
            self.max_subtasks = context.max_subtasks
        if self.fail == (hook, context.task_name, context.task_id):
            raise self.error("by the callback")
        return hook == "end" and (context.task_name, context.task_id) == ("iteration", self.stop_at)

    def setup(self, estimator, context):
        self.record("setup", estimator, context)

    def teardown(self, estimator, context):
        self.record("teardown", estimator, context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.record("begin", estimator, context, X=X, y=y, metadata=metadata, fitted=fitted_estimator)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        return self.record("end", estimator, context, X=X, y=y, metadata=metadata, fitted=fitted_estimator)

    @property
    def order(self):
        """Hooks and tasks in the order of the calls."""
        return [call[:3] for call in self.calls]

    def fitted(self, hook, task="iteration"):
        """The fitted estimators that a hook got."""
        return [call[3]["fitted"] for call in self.calls if call[:2] == (hook, task)]


class Propagated(Recorder):
    """The same, propagated to all estimators inside another one."""

    max_propagation_depth = None


class Silent:
    """A callback that does nothing and asks for nothing."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass


def expected_order(n_iter):
    """Hooks and tasks of a fit."""
    iterations = [(hook, "iteration", i) for i in range(n_iter) for hook in ("begin", "end")]
    around = [("setup", "fit", 0), ("begin", "fit", 0)], [("end", "fit", 0), ("teardown", "fit", 0)]
    return [*around[0], *iterations, *around[1]]


def snapshot(model):
    """All attributes of a model as bytes, so that no change goes unnoticed."""
    return {key: pickle.dumps(value) for key, value in vars(model).items() if key != "_skl_callbacks"}


FAILURES = [
    ("setup", "fit", 0),
    ("begin", "fit", 0),
    ("begin", "iteration", 0),
    ("end", "iteration", 0),
    ("begin", "iteration", 6),
    ("end", "iteration", 6),
    ("end", "fit", 0),
    ("teardown", "fit", 0),
]

if HAS_CALLBACKS:
    from sklearn.callback import ProgressBar, ScoringMonitor

    class TestCallbacks:
        """Callbacks for scikit-learn's interface, its own and others."""

        @each_variant
        def test_tasks(self, name):
            model, X, y = variant(name)
            recorder = Recorder()
            model.set_callbacks(recorder).fit(X, y)
            assert recorder.order == expected_order(model.n_iter_)
            assert recorder.max_subtasks == model.max_iter
            assert_same_state(model, clone(VARIANTS[name][0]).fit(X, y))

        def test_line_searches_that_fail_begin_no_task_of_their_own(self, monkeypatch):
            """The iteration goes on with other curvature, or never ends. Both happen here."""
            monkeypatch.setattr(_stage, "LINE_SEARCH", 1)
            recorder = Recorder()
            model = MulticlassSVMClassifier().set_callbacks(recorder)
            with pytest.warns(ConvergenceWarning, match="could not get closer"):
                model.fit(X, Y)
            assert recorder.order == expected_order(model.n_iter_ + 1)
            assert [fitted is None for fitted in recorder.fitted("end")] == [False] * model.n_iter_ + [True]

        @each_estimator
        def test_data_are_those_of_fit(self, estimator):
            recorder = Recorder()
            frame, names, weight = pd.DataFrame(X, columns=list("abcd")), np.array(list("xyz"))[Y], 1.0 + Y
            model = clone(estimator).set_callbacks(recorder)
            model.fit(frame, names, weight)
            for _, _, _, told in recorder.calls[1:-1]:
                assert told["X"] is frame
                assert told["y"] is names
                assert told["metadata"].keys() == {"sample_weight"}
                assert told["metadata"]["sample_weight"] is weight
            # Without feature names this would warn.
            assert set(recorder.fitted("end")[0].predict(frame)) <= set("xyz")
            recorder.calls.clear()
            model.fit(X, Y)
            assert recorder.calls[1][3]["metadata"] is None
            assert not hasattr(recorder.fitted("end")[0], "feature_names_in_")

        @each_variant
        def test_fitted_estimator_is_as_if_the_fit_had_ended_there(self, name):
            model, X, y = variant(name)
            recorder = Recorder()
            model.set_callbacks(recorder).fit(X, y)
            ended, begun = recorder.fitted("end"), recorder.fitted("begin")
            assert recorder.fitted("begin", "fit") == [None]
            assert_same_state(recorder.fitted("end", "fit")[0], model)
            assert begun[0].n_iter_ == 0
            assert begun[0].predict_proba(X).shape == (len(y), len(model.classes_))
            for before, after in zip(ended, begun[1:], strict=False):
                assert_array_equal(after.n_iter_, before.n_iter_)
            for i, estimator in enumerate(ended):
                assert_array_equal(estimator.history_["gap"], model.history_["gap"][: i + 1])
                assert estimator.objective_ <= model.history_["objective"][i] * (1 + 1e-12)
                # Products with float32 rows are in float32 until the last iterations.
                assert estimator.objective_ == pytest.approx(objective_of(name, estimator), rel=1e-7)
                # Until then nothing is proven.
                assert estimator.duality_gap_ < np.inf or name == "no penalty" or not estimator.converged_
            assert not ended[0].converged_
            wanted = stopped_by_max_iter(name, 1)
            assert vars(ended[0]).keys() >= vars(wanted).keys()
            assert ended[0].coef_.shape == wanted.coef_.shape
            # A fit may improve the intercept once more when it ends.
            assert wanted.objective_ <= ended[0].objective_ * (1 + 1e-7)
            assert ended[-1].score(X, y) == pytest.approx(model.score(X, y), abs=0.01)

        @each_estimator
        def test_a_fit_of_one_class_alone_begins_and_ends(self, estimator):
            recorder = Recorder()
            model = clone(estimator).set_callbacks(recorder).fit(X, Y, 1.0 * (Y == 1))
            assert recorder.fitted("begin") == recorder.fitted("end") == []
            assert recorder.fitted("begin", "fit") == [None]
            assert_same_state(recorder.fitted("end", "fit")[0], model)

        @each_estimator
        def test_estimator_is_not_fitted_before_the_end(self, estimator):
            class Watcher(Silent):
                fitted = ()

                def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
                    assert fitted_estimator is not estimator
                    self.fitted += (hasattr(estimator, "coef_"),)

            watcher = Watcher()
            model = clone(estimator).set_callbacks(watcher).fit(X, Y)
            assert watcher.fitted == (False,) * model.n_iter_ + (True,)

        def test_fitted_estimator_is_made_only_for_those_who_ask(self, monkeypatch):
            stored, store = [], SoftmaxClassifier._store

            def recorded(self, *args):
                stored.append(self)
                store(self, *args)

            monkeypatch.setattr(SoftmaxClassifier, "_store", recorded)
            SoftmaxClassifier().set_callbacks(Silent()).fit(X, Y)
            assert len(stored) == 1

        @pytest.mark.parametrize("share", [0, 1 / 3])
        @each_variant
        def test_stop(self, name, share):
            model, X, y = variant(name)
            n_iter = max(1, int(share * clone(model).fit(X, y).n_iter_))
            recorder = Recorder(stop_at=n_iter - 1)
            with pytest.warns(ConvergenceWarning, match="was stopped by a callback"):
                model.set_callbacks(Silent(), recorder).fit(X, y)
            assert recorder.order == expected_order(n_iter)
            assert not model.converged_
            assert_same_state(model, stopped_by_max_iter(name, n_iter))
            assert model.predict(X).shape == y.shape

        @each_estimator
        def test_stop_once_certified(self, estimator):
            """A callback that ends a certified fit causes no warning, since the fit has converged."""

            class Enough(Silent):
                def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
                    return fitted_estimator.duality_gap_ <= 1e-3 * fitted_estimator.objective_

            model = clone(estimator).set_params(tol=1e-3).set_callbacks(Enough()).fit(X, Y)
            assert model.converged_
            assert model.n_iter_ <= clone(estimator).fit(X, Y).n_iter_

        @pytest.mark.parametrize("fitted", [False, True])
        @pytest.mark.parametrize("failure", FAILURES, ids=lambda call: "{} {} {}".format(*call))
        @each_estimator
        def test_errors_leave_the_estimator_whole(self, estimator, failure, fitted):
            model = clone(estimator)
            if fitted:
                model.fit(pd.DataFrame(X[:, :3], columns=list("abc"))[50:], Y[50:])
            recorder = Recorder(fail=failure)
            model.set_callbacks(recorder)
            before = snapshot(model)
            with pytest.raises(ValueError, match="by the callback"):
                model.fit(X, Y)
            assert snapshot(model) == before
            assert [call[0] for call in recorder.calls].count("teardown") == 1
            assert recorder.calls[-1][0] == "teardown"
            recorder.fail = None
            assert_same_state(model.fit(X, Y), clone(estimator).fit(X, Y))

        @pytest.mark.parametrize("error", [KeyboardInterrupt, StopIteration])
        @pytest.mark.parametrize("hook", ["begin", "end"])
        @each_estimator
        def test_exceptions_that_mean_something_to_others(self, estimator, hook, error):
            recorder = Recorder(fail=(hook, "iteration", 3), error=error)
            model = clone(estimator).set_callbacks(recorder)
            with pytest.raises(RuntimeError if error is StopIteration else error):
                model.fit(X, Y)
            assert recorder.calls[-1][0] == "teardown"
            assert not hasattr(model, "coef_")

        def test_invalid_input_is_refused_before_callbacks_are_set_up(self):
            recorder = Recorder()
            for C, y, message in ((-1, Y, "C=-1"), (1, np.zeros(len(Y)), "classes")):
                with pytest.raises(ValueError, match=message):
                    SoftmaxClassifier(C).set_callbacks(recorder).fit(X, y)
            assert recorder.calls == []

        @each_estimator
        def test_nothing_stays_behind(self, estimator):
            recorder = Recorder()
            model = clone(estimator).set_callbacks(recorder).fit(X, Y)
            plain = clone(estimator).fit(X, Y)
            assert vars(model).keys() - vars(plain).keys() == {"_skl_callbacks"}
            assert vars(model.set_callbacks()).keys() == vars(plain).keys()

        @each_estimator
        def test_clone(self, estimator):
            recorder = Recorder()
            model = clone(clone(estimator).set_callbacks(recorder).fit(X, Y))
            assert not hasattr(model, "coef_")
            recorder.calls.clear()
            model.fit(X, Y)
            assert recorder.order == expected_order(model.n_iter_)

        @each_estimator
        def test_pickle(self, estimator):
            model = clone(estimator).set_callbacks(ScoringMonitor(scoring="accuracy"))
            for state in (model, model.fit(X, Y)):
                revived = pickle.loads(pickle.dumps(state))
                assert vars(revived).keys() == vars(state).keys()
                assert revived.fit(X, Y).score(X, Y) > 0.95

        def test_warm_start_at_the_optimum(self):
            recorder = Recorder()
            model = SoftmaxClassifier(warm_start=True).fit(X, Y).set_callbacks(recorder)
            model.fit(X, Y)
            assert recorder.order == expected_order(model.n_iter_)

        def test_fit_inside_a_callback(self):
            class Refit(Silent):
                def on_fit_task_end(self, estimator, context, *, X=None, y=None):
                    SoftmaxClassifier(max_iter=50).fit(X, y)

            model = MulticlassSVMClassifier().set_callbacks(Refit()).fit(X, Y)
            assert_same_state(model, MulticlassSVMClassifier().fit(X, Y))

        @each_variant
        def test_scoring_monitor(self, name):
            model, X, y = variant(name)
            monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
            model.set_callbacks(monitor).fit(X, y)
            rows = monitor.get_logs().data
            assert [row["task_name"] for row in rows] == ["fit"] + ["iteration"] * model.n_iter_
            assert rows[0]["accuracy"] == model.score(X, y)
            assert np.isfinite([row["neg_log_loss"] for row in rows]).all()

        def test_scoring_monitor_weighs_the_samples(self):
            weight = np.where(Y == 0, 0.0, 1.0 + np.arange(len(Y)) % 3)
            monitor = ScoringMonitor(scoring="accuracy")
            model = SoftmaxClassifier(1e-4).set_callbacks(monitor).fit(X, Y, weight)
            assert monitor.get_logs().data[0]["accuracy"] == model.score(X, Y, weight)

        def test_examples_of_the_user_guide(self):
            page = Path(__file__).parents[1] / "docs" / "user_guide" / "progress.md"
            blocks = re.findall(
                r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
            )
            namespace = {"X": X, "y": Y, **vars(sk_linear_losses)}
            for block in blocks:
                exec(block, namespace)
            assert len(namespace["monitor"].get_logs().data) == namespace["model"].n_iter_ + 1
            model = MulticlassSVMClassifier().set_callbacks(namespace["TimeLimit"](0))
            with pytest.warns(ConvergenceWarning, match="stopped by a callback"):
                model.fit(X, Y)
            assert model.n_iter_ == 1

        @each_estimator
        def test_progress_bar(self, estimator, capsys):
            model = clone(estimator).set_callbacks(ProgressBar()).fit(X, Y)
            out = capsys.readouterr().out
            assert re.search(rf"{type(model).__name__} - fit\b.*100%", out)

        @each_estimator
        def test_pipeline(self, estimator):
            recorder = Propagated()
            pipeline = make_pipeline(StandardScaler(), clone(estimator)).set_callbacks(recorder).fit(X, Y)
            own = [call[:3] for call in recorder.calls if call[1] == "iteration"]
            assert own == expected_order(pipeline[-1].n_iter_)[2:-2]
            assert not hasattr(pipeline[-1], "_skl_callbacks")
            assert [call[0] for call in recorder.calls].count("setup") == 1
            for _, task, _, told in recorder.calls:
                if task == "iteration":
                    assert_array_equal(told["X"], StandardScaler().fit_transform(X))

        @each_estimator
        def test_callback_of_a_step(self, estimator):
            recorder = Recorder(stop_at=2)
            pipeline = make_pipeline(StandardScaler(), clone(estimator).set_callbacks(recorder))
            with pytest.warns(ConvergenceWarning, match="stopped by a callback"):
                pipeline.fit(X, Y)
            assert pipeline[-1].n_iter_ == 3
            assert pipeline.score(X, Y) > 0.6

        @pytest.mark.parametrize("n_jobs", [1, 2])
        @each_estimator
        def test_grid_search(self, estimator, n_jobs):
            monitor = ScoringMonitor(scoring="accuracy")
            model = clone(estimator).set_callbacks(monitor)
            search = GridSearchCV(model, {"C": [0.1, 1.0]}, cv=3, n_jobs=n_jobs, error_score="raise")
            search.fit(X, Y)
            rows = monitor.get_logs().data
            fits = {row["parent_task_id_path"] for row in rows if row["task_name"] == "iteration"}
            assert len(fits) == 2 * 3 + 1
            assert search.score(X, Y) > 0.95
            assert search.best_estimator_.n_iter_ > 0

        @each_estimator
        def test_grid_search_over_a_pipeline(self, estimator, capsys):
            recorder = Propagated()
            pipeline = make_pipeline(StandardScaler(), clone(estimator))
            grid = {f"{type(estimator).__name__.lower()}__C": [0.1, 1.0]}
            search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
            search.set_callbacks(recorder, ProgressBar(max_propagation_depth=None)).fit(X, Y)
            firsts = [call for call in recorder.calls if call[:3] == ("end", "iteration", 0)]
            assert len(firsts) == 2 * 2 + 1
            assert "100%" in capsys.readouterr().out
            assert not hasattr(search.best_estimator_[-1], "_skl_callbacks")
            assert pickle.loads(pickle.dumps(search.best_estimator_)).score(X, Y) > 0.9
