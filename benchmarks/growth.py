"""How the time of one evaluation grows with samples, features and classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sk_linear_losses import SoftmaxClassifier

from .timing import least_seconds, objective_of

# SMALLEST: sizes from which one dimension at a time grows over two decades. HELD: sizes of the other
# dimensions.
SMALLEST = {"samples": 1000, "features": 10, "classes": 10}
HELD = {"samples": 10_000, "features": 100, "classes": 10}
FACTORS = (1, 10, 100)
SECONDS = 1.0


def measure() -> Iterator[dict[str, Any]]:
    """One entry for each dimension: seconds of an evaluation at each size, on one thread."""
    for dimension, smallest in SMALLEST.items():
        sizes = [smallest * factor for factor in FACTORS]
        yield {
            "case": dimension,
            "fixed": {name: size for name, size in HELD.items() if name != dimension},
            "sizes": sizes,
            "seconds": [_seconds(**{**HELD, dimension: size}) for size in sizes],
        }


def _seconds(samples: int, features: int, classes: int) -> float:
    """Least seconds of an evaluation on random data of this size."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((samples, features)), np.arange(samples) % classes
    objective = objective_of(SoftmaxClassifier(n_jobs=1), X, y)
    theta = rng.standard_normal(objective.shape) / 10
    with threadpool_limits(1, user_api="blas"):
        return least_seconds([lambda: objective.evaluate(theta)], SECONDS)[0]
