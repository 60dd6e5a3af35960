"""Second derivatives of an objective at a point, as sums over samples.

Knows an objective and the curvature of its term in the scores. Knows nothing of what the sums are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ._blocks import GRAM_ROWS, Block, chunks
from ._numerics import SMALLEST
from ._objective import Objective
from ._typing import Array
from .losses import Curvature

T = TypeVar("T")
# Curvature in a score up to which it counts as zero: tiny weights, near the end of float64's range, give it
# too few digits.
NO_CURVATURE = 1e-250
Weightings = Callable[[Curvature], Array]
Choice = Callable[[Block, Curvature], Array]


class Factors(NamedTuple):
    """Curvature of samples as sums of outer products of factors, (n_factors, n_classes).

    ``owners`` (n_factors,), ascending, holds the index in ``samples`` of the sample of each factor.
    """

    samples: Array
    owners: Array
    factors: Array


@dataclass(frozen=True)
class CurvatureAt:
    """The second derivatives of `objective` at `theta`; only `product` includes the penalty's.

    Matrices are weighted sums over samples of outer products of inputs: the features, and the constant 1
    where there is an intercept. There is one matrix for each weighting. A function returns the weights,
    (n_samples, n_weightings), given the curvature of samples in their scores.
    """

    objective: Objective
    theta: Array

    def total(self) -> Array:
        """C times the weighted sum of the samples' curvature in the codes, (n_codes, n_codes)."""

        def contribution(block: Block, curvature: Curvature) -> tuple[Array]:
            diagonal, left, right = curvature
            cross = left.T @ right
            return (np.diag(diagonal.sum(axis=0)) - (cross + cross.T) / 2,)

        (total,) = self.sum(contribution)
        coding = self.objective.coding
        return np.asarray(coding.T @ (self.objective.C * total) @ coding)

    def grams_together(self, weightings: Weightings, choose: Choice) -> Array:
        """Weighted Gram matrices of the centred rows, times C.

        `choose` returns factors on the weights of a block's samples; samples that have only zeros are
        skipped.
        """

        def contribution(block: Block, curvature: Curvature) -> tuple[Array | float]:
            factors = choose(block, curvature)
            chosen = np.flatnonzero(factors.any(axis=1))
            grams: Array | float = 0.0
            for part in chunks(chosen):
                weights = weightings(curvature.take(part)) * factors[part]
                grams = grams + weighted_grams(self.objective.centred_rows(block, part), weights)
            return (grams,)

        return np.asarray(self.objective.C * self.sum(contribution)[0])

    def grams_one_by_one(self, weightings: Weightings, choose: Choice, as_stored: bool) -> Iterator[Array]:
        """The matrices of `grams_together` one after the other, for weights that are not negative.

        For many features: each weighting gathers its own rows, so that sums are over many rows at a time, and
        only few matrices exist at once. Sparse rows are centred before the products or, with `as_stored`,
        the matrices afterwards.
        """
        objective = self.objective
        gram_of = _stored_gram if as_stored else _gathered_gram

        def selection(block: Block, curvature: Curvature) -> list[tuple[Array, Array]]:
            weights = np.asfortranarray(weightings(curvature) * choose(block, curvature))
            chosen = [np.flatnonzero(weight) for weight in weights.T]
            roots = [np.sqrt(weight[rows]) for weight, rows in zip(weights.T, chosen, strict=True)]
            return [(rows + block.start, root) for rows, root in zip(chosen, roots, strict=True)]

        def one(parts: tuple[tuple[Array, Array], ...]) -> Array:
            rows, roots = map(np.concatenate, zip(*parts, strict=True))
            return objective.C * gram_of(objective, rows, roots)

        by_block = objective.rows.map(self._on_blocks(selection))
        yield from objective.rows.workers.share_out(one, zip(*by_block, strict=True))

    def by_feature(self, weightings: Weightings) -> Array:
        """Diagonals of `grams_together`, (n_weightings, n_inputs), from all samples."""

        def contribution(block: Block, curvature: Curvature) -> tuple[Array, Array]:
            weights = weightings(curvature)
            return block.squares(self.objective.statistics.mean, weights), weights.sum(axis=0)

        squares, totals = self.sum(contribution)
        diagonals = np.vstack([squares, totals]) if self.objective.fit_intercept else squares
        return np.asarray(self.objective.C * diagonals.T)

    def gram_product(self, weighting: Weightings) -> Callable[[Array], Array]:
        """A function that multiplies directions by the features' weighted Gram matrix.

        Directions have the shape (n_features, n_directions).
        """
        objective, mean = self.objective, self.objective.statistics.mean
        weights = objective.rows.map(self._on_blocks(lambda block, curvature: weighting(curvature)))

        def product(directions: Array) -> Array:
            along = mean @ directions

            def contribution(block: Block) -> tuple[Array, Array]:
                inner = np.empty((len(along), len(block.y)), block.dtype)
                block.multiply(directions, inner)
                weighted = weights[block.index] * (inner.T - along)
                return block.pull_back(weighted), weighted.sum(axis=0)

            pull, total = objective.rows.sum(contribution)
            pull -= np.outer(mean, total)
            return np.asarray(objective.C * pull)

        return product

    def ranks(self) -> Array:
        """Number of factors of each sample's curvature, (n_samples,): its classes that curve, less one."""
        return np.concatenate(
            self.objective.rows.map(self._on_blocks(lambda block, curvature: _ranks(curvature)))
        )

    def factors(self) -> Factors:
        """The samples that curve, with their factors times the square root of C."""

        def selection(block: Block, curvature: Curvature) -> tuple[Array, Curvature]:
            chosen = np.flatnonzero(_ranks(curvature))
            return chosen + block.start, curvature.take(chosen)

        samples, curvatures = zip(*self.objective.rows.map(self._on_blocks(selection)), strict=True)
        owners, factors = _factors(Curvature(*map(np.concatenate, zip(*curvatures, strict=True))))
        return Factors(np.concatenate(samples), owners, np.sqrt(self.objective.C) * factors)

    def product(self) -> Callable[[Array], Array]:
        """A function that multiplies directions, of the shape of theta, by the second derivative."""
        objective = self.objective
        curvatures = objective.rows.map(self._on_blocks(lambda block, curvature: curvature))

        def product(direction: Array) -> Array:
            coef, intercept = objective.score_parameters(direction)

            def contribution(block: Block) -> tuple[Array, Array]:
                free = curvatures[block.index].product(block.scores(coef, intercept))[:, :-1]
                return block.pull_back(free), free.sum(axis=0)

            result = objective.coded_pull(*objective.rows.sum(contribution))
            n_features = objective.rows.n_features
            result[:n_features] += objective.penalty * direction[:n_features]
            return result

        return product

    def sum(self, contribution: Callable[[Block, Curvature], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Sum over blocks of the results of `contribution` for a block and its weighted curvature."""
        return self.objective.rows.sum(self._on_blocks(contribution))

    def _on_blocks(self, function: Callable[[Block, Curvature], T]) -> Callable[[Block], T]:
        """A function of a block that calls `function` with the block and its samples' weighted curvature."""
        term = self.objective.term
        coef, intercept = self.objective.score_parameters(self.theta)

        def on_block(block: Block) -> T:
            curvature = term.curvature(block.scores(coef, intercept), block)
            weight = block.weight[:, None]
            scaled = Curvature(curvature.diagonal * weight, curvature.left * weight, curvature.right)
            return function(block, scaled)

        return on_block


def _ranks(curvature: Curvature) -> Array:
    """Rank of each sample's curvature: rows sum to zero, and the classes that curve are connected."""
    sizes = np.count_nonzero(curvature.diagonal > NO_CURVATURE, axis=1)
    return np.asarray(np.maximum(sizes - 1, 0))


def _factors(curvature: Curvature) -> tuple[Array, Array]:
    """Samples, ascending, and factors (n_factors, n_classes) whose outer products add up to the curvature.

    Among the classes of a sample that curve, the curvature of all but the last has a Cholesky factor. The
    entries for the last class follow, since rows sum to zero.
    """
    diagonal, left, right = curvature
    curves = diagonal > NO_CURVATURE
    sizes = curves.sum(axis=1)
    owners, factors = [np.empty(0, np.intp)], [np.empty((0, diagonal.shape[1]))]
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        classes = np.nonzero(curves[chosen])[1].reshape(-1, size)
        all_but_last = chosen[:, None], classes[:, :-1]
        cross = left[all_but_last][:, :, None] * right[all_but_last][:, None]
        matrices = -(cross + cross.swapaxes(1, 2)) / 2
        matrices[:, np.arange(size - 1), np.arange(size - 1)] += diagonal[all_but_last]
        upper = np.linalg.cholesky(matrices).swapaxes(1, 2)
        entries = np.concatenate([upper, -upper.sum(axis=2, keepdims=True)], axis=2)
        part = np.zeros((len(chosen), size - 1, diagonal.shape[1]))
        np.put_along_axis(part, np.broadcast_to(classes[:, None], entries.shape), entries, axis=2)
        owners.append(np.repeat(chosen, size - 1))
        factors.append(part.reshape(-1, diagonal.shape[1]))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return owner[order], np.concatenate(factors)[order]


def _gathered_gram(objective: Objective, rows: Array, factors: Array) -> Array:
    """Gram matrix of centred rows times factors, from a few rows at a time.

    Factors are divided by the largest meanwhile: with weights in them they may leave the range of float32.
    """
    gram = np.zeros((objective.n_inputs, objective.n_inputs))
    largest = factors.max(initial=SMALLEST)
    for part in chunks(np.arange(len(rows)), GRAM_ROWS):
        centred = objective.centred_rows(objective.rows, rows[part], objective.rows.dtype)
        centred *= factors[part, None] / largest
        gram += centred.T @ centred
    gram *= largest**2
    return gram


def _stored_gram(objective: Objective, rows: Array, factors: Array) -> Array:
    """Gram matrix of centred rows times factors, from sparse rows as they are stored."""
    stored, sums = objective.rows.stored_gram(rows, factors)
    mean, total = objective.statistics.mean, factors @ factors
    centred_sums = sums - total * mean
    stored -= np.outer(mean, sums)
    stored -= np.outer(centred_sums, mean)
    constant = objective.statistics.constant
    stored[constant] = stored[:, constant] = centred_sums[constant] = 0
    n_features = objective.rows.n_features
    gram = np.empty((objective.n_inputs, objective.n_inputs))
    gram[:n_features, :n_features] = stored
    gram[n_features:, :n_features] = centred_sums
    gram[:n_features, n_features:] = centred_sums[:, None]
    gram[n_features:, n_features:] = total
    return gram


def weighted_grams(rows: Array, weights: Array) -> Array:
    """``rows.T @ diag(w) @ rows`` for each column w of `weights`: (n_weightings, n_features, n_features)."""
    n_features, n_weightings = rows.shape[1], weights.shape[1]
    upper = pairs(n_features)
    packed = products_of_pairs(rows.T) @ weights
    grams = np.empty((n_weightings, n_features, n_features))
    grams[:, upper[0], upper[1]] = packed.T
    grams[:, upper[1], upper[0]] = packed.T
    return grams


def products_of_pairs(left: Array, right: Array | None = None, distinct: int = 0) -> Array:
    """``left[i] * right[j]`` for all pairs, in the order of `pairs`; `right` defaults to `left`."""
    left = np.ascontiguousarray(left)
    right = left if right is None else np.ascontiguousarray(right)
    n, n_samples = left.shape
    products = np.empty((len(pairs(n, distinct)[0]), n_samples))
    start = 0
    for i in range(n - distinct):
        end = start + n - distinct - i
        np.multiply(left[i], right[i + distinct :], out=products[start:end])
        start = end
    return products


@lru_cache(maxsize=8)
def pairs(n: int, distinct: int = 0) -> tuple[Array, Array]:
    """Indices i and j of all pairs with ``i + distinct <= j < n``."""
    return np.triu_indices(n, distinct)
