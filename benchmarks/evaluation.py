"""One evaluation of the objective against the two bare matrix products that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from sk_linear_losses import SoftmaxClassifier
from sk_linear_losses._objective import Objective

from .datasets import Dataset, loaders, pixels, text
from .timing import counted_evaluations, least_seconds, objective_of, timed_fit

# Seconds for which the evaluation and the bare products are repeated.
SECONDS = 3.0


def cases(folder: Path | None, quick: bool) -> Iterator[Dataset]:
    """Images in float64 and float32, and sparse text: real data if the folder has them, else synthetic."""
    found = loaders(folder, quick)
    images = found["mnist"]() if "mnist" in found else pixels(2000 if quick else 60_000)
    yield images
    yield replace(images, X=images.X.astype(np.float32))
    yield found["20news-all"]() if "20news-all" in found else text(2000 if quick else 11_000)


def measure(data: Dataset, threads: int) -> dict[str, Any]:
    """Seconds of an evaluation and of the bare products, and the share of a default fit spent elsewhere."""
    model = SoftmaxClassifier(n_jobs=threads)
    objective = objective_of(model, data.X, data.y)
    objective = objective.to_float32() or objective
    theta = np.random.default_rng(0).standard_normal(objective.shape) / 1000
    with threadpool_limits(1, user_api="blas"):
        evaluation, bare = least_seconds(
            [lambda: objective.evaluate(theta), bare_products(objective, threads)], SECONDS
        )
    with counted_evaluations() as evaluations:
        fit = timed_fit(model, data.X, data.y)
    return {
        "dataset": data.name,
        "dtype": str(data.X.dtype),
        "threads": threads,
        "evaluation_seconds": evaluation,
        "bare_seconds": bare,
        "fit_seconds": fit.seconds,
        "evaluations": evaluations.count,
        "share_outside": 1 - evaluations.seconds / fit.seconds,
    }


def bare_products(objective: Objective, threads: int) -> Callable[[], Any]:
    """A function that multiplies each block by coefficients and its transpose by scores, in X's precision.

    The blocks and their shares among threads are the package's. The layout of coefficients and scores is the
    fastest that was found.
    """
    blocks = [block.X for block in objective.rows.blocks]
    coef = np.ones((objective.n_classes, blocks[0].shape[1]), blocks[0].dtype)
    coef_by_features, single = np.ascontiguousarray(coef.T), coef.dtype == np.float32
    scores = np.ones((max(X.shape[0] for X in blocks), objective.n_classes), blocks[0].dtype)

    def products(share: np.ndarray) -> None:
        for i in share:
            X = blocks[i]
            if sp.issparse(X):
                X @ coef_by_features, X.T @ scores[: X.shape[0]]
            else:
                X @ coef_by_features if single else coef @ X.T, scores[: X.shape[0]].T @ X

    shares = np.array_split(np.arange(len(blocks)), threads)
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(products, shares)) if threads > 1 else products(shares[0])
