"""The objectives by which runs are judged, in whole-array numpy and scipy, independent of the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp

Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]


def softmax_loss(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cross-entropy of each sample; for two classes `scores` has one column, as in scikit-learn."""
    if scores.shape[1] == 1:
        return np.logaddexp(0, np.where(y == 1, -scores[:, 0], scores[:, 0]))
    return logsumexp(scores, axis=1) - scores[np.arange(len(y)), y]


def objective(model: Any, X: Any, y: np.ndarray, loss: Loss) -> float:
    """``|W|^2 / 2 + C * sum of losses`` of a fitted model, at its C."""
    coef = np.asarray(model.coef_, dtype=np.float64)
    scores = X @ coef.T + model.intercept_
    return float((coef**2).sum() / 2 + model.C * loss(scores, y).sum())


def relative_error(value: float, optimum: float) -> float:
    """Relative distance of an objective above the optimum; negative if it is below."""
    return (value - optimum) / abs(optimum)


def crammer_singer_loss(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Largest shortfall of each sample from the margin 1."""
    return np.maximum(_shortfalls(scores, y).max(axis=1), 0)


def weston_watkins_squared_loss(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum of the squared shortfalls of each sample."""
    return (np.maximum(_shortfalls(scores, y), 0) ** 2).sum(axis=1)


def rest_squared_loss(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared hinge of each sample, summed over one-against-the-rest problems; one column is for class 1."""
    classes = np.arange(scores.shape[1]) if scores.shape[1] > 1 else np.array([1])
    sides = np.where(y[:, None] == classes, 1, -1)
    return (np.maximum(1 - sides * scores, 0) ** 2).sum(axis=1)


def _shortfalls(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``1 + s_j - s_y`` for each wrong class j, minus infinity for the right class y."""
    rows = np.arange(len(y))
    shortfalls = 1 + scores - scores[rows, y][:, None]
    shortfalls[rows, y] = -np.inf
    return shortfalls
