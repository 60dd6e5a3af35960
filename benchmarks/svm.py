"""Time to accuracy of hinge losses against LinearSVC, without intercept, as LinearSVC penalises it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from sk_linear_losses import MulticlassSVMClassifier

from .accuracy import describe, race, records
from .datasets import Dataset, scaled, scalings
from .objectives import (
    Loss,
    crammer_singer_loss,
    objective,
    relative_error,
    rest_squared_loss,
    weston_watkins_squared_loss,
)
from .optimum import Optimum
from .solvers import MAX_ITERATIONS, TOLERANCES, Solver, iterations
from .timing import timed_fit

OURS = "MulticlassSVMClassifier"
TIGHT = 1e-9
# Most classes with which one against the rest is compared: its optimum takes a tight fit for each class.
MOST_RESTS = 100
# LinearSVC's tolerances are absolute. The first is so loose that a few passes reach it.
THEIR_TOLERANCES = tuple(10.0 ** (2 - k / 2) for k in range(23))


@dataclass(frozen=True)
class Problem:
    """A hinge problem: parameters of the package and of variants of LinearSVC, and the loss of each."""

    name: str
    ours: dict[str, Any]
    theirs: dict[str, dict[str, Any]]
    loss: Loss
    their_loss: Loss


PRIMAL_AND_DUAL = {"LinearSVC primal": {"dual": False}, "LinearSVC dual": {"dual": True}}
CRAMMER_SINGER = Problem(
    "Crammer-Singer",
    {"multi_class": "crammer_singer"},
    {"LinearSVC": {"multi_class": "crammer_singer"}},
    crammer_singer_loss,
    crammer_singer_loss,
)
TWO_CLASSES = Problem(
    "squared hinge, two classes",
    {"loss": "squared_hinge"},
    PRIMAL_AND_DUAL,
    rest_squared_loss,
    rest_squared_loss,
)
# Each solver goes to the optimum of its own problem: the package's is joint, LinearSVC's one against the
# rest.
MANY_CLASSES = Problem(
    "squared hinge, different problems",
    {"loss": "squared_hinge"},
    PRIMAL_AND_DUAL,
    weston_watkins_squared_loss,
    rest_squared_loss,
)


def measure(data: Dataset, limit: float, strengths: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    """One entry for each problem, scaling and C; on one thread, since LinearSVC uses no more."""
    for scaling in scalings(data):
        rows = scaled(data, scaling)
        halves = replace(rows, y=(2 * rows.y >= data.n_classes).astype(int))
        cases = [(TWO_CLASSES, halves)]
        if data.n_classes > 2:
            cases.append((CRAMMER_SINGER, rows))
        if 2 < data.n_classes <= MOST_RESTS:
            cases.append((MANY_CLASSES, rows))
        for problem, case in cases:
            for C in strengths:
                yield {
                    **describe(case),
                    "problem": problem.name,
                    "C": C,
                    "scaling": scaling,
                    "threads": 1,
                    **_compare(problem, case, C, limit),
                }


def _compare(problem: Problem, data: Dataset, C: float, limit: float) -> dict[str, Any]:
    """The runs of the package and of LinearSVC, and how well the optima are known.

    The uncertainty is the certified gap of a tight fit of the package or, if less, how near LinearSVC came to
    the fit's objective. If LinearSVC came out below the objective, the optimum was wrong by that much.
    """
    with threadpool_limits(1):
        optimum, gap = _optimum(problem.ours, problem.loss, data, C)
        their_optimum, their_gap = optimum, gap
        if problem.their_loss is not problem.loss:
            their_optimum, their_gap = _optimum_against_rest(data, C)
        solvers = [_ours(problem, C, _error(problem.loss, optimum, data))]
        error = _error(problem.their_loss, their_optimum, data)
        solvers += [_theirs(name, fixed, C, error) for name, fixed in problem.theirs.items()]
        climbs = race(solvers, limit, data)
    lowest, gap = min(run.error for climb in climbs[1:] for run in climb.runs), max(gap, their_gap)
    uncertainty = -lowest if lowest < 0 else min(gap, lowest)
    evidence = {"certified gap": gap, "lowest error of LinearSVC": lowest}
    known = Optimum(optimum, uncertainty, evidence)
    return {"optimum": asdict(known), "solvers": records(climbs)}


def _error(loss: Loss, optimum: float, data: Dataset) -> Callable[[Any], float]:
    """A function that returns the relative error of a model's objective."""
    return lambda model: relative_error(objective(model, data.X, data.y, loss), optimum)


def _ours(problem: Problem, C: float, error: Callable[[Any], float]) -> Solver:
    """The package's solver, which climbs over its tolerance."""

    def make(rung: float) -> MulticlassSVMClassifier:
        return _classifier(C, rung, problem.ours)

    return Solver(OURS, make, error, TOLERANCES, counts_iterations=False)


def _theirs(name: str, fixed: dict[str, Any], C: float, error: Callable[[Any], float]) -> Solver:
    """LinearSVC: the primal climbs over iterations, the others over the tolerance.

    Crammer-Singer ignores `max_iter`. The dual looks again at samples that it set aside only once it is
    within the tolerance: stopped before by `max_iter`, it was up to 1e5 times less accurate at the same time.
    """
    iterative = not fixed.get("dual", True)

    def make(rung: float) -> LinearSVC:
        budget = {"max_iter": int(rung), "tol": 1e-12} if iterative else {"max_iter": 10**6, "tol": rung}
        return LinearSVC(C=C, fit_intercept=False, random_state=0, **fixed, **budget)

    rungs = iterations(1) if iterative else THEIR_TOLERANCES
    return Solver(name, make, error, rungs, iterative, may_run_away=not iterative)


def _classifier(C: float, tol: float, parameters: dict[str, Any]) -> MulticlassSVMClassifier:
    return MulticlassSVMClassifier(
        C, tol=tol, max_iter=MAX_ITERATIONS, fit_intercept=False, n_jobs=1, **parameters
    )


def _optimum(parameters: dict[str, Any], loss: Loss, data: Dataset, C: float) -> tuple[float, float]:
    """Objective of a tight fit of the package, and its certified relative gap."""
    model = timed_fit(_classifier(C, TIGHT, parameters), data.X, data.y).model
    value = objective(model, data.X, data.y, loss)
    return value, model.duality_gap_ / abs(value)


def _optimum_against_rest(data: Dataset, C: float) -> tuple[float, float]:
    """The same for one class against the rest, from sums over the classes."""
    total = gap = 0.0
    for k in range(data.n_classes):
        one = replace(data, y=(data.y == k).astype(int))
        value, relative_gap = _optimum(MANY_CLASSES.ours, rest_squared_loss, one, C)
        total, gap = total + value, gap + relative_gap * value
    return total, gap / total
