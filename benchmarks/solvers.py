"""The solvers that are compared, and the ladder of budgets that each of them climbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sklearn.linear_model import LogisticRegression

from sk_linear_losses import SoftmaxClassifier

OURS = "SoftmaxClassifier"
TARGETS = (1e-2, 1e-4, 1e-6)
TOLERANCES = tuple(10.0**-k for k in range(1, 9))
# STEP: ratio of iterations from one rung to the next. NARROW: ratio at which the step across a target is
# narrow enough.
STEP, NARROW = 1.6, 1.15
MAX_ITERATIONS = 100_000
# Most coefficients with which newton-cholesky is tried. Its Hessian has the square of this many entries (128
# MB).
MAX_HESSIAN = 4000


@dataclass(frozen=True)
class Solver:
    """A solver and its rungs, from loose to tight; `make` returns the estimator for a rung.

    `error` returns the relative error of a fitted model's objective. Rungs that count iterations (`max_iter`)
    are refined between two rungs; tolerances are not. A solver that may run away can take any time at a
    tolerance only a little tighter than the last, and must be killed then.
    """

    name: str
    make: Callable[[float], Any]
    error: Callable[[Any], float]
    rungs: tuple[float, ...]
    counts_iterations: bool
    may_run_away: bool = False

    def tightness(self, run: Run) -> float:
        """A number that grows from loose to tight runs."""
        return run.rung if self.counts_iterations else -run.rung


@dataclass
class Run:
    """One fit: its rung, the least seconds of `repeats` equal fits, and the relative error it reached."""

    rung: float
    seconds: float
    error: float
    n_iter: int
    warnings: list[str]
    repeats: int = 1


@dataclass
class Climb:
    """The runs of one solver on one problem so far, and why the climb ended.

    `limit` is the most seconds that the next rung may be predicted to take.
    """

    solver: Solver
    limit: float
    runs: list[Run] = field(default_factory=list)
    end: str = ""

    def next_rung(self) -> float | None:
        """The rung to run next: the next higher one or, after the climb, one between a miss and a hit."""
        if not self.runs:
            return self.solver.rungs[0]
        if not self.end:
            last = self.runs[-1]
            higher = self.solver.rungs[len(self.runs) :]
            self.end = self._reason_to_stop(last, higher)
            if not self.end:
                return higher[0]
        return self._between() if self.solver.counts_iterations else None

    def decisive_runs(self) -> list[Run]:
        """Runs that reached a target in at most twice the least time to it so far."""
        decisive = []
        for target in TARGETS:
            hits = [run for run in self.runs if run.error <= target]
            least = min((run.seconds for run in hits), default=0.0)
            decisive += [run for run in hits if run.seconds <= 2 * least and run not in decisive]
        return decisive

    def _reason_to_stop(self, last: Run, higher: tuple[float, ...]) -> str:
        """The reason to climb no further; empty if there is none."""
        if last.error <= TARGETS[-1]:
            return "reached"
        # When newton-cholesky falls back to lbfgs, it counts one iteration less than it was allowed.
        if self.solver.counts_iterations and last.n_iter < last.rung - 1:
            return "stopped by itself"
        if not higher:
            return "last rung"
        return "time" if self._predicted_seconds(last, higher[0]) > self.limit else ""

    def _predicted_seconds(self, last: Run, rung: float) -> float:
        """Predicted seconds of the next rung: in proportion to iterations; as the last for tolerances."""
        return last.seconds * (rung / last.rung if self.solver.counts_iterations else 1.0)

    def _between(self) -> float | None:
        """A rung between the last miss and the first hit of a target, while these are far apart."""
        for target in TARGETS:
            hits = [run.rung for run in self.runs if run.error <= target]
            misses = [run.rung for run in self.runs if not hits or run.rung < min(hits)]
            if hits and misses and min(hits) > NARROW * max(misses) and min(hits) - max(misses) > 1:
                return float(round((min(hits) * max(misses)) ** 0.5))
        return None


def iterations(first: int) -> tuple[float, ...]:
    """Numbers of iterations that grow by the factor STEP, up to at least MAX_ITERATIONS."""
    rungs = [first]
    while rungs[-1] < MAX_ITERATIONS:
        rungs.append(max(rungs[-1] + 1, round(STEP * rungs[-1])))
    return tuple(map(float, rungs))


def softmax_solvers(
    C: float, n_coefficients: int, n_threads: int, error: Callable[[Any], float]
) -> list[Solver]:
    """The package's solver, then those of LogisticRegression that minimise the same objective.

    The solvers of scikit-learn climb over `max_iter`, with a tolerance that never ends a fit. Steps are then
    as fine as can be, and a tolerance that checks too late or too early costs these solvers nothing. The
    package's solver climbs over `tol`, which is what its users set.
    """

    def logistic(name: str, tol: float, first: int) -> Solver:
        def make(rung: float) -> LogisticRegression:
            return LogisticRegression(C=C, solver=name, tol=tol, max_iter=int(rung), random_state=0)

        return Solver(name, make, error, iterations(first), counts_iterations=True)

    def ours(rung: float) -> SoftmaxClassifier:
        return SoftmaxClassifier(C=C, tol=rung, max_iter=MAX_ITERATIONS, n_jobs=n_threads)

    # liblinear is left out because it solves another problem (one class against the rest, penalised
    # intercept). saga is left out because it took 0.9 to 5 times as long as sag on standardised letter, where
    # sag is up to three times as fast as lbfgs to 1e-2; on standardised MNIST both are far behind.
    solvers = [Solver(OURS, ours, error, TOLERANCES, counts_iterations=False)]
    solvers += [logistic("lbfgs", 1e-14, 5), logistic("newton-cg", 1e-12, 1), logistic("sag", 1e-14, 1)]
    if n_coefficients <= MAX_HESSIAN:
        solvers.append(logistic("newton-cholesky", 1e-12, 1))
    return solvers
