"""Ascent of a hinge's dual, a few samples at a time: for more features than curvature can be taken of.

Knows an objective with an envelope. Knows nothing of preconditioners and stages.

Multipliers of a block of samples are moved while all others rest, so that all that is needed of the features
is the block's Gram matrix: a step of theirs moves its own scores by it. Where samples have little in common,
as texts have, a pass over the blocks brings the dual as near as many gradients of all samples do (S.
Shalev-Shwartz and T. Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization",
2013). Within a block steps are proximal gradients of the dual.
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

# Ascent goes on as long as, at the rate of so many last iterations, it takes no more of them to the goal than
# the fit may make: each costs some nine evaluations, but L-BFGS may need as many. With a sixth of that
# 20 newsgroups at C = 1 took half as long again.
RATE = 10
# Share of the gap that may be left of it: where more is in all, multipliers are not kept. Where all is solved
# but at most this share of the objective for the intercept's balance, an iteration that leaves more ends
# ascent: others find the last of it sooner (20 newsgroups at C = 1/64 in a fourth of the time), more of it up
# to six times later.
GAP_LEFT, BALANCED = 0.5, 0.1
# Steps suppose, to start with, so many times the curvature of single samples. Where they met more, they
# suppose a little more than that; else less by at most this factor next time.
CURVATURE, MORE, LESS = 2.0, 1.2, 0.9
# What a lack of balance adds to the curvature of a typical block, in curvatures of a typical sample. More
# would be its stiffest direction; with less the intercept takes longer.
BALANCE = 8.0
# Least curvature of a sample, as a share of the typical one.
FLOOR = 1e-3


def ascend(run: Run, objective: HingeObjective, start: Array, n_blocks: int) -> HingeObjective:
    """The objective around better multipliers, of which the best point is noted; as given if they are not.

    `start` are parameters with the intercept to start from. Samples move in so many blocks. Ascent ends
    where the gap is certified to be small enough, where all but the last of the intercept's balance is
    solved, or where at the rate of the last iterations it would take more than `max_iter` others.
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
        if len(gaps) > RATE and _left(gaps[-1 - RATE], gaps[-1], run) > run.max_iter:
            break
    run.milestone("ascent")
    return objective if _has_fallen(gaps[0], gaps[-1]) else initial


def _left(before: float, gap: float, run: Run) -> float:
    """Iterations to the goal at the rate at which the last ones have brought the gap down from `before`."""
    if not gap < before < math.inf:
        return math.inf
    goal = max(run.tol, FINEST_GAP) * abs(run.best.objective)
    return RATE * math.log(gap / goal) / math.log(before / gap)


def _has_fallen(before: float, gap: float) -> bool:
    """Whether the gap is that much less than before."""
    return math.isfinite(gap) and gap <= GAP_LEFT * before


def _typical_square(objective: HingeObjective) -> float:
    """The squared distance of a sample in the middle from the mean, which a few long ones leave as it is."""
    mean = objective.statistics.mean
    parts = objective.rows.map(lambda block: block.squared_norms(mean, np.ones_like(mean)))
    squared_norm = weighted_quantile(np.concatenate(parts), objective.rows.weight, 0.5)
    return squared_norm or float(objective.statistics.variance.sum())


@dataclass
class _DualBlock:
    """What a block of samples needs for its turn: its multipliers, their pull, and how its scores curve.

    Parameters
    ----------
    block : Block
    columns : array
        The features that its rows have.
    gram : array of shape (n_samples, n_samples)
        Of its centred rows, with what a lack of balance adds.
    means : array of shape (n_samples,)
        Products of its rows with the mean.
    smoothing : array of shape (n_samples,)
        Of each sample, at a `curvature` of one.
    flows : array of shape (n_samples, n_classes)
    pull : array of shape (n_codes, n_samples)
        Each sample's, times C and its weight.
    curvature : float
        That which steps suppose.
    """

    block: Block
    columns: Array
    gram: Array
    means: Array
    smoothing: Array
    flows: Array
    pull: Array
    curvature: float = CURVATURE


