"""The temperature that turns the scores of a hinge into probabilities.

Knows the solved objective and its curvature. Knows nothing of scikit-learn.

The scores of the training samples are too confident, as the model was fitted to these samples. Leaving
sample i out moves its scores, to first order, to

    s_i + L_i C g_i,    L_i = J_i (I - C B_i J_i)^-1,    J_i = (I x x_i)' H^-1 (I x x_i),

with g_i and B_i the slope and curvature of its loss in its scores and H the curvature of the objective (K. R.
Rad and A. Maleki, "A scalable estimate of the out-of-sample prediction error via approximate leave-one-out",
JRSS B 2020). The temperature T maximises the likelihood of softmax(scores / T) at these scores and on a small
part of one further sample whose scores are wrong. Without that part, no temperature would be too low where
all samples are right.

With the inverse of H, the weight of sample i goes to the other samples of its class, as stratified folds keep
the shares of classes. What is left out is then the sample's difference from the mean of the class. If its
weight were lost instead, its class would be lighter than others of the same size and its intercept lower than
theirs; where C is small, scores differ by little else.

Where H is too large to invert, each L_i is taken to be a multiple of the identity, in proportion to the
squared length of x_i, as it would be for random features. The common factor follows from a trace,

    sum_i tr(W_i J_i) = tr(H^-1 sum_i W_i (x) x_i x_i'),    J_i = L_i (I + C B_i L_i)^-1,

whose right side is estimated from products with vectors of random signs (M. F. Hutchinson, "A stochastic
estimator of the trace of the influence matrix", 1990). The weights W_i are the softmax's curvature, so that
samples of which the model is sure do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
from scipy.optimize import brentq
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import stdtrit

from ._blocks import Block, chunks
from ._cost import may_be_inverted
from ._curvature import CurvatureAt
from ._numerics import SMALLEST, generator, weighted_quantile
from ._objective import BlockSums, Objective, SmoothTerm, Term
from ._preconditioner import hessian_factor, precondition_by_class
from ._typing import Array
from .losses import Curvature, HingeLoss, SoftmaxLoss

# To give a hinge curvature, its kinks are spread over the margin times this power of the number of samples.
# The power is the rate that suits a density at one point, here the density of shortfalls at zero. Half and
# twice this width did as well on the whole. With a twentieth of the margin for any number of samples, the
# log-loss on iris was 26 % above that of refits; now it is 3 % above.
WIDTH_POWER = -1 / 3
# Kinks are spread wider, up to the margin, until CONTACTS samples for each parameter are near one. Where
# these are more than half of all samples, only part of this greater width is taken, and none of it where they
# are all samples. Hard margins rest on as many samples as there are parameters. Without one of these, the
# solution moves until other samples are in its way; to first order, it moves not at all or without end. On
# separable samples temperatures had been a thirtieth to thirty times the best ones. With four contacts
# temperatures are as good. With all of the greater width where the contacts would be three in four samples,
# the log-loss of the hinge on dna was 17 % above that of refits.
CONTACTS = 2
# Most samples with a slope, and most without, that are left out by way of the inverse; of more, this many are
# drawn. Samples without a slope keep their scores. The standard error of a temperature from so many samples
# is one to three per cent, which held-out losses do not show.
MOST_SAMPLES = 4000
# Keeps scores finite when a sample is left out that alone determines its scores.
DAMPING = 1e-12
# Temperature, in margins, of the softmax whose curvature weights the trace. Half and twice this gave
# temperatures some per cent apart on usps and MNIST, with more noise for half.
SOFTNESS = 1 / 4
# RESIDUAL, UNCOUPLED_RESIDUAL: relative residual at which conjugate gradients stop, where the preconditioner
# knows the curvature of each class, and where it knows only that of each feature. MOST_ITERATIONS: most
# iterations of one solve. A third of RESIDUAL moved temperatures by 3 % at most. With RESIDUAL in place of
# UNCOUPLED_RESIDUAL, temperatures were down to a thirtieth of the best ones on separable correlated features,
# and the log-loss was above that of no model: what few samples determine contributes little to the residual.
RESIDUAL, UNCOUPLED_RESIDUAL, MOST_ITERATIONS = 0.03, 0.01, 300
# Most evaluations that the curvature of each class may cost, to precondition conjugate gradients.
PRECONDITIONER_BUDGET = 300
# Further vectors are drawn to estimate a trace until Student's interval with this CONFIDENCE for the mean of
# the estimates extends at most NOISE times the mean to either side, but MOST_PROBES at most.
CONFIDENCE, NOISE, MOST_PROBES = 0.95, 0.1, 30
# Iterations of conjugate gradients in all, up to which more vectors are drawn even if estimates agree, and
# after which none are. Where fewer would do, vectors are cheap. On one-hot tables of 360 to 900 rows, the
# temperature changes by up to twenty times the relative change of the trace. Over orders of the columns, the
# largest temperature was 1.8 to 4.3 times the smallest without more vectors; now it is 1.3 to 2.3 times. With
# 30 in place of 20 it was up to 1.8 times, but finding the temperature of MNIST took longer than half a fit.
FEWEST_ITERATIONS, ENOUGH_ITERATIONS = 20, 150
# Largest product of a sample's curvature and its leverage. More holds the sample no more firmly, but costs
# digits.
STIFFEST = 1e10
# Least share of the weight of its class that the others must have to take over a sample's weight.
LEAST_OTHERS = 1e-9
# Significant digits of a temperature in margins, two more than are certain. So temperatures that differ by
# round-off alone, as those of fits to repeated and to weighted rows do, become the same.
DIGITS = 4
# Least and greatest temperature, in margins or in root mean squares of scores less their mean: the smaller
# unit for the least, the larger for the greatest. Where C is small, scores are far smaller than the margin.
COLDEST, HOTTEST = 1 / 30, 100.0
# The spread of a sample's scores is the difference of the largest and the smallest. Scores of a sample left
# out are shrunk where their spread exceeds a limit: the quantile SPREAD_SHARE of the spreads in the fit.
# Otherwise one outlying row, or one that alone holds a direction, would outweigh all others, as a likelihood
# is linear in wrong scores. With twice this limit, temperatures of a hinge on one-hot tables were up to half
# too high. If that limit is below the margin, the quantile SPREAD_SHARE_WITHIN_MARGIN takes its place, up to
# the margin: the few rows beyond the former may be the only ones that tell anything.
SPREAD_SHARE, SPREAD_SHARE_WITHIN_MARGIN = 0.95, 0.99
# Largest ratio of the most that a multiplier may be to the typical multiplier. Where the ratio is larger,
# curvature is taken to be that at a smaller C, at which the ratio is this. Over the width of a kink, this
# curvature pulls about as much as the multipliers do. 2 and 5 did as well; with a thousand, temperatures of
# hard margins were too low.
LARGEST_MULTIPLIER_RATIO = 3
# Number of further samples that are wrong, by the root mean square of scores less their mean. On real data
# sets with a hundred rows, those that look separable gain by more, up to one sample, and others lose.
WRONG = 0.1


@dataclass(frozen=True)
class _HeldTerm:
    """A hinge as the solver left it, with its multipliers, but with the curvature that holds its samples.

    This is a share of the curvature that the hinge has with its kinks spread over a width.
    """

    minimised: Term
    loss: HingeLoss
    width: float
    share: float

    def evaluate(self, scores: Array, block: Block) -> BlockSums:
        """Sums over the block, as the solver left them."""
        return self.minimised.evaluate(scores, block)

    def gradient(self, scores: Array, block: Block) -> Array:
        """Gradient, as the solver left it."""
        return self.minimised.gradient(scores, block)

    def curvature(self, scores: Array, block: Block) -> Curvature:
        """The share of the second derivative of the loss with its kinks spread."""
        diagonal, left, right = self.loss._kink_curvature(scores, block.y, self.width)
        return Curvature(self.share * diagonal, self.share * left, right)


def fit_temperature(objective: Objective, theta: Array, unit_weight: Array) -> float:
    """Temperature for the scores of a solved objective with a hinge.

    `unit_weight` (n_samples,) is the part of each sample's weight that is left out: the weight of a single
    row, so that a weight of two and a repeated row are the same.
    """
    loss = cast(HingeLoss, objective.term.loss)
    margin = loss._score_unit
    all_weight = objective.rows.weight
    n_samples = float((all_weight[unit_weight > 0] / unit_weight[unit_weight > 0]).sum())
    flows, spreads, distances, weight = _flows_and_distances(objective, theta)
    width = _kink_width(objective, distances, weight / unit_weight[unit_weight > 0])
    share = _share_that_holds(loss, flows, weight)
    most_spread = weighted_quantile(spreads, weight, SPREAD_SHARE)
    most_within_margin = weighted_quantile(spreads, weight, SPREAD_SHARE_WITHIN_MARGIN)
    objective = replace(objective, term=_HeldTerm(objective.term, loss, width, share))
    if may_be_inverted(objective, n_samples, min(n_samples, MOST_SAMPLES)):
        scores, y, weight = _left_out_scores(objective, theta, unit_weight, _drawn(objective, theta))
    else:
        scores, y, weight = _roughly_left_out_scores(objective, theta, unit_weight, SOFTNESS * margin)
    scores = _limited(scores, max(most_spread, min(most_within_margin, margin)))
    size = float(np.sqrt(weight @ scores.var(axis=1))) or margin
    coldest, hottest = COLDEST * min(margin, size), HOTTEST * max(margin, size)
    temperature = _likeliest(scores, y, weight, WRONG / n_samples * size, coldest, hottest)
    return margin * float(f"{temperature / margin:.{DIGITS}g}")


def _flows_and_distances(objective: Objective, theta: Array) -> tuple[Array, Array, Array, Array]:
    """Largest flow, spread of the scores, distance to a kink, and weight, for each sample with weight."""
    loss = cast(HingeLoss, objective.term.loss)
    coef, intercept = objective.score_parameters(theta)

    def contribution(block: Block) -> tuple[Array, Array, Array, Array]:
        scores = block.scores(coef, intercept)
        flows = objective.term.gradient(scores, block).max(axis=1)
        return flows, np.ptp(scores, axis=1), loss._kink_distances(scores, block.y), block.weight

    *parts, weight = map(np.concatenate, zip(*objective.rows.map(contribution), strict=True))
    flows, spreads, distances = (part[weight > 0] for part in parts)
    return flows, spreads, distances, weight[weight > 0]


def _kink_width(objective: Objective, distances: Array, counts: Array) -> float:
    """Width over which to spread kinks, given each sample's distance to one and the rows it stands for."""
    margin, n_samples = objective.term.loss._score_unit, float(counts.sum())
    n_inputs = np.count_nonzero(objective.statistics.variance) + objective.fit_intercept
    near = min(CONTACTS * n_inputs * (objective.n_classes - 1) / n_samples, 1.0)
    reached = min(2 * weighted_quantile(distances, counts, near), margin)
    return float(max(margin * n_samples**WIDTH_POWER, min(2 * (1 - near), 1.0) * reached))


