"""The objective of a hinge through its Moreau envelope, around multipliers.

Knows the objective and losses of margins. Knows nothing of how multipliers and smoothing are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ._blocks import Block
from ._numerics import EPSILON
from ._objective import BlockSums, Evaluation, Objective, SmoothTerm, Statistics
from ._rows import Rows
from ._typing import Array
from .losses import Curvature, HingeLoss

# Least smoothing, relative to the natural smoothing. With less, round-off costs multipliers more digits than
# outer steps still bring: with a thousandth of it some fits stall at a relative gap of 1e-6.
LEAST_SMOOTHING = 1e-7
# Factor on the smoothing that keeps multipliers almost in place, so that a bound is the bound for them.
RESTING = 1e4
# Least smoothing of a sample. It applies to tiny weights: division by the smoothing does not overflow then.
TINY = 1e-200


@dataclass(frozen=True)
class EnvelopeTerm:
    """A hinge loss seen through its Moreau envelope around multipliers.

    A multiplier moves by the distance of a score from its kink, divided by the smoothing: with little
    smoothing it moves by round-off. ``natural_smoothing`` is the lesser of two: the first lets a multiplier
    take all its values over two margins of the score, the second makes curvature comparable to the penalty.

    The multipliers are ``flows``, (n_samples, n_classes), in Fortran order; ``weight``, (n_samples, 1), is
    that of the samples, but 1 where it is zero.
    """

    loss: HingeLoss
    flows: Array
    weight: Array
    smoothing: float
    natural_smoothing: float

    def evaluate(self, scores: Array, block: Block) -> BlockSums:
        """Weighted sums over the block: of the envelope, of the loss itself and of its conjugate."""
        flows, smoothing = self.flows[block.places], self._smoothing[block.places]
        *parts, gradient = self.loss._envelope(scores, block.y, flows, smoothing)
        gradient *= block.weight[:, None]
        value, loss, conjugate = (float(block.weight @ part) for part in parts)
        return BlockSums(value, loss, conjugate, gradient)

    def gradient(self, scores: Array, block: Block) -> Array:
        """Gradient of the envelope."""
        flows, smoothing = self.flows[block.places], self._smoothing[block.places]
        return self.loss._envelope_gradient(scores, block.y, flows, smoothing)

    def curvature(self, scores: Array, block: Block) -> Curvature:
        """Second derivative of the envelope."""
        flows, smoothing = self.flows_at(scores, block), self._smoothing[block.places]
        return self.loss._envelope_curvature(flows, block.y, smoothing)

    def flows_at(self, scores: Array, block: Block) -> Array:
        """The multipliers that the scores imply, at which the envelope's maximum is attained."""
        flows, smoothing = self.flows[block.places], self._smoothing[block.places]
        return self.loss._envelope_flows(scores, block.y, flows, smoothing)

    def flows_of_loss(self, scores: Array, block: Block) -> Array:
        """The gradient of the loss itself, as flows to the wrong classes."""
        return self.loss._flows(self.loss._shortfalls(scores, block.y)[0])

    @cached_property
    def _smoothing(self) -> Array:
        """Smoothing of each sample, (n_samples, 1): proportional to its weight, so that all curve alike."""
        return np.maximum(self.smoothing * self.weight, TINY)


def smoothed_term(loss: HingeLoss, rows: Rows, C: float, statistics: Statistics) -> EnvelopeTerm:
    """A hinge loss with zero multipliers, smoothed until its curvature is at most comparable to the penalty.

    Such a start is also right where the margin is hard and the optimal multipliers are tiny: with little
    smoothing the first subproblem would be as ill-conditioned as the hinge itself.
    """
    mean_weight = statistics.total_weight / np.count_nonzero(rows.weight)
    comparable = C * float(statistics.variance.sum())
    margin = 2 * loss._score_unit / mean_weight
    flows = np.zeros((rows.n_samples, rows.n_classes), order="F")
    weight = np.where(rows.weight > 0, rows.weight, 1)[:, None]
    return EnvelopeTerm(loss, flows, weight, max(margin, comparable) or 1.0, min(margin, comparable))


