"""From an objective, starts and a tolerance to a result: the solver's one entrance.

scipy's L-BFGS in preconditioned stages; for hinges, inside the method of multipliers. Where curvature is too
dear, ascent of the dual comes before that. Knows neither labels nor scikit-learn.
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

    The fit ends when the certified gap is small enough or, where that is loose, the Newton decrement;
    or when a reporter asks for it. Seconds are since `time.perf_counter` was at `started`. After a `previous`
    solve in other coordinates it goes on with the multipliers, the bound and the history of that.
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