def _share_that_holds(loss: HingeLoss, flows: Array, weight: Array) -> float:
    """Share of the curvature to take. It gives the curvature at a smaller C, where multipliers are not tiny.

    For hard margins neither coefficients nor multipliers depend on C, but curvature does. With all of it, how
    far a sample may move would be a difference of numbers that agree in all their digits.
    """
    pulls = weight * flows
    if not pulls.any():
        return 1.0
    most = 1.0 if loss.has_kinks else loss._score_unit
    # Flows are weighted by their pull, so that multipliers that are round-off do not count.
    return min(LARGEST_MULTIPLIER_RATIO * weighted_quantile(flows, pulls, 0.5) / most, 1.0)


def _likeliest(scores: Array, y: Array, weight: Array, wrong: float, coldest: float, hottest: float) -> float:
    """Temperature from `coldest` to `hottest` with which the softmax of the scores makes y most likely.

    `wrong` is what wrong scores add to the mean loss's slope in the inverse temperature.
    """
    likelihood = SoftmaxLoss()

    def slope(log_inverse: float) -> float:
        """Derivative of the mean loss in the inverse temperature. The mean loss is convex in it."""
        _, gradient = likelihood._value_and_gradient(scores * np.exp(log_inverse), y)
        return float(weight @ np.einsum("ij,ij->i", gradient, scores)) + wrong

    low, high = -np.log(hottest), -np.log(coldest)
    # A slope that is not a number fails both comparisons.
    if not slope(low) < 0:
        return hottest
    if not slope(high) > 0:
        return coldest
    return float(np.exp(-brentq(slope, low, high, xtol=1e-12)))


