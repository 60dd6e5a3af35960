"""Costs: how they grow with size, the plans for curvature, and the budgets that plans keep to."""

import numpy as np
import pytest
import scipy.sparse as sp

from sk_linear_losses._cost import (
    COUNTING,
    ROTATION_ITERATIONS,
    CostModel,
    Form,
    digits_are_cheap,
    gram_stays_sparse,
    is_small,
    iterations_before_rotation,
    may_be_inverted,
    pairs_together,
    rows_stay_sparse,
    saves_evaluations,
)
from sk_linear_losses._objective import Objective, SmoothTerm, Statistics
from sk_linear_losses._rows import Rows
from sk_linear_losses.losses import SoftmaxLoss


def sized(n_samples=2000, n_features=20, n_classes=4, per_row=None, mean=0.0):
    """An objective of this size that takes little memory: all entries equal, or `per_row` ones a row."""
    y = np.arange(n_samples) % n_classes
    X = np.broadcast_to(1.0, (n_samples, n_features))
    if per_row is not None:
        columns = np.add.outer(np.arange(n_samples), np.arange(per_row)) % n_features
        ends = per_row * np.arange(n_samples + 1)
        X = sp.csr_array((np.ones(columns.size), columns.ravel(), ends), (n_samples, n_features))
    centroids = np.zeros((n_classes, n_features))
    statistics = Statistics(
        np.full(n_features, mean), np.ones(n_features), np.bincount(y).astype(float), centroids
    )
    rows = Rows(X, y, np.ones(n_samples), n_classes, 1)
    return Objective(rows, SmoothTerm(SoftmaxLoss()), 1.0, 1.0, True, statistics, n_classes == 2)


def evaluations(objective, whole=None, n_iter=0):
    return CostModel(objective, whole or objective, n_iter)


# Each but the first is larger in one respect than the one before.
GROWING = {
    "few": sized(),
    "rows": sized(n_samples=200_000),
    "features": sized(n_samples=200_000, n_features=60),
    "classes": sized(n_samples=200_000, n_features=60, n_classes=8),
}


def test_evaluations_cost_more_of_more_rows_features_and_classes():
    """A larger objective saves nothing as a sample of a smaller one. One of far fewer rows saves much."""
    objectives = list(GROWING.values())
    for larger, smaller in zip(objectives[1:], objectives, strict=False):
        assert not saves_evaluations(larger, smaller)
    assert saves_evaluations(sized(n_samples=25_000), GROWING["rows"])
    assert not saves_evaluations(GROWING["rows"], GROWING["rows"])
    # For a small problem a sample saves none of the cost around its products.
    assert not saves_evaluations(sized(n_samples=200), GROWING["few"])


def test_what_takes_no_time_is_small_and_has_cheap_digits():
    assert is_small(GROWING["few"])
    assert digits_are_cheap(GROWING["few"])
    for name in ("rows", "features", "classes"):
        assert not is_small(GROWING[name])
        assert not digits_are_cheap(GROWING[name])
    # Cheap evaluations do not make all second derivatives cheap where parameters are many.
    wide = sized(n_samples=20, n_features=10_000)
    assert is_small(wide)
    assert not digits_are_cheap(wide)


def test_sparse_rows_cost_what_they_store():
    dense, stored = sized(20_000, 200), sized(20_000, 200, per_row=200)
    sparse, sparser = sized(20_000, 200, per_row=10), sized(20_000, 200, per_row=2)
    assert saves_evaluations(sparse, dense)
    assert saves_evaluations(sparser, sparse)
    assert saves_evaluations(dense, stored)


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("n_features", [20, 300])
def test_all_second_derivatives_cost_their_multiply_adds_in_evaluations(n_classes, n_features):
    """Within a small factor, since not all multiply-adds run at the same speed."""
    n_samples = 10**6
    objective = sized(n_samples, n_features, n_classes)
    n_pairs, size = n_classes * (n_classes - 1) / 2, objective.n_parameters
    of_curvature = n_pairs * n_samples * (n_features + 1) ** 2 / 2 + size**3 / 6
    of_evaluation = 2 * n_samples * n_features * n_classes
    cost = evaluations(objective).of_all(n_samples * n_pairs)
    assert 0.3 < cost / (of_curvature / of_evaluation) < 2


