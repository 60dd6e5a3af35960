"""Blocks of rows: the products of a pass, and the other operations on some rows at a time.

Knows the storage of X (dense, sparse, memory-mapped), and that the last class scores zero. Knows no losses
and nothing of how parameters are coded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._typing import Array

# A dense block has at most DENSE_BLOCK_ENTRIES entries (2 MB), to be in cache still for its second product,
# and at most DENSE_BLOCK_SCORES scores (0.25 MB), so that arrays made of scores stay in a nearer cache. But
# it may always have DENSE_BLOCK_ROWS rows, which keep Python's share of the time small (512 to 1024 rows
# measured alike on 784 features).
DENSE_BLOCK_ENTRIES, DENSE_BLOCK_SCORES, DENSE_BLOCK_ROWS = 2**18, 2**15, 512
# A sparse block may have this many scores (0.5 MB), but always as many rows as there are features, since each
# block's contribution is added to one number for each feature and class.
SPARSE_BLOCK_SCORES = 2**16
# GRAM_ROWS: rows whose outer products are added up at a time. GRAM_ENTRIES: entries of a Gram matrix of
# sparse rows that are made at a time (8 MB).
GRAM_ROWS, GRAM_ENTRIES = 1024, 2**20


class _Block:
    """Rows of X at the slice `places`, with their classes and weights.

    Products need a block that `ready` has returned; `Rows` hands out such blocks. Products with parameters
    are made in the precision `dtype`.
    """

    def __init__(self, index: int, places: slice, X: Any, y: Array, weight: Array) -> None:
        self.index, self.places, self.X, self.y, self.weight = index, places, X, y, weight
        self.dtype: type[np.floating[Any]] = np.float64

    @property
    def start(self) -> int:
        """Index in X of the first row."""
        return int(self.places.start)

    @property
    def largest(self) -> float:
        """Largest magnitude of a stored entry of X."""
        values = self.X.data if sp.issparse(self.X) else self.X
        return float(max(values.max(initial=0), -values.min(initial=0)))

    def multiply(self, coef: Array, out: Array) -> None:
        """Write ``(X @ coef).T``, in the precision of products."""
        raise NotImplementedError

    def scores(self, coef: Array, intercept: Array) -> Array:
        """``X @ coef + intercept``, and zero for the last class: (rows, classes) in Fortran order."""
        scores = np.empty((coef.shape[1] + 1, len(self.y)), self.dtype)
        self.multiply(coef, scores[:-1])
        scores[:-1] += intercept[:, None]
        scores[-1] = 0
        return scores.T

    def terms(self, coef: Array) -> Array:
        """``abs(X) @ abs(coef)``: what the scores would be if no terms cancelled."""
        return np.asarray(abs(self.X) @ np.abs(coef))

    def centre(self, rows: Array, shift: Array, out: Array) -> None:
        """Write the selected rows, less `shift`, to the dense `out`."""
        centre(self.X, rows, shift, out)


class DenseBlock(_Block):
    """A block of a dense X less `offset`."""

    def __init__(
        self, index: int, places: slice, X: Array, y: Array, weight: Array, offset: Array | None
    ) -> None:
        super().__init__(index, places, X, y, weight)
        self.offset = offset

    def ready(self) -> DenseBlock:
        """The block with rows less `offset` in `dtype`, as products need them; itself if it has such rows."""
        if self.offset is None and self.X.dtype == self.dtype:
            return self
        ready = copy.copy(self)
        rows = self.X if self.offset is None else self.X - self.offset
        ready.X, ready.offset = rows.astype(self.dtype, copy=False), None
        return ready

    def multiply(self, coef: Array, out: Array) -> None:
        """Write ``(X @ coef).T``, in the precision of products."""
        np.matmul(coef.T.astype(self.dtype, copy=False), self.X.T, out=out)

    def pull_back(self, values: Array) -> Array:
        """``X.T @ values`` in float64, of shape (features, columns) for values of shape (rows, columns)."""
        product = values.T.astype(self.dtype, copy=False) @ self.X
        return np.asarray(product.astype(np.float64, copy=False).T)

    def class_sums(self, n_classes: int) -> Array:
        """Weighted sum of the rows of each class, of shape (features, classes)."""
        membership = np.zeros((len(self.y), n_classes))
        membership[np.arange(len(self.y)), self.y] = self.weight
        return self.pull_back(membership)

    def squares(self, shift: Array, weights: Array) -> Array:
        """``((X - shift) ** 2).T @ weights`` of shape (features, weightings)."""
        squares = self.X - shift
        np.square(squares, out=squares)
        return np.asarray((weights.T @ squares).T)

    def squared_norms(self, shift: Array, scale: Array) -> Array:
        """Sum of ``(scale * (x - shift)) ** 2`` over the features of each row."""
        scaled = self.X - shift.astype(self.dtype, copy=False)
        scaled *= scale.astype(self.dtype, copy=False)
        return np.asarray(np.einsum("ij,ij->i", scaled, scaled))

    def columns(self, rows: Array, features: Array) -> Array:
        """The selected columns of the selected rows, dense in float64."""
        return np.asarray(self.X[np.ix_(rows, features)], dtype=np.float64)


class SparseBlock(_Block):
    """A block of a CSR matrix."""

    def __init__(self, index: int, places: slice, X: sp.csr_array, y: Array, weight: Array) -> None:
        super().__init__(index, places, X, y, weight)
        self._transposed = _share(sp.csc_array(X.shape[::-1], dtype=X.dtype), X)

    def ready(self) -> SparseBlock:
        """The block itself: sparse products take the rows as they are."""
        return self

    def multiply(self, coef: Array, out: Array) -> None:
        """Write ``(X @ coef).T``, in the precision of products."""
        # Fits start with zero coefficients, whose product would take as long as any.
        out[:] = (self.X @ coef.astype(self.dtype, copy=False)).T if coef.any() else 0

    def pull_back(self, values: Array) -> Array:
        """``X.T @ values`` in float64, of shape (features, columns) for values of shape (rows, columns)."""
        product = self._transposed @ np.ascontiguousarray(values, dtype=self.dtype)
        return np.asarray(product, dtype=np.float64)

    def class_sums(self, n_classes: int) -> Array:
        """Weighted sum of the rows of each class, of shape (features, classes)."""
        rows = np.arange(len(self.y))
        membership = sp.csr_array((self.weight, (rows, self.y)), shape=(len(rows), n_classes))
        return np.asarray((self._transposed @ membership).toarray())

    def squares(self, shift: Array, weights: Array) -> Array:
        """``((X - shift) ** 2).T @ weights`` of shape (features, weightings)."""
        weights = np.ascontiguousarray(weights)
        stored, squares = self._stored(shift)
        absent = np.maximum(weights.sum(axis=0) - stored @ weights, 0)
        return np.asarray(squares @ weights + np.square(shift)[:, None] * absent)

    def squared_norms(self, shift: Array, scale: Array) -> Array:
        """Sum of ``(scale * (x - shift)) ** 2`` over the features of each row."""
        stored, squares = self._stored(shift)
        of_shift = np.square(shift * scale)
        absent = np.maximum(of_shift.sum() - stored.T @ of_shift, 0)
        return np.asarray(squares.T @ np.square(scale) + absent)

    def columns(self, rows: Array, features: Array) -> Array:
        """The selected columns of the selected rows, dense in float64."""
        return np.asarray(self.X[rows][:, features].toarray(), dtype=np.float64)

    def _stored(self, shift: Array) -> tuple[sp.csc_array, sp.csc_array]:
        """Transposed rows with each stored entry replaced by 1, and by its squared distance from `shift`."""
        ones, squares = (_share(sp.csc_array(self._transposed.shape), self._transposed) for _ in range(2))
        ones.data = np.ones(self.X.nnz)
        squares.data = np.square(self.X.data - shift[self.X.indices])
        return ones, squares


Block = DenseBlock | SparseBlock


def split(
    X: Any, y: Array, weight: Array, n_classes: int, n_threads: int, offset: Array | None
) -> list[Block]:
    """X in blocks that are views of X, the same number for each thread."""
    n_samples = X.shape[0]
    n_blocks = -(-n_samples // _most_rows(X, n_classes))
    n_blocks += -n_blocks % n_threads
    bounds = np.linspace(0, n_samples, n_blocks + 1).astype(int)
    return list(_between(X, y, weight, bounds, offset))


def _most_rows(X: Any, n_classes: int) -> int:
    """Most rows that a block may have."""
    n_features = X.shape[1]
    if sp.issparse(X):
        return int(max(SPARSE_BLOCK_SCORES // n_classes, n_features))
    most = min(DENSE_BLOCK_ENTRIES // n_features, DENSE_BLOCK_SCORES // n_classes)
    return int(max(DENSE_BLOCK_ROWS, most))


def _between(X: Any, y: Array, weight: Array, bounds: Array, offset: Array | None) -> Iterator[Block]:
    """The blocks between the bounds, as views of X."""
    for index, (start, stop) in enumerate(pairwise(bounds.tolist())):
        part = slice(start, stop)
        if sp.issparse(X):
            yield SparseBlock(index, part, _row_view(X, part), y[part], weight[part])
        else:
            yield DenseBlock(index, part, X[part], y[part], weight[part], offset)


def _row_view(X: sp.csr_array, part: slice) -> sp.csr_array:
    """Rows of a CSR array as an array that shares its data and indices."""
    view = sp.csr_array((part.stop - part.start, X.shape[1]), dtype=X.dtype)
    indptr = X.indptr[part.start : part.stop + 1]
    stored = slice(indptr[0], indptr[-1])
    view.data, view.indices, view.indptr = X.data[stored], X.indices[stored], indptr - indptr[0]
    return view


def _share(empty: Any, X: Any) -> Any:
    """`empty`, given the arrays of X: scipy's constructors would copy views of larger arrays."""
    empty.data, empty.indices, empty.indptr = X.data, X.indices, X.indptr
    return empty


def centre(X: Any, rows: Array, shift: Array, out: Array) -> None:
    """Write the selected rows, less `shift`, to the dense `out`."""
    np.subtract(X[rows].toarray() if sp.issparse(X) else X[rows], shift, out=out)


def chunks(selected: Array, size: int = DENSE_BLOCK_ROWS) -> list[Array]:
    """The selected rows in parts small enough to be made dense; at least one part."""
    return [selected[i : i + size] for i in range(0, max(len(selected), 1), size)]
