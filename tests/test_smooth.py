"""Why stages end and others follow, and what happens between stages."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sk_linear_losses import _run, _smooth
from sk_linear_losses._certificate import lower_bound
from sk_linear_losses._cost import CURVATURE_BUDGET, Form
from sk_linear_losses._objective import Objective, SmoothTerm, statistics_of
from sk_linear_losses._preconditioner import Preconditioner
from sk_linear_losses._rows import Rows
from sk_linear_losses._run import FINEST_DECREMENT, Run
from sk_linear_losses._smooth import (
    BALANCING_STEPS,
    CAUTION,
    CAUTIONS,
    IMPLAUSIBLE,
    NO_LIMIT,
    PROMISING,
    REBALANCING,
    SAMPLE_DIGITS,
    SAMPLE_ITERATIONS,
    UNCOUPLED_PROMISING,
    IterationLimit,
    SmoothEnd,
    Stop,
    _Stages,
    _warm_start,
    balance_intercept,
    minimise_smooth,
    tighten_bound,
)
from sk_linear_losses._stage import StageEnd
from sk_linear_losses.losses import SoftmaxLoss

from .oracles import counted, generated, softmax_newton

C, TOL = 0.5, 1e-4
X, Y = generated(0, 60, 4, 3)
X_LARGE, Y_LARGE = generated(1, 20_000, 5, 3)
TRUSTED = Preconditioner(None, None, Form.SHARED, renewal_cost=1.0)
ALONE = Preconditioner(None, None, Form.DIAGONAL, renewal_cost=1.0)
EXACT = Preconditioner(None, None, Form.EXACT, renewal_cost=1.0)
SAMPLED = Preconditioner(None, None, Form.EXACT, renewal_cost=1.0, sampled=True)
DEAR = Preconditioner(None, None, Form.EXACT, renewal_cost=1e9)


def softmax_objective(X=X, y=Y, penalty=1.0):
    rows = Rows(X, y, np.ones(len(y)), 3, 1)
    return Objective(rows, SmoothTerm(SoftmaxLoss()), C, penalty, True, statistics_of(rows, True), False)


def optimum():
    """The objective's optimal theta, by Newton's method."""
    coef, intercept = softmax_newton(X, Y, C)
    return softmax_objective().coded_parameters(coef.T, intercept)


def new_run(best, tol=TOL, max_iter=1000, **known):
    return Run(tol, max_iter, known.pop("reporters", ()), best, 0.0, **known)


def new_stages(limit=NO_LIMIT, theta=None, penalty=1.0, **known):
    """Stages of the objective, and an evaluation at theta, by default zero, the best point of their run."""
    objective = softmax_objective(penalty=penalty)
    at = objective.evaluate(np.zeros(objective.shape) if theta is None else theta)
    return _Stages(new_run(at, **known), objective, limit), at


class Script:
    """Replaces stages by single iterations, which change the value and report a decrement by a script."""

    def __init__(self, monkeypatch, *steps):
        self.steps, self.preconditioners = list(steps), []
        monkeypatch.setattr(_smooth, "Stage", self)

    def __call__(self, run, objective, preconditioner, start, assess):
        change, decrement, *rest = self.steps.pop(0)
        self.preconditioners.append(preconditioner)
        at = start._replace(value=start.value + change)
        run.note_estimate(decrement)
        run.end(objective, at)
        end = StageEnd(at, decrement, 1, finished=bool(rest))
        return SimpleNamespace(minimise=lambda planned: end)


def test_stages_say_why_they_end():
    for known, why in (({}, Stop.MET), ({"max_iter": 1}, Stop.LIMIT)):
        stages, at = new_stages(**known)
        end = stages.minimise_and_bound(at, None)
        assert end.why is why
        assert stages.run.is_certified == (why is Stop.MET)
    separable = softmax_objective(np.arange(60.0)[:, None], np.arange(60) // 20, penalty=0.0)
    at = separable.evaluate(np.zeros(separable.shape))
    assert minimise_smooth(new_run(at), separable, at).why is Stop.UNBOUNDED


@pytest.mark.parametrize("last", [(0.0, 0.2), (1e-9, 0.2), (math.nan, math.nan)])
def test_stages_that_bring_nothing_are_not_followed_by_others(last, monkeypatch):
    """The value does not show all progress: reducing the decrement to a tenth is progress too."""
    script = Script(monkeypatch, (-1.0, 2.0), (1e-9, 0.15), (-1e-9, 1.0), last)
    stages, at = new_stages()
    assert stages.minimise(at, None).why is Stop.STALLED
    assert script.steps == []


def test_curvature_that_is_given_serves_for_one_stage(monkeypatch):
    script = Script(monkeypatch, (-1.0, 2.0), (-1.0, 1.0), (-1.0, 0.5, True))
    stages, at = new_stages()
    end = stages.minimise(at, TRUSTED)
    first, *others = script.preconditioners
    assert first is TRUSTED
    assert others[0] is not others[1]
    assert end.preconditioner is others[1]


@pytest.mark.parametrize(("preconditioner", "n_stages"), [(DEAR, 1), (EXACT, 2)])
def test_dear_curvature_ends_with_a_certificate(preconditioner, n_stages, monkeypatch):
    script = Script(monkeypatch, (-1.0, 2.0), (-1.0, 1.0, True))
    stages, at = new_stages()
    stages.run.bound = at.objective
    assert stages.minimise(at, preconditioner).why is Stop.MET
    assert len(script.preconditioners) == n_stages


def test_beyond_so_many_iterations_stages_go_on_only_while_the_optimum_seems_near(monkeypatch):
    stages, at = new_stages(IterationLimit(2))
    far, near = 2 * PROMISING * at.objective, PROMISING * at.objective / 2
    script = Script(monkeypatch, (-1.0, far), (-1.0, near), (-1.0, near), (-1.0, far))
    assert stages.minimise(at, None).why is Stop.LIMIT
    assert script.steps == []
    # Without a stage since, the latest curvature may be that of each feature alone.
    stages.run.note_estimate(near)
    assert stages.minimise(at, None).why is Stop.LIMIT
    script.steps.append((-1.0, far))
    assert stages.minimise(at, TRUSTED).why is Stop.LIMIT
    assert script.preconditioners[-1] is TRUSTED


@pytest.mark.parametrize(
    ("preconditioner", "made", "share", "begins"),
    [
        (EXACT, 3, 1.1 * IMPLAUSIBLE, False),
        (EXACT, 3, 0.9 * IMPLAUSIBLE, True),
        (EXACT, 2, 1.1 * IMPLAUSIBLE, True),
        # What other curvature promises is not reliable.
        (TRUSTED, 3, 1.1 * IMPLAUSIBLE, True),
    ],
)
def test_once_tried_no_stage_begins_that_promises_what_is_not_plausible(
    preconditioner, made, share, begins, monkeypatch
):
    stages, at = new_stages(IterationLimit(50, tried_after=3))
    stages.run.history.extend([None] * made)
    planned = []

    def new_stage(run, objective, preconditioner, start, assess):
        end = StageEnd(start, share * at.objective, 0, finished=False)
        return SimpleNamespace(end=end, minimise=lambda most: planned.append(most) or end)

    monkeypatch.setattr(_smooth, "Stage", new_stage)
    end = stages.minimise(at, preconditioner)
    assert bool(planned) == begins
    assert begins or (end.why, end.preconditioner) == (Stop.LIMIT, preconditioner)


@pytest.mark.parametrize("is_soft", [True, False])
def test_no_time_is_taken_for_a_certificate_where_others_go_on(is_soft, monkeypatch):
    stages, at = new_stages(IterationLimit(2, is_soft))
    monkeypatch.setattr(stages, "minimise", lambda at, known: SmoothEnd(at, Stop.LIMIT, None))
    thorough = []
    monkeypatch.setattr(_smooth, "tighten_bound", lambda *args, thoroughly: thorough.append(thoroughly))
    stages.minimise_and_bound(at, None)
    assert thorough == [is_soft]


def test_beyond_so_many_iterations_there_may_be_no_more(monkeypatch):
    stages, at = new_stages(IterationLimit(2, is_soft=False))
    script = Script(monkeypatch, (-1.0, 0.0), (-1.0, 0.0), (-1.0, 0.0))
    assert stages.minimise(at, None).why is Stop.LIMIT
    assert len(script.steps) == 1


@pytest.mark.parametrize(
    ("latest", "share"),
    [(TRUSTED, PROMISING), (EXACT, PROMISING), (ALONE, UNCOUPLED_PROMISING), (None, UNCOUPLED_PROMISING)],
)
def test_what_is_promising_depends_on_the_curvature(latest, share):
    stages, at = new_stages(IterationLimit(0))
    # The gap does not count.
    stages.run.bound = at.objective
    for factor in (0.9, 1.1):
        stages.run.note_estimate(factor * share * at.objective)
        assert stages._may_go_on(latest) == (factor < 1)


@pytest.mark.parametrize("caution", CAUTIONS[:3])
def test_estimates_are_taken_with_caution(caution):
    stages, at = new_stages()
    stages.caution = caution
    goal = TOL / caution * at.objective
    assert stages._assess(TRUSTED, at, 0.99 * goal).is_met
    for factor in (1.01, 3.0):
        assert stages._assess(TRUSTED, at, factor * goal) == (False, pytest.approx(factor))
        assert stages.run.estimate == factor * goal
    stages.run.bound = (1 - TOL / 2) * at.objective
    assert stages._assess(TRUSTED, at, 3.0 * goal).is_met


def test_exact_curvature_is_doubted_where_sums_are_rounded():
    stages, at = new_stages()
    decrement = TOL / CAUTION / 2 * at.objective
    assert not stages._assess(EXACT, at, decrement).is_met
    stages.run.round_sums()
    assert stages._assess(EXACT, at, decrement).is_met
    assert stages._assess(EXACT, at, 4 * decrement) == (False, pytest.approx(2.0))


def test_exact_curvature_asks_for_a_certificate_but_of_the_last_digit():
    """The excess is the gradient's distance from a certificate, however small the decrement is."""
    stages, at = new_stages(theta=1.1 * optimum())
    excess = stages.objective.stationarity(at) / (TOL * at.objective)
    assert excess > 10
    for preconditioner in (EXACT, SAMPLED, DEAR):
        decrement = 1e-15 * at.objective
        assert stages._assess(preconditioner, at, decrement) == (False, pytest.approx(excess))
        assert stages._assess(preconditioner, at, FINEST_DECREMENT * at.objective).is_met