class _Ascent:
    """Multipliers that move block by block, from the objective's, and the parameters that they imply."""

    def __init__(self, objective: HingeObjective, theta: Array, n_blocks: int) -> None:
        self.initial, self.coding = objective, objective.coding
        n_codes = objective.shape[1]
        self.mean = objective.statistics.mean
        self.squared_mean = float(self.mean @ self.mean)
        # Minus the pull of rows that are not centred, its product with the mean, and the sum of all pulls.
        self.coef = np.zeros((objective.rows.n_features, n_codes))
        self.along_mean, self.total = np.zeros(n_codes), np.zeros(n_codes)
        self.intercept, self.stiffness = np.zeros(n_codes), 0.0
        # Rows that do not vary have no curvature but what a lack of balance adds.
        self.typical = _typical_square(objective) or 1.0
        if objective.fit_intercept:
            self.intercept += theta[-1]
            self.stiffness = BALANCE * self.typical * n_blocks / objective.rows.n_samples
        self.blocks = [self._dual_block(*each) for each in objective.rows.interleaved(n_blocks)]
        self.n_passes = 0

    @property
    def theta(self) -> Array:
        """The parameters that the multipliers imply, with the intercept that has been found."""
        coef = self.coef + np.outer(self.mean, self.total)
        return np.vstack([coef, self.intercept]) if self.initial.fit_intercept else coef

    def objective(self) -> HingeObjective:
        """The objective around the multipliers."""
        flows = np.empty_like(self.initial.term.flows)
        for dual in self.blocks:
            flows[dual.block.places] = dual.flows
        return self.initial.with_flows(flows)

    def make_pass(self) -> None:
        """Move the multipliers of all blocks in a random order, then the intercept by what they lack."""
        order = generator(self.n_passes * len(self.blocks)).permutation(len(self.blocks))
        self.n_passes += 1
        for k in order:
            self._move(self.blocks[k])
        self.intercept -= self.stiffness * self.total

    def _dual_block(self, columns: Array, block: Block) -> _DualBlock:
        """What a block needs for its turn, its multipliers accounted for."""
        ready = block.ready()
        means = ready.X @ self.mean[columns]
        stored = ready.X.astype(np.float64, copy=False)
        product = stored @ stored.T
        gram = product.toarray() if sp.issparse(product) else product
        gram += self.squared_mean + self.stiffness - means - means[:, None]
        squared_norm = np.maximum(gram.diagonal(), FLOOR * self.typical)
        # In proportion to the weights, as that of the envelope.
        weight = np.where(block.weight > 0, block.weight, 1)
        smoothing = np.maximum(self.initial.C * weight * squared_norm, TINY)
        flows = np.asfortranarray(self.initial.term.flows[block.places])
        dual = _DualBlock(block, columns, gram, means, smoothing, flows, self._pull(block, flows))
        self._account(ready, dual, dual.pull, self.coef.take(columns, axis=0))
        return dual

    def _pull(self, block: Block, flows: Array) -> Array:
        """Coded pull of each sample of a block that has these multipliers."""
        coded = self.coding.T @ flows.T - flows.sum(axis=1) * self.coding[block.y].T
        return np.asarray(self.initial.C * block.weight * coded)

    def _account(self, ready: Block, dual: _DualBlock, change: Array, coef: Array) -> None:
        """Account for changed pulls of a block, given the coefficients of its features."""
        coef -= ready.pull_back(change.T)
        self.coef[dual.columns] = coef
        self.total += change.sum(axis=1)
        self.along_mean -= change @ dual.means

    def _move(self, dual: _DualBlock) -> None:
        """Make some steps of a block's multipliers, and account for them in the parameters."""
        block, loss = dual.block.ready(), self.initial.term.loss
        weight = self.initial.C * block.weight
        common = self.intercept - self.along_mean - (self.squared_mean + self.stiffness) * self.total
        coded = np.empty_like(dual.pull)
        coef = self.coef.take(dual.columns, axis=0)
        block.multiply(coef, coded)
        coded += np.outer(self.total, dual.means) + common[:, None]
        flows, pull = dual.flows, dual.pull
        for _ in range(ASCENT_STEPS):
            smoothing = dual.curvature * dual.smoothing
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
                dual.curvature *= MORE * met / supposed
                continue
            dual.curvature *= max(LESS, met / supposed)
            flows, pull = new, new_pull
            coded -= moved
        self._account(block, dual, pull - dual.pull, coef)
        dual.flows, dual.pull = flows, pull
