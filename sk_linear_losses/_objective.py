"""The regularised objective over row blocks: value and gradient, and what its dual needs.

Knows losses and rows. Knows nothing of scikit-learn, solvers or changes of variables.

Parameters are an array theta of shape (n_features + 1, n_codes): coded coefficients, then the coded
intercept of the centred features; without intercept the last row is missing. Classes are coded so that
coefficients always sum to zero over classes: scores = (X - mean) @ V @ coding.T + c @ coding.T. Losses see
these scores less those of the last class, which saves its products with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import helmert

from ._rows import DENSE_BLOCK_ROWS, Block, Rows, chunks, far_from_zero
from .losses import Array, Curvature, HingeLoss, SmoothLoss, flows_of

# Relative round-off of a mean: blocks of some thousand rows were seen to make half as much.
MEAN_ROUND_OFF = 2e-13

# Least smoothing of a hinge, of that which lets a multiplier take all values between two margins, or of that
# which matches the penalty where features vary so little that it is less. Below, multipliers lose more digits
# to round-off than outer steps still bring: with a thousandth some fits stall at a relative gap of 1e-6.
LEAST_SMOOTHING = 1e-7

# A sample has this share of the rows, but so many rows of each class for each feature; it is worth its while
# up to that share of the rows in all, and up to so many entries of X (32 MB).
THINNED_SHARE, THINNED_ROWS, MOST_THINNED, MAX_THINNED = 1 / 8, 8, 1 / 4, 2**22


class BlockSums(NamedTuple):
    """Weighted sums over the samples of a block, and each sample's weighted gradient in its scores.

    ``value`` and ``gradient`` are of the function that is minimised, ``loss`` is the loss itself and
    ``conjugate`` its convex conjugate at the unweighted gradient.
    """

    value: float
    loss: float
    conjugate: float
    gradient: Array


class Term(Protocol):
    """The function of one sample's scores that is summed over samples."""

    @property
    def has_minimum(self) -> bool: ...

    def evaluate(self, scores: Array, block: Block) -> BlockSums: ...

    def gradient(self, scores: Array, block: Block) -> Array: ...

    def curvature(self, scores: Array, block: Block) -> Curvature: ...

    def conjugate(self, gradient: Array, y: Array) -> Array: ...

    def leeway(self, gradient: Array, y: Array) -> Curvature: ...


@dataclass(frozen=True)
class SmoothTerm:
    """A differentiable loss as it is."""

    loss: SmoothLoss

    @property
    def has_minimum(self) -> bool:
        """Whether some finite scores have the least loss."""
        return self.loss.has_minimum

    def evaluate(self, scores: Array, block: Block) -> BlockSums:
        """Sums over the block; the conjugate by Fenchel and Young's equality."""
        value, gradient = self.loss.value_and_gradient(scores, block.y)
        gradient *= block.weight[:, None]
        total = float(block.weight @ value)
        return BlockSums(total, total, float(np.vdot(scores.T, gradient.T)) - total, gradient)

    def gradient(self, scores: Array, block: Block) -> Array:
        """Gradient of the loss."""
        return self.loss.value_and_gradient(scores, block.y)[1]

    def curvature(self, scores: Array, block: Block) -> Curvature:
        """Second derivative of the loss."""
        return self.loss.curvature(scores, block.y)

    def conjugate(self, gradient: Array, y: Array) -> Array:
        """Conjugate of the loss."""
        return self.loss.conjugate(gradient, y)

    def leeway(self, gradient: Array, y: Array) -> Curvature:
        """Leeway of the gradient of the loss."""
        return self.loss.leeway(gradient, y)