def test_exact_curvature_of_all_samples_goes_on_for_accurate_coefficients():
    stages, at = new_stages(theta=optimum())
    stages.run.bound = at.objective
    goal = (TOL / CAUTION) ** 2 * at.penalty
    assert stages._assess(EXACT, at, 0.9 * goal).is_met
    assert stages._assess(EXACT, at, 1.1 * goal) == (False, pytest.approx(1.1))
    assert stages._assess(DEAR, at, 1.1 * goal) == (False, math.inf)
    assert stages._assess(SAMPLED, at, 1e9 * goal).is_met


def test_the_intercept_is_balanced_again_when_the_optimum_is_so_many_times_nearer(monkeypatch):
    stages, at = new_stages(theta=optimum())
    flat = np.zeros_like(at.gradient)
    distances = []

    def assess(distance, at=at):
        before = len(distances)
        monkeypatch.setattr(_smooth, "balance_intercept", lambda *args: distances.append(distance))
        stages._assess(SAMPLED, at, distance * stages.run.best.objective)
        return len(distances) > before

    at, steep = at._replace(gradient=flat), at._replace(gradient=flat + 1.0)
    last = TOL / CAUTION / 2
    assert not assess(1.1 * TOL / CAUTION, at)
    assert not assess(last, steep)
    assert assess(last, at)
    assert not assess(1.1 * last / REBALANCING, at)
    assert assess(0.9 * last / REBALANCING, at)
    stages.run.bound = at.objective
    assert not assess(1e-3 * last, at)


