"""The regularised objective over blocks of rows: its value, its gradient and the quantities of its dual.

Knows losses and rows. Knows nothing of scikit-learn, solvers or changes of variables.

Parameters are an array theta of shape (n_features + 1, n_codes): the coded coefficients V, then the coded
intercept c of the centred features. Without intercept the last row is missing. Classes are coded so that
coefficients always sum to zero over classes: scores = (X - mean) @ V @ coding.T + c @ coding.T. Losses see
these scores less the last class's score, which saves the last class's products with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import helmert
from scipy.linalg.blas import dger

from ._blocks import Block, chunks
from ._numerics import EPSILON, FAR, far_from_zero
from ._row_space import RowSpace
from ._rows import Rows
from ._typing import Array
from .losses import Curvature, Loss

# A sample has a share THINNED_SHARE of the rows, but at least THINNED_ROWS rows of each class for each
# parameter of one class. It is taken where it has at most a share MOST_THINNED of all rows, and at most
# MAX_THINNED entries of X (32 MB).
THINNED_SHARE, THINNED_ROWS, MOST_THINNED, MAX_THINNED = 1 / 8, 8, 1 / 4, 2**22


class BlockSums(NamedTuple):
    """Weighted sums over the samples of a block, and each sample's weighted gradient in its scores.

    ``value`` and ``gradient`` belong to the function that is minimised, ``loss`` to the loss itself, and
    ``conjugate`` to the loss's convex conjugate at the unweighted gradient.
    """

    value: float
    loss: float
    conjugate: float
    gradient: Array


class Term(Protocol):
    """The function of a sample's scores that is summed over samples, one block at a time.

    `evaluate` returns weighted sums and weighted gradients. `gradient` and `curvature` are not weighted.
    """

    @property
    def loss(self) -> Loss: ...

    def evaluate(self, scores: Array, block: Block) -> BlockSums: ...

    def gradient(self, scores: Array, block: Block) -> Array: ...

    def curvature(self, scores: Array, block: Block) -> Curvature: ...


@dataclass(frozen=True)
class SmoothTerm:
    """A differentiable loss as it is."""

    loss: Loss

    def evaluate(self, scores: Array, block: Block) -> BlockSums:
        """Weighted sums over the block; the conjugate comes from Fenchel and Young's equality."""
        value, gradient = self.loss._value_and_gradient(scores, block.y)
        gradient *= block.weight[:, None]
        total = float(block.weight @ value)
        return BlockSums(total, total, float(np.vdot(scores.T, gradient.T)) - total, gradient)

    def gradient(self, scores: Array, block: Block) -> Array:
        """Gradient of the loss."""
        return self.loss._value_and_gradient(scores, block.y)[1]

    def curvature(self, scores: Array, block: Block) -> Curvature:
        """Second derivative of the loss."""
        return self.loss._curvature(scores, block.y)


class Evaluation(NamedTuple):
    """The objective at one point.

    ``value`` and ``gradient`` belong to the function that is minimised. ``objective`` has the loss itself in
    place of its envelope, and ``penalty`` is the penalty's part of both ``value`` and ``objective``. ``pull``
    is the samples' part of the gradient, of the shape of ``theta``, and ``conjugate`` is C times the weighted
    sum of the conjugates.
    """

    theta: Array
    value: float
    gradient: Array
    objective: float
    penalty: float
    pull: Array
    conjugate: float


@dataclass(frozen=True)
class Statistics:
    """Weighted moments of the features and of the classes.

    Parameters
    ----------
    mean : array of shape (n_features,)
        Zero where there is no intercept to absorb a shift.
    variance : array of shape (n_features,)
        Mean squares about `mean`.
    class_totals : array of shape (n_classes,)
        Total weight of the samples of each class.
    centroids : array of shape (n_classes, n_features)
        Means of the samples of each class, less `mean`.
    """

    mean: Array
    variance: Array
    class_totals: Array
    centroids: Array

    @cached_property
    def total_weight(self) -> float:
        """Total weight of all samples."""
        return float(self.class_totals.sum())

    @cached_property
    def constant(self) -> Array:
        """Indices of the features that are zero once centred."""
        return np.flatnonzero(self.variance == 0)

    def is_far_from_zero(self, far: float = FAR) -> bool:
        """Whether some mean is over `far` deviations from zero, so that to centre later costs digits."""
        return bool(far_from_zero(self.mean, self.variance, far).any())


