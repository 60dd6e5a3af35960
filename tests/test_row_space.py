"""Coordinates of few rows in the space that the rows span."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.sparse.linalg import LinearOperator

from sk_linear_losses import SoftmaxClassifier, _row_space
from sk_linear_losses._row_space import MAX_ROWS, near_zero, row_spaces

from .oracles import generated

RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0.5, 2, 12)


# Rows that are well and badly conditioned, and rows that span fewer dimensions than there are rows.
WIDE = {
    "gram": RNG.normal(size=(12, 30)),
    "qr": RNG.normal(size=(12, 30)) * np.logspace(-4, 4, 30),
    "repeated": np.repeat(RNG.normal(size=(4, 30)), 3, axis=0),
}


def row_space(X, weight, fit_intercept):
    """The first coordinates to fit in."""
    return next(row_spaces(X, None, weight, fit_intercept, 3))[0]


def assert_same_scores_and_norm(space, X):
    """Assert that scores and norms agree with those of features, and that coefficients come back."""
    inner = space.basis.T @ RNG.normal(size=(X.shape[1], 3))
    intercept = RNG.normal(size=3)
    coef, outer_intercept = space.expand(inner, intercept)
    scores = space.rows @ inner + intercept
    tolerance = 1e-9 * np.abs(scores).max()
    np.testing.assert_allclose(X @ coef + outer_intercept, scores, rtol=1e-9, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(coef), np.linalg.norm(inner))
    back, back_intercept = space.contract(coef, outer_intercept)
    np.testing.assert_allclose(back, inner, atol=1e-10)
    np.testing.assert_allclose(back_intercept, intercept, atol=tolerance)


def sparse_rows(n_rows, n_features):
    """One entry in a hundred, at random."""
    rng = np.random.default_rng(0)
    return sp.csr_array(rng.random((n_rows, n_features)) * (rng.random((n_rows, n_features)) < 0.01))


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", WIDE)
def test_few_rows(name, fit_intercept, storage):
    space = row_space(storage(WIDE[name]), WEIGHT, fit_intercept)
    assert space.rows.shape[1] <= 12
    assert_same_scores_and_norm(space, WIDE[name])


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_round_off_is_that_of_each_feature(fit_intercept):
    """A fill value, an identifier and a time stamp cost the other features no digits."""
    X = RNG.normal(size=(12, 30))
    X[3:6, 7] = 1e30
    X[:, 9] = RNG.integers(0, 10**18, 12)
    X[:, 11] = 1.7e18 + 1e15 * RNG.random(12)
    space = row_space(X, WEIGHT, fit_intercept)
    error = np.abs(space.rows @ space.basis.T + space.shift - X)
    assert (error.max(axis=0) <= 1e-13 * np.abs(X).max(axis=0)).all()


@pytest.mark.parametrize("values", [[1e15], [1e30], [1e15, -1e15], [1e30, 2e30]])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_rows_of_fill_values_do_not_cost_the_others_their_digits(storage, fit_intercept, values):
    filled = np.outer(values, np.ones(30))
    X = np.vstack([RNG.normal(size=(12 - len(values), 30)), filled])
    space = row_space(storage(X), WEIGHT, fit_intercept)
    error = np.abs(space.rows @ space.basis.T + space.shift - X)
    assert error[: -len(values)].max() <= 1e-12
    assert (error[-len(values) :] <= 1e-12 * np.abs(filled)).all()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_rows_without_weight_have_no_part_in_it(storage, fit_intercept):
    X = np.vstack([WIDE["qr"], np.full((15, 30), 9.97e36)])
    alone = row_space(storage(WIDE["qr"]), WEIGHT, fit_intercept)
    space = row_space(storage(X), np.append(WEIGHT, np.zeros(15)), fit_intercept)
    np.testing.assert_allclose(space.rows[:12], alone.rows, atol=1e-12 * np.abs(alone.rows).max())
    np.testing.assert_allclose(space.shift, alone.shift, rtol=1e-12)
    assert not space.rows[12:].any()


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", WIDE)
def test_coordinates_depend_neither_on_the_order_of_rows_nor_on_their_number(name, fit_intercept, storage):
    X = WIDE[name]
    counts = np.arange(1, 13)
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(12), counts))
    weighted = row_space(storage(X), counts.astype(float), fit_intercept)
    # More features than rows.
    wide = np.hstack([X, np.zeros((12, 60))])
    repeated = row_space(storage(wide[order]), np.ones(len(order)), fit_intercept)
    tolerance = 1e-12 * np.abs(weighted.rows).max()
    np.testing.assert_allclose(repeated.rows, weighted.rows[order], atol=tolerance)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_products_of_sparse_rows_are_made_without_making_them_dense(fit_intercept):
    rng = np.random.default_rng(0)
    n_rows, n_features = 300, 10**6
    words = (np.repeat(np.arange(n_rows), 100), rng.zipf(1.3, 100 * n_rows) % n_features)
    X = sp.csr_array((rng.uniform(1, 2, 100 * n_rows), words), shape=(n_rows, n_features))
    tracemalloc.start()
    space = row_space(X, np.ones(n_rows), fit_intercept)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e7
    assert isinstance(space.basis, LinearOperator)
    assert_same_scores_and_norm(space, X)


def test_sparse_rows_with_many_entries_in_common_have_no_products(monkeypatch):
    X = sparse_rows(100, 3000)
    common = float((np.bincount(X.indices) ** 2).sum())
    monkeypatch.setattr(_row_space, "SMALL_QR_WORK", 0)
    for most, is_dense in ((common, True), (common - 1, False)):
        monkeypatch.setattr(_row_space, "MAX_COMMON_ENTRIES", most)
        assert sp.issparse(row_space(X, np.ones(100), True).rows) != is_dense


@pytest.mark.parametrize("most", [360, 359])
def test_large_dense_rows_are_not_copied(most, monkeypatch):
    monkeypatch.setattr(_row_space, "MAX_DENSE_ENTRIES", most)
    assert (row_space(WIDE["gram"], WEIGHT, True) is None) == (most < 360)


@pytest.mark.parametrize("distance", [0, 10, 1e3, 9e3])
def test_sparse_rows_far_from_zero(distance):
    """Centring sums costs digits. Where it costs too many, the Gram matrix is not used."""
    X = RNG.normal(size=(12, 30)) + distance
    assert_same_scores_and_norm(row_space(sp.csr_array(X), WEIGHT, True), X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_multiples_among_sparse_columns_are_merged(dtype):
    """Half of the columns are multiples of the others, and some are empty."""
    n_rows = MAX_ROWS + 1
    columns = sparse_rows(n_rows, 600)
    factors = np.tile([2.0, -0.25, 1024.0], 200)
    empty = sp.csr_array((n_rows, 50))
    X = sp.csr_array(sp.hstack([columns, columns * factors, empty]), dtype=dtype)
    space = row_space(X, np.ones(n_rows), True)
    # Columns of opposite direction are not merged.
    assert space.rows.shape[1] == 800
    assert_same_scores_and_norm(space, X)
    opposite = sp.csr_array(sp.hstack([columns, -columns]), dtype=dtype)
    assert row_space(opposite, np.ones(n_rows), True).rows.dtype == dtype


def test_terms_of_scores_are_known_unless_features_are_mixed_or_moved():
    """Merged columns share the terms of their coordinate, so the sum of sizes is the same."""
    n_rows = MAX_ROWS + 1
    columns = sparse_rows(n_rows, 2 * MAX_ROWS)
    X, weight = sp.csr_array(sp.hstack([columns, 3 * columns])), np.ones(n_rows)
    merged = row_space(X, weight, True)
    inner = RNG.normal(size=(merged.rows.shape[1], 3))
    outer, _ = merged.expand(inner, np.zeros(3))
    assert_allclose(abs(X) @ np.abs(outer), abs(merged.rows) @ np.abs(inner), rtol=1e-12)
    assert merged.round_off < 1e-14
    moved, _ = next(row_spaces(X, np.ones(X.shape[1]), weight, True, 3))
    assert moved.round_off == np.inf
    assert all(row_space(WIDE[name], WEIGHT, True).round_off == np.inf for name in WIDE)


def test_offset_of_sparse_columns():
    """A column has an offset if all rows with weight store it and it is far from zero for its spread."""
    weight = np.array([1.0, 2.0, 1.0, 0.0])
    far, near, constant = [1e6, 1e6 + 1, 1e6 + 2, 0], [1.0, 2.0, 3.0, 4.0], [1e6, 1e6, 1e6, 0]
    absent = [0, 1e6, 1e6 + 1, 0]
    X = sp.csr_array(np.column_stack([near, far, constant, absent]))
    moved, offset = near_zero(X, weight)
    assert_allclose(offset, [0, 1e6 + 1, 0, 0], rtol=1e-15)
    assert_allclose(moved.toarray()[:3], X.toarray()[:3] - offset)
    assert moved.nnz == X.nnz
    unmoved, none = near_zero(X[:, [0, 3]], weight)
    assert none is None
    assert_allclose(unmoved.toarray(), X[:, [0, 3]].toarray())


@pytest.mark.parametrize("difference", [1e-12, 1.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_columns_that_differ_in_few_digits_or_places_are_not_merged(dtype, difference):
    n_rows = MAX_ROWS + 1
    columns = sparse_rows(n_rows, 2 * MAX_ROWS).toarray()
    columns[:10] = 1e6
    near = columns.copy()
    near[10] += 1e6 * difference
    X = sp.csr_array(np.hstack([columns, near]), dtype=dtype)
    space = row_space(X, np.ones(n_rows), True)
    distinct = len(np.unique(X.toarray(), axis=1).T)
    assert space.rows.shape[1] == distinct


@pytest.mark.parametrize("rows", [[10], [11], [10, 11]])
def test_columns_that_differ_in_tiny_entries_are_not_merged(rows):
    """The entries are too small to show in the products with random vectors."""
    n_rows = MAX_ROWS + 1
    pair = np.zeros((n_rows, 2))
    pair[:10] = 1.0
    pair[10, 0] = pair[rows, 1] = 1e-14
    X = sp.csr_array(sp.hstack([pair, sp.eye_array(n_rows)]))
    expected = n_rows + (1 if rows == [10] else 2)
    assert row_space(X, np.ones(n_rows), True).rows.shape[1] == expected


@pytest.mark.parametrize("index_type", [np.int32, np.int64])
def test_sparse_columns_come_in_the_order_of_their_use(index_type):
    X = sparse_rows(MAX_ROWS + 1, 2 * MAX_ROWS)
    X.indices, X.indptr = X.indices.astype(index_type), X.indptr.astype(index_type)
    space = row_space(X, np.ones(MAX_ROWS + 1), True)
    used = np.bincount(X.indices, minlength=X.shape[1])
    np.testing.assert_array_equal(np.bincount(space.rows.indices), np.sort(used[used > 0])[::-1])
    assert space.rows.indices.dtype == index_type
    assert_same_scores_and_norm(space, X)


def test_large_sparse_rows_are_copied_only_to_merge_columns(monkeypatch):
    X = sparse_rows(MAX_ROWS + 1, 2 * MAX_ROWS)
    monkeypatch.setattr(_row_space, "MAX_SPARSE_ENTRIES", X.nnz - 1)
    assert row_space(X, np.ones(MAX_ROWS + 1), True) is None
    repeated = sp.csr_array(sp.hstack([X, X]))
    assert row_space(repeated, np.ones(MAX_ROWS + 1), True).rows.shape[1] <= X.shape[1]


def test_the_work_of_huge_sparse_rows_has_room():
    """Their coordinates would take more multiply-adds than a 64-bit integer can count."""
    n = 2 * 10**6
    X = sp.csr_array((np.ones(3), (np.arange(3), np.arange(3))), shape=(n, n))
    assert list(row_spaces(X, None, np.ones(n), True, 2)) == [(None, np.inf)]


def test_few_rows_with_weight_among_many_are_left_in_their_features():
    """Orthonormal coordinates are dense, with a row for each row of X, with or without weight."""
    X = sp.csr_array(np.eye(40, 30))
    assert row_space(X, (np.arange(40) < 5).astype(float), True) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_sums_of_float32_entries_have_room(storage):
    X = (1e38 * (1 + RNG.random((12, 30)))).astype(np.float32)
    space = row_space(storage(X), WEIGHT, True)
    error = np.abs(space.rows @ (space.basis @ np.eye(space.rows.shape[1])).T + space.shift - X)
    assert error.max() <= 1e-12 * 2e38


@pytest.mark.parametrize("shape", [(30, 30), (30, 12), (MAX_ROWS + 1, MAX_ROWS + 2)])
def test_is_for_few_rows_only(shape):
    assert row_space(np.zeros(shape), np.ones(shape[0]), True) is None


def test_leaves_empty_sparse_rows_alone():
    assert row_space(sp.csr_array((50, 10**6)), np.ones(50), True) is None


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_rows_without_any_variation_are_left_alone(fit_intercept):
    assert row_space(np.full((6, 10), float(fit_intercept)), np.ones(6), fit_intercept) is None


def test_means_do_not_decide_whether_the_gram_matrix_serves():
    X = WIDE["gram"] + 1e4 * RNG.normal(size=30)
    space = row_space(X, WEIGHT, True)
    assert isinstance(space.basis, LinearOperator)
    assert_same_scores_and_norm(space, X)


class TestLastCoordinates:
    """The coordinates for a fit that converges slowly."""

    @pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
    @pytest.mark.parametrize("n_features", [40, 300])
    def test_are_orthonormal_and_separate_what_is_nearly_equal(self, storage, n_features, monkeypatch):
        monkeypatch.setattr(_row_space, "MAX_ROWS", 10)
        X = RNG.normal(size=(100, n_features))
        X[:, 1] = X[:, 0] + 1e-9 * RNG.normal(size=100)
        (first, _), (last, never) = row_spaces(storage(X), None, np.ones(100), True, 3)
        assert first is None or n_features > 100
        assert never == np.inf
        assert_same_scores_and_norm(last, X)
        spread = last.rows.std(axis=0)
        if n_features < 100:
            assert 1e-10 < spread.min() < 1e-8

    @pytest.mark.parametrize(("limit", "least"), [("MAX_ROTATED_ENTRIES", 600), ("MAX_SQUARES", 300)])
    def test_are_for_what_fits_into_memory(self, limit, least, monkeypatch):
        X = RNG.normal(size=(60, 10))
        monkeypatch.setattr(_row_space, limit, least)
        assert len(list(row_spaces(X, None, np.ones(60), True, 3))) == 2
        monkeypatch.setattr(_row_space, limit, least - 1)
        assert len(list(row_spaces(X, None, np.ones(60), True, 3))) == 1


@pytest.mark.parametrize("n_weighted", [40, 200])
def test_dense_rows_without_weight_are_none(n_weighted):
    """Few rows with weight among many count as few rows, and their fit is the same as alone."""
    X, y = generated(0, 300, 120, 3)
    weight = np.zeros(300)
    weight[:n_weighted] = 1
    given = row_space(X, weight, True)
    assert (given is None) == (n_weighted > X.shape[1])
    model = SoftmaxClassifier().fit(X, y, sample_weight=weight)
    alone = SoftmaxClassifier().fit(X[:n_weighted], y[:n_weighted])
    tolerance = 1e-12 if given is not None else 1e-5
    assert_allclose(model.coef_, alone.coef_, rtol=0, atol=tolerance * np.abs(alone.coef_).max())