@pytest.mark.parametrize(
    ("off", "factor", "tol", "n_steps"),
    [
        # Ended by the limit, a certificate, coefficients that keep the bound low, a step that goes too far.
        (1.0, 1.0, 1e-12, BALANCING_STEPS),
        (0.01, 1.0, 1e-3, 1),
        (1.0, 1.3, 1e-12, 3),
        (3.0, 1.0, 1e-12, 1),
    ],
)
def test_steps_of_the_intercept_alone_are_few(off, factor, tol, n_steps):
    objective, theta = softmax_objective(), factor * optimum()
    theta[-1] = optimum()[-1] + off * np.array([1.0, -0.5])
    at = objective.evaluate(theta)
    run = new_run(at, tol)
    run.note(objective, at)
    gap = run.gap
    with counted(Objective, "evaluate") as evaluate:
        end = balance_intercept(run, objective, at)
    assert evaluate.call_count == n_steps
    assert_array_equal(end.theta[:-1], theta[:-1])
    assert run.best is end
    if off == 3.0:
        assert end is at
    else:
        assert run.gap < gap
    assert run.is_certified == (tol == 1e-3)


def test_certificates_are_sought_only_where_they_may_be_had(monkeypatch):
    """Certificates are sought in the order of their cost."""
    sought = []
    monkeypatch.setattr(_smooth, "balance_intercept", lambda run, objective, at: sought.append("steps") or at)
    monkeypatch.setattr(
        _smooth, "corrected_bound", lambda objective, at: sought.append("correction") or -math.inf
    )

    def all_sought(thoroughly, penalty=1.0, **known):
        stages, at = new_stages(penalty=penalty, **known)
        sought.clear()
        tighten_bound(stages.run, stages.objective, at, thoroughly)
        return list(sought)

    assert all_sought(thoroughly=True) == ["steps", "correction"]
    assert all_sought(thoroughly=False) == ["steps"]
    assert all_sought(thoroughly=True, penalty=0.0) == ["steps"]
    assert all_sought(thoroughly=True, tol=math.inf, bound=1.0) == []


