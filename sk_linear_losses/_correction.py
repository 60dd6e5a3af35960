"""Corrections of multipliers along a few features whose gradient round-off keeps from vanishing.

Knows the objective and the leeway of its terms. Knows nothing of bounds and solvers.

Where features have large values, multipliers have too few digits: with a feature of size 1e16 their last
digit moves the gradient by 1. Let x_i hold the features concerned and a 1 for the intercept, and let M_i be
the leeway of g_i in the conjugate's domain. The multipliers ``g_i + M_i B' x_i`` leave no gradient in these
features for the B that solves one linear system. The change by this B is too small for the digits of the
multipliers; the change by the multiple of B that reaches the end of the leeway is not. If B is a share s of
that multiple, B changes the gradient by s times what the multiple changes, and adds to the conjugates, which
are convex, at most s times what the multiple adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import scipy.linalg

from ._blocks import DENSE_BLOCK_ROWS, Block
from ._numerics import ROUND_OFF
from ._objective import Evaluation, Objective
from ._typing import Array
from .losses import Curvature

# Least eigenvalue that has digits, of a matrix scaled to a diagonal of ones.
LEAST_EIGENVALUE = 1e-10
# About the most entries that arrays of some samples have, their coordinates and classes together.
PART_ENTRIES = 2**17


class Correction(NamedTuple):
    """What a correction changes.

    ``conjugate`` is an upper bound on C times the weighted sum of the conjugates. ``pull``, of shape
    (n_inputs, n_codes), is what the correction adds to the gradient. Its error in a feature is at most
    ``doubt`` times the square root of C times the feature's weighted sum of squares.
    """

    conjugate: float
    pull: Array
    doubt: float


@dataclass(frozen=True)
class _Coordinates:
    """Uncorrelated coordinates of a few features, in which sums keep most digits, and 1 for an intercept.

    ``root`` is the Cholesky factor of the features' covariance.
    """

    objective: Objective
    features: Array
    root: Array

    def __call__(self, block: Block) -> Iterator[tuple[Array, Array]]:
        """Indices of a block's samples with weight, and their coordinates, some rows at a time."""
        most_rows = -(-PART_ENTRIES // (self.size + self.objective.n_classes))
        for places, entries in self.objective.centred_columns(self.features, block, most_rows):
            ones = np.ones((len(places), int(self.objective.fit_intercept)))
            yield places, np.hstack([self.of(entries.T).T, ones])

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.features) + self.objective.fit_intercept

    def of(self, values: Array) -> Array:
        """Values (n_features, ...) of the features, or of anything linear in them, in the coordinates."""
        return np.asarray(scipy.linalg.solve_triangular(self.root, values, lower=True))

    @cached_property
    def round_off(self) -> Array:
        """Relative round-off of sums in each coordinate, from the sum and from the features it combines."""
        sizes = np.abs(self.of(np.eye(len(self.root)))) @ np.linalg.norm(self.root, axis=1)
        return ROUND_OFF * np.append(sizes, np.ones(int(self.objective.fit_intercept)))


def correct(objective: Objective, at: Evaluation, features: Array) -> Correction | None:
    """The correction that leaves no gradient in these features and the intercept.

    None where the features are linearly dependent, or where the leeway or float64 does not suffice.
    """
    coordinates = _coordinates(objective, features)
    if coordinates is None:
        return None
    multipliers = _MovableMultipliers(objective, at.theta)
    matrix, pull, squares = multipliers.sums(coordinates)
    n_coordinates, n_codes = pull.shape
    n_unknowns = n_coordinates * n_codes
    inverse = _inverse(objective.C * matrix.transpose(0, 2, 1, 3).reshape(n_unknowns, n_unknowns))
    if inverse is None:
        return None
    gradient = objective.C * pull
    gradient[: len(features)] += coordinates.of(at.theta[features])
    # At the end of any leeway the sum of the conjugates does not exceed this ceiling.
    gradient, ceiling = gradient.ravel(), objective.C * squares
    weight = objective.C * objective.statistics.total_weight
    if not math.isfinite(weight * ceiling):
        return None
    round_off = math.sqrt(weight * ceiling) * np.repeat(coordinates.round_off, n_codes)

    change = (inverse @ gradient).reshape(n_coordinates, n_codes) @ objective.coding.T
    doubt = (np.abs(inverse) @ round_off).reshape(n_coordinates, n_codes) @ np.abs(objective.coding).T
    changed, largest, most_leeway = multipliers.extremes(coordinates, change)
    # Entries of a product differ by at most twice the largest of them.
    share, doubtful = 2 * changed, 2 * float((largest @ doubt).max())
    if not share + doubtful <= 1:
        return None
    # The correction itself is below the digits of the multipliers; at the end of the leeway it is not.
    end, pull = multipliers.moved(coordinates, -change / (share or 1.0))
    # The conjugate is convex: a share of the way adds at most that share of what the whole way adds.
    conjugate = at.conjugate + share * (end - at.conjugate) + doubtful * (ceiling - at.conjugate)
    # No eigenvalue of a leeway is more than twice the largest entry of its diagonal.
    energy = math.sqrt(2 * most_leeway * float(round_off @ np.abs(inverse) @ round_off))
    # The gradient has round-off too, and so has the change.
    return Correction(conjugate, share * pull, energy + 2 * ROUND_OFF * math.sqrt(ceiling))


