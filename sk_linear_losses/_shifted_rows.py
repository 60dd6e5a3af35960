"""Rows less a shift that is not subtracted from their stored entries, so that sparse rows stay sparse.

Knows the storage of rows. Knows nothing of what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._blocks import GRAM_ENTRIES, chunks
from ._typing import Array


@dataclass(frozen=True)
class ShiftedRows:
    """Rows less a shift, which is subtracted from their products and not from their stored entries.

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
        """Squared length of each row as it is stored, plus the squared length of the shift."""
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
