"""Ascent of the dual against whole arrays, quadratic programs, and fits without it."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.svm import LinearSVC

from sk_linear_losses import MulticlassSVMClassifier, _ascent, _cost, _multipliers
from sk_linear_losses._ascent import _Ascent, ascend
from sk_linear_losses._cost import ascent_blocks
from sk_linear_losses._envelope import HingeObjective, smoothed_term
from sk_linear_losses._multipliers import minimise_hinge
from sk_linear_losses._objective import statistics_of
from sk_linear_losses._rows import Rows
from sk_linear_losses._run import Run
from sk_linear_losses._smooth import SmoothEnd, Stop
from sk_linear_losses.losses import CrammerSingerLoss, WestonWatkinsLoss

from .oracles import (
    counted,
    crammer_singer_loss,
    generated,
    hinge_program,
    primal,
    squared_loss,
    weston_watkins_loss,
)

BUDGET = _cost.ASCENT_BUDGET


@pytest.fixture(autouse=True)
def _small_problems(monkeypatch):
    """Allow ascent for problems that are small enough to be tested."""
    monkeypatch.setattr(_cost, "ASCENT_BUDGET", math.inf)


pytestmark = pytest.mark.usefixtures("small_blocks")

C, N_BLOCKS, N_FEATURES = 0.5, 3, 40
LOSSES = {
    "Weston-Watkins": (WestonWatkinsLoss, {}, weston_watkins_loss, {}),
    "squared": (WestonWatkinsLoss, {"squared": True}, squared_loss, {"squared": True}),
    "Crammer-Singer": (CrammerSingerLoss, {}, crammer_singer_loss, {"worst": True}),
}


class Case:
    """A small problem, its objective, and its optimum by a quadratic program."""

    def __init__(self, name, n_classes=3, fit_intercept=True, storage=np.asarray, offset=None):
        make, options, self.values, program = LOSSES[name]
        self.X, self.y = generated(0, 50, N_FEATURES, n_classes, noise=0.5)
        self.X += 0.5
        self.weight = 1.0 + np.arange(50) % 4
        self.weight[::7] = 0
        self.margin = 1 + np.arange(n_classes**2).reshape(n_classes, n_classes) / n_classes**2
        self.program = {
            "weight": self.weight,
            "fit_intercept": fit_intercept,
            "margin": self.margin,
            **program,
        }
        rows = Rows(storage(self.X), self.y, self.weight, n_classes, 1, offset)
        statistics = statistics_of(rows, fit_intercept)
        term = smoothed_term(make(self.margin, **options), rows, C, statistics)
        one_vector = n_classes == 2
        self.objective = HingeObjective(rows, term, C, 1.0, fit_intercept, statistics, one_vector)

    @property
    def start(self):
        return np.zeros(self.objective.shape)

    def optimum(self):
        """The optimal objective."""
        X = self.X - self.objective.rows.offset
        oracle = hinge_program(X, self.y, C, **self.program)
        return primal(self.values, X, self.y, *oracle, C, self.weight, margin=self.margin)

    def run(self, tol=1e-6, max_iter=1000):
        at = self.objective.evaluate(self.start)
        run = Run(tol, max_iter, (), at, 0.0)
        run.note(self.objective, at)
        return run


def pull_of(objective, flows):
    """Coded pull of all centred samples on the coefficients, from whole arrays, and that on the intercept."""
    rows = objective.rows
    X = rows._X.toarray() if sp.issparse(rows._X) else rows._X
    X = X - rows.offset - objective.statistics.mean
    gradients = flows.copy()
    gradients[np.arange(len(rows.y)), rows.y] = -flows.sum(axis=1)
    coded = objective.C * rows.weight[:, None] * gradients @ objective.coding
    return X.T @ coded, coded.sum(axis=0)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, np.asfortranarray, sp.csr_array, np.float32])
def test_parameters_are_those_that_the_multipliers_imply(name, n_classes, fit_intercept, storage):
    case = Case(name, n_classes, fit_intercept, storage)
    ascent = _Ascent(case.objective, case.start, N_BLOCKS)
    for _ in range(3):
        ascent.make_pass()
    flows = ascent.objective().term.flows
    pull, total = pull_of(case.objective, flows)
    assert np.abs(pull).max() > 0.1
    theta = ascent.theta
    assert_allclose(theta[:N_FEATURES], -pull, atol=1e-9 * np.abs(pull).max())
    assert_allclose(ascent.total, total, atol=1e-10 * np.abs(pull).max())
    assert len(theta) == N_FEATURES + fit_intercept
    assert_array_equal(case.objective.term.flows, 0)


def test_sparse_rows_in_single_precision_have_products_in_double():
    case = Case("Weston-Watkins", storage=lambda X: sp.csr_array(X.astype(np.float32)))
    ascent = _Ascent(case.objective, case.start, N_BLOCKS)
    for dual in ascent.blocks:
        rows = np.zeros((len(dual.block.y), N_FEATURES))
        rows[:, dual.features] = dual.block.X.toarray()
        rows -= case.objective.statistics.mean
        expected = rows @ rows.T + ascent.imbalance_stiffness
        assert_allclose(dual.gram, expected, atol=1e-12 * np.abs(expected).max())


def test_steps_that_suppose_too_little_curvature_are_not_made():
    case = Case("Weston-Watkins", fit_intercept=False)
    ascent = _Ascent(case.objective, case.start, N_BLOCKS)
    for dual in ascent.blocks:
        dual.supposed_factor = 1e-6
    best = 0.0
    for dual in ascent.blocks:
        ascent._move(dual)
        # The first step met more curvature than supposed; the other steps made up for it.
        assert dual.supposed_factor > 1e-2
        flows = ascent.objective().term.flows
        gain = C * case.weight @ (flows * case.margin[case.y]).sum(axis=1)
        dual = gain - (pull_of(case.objective, flows)[0] ** 2).sum() / 2
        assert dual >= best
        best = dual
    assert best > 0


def test_goes_on_from_the_multipliers_of_the_objective():
    case = Case("Weston-Watkins")
    ascent = _Ascent(case.objective, case.start, N_BLOCKS)
    ascent.make_pass()
    resumed = _Ascent(ascent.objective(), ascent.theta, N_BLOCKS)
    assert_allclose(resumed.theta, ascent.theta, atol=1e-12)
    flows = [each.objective().term.flows for each in (ascent, resumed)]
    assert_array_equal(*flows)


def test_rows_less_an_offset():
    offset = np.linspace(-1, 5, N_FEATURES)
    case, plain = (Case("Weston-Watkins", offset=offset), Case("Weston-Watkins"))
    ends = []
    for each in (case, plain):
        ascent = _Ascent(each.objective, each.start, N_BLOCKS)
        ascent.make_pass()
        ends.append(ascent.theta)
    assert_allclose(*ends, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ascends_to_the_optimum(name, n_classes, fit_intercept):
    case = Case(name, n_classes, fit_intercept)
    optimum = case.optimum()
    ascent = _Ascent(case.objective, case.start, N_BLOCKS)
    duals = []
    for _ in range(400):
        ascent.make_pass()
        objective = ascent.objective()
        loss, rows = objective.term.loss, objective.rows
        flows = objective.term.flows
        gradients = flows.copy()
        gradients[np.arange(len(rows.y)), rows.y] = -flows.sum(axis=1)
        assert np.isfinite(loss._conjugate(gradients, rows.y)).all()
        conjugate = C * rows.weight @ loss._conjugate(gradients, rows.y)
        duals.append(-(ascent.theta[:N_FEATURES] ** 2).sum() / 2 - conjugate)
    assert objective.evaluate(ascent.theta).objective == pytest.approx(optimum, rel=1e-4)
    assert duals[-1] == pytest.approx(optimum, rel=1e-4)
    if fit_intercept:
        assert np.abs(ascent.total).max() <= 1e-4 * C * case.weight.sum()
    else:
        assert (np.diff(duals) >= -1e-9 * optimum).all()
        assert max(duals) <= optimum * (1 + 1e-9)


@pytest.fixture
def in_blocks(monkeypatch):
    """Allow ascent for small problems."""
    monkeypatch.setattr(_multipliers, "ascent_blocks", lambda objective: N_BLOCKS)


@pytest.mark.usefixtures("in_blocks")
class TestAscend:
    @pytest.mark.parametrize("name", LOSSES)
    @pytest.mark.parametrize("fit_intercept", [True, False])
    def test_bounds_hold_and_ascent_ends_where_they_are_near(self, name, fit_intercept):
        case = Case(name, fit_intercept=fit_intercept)
        run = case.run(tol=1e-3)
        objective = ascend(run, case.objective, case.start, N_BLOCKS)
        optimum = case.optimum()
        assert run.bound <= optimum * (1 + 1e-9)
        assert optimum * (1 - 1e-9) <= run.best.objective <= optimum * (1 + 1e-3)
        assert run.history[-1].objective == pytest.approx(optimum, rel=1e-2)
        assert objective.term.smoothing == case.objective.term.smoothing
        assert objective.term.flows.any()

    def test_iterations_are_limited(self):
        case = Case("Weston-Watkins")
        run = case.run(tol=1e-12, max_iter=3)
        with counted(_Ascent, "make_pass") as passes:
            ascend(run, case.objective, case.start, N_BLOCKS)
        assert len(run.history) == 3
        assert passes.call_count == 3 * _cost.ASCENT_PASSES

    def test_ends_where_the_iterations_of_a_fit_would_take_less(self):
        case = Case("Weston-Watkins")
        lengths = []
        for max_iter in (12, 10_000):
            run = case.run(tol=1e-12, max_iter=max_iter)
            ascend(run, case.objective, case.start, N_BLOCKS)
            lengths.append(len(run.history))
        assert lengths[0] == _ascent.RATE < lengths[1]

    def test_ends_where_the_gap_hardly_falls(self, monkeypatch):
        case = Case("Weston-Watkins")
        run = case.run(tol=1e-12)
        monkeypatch.setattr(_Ascent, "make_pass", lambda self: None)
        ascend(run, case.objective, case.start, N_BLOCKS)
        assert len(run.history) == _ascent.RATE

    @pytest.mark.parametrize(("lacking", "length"), [(0.05, 1), (0.2, _ascent.RATE)])
    def test_ends_soon_where_only_the_last_of_the_balance_is_left(self, lacking, length, monkeypatch):
        case = Case("Weston-Watkins")
        run = case.run(tol=1e-6)
        gap_parts = HingeObjective.gap_parts

        def solved(self, at):
            imbalance = lacking * at.objective
            return gap_parts(self, at)._replace(stationarity=0.0, imbalance=imbalance, complementarity=0.0)

        monkeypatch.setattr(HingeObjective, "gap_parts", solved)
        monkeypatch.setattr(_Ascent, "make_pass", lambda self: None)
        # Multipliers that are no better than the first are not kept.
        assert ascend(run, case.objective, case.start, N_BLOCKS) is case.objective
        assert len(run.history) == length

    def test_ends_where_there_is_no_bound(self, monkeypatch):
        case = Case("Weston-Watkins")
        run = case.run()
        run.bound = -math.inf
        monkeypatch.setattr(Run, "note", lambda *args: None)
        assert ascend(run, case.objective, case.start, N_BLOCKS) is case.objective
        assert len(run.history) <= _ascent.RATE

    def test_rows_sorted_by_class_take_no_longer(self):
        X, y = generated(1, 90, 40, 3)
        lengths = []
        for order in (np.argsort(y), np.random.default_rng(0).permutation(90)):
            model = MulticlassSVMClassifier().fit(X[order], y[order])
            assert model.converged_
            lengths.append(model.n_iter_)
        assert max(lengths) <= 2 * min(lengths)

    @pytest.mark.parametrize("scale", [1e-70, 1e70])
    def test_scales(self, scale):
        X, y = generated(2, 60, 30, 3)
        expected = MulticlassSVMClassifier().fit(X, y)
        model = MulticlassSVMClassifier(C=1 / scale**2).fit(X * scale, y)
        assert model.objective_ * scale**2 == pytest.approx(expected.objective_, rel=1e-5)

    @pytest.mark.parametrize("fit_intercept", [True, False])
    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_rows_that_do_not_vary(self, value, fit_intercept):
        X, y = np.full((6, 2), value), np.arange(6) % 3
        model = MulticlassSVMClassifier(fit_intercept=fit_intercept).fit(X, y)
        assert model.objective_ == pytest.approx(12.0, rel=1e-6)

    def test_rows_that_share_nothing(self):
        X, y = np.eye(6), np.arange(6) % 3
        model = MulticlassSVMClassifier().fit(X, y)
        assert model.objective_ == pytest.approx(
            primal(weston_watkins_loss, X, y, *hinge_program(X, y)), rel=1e-6
        )

    def test_weights_without_weight(self):
        case = Case("Weston-Watkins")
        weight = np.where(case.weight == 1, 1e-310, case.weight)
        model = MulticlassSVMClassifier(C).fit(case.X, case.y, weight)
        expected = MulticlassSVMClassifier(C).fit(case.X, case.y, np.where(case.weight == 1, 0, case.weight))
        assert model.objective_ == pytest.approx(expected.objective_, rel=1e-5)


def text(n_samples=700, n_features=6000, n_classes=5, seed=0):
    """Rows of a few words each, of unit length, as tf-idf makes them."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % n_classes
    shares = np.exp(1.5 * rng.normal(size=(n_classes, n_features))) / np.arange(1, n_features + 1) ** 0.7
    shares /= shares.sum(axis=1)[:, None]
    counts = sp.csr_array(np.array([rng.multinomial(40, shares[k]) for k in y], dtype=float))
    return sp.csr_array(sp.diags_array(1 / np.sqrt((counts**2).sum(axis=1))) @ counts), y