def _drawn(objective: Objective, theta: Array) -> Array:
    """For each sample, the number of samples it stands for; zero for those without weight or not drawn.

    Of many samples some are drawn at random: as many of those where the loss has a slope as of the others.
    The former include the errors, which can be few.
    """
    weighted = objective.rows.weight > 0
    if np.count_nonzero(weighted) <= MOST_SAMPLES:
        return weighted.astype(float)
    coef, intercept = objective.score_parameters(theta)

    def has_slope(block: Block) -> Array:
        return np.asarray(objective.term.gradient(block.scores(coef, intercept), block).any(axis=1))

    pulling = np.concatenate(objective.rows.map(has_slope))
    drawn, rng = np.zeros(len(weighted)), generator()
    for stratum in map(np.flatnonzero, (weighted & pulling, weighted & ~pulling)):
        chosen = rng.choice(stratum, min(len(stratum), MOST_SAMPLES), replace=False)
        drawn[chosen] = len(stratum) / max(len(chosen), 1)
    return drawn


def _left_out_scores(
    objective: Objective, theta: Array, unit_weight: Array, drawn: Array
) -> tuple[Array, Array, Array]:
    """Scores (n, n_classes) that samples would have if left out, their classes and shares of the weight."""
    n_inputs, n_codes = objective.shape
    factor, _ = hessian_factor(objective, theta)
    inverse = factor.inverse().reshape(n_codes, n_inputs, n_codes, n_inputs)
    coef, intercept = objective.score_parameters(theta)
    pulls = objective.C * _class_pulls(objective, theta).reshape(-1, n_codes * n_inputs)
    moved = (pulls @ inverse.reshape(n_codes * n_inputs, -1)).reshape(-1, n_codes, n_inputs)
    totals = objective.statistics.class_totals

    def leave_out(block: Block) -> tuple[Array, Array, Array]:
        places = block.places
        scores = block.scores(coef, intercept)
        slope = objective.term.gradient(scores, block)
        curvature = objective.term.curvature(scores, block)
        selected = np.flatnonzero(drawn[places])
        # A sample without a slope has no part in the gradient and keeps its scores.
        for chosen in chunks(selected[slope[selected].any(axis=1)]):
            rows, y = objective.centred_rows(block, chosen), block.y[chosen]
            left = unit_weight[places][chosen]
            others = totals[y] - left
            share = np.divide(left, others, out=np.zeros_like(left), where=others > LEAST_OTHERS * totals[y])
            left, share = objective.C * left[:, None, None], share[:, None, None]
            leverage = _leverages(inverse, rows, objective.n_classes)
            # The product multiplies the rows of J by B, which gives J B, as B is symmetric.
            curved = Curvature(*(array[chosen, None] for array in curvature)).product(leverage)
            kept = (1 + DAMPING) * np.eye(objective.n_classes) - left * curved
            pulled = (1 + share) * left * (leverage @ slope[chosen, :, None])
            pulled[:, :-1] -= share * (moved[y] @ rows[:, :, None])
            scores[chosen] += np.linalg.solve(kept, pulled)[:, :, 0]
        return scores[selected], block.y[selected], (block.weight * drawn[places])[selected]

    return _gathered(objective.rows.map(leave_out))