class GapParts(NamedTuple):
    """What separates a point and the multipliers that it implies from the optimum, in units of the objective.

    Stationarity and imbalance (of the intercept's condition) vanish where the envelope is minimised,
    complementarity where the multipliers are optimal. Where the intercept is balanced, stationarity and
    complementarity add up to the duality gap. Proximity is the envelope's charge for moving from the old
    multipliers to the new ones.
    """

    stationarity: float
    imbalance: float
    complementarity: float
    proximity: float


@dataclass(frozen=True)
class HingeObjective(Objective):
    """An objective whose term is an envelope; its methods return objectives with other terms."""

    term: EnvelopeTerm

    def gap_parts(self, at: Evaluation) -> GapParts:
        """The parts of the gap at a point and the multipliers that it implies."""
        moment = float(np.vdot(at.theta, at.pull))
        return GapParts(
            stationarity=self.stationarity(at),
            imbalance=self.relative_imbalance(at) * abs(at.objective),
            complementarity=at.objective - at.penalty + at.conjugate - moment,
            proximity=moment - at.conjugate - (at.value - at.penalty),
        )

    def loss_round_off(self) -> float:
        """Round-off in the sum of the losses, each of which is a margin less a lead of the same size.

        Zero where losses are squared: their round-off is then as small as they are.
        """
        loss = self.term.loss
        if not loss.has_kinks:
            return 0.0
        return EPSILON * self.C * self.statistics.total_weight * loss._score_unit

    def with_smoothing(self, factor: float) -> HingeObjective:
        """The same objective with `factor` times the smoothing, but no less than LEAST_SMOOTHING allows."""
        smoothing = max(factor * self.term.smoothing, LEAST_SMOOTHING * self.term.natural_smoothing)
        return replace(self, term=replace(self.term, smoothing=smoothing))

    def at_rest(self) -> HingeObjective:
        """The objective with so much smoothing that its multipliers hardly move."""
        return self.with_smoothing(RESTING)

    def with_flows(self, flows: Array) -> HingeObjective:
        """The objective around these multipliers."""
        return replace(self, term=replace(self.term, flows=flows))

    def condensed(self, theta: Array) -> Objective:
        """The objective itself: samples of a class differ in their multipliers and in their smoothing."""
        return self

    def unsmoothed(self) -> Objective | None:
        """The objective with the loss itself in place of its envelope; None where the loss has kinks."""
        if self.term.loss.has_kinks:
            return None
        term, settings = SmoothTerm(self.term.loss), (self.C, self.penalty, self.fit_intercept)
        return Objective(self.rows, term, *settings, self.statistics, self.one_vector, self.space)

    @property
    def has_multipliers(self) -> bool:
        """Whether any multiplier is not zero."""
        return bool(self.term.flows.any())

    def with_multipliers(self, theta: Array) -> HingeObjective:
        """The objective around the multipliers that theta implies."""
        return self._around(self.term.flows_at, theta)

    def with_gradient(self, theta: Array) -> HingeObjective:
        """The objective around the gradient of the loss itself at theta."""
        return self._around(self.term.flows_of_loss, theta)

    def _around(self, flows_at: Callable[[Array, Block], Array], theta: Array) -> HingeObjective:
        """The objective around the multipliers that `flows_at` returns for each block's scores at theta."""
        coef, intercept = self.score_parameters(theta)
        flows = np.empty_like(self.term.flows)

        def write(block: Block) -> None:
            flows[block.places] = flows_at(block.scores(coef, intercept), block)

        self.rows.map(write)
        return self.with_flows(flows)

    def resumed(self, previous: Objective) -> HingeObjective:
        """The objective with the multipliers and smoothing of `previous`, which may be in other coordinates.

        The objective itself if `previous` has none.
        """
        if not isinstance(previous, HingeObjective):
            return self
        flows, smoothing = previous.term.flows, previous.term.smoothing
        return replace(self, term=replace(self.term, flows=flows, smoothing=smoothing))