def test_cost_is_of_matrices_and_of_outer_products_in_evaluations_of_the_whole():
    sample, whole = sized(20_000), GROWING["rows"]
    model, own = evaluations(sample, whole), evaluations(sample)
    for cost in (model.of_all, model.of_classes):
        assert 0 < cost(0) < cost(1000) < cost(2000)
        assert cost(2000) - cost(1000) == pytest.approx(cost(1000) - cost(0))
    shares = [model.of_all(n) / own.of_all(n) for n in (0, 1000)]
    assert shares[0] == pytest.approx(shares[1])
    assert shares[0] < 0.2
    # Two classes curve alike, so there is only one matrix.
    alike = evaluations(sized(20_000, 600, 2))
    assert alike.of_classes(1000) == pytest.approx(alike.of_all(1000))
    assert alike.by_class() == (Form.BY_CLASS, *alike.shared()[1:])
    # Twice as many parameters take eight times the multiply-adds for the factor.
    once, twice = (evaluations(sized(20, size - 1, 2), whole) for size in (500, 1000))
    assert twice.of_all(0) == pytest.approx(8 * once.of_all(0))


def test_few_active_samples_make_second_derivatives_cheap_where_parameters_are_many():
    """Costs grow as the cube of the number of factors: few active samples save much, all of them nothing."""
    objective = sized(5000, 800, 10)
    model = evaluations(objective)
    assert model.of_active(0, 0) < model.of_active(500, 500) < model.of_active(500, 1000)
    assert model.of_active(500, 1000) < model.of_active(1000, 1000)
    assert model.exact().cost == np.inf
    assert model.prefers_active(1200, 1700)
    assert not model.prefers_active(5000, 45_000)
    assert model.of_active(5000, 45_000) == np.inf
    # Too many factors for the memory that curvature may take; the last case has too many entries of rows.
    assert model.of_active(1000, 5000) == np.inf
    # A long fit may use more memory.
    assert evaluations(objective, n_iter=61).of_active(1000, 5000) < np.inf
    assert evaluations(objective, n_iter=61).of_active(1000, 8200) == np.inf
    assert evaluations(sized(5000, 100_000, 2)).of_active(200, 200) == np.inf


@pytest.mark.parametrize(("n_features", "n_classes"), [(300, 3), (60, 10), (20, 12)])
def test_where_parameters_are_few_active_samples_must_be_fewer(n_features, n_classes):
    """Gram matrices pair by pair are cheap as well, the cheaper the fewer samples are active."""
    objective = sized(5000, n_features, n_classes)
    model = evaluations(objective)
    assert model.exact().cost <= model.budget
    preferred = [model.prefers_active(n, n) for n in range(0, 2 * objective.n_parameters, 10)]
    assert preferred[0] == model.counts_active == (model.of_all(0) > COUNTING)
    assert preferred == sorted(preferred, reverse=True)
    assert not preferred[-1]