def _coordinates(objective: Objective, features: Array) -> _Coordinates | None:
    """Coordinates of these features; None if their covariance has too few digits."""

    def contribution(block: Block) -> tuple[Array]:
        squares = np.zeros((len(features), len(features)))
        for places, entries in objective.centred_columns(features, block, DENSE_BLOCK_ROWS):
            squares += (entries * block.weight[places, None]).T @ entries
        return (squares,)

    (squares,) = objective.rows.sum(contribution)
    covariance = squares / objective.statistics.total_weight
    if _inverse(covariance) is None:
        return None
    sizes = np.sqrt(covariance.diagonal())
    root = np.linalg.cholesky(covariance / np.outer(sizes, sizes)) * sizes[:, None]
    return _Coordinates(objective, features, root)


class _MovableMultipliers:
    """Gradients of the losses at theta, and their leeway."""

    def __init__(self, objective: Objective, theta: Array) -> None:
        self.objective = objective
        self.parameters = objective.score_parameters(theta)

    def of(self, block: Block) -> tuple[Array, Curvature]:
        """Multipliers of a block, (n_samples, n_classes), and their leeway."""
        term = self.objective.term
        gradient = term.gradient(block.scores(*self.parameters), block)
        return gradient, term.loss._leeway(gradient, block.y)

    def sums(self, coordinates: _Coordinates) -> tuple[Array, Array, float]:
        """Weighted sums: of ``x x'`` times the leeway, of the pulls, of the squared multipliers.

        For n coordinates x and m codes they have the shapes (n, n, m, m), (n, m) and ().
        """
        coding = self.objective.coding
        n, m = coordinates.size, self.objective.shape[1]

        def contribution(block: Block) -> tuple[Array, Array, float]:
            gradient, leeway = self.of(block)
            matrix, pull = np.zeros((n, n, m, m)), np.zeros((n, m))
            for places, inner in coordinates(block):
                scaled = inner * block.weight[places, None]
                pull += scaled.T @ (gradient[places] @ coding)
                diagonal, left, right = leeway.take(places)
                left, right = left @ coding, right @ coding
                for f, g in combinations_with_replacement(range(n), 2):
                    weight = scaled[:, f] * inner[:, g]
                    crossed = (left.T * weight) @ right
                    matrix[f, g] += (coding.T * (weight @ diagonal)) @ coding - (crossed + crossed.T) / 2
                    matrix[g, f] = matrix[f, g]
            return matrix, pull, float(block.weight @ (gradient**2).sum(axis=1))

        matrix, pull, squares = self.objective.rows.sum(contribution)
        return matrix, pull, squares

    def moved(self, coordinates: _Coordinates, change: Array) -> tuple[float, Array]:
        """Sum of the conjugates of moved multipliers, and the move pulled back to theta.

        A sample moves by its leeway times the product of its coordinates with `change`. Both results are
        weighted, and times C.
        """
        objective = self.objective

        def contribution(block: Block) -> tuple[float, Array, Array]:
            gradient, leeway = self.of(block)
            step = np.zeros_like(gradient)
            for places, inner in coordinates(block):
                step[places] = leeway.take(places).product(inner @ change)
            conjugates = objective.term.loss._conjugate(gradient + step, block.y)
            free = (step * block.weight[:, None])[:, :-1]
            return float(block.weight @ conjugates), block.pull_back(free), free.sum(axis=0)

        conjugate, *pull = objective.rows.sum(contribution)
        return objective.C * float(conjugate), objective.coded_pull(*pull)

    def extremes(self, coordinates: _Coordinates, change: Array) -> tuple[float, Array, float]:
        """Largest absolute values: of products with `change`, of each coordinate, on a leeway's diagonal."""

        def of_block(block: Block) -> tuple[float, Array, float]:
            changed, largest = 0.0, np.zeros(coordinates.size)
            for _, inner in coordinates(block):
                changed = max(changed, float(np.abs(inner @ change).max(initial=0)))
                largest = np.maximum(largest, np.abs(inner).max(axis=0, initial=0))
            diagonal = self.of(block)[1].diagonal
            return changed, largest, float(diagonal[block.weight > 0].max(initial=0))

        changed, largest, most_leeway = zip(*self.objective.rows.map(of_block), strict=True)
        return max(changed), np.max(largest, axis=0), max(most_leeway)


def _inverse(matrix: Array) -> Array | None:
    """Inverse of a positive definite matrix; None if, scaled to a diagonal of ones, it has too few digits."""
    diagonal = matrix.diagonal()
    if not (np.isfinite(diagonal) & (diagonal > 0)).all():
        return None
    sizes = np.sqrt(diagonal)
    scale = np.outer(sizes, sizes)
    eigenvalues, axes = np.linalg.eigh(matrix / scale)
    if not eigenvalues[0] > LEAST_EIGENVALUE:
        return None
    return np.asarray((axes / eigenvalues) @ axes.T / scale)