@dataclass(frozen=True)
class EnvelopeTerm:
    """A hinge loss seen through its Moreau envelope around multipliers, one array of flows per block.

    A multiplier moves by a score's distance from its kink over the smoothing, so that below
    ``least_smoothing`` it is round-off that moves it.
    """

    loss: HingeLoss
    flows: tuple[Array, ...]
    smoothing: float
    least_smoothing: float

    @property
    def has_minimum(self) -> bool:
        """Hinges are zero beyond the margin."""
        return True

    def evaluate(self, scores: Array, block: Block) -> BlockSums:
        """Sums over the block, of the envelope and of the loss itself with its conjugate."""
        flows, smoothing = self.flows[block.index], self._smoothing(block)
        point = self.loss.envelope(scores, block.y, flows, smoothing)
        parts = (point.value, point.loss, point.conjugate)
        value, loss, conjugate = (float(block.weight @ part) for part in parts)
        gradient = point.gradient
        gradient *= block.weight[:, None]
        return BlockSums(value, loss, conjugate, gradient)

    def gradient(self, scores: Array, block: Block) -> Array:
        """Gradient of the envelope."""
        flows, smoothing = self.flows[block.index], self._smoothing(block)
        return self.loss.envelope_gradient(scores, block.y, flows, smoothing)

    def curvature(self, scores: Array, block: Block) -> Curvature:
        """Second derivative of the envelope."""
        return self.loss.envelope_curvature(self.gradient(scores, block), block.y, self._smoothing(block))

    def conjugate(self, gradient: Array, y: Array) -> Array:
        """Conjugate of the loss."""
        return self.loss.conjugate(gradient, y)

    def leeway(self, gradient: Array, y: Array) -> Curvature:
        """Leeway of the gradient of the loss."""
        return self.loss.leeway(gradient, y)

    def _smoothing(self, block: Block) -> Array:
        """Smoothing of each sample, (n_samples, 1): in proportion to its weight, so that all curve alike."""
        weight = np.where(block.weight > 0, block.weight, 1)
        return np.asarray(self.smoothing * weight[:, None])


def smoothed_term(loss: HingeLoss, rows: Rows, C: float, statistics: Statistics) -> EnvelopeTerm:
    """A hinge loss without multipliers, smoothed so much that curvature and penalty are comparable.

    Such a start is right also where the margin is hard and the optimal multipliers are tiny: with little
    smoothing the first subproblem would be as ill-conditioned as the hinge itself.
    """
    total = statistics.class_weight.sum()
    mean_weight = total / sum(np.count_nonzero(block.weight) for block in rows.blocks)
    comparable = C * float(statistics.variance.sum())
    natural = 2 * float(np.max(loss.margin)) / mean_weight
    smoothing = max(natural, comparable) or 1.0
    least = LEAST_SMOOTHING * min(natural, comparable)
    n_classes = len(statistics.class_weight)
    flows = tuple(np.zeros((n_classes, len(block.y))).T for block in rows.blocks)
    return EnvelopeTerm(loss, flows, smoothing, least)


class Evaluation(NamedTuple):
    """The objective at one point.

    ``value`` and ``gradient`` are of the function that is minimised; ``objective`` has the loss itself in
    place of its envelope, and ``penalty`` is the penalty's share of both. ``pull`` is the part of the
    gradient that the samples contribute, of the shape of ``theta``, and ``conjugate`` the weighted sum of the
    conjugates times C.
    """

    theta: Array
    value: float
    gradient: Array
    objective: float
    penalty: float
    pull: Array
    conjugate: float


class GapParts(NamedTuple):
    """Parts of the duality gap at a point with the multipliers that it implies.

    Stationarity and imbalance (of the intercept's condition) vanish where the envelope is minimised,
    complementarity where the multipliers are optimal; where the intercept is balanced, stationarity and
    complementarity add up to the gap. Proximity is what the envelope charges for the way from the old
    multipliers to the new ones.
    """

    stationarity: float
    imbalance: float
    complementarity: float
    proximity: float


@dataclass(frozen=True)
class Statistics:
    """Weighted moments of the features: means, variances, class weights and centred class means."""

    mean: Array
    variance: Array
    class_weight: Array
    centroids: Array

    @cached_property
    def constant(self) -> Array:
        """Indices of the features that do not vary."""
        return np.flatnonzero(self.variance == 0)

    def is_far_from_zero(self) -> bool:
        """Whether some feature's mean is so far from zero that to centre it implicitly costs digits."""
        return bool(far_from_zero(self.mean, self.variance).any())


