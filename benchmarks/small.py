"""Small fits at default parameters: SoftmaxClassifier and LogisticRegression by turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from sk_linear_losses import SoftmaxClassifier

from .datasets import BUNDLED, loaders, scaled, scalings
from .objectives import objective, softmax_loss
from .timing import Fit, timed_fit

# SECONDS: time spent on each data set. LEAST_FITS: least number of fits of each model.
SECONDS, LEAST_FITS = 4.0, 5


def measure() -> Iterator[dict[str, Any]]:
    """One entry for each bundled data set and scaling: median times and objectives, on one thread."""
    bundled = loaders(None, quick=False)
    for name in BUNDLED:
        data = bundled[name]()
        for scaling in scalings(data):
            problem = scaled(data, scaling)
            with threadpool_limits(1):
                fits = _by_turns([SoftmaxClassifier(n_jobs=1), LogisticRegression()], problem.X, problem.y)
            yield {
                "dataset": name,
                "scaling": scaling,
                "fits": len(fits[0]),
                "models": {
                    type(model_fits[0].model).__name__: {
                        "seconds": float(np.median([fit.seconds for fit in model_fits])),
                        "objective": objective(model_fits[0].model, problem.X, problem.y, softmax_loss),
                        "warnings": model_fits[0].warnings,
                    }
                    for model_fits in fits
                },
            }


def _by_turns(models: list[Any], X: np.ndarray, y: np.ndarray) -> list[list[Fit]]:
    """Fits of each model, by turns, without the first of each, which loads what a first use loads."""
    fits: list[list[Fit]] = [[] for _ in models]
    for model in models:
        timed_fit(model, X, y)
    deadline = time.perf_counter() + SECONDS
    while len(fits[0]) < LEAST_FITS or time.perf_counter() < deadline:
        for model, model_fits in zip(models, fits, strict=True):
            model_fits.append(timed_fit(model, X, y))
    return fits
