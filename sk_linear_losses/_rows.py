"""Sums over samples: every pass of a solve over the data goes through here, block by block.

Knows the storage of X (dense, sparse, memory-mapped) and threads, and that the last class scores zero. Knows
no losses and nothing of how parameters are coded.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from threadpoolctl import OpenBLASController, ThreadpoolController

from ._typing import Array

Item = TypeVar("Item")
T = TypeVar("T")

# A dense block has few enough entries (2 MB) to be in cache for its second product, few enough scores
# (0.25 MB) for what is made of them to stay nearer still, and enough rows for Python's share to be small (512
# to 1024 measured alike on 784 features).
DENSE_BLOCK_ENTRIES, DENSE_BLOCK_SCORES, DENSE_BLOCK_ROWS = 2**18, 2**15, 512
# A sparse block has at least this many scores (0.5 MB) and, since each block's contribution is added to one
# number for each feature and class, as many rows as there are features.
SPARSE_BLOCK_SCORES = 2**16
# Rows whose outer products are added up at a time, and entries of a sparse Gram matrix made at a time (8 MB).
GRAM_ROWS, GRAM_ENTRIES = 1024, 2**20
# Multiply-adds of one pass below which a second thread costs more than it brings.
MIN_WORK_PER_THREAD = 10_000_000
# Round-off of a sum over samples, as a share of the size of its terms.
ROUND_OFF = 16 * float(np.finfo(float).eps)
# Means in standard deviations beyond which features are centred explicitly: four digits are lost by then.
FAR = 1e4
# Magnitudes between its inverse and this leave room in float32 for products of two and their sums.
LARGEST_SINGLE = 1e15
# Seed of all draws. Data are often made with small seeds, and draws with the same one would go with them: a
# sample could be one class alone.
SEED = 13913064135103373457


@dataclass(frozen=True)
class Samples:
    """Samples with their classes and weights, and how many threads share them; see `Rows`."""

    X: Any
    y: Array
    weight: Array
    n_classes: int
    n_threads: int


class _Block:
    """Some rows of X, at these `places`, with their classes and weights.

    `X` is as products take it only in a block that is `ready`, as `Rows` hands them out. Products with
    parameters are made in the precision `dtype`.
    """

    def __init__(self, index: int, places: slice, X: Any, y: Array, weight: Array) -> None:
        self.index, self.places, self.X, self.y, self.weight = index, places, X, y, weight
        self.dtype: type[np.floating[Any]] = np.float64

    @property
    def start(self) -> int:
        """Place of the first sample."""
        return int(self.places.start)

    @property
    def largest(self) -> float:
        """Largest magnitude in X as it is stored."""
        values = self.X.data if sp.issparse(self.X) else self.X
        return float(max(values.max(initial=0), -values.min(initial=0)))

    def multiply(self, coef: Array, out: Array) -> None:
        """Write ``(X @ coef).T``, in the precision of products."""
        raise NotImplementedError

    def scores(self, coef: Array, intercept: Array) -> Array:
        """``X @ coef + intercept`` and zero for the last class: (rows, classes), contiguous along rows."""
        scores = np.empty((coef.shape[1] + 1, len(self.y)), self.dtype)
        self.multiply(coef, scores[:-1])
        scores[:-1] += intercept[:, None]
        scores[-1] = 0
        return scores.T

    def terms(self, coef: Array) -> Array:
        """``abs(X) @ abs(coef)``: what the scores would be if no terms cancelled."""
        return np.asarray(abs(self.X) @ np.abs(coef))

    def centre(self, rows: Array, shift: Array, out: Array) -> None:
        """The rows selected, less `shift`, written to the dense `out`."""
        _centre(self.X, rows, shift, out)


class DenseBlock(_Block):
    """A block of a dense X less `offset`."""

    def __init__(
        self, index: int, places: slice, X: Array, y: Array, weight: Array, offset: Array | None
    ) -> None:
        super().__init__(index, places, X, y, weight)
        self.offset = offset

    def ready(self) -> DenseBlock:
        """The block with its rows as products take them; itself where nothing is to be done."""
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
        """The columns selected of the rows selected, dense in float64."""
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
        # Fits start with no coefficients, of which the product would take as long as of any.
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
        """The columns selected of the rows selected, dense in float64."""
        return np.asarray(self.X[rows][:, features].toarray(), dtype=np.float64)

    def _stored(self, shift: Array) -> tuple[sp.csc_array, sp.csc_array]:
        """Transposed rows with 1 for every stored entry, and with its squared distance from `shift`."""
        ones, squares = (_share(sp.csc_array(self._transposed.shape), self._transposed) for _ in range(2))
        ones.data = np.ones(self.X.nnz)
        squares.data = np.square(self.X.data - shift[self.X.indices])
        return ones, squares


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

    Attributes
    ----------
    n_samples, n_features : int
    n_stored : int
        Entries of X that are stored.
    is_sparse : bool
    sampled : bool
        Whether the rows stand for more than there are.
    blocks : list of blocks
        To be used through `sum` and `map`, which make them ready.
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
        self.n_samples, self.n_features = int(X.shape[0]), int(X.shape[1])
        self.offset = np.zeros(self.n_features) if offset is None else offset
        self.n_classes = n_classes
        self._X, self.y, self.weight = X, y, weight
        self.is_sparse = sp.issparse(X)
        self.sampled = False
        self.n_stored = int(X.nnz if self.is_sparse else X.size)
        useful = 1 + self.n_stored * n_classes // MIN_WORK_PER_THREAD
        self.n_threads = min(n_threads, useful, self.n_samples)
        n_blocks = -(-self.n_samples // _block_rows(self))
        # Each thread has as many blocks as the others.
        n_blocks += -n_blocks % self.n_threads
        bounds = np.linspace(0, self.n_samples, n_blocks + 1).astype(int)
        self.blocks = list(_split(X, y, weight, bounds, offset))

    def centre(self, rows: Array, shift: Array, out: Array) -> None:
        """The rows selected out of all, less `shift`, written to the dense `out`."""
        _centre(self._X, rows, shift + self.offset, out)

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Precision of products with the rows."""
        return self.blocks[0].dtype

    @property
    def resolution(self) -> float:
        """Relative round-off of products with the rows."""
        return float(np.finfo(self.dtype).eps)

    @property
    def by_row(self) -> bool:
        """Whether the entries of a row are stored one after the other."""
        return self.is_sparse or bool(self._X.strides[1] == self._X.itemsize)

    @cached_property
    def stored_pairs(self) -> float:
        """Mean over sparse rows of the pairs of stored entries."""
        return float(np.square(np.diff(self._X.indptr), dtype=np.float64).mean())

    @cached_property
    def common_entries(self) -> float:
        """Mean over pairs of sparse rows, also with themselves, of the entries that both store."""
        return n_common_entries(self._X) / self.n_samples**2

    def stored(self, rows: Array) -> sp.csr_array:
        """The sparse rows selected."""
        return self._X[rows]

    def stored_gram(self, rows: Array, factors: Array) -> tuple[Array, Array]:
        """Gram matrix of the sparse rows selected times factors, and the sums of their columns likewise."""
        scaled = self.stored(rows)
        scaled.data = scaled.data * np.repeat(factors, np.diff(scaled.indptr))
        transposed = scaled.T.tocsr()
        gram = np.empty((self.n_features, self.n_features))
        for part in chunks(np.arange(self.n_features), -(-GRAM_ENTRIES // self.n_features)):
            (transposed[part] @ scaled).toarray(out=gram[part[0] : part[-1] + 1])
        return gram, transposed @ factors

    def interleaved(self, n_blocks: int) -> Iterator[tuple[Array, Block]]:
        """Blocks of every `n_blocks`-th row, and the features that each of them has, as far as stored.

        So each is like all of them, also where rows of one class follow each other. Rows whose entries are
        not stored one after the other are copied: in a block, those of a feature are not either.
        """
        offset = self.offset if self.offset.any() else None
        for index in range(n_blocks):
            part = slice(index, None, n_blocks)
            X, y, weight = self._X[part], self.y[part], self.weight[part]
            if not self.is_sparse:
                X = X if self.by_row else np.ascontiguousarray(X)
                yield np.arange(self.n_features), DenseBlock(index, part, X, y, weight, offset)
                continue
            columns, indices = np.unique(X.indices, return_inverse=True)
            shape = X.shape[0], len(columns)
            X = sp.csr_array((X.data, indices.astype(X.indices.dtype), X.indptr), shape)
            yield columns, SparseBlock(index, part, X, y, weight)

    def thinned(self, share: float, least: int) -> Rows:
        """A random `share` of the rows with weight, but `least` of each class, weighted to stand for all."""
        y, weight = self.y, self.weight
        counts = np.bincount(y[weight > 0], minlength=self.n_classes)
        shares = np.clip(least / np.maximum(counts, 1), share, 1)[y] * (weight > 0)
        chosen = np.flatnonzero(generator().random(self.n_samples) < shares)
        weight = weight[chosen] / shares[chosen]
        offset = self.offset if self.offset.any() else None
        sample = Rows(self._X[chosen], y[chosen], weight, self.n_classes, self.n_threads, offset)
        sample.sampled = True
        return sample

    def in_single_precision(self, spread: float) -> Rows | None:
        """The same rows with their products in float32; None unless X holds that and they leave room.

        `spread` is at most one and at most that of each feature, in units of which squares are to fit too.
        """
        if self.blocks[0].X.dtype != np.float32:
            return None
        largest = max(self.share_out(lambda block: block.largest, self.blocks))
        least, weight = 1 / LARGEST_SINGLE, self.weight.max()
        if spread < least or largest > LARGEST_SINGLE * spread or not least <= weight <= LARGEST_SINGLE:
            return None
        single = copy.copy(self)
        single.blocks = [copy.copy(block) for block in self.blocks]
        for block in single.blocks:
            block.dtype = np.float32
        return single

    def sum(self, function: Callable[[Block], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Sum over blocks of the arrays and numbers that `function` returns for each, new ones each time.

        The order of summation depends on the number of threads alone.
        """
        if self.n_threads == 1:
            return _sum_blocks(function, self.blocks)
        n_blocks = len(self.blocks) // self.n_threads
        shares = [self.blocks[i : i + n_blocks] for i in range(0, len(self.blocks), n_blocks)]
        parts = self.share_out(lambda share: _sum_blocks(function, share), shares)
        return tuple(sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True))

    def map(self, function: Callable[[Block], T]) -> list[T]:
        """What `function` returns for each block, in order."""
        return list(self.share_out(lambda block: function(block.ready()), self.blocks))

    def share_out(self, function: Callable[[Item], T], items: Iterable[Item]) -> Iterator[T]:
        """What `function` returns for each item, in order, the items shared out among the threads.

        Results are made as they are taken: few more of them than there are threads wait at a time. The
        function must not share out anything itself: threads would wait for each other.
        """
        if self.n_threads == 1:
            yield from map(function, items)
            return
        waiting: deque[Future[T]] = deque()

        def first() -> T:
            result = waiting[0].result()
            waiting.popleft()
            return result

        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > self.n_threads:
                    yield first()
            while waiting:
                yield first()
        finally:
            # Nothing is to go on in the background after an error or an interrupt, or if no more are taken.
            wait(waiting)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Threads that end when the rows are no longer used; with them rows cannot be copied deeply."""
        return ThreadPoolExecutor(self.n_threads)


@dataclass(frozen=True)
class ShiftedRows:
    """Rows less a shift, which is subtracted from their products and not from what they store.

    Parameters
    ----------
    stored : array or CSR array of shape (n_rows, n_features)
    shift : array of shape (n_features,)
    """

    stored: Any
    shift: Array

    def __len__(self) -> int:
        return int(self.stored.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.shift)

    def multiply(self, directions: Array) -> Array:
        """``rows @ directions``."""
        return np.asarray(self.stored @ directions - self.shift @ directions)

    def pull_back(self, values: Array) -> Array:
        """``rows.T @ values``."""
        product = np.asarray(self.stored.T @ values)
        product -= np.multiply.outer(self.shift, values.sum(axis=0))
        return product

    def squares(self) -> Array:
        """Squared length of each row as it is stored, with that of the shift."""
        rows = self.stored
        own = rows.multiply(rows).sum(axis=1) if sp.issparse(rows) else np.einsum("ij,ij->i", rows, rows)
        return np.asarray(own + self.shift @ self.shift)

    def gram(self) -> Array:
        """``rows @ rows.T``."""
        gram = self._stored_gram()
        along = self.stored @ self.shift
        gram -= along
        gram -= (along - self.shift @ self.shift)[:, None]
        return gram

    def _stored_gram(self) -> Array:
        """The Gram matrix of the rows as they are stored."""
        if not sp.issparse(self.stored):
            return np.asarray(self.stored @ self.stored.T)
        gram, transposed = np.empty((len(self), len(self))), self.stored.T.tocsr()
        for part in chunks(np.arange(len(self)), -(-GRAM_ENTRIES // max(len(self), 1))):
            if len(part):
                (self.stored[part] @ transposed).toarray(out=gram[part[0] : part[-1] + 1])
        return gram


def _centre(X: Any, rows: Array, shift: Array, out: Array) -> None:
    """Write the rows selected, less `shift`, to a dense array."""
    np.subtract(X[rows].toarray() if sp.issparse(X) else X[rows], shift, out=out)


def far_from_zero(mean: Array, variance: Array, far: float = FAR) -> Array:
    """Which features vary, but so far from zero that to centre them implicitly costs digits."""
    return np.asarray((np.abs(mean) > far * np.sqrt(variance)) & (variance > 0))


def n_common_entries(X: sp.csr_array) -> float:
    """Entries that pairs of sparse rows have in common, added up."""
    return float(np.square(np.bincount(X.indices), dtype=np.float64).sum())


def generator(skipped: int = 0) -> np.random.Generator:
    """A generator of the same random numbers each time, but for so many that are skipped."""
    return np.random.Generator(np.random.PCG64(SEED).advance(skipped))


def weighted_quantile(values: Array, weight: Array, share: float) -> float:
    """The least value such that those up to it have this share of the weight, but for round-off."""
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(total, (share - 1e-9) * total[-1])]])


def chunks(selected: Array, size: int = DENSE_BLOCK_ROWS) -> list[Array]:
    """The selected rows in parts small enough to be made dense; one part at least."""
    return [selected[i : i + size] for i in range(0, max(len(selected), 1), size)]


def _block_rows(rows: Rows) -> int:
    """Most rows that a block should have."""
    if rows.is_sparse:
        return max(SPARSE_BLOCK_SCORES // rows.n_classes, rows.n_features)
    most = min(DENSE_BLOCK_ENTRIES // rows.n_features, DENSE_BLOCK_SCORES // rows.n_classes)
    return max(DENSE_BLOCK_ROWS, most)


def _split(X: Any, y: Array, weight: Array, bounds: Array, offset: Array | None) -> Iterator[Block]:
    """The blocks between the bounds, as views of X."""
    for index, (start, stop) in enumerate(pairwise(bounds.tolist())):
        part = slice(start, stop)
        if sp.issparse(X):
            yield SparseBlock(index, part, _row_view(X, part), y[part], weight[part])
        else:
            yield DenseBlock(index, part, X[part], y[part], weight[part], offset)


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
    """Sum of `function` over the blocks, added to what it returns for the first."""
    total = list(function(blocks[0].ready()))
    for block in blocks[1:]:
        for i, term in enumerate(function(block.ready())):
            total[i] += term
    return tuple(total)


class _SingleThreadedBlas:
    """One BLAS thread while at least one fit is running; nested and concurrent fits are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fits = 0
        self._limiter: Any = None
        self._n_threads = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._fits == 0:
                self._n_threads = _pool_size()
                _let_any_thread_limit()
                self._limiter = _controller().limit(limits=1, user_api="blas")
            self._fits += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._fits -= 1
            if self._fits == 0:
                # The last fit to end may be in another thread than the first to begin.
                _let_any_thread_limit()
                self._limiter.restore_original_limits()
                _let_any_thread_limit()

    def n_threads_outside(self) -> int:
        """Threads that BLAS would use, were it not for the fits that are running."""
        with self._lock:
            return self._n_threads if self._fits else _pool_size()


# Multi-threaded BLAS on products this small is up to 20 times slower than one thread.
single_threaded_blas = _SingleThreadedBlas()


def _let_any_thread_limit() -> None:
    """End the privilege of one thread to limit a pool that all share, which newer threadpoolctl know."""
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


@cache
def _controller() -> ThreadpoolController:
    """The thread pools of this process; looking for them takes milliseconds, so once."""
    return ThreadpoolController()


def _pool_size() -> int:
    """Threads that BLAS would use now, limits in force respected."""
    pools = _controller().select(user_api="blas").info()
    return max([pool["num_threads"] for pool in pools], default=1)
