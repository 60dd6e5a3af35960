"""Coordinates of few rows in the space that they span."""

import numpy as np
import pytest
import scipy.sparse as sp

from sk_linear_losses._row_space import MAX_ROWS, row_space

RNG = np.random.default_rng(0)
WIDE = RNG.normal(size=(12, 30)) * np.logspace(-4, 4, 30)
WEIGHT = RNG.uniform(0.5, 2, 12)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_scores_and_norm_are_kept(fit_intercept, storage):
    space = row_space(storage(WIDE), WEIGHT, fit_intercept)
    inner = RNG.normal(size=(space.rows.shape[1], 3))
    intercept = RNG.normal(size=3)
    coef, outer_intercept = space.expand(inner, intercept)
    scores = space.rows @ inner + intercept
    np.testing.assert_allclose(
        WIDE @ coef + outer_intercept, scores, rtol=1e-9, atol=1e-9 * np.abs(scores).max()
    )
    np.testing.assert_allclose(np.linalg.norm(coef), np.linalg.norm(inner))
    back, back_intercept = space.contract(coef, outer_intercept)
    np.testing.assert_allclose(back, inner, atol=1e-10)
    np.testing.assert_allclose(back_intercept, intercept, atol=1e-9 * np.abs(scores).max())


def test_coordinates_are_centred_and_no_more_than_rows():
    space = row_space(WIDE, WEIGHT, True)
    assert space.rows.shape[1] <= 12
    np.testing.assert_allclose(WEIGHT @ space.rows, 0, atol=1e-8 * np.abs(space.rows).max())


@pytest.mark.parametrize("shape", [(30, 30), (30, 12), (MAX_ROWS + 1, MAX_ROWS + 2)])
def test_is_for_few_rows_only(shape):
    assert row_space(np.zeros(shape), np.ones(shape[0]), True) is None


def test_leaves_very_wide_sparse_rows_alone():
    assert row_space(sp.csr_array((50, 10**6)), np.ones(50), True) is None
