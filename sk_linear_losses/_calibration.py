"""The temperature that turns the scores of a hinge into probabilities.

Knows the solved objective and its curvature. Knows nothing of scikit-learn.

Scores of the training samples themselves are too sure of them. Leaving sample i out moves its scores to

    s_i + J_i (I - C B_i J_i)^-1 C g_i,    J_i = (I x x_i)' H^-1 (I x x_i),

to first order, with g_i and B_i the slope and curvature of its loss in its scores and H the curvature of the
objective (K. R. Rad and A. Maleki, "A scalable estimate of the out-of-sample prediction error via approximate
leave-one-out", JRSS B 2020). The temperature T maximises the likelihood of softmax(scores / T) on those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from ._objective import BlockSums, EnvelopeTerm, Objective
from ._preconditioner import exact_curvature
from ._rows import Block, chunks
from .losses import Array, Curvature, SoftmaxLoss

# Width over which the kinks of a hinge are spread to give it curvature, in margins. On eight data sets the
# temperatures from 0.05 and 0.1 were within 2 % of the held-out loss of each other; at 0.5 some were not.
KINK_WIDTH = 0.05
# Most coefficients for which the inverse of their curvature is made (128 MB).
MAX_PARAMETERS = 4000
# Most samples that are left out; of more, every second or third has to do. The standard error of a
# temperature from so many is about one per cent, which held-out losses do not show.
MOST_SAMPLES = 4000
# Keeps finite what leaves out a sample that alone determines its scores.
DAMPING = 1e-12
# Most and least temperature: in margins over, and in root mean square scores.
COLDEST, HOTTEST = 1 / 30, 100.0
# Temperature where the curvature is too large to factorise, in margins: that of the squared hinge's link.
UNCALIBRATED = 1 / 2


@dataclass(frozen=True)
class _KinkTerm:
    """A hinge with its multipliers, as the solution has them, and the curvature of its spread kinks."""

    term: EnvelopeTerm
    width: float

    def evaluate(self, scores: Array, block: Block) -> BlockSums:
        return self.term.evaluate(scores, block)

    def gradient(self, scores: Array, block: Block) -> Array:
        return self.term.gradient(scores, block)

    def curvature(self, scores: Array, block: Block) -> Curvature:
        return self.term.loss.kink_curvature(scores, block.y, self.width)

    def conjugate(self, gradient: Array, y: Array) -> Array:
        return self.term.conjugate(gradient, y)


def fit_temperature(objective: Objective, theta: Array, unit: Array) -> float:
    """Temperature for the scores of a solved hinge objective.

    `unit` (n_samples,) is the weight that is left out of each sample: that of a single row, so that a weight
    of two and a repeated row are the same.
    """
    term = objective.term
    assert isinstance(term, EnvelopeTerm)
    margin = float(np.max(term.loss.margin)) or 1.0
    if objective.shape[0] * objective.shape[1] > MAX_PARAMETERS:
        return UNCALIBRATED * margin
    spread = replace(objective, term=_KinkTerm(term, KINK_WIDTH * margin))
    scores, y, weight = _left_out_scores(spread, theta, unit)
    loss = SoftmaxLoss()

    def slope(log_inverse: float) -> float:
        """Derivative of the mean loss in the inverse temperature, in which it is convex."""
        gradient = loss.gradient(scores * np.exp(log_inverse), y)
        return float(weight @ np.einsum("ij,ij->i", gradient, scores))

    warmest = HOTTEST * max(margin, float(np.sqrt(weight @ (scores**2).mean(axis=1))))
    low, high = -np.log(warmest), -np.log(COLDEST * margin)
    if slope(low) >= 0:
        return warmest
    if slope(high) <= 0:
        return COLDEST * margin
    return float(np.exp(-brentq(slope, low, high, xtol=1e-12)))


def _left_out_scores(objective: Objective, theta: Array, unit: Array) -> tuple[Array, Array, Array]:
    """Scores (n, n_classes) of samples had they been left out, their classes and shares of the weight."""
    n_features, n_codes = objective.shape
    inverse = exact_curvature(objective, theta).factor.inverse()
    inverse = inverse.reshape(n_codes, n_features, n_codes, n_features)
    step = -(-objective.rows.n_samples // MOST_SAMPLES)
    ends = np.cumsum([len(block.y) for block in objective.rows.blocks])
    units = np.split(objective.C * unit, ends[:-1])

    def leave_out(block: Block) -> tuple[Array, Array, Array]:
        return _leave_out(objective, theta, inverse, block, units[block.index], step)

    parts = objective.rows.map(leave_out)
    scores, y, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return scores, y, weight / weight.sum()


def _leave_out(
    objective: Objective, theta: Array, inverse: Array, block: Block, unit: Array, step: int
) -> tuple[Array, Array, Array]:
    """Left-out scores (n, n_classes), classes and weights of every `step`-th sample of a block."""
    part = slice(None, None, step)
    coef, intercept = objective.score_parameters(theta)
    scores = block.scores(coef, intercept)
    slope = objective.term.gradient(scores, block)[part]
    diagonal, left, right = (array[part] for array in objective.term.curvature(scores, block))
    unit = unit[part, None, None]
    identity = np.eye(objective.n_classes)
    outer = left[:, :, None] * right[:, None, :]
    curvature = identity * diagonal[:, None, :] - (outer + outer.transpose(0, 2, 1)) / 2
    reach = _reach(objective, inverse, block, part)
    kept = (1 + DAMPING) * identity - unit * (curvature @ reach)
    pulled = np.linalg.solve(kept, unit * slope[:, :, None])
    return scores[part] + (reach @ pulled)[:, :, 0], block.y[part], block.weight[part]


def _reach(objective: Objective, inverse: Array, block: Block, part: slice) -> Array:
    """J of each sample, (n, n_classes, n_classes): how a pull on its scores moves them."""
    n_classes = objective.n_classes
    parts = []
    for chosen in chunks(np.arange(len(block.y))[part]):
        rows = objective.centred_rows(block, chosen)
        # Scores are less those of the last class, which stay zero.
        reach = np.zeros((len(rows), n_classes, n_classes))
        for a, b in zip(*np.triu_indices(n_classes - 1), strict=True):
            reach[:, a, b] = reach[:, b, a] = np.einsum("ij,ij->i", rows @ inverse[a, :, b], rows)
        parts.append(reach)
    return np.concatenate(parts)
