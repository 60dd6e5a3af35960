"""Few rows with many features, in coordinates of the space that the rows span.

Knows matrices. Knows nothing of losses, objectives and scikit-learn.

The penalised solution lies in that space, where it has as many coordinates as there are rows, and the penalty
is the same. The coordinates are singular vectors, so features in very different units stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .losses import Array

# Most rows: beyond, the decomposition costs as much as the fits that it is to spare.
MAX_ROWS = 1000
# Most entries of a dense and of a sparse X, which is made dense for it (400 MB, 32 MB).
MAX_ENTRIES, MAX_SPARSE_ENTRIES = 5 * 10**7, 2**22


@dataclass(frozen=True)
class RowSpace:
    """Rows as ``(X - shift) @ basis``, with orthonormal columns of shape (n_features, n_coordinates)."""

    rows: Array
    basis: Array
    shift: Array

    def expand(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes) and intercept for the features, from those for the rows."""
        coef = self.basis @ coef
        return coef, intercept - self.shift @ coef

    def contract(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients (n_coordinates, n_classes) and intercept for the rows, from those for the features."""
        return self.basis.T @ coef, intercept + self.shift @ coef


def row_space(X: Any, weight: Array, fit_intercept: bool) -> RowSpace | None:
    """The space of the rows, where it is small and cheap to find; None elsewhere."""
    n_samples, n_features = X.shape
    most = MAX_SPARSE_ENTRIES if sp.issparse(X) else MAX_ENTRIES
    if n_samples >= n_features or n_samples > MAX_ROWS or n_samples * n_features > most:
        return None
    dense = X.toarray() if sp.issparse(X) else X
    shift = np.zeros(n_features)
    if fit_intercept:
        shift = weight @ dense / weight.sum()
    left, lengths, right = scipy.linalg.svd(
        dense - shift, full_matrices=False, check_finite=False, lapack_driver="gesdd"
    )
    kept = lengths > lengths[0] * np.finfo(float).eps
    return RowSpace(left[:, kept] * lengths[kept], right[kept].T, shift)