@pytest.mark.parametrize("latest", [TRUSTED, ALONE])
def test_estimates_without_a_certificate_are_doubted_more_each_time(latest, monkeypatch):
    """In the end all means are tried and, where features are known alone, the best curvature."""
    stages, at = new_stages(tol=1e-12)
    attempts, thorough = [], []

    def minimise(at, preconditioner):
        attempts.append((preconditioner, stages.caution, stages.at_any_cost))
        return SmoothEnd(at, Stop.MET, latest)

    monkeypatch.setattr(stages, "minimise", minimise)
    monkeypatch.setattr(
        _smooth, "tighten_bound", lambda run, objective, at, thoroughly: thorough.append(thoroughly)
    )
    stages.minimise_and_bound(at, None)
    known = [None, *(len(CAUTIONS) - 1) * [latest]]
    expected = [(each, caution, False) for each, caution in zip(known, CAUTIONS, strict=True)]
    if latest is ALONE:
        expected.append((None, CAUTIONS[-1], True))
    assert attempts == expected
    assert thorough == [caution == CAUTIONS[-1] for _, caution, _ in expected]


def test_what_is_no_estimates_fault_is_not_tried_again():
    stages, at = new_stages()
    assert stages._rests_on_estimate(SmoothEnd(at, Stop.MET, TRUSTED))
    for why, known in ((Stop.MET, EXACT), (Stop.MET, None), (Stop.STALLED, TRUSTED), (Stop.LIMIT, TRUSTED)):
        assert not stages._rests_on_estimate(SmoothEnd(at, why, known))
    for known in ({"penalty": 0.0}, {"max_iter": 0}, {"bound": at.objective}):
        stages, at = new_stages(**known)
        assert not stages._rests_on_estimate(SmoothEnd(at, Stop.MET, TRUSTED))


@pytest.mark.parametrize("at_any_cost", [False, True])
def test_where_estimates_have_failed_curvature_may_cost_anything(at_any_cost, monkeypatch):
    script = Script(monkeypatch, (-1.0, 0.5, True))
    stages, at = new_stages()
    stages.at_any_cost = at_any_cost
    stages.run.history.extend([None] * (CURVATURE_BUDGET + 1))
    with counted(_smooth, "precondition") as precondition:
        stages.minimise(at, None)
    ((*_, n_iter),) = (call.args for call in precondition.call_args_list)
    assert n_iter == (math.inf if at_any_cost else CURVATURE_BUDGET + 1)
    assert script.steps == []


@pytest.mark.parametrize(
    ("latest", "penalty", "factor", "credible", "is_trusted"),
    [
        (TRUSTED, 1.0, 0.9, 1.0, True),
        (TRUSTED, 1.0, 1.1, 1.0, False),
        (TRUSTED, 1.0, 0.9, 0.01, False),
        (None, 1.0, 0.9, 1.0, True),
        (ALONE, 1.0, 0.9, 1.0, False),
        (ALONE, 0.0, 0.9, 0.01, True),
    ],
)
def test_estimates_are_forgotten_where_they_cannot_be_trusted(
    latest, penalty, factor, credible, is_trusted, monkeypatch
):
    stages, at = new_stages(penalty=penalty)
    monkeypatch.setattr(_run, "CREDIBLE", credible)
    stages.run.note_estimate(factor * TOL / CAUTION * at.objective)
    monkeypatch.setattr(stages, "minimise", lambda at, known: SmoothEnd(at, Stop.STALLED, latest))
    thorough = []
    monkeypatch.setattr(_smooth, "tighten_bound", lambda *args, thoroughly: thorough.append(thoroughly))
    stages.minimise_and_bound(at, None)
    assert np.isfinite(stages.run.estimate) == is_trusted
    # The bound is that of the last point, and all is tried for a certificate.
    assert stages.run.bound == lower_bound(stages.objective, at)
    assert thorough == [True]


