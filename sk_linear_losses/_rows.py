"""Sums over samples: every pass over the data goes through here, block by block.

Knows the storage of X (dense, sparse, memory-mapped) and threads. Knows no losses and no parameters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from threadpoolctl import ThreadpoolController

from .losses import Array

Result = TypeVar("Result")

# Rows of a dense block: few enough for the block to be in cache for its second product, many enough for
# Python's share to be small (512 to 1024 measured alike on 784 features).
DENSE_BLOCK_ROWS = 512
# A sparse block has at least this many scores (0.5 MB) and, since each block's contribution is added to one
# number for each feature, this many stored entries a feature.
SPARSE_BLOCK_SCORES, SPARSE_BLOCK_STORED = 2**16, 4
# Up to this many features the outer products of a row fit in cache beside the block, and one matrix
# product does all weightings at once; beyond it, one product for each weighting is faster.
OUTER_PRODUCT_FEATURES = 40
# Multiply-adds of one pass below which a second thread costs more than it brings.
MIN_WORK_PER_THREAD = 5_000_000


class DenseBlock:
    """Consecutive rows of a dense X, less `offset`, with their classes and weights."""

    def __init__(self, index: int, X: Array, y: Array, weight: Array, offset: Array | None) -> None:
        self.index, self.X, self.y, self.weight, self.offset = index, X, y, weight, offset

    def scores(self, coef: Array, intercept: Array) -> Array:
        """``X @ coef + intercept`` of shape (rows, classes), contiguous along rows."""
        scores = coef.T @ self._rows().T
        scores += intercept[:, None]
        return np.asarray(scores.T)

    def pull_back(self, values: Array) -> Array:
        """``X.T @ values`` of shape (features, classes) for values of shape (rows, classes)."""
        return np.asarray(self._rows().T @ values)

    def squares(self, shift: Array) -> Array:
        """Weighted sums of ``(x - shift) ** 2`` of shape (features,)."""
        shifted = self._rows() - shift
        return np.asarray(np.einsum("ij,ij,i->j", shifted, shifted, self.weight))

    def centred(self, rows: Array, shift: Array) -> Array:
        """The rows selected, less `shift`, as a dense array."""
        return np.asarray(self._rows()[rows] - shift)

    def _rows(self) -> Array:
        """The rows in float64, so that float32 input costs no digits; no copy where nothing is to be done."""
        if self.offset is not None:
            return np.asarray(self.X - self.offset)
        return self.X.astype(np.float64, copy=False)


class SparseBlock:
    """Consecutive rows of a CSR matrix with their classes and weights."""

    def __init__(self, index: int, X: sp.csr_array, y: Array, weight: Array) -> None:
        self.index, self.X, self.y, self.weight = index, X, y, weight
        self._transposed = _share(sp.csc_array(X.shape[::-1], dtype=X.dtype), X)

    def scores(self, coef: Array, intercept: Array) -> Array:
        """``X @ coef + intercept`` of shape (rows, classes), contiguous along rows."""
        return np.asarray(np.asfortranarray(self.X @ coef) + intercept)

    def pull_back(self, values: Array) -> Array:
        """``X.T @ values`` of shape (features, classes) for values of shape (rows, classes)."""
        return np.asarray(self._transposed @ np.ascontiguousarray(values))

    def squares(self, shift: Array) -> Array:
        """Weighted sums of ``(x - shift) ** 2`` of shape (features,)."""
        total = self.weight.sum()
        sums = self._transposed @ self.weight
        squared = _share(sp.csc_array(self._transposed.shape), self._transposed)
        squared.data = np.square(self.X.data, dtype=np.float64)
        return np.asarray(np.maximum(squared @ self.weight - 2 * shift * sums + total * shift**2, 0))

    def centred(self, rows: Array, shift: Array) -> Array:
        """The rows selected, less `shift`, as a dense array."""
        return np.asarray(self.X[rows].toarray() - shift)


Block = DenseBlock | SparseBlock


class Rows:
    """The samples of a problem, in blocks whose contributions can be summed.

    Parameters
    ----------
    X : array or CSR array of shape (n_samples, n_features)
    y : integer array of shape (n_samples,)
    weight : float64 array of shape (n_samples,)
    n_classes : int
    n_threads : int
    offset : float64 array of shape (n_features,), optional
        Subtracted from each row of a dense X whenever it is used.
    """

    def __init__(
        self,
        X: Any,
        y: Array,
        weight: Array,
        n_classes: int,
        n_threads: int,
        offset: Array | None = None,
    ) -> None:
        self.n_samples, self.n_features = X.shape
        self.offset = np.zeros(self.n_features) if offset is None else offset
        self.blocks = list(_split(X, y, weight, n_classes, offset))
        self.n_stored = int(X.nnz if sp.issparse(X) else X.size)
        useful = 1 + self.n_stored * n_classes // MIN_WORK_PER_THREAD
        self.n_threads = min(n_threads, useful, len(self.blocks))

    def sum(self, function: Callable[[Block], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Sum over blocks of the arrays and numbers that `function` returns for each.

        The order of summation depends on the number of threads alone.
        """
        parts = self._each_share(lambda share: _sum_blocks(function, share))
        return tuple(sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True))

    def map(self, function: Callable[[Block], Result]) -> list[Result]:
        """What `function` returns for each block, in order."""
        parts = self._each_share(lambda share: [function(block) for block in share])
        return [result for part in parts for result in part]

    def _each_share(self, work: Callable[[list[Block]], Result]) -> list[Result]:
        """Results of `work` on consecutive shares of the blocks, one share a thread."""
        if self.n_threads == 1:
            return [work(self.blocks)]
        bounds = np.linspace(0, len(self.blocks), self.n_threads + 1).astype(int)
        shares = [self.blocks[i:j] for i, j in pairwise(bounds)]
        with ThreadPoolExecutor(self.n_threads) as pool:
            return list(pool.map(work, shares))


