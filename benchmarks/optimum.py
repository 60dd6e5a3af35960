"""The optimum of a softmax problem, confirmed by an independent solve or an independent certificate."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from sk_linear_losses import SoftmaxClassifier

from .newton import certified_bound, newton_cg
from .objectives import objective, softmax_loss
from .solvers import OURS
from .timing import timed_fit

# CERTAIN: relative uncertainty of an optimum that is good enough. SAFETY: a target is reported if it is at
# least this many times the uncertainty.
CERTAIN, SAFETY = 1e-7, 10
TIGHT = 1e-11
# Iterations of the package's solver between two looks at the clock.
ITERATIONS_AT_A_TIME = 500


@dataclass(frozen=True)
class Optimum:
    """The least objective found, and the relative distance by which the optimum may be below it.

    This uncertainty is the distance between the ends of two independent solves or, if less, the certified
    gap.
    """

    objective: float
    uncertainty: float
    evidence: dict[str, float]

    def resolves(self, target: float) -> bool:
        """Whether the optimum is known well enough to tell which solvers reached the target."""
        return target >= SAFETY * self.uncertainty


def cached_optimum(X: Any, y: np.ndarray, C: float, seconds: float, cache: Path) -> Optimum:
    """The optimum from the cache folder, or else computed, with about so many seconds for each solve.

    A cached optimum that is not certain enough is computed again.
    """
    path = cache / f"softmax-{_fingerprint(X, y, C)}.json"
    if path.exists():
        optimum = Optimum(**json.loads(path.read_text()))
        if optimum.uncertainty <= CERTAIN:
            return optimum
    optimum = find_optimum(X, y, C, seconds)
    cache.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(optimum), indent=1))
    return optimum


def find_optimum(X: Any, y: np.ndarray, C: float, seconds: float) -> Optimum:
    """The optimum from the package and from Newton's method: scikit-learn's for two classes or `newton_cg`.

    If `newton_cg` does not reach the optimum in time, a certificate for the package's model takes its place.
    """
    model = _tight_fit(X, y, C, seconds)
    evidence = {OURS: objective(model, X, y, softmax_loss)}
    if y.max() == 1:
        other = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-14, max_iter=300)
        evidence["newton-cholesky"] = objective(timed_fit(other, X, y).model, X, y, softmax_loss)
    else:
        evidence["Newton-CG of the benchmark"] = newton_cg(X, y, C, time.perf_counter() + seconds)
    best, worst = min(evidence.values()), max(evidence.values())
    uncertainty = (worst - best) / abs(best)
    if uncertainty > CERTAIN and y.max() > 1:
        evidence["certified lower bound"] = bound = certified_bound(X, y, C, model)
        uncertainty = min(uncertainty, max(best - bound, 0.0) / abs(best))
    return Optimum(best, uncertainty, evidence)


def _tight_fit(X: Any, y: np.ndarray, C: float, seconds: float) -> SoftmaxClassifier:
    """A tight fit of the package, ended when the seconds are over or more iterations bring nothing."""
    model = SoftmaxClassifier(C=C, tol=TIGHT, max_iter=ITERATIONS_AT_A_TIME, warm_start=True)
    deadline, before = time.perf_counter() + seconds, np.inf
    while time.perf_counter() < deadline:
        timed_fit(model, X, y)
        if model.converged_ or not model.objective_ < before:
            break
        before = model.objective_
    return model


def _fingerprint(X: Any, y: np.ndarray, C: float) -> str:
    """A hash of the data and C."""
    digest = hashlib.sha256(repr((X.shape, C)).encode())
    for part in (X.data, X.indices, X.indptr, y) if sp.issparse(X) else (X, y):
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()[:20]
