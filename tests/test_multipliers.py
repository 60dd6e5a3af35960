"""How the method of multipliers chooses its smoothing."""

from dataclasses import replace

import numpy as np
import pytest

from sk_linear_losses._envelope import HingeObjective, smoothed_term
from sk_linear_losses._multipliers import SHRINK, _MethodOfMultipliers
from sk_linear_losses._objective import statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses._run import Run
from sk_linear_losses._solver import solve
from sk_linear_losses.losses import WestonWatkinsLoss

from .oracles import generated

TOL = 1e-8


@pytest.fixture(scope="module")
def objective():
    """A hinge objective, smoothed as a fit starts."""
    X, y = generated(0, 400, 5, 3)
    rows = Rows(X, y, np.ones(len(y)), 3, 1)
    statistics = statistics_of(rows, True)
    term = smoothed_term(WestonWatkinsLoss(), rows, 1.0, statistics)
    return HingeObjective(rows, term, 1.0, 1.0, True, statistics, False)


def moved(objective, theta, certified=False):
    """The smoothing after one outer step from theta, over that before."""
    at = objective.evaluate(theta)
    run = Run(TOL, 1000, (), at, 0.0, bound=at.objective if certified else -np.inf)
    method = _MethodOfMultipliers(run, objective, at)
    method._move_multipliers()
    return method.objective.term.smoothing / objective.term.smoothing


def test_smoothing_shrinks_towards_the_optimum(objective):
    assert moved(objective, np.zeros(objective.shape)) < 1


def test_smoothing_grows_where_round_off_alone_keeps_multipliers_from_a_certificate(objective):
    """Theirs grows as smoothing shrinks, so that one that is too small would never certify anything."""
    theta = solve(objective, [np.zeros(objective.shape)], TOL, 1000, 0.0).theta
    rounded = objective.with_smoothing(1e-7)
    at = rounded.evaluate(theta)
    assert rounded.gap_parts(at).complementarity < TOL * at.objective
    assert moved(rounded, theta) == pytest.approx(1 / SHRINK)
    assert moved(rounded, theta, certified=True) < 1
    for factor in (1.0, 1.5):
        natural = replace(rounded.term, natural_smoothing=factor * rounded.term.smoothing)
        assert moved(replace(rounded, term=natural), theta) <= factor