def statistics_of(rows: Rows, fit_intercept: bool) -> Statistics:
    """Weighted moments in two passes; the shift is zero where no intercept can absorb it."""

    def class_sums(block: Block) -> tuple[Array, Array]:
        class_weight = np.bincount(block.y, weights=block.weight, minlength=rows.n_classes)
        return block.class_sums(rows.n_classes), class_weight

    sums, class_weight = rows.sum(class_sums)
    mean = sums.sum(axis=1) / class_weight.sum()
    if not fit_intercept:
        mean = np.zeros_like(mean)
    (squares,) = rows.sum(lambda block: (block.squares(mean, block.weight[:, None]),))
    variance = squares[:, 0] / class_weight.sum()
    # What is left of a constant column after centring is round-off, not a feature.
    suspects = np.flatnonzero((variance > 0) & (variance <= (MEAN_ROUND_OFF * mean) ** 2))
    variance[suspects[_are_constant(rows, suspects)]] = 0
    return Statistics(mean, variance, class_weight, (sums / class_weight).T - mean)


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
    """How an objective codes so many classes, as its attributes describe it."""

    coding: Array
    decoding: Array
    contrast: Array
    contrast_decoding: Array


@lru_cache(maxsize=8)
def _codes(n_classes: int, one_vector: bool) -> _Codes:
    """The codes of so many classes."""
    basis = helmert(n_classes).T
    coding = -basis / np.sqrt(2) if one_vector else basis
    contrast = coding[:-1] - coding[-1]
    return _Codes(coding, coding / (coding**2).sum(axis=0), contrast, np.linalg.inv(contrast).T)


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
        Its mean is zero without intercept: there is then nothing to absorb the shift.
    one_vector : bool
        Whether the penalty is that of one weight vector for two classes, not of a vector for each class.
    """

    rows: Rows
    term: Term
    C: float
    penalty: float
    fit_intercept: bool
    statistics: Statistics
    one_vector: bool

    @property
    def coding(self) -> Array:
        """Classes by codes: orthonormal columns that sum to zero.

        For one weight vector two classes are coded (-1/2, 1/2), which makes V that vector, W_1 - W_0.
        """
        return _codes(self.n_classes, self.one_vector).coding

    @property
    def decoding(self) -> Array:
        """Classes by codes, with ``decoding.T @ coding`` the identity."""
        return _codes(self.n_classes, self.one_vector).decoding

    @property
    def contrast(self) -> Array:
        """Classes but the last by codes: the coding less the last class's."""
        return _codes(self.n_classes, self.one_vector).contrast

    @property
    def contrast_decoding(self) -> Array:
        """Classes but the last by codes, with ``contrast_decoding.T @ contrast`` the identity."""
        return _codes(self.n_classes, self.one_vector).contrast_decoding

    @property
    def may_be_unbounded(self) -> bool:
        """Whether the optimum may be at infinity."""
        return self.penalty == 0 and not self.term.has_minimum

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.rows.n_classes

    @property
    def n_pairs(self) -> int:
        """Number of pairs of classes."""
        return self.n_classes * (self.n_classes - 1) // 2

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of theta."""
        return self.rows.n_features + self.fit_intercept, self.n_classes - 1

    def evaluate(self, theta: Array) -> Evaluation:
        """Value, gradient and dual quantities at theta, in one pass over the rows."""
        coef, intercept = self.score_parameters(theta)

        def contribution(block: Block) -> tuple[Array | float, ...]:
            *sums, gradient = self.term.evaluate(block.scores(coef, intercept), block)
            # Gradients sum to zero over classes.
            free = gradient[:, :-1]
            return *sums, block.pull_back(free), free.sum(axis=0, dtype=np.float64)

        value, loss, conjugate, pull_coef, pull_intercept = self.rows.sum(contribution)
        pull = self.code(pull_coef, pull_intercept)
        V = theta[: self.rows.n_features]
        gradient = pull.copy()
        if self.penalty:
            gradient[: len(V)] += V
        penalty = self.penalty / 2 * float(np.vdot(V, V))
        C = self.C
        value, loss = penalty + C * value, penalty + C * loss
        return Evaluation(theta, value, gradient, loss, penalty, pull, C * conjugate)

    def score_parameters(self, theta: Array) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes - 1) and intercept of the scores, less the last class's."""
        return self._decoded(theta, self.contrast)

    def feature_parameters(self, theta: Array) -> tuple[Array, Array]:
        """Coefficients (n_features, n_classes) and intercept for the features as they were given."""
        coef, intercept = self._decoded(theta, self.coding)
        return coef, intercept - self.rows.offset @ coef

    def _decoded(self, theta: Array, coding: Array) -> tuple[Array, Array]:
        """Coefficients and intercept, for the rows, of the classes that the coding has."""
        coef = np.ascontiguousarray(theta[: self.rows.n_features] @ coding.T)
        if not self.fit_intercept:
            return coef, np.zeros(len(coding))
        return coef, coding @ theta[-1] - self.statistics.mean @ coef

    def coded_parameters(self, coef: Array, intercept: Array) -> Array:
        """Theta for coefficients (n_features, n_classes) and intercept (n_classes,) of the given features."""
        coef = coef.copy()
        coef[self.statistics.constant] = 0
        theta = coef @ self.decoding
        if not self.fit_intercept:
            return np.asarray(theta)
        shift = self.statistics.mean + self.rows.offset
        return np.vstack([theta, (intercept + shift @ coef) @ self.decoding])

    @cached_property
    def conjugate_at_rest(self) -> float:
        """C times the weighted sum of the conjugates of multipliers that are all zero."""
        return self._class_conjugate(np.zeros((self.n_classes, self.n_classes)))

    def class_flows(self, flows: Array) -> tuple[Array, float]:
        """Coded pull and weighted conjugate, times C, where all samples of a class have its row of flows."""
        weight = self.statistics.class_weight[:, None]
        pull = self.statistics.centroids.T @ (self.C * weight * flows @ self.coding)
        return pull, self._class_conjugate(flows)

    def _class_conjugate(self, flows: Array) -> float:
        """C times the weighted sum of the conjugates at one row of flows for each class."""
        conjugate = self.term.conjugate(flows, np.arange(self.n_classes))
        return self.C * float(self.statistics.class_weight @ conjugate)

    def centred_rows(self, source: Block | Rows, chosen: Array) -> Array:
        """Dense centred rows of a block or of all, followed by the constant 1 where there is an intercept.

        Of constant features nothing is left but round-off, which is taken out.
        """
        n_features = self.rows.n_features
        rows = np.empty((len(chosen), self.shape[0]))
        source.centre(chosen, self.statistics.mean, rows[:, :n_features])
        rows[:, self.statistics.constant] = 0
        rows[:, n_features:] = 1
        return rows

    def few_features(
        self, features: Array, block: Block, most_rows: int = DENSE_BLOCK_ROWS
    ) -> Iterator[tuple[Array, Array]]:
        """Samples of a block that have weight, by place, and their centred entries, some rows at a time."""
        for part in chunks(np.flatnonzero(block.weight), most_rows):
            yield part, block.columns(part, features) - self.statistics.mean[features]

    def gap_parts(self, at: Evaluation) -> GapParts:
        """What keeps a point and its multipliers from being optimal."""
        moment = float(np.vdot(at.theta, at.pull))
        return GapParts(
            stationarity=self.stationarity(at),
            imbalance=self.imbalance(at) * abs(at.objective),
            complementarity=at.objective - at.penalty + at.conjugate - moment,
            proximity=moment - at.conjugate - (at.value - at.penalty),
        )

    def stationarity(self, at: Evaluation) -> float:
        """Half the squared gradient in the coefficients."""
        slope = at.gradient[: self.rows.n_features]
        return float(np.vdot(slope, slope)) / 2

    def imbalance(self, at: Evaluation) -> float:
        """Share of class-wise flows that it takes to carry back what the multipliers do not balance.

        At this share no sample passes on more than 1 / n_classes, which every loss admits.
        """
        if not self.fit_intercept:
            return 0.0
        excess = self.decoding @ at.pull[-1] / self.C
        return self.n_classes * float((np.maximum(excess, 0) / self.statistics.class_weight).max())

    @property
    def _envelope(self) -> EnvelopeTerm:
        """The term, of an objective that is known to have an envelope."""
        assert isinstance(self.term, EnvelopeTerm)
        return self.term

    def loss_round_off(self) -> float:
        """Round-off in the sum of a hinge's losses, each a margin less a lead of the same size.

        Zero where they are squared, which leaves as little of it as of them.
        """
        loss = self._envelope.loss
        if loss.smooth is not None:
            return 0.0
        total = float(self.statistics.class_weight.sum())
        return float(np.finfo(float).eps) * self.C * total * float(np.max(loss.margin))

    def in_single_precision(self) -> Objective | None:
        """The objective with the products of its rows in float32; None unless that is what X holds."""
        rows = self.rows.in_single_precision()
        return None if rows is None else replace(self, rows=rows)

    def thinned(self) -> Objective | None:
        """The objective of a sample of the rows; None where too few can stand for all."""
        least = THINNED_ROWS * self.shape[0]
        rows = self.rows
        expected = max(THINNED_SHARE * rows.n_samples, least * self.n_classes)
        if (
            expected > MOST_THINNED * rows.n_samples
            or expected * rows.n_stored > MAX_THINNED * rows.n_samples
        ):
            return None
        return replace(self, rows=rows.thinned(THINNED_SHARE, least))

    def smoothed(self, factor: float) -> Objective:
        """The objective with `factor` times the smoothing, or the least, around the same multipliers."""
        term = self._envelope
        smoothing = max(factor * term.smoothing, term.least_smoothing)
        return replace(self, term=replace(term, smoothing=smoothing))

    def unsmoothed(self) -> Objective | None:
        """The objective with the loss itself in place of its envelope; None where the loss has kinks."""
        loss = self._envelope.loss.smooth
        return None if loss is None else replace(self, term=SmoothTerm(loss))

    def with_multipliers(self, theta: Array) -> Objective:
        """The objective around the multipliers that theta implies."""
        term = self._envelope
        coef, intercept = self.score_parameters(theta)

        def flows(block: Block) -> Array:
            return flows_of(term.gradient(block.scores(coef, intercept), block), block.y)

        return replace(self, term=replace(term, flows=tuple(self.rows.map(flows))))

    def resumed(self, previous: Objective) -> Objective:
        """The objective with the multipliers and the smoothing that it had in other coordinates, if any."""
        term = previous.term
        if not isinstance(term, EnvelopeTerm):
            return self
        flows = np.concatenate(term.flows)
        parts = (flows[block.start : block.start + len(block.y)] for block in self.rows.blocks)
        moved = replace(self._envelope, flows=tuple(map(np.asfortranarray, parts)), smoothing=term.smoothing)
        return replace(self, term=moved)

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
        """Largest lead or lag of a class behind the last one that theta gives."""
        coef, intercept = self.score_parameters(theta)
        largest = self.rows.map(lambda block: np.abs(block.scores(coef, intercept)).max())
        return float(max(largest))

    def code(self, pull_coef: Array, pull_intercept: Array) -> Array:
        """Coded, centred gradient of the weighted terms, of the shape of theta."""
        pull = np.empty(self.shape)
        centred = pull[: len(pull_coef)]
        total = pull_intercept @ self.contrast
        np.matmul(pull_coef, self.contrast, out=centred)
        centred -= self.statistics.mean[:, None] * total
        # Of a constant feature nothing is left but round-off, which a huge constant would blow up.
        centred[self.statistics.constant] = 0
        if self.fit_intercept:
            pull[-1] = total
        pull *= self.C
        return pull
