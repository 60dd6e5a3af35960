"""The main job on a bundled data set: the two losses by hand, then both classifiers beside scikit-learn's."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from typing import Any, NoReturn

import numpy as np
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from . import MulticlassSVMClassifier, SoftmaxClassifier
from ._typing import Array
from .losses import SoftmaxLoss, WestonWatkinsLoss

DATASETS = ("iris", "wine", "digits", "breast_cancer")
GRID = (0.01, 0.1, 1.0, 10.0, 100.0)


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the main job and return the exit code."""
    parser = _Parser(prog="python -m sk_linear_losses", description=__doc__)
    parser.add_argument(
        "name", nargs="?", default="iris", choices=DATASETS, help="data set bundled with scikit-learn"
    )
    name = parser.parse_args(arguments).name
    show_worked_example()
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    n_classes = len(np.unique(y))
    title(f"{name}: {X.shape[0]} samples, {X.shape[1]} features, {n_classes} classes")
    show_zero_weights(n_classes)
    compare(X, y)
    return 0


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}")


def show_worked_example() -> None:
    """Print the scores and both losses of one sample, and how small changes of scores change each loss."""
    W = np.array([[0.01, -0.05, 0.1, 0.05], [0.7, 0.2, 0.05, 0.16], [0.0, -0.45, -0.2, 0.03]])
    x = np.array([-15.0, 22.0, -44.0, 56.0])
    b = np.array([0.0, 0.2, -0.3])
    title("From features to scores to losses")
    print("Three classes, four features; the third class is right.\n")
    print("        W                          x       b    W x + b")
    scores = W @ x + b
    for k, row in enumerate(W):
        weights = " ".join(f"{weight:6.2f}" for weight in row)
        print(f"  [{weights} ]  [{x[k]:5.0f}]  [{b[k]:4.1f}]   {scores[k]:6.2f}")
    print(f"{'':33}[{x[3]:5.0f}]\n")
    hinge, softmax = losses_of(scores, 2)
    shortfalls = " + ".join(f"max(0, {score:.2f} - {scores[2]:.2f} + 1)" for score in scores[:2])
    print(f"  hinge    {shortfalls} = {hinge:.2f}")
    probability = np.exp(-softmax)
    print(f"  softmax  -ln {probability:.3f} = {softmax:.2f} nats ({softmax / np.log(10):.3f} with log10)\n")
    print("Now a sample whose right class leads by more than the margin, its scores moved a little:\n")
    print(f"  {'scores':>20}   hinge   softmax")
    for moved in ([10.0, -2.0, 3.0], [10.0, -2.5, 3.4], [10.0, 5.0, 8.5]):
        hinge, softmax = losses_of(np.array(moved), 0)
        print(f"  {'  '.join(f'{score:5.1f}' for score in moved):>20}  {hinge:6.4f}   {softmax:.6f}")
    print("\nThe hinge does not care beyond its margin; the softmax is never satisfied.")


def losses_of(scores: Array, label: int) -> tuple[float, float]:
    """Weston-Watkins hinge and softmax loss of one sample."""
    one, y = scores[None, :], np.array([label])
    return float(WestonWatkinsLoss().value(one, y)[0]), float(SoftmaxLoss().value(one, y)[0])


def show_zero_weights(n_classes: int) -> None:
    """Print the losses at W = 0, a check that every implementation should pass."""
    hinge, softmax = losses_of(np.zeros(n_classes), 0)
    print(
        f"At W = 0 each sample costs {softmax:.4f} = ln {n_classes} (softmax) "
        f"and {hinge:.0f} = {n_classes} - 1 (hinge)."
    )


def compare(X: Array, y: Array) -> None:
    """Print cross-validation and grid search of four classifiers on the same folds, and their final fits."""
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    classifiers: dict[str, Any] = {
        "SoftmaxClassifier": SoftmaxClassifier(),
        "LogisticRegression": LogisticRegression(max_iter=10_000),
        "MulticlassSVMClassifier": MulticlassSVMClassifier(),
        "LinearSVC": LinearSVC(max_iter=10_000, random_state=0),
    }
    print("\nIn a Pipeline with StandardScaler, the same 10 folds for all:\n")
    print("                           10-fold accuracy        grid search over C       objective at")
    print("  classifier               mean +- sd     time     best C  mean    time     C = 1 on all data")
    rows = StandardScaler().fit_transform(X)
    fits, any_mark = {}, False
    for name, classifier in classifiers.items():
        pipeline = make_pipeline(StandardScaler(), classifier)
        scores, seconds, warned = timed(lambda p=pipeline: cross_val_score(p, X, y, cv=folds))
        grid = {f"{name.lower()}__C": list(GRID)}
        search = GridSearchCV(pipeline, grid, cv=folds)
        search, grid_seconds, grid_warned = timed(lambda s=search: s.fit(X, y))
        fit, _, fit_warned = timed(lambda c=classifier: clone(c).fit(rows, y))
        fits[name] = fit
        (best_C,) = search.best_params_.values()
        mark = " *" if warned or grid_warned or fit_warned else ""
        any_mark = any_mark or bool(mark)
        print(
            f"  {name:23}  {scores.mean():.4f} +- {scores.std():.3f}  {seconds:5.2f} s  {best_C:6g}"
            f"  {search.best_score_:.4f}  {grid_seconds:5.2f} s  {objective(fit, rows, y):.6f}{mark}"
        )
    print("\n  Objective: |W|^2 / 2 + C * sum of losses, softmax for the first two and hinge for the others.")
    print(
        "  LinearSVC minimises another one: squared hinge, one class against the rest, penalised intercept."
    )
    if any_mark:
        print("  * did not converge in max_iter iterations, at some C.")
    print("\nFits on all data, C = 1:\n")
    print("  classifier               iterations  objective       certified gap   relative")
    for name in ("SoftmaxClassifier", "MulticlassSVMClassifier"):
        fit = fits[name]
        gap, relative = fit.duality_gap_, fit.duality_gap_ / fit.objective_
        print(f"  {name:23}  {fit.n_iter_:10}  {fit.objective_:<14.8g}  {gap:<13.2e}   {relative:.1e}")


def timed(work: Any) -> tuple[Any, float, bool]:
    """The result of `work`, the seconds it took, and whether a solver warned that it did not converge."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
    return result, seconds, any(issubclass(w.category, ConvergenceWarning) for w in caught)


def objective(fit: Any, X: Array, y: Array) -> float:
    """This package's objective at the coefficients of a fitted model: with the softmax or with the hinge."""
    softmax = isinstance(fit, SoftmaxClassifier | LogisticRegression)
    loss = SoftmaxLoss() if softmax else WestonWatkinsLoss()
    scores = X @ fit.coef_.T + fit.intercept_
    if scores.shape[1] == 1:
        scores = np.hstack([-scores / 2, scores / 2])
    return float(
        (fit.coef_**2).sum() / 2 + fit.C * loss.value(scores, np.searchsorted(fit.classes_, y)).sum()
    )


if __name__ == "__main__":
    sys.exit(main())
