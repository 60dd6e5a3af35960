"""Fits with one core and with all, in float64 and in float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sk_linear_losses import SoftmaxClassifier

from .datasets import Dataset
from .timing import n_cores, timed_fit

# Fits of each kind, by turns. The least time of each kind counts.
FITS = 3


def measure(data: Dataset) -> Iterator[dict[str, Any]]:
    """One entry for each precision: seconds for each number of threads, and how coefficients differ."""
    for dtype in ("float64", "float32"):
        typed = replace(data, X=data.X.astype(dtype))
        models = {threads: SoftmaxClassifier(n_jobs=threads) for threads in sorted({1, n_cores()})}
        seconds = dict.fromkeys(models, np.inf)
        for _ in range(FITS):
            for threads, model in models.items():
                with threadpool_limits(threads):
                    seconds[threads] = min(seconds[threads], timed_fit(model, typed.X, typed.y).seconds)
        one, all_cores = models[1].coef_, models[max(models)].coef_
        yield {
            "dataset": data.name,
            "dtype": dtype,
            "seconds": {str(threads): value for threads, value in seconds.items()},
            "coef_difference": float(np.abs(all_cores - one).max()),
            "largest_coef": float(np.abs(one).max()),
        }