def _class_pulls(objective: Objective, theta: Array) -> Array:
    """Weighted pull of each class's samples on the parameters, (n_classes, n_classes - 1, n_inputs)."""
    coef, intercept = objective.score_parameters(theta)
    n_inputs, n_codes = objective.shape

    def contribution(block: Block) -> tuple[Array]:
        slope = block.weight[:, None] * objective.term.gradient(block.scores(coef, intercept), block)
        pulls = np.zeros((objective.n_classes, n_codes, n_inputs))
        for k in np.unique(block.y):
            for chosen in chunks(np.flatnonzero(block.y == k)):
                pulls[k] += slope[chosen, :-1].T @ objective.centred_rows(block, chosen)
        return (pulls,)

    (pulls,) = objective.rows.sum(contribution)
    return np.asarray(pulls)


def _gathered(parts: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    """Scores, classes and shares of the weight of all samples, from the parts that blocks give."""
    scores, y, weight = map(np.concatenate, zip(*parts, strict=True))
    return scores, y, weight / weight.sum()


def _limited(scores: Array, most: float) -> Array:
    """The scores, shrunk for each sample whose scores differ by more than `most`."""
    spreads = np.ptp(scores, axis=1, keepdims=True)
    return np.asarray(scores * (most / np.maximum(np.maximum(spreads, most), SMALLEST)))


def _leverages(inverse: Array, rows: Array, n_classes: int) -> Array:
    """J of each row, (n, n_classes, n_classes): how a pull on its scores moves them."""
    n_rows, n_inputs = rows.shape
    # The last class's score is subtracted from all scores, so its row and column of J stay zero.
    leverage = np.zeros((n_rows, n_classes, n_classes))
    for k in range(n_classes - 1):
        moved = rows @ inverse[k, :, k:].reshape(n_inputs, -1)
        moved = moved.reshape(n_rows, n_classes - 1 - k, n_inputs)
        leverage[:, k, k:-1] = leverage[:, k:-1, k] = np.matmul(moved, rows[:, :, None])[:, :, 0]
    return leverage


def _roughly_left_out_scores(
    objective: Objective, theta: Array, unit_weight: Array, softness: float
) -> tuple[Array, Array, Array]:
    """The same as `_left_out_scores`, roughly, from products with the curvature alone."""
    softmax = SoftmaxLoss()
    coef, intercept = objective.score_parameters(theta)
    # Coding a pull on the scores, and decoding the change of the coefficients, give this factor.
    scale = np.full(objective.rows.n_features, math.sqrt(objective.code_square))

    def pulls(block: Block) -> _Pulls:
        scores = block.scores(coef, intercept)
        squared_norm = block.squared_norms(objective.statistics.mean, scale)
        curvature = objective.term.curvature(scores, block)
        return _Pulls(
            objective.C * block.weight * squared_norm,
            (objective.C * unit_weight[block.places] * squared_norm)[:, None],
            curvature,
            softmax._curvature(scores / softness, block.y).diagonal,
        )

    by_block = objective.rows.map(pulls)
    factor = _agreeing_factor(by_block, _softmax_trace(objective, theta, softness))

    def leave_out(block: Block) -> tuple[Array, Array, Array]:
        scores = block.scores(coef, intercept)
        step = factor * by_block[block.index].leverage
        return scores + step * objective.term.gradient(scores, block), block.y, block.weight

    return _gathered(objective.rows.map(leave_out))


class _Pulls(NamedTuple):
    """What leaving out the samples of a block depends on.

    ``weight`` (n_samples,) is the weight of each sample in the trace. ``leverage`` (n_samples, 1) is how far
    a unit slope of its loss moves its scores, up to a factor common to all samples. ``probabilities`` are the
    softmax's.
    """

    weight: Array
    leverage: Array
    curvature: Curvature
    probabilities: Array


def _agreeing_factor(pulls: list[_Pulls], trace: float) -> float:
    """The common factor of the samples' leverage with which they imply the trace."""

    def implied(factor: float) -> float:
        return factor * sum(
            float(pull.weight @ _kept(pull.curvature, factor * pull.leverage, pull.probabilities))
            for pull in pulls
        )

    # Curvature shrinks the trace that a factor implies, so the factor is larger than without curvature. A
    # factor of one is how far a sample would move if the penalty alone held the solution, without any other
    # sample.
    uncurved = sum(float(pull.weight @ (1 - (pull.probabilities**2).sum(axis=1))) for pull in pulls)
    if trace <= 0 or uncurved <= 0:
        return 0.0
    if implied(1.0) <= trace:
        return 1.0
    # A factor below this implies less than the trace, even without curvature.
    least = trace / uncurved
    log = brentq(lambda log: implied(np.exp(log)) / trace - 1, np.log(least) - 1, 0.0, xtol=1e-12)
    return float(np.exp(log))


def _softmax_trace(objective: Objective, theta: Array, softness: float) -> float:
    """C times the trace of H^-1 times the softmax's curvature, estimated from vectors of random signs.

    The signs belong to parameters that have been scaled and rotated until H is near the identity. With signs
    of the parameters themselves, neither the noise of an estimate nor the effect of an error of the solution
    would have a bound where features are correlated or of different scales.
    """
    preconditioner = precondition_by_class(objective, theta, PRECONDITIONER_BUDGET)
    residual = RESIDUAL if preconditioner.couples_features else UNCOUPLED_RESIDUAL
    multiply = CurvatureAt(objective, theta).product()
    # Scores are linear in theta, so dividing theta divides the scores.
    soft = replace(objective, term=SmoothTerm(SoftmaxLoss()), penalty=0.0)
    soften = CurvatureAt(soft, theta / softness).product()
    size = len(preconditioner.gradient(np.zeros(objective.shape)))

    def product(u: Array) -> Array:
        return preconditioner.gradient(multiply(preconditioner.step(u)))

    hessian = LinearOperator((size, size), matvec=product, dtype=np.float64)
    space, n_inputs = objective.space, objective.n_inputs
    n_given = objective.rows.n_features if space is None else len(space.shift)
    rng = generator()
    iterations = 0

    def count(solution: Array) -> None:
        nonlocal iterations
        iterations += 1

    estimates: list[float] = []
    while len(estimates) < MOST_PROBES and iterations < ENOUGH_ITERATIONS:
        if iterations >= FEWEST_ITERATIONS and _agree(estimates):
            break
        signs = rng.choice([-1.0, 1.0], (n_given + 1, size // n_inputs))
        # Signs are drawn for the given features. An added constant is not one of them.
        coordinates = signs[:-1] if space is None else space.basis.T @ signs[:-1]
        probe = np.vstack([coordinates, signs[-1:]])[:n_inputs].T.ravel()
        right = preconditioner.gradient(soften(preconditioner.step(probe)))
        with np.errstate(all="ignore"):
            solved, _ = cg(hessian, right, rtol=residual, maxiter=MOST_ITERATIONS, callback=count)
        if not np.isfinite(solved).all():
            # No sample is near a kink, so nothing holds the intercept.
            return np.inf
        estimates.append(float(solved @ probe))
    return float(np.mean(estimates))


def _agree(estimates: list[float]) -> bool:
    """Whether the confidence interval for the mean of the estimates is narrow enough."""
    n = len(estimates)
    if n < 2:
        return False
    error = np.std(estimates, ddof=1) / np.sqrt(n)
    return bool(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * error <= NOISE * abs(np.mean(estimates)))


def _kept(curvature: Curvature, factor: Array, p: Array) -> Array:
    """``tr(W (I + factor * B)^-1)`` of each sample, for the softmax's curvature ``W = diag(p) - p p'``.

    The curvature B is diagonal except for outer products of two vectors, so the formula of Sherman, Morrison
    and Woodbury gives the inverse.
    """
    stiffest = curvature.diagonal.max(axis=1, keepdims=True)
    factor = np.minimum(factor, STIFFEST / np.maximum(stiffest, 1))
    inverse = 1 / (1 + factor * curvature.diagonal)
    left, right = inverse * curvature.left, inverse * curvature.right

    def dot(a: Array, b: Array) -> Array:
        return np.asarray(np.einsum("ij,ij->i", a, b))

    def form(a: Array, b: Array) -> Array:
        return np.asarray(dot(p * a, b) - dot(p, a) * dot(p, b))

    factor = factor[:, 0]
    left_left, right_right = factor * dot(curvature.left, left), factor * dot(curvature.right, right)
    left_right = 2 - factor * dot(curvature.left, right)
    added = right_right * form(left, left) + left_left * form(right, right)
    added += 2 * left_right * form(left, right)
    removed = factor * added / (left_left * right_right - left_right**2)
    return np.asarray(dot(p, inverse) - dot(p**2, inverse) - removed)
