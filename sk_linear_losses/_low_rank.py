"""Root of curvature from few samples: the penalty's identity I plus few outer products, ``I + B'B``.

Near a hinge's optimum only the samples at their margins curve, so B has far fewer rows than there are
parameters, as in the semismooth Newton methods for support vector machines. Knows matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dtrsv
from scipy.linalg.lapack import dpotrf, dpotrs

from ._roots import Factor, factorise
from ._shifted_rows import ShiftedRows
from ._typing import Array

# Rows of the elementwise product of two Gram matrices that are made at a time.
CHUNK = 256
# Most that `largest_square` of the vectors may be: beside this the identity has six digits left.
LARGEST_CURVATURE = 1e10


@dataclass(frozen=True)
class OuterProducts:
    """Vectors whose outer products are summed; each is itself the outer product of a row and a factor.

    Parameters
    ----------
    rows : ShiftedRows
    owners : array of shape (n_factors,)
        Index of the row that goes with each factor: ascending, and no row is left out.
    factors : array of shape (n_factors, n_codes)
    """

    rows: ShiftedRows
    owners: Array
    factors: Array

    def moments(self, directions: Array) -> Array:
        """Inner product of each vector with `directions` (n_features, n_codes)."""
        return np.asarray(np.einsum("ij,ij->i", self.rows.multiply(directions)[self.owners], self.factors))

    def combined(self, weights: Array) -> Array:
        """Weighted sum of the vectors, (n_features, n_codes)."""
        by_row = np.zeros((len(self.rows), self.factors.shape[1]))
        starts = np.searchsorted(self.owners, np.arange(len(self.rows)))
        if len(starts):
            by_row = np.add.reduceat(weights[:, None] * self.factors, starts, axis=0)
        return self.rows.pull_back(by_row)

    def largest_square(self) -> float:
        """Largest squared length of a vector, with those of its stored row and of the shift added up."""
        squares = np.einsum("ij,ij->i", self.factors, self.factors)
        return float((self.rows.squares()[self.owners] * squares).max(initial=0.0))

    def gram(self) -> Array:
        """Inner products of the vectors, valid on and above the diagonal."""
        of_rows = self.rows.gram()
        gram = np.asarray(self.factors @ self.factors.T)
        for start in range(0, len(gram), CHUNK):
            part = of_rows[self.owners[start : start + CHUNK]]
            gram[start : start + CHUNK, start:] *= part.take(self.owners[start:], axis=1)
        return gram


@dataclass
class LowRankRoot:
    """A root of ``I + B'B``, and of the Schur complement that this leaves of an intercept's curvature.

    The inverse of its transpose is the ``T = I - B' inv(L).T inv(L + I) B`` of [1]_, with
    ``L L' = I + B B'``, bordered by that of the intercept.

    Parameters
    ----------
    products : OuterProducts
        The rows of B.
    lower : array of shape (n_factors, n_factors)
        L.
    diagonal : array of shape (n_factors,)
        The diagonal of L, kept because solutions for ``L + I`` overwrite that in `lower`.
    intercept : Factor, optional
        Factor of the Schur complement: the intercept's curvature where the coefficients follow its moves.
    following : array of shape (n_factors, n_codes)
        What each factor's weight loses as each code's intercept moves by one; zero without an intercept.

    References
    ----------
    .. [1] Andrews, A., "A square root formulation of the Kalman covariance equations", AIAA Journal, 1968.
    """

    products: OuterProducts
    lower: Array
    diagonal: Array
    intercept: Factor | None
    following: Array

    def solve(self, vector: Array) -> Array:
        """``T' vector``, for a vector of each code's inputs, intercept last."""
        given, solved = self._by_input(vector)
        n_features = self.products.rows.n_features
        moments = self.products.moments(given[:n_features])
        weights = self._solve(self._solve(moments, 0.0), 1.0, transposed=True)
        solved[:n_features] = given[:n_features] - self.products.combined(weights)
        if self.intercept is not None:
            solved[-1] = self.intercept.solve(given[-1] - self.following.T @ moments)
        return solved.T.ravel()

    def solve_transposed(self, vector: Array) -> Array:
        """``T vector``, for a vector of each code's inputs, intercept last."""
        given, solved = self._by_input(vector)
        n_features = self.products.rows.n_features
        moments = self.products.moments(given[:n_features])
        weights = self._solve(self._solve(moments, 1.0), 0.0, transposed=True)
        if self.intercept is not None:
            solved[-1] = self.intercept.solve_transposed(given[-1])
            weights += self.following @ solved[-1]
        solved[:n_features] = given[:n_features] - self.products.combined(weights)
        return solved.T.ravel()

    def _by_input(self, vector: Array) -> tuple[Array, Array]:
        """The vector as an array (n_inputs, n_codes), and an empty array of that shape."""
        given = vector.reshape(self.products.factors.shape[1], -1).T
        return given, np.empty(given.shape)

    def _solve(self, vector: Array, shift: float, transposed: bool = False) -> Array:
        """Solution of a system with L plus `shift` on its diagonal."""
        if not len(vector):
            return vector
        self.lower.T.flat[:: len(vector) + 1] = self.diagonal + shift
        return np.asarray(dtrsv(self.lower, vector, lower=True, trans=transposed))


def low_rank_root(products: OuterProducts, added: Array | None) -> LowRankRoot | None:
    """The root, or None where it would have too few digits.

    `added` (n_codes,) is the curvature that each code's intercept has beside that of the vectors; None stands
    for no intercept.
    """
    if not products.largest_square() <= LARGEST_CURVATURE:
        return None
    gram = products.gram()
    gram.flat[:: len(gram) + 1] += 1
    # LAPACK wants columns contiguous: it gets the transpose, whose lower triangle is the upper one here.
    lower = gram.T
    if len(gram):
        lower, failed = dpotrf(lower, lower=True, clean=False, overwrite_a=True)
        if failed:
            return None
    factors, intercept, following = products.factors, None, np.zeros_like(products.factors)
    if added is not None:
        if len(gram):
            following, _ = dpotrs(lower, factors, lower=True)
        curvature = factors.T @ following + np.diag(added)
        intercept = factorise(curvature, np.sqrt(curvature.diagonal()))
    return LowRankRoot(products, lower, lower.diagonal().copy(), intercept, following)