def statistics_of(rows: Rows, fit_intercept: bool) -> Statistics:
    """Weighted moments, in two passes."""

    def class_sums(block: Block) -> tuple[Array, Array]:
        totals = np.bincount(block.y, weights=block.weight, minlength=rows.n_classes)
        return block.class_sums(rows.n_classes), totals

    sums, totals = rows.sum(class_sums)
    mean = sums.sum(axis=1) / totals.sum()
    if not fit_intercept:
        mean = np.zeros_like(mean)
    (squares,) = rows.sum(lambda block: (block.squares(mean, block.weight[:, None]),))
    variance = squares[:, 0] / totals.sum()
    # Centring leaves a constant column nothing but round-off: of the mean or, for sparse rows, of the weight
    # of the entries that are not stored. A sum of n terms may have n roundings.
    round_off = rows.n_samples * EPSILON
    suspects = np.flatnonzero((variance > 0) & (variance <= round_off * mean**2))
    if len(suspects):
        variance[suspects[_are_constant(rows, suspects)]] = 0
    return Statistics(mean, variance, totals, (sums / totals).T - mean)


def _are_constant(rows: Rows, features: Array) -> Array:
    """Whether each of these features has one value for all samples with weight."""

    def extremes(block: Block) -> tuple[Array, Array]:
        least, most = np.full(len(features), np.inf), np.full(len(features), -np.inf)
        for part in chunks(np.flatnonzero(block.weight)):
            entries = block.columns(part, features)
            least = np.minimum(least, entries.min(axis=0, initial=np.inf))
            most = np.maximum(most, entries.max(axis=0, initial=-np.inf))
        return least, most

    least, most = zip(*rows.map(extremes), strict=True)
    return np.asarray(np.min(least, axis=0) == np.max(most, axis=0))


class _Codes(NamedTuple):
    """The coding of classes; the properties of `Objective` with these names describe the arrays."""

    coding: Array
    decoding: Array
    contrast: Array


@lru_cache(maxsize=8)
def _codes(n_classes: int, one_vector: bool) -> _Codes:
    """The coding of `n_classes` classes."""
    basis = helmert(n_classes).T
    coding = -basis / np.sqrt(2) if one_vector else basis
    return _Codes(coding, coding / (coding**2).sum(axis=0), coding[:-1] - coding[-1])


