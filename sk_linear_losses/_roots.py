"""Roots of positive definite matrices, by the solutions of their systems.

Knows matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg.blas import dtrsm, dtrsv
from scipy.linalg.lapack import dpotrf, dpotri

from ._typing import Array

# Smallest eigenvalue that a factor keeps, relative to a diagonal of ones.
RIDGE = 1e-13


class Root(Protocol):
    """A root L of a positive definite matrix, ``L @ L.T``, by the solutions of its systems."""

    def solve(self, rows: Array) -> Array:
        """``inv(L) @ row`` for each row, or for a vector."""
        ...

    def solve_transposed(self, rows: Array) -> Array:
        """``inv(L).T @ row`` for each row, or for a vector."""
        ...


@dataclass(frozen=True)
class BlockRoot:
    """Roots of the blocks of a block diagonal matrix, all of the same size.

    Successive blocks may have one root: `n_blocks` counts those of each.
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
        """For each root the rows that are its own."""
        return np.split(vector.reshape(sum(self.n_blocks), -1), np.cumsum(self.n_blocks)[:-1])


@dataclass(frozen=True)
class DiagonalRoot:
    """Square roots of a diagonal."""

    scales: Array

    def solve(self, rows: Array) -> Array:
        """``inv(L) @ row`` for each row, or for a vector."""
        return np.asarray(rows / self.scales)

    solve_transposed = solve


@dataclass(frozen=True)
class Factor:
    """Lower Cholesky factor of a matrix scaled to a unit diagonal, and that scale."""

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
        """The solutions for the scaled factor."""
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
    """Cholesky factor, written over the matrix, with as much added to the scaled diagonal as it takes.

    The scale makes the diagonal one; where it is infinite a parameter stays put.
    """
    matrix /= scale
    matrix /= scale[:, None]
    ridge = RIDGE
    while True:
        matrix.flat[:: len(matrix) + 1] = 1 + ridge
        # LAPACK's own order is that of the transpose, which is the same matrix.
        lower, failed = dpotrf(matrix.T, lower=True, clean=False, overwrite_a=True)
        # With so much of it only what is not a number fails, of which the solutions are none either.
        if not failed or ridge > len(matrix):
            return Factor(lower, scale)
        _reflect(matrix)
        ridge *= 100


def _reflect(matrix: Array) -> None:
    """Copy what is below the diagonal to above it."""
    for i in range(len(matrix)):
        matrix[i, i + 1 :] = matrix[i + 1 :, i]
