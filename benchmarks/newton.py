"""Newton's method with conjugate gradients, and a certificate: whole arrays, independent of the package."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import logsumexp, softmax

# Factor by which conjugate gradients reduce the residual in each Newton step.
FORCING = 0.03


def newton_cg(X: Any, y: np.ndarray, C: float, deadline: float) -> float:
    """The least objective that Newton's method with preconditioned conjugate gradients reaches in time.

    Parameters have shape (n_features + 1, n_classes). The last row holds the intercepts for centred features.
    """
    problem = _Softmax(X, y, C)
    theta = np.zeros((X.shape[1] + 1, problem.targets.shape[1]))
    theta[-1] = np.log(problem.targets.mean(axis=0))
    value, probabilities = problem.value(theta)
    while time.perf_counter() < deadline:
        gradient = problem.gradient(theta, probabilities)
        step = problem.newton_step(probabilities, gradient, deadline)
        slope = np.vdot(step, gradient)
        if not -slope / 2 > 1e-13 * abs(value):
            break
        length = 1.0
        while True:
            trial, trial_probabilities = problem.value(theta + length * step)
            if trial <= value + 1e-4 * length * slope or length < 1e-6:
                break
            length /= 2
        if not trial < value:
            break
        theta, value, probabilities = theta + length * step, trial, trial_probabilities
    return float(value)


def certified_bound(X: Any, y: np.ndarray, C: float, model: Any) -> float:
    """A lower bound on the optimum, from the dual point that a model of three or more classes implies.

    Where the gradient in the intercepts vanishes, the objective is at most half the squared gradient above
    the optimum. The intercepts are first moved to such a point, with the coefficients held.
    """
    problem = _Softmax(X, y, C)
    theta = np.vstack([model.coef_.T, model.intercept_ + model.coef_ @ problem.mean])
    for _ in range(20):
        value, probabilities = problem.value(theta)
        gradient = problem.gradient(theta, probabilities)
        if np.abs(gradient[-1]).sum() <= 1e-10 * abs(value):
            return value - float((gradient[:-1] ** 2).sum()) / 2
        curvature = C * (np.diag(probabilities.sum(axis=0)) - probabilities.T @ probabilities)
        theta[-1] -= np.linalg.lstsq(curvature, gradient[-1], rcond=None)[0]
    return -np.inf


class _Softmax:
    """Value, gradient and Newton step of the objective, with features centred implicitly."""

    def __init__(self, X: Any, y: np.ndarray, C: float) -> None:
        self.X, self.C = X, C
        self.targets = np.eye(int(y.max()) + 1)[y]
        self.mean = np.asarray(X.mean(axis=0)).ravel()
        self.squares = X.power(2) if sp.issparse(X) else X**2

    def value(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective, and the probabilities of the classes (n_samples, n_classes)."""
        scores = self._scores(theta)
        losses = logsumexp(scores, axis=1) - np.einsum("ij,ij->i", scores, self.targets)
        return float((theta[:-1] ** 2).sum() / 2 + self.C * losses.sum()), softmax(scores, axis=1)

    def gradient(self, theta: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """The gradient, of the shape of theta.

        The gradient in the intercepts sums to zero except for round-off, which is removed: the Hessian is
        singular in that direction.
        """
        gradient = self._pull_back(probabilities - self.targets) + self._penalty(theta)
        gradient[-1] -= gradient[-1].mean()
        return gradient

    def newton_step(self, probabilities: np.ndarray, gradient: np.ndarray, deadline: float) -> np.ndarray:
        """The step that conjugate gradients, preconditioned by the Hessian's diagonal, find in time."""
        diagonal = self._diagonal(probabilities)
        step, residual = np.zeros_like(gradient), -gradient
        scaled = residual / diagonal
        direction, power = scaled, np.vdot(residual, scaled)
        enough = power * FORCING**2
        while power > enough and time.perf_counter() < deadline:
            product = self._hessian_product(probabilities, direction)
            length = power / np.vdot(direction, product)
            step, residual = step + length * direction, residual - length * product
            scaled = residual / diagonal
            power, before = np.vdot(residual, scaled), power
            direction = scaled + power / before * direction
        return step

    def _hessian_product(self, probabilities: np.ndarray, direction: np.ndarray) -> np.ndarray:
        scores = probabilities * self._scores(direction)
        scores -= probabilities * scores.sum(axis=1, keepdims=True)
        return self._pull_back(scores) + self._penalty(direction)

    def _diagonal(self, probabilities: np.ndarray) -> np.ndarray:
        """The diagonal of the Hessian, from weighted squares of the centred features."""
        weights = self.C * probabilities * (1 - probabilities)
        total, mean = weights.sum(axis=0), self.mean[:, None]
        moments = self.squares.T @ weights - 2 * mean * (self.X.T @ weights) + mean**2 * total
        return np.vstack([1 + np.maximum(moments, 0), total + 1e-300])

    def _scores(self, theta: np.ndarray) -> np.ndarray:
        return self.X @ theta[:-1] + (theta[-1] - self.mean @ theta[:-1])

    def _pull_back(self, values: np.ndarray) -> np.ndarray:
        total = values.sum(axis=0)
        return self.C * np.vstack([self.X.T @ values - np.outer(self.mean, total), total])

    @staticmethod
    def _penalty(theta: np.ndarray) -> np.ndarray:
        return np.vstack([theta[:-1], np.zeros(theta.shape[1])])