def chunks(selected: Array) -> list[Array]:
    """The selected rows in parts small enough to be made dense."""
    return np.array_split(selected, range(DENSE_BLOCK_ROWS, len(selected), DENSE_BLOCK_ROWS))


def weighted_grams(rows: Array, weights: Array) -> Array:
    """``rows.T @ diag(w) @ rows`` for each column w of `weights`: (n_weightings, n_features, n_features)."""
    n_features, n_weightings = rows.shape[1], weights.shape[1]
    if n_features > OUTER_PRODUCT_FEATURES or n_weightings == 1:
        return np.stack([_gram(rows, weight) for weight in weights.T])
    upper = np.triu_indices(n_features)
    packed = weights.T @ (rows[:, upper[0]] * rows[:, upper[1]])
    grams = np.empty((n_weightings, n_features, n_features))
    grams[:, upper[0], upper[1]] = packed
    grams[:, upper[1], upper[0]] = packed
    return grams


def _gram(rows: Array, weight: Array) -> Array:
    """``rows.T @ diag(weight) @ rows``, from the rows whose weight is not zero."""
    kept = np.flatnonzero(weight)
    if len(kept) < len(weight) // 2:
        rows, weight = rows[kept], weight[kept]
    return np.asarray(rows.T @ (rows * weight[:, None]))


def _split(X: Any, y: Array, weight: Array, n_classes: int, offset: Array | None) -> Iterator[Block]:
    """The blocks, as views of X."""
    n_samples = X.shape[0]
    sparse = sp.issparse(X)
    step = DENSE_BLOCK_ROWS
    if sparse:
        enough_stored = SPARSE_BLOCK_STORED * X.shape[1] * n_samples // max(X.nnz, 1)
        step = max(1, SPARSE_BLOCK_SCORES // n_classes, enough_stored)
    for index, start in enumerate(range(0, n_samples, step)):
        part = slice(start, min(start + step, n_samples))
        if sparse:
            yield SparseBlock(index, _row_view(X, part), y[part], weight[part])
        else:
            yield DenseBlock(index, X[part], y[part], weight[part], offset)


def _row_view(X: sp.csr_array, part: slice) -> sp.csr_array:
    """Rows of a CSR array that share its data and indices."""
    view = sp.csr_array((part.stop - part.start, X.shape[1]), dtype=X.dtype)
    indptr = X.indptr[part.start : part.stop + 1]
    stored = slice(indptr[0], indptr[-1])
    view.data, view.indices, view.indptr = X.data[stored], X.indices[stored], indptr - indptr[0]
    return view


def _share(empty: Any, X: Any) -> Any:
    """The matrix with the data and indices of X; scipy's constructors copy views of larger arrays."""
    empty.data, empty.indices, empty.indptr = X.data, X.indices, X.indptr
    return empty


def _sum_blocks(function: Callable[[Block], tuple[Any, ...]], blocks: list[Block]) -> tuple[Any, ...]:
    """Sum of `function` over the blocks."""
    total = list(function(blocks[0]))
    for block in blocks[1:]:
        for i, term in enumerate(function(block)):
            total[i] += term
    return tuple(total)


class _BlasLimit:
    """One BLAS thread while at least one fit is running; nested and concurrent fits are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fits = 0
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._fits == 0:
                self._limiter = _controller().limit(limits=1, user_api="blas")
            self._fits += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._fits -= 1
            if self._fits == 0:
                self._limiter.restore_original_limits()


# Multi-threaded BLAS on products this small is up to 20 times slower than one thread.
single_threaded_blas = _BlasLimit()


@cache
def _controller() -> ThreadpoolController:
    """The thread pools of this process; looking for them takes milliseconds, so once."""
    return ThreadpoolController()


def blas_threads() -> int:
    """Threads that BLAS would use now, limits in force respected."""
    pools = _controller().select(user_api="blas").info()
    return max([pool["num_threads"] for pool in pools], default=1)
