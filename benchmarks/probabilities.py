"""Held-out probabilities of the SVM against those of refits, scikit-learn's calibration and the softmax."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, _classifiers

from .datasets import BUNDLED, FILES, Dataset
from .timing import timed_fit

DATASETS = (*BUNDLED, *FILES, "20news-mindf2")
STRENGTHS = (0.01, 1.0)
LOSSES = ("hinge", "squared_hinge")
# MOST_ROWS: most rows. MOST_SPARSE_ROWS: most rows of a sparse data set. MOST_ENTRIES: most entries of a
# dense one. Of larger data sets a random selection of rows is taken. Each division into halves takes some
# twenty fits.
MOST_ROWS, MOST_SPARSE_ROWS, MOST_ENTRIES = 6000, 2000, 5 * 10**6 // 2
# Data are divided into halves as often as gives ROWS rows in all, but MOST_SPLITS times at most.
ROWS, MOST_SPLITS = 3000, 10
# Fewest rows of a class: a class with fewer would be missing from some of the folds.
LEAST_OF_CLASS = 20
FOLDS, BINS = 5, 15
# Limits of the temperatures from 5-fold refits, in margins or, where that is less (for COLDEST) or more (for
# HOTTEST), in root mean square scores. They are so wide that no temperature reaches one, unless out-of-fold
# scores separate the classes: then the temperature would be as cold as it may be.
COLDEST, HOTTEST = 1 / 30, 100.0

OURS, REFITS, CALIBRATED, SOFTMAX = "ours", "5-fold temperature", "CalibratedClassifierCV", "softmax"


def measure(data: Dataset, quick: bool) -> Iterator[dict[str, Any]]:
    """One entry for each loss and C: log-loss and calibration error on held-out halves, and the cost."""
    with threadpool_limits(1), warnings.catch_warnings():
        # A model that has not converged must not be compared.
        warnings.simplefilter("error", ConvergenceWarning)
        part = _selection(data)
        splits = max(1, min(2 if quick else MOST_SPLITS, ROWS // len(part.y)))
        for loss in LOSSES:
            for C in STRENGTHS:
                scores = [_on_halves(part, loss, C, seed) for seed in range(splits)]
                yield {
                    "dataset": data.name,
                    "C": C,
                    "problem": loss,
                    "splits": splits,
                    "uniform": float(np.log(part.n_classes)),
                    "log_loss": {name: np.mean([s[name][0] for s in scores]) for name in scores[0]},
                    "ece": {name: np.mean([s[name][1] for s in scores]) for name in scores[0]},
                    "cost": _cost(part, loss) if C == 1 else None,
                }


def _selection(data: Dataset) -> Dataset:
    """Rows of the classes that have enough rows; a random selection if there are many rows."""
    most = MOST_SPARSE_ROWS if data.is_sparse else min(MOST_ROWS, MOST_ENTRIES // data.X.shape[1])
    chosen = np.random.default_rng(0).permutation(len(data.y))[:most]
    common = np.bincount(data.y[chosen], minlength=data.n_classes) >= LEAST_OF_CLASS
    chosen = np.sort(chosen[common[data.y[chosen]]])
    return replace(data, X=data.X[chosen], y=np.unique(data.y[chosen], return_inverse=True)[1])


def _on_halves(data: Dataset, loss: str, C: float, seed: int) -> dict[str, tuple[float, float]]:
    """Log-loss and calibration error of fits to one half on the other half, by name of the probabilities."""
    halves = train_test_split(data.X, data.y, test_size=0.5, random_state=seed, stratify=data.y)
    X, X_test = _scaled(*halves[:2])
    y, y_test = halves[2:]
    model = MulticlassSVMClassifier(C, loss=loss)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    out_of_fold = _logits(cross_val_predict(model, X, y, cv=folds, method="decision_function"))
    model.fit(X, y)
    refits = _logits(model.decision_function(X_test)) / _best_temperature(out_of_fold, y)
    calibrated = CalibratedClassifierCV(model, method="temperature", cv=folds).fit(X, y)
    softmax = SoftmaxClassifier(C).fit(X, y)
    found = {
        OURS: model.predict_log_proba(X_test),
        REFITS: log_softmax(refits, axis=1),
        CALIBRATED: np.log(np.maximum(calibrated.predict_proba(X_test), np.finfo(float).tiny)),
        SOFTMAX: softmax.predict_log_proba(X_test),
    }
    return {name: (_log_loss(p, y_test), calibration_error(p, y_test)) for name, p in found.items()}


def _scaled(X: Any, X_test: Any) -> tuple[Any, Any]:
    """Dense features standardised by the training half, unless they share a unit, as pixels do."""
    if sp.issparse(X):
        return X, X_test
    if X.min() == 0 and X.max() == 255:
        return X / 255, X_test / 255
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), scaler.transform(X_test)


def _logits(scores: np.ndarray) -> np.ndarray:
    """Scores of all classes, for two classes too."""
    return np.column_stack([-scores / 2, scores / 2]) if scores.ndim == 1 else scores


def _best_temperature(scores: np.ndarray, y: np.ndarray) -> float:
    """The temperature at which the scores give the labels the greatest likelihood."""
    size = np.sqrt((scores**2).mean())
    bounds = np.log([COLDEST * min(1, size), HOTTEST * max(1, size)])
    found = minimize_scalar(
        lambda log: _log_loss(log_softmax(scores * np.exp(-log), axis=1), y),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _log_loss(log_probabilities: np.ndarray, y: np.ndarray) -> float:
    return float(-log_probabilities[np.arange(len(y)), y].mean())


def calibration_error(log_probabilities: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error of the most probable class, from bins of equal width."""
    confidence = np.exp(log_probabilities.max(axis=1))
    right = log_probabilities.argmax(axis=1) == y
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    excess = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(excess).sum() / len(y))


def _cost(data: Dataset, loss: str) -> dict[str, float]:
    """Seconds of a fit to the rows of both halves at C = 1: without the temperature, and for it."""
    X = _scaled(data.X, data.X[:1])[0]
    with _timed(_classifiers, "fit_temperature") as taken:
        seconds = timed_fit(MulticlassSVMClassifier(loss=loss), X, data.y).seconds
    return {"fit": seconds - sum(taken), "temperature": sum(taken)}


@contextmanager
def _timed(module: Any, name: str) -> Iterator[list[float]]:
    """The seconds of each call of a module's function while the context lasts."""
    function: Callable[..., Any] = getattr(module, name)
    taken: list[float] = []

    def timed(*args: Any) -> Any:
        start = time.perf_counter()
        result = function(*args)
        taken.append(time.perf_counter() - start)
        return result

    setattr(module, name, timed)
    try:
        yield taken
    finally:
        setattr(module, name, function)
