"""The main job prints the losses and objectives that the package computes."""

import runpy
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, __main__
from sk_linear_losses.__main__ import compare, losses_of, main, objective, show_zero_weights, timed

from .oracles import (
    bundled,
    generated,
    hinge_program,
    primal,
    softmax_loss,
    softmax_newton,
    weston_watkins_loss,
)

NAMES = ("SoftmaxClassifier", "LogisticRegression", "MulticlassSVMClassifier", "LinearSVC")


def lines_of(out, name):
    """The words of the lines that begin with a name."""
    return [line.split() for line in out.splitlines() if line.split()[:1] == [name]]


def test_an_unknown_data_set_is_an_error_of_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["roses"])
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "roses" in err
    assert len(err.splitlines()) == 1


def test_as_a_program_it_takes_its_arguments_from_the_command_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sk_linear_losses", "--help"])
    monkeypatch.delitem(sys.modules, "sk_linear_losses.__main__")
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("sk_linear_losses", run_name="__main__")
    assert exit_.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "python -m sk_linear_losses" in out
    assert all(name in out for name in ("iris", "wine", "digits", "breast_cancer"))


def test_losses_of_the_worked_example():
    assert losses_of(np.array([-2.85, 0.86, 0.28]), 2) == pytest.approx((1.58, 1.04), abs=0.005)


def test_the_main_job_shows_the_losses_by_hand_and_then_the_data_set(capsys, monkeypatch):
    monkeypatch.setattr(__main__, "compare", lambda X, y: print(f"{X.shape} {np.bincount(y)}"))
    for name, shape, counts in (("iris", (150, 4), [50, 50, 50]), ("wine", (178, 13), [59, 71, 48])):
        assert main([] if name == "iris" else [name]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        for part in ("= 1.58", "-ln 0.353 = 1.04 nats (0.452 with log10)", "costs 1.0986 = ln 3"):
            assert part in out
        title = f"{name}: {shape[0]} samples, {shape[1]} features, 3 classes"
        assert f"\n{title}\n{'-' * len(title)}\n" in out
        assert out.endswith(f"{shape} {np.array(counts)}\n")


@pytest.mark.parametrize("n_classes", [2, 10])
def test_zero_weights_cost_the_log_of_the_classes_or_their_number_less_one(n_classes, capsys):
    show_zero_weights(n_classes)
    out = capsys.readouterr().out
    assert f" {np.log(n_classes):.4f} = ln {n_classes} (softmax)" in out
    assert f" {n_classes - 1} = {n_classes} - 1 (hinge)" in out


def test_compared_classifiers_have_the_accuracies_and_objectives_of_independent_fits(capsys, monkeypatch):
    monkeypatch.setattr(__main__, "GRID", (0.1, 1.0))
    X, y = generated(0, 60, 3, 3)
    compare(X, y)
    out = capsys.readouterr().out
    rows = StandardScaler().fit_transform(X)
    optima = {
        "SoftmaxClassifier": primal(softmax_loss, rows, y, *softmax_newton(rows, y)),
        "MulticlassSVMClassifier": primal(weston_watkins_loss, rows, y, *hinge_program(rows, y)),
    }
    reference = LinearSVC(max_iter=10_000, random_state=0).fit(rows, y)
    expected = optima | {
        "LogisticRegression": optima["SoftmaxClassifier"],
        "LinearSVC": primal(weston_watkins_loss, rows, y, reference.coef_, reference.intercept_),
    }
    for name in NAMES:
        assert float(lines_of(out, name)[0][-1]) == pytest.approx(expected[name], rel=1e-4)
    # With folds of equal size, the mean accuracy is that of all samples.
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    fit = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=10_000))
    accuracy = np.mean(cross_val_predict(fit, X, y, cv=folds) == y)
    for name in NAMES[:2]:
        assert float(lines_of(out, name)[0][1]) == pytest.approx(accuracy, abs=0.02)
        assert lines_of(out, name)[0][6] in ("0.1", "1")
    for name, optimum in optima.items():
        n_iter, found, gap, relative = map(float, lines_of(out, name)[1][1:])
        assert n_iter >= 1
        assert found - gap - 1e-6 * optimum <= optimum <= found + 1e-6 * optimum
        assert relative == pytest.approx(gap / found, rel=0.1)
    assert "did not converge" not in out


def test_a_fit_that_does_not_converge_is_marked(capsys, monkeypatch):
    monkeypatch.setattr(__main__, "GRID", (1.0,))
    monkeypatch.setattr(__main__, "LinearSVC", lambda **options: LinearSVC(max_iter=1, random_state=0))
    compare(*generated(0, 60, 3, 3))
    out = capsys.readouterr().out
    for name in NAMES:
        assert (lines_of(out, name)[0][-1] == "*") == (name == "LinearSVC")
    assert "  * did not converge" in out


def test_warnings_of_convergence_alone_are_kept_from_the_reader():
    def work(category):
        warnings.warn("beware", category, stacklevel=1)
        return 7

    result, seconds, warned = timed(lambda: work(ConvergenceWarning))
    assert (result, warned) == (7, True)
    assert 0 <= seconds < 10
    assert timed(lambda: 8)[::2] == (8, False)
    with pytest.raises(UserWarning, match="beware"):
        timed(lambda: work(UserWarning))


@pytest.mark.parametrize("classes", [[0, 1, 2], [1, 2]])
@pytest.mark.parametrize("model", [SoftmaxClassifier(2.0), MulticlassSVMClassifier(2.0)], ids=repr)
def test_objective_is_that_of_the_fit(model, classes):
    X, y = bundled("iris")
    kept = np.isin(y, classes)
    model = clone(model).fit(X[kept], y[kept])
    assert objective(model, X[kept], y[kept]) == pytest.approx(model.objective_, rel=1e-9)
