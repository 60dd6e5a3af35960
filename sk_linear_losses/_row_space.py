"""Coordinates of the space in which the penalised solution lies.

Knows matrices. Knows nothing of losses, objectives and scikit-learn.

The penalised solution lies in the space that the rows span, and the penalty is the same in orthonormal
coordinates of that space. Few rows have at most one coordinate for each row. Where sparse rows are many,
columns that are multiples of each other, such as words that occur in one text only, share one coordinate, and
coordinates may be in any order. For columns that are nearly equal, orthonormal coordinates separate what the
columns have in common from what distinguishes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.linalg.lapack import dpocon, dpotrf
from scipy.sparse.linalg import LinearOperator

from ._numerics import EPSILON, SMALLEST, far_from_zero, generator, weighted_quantile
from ._rows import n_common_entries
from ._shifted_rows import ShiftedRows
from ._typing import Array

# MAX_ROWS: most rows whose space is found at once. With more rows, finding it costs as much as the fits that
# it is to spare, and it is found only for fits that need it. MAX_ROTATED_ENTRIES: most entries of X for which
# it is found for those fits (four copies of 128 MB). MAX_SQUARES: most entries of the square matrices of the
# coordinates, one for each class (512 MB in all). Larger ones are not factorised, so the coordinates would
# bring no curvature.
MAX_ROWS, MAX_ROTATED_ENTRIES, MAX_SQUARES = 1000, 2**24, 2**26
# Most multiply-adds of a QR factorisation of few sparse rows that is done at once. It counts for one
# multiply-add for each feature and pair of rows, but takes as long as five of a large product. When it
# counted for five, a squared hinge took 1.5 to 2 times as long on two of seven kinds of tables; a softmax did
# so on one, and took half as long on two.
SMALL_QR_WORK = 25 * 10**7
# MAX_DENSE_ENTRIES: most entries of a dense X whose space is found at once (400 MB). MAX_SPARSE_ENTRIES:
# stored entries of a sparse X up to which it is copied even if few columns are merged (48 MB).
MAX_DENSE_ENTRIES, MAX_SPARSE_ENTRIES = 5 * 10**7, 2**22
# Most multiply-adds for the Gram matrix of sparse rows (half a second).
MAX_COMMON_ENTRIES = 10**8
# Least reciprocal condition number at which the Cholesky factor of the rows' Gram matrix has ten digits.
WELL_CONDITIONED = 1e-6
# Rows may be equal if their products with a random vector differ by at most this share of the largest
# product.
SAME_PRODUCT = 1e-12
# Round-off of a feature in a QR factorisation, relative to its largest entry.
DIRECTION_ROUND_OFF = 64 * EPSILON
# Least share of the columns that merging must remove to be worth a copy of a large sparse X.
WORTH_MERGING = 0.1
# PROBE_DIGITS: decimal digits to which the products of a random vector with multiples, scaled to unit length,
# agree. MULTIPLE_ROUND_OFF: relative round-off of their entries. Columns that differ by more may separate
# classes.
PROBE_DIGITS = 10
MULTIPLE_ROUND_OFF = 16 * EPSILON


@dataclass(frozen=True)
class RowSpace:
    """Rows as ``(X - shift) @ basis + constant``.

    The basis is a matrix or operator (n_features, n_coordinates). Its columns are orthonormal in all
    directions that the solution uses; `constant` (n_coordinates,) is the image of an added constant feature,
    whose coefficient is zero at the optimum.
    """

    rows: Any
    basis: Any
    shift: Array
    constant: Array

    @property
    def round_off(self) -> float:
        """Round-off of scores computed from features, relative to the sum of their terms by coordinate.

        Infinite where terms by feature may be larger and cancel. They are not larger where each coordinate is
        one feature, or several features that are multiples of each other.
        """
        return MULTIPLE_ROUND_OFF if sp.issparse(self.basis) and not self.shift.any() else np.inf

    def expand(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes) and intercept for the features, from those for the rows."""
        given = self.basis @ coef
        return given, intercept + self.constant @ coef - self.shift @ given

    def contract(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients (n_coordinates, n_classes) and intercept for the rows, from those for the features.

        The constant drops out: it is orthogonal to the images of all features.
        """
        return self.basis.T @ coef, intercept + self.shift @ coef


def row_spaces(
    X: Any, offset: Array | None, weight: Array, fit_intercept: bool, n_classes: int
) -> Iterator[tuple[RowSpace | None, float]]:
    """Coordinates to fit in, cheapest first, each with the multiply-adds that the next coordinates take.

    None stands for the features as they were given. The next coordinates are for a fit that makes no progress
    without them. X is the features less `offset`, if they were moved.
    """
    if offset is None:
        yield from _row_spaces(X, weight, fit_intercept, n_classes)
        return
    as_moved = RowSpace(X, sp.eye_array(X.shape[1], format="csr"), np.zeros(X.shape[1]), np.zeros(X.shape[1]))
    for space, next_work in _row_spaces(X, weight, fit_intercept, n_classes):
        space = space or as_moved
        yield replace(space, shift=space.shift + offset), next_work


def near_zero(X: sp.csr_array, weight: Array) -> tuple[sp.csr_array, Array | None]:
    """Sparse X less an offset, and the offset: the means of the columns far from zero, and zero for others.

    Every row with weight stores an entry of such a column: a zero would be farther from the mean than the
    column varies. X itself and None if there is no such column.
    """
    weighted = X if weight.all() else X[np.flatnonzero(weight)]
    full = np.bincount(weighted.indices, minlength=X.shape[1]) == weighted.shape[0]
    if not full.any():
        return X, None
    entries = np.flatnonzero(full[X.indices])
    columns, values = X.indices[entries], X.data[entries]
    share = np.repeat(weight, np.diff(X.indptr))[entries] / weight.sum()
    mean = np.bincount(columns, share * values, X.shape[1])
    variance = np.bincount(columns, share * np.square(values - mean[columns]), X.shape[1])
    far = far_from_zero(mean, variance)
    if not far.any():
        return X, None
    offset = np.where(far, mean, 0)
    return sp.csr_array((X.data - offset[X.indices], X.indices, X.indptr), shape=X.shape), offset


def _row_spaces(
    X: Any, weight: Array, fit_intercept: bool, n_classes: int
) -> Iterator[tuple[RowSpace | None, float]]:
    """The same as `row_spaces`, without an offset."""
    sparse, n_features = sp.issparse(X), X.shape[1]
    # Sparse rows without weight count too: they get coordinates, which are dense.
    n_samples = X.shape[0] if sparse else int(np.count_nonzero(weight))
    n_entries, wide = n_samples * n_features, n_samples < n_features
    n_coordinates = min(n_samples, n_features)
    work = n_entries * n_coordinates
    if wide and n_samples <= MAX_ROWS and (sparse or n_entries <= MAX_DENSE_ENTRIES):
        space = _orthonormal(X, weight, fit_intercept, not sparse or work <= SMALL_QR_WORK)
        if space is not None:
            yield space, np.inf
            return
    as_given = _merged_columns(X) if wide and sparse else None
    if n_entries > MAX_ROTATED_ENTRIES or n_classes * n_coordinates**2 > MAX_SQUARES:
        yield as_given, np.inf
        return
    yield as_given, work
    yield _orthonormal(X, weight, fit_intercept), np.inf


def _orthonormal(X: Any, weight: Array, fit_intercept: bool, at_any_cost: bool = True) -> RowSpace | None:
    """Orthonormal coordinates of the space that the rows with weight span; zero for the other rows.

    They depend neither on the order of the rows nor on how often a row is repeated. None if no feature
    varies; unless `at_any_cost`, also if the rows' Gram matrix does not give them.
    """
    weighted = np.flatnonzero(weight)
    given = X if len(weighted) == len(weight) else X[weighted]
    shift = _robust_mean(given, weight[weighted]) if fit_intercept else np.zeros(X.shape[1])
    first, place = _distinct_rows(given)
    if fit_intercept and len(first) == 1:
        return None
    distinct = given[first].astype(np.float64, copy=False)
    space = None
    if not sp.issparse(X):
        distinct -= shift
        space = _by_gram(distinct, np.zeros_like(shift), fit_intercept)
    elif n_common_entries(distinct) <= MAX_COMMON_ENTRIES:
        space = _by_gram(distinct, shift, fit_intercept)
    if space is None and at_any_cost:
        space = _by_qr(distinct.toarray() - shift if sp.issparse(X) else distinct)
    if space is None:
        return None
    rows = np.zeros((len(weight), space.rows.shape[1]))
    rows[weighted] = space.rows[place]
    return replace(space, rows=rows, shift=shift)


def _robust_mean(X: Any, weight: Array) -> Array:
    """Mean of the rows, with less weight for rows longer than most, to which the others would lose digits."""
    # A sum of sparse float32 rows would be made in float32; a product of dense float32 rows would copy them.
    sizes = abs(X)
    lengths = sizes @ np.ones(X.shape[1]) if sp.issparse(X) else sizes.sum(axis=1, dtype=np.float64)
    shares = weight / np.maximum(lengths, weighted_quantile(lengths, weight, 0.5) or 1.0)
    return np.asarray(shares @ X / shares.sum())


def _distinct_rows(X: Any) -> tuple[Array, Array]:
    """Indices of the distinct rows, and for each row the place of its equal among them.

    Rows are sorted by their products with a random vector, which are the same for equal rows.
    """
    products = X @ generator().standard_normal(X.shape[1])
    order = np.argsort(products, kind="stable")
    close = np.diff(products[order]) <= SAME_PRODUCT * np.abs(products).max()
    before, after = order[:-1][close], order[1:][close]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:][close] = abs(X[before] - X[after]).sum(axis=1) > 0
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.cumsum(is_new) - 1
    return order[is_new], place


def _by_gram(X: Any, shift: Array, centred: bool) -> RowSpace | None:
    """Coordinates of few rows less `shift`, from the Cholesky factor of their Gram matrix.

    None if the Gram matrix is badly conditioned. Centred rows are linearly dependent; a constant feature is
    added to make them independent. It has no use beside an intercept, so its coefficient is zero at the
    optimum.
    """
    if X.shape[0] >= X.shape[1]:
        return None
    rows = ShiftedRows(X, shift)
    gram = rows.gram()
    # The round-off of the largest number that is added up affects all entries.
    largest = rows.squares().max()
    level = gram.diagonal().mean() if centred else 0.0
    gram += level
    scale = max(largest, np.abs(gram).sum(axis=0).max())
    lower, failed = dpotrf(gram, lower=True)
    if failed or dpocon(lower, scale, uplo="L")[0] < WELL_CONDITIONED:
        return None

    def solve(right: Array, transposed: bool = False) -> Array:
        return np.asarray(
            scipy.linalg.solve_triangular(lower, right, lower=True, trans=transposed, check_finite=False)
        )

    def expand(coef: Array) -> Array:
        return rows.pull_back(solve(coef, transposed=True))

    def contract(coef: Array) -> Array:
        return solve(rows.multiply(coef))

    # The basis is X.T @ inv(lower).T, as an operator that is not written out.
    basis = LinearOperator(
        X.shape[::-1], dtype=np.float64, matvec=expand, matmat=expand, rmatvec=contract, rmatmat=contract
    )
    return RowSpace(np.tril(lower), basis, shift, level * solve(np.ones(X.shape[0])))


def _by_qr(X: Array) -> RowSpace | None:
    """Coordinates of centred rows from a QR factorisation, which copes with features in very different units.

    With features in descending order of size and pivoting among the rows, its round-off is small relative to
    the size of each feature (A. J. Cox and N. J. Higham, "Stability of Householder QR factorization for
    weighted least squares problems", 1998) and, as always, to that of each row. None if no feature varies.
    """
    sizes = np.abs(X).max(axis=0)
    order = np.argsort(-sizes)
    shares = (np.abs(X) / np.maximum(sizes, SMALLEST)).max(axis=1)
    basis, factor, exchanged = scipy.linalg.qr(
        X[:, order].T, mode="economic", pivoting=True, check_finite=False, overwrite_a=True
    )
    # Drop directions in which no feature varies by more than its round-off in any row.
    largest = (np.abs(factor) / np.maximum(shares[exchanged], SMALLEST)).max(axis=1)
    kept = (np.abs(basis) * largest > DIRECTION_ROUND_OFF * sizes[order, None]).any(axis=0)
    if not kept.any():
        return None
    rows = np.empty((len(X), np.count_nonzero(kept)))
    rows[exchanged] = factor[kept].T
    sorted_basis, basis = basis[:, kept], np.empty((X.shape[1], rows.shape[1]))
    basis[order] = sorted_basis
    return RowSpace(rows, basis, np.zeros(X.shape[1]), np.zeros(rows.shape[1]))


def _merged_columns(X: sp.csr_array) -> RowSpace | None:
    """One coordinate for each group of columns that are positive multiples of each other, most used first.

    The parameters that a sparse product reads again and again then lie close together. None if X is large and
    merging removes few columns, or if all columns are zero.
    """
    n_features = X.shape[1]
    lengths = np.sqrt(_column_sums(X, np.square(X.data, dtype=np.float64)))
    kept = np.flatnonzero(lengths)
    if len(kept) == 0:
        return None
    leaders = _first_multiples(X, lengths)[kept]
    first = kept[leaders == kept]
    if len(first) > (1 - WORTH_MERGING) * n_features and X.nnz > MAX_SPARSE_ENTRIES:
        return None
    first = first[np.argsort(-np.bincount(X.indices, minlength=n_features)[first], kind="stable")]
    place = np.empty(n_features, X.indices.dtype)
    place[first] = np.arange(len(first))
    group = place[leaders]
    length = np.sqrt(np.bincount(group, weights=lengths[kept] ** 2))
    rows = X[:, first]
    # Longer columns are in float64. In float32 they would be rounded, and the certificate would be for
    # slightly different rows.
    if len(first) < len(kept):
        rows.data = rows.data * (length / lengths[first])[rows.indices]
    shares = (lengths[kept] / length[group]).astype(rows.dtype)
    basis = sp.csr_array((shares, (kept.astype(group.dtype), group)), shape=(n_features, len(first)))
    return RowSpace(rows, basis, np.zeros(n_features), np.zeros(len(first)))


def _column_sums(X: sp.csr_array, values: Array) -> Array:
    """Sums by column of `values`, which take the place of the stored entries."""
    transposed = sp.csc_array((values, X.indices, X.indptr), shape=X.shape[::-1])
    return np.asarray(transposed @ np.ones(X.shape[0]))


def _first_multiples(X: sp.csr_array, lengths: Array) -> Array:
    """For each column, the index of the first column that it is a positive multiple of, perhaps itself.

    Columns are compared if their products with a random vector, divided by their lengths, agree.
    """
    kept, first = np.flatnonzero(lengths), np.arange(X.shape[1])
    probe = generator().standard_normal(X.shape[0])
    products = (X.T @ probe)[kept] / lengths[kept]
    _, leaders, values = np.unique(np.round(products, PROBE_DIGITS), return_index=True, return_inverse=True)
    leaders = leaders[values]
    alike = leaders != np.arange(len(kept))
    columns, others = kept[alike], kept[leaders[alike]]
    compared = np.zeros(len(first), bool)
    compared[columns] = compared[others] = True
    place = np.cumsum(compared) - 1
    by_column = X[:, np.flatnonzero(compared)].tocsc()
    agree = _are_multiples(by_column, lengths[compared], place[columns], place[others])
    first[columns[agree]] = others[agree]
    return first


def _are_multiples(X: sp.csc_array, lengths: Array, columns: Array, others: Array) -> Array:
    """Whether each of `columns` is the column at the same place of `others`, except for its length."""
    counts = np.diff(X.indptr)
    agree = counts[columns] == counts[others]
    size = counts[columns[agree]]
    pair = np.repeat(np.flatnonzero(agree), size)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(size) - size, size)
    left, right = columns[pair], others[pair]
    i, j = X.indptr[left] + within, X.indptr[right] + within
    unit, other = X.data[i] / lengths[left], X.data[j] / lengths[right]
    differs = X.indices[i] != X.indices[j]
    differs |= np.abs(unit - other) > MULTIPLE_ROUND_OFF * np.abs(other)
    agree[pair[differs]] = False
    return np.asarray(agree)