def test_active_samples_may_cost_so_much_and_no_more():
    """30 evaluations where pair by pair costs too much, else the cost of pair by pair with drawing rows."""
    many = evaluations(sized(5000, 800, 10), n_iter=1000)
    sizes = [n for n in range(0, 4000, 50) if many.of_active(n // 2, n) <= many.budget]
    costs = [many.of_active(n // 2, n) for n in sizes]
    assert [many.prefers_active(n // 2, n) for n in sizes] == [cost <= 30 for cost in costs]
    assert min(costs) < 30 < max(costs)
    few = evaluations(sized(5000, 60, 10))
    between = [n for n in range(0, 1000, 10) if few.of_all(n) < few.of_active(n, n) < few.of_all(n) + 2]
    assert between
    assert all(few.prefers_active(n, n) for n in between)


@pytest.mark.parametrize(
    ("per_row", "mean", "worth_it"), [(None, 0.0, True), (1000, 0.0, True), (10, 0.0, True), (10, 1e5, False)]
)
def test_active_samples_are_not_dear_to_use_beside_an_evaluation(per_row, mean, worth_it):
    """If their rows must be centred before products, they are dense, however sparse the rows are."""
    model = evaluations(sized(2000, 3000, 20, per_row, mean), n_iter=1000)
    assert model.of_active(200, 300) <= 30
    assert model.prefers_active(200, 300) == worth_it


def test_where_all_else_is_too_dear_active_samples_may_cost_what_curvature_may():
    """They may cost more than where curvature of each class alone is affordable."""
    objective = sized(4000, 6000, 4, 30)
    model = evaluations(objective)
    assert model.best.form is Form.DIAGONAL
    sizes = range(100, 2500, 100)
    costs = [model.of_active(n, n) for n in sizes]
    assert [model.prefers_active(n, n) for n in sizes] == [cost <= model.budget for cost in costs]
    assert min(costs) < 30 < model.budget < max(costs)


@pytest.mark.parametrize(
    ("per_row", "mean", "sparse"), [(30, 0.0, True), (30, 90.0, True), (30, 110.0, False), (600, 0.0, False)]
)
def test_rows_stay_sparse_where_products_take_less_and_lose_no_digits(per_row, mean, sparse):
    """The cost of their Gram matrix is in proportion to common entries, and they take little memory."""
    objective = sized(3000, 2000, 4, per_row, mean)
    assert rows_stay_sparse(objective) == sparse
    assert not rows_stay_sparse(sized(3000, 2000, 4))
    dense = evaluations(sized(3000, 2000, 4, mean=mean), objective)
    assert (evaluations(objective).of_active(1000, 1000) < dense.of_active(1000, 1000)) == sparse
    # With so many features, all rows that are not far from zero stay sparse.
    assert (evaluations(sized(3000, 10**6, 4, per_row, mean)).of_active(1000, 1000) < np.inf) == (mean < 100)


@pytest.mark.parametrize("name", GROWING)
def test_better_curvature_costs_more_and_comes_from_no_more_rows_than_there_are(name):
    objective = GROWING[name]
    model = evaluations(objective)
    exact, by_class, shared = model.exact(), model.by_class(), model.shared()
    assert exact.cost > by_class.cost > shared.cost * 0.99
    n_samples = objective.rows.n_samples
    for plan in (exact, by_class, shared):
        assert 0 < plan.cost < np.inf
        assert min(10 * objective.n_inputs, n_samples) <= plan.n_rows <= n_samples
    if not pairs_together(objective):
        assert min(10 * objective.n_inputs, n_samples) <= exact.n_pooled <= n_samples * objective.n_pairs
    # The best affordable curvature is one of them.
    assert model.best in (exact, by_class, shared)
    assert model.best.cost <= model.budget


def test_a_sample_of_the_rows_makes_curvature_affordable():
    """This holds for many rows. Of few rows all are taken."""
    few, many = (evaluations(sized(n_samples, 38, 30)) for n_samples in (1000, 10**6))
    assert few.exact().n_rows == 1000
    assert few.by_class().n_rows == 1000
    assert many.of_all(10**6 * 435) > many.budget
    assert many.exact().cost < many.budget / 4
    assert many.exact().n_rows < 10**6 / 4
    # A longer fit takes more rows.
    later = evaluations(sized(10**6, 38, 30), n_iter=1000)
    assert later.exact().n_rows > many.exact().n_rows
    assert later.exact().cost <= later.budget


def test_iterations_pay_for_fewer_rows_of_the_classes_one_by_one():
    """Until iterations have paid for them, the classes share one matrix."""
    objective = sized(n_samples=6000, n_features=800, n_classes=10)
    models = {n_iter: evaluations(objective, n_iter=n_iter) for n_iter in (0, 40, 65, 100, 200, np.inf)}
    plans = {n_iter: model.by_class() for n_iter, model in models.items()}
    for n_iter in (0, 40):
        assert plans[n_iter].n_rows == 6000
        assert models[n_iter].best == models[n_iter].shared()
    for n_iter in (65, 100):
        assert 3 * objective.n_inputs < plans[n_iter].n_rows < 6000
        assert plans[n_iter].cost == pytest.approx(n_iter)
        assert models[n_iter].best == plans[n_iter]
    assert plans[200].n_rows == plans[np.inf].n_rows == 6000
    # Where the wanted number of rows is affordable, it is taken from the start.
    cheap = evaluations(sized(n_samples=6000, n_features=300, n_classes=10))
    assert cheap.by_class().n_rows == 10 * 301
    assert cheap.best == cheap.by_class()


def test_a_longer_fit_may_spend_more_but_never_what_takes_too_much_memory():
    objective = sized(n_samples=100_000, n_features=1500, n_classes=3)
    models = [evaluations(objective, n_iter=n_iter) for n_iter in (0, 10, 1000, np.inf)]
    budgets = [model.budget for model in models]
    assert budgets == sorted(budgets)
    assert budgets[2] >= 1000
    assert budgets[-1] < np.inf
    assert models[-1].best == models[-1].exact()
    assert models[0].exact().cost > models[0].budget
    huge = evaluations(sized(n_samples=20, n_features=10**6, per_row=2), n_iter=np.inf)
    for plan in (huge.exact(), huge.by_class(), huge.shared()):
        assert plan.cost == np.inf
    assert huge.best.form is Form.LEADING


def test_gram_matrices_are_made_of_rows_as_they_are_stored_where_these_are_empty_and_near_zero():
    assert gram_stays_sparse(sized(n_features=1000, per_row=3))
    assert not gram_stays_sparse(sized(n_features=1000, per_row=500))
    assert not gram_stays_sparse(sized(n_features=1000, per_row=3, mean=1e8))
    assert not gram_stays_sparse(sized(n_features=1000))


def test_gram_matrices_of_pairs_are_made_together_for_many_classes_and_few_features():
    assert pairs_together(sized(n_features=5, n_classes=10))
    assert not pairs_together(sized(n_features=100, n_classes=2))
    assert not pairs_together(sized(n_features=100, n_classes=20))


def test_leaving_out_samples_is_affordable_by_samples_not_by_rows():
    """Several rows may stand for one sample. The cost is that of the inverse and the products with it."""
    once, repeated = sized(500, 30), sized(50_000, 30)
    assert may_be_inverted(once, 500, 500)
    assert may_be_inverted(repeated, 500, 500)
    for n_samples in (500, 500_000):
        assert not may_be_inverted(sized(n_samples, 60, 30), 500, 0)
    assert not may_be_inverted(sized(500, 2000), 500, 500)
    large = sized(500, 100, 30)
    answers = [may_be_inverted(large, 500, n_left_out) for n_left_out in (0, 10**3, 10**9)]
    assert answers == sorted(answers, reverse=True)
    assert not answers[-1]


def test_other_coordinates_are_waited_for_as_long_as_they_cost_and_longer_where_they_are_no_fewer():
    for narrow in (sized(n_samples=2000, n_features=20), sized(n_samples=2000, n_features=1900)):
        assert iterations_before_rotation(narrow, 1.0, 1000) == ROTATION_ITERATIONS
    wide = sized(n_samples=1500, n_features=20_000)
    assert iterations_before_rotation(wide, 1.0, 1000) == 1
    few, many = (iterations_before_rotation(wide, work, 1000) for work in (1e10, 2e10))
    assert 1 < few < ROTATION_ITERATIONS
    assert many == pytest.approx(2 * few, abs=1)
    assert iterations_before_rotation(wide, 1e15, 1000) == 500
