"""Test accuracies of Weston and Watkins' SVM against published ones.

The published accuracies are those of Y. Wang and C. Scott, "An exact solver for the Weston-Watkins SVM
subproblem", ICML 2021, table 5. They are of optimal solutions without intercept, so they depend on the data
alone. Accuracies with an intercept are measured too, since the published one of letter agrees only with
these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import MinMaxScaler
from threadpoolctl import threadpool_limits

from sk_linear_losses import MulticlassSVMClassifier

from .timing import timed_fit

# Data set, scaling of the features, C and accuracy in per cent.
PUBLISHED = (
    ("dna", "raw", 2**-6, 94.77),
    ("dna", "raw", 2**-4, 95.11),
    ("letter", "[-1, 1]", 2**-3, 71.66),
    ("satellite", "[-1, 1]", 1.0, 84.20),
    ("mnist", "[0, 1]", 2**-4, 92.43),
)
TOLERANCE = 1e-4


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """One entry for each published accuracy whose data the folder has: fits with and without intercept."""
    for name, scaling, C, accuracy in PUBLISHED:
        if not (file := folder / f"{name}.npz").exists():
            continue
        with np.load(file) as arrays:
            data = {part: arrays[part] for part in ("X_train", "y_train", "X_test", "y_test")}
        X, X_test = _scaled(data["X_train"], data["X_test"], scaling)
        found = {}
        for fit_intercept in (False, True):
            model = MulticlassSVMClassifier(C, fit_intercept=fit_intercept, tol=TOLERANCE, n_jobs=1)
            with threadpool_limits(1):
                fit = timed_fit(model, X, data["y_train"])
            found["with" if fit_intercept else "without"] = {
                "accuracy": 100 * fit.model.score(X_test, data["y_test"]),
                "relative_gap": fit.model.duality_gap_ / fit.model.objective_,
                "seconds": fit.seconds,
            }
        yield {"dataset": name, "scaling": scaling, "C": C, "published": accuracy, "intercept": found}


def _scaled(X: np.ndarray, X_test: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Both parts in float64, the training part in the range that `scaling` names; [0, 1] is for bytes."""
    if scaling == "[0, 1]":
        return X / 255, X_test / 255
    X, X_test = X.astype(np.float64), X_test.astype(np.float64)
    if scaling == "raw":
        return X, X_test
    scaler = MinMaxScaler((-1, 1)).fit(X)
    return scaler.transform(X), scaler.transform(X_test)
