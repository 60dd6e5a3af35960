"""Sums over samples: every pass of a solve over the data goes through here, block by block.

Knows blocks and threads. Knows no losses and nothing of how parameters are coded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from ._blocks import GRAM_ENTRIES, Block, DenseBlock, SparseBlock, centre, chunks, split
from ._numerics import generator
from ._threads import Workers
from ._typing import Array

T = TypeVar("T")

# Multiply-adds of one pass below which a second thread costs more than it saves.
MIN_WORK_PER_THREAD = 10_000_000
# Magnitudes from 1 / LARGEST_SINGLE to LARGEST_SINGLE leave room in float32 for products of two and the sums
# of these.
LARGEST_SINGLE = 1e15


@dataclass(frozen=True)
class Samples:
    """Samples with their classes and weights, and the number of threads that may share them; see `Rows`."""

    X: Any
    y: Array
    weight: Array
    n_classes: int
    n_threads: int


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
        Number of entries of X that are stored.
    is_sparse : bool
    sampled : bool
        Whether the rows are a sample that stands for more rows.
    workers : Workers
        Threads that share the blocks: no more of them than the work is worth.
    blocks : list of blocks
        To be used through `sum` and `map`, which make each block ready for products.
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
        self.workers = Workers(min(n_threads, useful, self.n_samples))
        self.blocks = split(X, y, weight, n_classes, self.workers.n_threads, offset)

    def centre(self, rows: Array, shift: Array, out: Array) -> None:
        """Write the selected ones of all rows, less `shift`, to the dense `out`."""
        centre(self._X, rows, shift + self.offset, out)

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
    def mean_stored_pairs(self) -> float:
        """Mean number of ordered pairs of stored entries in a sparse row."""
        return float(np.square(np.diff(self._X.indptr), dtype=np.float64).mean())

    @cached_property
    def mean_common_entries(self) -> float:
        """Mean number of entries that two sparse rows both store; pairs of a row with itself count too."""
        return n_common_entries(self._X) / self.n_samples**2

    def stored(self, rows: Array) -> sp.csr_array:
        """The selected sparse rows."""
        return self._X[rows]

    def stored_gram(self, rows: Array, factors: Array) -> tuple[Array, Array]:
        """Gram matrix of selected sparse rows times `factors`, and the rows' sum times squared `factors`."""
        scaled = self.stored(rows)
        scaled.data = scaled.data * np.repeat(factors, np.diff(scaled.indptr))
        transposed = scaled.T.tocsr()
        gram = np.empty((self.n_features, self.n_features))
        for part in chunks(np.arange(self.n_features), -(-GRAM_ENTRIES // self.n_features)):
            (transposed[part] @ scaled).toarray(out=gram[part[0] : part[-1] + 1])
        return gram, transposed @ factors

    def interleaved(self, n_blocks: int) -> Iterator[tuple[Array, Block]]:
        """Blocks of every `n_blocks`-th row, each preceded by indices of the features that its rows store.

        Each block then resembles all rows, even where rows of one class follow each other. Rows whose entries
        are not contiguous are copied: in such a block, the entries of a feature are not contiguous either.
        """
        offset = self.offset if self.offset.any() else None
        for index in range(n_blocks):
            part = slice(index, None, n_blocks)
            X, y, weight = self._X[part], self.y[part], self.weight[part]
            if not self.is_sparse:
                X = X if self.by_row else np.ascontiguousarray(X)
                yield np.arange(self.n_features), DenseBlock(index, part, X, y, weight, offset)
                continue
            features, indices = np.unique(X.indices, return_inverse=True)
            shape = X.shape[0], len(features)
            X = sp.csr_array((X.data, indices.astype(X.indices.dtype), X.indptr), shape)
            yield features, SparseBlock(index, part, X, y, weight)

    def thinned(self, share: float, least: int) -> Rows:
        """A random sample of the rows with weight, weighted to stand for all of them.

        Each class has a `share` of its rows in it, but at least `least` of them, on average.
        """
        y, weight = self.y, self.weight
        counts = np.bincount(y[weight > 0], minlength=self.n_classes)
        shares = np.clip(least / np.maximum(counts, 1), share, 1)[y] * (weight > 0)
        chosen = np.flatnonzero(generator().random(self.n_samples) < shares)
        weight = weight[chosen] / shares[chosen]
        offset = self.offset if self.offset.any() else None
        sample = Rows(self._X[chosen], y[chosen], weight, self.n_classes, self.workers.n_threads, offset)
        sample.sampled = True
        return sample

    def to_float32(self, spread: float) -> Rows | None:
        """The same rows with products in float32; None unless X is float32 and they stay in its range.

        `spread` is at most 1 and at most the standard deviation of each feature. Squares must stay in range
        in units of `spread` too.
        """
        if self.blocks[0].X.dtype != np.float32:
            return None
        largest = max(self.workers.share_out(lambda block: block.largest, self.blocks))
        least, weight = 1 / LARGEST_SINGLE, self.weight.max()
        if spread < least or largest > LARGEST_SINGLE * spread or not least <= weight <= LARGEST_SINGLE:
            return None
        single = copy.copy(self)
        single.blocks = [copy.copy(block) for block in self.blocks]
        for block in single.blocks:
            block.dtype = np.float32
        return single

    def sum(self, function: Callable[[Block], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Sum over blocks of the arrays and numbers that `function` returns for each block.

        `function` returns new arrays each time, since sums are made in place. The order of summation depends
        on the number of threads alone.
        """
        if self.workers.n_threads == 1:
            return _sum_blocks(function, self.blocks)
        n_blocks = len(self.blocks) // self.workers.n_threads
        shares = [self.blocks[i : i + n_blocks] for i in range(0, len(self.blocks), n_blocks)]
        parts = self.workers.share_out(lambda share: _sum_blocks(function, share), shares)
        return tuple(sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True))

    def map(self, function: Callable[[Block], T]) -> list[T]:
        """The results of `function` for each block, in order."""
        return list(self.workers.share_out(lambda block: function(block.ready()), self.blocks))


def n_common_entries(X: sp.csr_array) -> float:
    """Number of entries that two sparse rows both store, summed over all ordered pairs of rows."""
    return float(np.square(np.bincount(X.indices), dtype=np.float64).sum())


def _sum_blocks(function: Callable[[Block], tuple[Any, ...]], blocks: list[Block]) -> tuple[Any, ...]:
    """Sum of `function` over the blocks, made in place in its result for the first block."""
    total = list(function(blocks[0].ready()))
    for block in blocks[1:]:
        for i, term in enumerate(function(block.ready())):
            total[i] += term
    return tuple(total)
