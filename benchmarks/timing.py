"""Measurements of fits: seconds, warnings, evaluations of the objective, memory."""

from __future__ import annotations

import multiprocessing
import os
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from sk_linear_losses._objective import Evaluation, Objective


@dataclass(frozen=True)
class Fit:
    """A fitted model, the seconds that its whole `fit` took, and the classes of the warnings it raised."""

    model: Any
    seconds: float
    warnings: list[str]


def timed_fit(model: Any, X: Any, y: np.ndarray) -> Fit:
    """The model fitted to the data, with its time and its warnings, which are not printed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
    return Fit(model, seconds, sorted({warning.category.__name__ for warning in caught}))


def limited_fit(model: Any, X: Any, y: np.ndarray, seconds: float) -> Fit | None:
    """A timed fit in a forked process; None if it takes longer than `seconds` and is killed."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads, here idle
        child = context.Process(target=lambda: sender.send(timed_fit(model, X, y)))
        child.start()
    fit = receiver.recv() if receiver.poll(seconds) else None
    child.kill()
    child.join()
    return fit


@dataclass
class Evaluations:
    """The number of evaluations of objectives, the seconds that they took, and the last objective."""

    count: int = 0
    seconds: float = 0.0
    objective: Objective | None = None


@contextmanager
def counted_evaluations() -> Iterator[Evaluations]:
    """Counts and times evaluations of the package's objective while the context lasts."""
    total, evaluate = Evaluations(), Objective.evaluate

    def counted(self: Objective, theta: np.ndarray) -> Evaluation:
        start = time.perf_counter()
        evaluation = evaluate(self, theta)
        total.seconds += time.perf_counter() - start
        total.count += 1
        total.objective = self
        return evaluation

    Objective.evaluate = counted
    try:
        yield total
    finally:
        Objective.evaluate = evaluate


def objective_of(model: Any, X: Any, y: np.ndarray) -> Objective:
    """The objective that the model would minimise, from a fit of one iteration."""
    with counted_evaluations() as evaluations:
        timed_fit(clone(model).set_params(max_iter=1), X, y)
    assert evaluations.objective is not None
    return evaluations.objective


def least_seconds(works: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """The least time of each piece of work, repeated by turns until `seconds` are over, at least thrice."""
    times: list[list[float]] = [[] for _ in works]
    deadline = time.perf_counter() + seconds
    while len(times[0]) < 3 or time.perf_counter() < deadline:
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def traced_peak(model: Any, X: Any, y: np.ndarray) -> int:
    """Most bytes of Python objects and numpy arrays that a fit held at once beyond those from before."""
    tracemalloc.start()
    try:
        timed_fit(model, X, y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
