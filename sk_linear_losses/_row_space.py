"""Features in fewer coordinates, where the penalised solution lies in a space that is cheap to find.

Knows matrices. Knows nothing of losses, objectives and scikit-learn.

The penalised solution lies in the space that the rows span, and the penalty is the same in orthonormal
coordinates of that space. A few rows have as many coordinates as there are rows. Of many sparse rows, columns
that are multiples of each other, as words are that occur in one text only, make one coordinate; and the order
of the columns is ours to choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.linalg.lapack import dpocon, dpotrf
from scipy.sparse.linalg import LinearOperator

from .losses import Array

# Most rows: beyond, the decomposition costs as much as the fits that it is to spare.
MAX_ROWS = 1000
# Most entries of a dense X, and of a sparse one, which is made dense or copied (400 MB, 32 to 48 MB).
MAX_ENTRIES, MAX_SPARSE_ENTRIES = 5 * 10**7, 2**22
# Least reciprocal condition of the Gram matrix of the rows for its factor to have ten digits.
WELL_CONDITIONED = 1e-6
# Share of the columns that must go for merging the others to be worth a copy of a large sparse X.
WORTH_MERGING = 0.1
# Random products that tell columns apart, and the digits to which those of multiples agree.
N_PROBES = 4
DIGITS = {np.dtype(np.float64): 10, np.dtype(np.float32): 5}


@dataclass(frozen=True)
class RowSpace:
    """Rows as ``(X - shift) @ basis + constant``.

    The basis is a matrix or operator (n_features, n_coordinates). Its columns are orthonormal in all
    directions that the solution uses; `constant` (n_coordinates,) adds one that it does not.
    """

    rows: Any
    basis: Any
    shift: Array
    constant: Array

    def expand(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes) and intercept for the features, from those for the rows."""
        given = self.basis @ coef
        return given, intercept + self.constant @ coef - self.shift @ given

    def contract(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients (n_coordinates, n_classes) and intercept for the rows, from those for the features."""
        return self.basis.T @ coef, intercept + self.shift @ coef


def row_space(X: Any, weight: Array, fit_intercept: bool) -> RowSpace | None:
    """The space of the rows, where it is small and cheap to find; None elsewhere."""
    n_samples, n_features = X.shape
    if n_samples >= n_features:
        return None
    sparse = sp.issparse(X)
    if n_samples > MAX_ROWS or n_samples * n_features > (MAX_SPARSE_ENTRIES if sparse else MAX_ENTRIES):
        return _merged_columns(X) if sparse else None
    rows = X.toarray() if sparse else X
    shift = weight @ rows / weight.sum() if fit_intercept else np.zeros(n_features)
    centred = rows - shift
    level = float(centred.std()) * np.sqrt(n_features) if fit_intercept else 0.0
    return _by_gram(centred, shift, level) or _by_svd(centred, shift)


def _by_gram(X: Array, shift: Array, level: float) -> RowSpace | None:
    """Coordinates of centred rows from the Cholesky factor of their Gram matrix if it is well conditioned.

    Centred rows are linearly dependent. A constant feature of this level makes them independent again; beside
    an intercept it has no use, so its coefficient is zero at the optimum.
    """
    gram = X @ X.T + level**2
    scale = np.abs(gram).sum(axis=0).max()
    lower, failed = dpotrf(gram, lower=True)
    if failed or dpocon(lower, scale, uplo="L")[0] < WELL_CONDITIONED:
        return None

    def solve(right: Array, transposed: bool = False) -> Array:
        return np.asarray(
            scipy.linalg.solve_triangular(lower, right, lower=True, trans=transposed, check_finite=False)
        )

    def expand(coef: Array) -> Array:
        return np.asarray(X.T @ solve(coef, transposed=True))

    def contract(coef: Array) -> Array:
        return solve(X @ coef)

    # The basis is X.T @ inv(lower).T, and written out only as far as it is asked for.
    basis = LinearOperator(
        X.shape[::-1], dtype=np.float64, matvec=expand, matmat=expand, rmatvec=contract, rmatmat=contract
    )
    return RowSpace(np.tril(lower), basis, shift, level**2 * solve(np.ones(len(X))))


def _by_svd(X: Array, shift: Array) -> RowSpace | None:
    """Coordinates of centred rows from singular vectors, which keep very different units apart.

    None where no feature varies.
    """
    left, lengths, right = scipy.linalg.svd(X, full_matrices=False, check_finite=False, lapack_driver="gesdd")
    kept = lengths > lengths[0] * np.finfo(float).eps
    if not kept.any():
        return None
    return RowSpace(left[:, kept] * lengths[kept], right[kept].T, shift, np.zeros(kept.sum()))


def _merged_columns(X: sp.csr_array) -> RowSpace | None:
    """One coordinate for all columns that are multiples of each other, the most used first.

    The parameters that a sparse product reads again and again then lie close together. None where X is large
    and few columns go. Multiples are told by their products with random vectors, over their lengths.
    """
    n_samples, n_features = X.shape
    squared = X.copy()
    squared.data = np.square(X.data, dtype=np.float64)
    lengths = np.sqrt(squared.T @ np.ones(n_samples))
    kept = np.flatnonzero(lengths)
    if len(kept) == 0:
        return None
    probes = np.random.default_rng(0).standard_normal((n_samples, N_PROBES))
    directions = np.round((X.T @ probes)[kept] / lengths[kept, None], DIGITS[X.dtype])
    order = np.lexsort(directions.T)
    differs = (directions[order[1:]] != directions[order[:-1]]).any(axis=1)
    starts = np.concatenate([[True], differs])
    first = kept[order[starts]]
    if len(first) > (1 - WORTH_MERGING) * n_features and X.nnz > MAX_SPARSE_ENTRIES:
        return None
    uses = np.bincount(X.indices, minlength=n_features)[first]
    place = np.empty(len(first), dtype=X.indices.dtype)
    place[np.argsort(-uses, kind="stable")] = np.arange(len(first))
    group = np.empty(len(kept), dtype=X.indices.dtype)
    group[order] = place[np.cumsum(starts) - 1]
    length = np.sqrt(np.bincount(group, weights=lengths[kept] ** 2))
    shares = (lengths[kept] / length[group]).astype(X.dtype)
    basis = sp.csr_array((shares, (kept.astype(X.indices.dtype), group)), shape=(n_features, len(first)))
    return RowSpace(X @ basis, basis, np.zeros(n_features), np.zeros(len(first)))