class Trial:
    """Replaces the stage on a sample: keeps its arguments, and ends at a given change of theta."""

    def __init__(self, monkeypatch, change):
        self.change = change
        monkeypatch.setattr(_smooth, "Stage", self)

    def __call__(self, run, objective, preconditioner, start, assess):
        self.run, self.sample, self.start, self.assess = run, objective, start, assess
        end = StageEnd(objective.evaluate(start.theta + self.change), 0.0, 1, True)
        return SimpleNamespace(minimise=lambda planned: end)


@pytest.fixture(scope="module")
def large():
    """An objective large enough for a sample of its rows, and its evaluation at zero."""
    objective = softmax_objective(X_LARGE, Y_LARGE)
    return objective, objective.evaluate(np.zeros(objective.shape))


def test_a_sample_leads_to_a_better_start_or_to_none(large, monkeypatch):
    objective, at = large
    moved, preconditioner = _warm_start(new_run(at), objective, at)
    assert moved.objective < at.objective / 2
    assert preconditioner is not None
    # The same parameters are no better start either.
    for change in (0.0, 100.0):
        trial = Trial(monkeypatch, change)
        start, preconditioner = _warm_start(new_run(at), objective, at)
        assert trial.sample.rows.n_samples < objective.rows.n_samples / 4
        assert start is at
        assert preconditioner is None


def test_what_a_sample_leads_to_is_known_before_the_next_iteration(large):
    objective, at = large
    begun = []
    reporter = SimpleNamespace(
        begin=lambda result: begun.append(result()), end=lambda *args: True, milestone=lambda *args: None
    )
    minimise_smooth(new_run(at, reporters=(reporter,)), objective, at)
    assert begun[0].objective < at.objective / 2
    assert np.isfinite(begun[0].gap)


def test_a_sample_is_solved_in_few_iterations_to_few_digits_and_unseen(large, monkeypatch):
    objective, at = large
    told = []
    reporter = SimpleNamespace(milestone=lambda kind, progress, detail: told.append((kind, progress, detail)))
    run = new_run(at, reporters=(reporter,))
    trial = Trial(monkeypatch, 0.01)
    _warm_start(run, objective, at)
    n_samples = trial.sample.rows.n_samples
    assert trial.run.max_iter == SAMPLE_ITERATIONS
    assert trial.run.tol == 0
    assert trial.run.reporters == ()
    # The sample's points and bounds do not hold for all rows.
    assert run.best is at
    assert run.bound == -np.inf
    ((kind, progress, detail),) = told
    assert (kind, detail) == ("sample", f" of {n_samples} rows")
    assert progress.gap == pytest.approx(trial.run.gap)
    assert np.isfinite(progress.gap)
    # The goal is the sample's noise or, if less, a share of the objective.
    noise = SAMPLE_DIGITS * C * len(Y_LARGE) * objective.n_parameters / n_samples
    for value, goal in ((trial.start.value, noise), (1e-3, SAMPLE_DIGITS * 1e-3)):
        point = trial.start._replace(value=value)
        assert trial.assess(point, 0.99 * goal).is_met
        assert trial.assess(point, 1.01 * goal) == (False, math.inf)


def test_half_the_precision_is_for_what_takes_time():
    for n_samples, is_rounded in ((20_000, False), (60_000, True)):
        X, y = generated(2, n_samples, 5, 3)
        objective = softmax_objective(X.astype(np.float32), y)
        at = objective.evaluate(np.zeros(objective.shape))
        run = new_run(at)
        with counted(Run, "restart") as restart:
            end = minimise_smooth(run, objective, at)
        assert restart.call_count == is_rounded
        assert not run.sums_are_rounded
        assert run.best.objective == objective.evaluate(run.best.theta).objective
        assert np.isinf(run.history[0].gap) == is_rounded
        assert end.why is Stop.MET
