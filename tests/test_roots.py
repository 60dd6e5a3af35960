"""Roots of positive definite matrices against numpy's Cholesky factors and dense matrices."""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose, assert_array_equal

from sk_linear_losses import _roots
from sk_linear_losses._roots import BlockRoot, DiagonalRoot, factorise

from .oracles import relative_error


def positive_definite(seed, size):
    """A random matrix with a condition number of some hundreds."""
    rows = np.random.default_rng(seed).normal(size=(2 * size, size))
    return rows.T @ rows


def factor_of(matrix):
    """The factor of a copy, scaled by its own diagonal."""
    return factorise(matrix.copy(), np.sqrt(matrix.diagonal()))


def dense_root(root, size):
    """L itself, from the solutions for all unit vectors."""
    return np.linalg.inv(np.column_stack([root.solve(unit) for unit in np.eye(size)]))


@pytest.mark.parametrize("units", [np.ones(5), np.logspace(-8, 8, 5)], ids=["good units", "bad units"])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 5)])
def test_solutions_are_those_of_the_cholesky_factor(units, shape):
    """It is the only lower root with a positive diagonal, so scaling must not change it."""
    matrix = units[:, None] * positive_definite(0, 5) * units
    factor = factor_of(matrix)
    rows = np.random.default_rng(1).normal(size=shape)
    given = rows.copy()
    lower = np.linalg.cholesky(matrix)
    forward = scipy.linalg.solve_triangular(lower, rows.T, lower=True).T
    backward = scipy.linalg.solve_triangular(lower, rows.T, lower=True, trans="T").T
    for found, wanted in ((factor.solve(rows), forward), (factor.solve_transposed(rows), backward)):
        assert found.shape == shape
        assert_allclose(found, wanted, rtol=1e-9)
    assert_array_equal(rows, given)


def test_both_solutions_together_solve_the_system():
    matrix = positive_definite(2, 6)
    factor, rows = factor_of(matrix), np.random.default_rng(3).normal(size=(4, 6))
    expected = np.linalg.solve(matrix, rows.T).T
    assert_allclose(factor.solve_transposed(factor.solve(rows)), expected, rtol=1e-10)


@pytest.mark.parametrize("size", [1, 6])
def test_inverse_is_that_of_the_unscaled_matrix(size):
    units = np.logspace(-3, 3, size)
    matrix = units[:, None] * positive_definite(4, size) * units
    inverse = factor_of(matrix).inverse()
    assert_allclose(inverse, np.linalg.inv(matrix), rtol=1e-9)
    assert_allclose(inverse, inverse.T, rtol=1e-14)


@pytest.mark.parametrize("curvature", [0.0, -1e-12, -1e-9, -1e-5])
def test_a_matrix_with_no_or_negative_curvature_is_changed_as_little_as_it_takes(curvature):
    """Only its scaled diagonal changes, not by orders of magnitude more than round-off or that curvature."""
    size, units = 6, np.logspace(-3, 3, 6)
    flat = np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0]) / np.sqrt(size)
    correlations = (size * np.eye(size) - (size - curvature) * np.outer(flat, flat)) / (size - 1)
    correlations /= correlations[0, 0]
    least = np.linalg.eigvalsh(correlations)[0]
    assert least == pytest.approx(curvature / 5, rel=1e-2, abs=1e-15)
    factor = factor_of(units[:, None] * correlations * units)
    root = dense_root(factor, size) / units[:, None]
    change = root @ root.T - correlations
    added = change.diagonal()
    tolerance = 1e-14 + 1e-3 * max(-least, 1e-15)
    assert_allclose(change, added.mean() * np.eye(size), atol=tolerance)
    assert -least < added.mean() < 1e-12 - 1000 * min(least, 0)


def test_equal_inputs_still_have_a_root_that_promises_what_the_matrix_does():
    """Along every vector in the range of a Gram matrix, the root agrees with the matrix."""
    rows = np.random.default_rng(5).normal(size=(8, 3))[:, [0, 1, 2, 0, 1]]
    gram = rows.T @ rows
    assert np.linalg.matrix_rank(gram) == 3
    directions = np.random.default_rng(6).normal(size=(4, 5))
    solved = factor_of(gram).solve(directions @ gram)
    assert_allclose(
        (solved**2).sum(axis=1), np.einsum("ij,jk,ik->i", directions, gram, directions), rtol=1e-6
    )


def test_parameters_of_infinite_scale_stay_put_and_the_others_do_not_see_them():
    matrix = positive_definite(7, 6)
    scale = np.sqrt(matrix.diagonal())
    scale[[1, 4]] = np.inf
    moving = np.isfinite(scale)
    factor = factorise(matrix.copy(), scale)
    rows = np.random.default_rng(8).normal(size=(3, 6))
    solved = factor.solve_transposed(factor.solve(rows))
    assert_array_equal(solved[:, ~moving], 0)
    expected = np.linalg.solve(matrix[np.ix_(moving, moving)], rows[:, moving].T).T
    assert_allclose(solved[:, moving], expected, rtol=1e-10)


def test_a_diagonal_root_is_a_diagonal_matrix():
    scales, rows = np.array([0.5, 2.0, np.inf]), np.arange(6.0).reshape(2, 3)
    root = DiagonalRoot(scales)
    for solve in (root.solve, root.solve_transposed):
        assert_allclose(solve(rows), rows @ np.diag([2.0, 0.5, 0.0]))
        assert_allclose(solve(rows[1]), rows[1] @ np.diag([2.0, 0.5, 0.0]))


def test_block_roots_are_block_diagonal_matrices_whose_blocks_may_share_a_root():
    matrices = [positive_definite(seed, 4) for seed in (9, 10)]
    scales = np.array([1.0, 2.0, 3.0, 4.0])
    root = BlockRoot((factor_of(matrices[0]), DiagonalRoot(scales), factor_of(matrices[1])), (2, 1, 3))
    first, last = map(np.linalg.cholesky, matrices)
    dense = scipy.linalg.block_diag(first, first, np.diag(scales), last, last, last)
    vector = np.random.default_rng(11).normal(size=24)
    assert relative_error(root.solve(vector), np.linalg.solve(dense, vector)) < 1e-10
    assert relative_error(root.solve_transposed(vector), np.linalg.solve(dense.T, vector)) < 1e-10


def test_what_is_not_a_number_has_an_end(monkeypatch):
    """LAPACK may or may not report failure, whatever is added to the diagonal. Either way the loop ends."""
    matrix = np.full((3, 3), np.nan)
    for failed in (0, 1):
        monkeypatch.setattr(_roots, "dpotrf", lambda a, *, failed=failed, **options: (a, failed))
        with np.errstate(invalid="ignore"):
            assert np.isnan(factorise(matrix.copy(), np.ones(3)).solve(np.ones(3))).any()