@pytest.mark.parametrize(
    ("loss", "C"), [("hinge", 0.01), ("hinge", 1.0), ("hinge", 100.0), ("squared_hinge", 100.0)]
)
def test_fits_of_text_agree_with_those_without(loss, C, monkeypatch):
    X, y = text(1200)
    with counted(_Ascent, "make_pass") as passes:
        model = MulticlassSVMClassifier(C, loss=loss).fit(X, y)
    assert passes.call_count >= _cost.ASCENT_PASSES
    assert model.converged_
    monkeypatch.setattr(_multipliers, "ascent_blocks", lambda objective: 0)
    other = MulticlassSVMClassifier(C, loss=loss).fit(X, y)
    assert model.objective_ == pytest.approx(other.objective_, rel=2e-6)
    assert model.objective_ - model.duality_gap_ <= other.objective_


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_nothing_else_is_minimised_once_ascent_is_certified(loss):
    X, y = text(1200)
    with counted(_multipliers, "precondition") as taken, counted(_Ascent, "make_pass") as passes:
        model = MulticlassSVMClassifier(100, loss=loss, tol=1e-2).fit(X, y)
    assert model.converged_
    assert passes.call_count > 0
    assert taken.call_count == 0


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize("start", ["near", "other coordinates"])
def test_none_from_a_start_that_is_near_nor_after_iterations_in_other_coordinates(start):
    case = Case("Weston-Watkins")
    run = case.run()
    if start == "near":
        run.bound = 0.95 * run.best.objective
    else:
        run.end(case.objective, run.best)
    with counted(_Ascent, "make_pass") as passes:
        minimise_hinge(run, case.objective, None, run.best)
    assert passes.call_count == 0
    assert run.is_certified