@dataclass(frozen=True)
class Objective:
    """``penalty / 2 * |V|^2 + C * sum_i w_i * term(scores_i, y_i)``, see the module's docstring.

    Parameters
    ----------
    rows : Rows
    term : Term
    C : float
        Weight of the samples; 1 where there is no penalty.
    penalty : float
        1, or 0 for maximum likelihood.
    fit_intercept : bool
    statistics : Statistics
        Their mean is zero without intercept: nothing can then absorb the shift.
    one_vector : bool
        Whether the penalty is on one weight vector for two classes, not on a vector for each class.
    space : RowSpace, optional
        The coordinates of the rows, where these are not the given features.
    """

    rows: Rows
    term: Term
    C: float
    penalty: float
    fit_intercept: bool
    statistics: Statistics
    one_vector: bool
    space: RowSpace | None = None

    @property
    def coding(self) -> Array:
        """Array (n_classes, n_codes) of orthonormal columns that sum to zero.

        With `one_vector`, two classes are coded (-1/2, 1/2), so that V is the one weight vector, W_1 - W_0.
        """
        return _codes(self.n_classes, self.one_vector).coding

    @property
    def code_square(self) -> float:
        """Squared length of a column of the coding."""
        return float((self.coding[:, 0] ** 2).sum())

    @property
    def decoding(self) -> Array:
        """Array (n_classes, n_codes) for which ``decoding.T @ coding`` is the identity."""
        return _codes(self.n_classes, self.one_vector).decoding

    @property
    def contrast(self) -> Array:
        """Array (n_classes - 1, n_codes): the coding of each class but the last, less the last class's."""
        return _codes(self.n_classes, self.one_vector).contrast

    @property
    def contrast_decoding(self) -> Array:
        """Array (n_classes - 1, n_codes) for which ``contrast_decoding.T @ contrast`` is the identity."""
        return self.decoding[:-1]

    @property
    def may_be_unbounded(self) -> bool:
        """Whether the optimum may be at infinity."""
        return self.penalty == 0 and not self.term.loss.has_minimum

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.rows.n_classes

    @property
    def n_pairs(self) -> int:
        """Number of pairs of classes."""
        return self.n_classes * (self.n_classes - 1) // 2

    @property
    def n_own_curvatures(self) -> int:
        """Number of classes whose own curvatures differ: two classes curve alike."""
        return self.n_classes if self.n_classes > 2 else 1

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of theta, (n_inputs, n_codes)."""
        return self.n_inputs, self.n_classes - 1

    @property
    def n_inputs(self) -> int:
        """Number of features, plus one where there is an intercept."""
        return self.rows.n_features + self.fit_intercept

    @property
    def n_parameters(self) -> int:
        """Number of entries of theta."""
        return self.n_inputs * (self.n_classes - 1)

    def evaluate(self, theta: Array) -> Evaluation:
        """Value, gradient and dual quantities at theta, in one pass over the rows."""
        coef, intercept = self.score_parameters(theta)

        def contribution(block: Block) -> tuple[Array | float, ...]:
            *sums, gradient = self.term.evaluate(block.scores(coef, intercept), block)
            # Gradients sum to zero over classes: the last class needs no product.
            free = gradient[:, :-1]
            return *sums, block.pull_back(free), free.sum(axis=0, dtype=np.float64)

        value, loss, conjugate, pull_coef, pull_intercept = self.rows.sum(contribution)
        pull = self.coded_pull(pull_coef, pull_intercept)
        V = theta[: self.rows.n_features]
        gradient = pull.copy()
        if self.penalty:
            gradient[: len(V)] += V
        penalty = self.penalty / 2 * float(np.vdot(V, V))
        C = self.C
        value, loss = penalty + C * value, penalty + C * loss
        return Evaluation(theta, value, gradient, loss, penalty, pull, C * conjugate)

    def condensed(self, theta: Array) -> Objective:
        """The objective itself or, where all coefficients are zero, one with a single sample for each class.

        All samples of a class then have the same scores. One sample at their mean, with their total weight,
        gives the same value and gradient.
        """
        if theta[: self.rows.n_features].any():
            return self
        statistics, classes = self.statistics, np.arange(self.n_classes)
        means = statistics.centroids + statistics.mean
        rows = Rows(means, classes, statistics.class_totals, self.n_classes, n_threads=1)
        return replace(self, rows=rows)

    def score_parameters(self, theta: Array) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes - 1) and intercept of the scores less the last class's."""
        return self._decoded(theta, self.contrast)

    def feature_parameters(self, theta: Array) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes) and intercept for the given features."""
        coef, intercept = self._decoded(theta, self.coding)
        intercept = intercept - self.rows.offset @ coef
        return (coef, intercept) if self.space is None else self.space.expand(coef, intercept)

    def _decoded(self, theta: Array, coding: Array) -> tuple[Array, Array]:
        """Coefficients and intercept for the features of `rows`, one column for each row of `coding`."""
        coef = np.ascontiguousarray(theta[: self.rows.n_features] @ coding.T)
        if not self.fit_intercept:
            return coef, np.zeros(len(coding))
        return coef, coding @ theta[-1] - self.statistics.mean @ coef

    def coded_parameters(self, coef: Array, intercept: Array) -> Array:
        """Theta for coefficients (n_features, n_classes) and intercept (n_classes,) of the given features."""
        if self.space is not None:
            coef, intercept = self.space.contract(coef, intercept)
        coef = coef.copy()
        coef[self.statistics.constant] = 0
        theta = coef @ self.decoding
        if not self.fit_intercept:
            return np.asarray(theta)
        shift = self.statistics.mean + self.rows.offset
        return np.vstack([theta, (intercept + shift @ coef) @ self.decoding])

    @cached_property
    def conjugate_at_rest(self) -> float:
        """C times the weighted sum of the conjugates where all multipliers are zero."""
        return self._class_conjugate(np.zeros((self.n_classes, self.n_classes)))

    def class_flows(self, given: Array, shares: Array) -> tuple[Array, float]:
        """Coded pull and conjugate, times C, of flows that are the same for all samples of a class.

        The samples of class k give ``given[k]`` in all, which other classes receive in proportion to
        `shares`. No class both gives and receives.
        """
        statistics = self.statistics
        moved = (self.C * given)[:, None] * (shares @ self.coding - self.coding)
        class_gradients = np.outer(given / statistics.class_totals, shares)
        # A class that gives receives nothing, so its diagonal entry is free for what it gives.
        np.fill_diagonal(class_gradients, -given / statistics.class_totals)
        return statistics.centroids.T @ moved, self._class_conjugate(class_gradients)

    def _class_conjugate(self, class_gradients: Array) -> float:
        """C times the weighted sum of the conjugates, if samples of class k have ``class_gradients[k]``."""
        conjugate = self.term.loss._conjugate(class_gradients, np.arange(self.n_classes))
        return self.C * float(self.statistics.class_totals @ conjugate)

    def centred_rows(
        self, source: Block | Rows, chosen: Array, dtype: type[np.floating[Any]] = np.float64
    ) -> Array:
        """Chosen rows of a block or of all, dense and centred, followed by a 1 where there is an intercept.

        Centring leaves only round-off of constant features, which are set to zero.
        """
        n_features = self.rows.n_features
        rows = np.empty((len(chosen), self.n_inputs), dtype)
        source.centre(chosen, self.statistics.mean, rows[:, :n_features])
        rows[:, self.statistics.constant] = 0
        rows[:, n_features:] = 1
        return rows

    def centred_columns(self, features: Array, block: Block, most_rows: int) -> Iterator[tuple[Array, Array]]:
        """Indices of a block's samples with weight, and their centred `features`, some rows at a time."""
        for part in chunks(np.flatnonzero(block.weight), most_rows):
            yield part, block.columns(part, features) - self.statistics.mean[features]

    def stationarity(self, at: Evaluation) -> float:
        """Half the squared gradient in the coefficients."""
        slope = at.gradient[: self.rows.n_features]
        return float(np.vdot(slope, slope)) / 2

    def relative_imbalance(self, at: Evaluation) -> float:
        """Weight of class-wise flows, relative to the multipliers, that balances a mixture of both.

        In these flows, the samples of the class that gives most give the loss's balancing flow.
        """
        if not self.fit_intercept:
            return 0.0
        excess = self.decoding @ at.pull[-1] / self.C
        given = float((np.maximum(excess, 0) / self.statistics.class_totals).max())
        if given == 0:
            return 0.0
        mean_objective = at.objective / (self.C * self.statistics.total_weight)
        flow = self.term.loss._balancing_flow(self.n_classes, mean_objective)
        # A flow of zero or infinity comes from an objective at the ends of float64's range.
        return given / (flow if 0 < flow < np.inf else 1 / self.n_classes)

    def to_float32(self) -> Objective | None:
        """The objective with products in float32; None unless X is float32 and they stay in its range."""
        variance = self.statistics.variance
        rows = self.rows.to_float32(float(np.sqrt(variance[variance > 0].min(initial=1.0))))
        return None if rows is None else replace(self, rows=rows)

    def thinned(self) -> Objective | None:
        """The objective of a random sample of the rows; None where the sample would be too large to help."""
        least = THINNED_ROWS * self.n_inputs
        rows = self.rows
        expected = max(THINNED_SHARE * rows.n_samples, least * self.n_classes)
        if (
            expected > MOST_THINNED * rows.n_samples
            or expected * rows.n_stored > MAX_THINNED * rows.n_samples
        ):
            return None
        return replace(self, rows=rows.thinned(THINNED_SHARE, least))

    def separates(self, theta: Array) -> bool:
        """Whether every sample with weight scores highest at its own class."""
        coef, intercept = self.score_parameters(theta)

        def errors(block: Block) -> tuple[int]:
            scores = block.scores(coef, intercept)
            own = np.arange(len(block.y)), block.y
            own_scores = scores[own]
            scores[own] = -np.inf
            wrong = (own_scores <= scores.max(axis=1)) & (block.weight > 0)
            return (int(np.count_nonzero(wrong)),)

        return bool(self.rows.sum(errors)[0] == 0)

    def largest_score(self, theta: Array) -> float:
        """Largest absolute difference between a sample's score for some class and for the last, at theta."""
        coef, intercept = self.score_parameters(theta)
        largest = self.rows.map(lambda block: np.abs(block.scores(coef, intercept)).max())
        return float(max(largest))

    def coded_pull(self, pull_coef: Array, pull_intercept: Array) -> Array:
        """C times the adjoint of `score_parameters`, of the shape of theta."""
        pull = np.empty(self.shape)
        centred, contrast = pull[: len(pull_coef)], self.C * self.contrast
        total = pull_intercept @ contrast
        np.matmul(pull_coef, contrast, out=centred)
        # In one pass: centred -= np.outer(mean, total).
        dger(-1.0, total, self.statistics.mean, a=centred.T, overwrite_a=True)
        # A constant feature has nothing left but round-off, which a huge constant would blow up.
        centred[self.statistics.constant] = 0
        if self.fit_intercept:
            pull[-1] = total
        return pull
