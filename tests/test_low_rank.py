"""Roots of the identity plus few outer products, against dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sk_linear_losses import _low_rank
from sk_linear_losses._low_rank import CHUNK, LARGEST_CURVATURE, OuterProducts, low_rank_root
from sk_linear_losses._shifted_rows import ShiftedRows

N_ROWS, N_FEATURES, N_CODES = 7, 12, 3
# The row of each factor: rows have one factor or several.
OWNERS = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6])


def products(owners=OWNERS, size=1.0):
    rng = np.random.default_rng(0)
    n_rows = len(np.unique(owners))
    rows = size * rng.normal(size=(n_rows, N_FEATURES))
    return OuterProducts(as_they_are(rows), owners, rng.normal(size=(len(owners), N_CODES)))


def as_they_are(rows):
    return ShiftedRows(rows, np.zeros(N_FEATURES))


def vectors(of):
    """Each outer product as one vector, for parameters in the order of a matrix of features by codes."""
    return np.einsum("ij,ik->ijk", of.rows.stored[of.owners], of.factors).reshape(
        len(of.factors), N_FEATURES * N_CODES
    )


MANY = np.sort(np.r_[np.arange(N_ROWS), np.random.default_rng(1).integers(N_ROWS, size=2 * CHUNK)])


@pytest.mark.parametrize("owners", [OWNERS, MANY, np.empty(0, int)], ids=["few", "many", "none"])
def test_sums_and_products_are_those_of_the_vectors(owners):
    of = products(owners)
    B, rng = vectors(of), np.random.default_rng(2)
    direction, weights = rng.normal(size=(N_FEATURES, N_CODES)), rng.normal(size=len(owners))
    assert_allclose(of.moments(direction), B @ direction.ravel(), rtol=1e-10, atol=1e-12)
    assert_allclose(of.combined(weights).ravel(), weights @ B, rtol=1e-10, atol=1e-11)
    assert_allclose(np.triu(of.gram()), np.triu(B @ B.T), rtol=1e-10, atol=1e-12)


def dense(solve, size):
    return np.column_stack([solve(unit) for unit in np.eye(size)])


def curvature(of, added):
    """The identity plus the outer products, codes before inputs; an intercept's input is one."""
    fit_intercept = int(added is not None)
    inputs = np.column_stack([of.rows.stored, np.ones((len(of.rows), fit_intercept))])[of.owners]
    B = np.einsum("ik,ij->ikj", of.factors, inputs).reshape(len(of.factors), inputs.shape[1] * N_CODES)
    own = np.ones((N_CODES, inputs.shape[1]))
    if fit_intercept:
        own[:, -1] = added
    return np.diag(own.ravel()) + B.T @ B


@pytest.mark.parametrize("added", [None, np.zeros(N_CODES), np.arange(float(N_CODES))], ids=str)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_root_makes_the_curvature_the_identity(added, size):
    of = products(size=size)
    matrix = curvature(of, added)
    root = low_rank_root(of, added)
    T, transposed = (dense(solve, len(matrix)) for solve in (root.solve_transposed, root.solve))
    # The identity loses as many digits as the curvature is larger.
    assert_allclose(T.T @ matrix @ T, np.eye(len(matrix)), rtol=0, atol=1e-12 * (1 + size**2))
    assert_allclose(transposed, T.T, rtol=1e-12, atol=1e-12)


def test_solutions_in_any_order_leave_the_root_as_it_is():
    root, given = low_rank_root(products(), np.zeros(N_CODES)), np.arange(float((N_FEATURES + 1) * N_CODES))
    before = root.solve(given)
    root.solve_transposed(given)
    assert_allclose(root.solve(given), before, rtol=0, atol=0)
    assert_allclose(given, np.arange(len(given)), rtol=0, atol=0)


@pytest.mark.parametrize("added", [None, np.full(N_CODES, 4.0)], ids=["coefficients", "intercept"])
def test_without_outer_products_only_the_intercept_is_scaled(added):
    of = products(np.empty(0, int))
    root = low_rank_root(of, added)
    inputs = np.ones((N_CODES, N_FEATURES + (added is not None)))
    expected = inputs.copy()
    if added is not None:
        expected[:, -1] = 1 / 2
    for solve in (root.solve, root.solve_transposed):
        assert_allclose(solve(inputs.ravel()).reshape(inputs.shape), expected, rtol=1e-10)


@pytest.mark.parametrize("size", [1e8, 1e200, np.nan])
def test_what_curves_too_much_has_no_root(size):
    of = products(size=size)
    with np.errstate(all="ignore"):
        assert not (vectors(of) ** 2).sum(axis=1).max() <= LARGEST_CURVATURE
        assert low_rank_root(of, None) is None


@pytest.mark.parametrize(("share", "enough"), [(0.9, True), (1.1, False)])
def test_the_longest_vector_decides_whether_there_is_a_root(share, enough):
    of = products()
    largest = (vectors(of) ** 2).sum(axis=1).max()
    rows = as_they_are(of.rows.stored * np.sqrt(share * LARGEST_CURVATURE / largest))
    scaled = OuterProducts(rows, of.owners, of.factors)
    assert (low_rank_root(scaled, None) is not None) == enough


def test_what_a_shift_leaves_little_of_has_no_root():
    """The Gram matrix has the round-off of the large numbers that are subtracted."""
    of = products()
    far = np.full(N_FEATURES, 1e6)
    assert low_rank_root(of, None) is not None
    assert low_rank_root(replace(of, rows=ShiftedRows(of.rows.stored + far, far)), None) is None


def test_a_factorisation_that_fails_makes_no_root(monkeypatch):
    monkeypatch.setattr(_low_rank, "dpotrf", lambda matrix, **options: (matrix, 3))
    assert low_rank_root(products(), None) is None