class TestSquared:
    """Fits of a squared hinge begin without multipliers."""

    def test_small_C_takes_no_ascent(self):
        X, y = text(1200)
        with counted(_Ascent, "make_pass") as passes:
            model = MulticlassSVMClassifier(0.01, loss="squared_hinge").fit(X, y)
        assert passes.call_count == 0
        assert model.converged_

    @pytest.mark.parametrize(("known", "gradient"), [(0.0, False), (1.0, True)])
    def test_ascent_goes_on_from_what_few_iterations_found(self, known, gradient, monkeypatch):
        """The multipliers start from the gradient found by these iterations, if its bound is good enough."""
        X, y = text(1200)
        monkeypatch.setattr(_multipliers, "GRADIENT_TELLS", known)
        with counted(_multipliers, "ascend") as ascents:
            MulticlassSVMClassifier(100, loss="squared_hinge").fit(X, y)
        _, objective, theta, _ = ascents.call_args.args
        flows = objective.term.flows
        assert flows.any() == gradient
        if gradient:
            scores = X @ objective.feature_parameters(theta)[0] + objective.feature_parameters(theta)[1]
            shortfalls = np.maximum(1 + scores - scores[np.arange(len(y)), y][:, None], 0)
            shortfalls[np.arange(len(y)), y] = 0
            assert_allclose(flows, 2 * shortfalls, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("multipliers", [True, False])
    def test_multipliers_of_other_coordinates_are_kept(self, multipliers, monkeypatch):
        """Multipliers that a fit already has are better than a gradient."""
        case = Case("squared")
        objective = case.objective.with_gradient(case.start) if multipliers else case.objective
        run = case.run()
        run.end(objective, run.best)
        plain = objective.unsmoothed()
        monkeypatch.setattr(_multipliers, "GRADIENT_TELLS", math.inf)
        monkeypatch.setattr(
            _multipliers,
            "minimise_smooth",
            lambda run, plain, at, *_, **__: SmoothEnd(at, Stop.STALLED, None),
        )
        with counted(HingeObjective, "with_gradient") as taken:
            minimise_hinge(run, objective, plain, plain.evaluate(case.start))
        assert taken.call_count == (0 if multipliers else 1)
        assert run.is_certified

    def test_few_iterations_come_before_ascent(self, monkeypatch):
        X, y = text(1200)
        lengths = []
        ascend = _multipliers.ascend

        def noted(run, *arguments):
            lengths.append(len(run.history))
            return ascend(run, *arguments)

        monkeypatch.setattr(_multipliers, "ascend", noted)
        MulticlassSVMClassifier(100, loss="squared_hinge").fit(X, y)
        assert lengths == [_multipliers.BEFORE_ASCENT.iterations]


def test_two_classes_without_intercept_agree_with_linear_svc():
    X, y = text(3000, n_classes=2)
    with counted(_Ascent, "make_pass") as passes:
        model = MulticlassSVMClassifier(fit_intercept=False).fit(X, y)
    assert passes.call_count > 0
    other = LinearSVC(loss="hinge", fit_intercept=False, tol=1e-9, max_iter=10**6).fit(X, y)
    expected = primal(weston_watkins_loss, X, y, other.coef_, np.zeros(1))
    assert expected * (1 - 1e-9) <= model.objective_ <= expected * (1 + 1e-6)


def test_one_long_row_takes_no_longer():
    X, y = text(1200)
    length = np.ones(len(y))
    usual = MulticlassSVMClassifier().fit(X, y).n_iter_
    length[3] = 300
    longer = MulticlassSVMClassifier().fit(sp.csr_array(sp.diags_array(length) @ X), y)
    assert longer.converged_
    assert longer.n_iter_ <= 2 * usual + 10


class TestBlocks:
    def test_where_curvature_is_dear(self):
        X, y = text(1200)
        assert ascent_blocks(self.objective(X, y)) == math.ceil(1200 / _cost.ASCENT_ROWS)

    def test_of_fewer_rows_where_memory_is_short(self, monkeypatch):
        X, y = text(1200)
        objective = self.objective(X, y)
        monkeypatch.setattr(_cost, "MAX_ENTRIES", 1200 * 100)
        assert ascent_blocks(objective) == 12
        monkeypatch.setattr(_cost, "MAX_ENTRIES", 1200 * 60)
        assert ascent_blocks(objective) == 0

    def test_none_where_there_is_room_for_the_curvature_of_all_samples(self):
        assert ascent_blocks(self.objective(*text(1200, n_classes=2))) == 0
        assert ascent_blocks(self.objective(*text(500))) == 0

    def test_none_where_curvature_is_not_dear(self):
        assert ascent_blocks(self.objective(*generated(0, 500, 20, 3))) == 0

    def test_none_where_samples_are_more_than_features(self):
        X, y = text(1300, n_features=1200, n_classes=20)
        assert self.objective(X[:1200], y[:1200]).rows.n_features == 1200
        assert ascent_blocks(self.objective(X[:1200], y[:1200])) > 0
        assert ascent_blocks(self.objective(X, y)) == 0

    def test_none_where_an_iteration_costs_much_more_than_evaluations(self, monkeypatch):
        """With sparse rows of few classes, Python takes most of the time."""
        dense, y = generated(0, 1500, 4000, 5)
        monkeypatch.setattr(_cost, "ASCENT_BUDGET", BUDGET)
        assert ascent_blocks(self.objective(dense, y)) > 0
        assert ascent_blocks(self.objective(*text(3000, n_classes=2))) == 0

    def test_none_where_rows_cannot_be_centred(self):
        X, y = text(1200)
        X = sp.csr_array(sp.hstack([X, 1e9 + np.arange(1200.0)[:, None]]))
        assert ascent_blocks(self.objective(X, y)) == 0

    def test_none_where_rows_would_have_to_be_copied_and_are_large(self, monkeypatch):
        X, y = text(1200, n_features=1300)
        dense = X.toarray()
        assert ascent_blocks(self.objective(np.asfortranarray(dense), y)) > 0
        monkeypatch.setattr(_cost, "MAX_ENTRIES", dense.size - 1)
        assert ascent_blocks(self.objective(dense, y)) > 0
        assert ascent_blocks(self.objective(np.asfortranarray(dense), y)) == 0

    @staticmethod
    def objective(X, y):
        rows = Rows(X, y, np.ones(len(y)), y.max() + 1, 1)
        statistics = statistics_of(rows, True)
        term = smoothed_term(WestonWatkinsLoss(), rows, 1.0, statistics)
        return HingeObjective(rows, term, 1.0, 1.0, True, statistics, False)


@pytest.mark.parametrize("storage", [np.asarray, np.asfortranarray, sp.csr_array])
def test_interleaved_rows(storage):
    rng = np.random.default_rng(0)
    X = rng.random((10, 7)) * (rng.random((10, 7)) < 0.4)
    y, weight = np.arange(10) % 3, 1.0 + np.arange(10)
    rows = Rows(storage(X), y, weight, 3, 1)
    seen = np.zeros(10, dtype=int)
    for features, block in rows.interleaved(4):
        whole = np.zeros((len(block.y), 7))
        whole[:, features] = block.X.toarray() if sp.issparse(block.X) else block.X
        assert_array_equal(whole, X[block.places])
        assert sp.issparse(block.X) or block.X.strides[1] == block.X.itemsize
        assert_array_equal(block.y, y[block.places])
        assert_array_equal(block.weight, weight[block.places])
        seen[block.places] += 1
    assert_array_equal(seen, 1)
