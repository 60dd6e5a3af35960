"""Numbers that several modules need: round-off, what is far from zero, random draws, quantiles."""

from __future__ import annotations

import numpy as np

from ._typing import Array

# Round-off of a sum over samples, as a share of the size of its terms.
ROUND_OFF = 16 * float(np.finfo(float).eps)
# Means in standard deviations beyond which features are centred explicitly: four digits are lost by then.
FAR = 1e4
# Seed of all draws. Data are often made with small seeds, and draws with the same one would go with them: a
# sample could be one class alone.
SEED = 13913064135103373457


def far_from_zero(mean: Array, variance: Array, far: float = FAR) -> Array:
    """Which features vary, but so far from zero that to centre them implicitly costs digits."""
    return np.asarray((np.abs(mean) > far * np.sqrt(variance)) & (variance > 0))


def generator(skipped: int = 0) -> np.random.Generator:
    """A generator of the same random numbers each time, but for so many that are skipped."""
    return np.random.Generator(np.random.PCG64(SEED).advance(skipped))


def weighted_quantile(values: Array, weight: Array, share: float) -> float:
    """The least value such that those up to it have this share of the weight, but for round-off."""
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(total, (share - 1e-9) * total[-1])]])
