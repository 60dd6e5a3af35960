"""The solver's only entry point: from an objective, starts and a tolerance to a result.

`_smooth` minimises by stages of scipy's L-BFGS with preconditioning. For hinges, `_multipliers` runs such
stages inside the method of multipliers; where curvature is too dear, ascent of the dual comes before that.
Knows neither labels nor scikit-learn.
"""

from __future__ import annotations

import numpy as np

from ._envelope import HingeObjective
from ._multipliers import minimise_hinge
from ._objective import Objective
from ._run import Reporter, Result, Run
from ._smooth import Stop, minimise_smooth
from ._typing import Array


def solve(
    objective: Objective,
    starts: list[Array],
    tol: float,
    max_iter: int,
    started: float,
    reporters: tuple[Reporter, ...] = (),
    previous: Result | None = None,
) -> Result:
    """Minimise `objective` from the best of `starts` until it is within ``tol * objective`` of the optimum.

    The solve ends when the certified gap is small enough or, where the gap stays loose, when the Newton
    decrement is. It also ends when a reporter asks for the end. Seconds count from `started`, a reading of
    `time.perf_counter`. `previous` is the result of a solve in other coordinates: this one takes over its
    multipliers, bound and history.
    """
    plain = None
    if isinstance(objective, HingeObjective):
        plain = objective.unsmoothed()
        if previous is not None:
            objective = objective.resumed(previous.minimised)
    first = plain or objective
    evaluated = [first.condensed(theta).evaluate(theta) for theta in starts]
    at = min(evaluated, key=lambda at: np.nan_to_num(at.objective, nan=np.inf))
    bound, history = (-np.inf, ()) if previous is None else (previous.bound, previous.history)
    run = Run(tol, max_iter, reporters, at, started, bound, history=list(history))
    run.note(first, at)
    unbounded = False
    if isinstance(objective, HingeObjective):
        objective = minimise_hinge(run, objective, plain, at)
    else:
        unbounded = minimise_smooth(run, objective, at).why is Stop.UNBOUNDED
    return run.result(objective, unbounded)
