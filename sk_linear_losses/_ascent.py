"""Ascent of a hinge's dual, a few samples at a time, where features are too many to take their curvature.

Knows an objective with an envelope. Knows nothing of preconditioners and stages.

The multipliers of one block of samples move while all others rest. All that is needed of the features is then
the Gram matrix of the block's rows, which tells how a step of these multipliers moves the block's scores.
Where samples have little in common, as texts have, a pass over the blocks brings the dual as near the optimum
as many gradients of all samples do (S. Shalev-Shwartz and T. Zhang, "Stochastic dual coordinate ascent
methods for regularized loss minimization", 2013). Within a block steps are proximal gradients of the dual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ._blocks import Block
from ._cost import ASCENT_PASSES, ASCENT_STEPS
from ._envelope import TINY, HingeObjective
from ._numerics import generator, weighted_quantile
from ._run import FINEST_GAP, Run
from ._typing import Array

# Number of last iterations from which the rate of ascent is told. Ascent goes on as long as, at this rate, it
# takes no more iterations to the goal than the fit may make: each costs some nine evaluations, but L-BFGS may
# need as many. With a sixth of this limit 20 newsgroups at C = 1 took half as long again.
RATE = 10
# GAP_LEFT: share of a gap that may be left for it to have fallen. Multipliers are not kept where ascent as a
# whole leaves more. BALANCED: once all is solved but an imbalance of at most this share of the objective, an
# iteration that leaves more than GAP_LEFT ends ascent. The method of multipliers removes such an imbalance
# sooner (20 newsgroups at C = 1/64 in a fourth of the time), and a larger one up to six times later.
GAP_LEFT, BALANCED = 0.5, 0.1
# A block's steps suppose, to start with, SUPPOSED_FACTOR times the curvature of single samples. A step that
# meets more than it supposed is made again and supposes MORE times what was met. After other steps the next
# one supposes what was met, but no less than LESS times what was supposed.
SUPPOSED_FACTOR, MORE, LESS = 2.0, 1.2, 0.9
# Curvature that the intercept's imbalance adds to a typical block, in units of a typical sample's curvature.
# More would make it the block's stiffest direction; with less the intercept takes longer.
BALANCE = 8.0
# Least curvature of a sample, as a share of the typical one.
FLOOR = 1e-3


def ascend(run: Run, objective: HingeObjective, start: Array, n_blocks: int) -> HingeObjective:
    """The objective around better multipliers, whose best point `run` has noted; as given if none are better.

    `start` holds the parameters whose intercept ascent starts from. Samples move in `n_blocks` blocks.
    Ascent ends where the gap is certified to be small enough, where all is solved but the last of the
    intercept's imbalance, or where at the rate of the last iterations it would take more than `max_iter`
    further ones.
    """
    ascent = _Ascent(objective, start, n_blocks)
    initial, gaps = objective, [run.gap]
    while not run.is_certified and run.iterations_left > 0:
        run.begin(objective)
        for _ in range(ASCENT_PASSES):
            ascent.make_pass()
        objective = ascent.objective()
        resting = objective.at_rest()
        at = resting.evaluate(ascent.theta)
        run.note(resting, at)
        run.end(resting, at)
        gaps.append(run.gap)
        parts = resting.gap_parts(at)
        is_solved = parts.stationarity + parts.complementarity <= run.tol * abs(at.objective)
        is_nearly_balanced = parts.imbalance <= BALANCED * abs(at.objective)
        if is_solved and is_nearly_balanced and not _has_fallen(gaps[-2], gaps[-1]):
            break
        if len(gaps) > RATE and _iterations_to_goal(gaps[-1 - RATE], gaps[-1], run) > run.max_iter:
            break
    run.milestone("ascent")
    return objective if _has_fallen(gaps[0], gaps[-1]) else initial


def _iterations_to_goal(before: float, gap: float, run: Run) -> float:
    """Iterations to the goal at the rate of the last RATE ones, which brought the gap down from `before`."""
    if not gap < before < math.inf:
        return math.inf
    goal = max(run.tol, FINEST_GAP) * abs(run.best.objective)
    return RATE * math.log(gap / goal) / math.log(before / gap)


def _has_fallen(before: float, gap: float) -> bool:
    """Whether at most GAP_LEFT of the gap before is left."""
    return math.isfinite(gap) and gap <= GAP_LEFT * before


def _typical_square(objective: HingeObjective) -> float:
    """Weighted median of the squared distances of samples from the mean: a few long rows do not move it."""
    mean = objective.statistics.mean
    parts = objective.rows.map(lambda block: block.squared_norms(mean, np.ones_like(mean)))
    squared_norm = weighted_quantile(np.concatenate(parts), objective.rows.weight, 0.5)
    return squared_norm or float(objective.statistics.variance.sum())


@dataclass
class _DualBlock:
    """What a block of samples needs for its turn: its multipliers, their pull, and its curvature.

    Parameters
    ----------
    block : Block
    features : array
        Indices of the features that its rows store.
    gram : array of shape (n_samples, n_samples)
        Gram matrix of its centred rows, plus what the intercept's imbalance adds.
    means : array of shape (n_samples,)
        Products of its rows with the mean.
    smoothing : array of shape (n_samples,)
        Smoothing of each sample at a `supposed_factor` of one.
    flows : array of shape (n_samples, n_classes)
        The multipliers.
    pull : array of shape (n_codes, n_samples)
        Pull of each sample, times C and its weight.
    supposed_factor : float
        Curvature that steps suppose, in units of that of single samples.
    """

    block: Block
    features: Array
    gram: Array
    means: Array
    smoothing: Array
    flows: Array
    pull: Array
    supposed_factor: float = SUPPOSED_FACTOR


class _Ascent:
    """Multipliers that move block by block, starting at the objective's, and the parameters they imply."""

    def __init__(self, objective: HingeObjective, theta: Array, n_blocks: int) -> None:
        self.initial, self.coding = objective, objective.coding
        n_codes = objective.shape[1]
        self.mean = objective.statistics.mean
        self.squared_mean = float(self.mean @ self.mean)
        # Minus the pull of the uncentred rows, its product with the mean, and the sum of all pulls.
        self.coef = np.zeros((objective.rows.n_features, n_codes))
        self.along_mean, self.total = np.zeros(n_codes), np.zeros(n_codes)
        self.intercept, self.imbalance_stiffness = np.zeros(n_codes), 0.0
        # Rows that do not vary have no curvature but what the intercept's imbalance adds.
        self.typical = _typical_square(objective) or 1.0
        if objective.fit_intercept:
            self.intercept += theta[-1]
            self.imbalance_stiffness = BALANCE * self.typical * n_blocks / objective.rows.n_samples
        self.blocks = [self._dual_block(*each) for each in objective.rows.interleaved(n_blocks)]
        self.n_passes = 0

    @property
    def theta(self) -> Array:
        """The parameters that the multipliers imply, with the present intercept."""
        coef = self.coef + np.outer(self.mean, self.total)
        return np.vstack([coef, self.intercept]) if self.initial.fit_intercept else coef

    def objective(self) -> HingeObjective:
        """The objective around the multipliers."""
        flows = np.empty_like(self.initial.term.flows)
        for dual in self.blocks:
            flows[dual.block.places] = dual.flows
        return self.initial.with_flows(flows)

    def make_pass(self) -> None:
        """Move the multipliers of all blocks, in a random order, then the intercept by their imbalance."""
        order = generator(self.n_passes * len(self.blocks)).permutation(len(self.blocks))
        self.n_passes += 1
        for k in order:
            self._move(self.blocks[k])
        self.intercept -= self.imbalance_stiffness * self.total

    def _dual_block(self, features: Array, block: Block) -> _DualBlock:
        """What a block needs for its turn; the parameters then account for its multipliers."""
        ready = block.ready()
        means = ready.X @ self.mean[features]
        stored = ready.X.astype(np.float64, copy=False)
        product = stored @ stored.T
        gram = product.toarray() if sp.issparse(product) else product
        gram += self.squared_mean + self.imbalance_stiffness - means - means[:, None]
        squared_norm = np.maximum(gram.diagonal(), FLOOR * self.typical)
        # Proportional to the weights, as the envelope's smoothing is.
        weight = np.where(block.weight > 0, block.weight, 1)
        smoothing = np.maximum(self.initial.C * weight * squared_norm, TINY)
        flows = np.asfortranarray(self.initial.term.flows[block.places])
        dual = _DualBlock(block, features, gram, means, smoothing, flows, self._pull(block, flows))
        self._account(ready, dual, dual.pull, self.coef.take(features, axis=0))
        return dual

    def _pull(self, block: Block, flows: Array) -> Array:
        """Coded pull of each sample of a block with these multipliers."""
        coded = self.coding.T @ flows.T - flows.sum(axis=1) * self.coding[block.y].T
        return np.asarray(self.initial.C * block.weight * coded)

    def _account(self, ready: Block, dual: _DualBlock, change: Array, coef: Array) -> None:
        """Account in the parameters for a change of a block's pulls, given its features' coefficients."""
        coef -= ready.pull_back(change.T)
        self.coef[dual.features] = coef
        self.total += change.sum(axis=1)
        self.along_mean -= change @ dual.means

    def _move(self, dual: _DualBlock) -> None:
        """Make some steps of a block's multipliers, and account for them in the parameters."""
        block, loss = dual.block.ready(), self.initial.term.loss
        weight = self.initial.C * block.weight
        stiffness = self.squared_mean + self.imbalance_stiffness
        common = self.intercept - self.along_mean - stiffness * self.total
        coded = np.empty_like(dual.pull)
        coef = self.coef.take(dual.features, axis=0)
        block.multiply(coef, coded)
        coded += np.outer(self.total, dual.means) + common[:, None]
        flows, pull = dual.flows, dual.pull
        for _ in range(ASCENT_STEPS):
            smoothing = dual.supposed_factor * dual.smoothing
            scores = (self.coding @ coded).T
            new = loss._envelope_flows(scores, block.y, flows, smoothing[:, None])
            new_pull = self._pull(block, new)
            step, change = new - flows, new_pull - pull
            moved = change @ dual.gram
            met = float(np.vdot(change, moved))
            supposed = float((weight * smoothing) @ np.einsum("ij,ij->i", step, step))
            if not supposed > 0 or not math.isfinite(met):
                break
            if met > supposed:
                dual.supposed_factor *= MORE * met / supposed
                continue
            dual.supposed_factor *= max(LESS, met / supposed)
            flows, pull = new, new_pull
            coded -= moved
        self._account(block, dual, pull - dual.pull, coef)
        dual.flows, dual.pull = flows, pull
