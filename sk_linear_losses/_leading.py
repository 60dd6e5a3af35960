"""Leading eigenvectors of a matrix, found by products with it, and a root made of them and a diagonal.

Knows matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._numerics import generator
from ._roots import DiagonalRoot
from ._typing import Array

# Least eigenvalue, relative to the largest: the round-off of products in single precision.
SINGLE_ROUND_OFF = 1e-7


@dataclass(frozen=True)
class LeadingRoot:
    """A root ``D (I + U diag(sqrt(e) - 1) U')`` for each block of a block diagonal matrix.

    Each block has its own D; all share U and e. Where U and e are the leading eigenvectors and eigenvalues of
    what the blocks have in common, scaled to a diagonal of ones, this is near a root of the matrix.

    Parameters
    ----------
    diagonal : DiagonalRoot
        The D of all blocks.
    basis : array of shape (n_features, n_directions)
        U: orthonormal columns, without a row for the intercept.
    eigenvalues : array of shape (n_directions,)
        e.
    n_blocks : int
    """

    diagonal: DiagonalRoot
    basis: Array
    eigenvalues: Array
    n_blocks: int

    def solve(self, vector: Array) -> Array:
        """``inv(L) @ vector``."""
        return self._shrunk(self.diagonal.solve(vector))

    def solve_transposed(self, vector: Array) -> Array:
        """``inv(L).T @ vector``."""
        return self.diagonal.solve_transposed(self._shrunk(vector.copy()))

    def _shrunk(self, vector: Array) -> Array:
        """Divide the vector's part in each direction by the root of the eigenvalue, in place."""
        features = vector.reshape(self.n_blocks, -1)[:, : len(self.basis)]
        shares = 1 - 1 / np.sqrt(self.eigenvalues)
        features -= (features @ self.basis * shares) @ self.basis.T
        return vector


def leading_directions(
    product: Callable[[Array], Array], size: int, n_directions: int, n_products: int
) -> tuple[Array, Array]:
    """Largest eigenvalues of a positive semidefinite matrix, approximately, with orthonormal eigenvectors.

    `product` multiplies the matrix, of order `size`, by `n_directions` vectors; it is called `n_products`
    times, with random vectors first. The last product gives Nyström's approximation, whose eigenvalues are
    not above those of the matrix (Z. Frangella, J. A. Tropp and M. Udell, "Randomized Nyström
    preconditioning", 2023). No eigenvalues are returned where numbers overflow, nor for a matrix of zeros.
    """
    basis = generator().standard_normal((size, n_directions))
    for _ in range(n_products - 1):
        basis, _ = np.linalg.qr(product(basis))
    image = product(basis)
    if not (np.isfinite(image).all() and image.any()):
        return np.ones(0), basis[:, :0]
    core = basis.T @ image
    values, axes = np.linalg.eigh((core + core.T) / 2)
    image = image @ (axes / np.sqrt(np.maximum(values, SINGLE_ROUND_OFF * values[-1])))
    basis, singular, _ = np.linalg.svd(image, full_matrices=False)
    return np.square(singular), basis
