"""Time to accuracy: how long each solver takes to come within a relative error of the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_limits

from sk_linear_losses import SoftmaxClassifier

from .datasets import Dataset, scaled, scalings
from .objectives import objective, relative_error, softmax_loss
from .optimum import Optimum, cached_optimum
from .solvers import Climb, Run, Solver, softmax_solvers
from .timing import Fit, counted_evaluations, limited_fit, timed_fit, traced_peak

STRENGTHS = (0.01, 1.0, 100.0)
# REPEAT_SECONDS: a fit is run again as long as all its runs together take at most this. MOST_REPEATS: most
# runs of one fit, the first included.
REPEAT_SECONDS, MOST_REPEATS = 0.5, 3
# Every solver may take this many times as long as the slowest run of the package's solver, whatever the
# limit.
PATIENCE = 2
# A fit that may run away gets a process of its own once the last took longer than this: a fork then costs
# little beside it.
FORKING_SECONDS = 0.02


@dataclass(frozen=True)
class Options:
    """Most predicted seconds of one fit and of one solve for the optimum, thread counts, cache folder."""

    limit: float
    optimum_limit: float
    threads: tuple[int, ...]
    cache: Path


def measure(data: Dataset, options: Options) -> Iterator[dict[str, Any]]:
    """One entry of results for each scaling, C and number of threads."""
    for scaling in scalings(data):
        problem = scaled(data, scaling)
        for C in STRENGTHS:
            optimum = cached_optimum(problem.X, problem.y, C, options.optimum_limit, options.cache)
            for threads in options.threads:
                yield {
                    **describe(problem),
                    "C": C,
                    "scaling": scaling,
                    "threads": threads,
                    **_compare(problem, C, threads, options.limit, optimum),
                }


def describe(data: Dataset) -> dict[str, Any]:
    """Name and size of a data set."""
    n_samples, n_features = data.X.shape
    size = {"n_samples": n_samples, "n_features": n_features, "n_classes": data.n_classes}
    return {"dataset": data.name, **size, "sparse": data.is_sparse}


def _compare(data: Dataset, C: float, threads: int, limit: float, optimum: Optimum) -> dict[str, Any]:
    """The runs of all solvers, a fit of the package at default parameters, and what is known of the optimum.

    A run that ends below the supposed optimum shows by how much this was wrong.
    """

    def error(model: Any) -> float:
        value = objective(model, data.X, data.y, softmax_loss)
        return relative_error(value, optimum.objective)

    solvers = softmax_solvers(C, data.n_classes * data.X.shape[1], threads, error)
    with threadpool_limits(threads):
        climbs = race(solvers, limit, data)
        default = _default_fit(SoftmaxClassifier(C=C, n_jobs=threads), data, error)
    lowest = min(run.error for climb in climbs for run in climb.runs)
    known = replace(optimum, uncertainty=max(optimum.uncertainty, -lowest))
    return {"optimum": asdict(known), "solvers": records(climbs), "default": default}


def race(solvers: list[Solver], limit: float, data: Dataset) -> list[Climb]:
    """The runs of all solvers, the package's first, by turns: a disturbance of the machine hits all alike."""
    iris = load_iris(return_X_y=True)
    for solver in solvers:
        timed_fit(solver.make(solver.rungs[0]), *iris)  # loads what a first use loads
    climbs = [Climb(solver, limit) for solver in solvers]
    while turns := [(climb, rung) for climb in climbs if (rung := climb.next_rung()) is not None]:
        for climb, rung in turns:
            climb.runs.append(_run(climb, rung, data))
        # A lower bound on another solver's time says nothing unless it exceeds the time of the package's.
        slowest = PATIENCE * max(run.seconds for run in climbs[0].runs)
        for climb in climbs:
            climb.limit = max(limit, slowest)
    _repeat(climbs, data)
    return climbs


def _run(climb: Climb, rung: float, data: Dataset) -> Run:
    """One fit and its error; a fit that had to be ended has an infinite error."""
    solver = climb.solver
    model = solver.make(rung)
    if solver.may_run_away and climb.runs and climb.runs[-1].seconds > FORKING_SECONDS:
        most = PATIENCE * climb.limit
        fit = limited_fit(model, data.X, data.y, most)
        if fit is None:
            climb.end = "time"
            return Run(rung, most, np.inf, 0, [])
    else:
        fit = timed_fit(model, data.X, data.y)
    return Run(rung, fit.seconds, solver.error(fit.model), int(np.max(fit.model.n_iter_)), fit.warnings)


def _repeat(climbs: list[Climb], data: Dataset) -> None:
    """Repeat the short runs that may decide a time to a target, by turns, and keep the least time of each."""
    for _ in range(MOST_REPEATS - 1):
        for climb in climbs:
            for run in climb.decisive_runs():
                if run.seconds * (run.repeats + 1) <= REPEAT_SECONDS:
                    seconds = timed_fit(climb.solver.make(run.rung), data.X, data.y).seconds
                    run.seconds, run.repeats = min(run.seconds, seconds), run.repeats + 1


def best_fit(model: Any, data: Dataset) -> Fit:
    """The fastest of as many fits as a run of a race gets."""
    fits = [timed_fit(model, data.X, data.y)]
    while fits[0].seconds * (len(fits) + 1) <= REPEAT_SECONDS and len(fits) < MOST_REPEATS:
        fits.append(timed_fit(model, data.X, data.y))
    return min(fits, key=lambda fit: fit.seconds)


def records(climbs: list[Climb]) -> dict[str, Any]:
    """The runs of each solver, from loose to tight, and why its climb ended."""
    return {
        climb.solver.name: {
            "end": climb.end,
            "runs": [asdict(run) for run in sorted(climb.runs, key=climb.solver.tightness)],
        }
        for climb in climbs
    }


def _default_fit(model: Any, data: Dataset, error: Callable[[Any], float]) -> dict[str, Any]:
    """Time, memory and accuracy of a fit of the package at default parameters."""
    fit = best_fit(model, data)
    with counted_evaluations() as evaluations:
        timed_fit(model, data.X, data.y)
    return {
        "seconds": fit.seconds,
        "error": error(model),
        "warnings": fit.warnings,
        "n_iter": model.n_iter_,
        "relative_gap": model.duality_gap_ / abs(model.objective_),
        "evaluations": evaluations.count,
        "seconds_per_evaluation": evaluations.seconds / max(evaluations.count, 1),
        "peak_bytes": traced_peak(model, data.X, data.y),
    }
