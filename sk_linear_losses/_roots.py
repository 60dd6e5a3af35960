"""Roots L of positive definite matrices L L', used through the solutions of systems with L and L'.

Knows matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
from scipy.linalg.blas import dtrsm, dtrsv
from scipy.linalg.lapack import dpotrf, dpotri

from ._typing import Array

# Least ridge added to a diagonal of ones, and thus the smallest eigenvalue that a factor keeps.
RIDGE = 1e-13


class Root(Protocol):
    """A root L of a positive definite matrix ``L @ L.T``, used through the solutions of its systems."""

    def solve(self, rows: Array) -> Array:
        """``inv(L) @ row`` for each row, or for a vector."""
        ...

    def solve_transposed(self, rows: Array) -> Array:
        """``inv(L).T @ row`` for each row, or for a vector."""
        ...


@dataclass(frozen=True)
class BlockRoot:
    """Roots of the blocks of a block diagonal matrix, all of the same size.

    Successive blocks may share a root: `n_blocks` counts the blocks of each root.
    """

    roots: tuple[Root, ...]
    n_blocks: tuple[int, ...]

    def solve(self, vector: Array) -> Array:
        """``inv(L) @ vector``."""
        parts = self._parts(vector)
        return np.concatenate(
            [root.solve(part) for root, part in zip(self.roots, parts, strict=True)], axis=None
        )

    def solve_transposed(self, vector: Array) -> Array:
        """``inv(L).T @ vector``."""
        parts = self._parts(vector)
        solved = [root.solve_transposed(part) for root, part in zip(self.roots, parts, strict=True)]
        return np.concatenate(solved, axis=None)

    def _parts(self, vector: Array) -> list[Array]:
        """For each root the parts of the vector in its blocks, one block a row."""
        blocks = vector.reshape(self._bounds[-1][1], -1)
        return [blocks[start:stop] for start, stop in self._bounds]

    @cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        """For each root its first block and the one after its last."""
        return list(pairwise(accumulate(self.n_blocks, initial=0)))


@dataclass(frozen=True)
class DiagonalRoot:
    """The root of a diagonal matrix: the square roots of its diagonal."""

    scales: Array

    def solve(self, rows: Array) -> Array:
        """``inv(L) @ row`` for each row, or for a vector."""
        return np.asarray(rows / self.scales)

    solve_transposed = solve


@dataclass(frozen=True)
class Factor:
    """Lower Cholesky factor of a matrix scaled to a unit diagonal, and the scale that was divided out."""

    lower: Array
    scale: Array

    def solve(self, rows: Array) -> Array:
        """``inv(L) @ row`` for each row, or for a vector, with ``L = scale[:, None] * lower``."""
        return self._solve(rows / self.scale, transposed=False)

    def solve_transposed(self, rows: Array) -> Array:
        """``inv(L).T @ row`` for each row, or for a vector, with ``L = scale[:, None] * lower``."""
        solved = self._solve(rows, transposed=True)
        solved /= self.scale
        return solved

    def _solve(self, rows: Array, transposed: bool) -> Array:
        """Solutions of systems with the factor of the scaled matrix."""
        if rows.size == len(self.lower):
            solved = dtrsv(self.lower, rows.ravel(), lower=True, trans=transposed)
            return np.asarray(solved.reshape(rows.shape))
        return np.asarray(dtrsm(1.0, self.lower, rows.T, lower=True, trans_a=transposed).T)

    def inverse(self) -> Array:
        """Inverse of the unscaled matrix."""
        inverse, _ = dpotri(self.lower, lower=True)
        _reflect(inverse)
        inverse /= self.scale
        inverse /= self.scale[:, None]
        return np.asarray(inverse)


def factorise(matrix: Array, scale: Array) -> Factor:
    """Cholesky factor of the scaled matrix, with as much added to its diagonal as the factor needs to exist.

    The matrix is overwritten. Dividing rows and columns by the scale makes the diagonal one. A parameter with
    an infinite scale does not move.
    """
    matrix /= scale
    matrix /= scale[:, None]
    ridge = RIDGE
    while True:
        matrix.flat[:: len(matrix) + 1] = 1 + ridge
        # LAPACK wants columns contiguous: it gets the transpose, which is the same matrix.
        lower, failed = dpotrf(matrix.T, lower=True, clean=False, overwrite_a=True)
        # With a ridge this large only NaN makes the factorisation fail. The solutions are then NaN, too.
        if not failed or ridge > len(matrix):
            return Factor(lower, scale)
        _reflect(matrix)
        ridge *= 100


def _reflect(matrix: Array) -> None:
    """Copy the lower triangle to the upper one."""
    for i in range(len(matrix)):
        matrix[i, i + 1 :] = matrix[i + 1 :, i]
