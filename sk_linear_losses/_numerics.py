"""Numerical helpers of several modules: round-off, distance from zero, random draws, quantiles."""

from __future__ import annotations

import numpy as np

from ._typing import Array

# Relative spacing of numbers in float64, and the smallest one with all its digits.
EPSILON, SMALLEST = float(np.finfo(float).eps), float(np.finfo(float).tiny)
# Round-off of a sum over samples, relative to the size of its terms.
ROUND_OFF = 16 * EPSILON
# Distance of a mean from zero, in standard deviations, beyond which a feature is centred explicitly: implicit
# centring loses four digits by then.
FAR = 1e4
# Seed of all draws. Data are often made with small seeds, and draws with the same seed would be correlated
# with them: a sample could be of one class alone.
SEED = 13913064135103373457


def far_from_zero(mean: Array, variance: Array, far: float = FAR) -> Array:
    """Which features vary, but so far from zero that centring them implicitly costs digits."""
    return np.asarray((np.abs(mean) > far * np.sqrt(variance)) & (variance > 0))


def generator(skipped: int = 0) -> np.random.Generator:
    """A generator of the same random numbers each time, from which the first `skipped` are left out."""
    return np.random.Generator(np.random.PCG64(SEED).advance(skipped))


def weighted_quantile(values: Array, weight: Array, share: float) -> float:
    """The least value such that values up to it have this share of the weight, up to round-off."""
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(total, (share - 1e-9) * total[-1])]])
