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

# Multiply-adds of one pass below which a second thread costs more than it brings.
MIN_WORK_PER_THREAD = 10_000_000
# Magnitudes between its inverse and this leave room in float32 for products of two and their sums.
LARGEST_SINGLE = 1e15


@dataclass(frozen=True)
class Samples:
    """Samples with their classes and weights, and how many threads share them; see `Rows`."""

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
        Entries of X that are stored.
    is_sparse : bool
    sampled : bool
        Whether the rows stand for more than there are.
    workers : Workers
        Threads that share the blocks: no more than their work is worth.
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
        self.workers = Workers(min(n_threads, useful, self.n_samples))
        self.blocks = split(X, y, weight, n_classes, self.workers.n_threads, offset)

    def centre(self, rows: Array, shift: Array, out: Array) -> None:
        """The rows selected out of all, less `shift`, written to the dense `out`."""
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
        sample = Rows(self._X[chosen], y[chosen], weight, self.n_classes, self.workers.n_threads, offset)
        sample.sampled = True
        return sample

    def to_float32(self, spread: float) -> Rows | None:
        """The same rows with their products in float32; None unless X holds that and they leave room.

        `spread` is at most one and at most that of each feature, in units of which squares are to fit too.
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
        """Sum over blocks of the arrays and numbers that `function` returns for each, new ones each time.

        The order of summation depends on the number of threads alone.
        """
        if self.workers.n_threads == 1:
            return _sum_blocks(function, self.blocks)
        n_blocks = len(self.blocks) // self.workers.n_threads
        shares = [self.blocks[i : i + n_blocks] for i in range(0, len(self.blocks), n_blocks)]
        parts = self.workers.share_out(lambda share: _sum_blocks(function, share), shares)
        return tuple(sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True))

    def map(self, function: Callable[[Block], T]) -> list[T]:
        """What `function` returns for each block, in order."""
        return list(self.workers.share_out(lambda block: function(block.ready()), self.blocks))


def n_common_entries(X: sp.csr_array) -> float:
    """Entries that pairs of sparse rows have in common, added up."""
    return float(np.square(np.bincount(X.indices), dtype=np.float64).sum())


def _sum_blocks(function: Callable[[Block], tuple[Any, ...]], blocks: list[Block]) -> tuple[Any, ...]:
    """Sum of `function` over the blocks, added to what it returns for the first."""
    total = list(function(blocks[0].ready()))
    for block in blocks[1:]:
        for i, term in enumerate(function(block.ready())):
            total[i] += term
    return tuple(total)
