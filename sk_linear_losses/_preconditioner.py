"""Changes of variables theta = start + T u under which the objective's curvature is near the identity.

Knows the objective's curvature. Knows nothing of how the solver moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ._blocks import Block
from ._cost import (
    AS_GOOD_AS_ALL,
    LEADING_DIRECTIONS,
    LEADING_PRODUCTS,
    START_BUDGET,
    CostModel,
    Form,
    Plan,
    gram_stays_sparse,
    pairs_together,
    rows_stay_sparse,
)
from ._curvature import CurvatureAt, pairs, products_of_pairs
from ._leading import LeadingRoot, leading_directions
from ._low_rank import OuterProducts, low_rank_root
from ._numerics import SMALLEST, generator
from ._objective import Objective
from ._roots import BlockRoot, DiagonalRoot, Factor, Root, factorise
from ._shifted_rows import ShiftedRows
from ._typing import Array
from .losses import Curvature

# Share of the sampled rows that is drawn without regard to curvature and distance.
UNIFORM_SHARE = 0.1
# Combinations of classes whose curvature differs by at most this factor share one matrix: factorising
# matrices costs most.
ALIKE = 1.5
# INTERCEPT_FLOOR: least curvature of a code's intercept, relative to the largest of any code's intercept.
# FLAT_INTERCEPT: the same where no sample curves, relative to a curvature of one for every sample.
INTERCEPT_FLOOR, FLAT_INTERCEPT = 1e-8, 1e-10


@dataclass(frozen=True)
class Preconditioner:
    """The linear map ``T = frame.T @ inv(root).T``.

    Parameters
    ----------
    root : Root
        A root of the curvature in parameters ordered by combination of the codes, then by input.
    frame : array of shape (n_combinations, n_codes)
        The combinations. ``frame.T @ frame`` is the identity, except for the full Hessian.
    form : Form
        Form of the curvature. At zero coefficients one Gram matrix for all classes counts as exact: there it
        is exact for the softmax, and near enough to start from for a hinge.
    renewal_cost : float
        Cost in evaluations of the curvature to be taken next: the same taken anew, or the one that is to
        follow, such as a better one or that of all rows after that of a sample.
    sampled : bool
        Whether the curvature comes from a small part of the samples.
    """

    root: Root
    frame: Array
    form: Form
    renewal_cost: float
    sampled: bool = False

    @property
    def exact(self) -> bool:
        """Whether the curvature is the full Hessian, or counts as such."""
        return self.form is Form.EXACT

    @property
    def couples_features(self) -> bool:
        """Whether the curvature couples any two features, not only along a few directions."""
        return self.form not in (Form.LEADING, Form.DIAGONAL)

    def step(self, u: Array) -> Array:
        """``T u``, of the shape of theta."""
        return np.asarray(self.root.solve_transposed(u).reshape(len(self.frame), -1).T @ self.frame)

    def gradient(self, gradient: Array) -> Array:
        """``T' gradient``, a vector."""
        return self.root.solve((self.frame @ gradient.T).ravel())


def precondition(
    objective: Objective, theta: Array, n_iter: float = 0, whole: Objective | None = None
) -> Preconditioner:
    """The best preconditioner at theta that is worth its cost, in a fit that has made `n_iter` iterations.

    Where `objective` is that of a sample of the rows, `whole` is the one whose evaluations are to be saved.
    """
    model = CostModel(objective, whole or objective, n_iter)
    best, shared = model.best, model.shared()
    # At zero coefficients one Gram matrix stands for the full Hessian: see `_shared`.
    at_zero = not theta[: objective.rows.n_features].any()
    needed = min(best.cost, shared.cost) if at_zero else best.cost
    if whole is None and n_iter == 0 and needed > START_BUDGET:
        return replace(_diagonal(objective, theta), renewal_cost=best.cost)
    if not at_zero and (active := _active(objective, theta, model)) is not None:
        return active
    if best.form is Form.DIAGONAL:
        return _diagonal(objective, theta)
    if best.form is Form.LEADING:
        return _leading(objective, theta, best)
    if not at_zero:
        take = {Form.EXACT: precondition_exactly, Form.BY_CLASS: _by_class, Form.SHARED: _shared}
        return take[best.form](objective, theta, best)
    if best.form is Form.EXACT:
        plan = best._replace(n_rows=shared.n_rows)
        return replace(_shared(objective, theta, plan, alike=1.0), form=Form.EXACT)
    return _shared(objective, theta, shared)


def precondition_by_class(objective: Objective, theta: Array, budget: float) -> Preconditioner:
    """The preconditioner from each class's own curvature, over all samples; the diagonal if that is too dear.

    Too dear is what costs more than `budget` evaluations, or takes too large matrices.
    """
    n_samples = objective.rows.n_samples
    cost = CostModel(objective, objective, 0).of_classes(objective.n_own_curvatures * n_samples)
    if cost > budget:
        return _diagonal(objective, theta)
    return _by_class(objective, theta, Plan(Form.BY_CLASS, cost, n_samples))


class _RowSampler:
    """Chooses `n_rows` rows for each weighting, in proportion to curvature and squared length.

    All rows with curvature are chosen where there are no more than that; for a hinge they may be few. Called
    with a block and its curvature, the sampler returns factors (n_samples, n_weightings): the inverse
    probabilities of the chosen rows, zero for the others. Where all rows are chosen, one column serves all
    weightings. The draw depends on the position of the row alone. With `pooled`, `n_rows` is the total of all
    weightings, shared out in proportion to their curvature.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Array,
        weightings: Callable[[Curvature], Array],
        n_rows: float,
        pooled: bool = False,
    ) -> None:
        self.weightings, self.n_rows = weightings, n_rows
        self.shift = objective.statistics.mean
        self.all = n_rows >= (objective.n_pairs if pooled else 1) * objective.rows.n_samples
        self.sampled = objective.rows.sampled
        if not self.all:
            ridge = objective.penalty / (objective.C * objective.statistics.total_weight)
            variance = objective.statistics.variance
            self.scale = np.zeros_like(variance)
            np.divide(1, np.sqrt(variance + ridge), out=self.scale, where=variance > 0)
            self.totals, self.counts = CurvatureAt(objective, theta).sum(self._contribution)
            if pooled:
                self.totals, self.counts = self.totals.sum(), self.counts.sum()
            self.all = bool((n_rows >= self.counts).all())
            self.sampled |= bool((n_rows < AS_GOOD_AS_ALL * self.counts).any())

    def __call__(self, block: Block, curvature: Curvature) -> Array:
        if self.all:
            return np.asarray(np.any(self.weightings(curvature) != 0, axis=1, keepdims=True))
        sizes = self._sizes(block, curvature)
        shares = sizes / np.maximum(self.totals, SMALLEST)
        shares = (1 - UNIFORM_SHARE) * shares + UNIFORM_SHARE / np.maximum(self.counts, 1) * (sizes > 0)
        probability = np.minimum(self.n_rows * shares, 1)
        chosen = generator(block.start * sizes.shape[1]).random(sizes.shape) < probability
        return np.asarray(np.divide(chosen, probability, out=np.zeros_like(probability), where=chosen))

    def _contribution(self, block: Block, curvature: Curvature) -> tuple[Array, Array]:
        """For each weighting, the sum of the sizes of a block's rows, and how many are not zero."""
        sizes = self._sizes(block, curvature)
        return sizes.sum(axis=0), np.count_nonzero(sizes, axis=0)

    def _sizes(self, block: Block, curvature: Curvature) -> Array:
        """Curvature of each row in each weighting, times one plus its squared distance from the mean."""
        weights = np.abs(self.weightings(curvature))
        lengths = 1 + block.squared_norms(self.shift, self.scale)
        return np.asarray(weights * lengths[:, None])


def _pair_weights(curvature: Curvature) -> Array:
    """Each sample's curvature between the classes of each pair, (n_samples, n_pairs).

    The rows of a sample's curvature matrix sum to zero. It is therefore the Laplacian of a graph,
    ``sum_ab w_ab (e_a - e_b)(e_a - e_b)'``, whose weights are its negated entries off the diagonal.
    """
    left, right = curvature.left.T, curvature.right.T
    weights = products_of_pairs(left, right, distinct=1)
    weights += products_of_pairs(right, left, distinct=1)
    weights /= 2
    return np.asarray(weights.T)


def _grams(
    objective: Objective,
    theta: Array,
    weightings: Callable[[Curvature], Array],
    n_rows: float,
    pooled: bool = False,
) -> tuple[Iterator[Array], bool]:
    """The Gram matrices of the weightings, one after another, and whether they come from few of the rows."""
    choose = _RowSampler(objective, theta, weightings, n_rows, pooled)
    grams = CurvatureAt(objective, theta).grams_one_by_one(weightings, choose, gram_stays_sparse(objective))
    return grams, choose.sampled


def hessian_factor(
    objective: Objective, theta: Array, n_rows: float = np.inf, n_pooled: float = np.inf
) -> tuple[Factor, bool]:
    """Factor of the full Hessian, and whether it comes from a small part of the samples.

    The Hessian is in the coefficients of the scores less the last class's, classes before features. It comes
    from `n_rows` rows, or from `n_pooled` in all where each pair of classes draws rows of its own.
    """
    grams: Iterable[Array]
    if pairs_together(objective):
        choose = _RowSampler(objective, theta, _curvature_trace, n_rows)
        grams, sampled = CurvatureAt(objective, theta).grams_together(_pair_weights, choose), choose.sampled
    else:
        grams, sampled = _grams(objective, theta, _pair_weights, n_pooled, pooled=True)
    n_inputs, n_codes = objective.shape
    own = np.zeros((n_codes + 1, n_inputs, n_inputs))
    hessian = np.empty((n_codes, n_inputs, n_codes, n_inputs))
    for a, b, gram in zip(*pairs(n_codes + 1, 1), grams, strict=True):
        own[a] += gram
        own[b] += gram
        if b < n_codes:
            hessian[a, :, b] = hessian[b, :, a] = -gram
    for k in range(n_codes):
        hessian[k, :, k] = own[k]
    # A view of the entries of each input with itself, for all pairs of classes.
    diagonals = np.einsum("aibi->abi", hessian)
    decoding = objective.contrast_decoding
    diagonals += (decoding @ decoding.T)[:, :, None] * _penalty(objective)
    matrix = hessian.reshape(objective.n_parameters, -1)
    return factorise(matrix, _scales(matrix.diagonal(), objective)), sampled


def precondition_exactly(objective: Objective, theta: Array, plan: Plan) -> Preconditioner:
    """The preconditioner from the full Hessian: the first step is Newton's."""
    factor, sampled = hessian_factor(objective, theta, plan.n_rows, plan.n_pooled)
    return Preconditioner(factor, objective.contrast_decoding, Form.EXACT, plan.cost, sampled)


def _active(objective: Objective, theta: Array, model: CostModel) -> Preconditioner | None:
    """The preconditioner from the full Hessian, by way of the samples that curve.

    None where this is not possible, or where another way is cheaper.
    """
    if not (objective.penalty and objective.term.loss.has_sparse_curvature and model.counts_active):
        return None
    curvature = CurvatureAt(objective, theta)
    ranks = curvature.ranks()
    size = int(np.count_nonzero(ranks)), int(ranks.sum())
    if not model.prefers_active(*size):
        return None
    active, owners, factors = curvature.factors()
    coded = factors @ objective.coding
    added = None
    if objective.fit_intercept:
        alone = np.einsum("ij,ij->j", coded, coded)
        added = np.maximum(_least_curvature(alone, objective) - alone, 0)
    root = low_rank_root(OuterProducts(_centred_rows(objective, active), owners, coded), added)
    if root is None:
        return None
    return Preconditioner(root, np.eye(objective.n_classes - 1), Form.EXACT, model.of_active(*size))


def _centred_rows(objective: Objective, chosen: Array) -> ShiftedRows:
    """The chosen rows, centred, without the intercept's 1. Sparse rows stay sparse where that is cheaper."""
    n_features = objective.rows.n_features
    if not rows_stay_sparse(objective):
        return ShiftedRows(
            objective.centred_rows(objective.rows, chosen)[:, :n_features], np.zeros(n_features)
        )
    varies = np.ones(n_features)
    varies[objective.statistics.constant] = 0
    rows = objective.rows.stored(chosen)
    rows.data = rows.data * varies[rows.indices]
    return ShiftedRows(rows, varies * objective.statistics.mean)


def _penalised_factor(gram: Array, objective: Objective) -> Factor:
    """Factor of a Gram matrix of the inputs with the penalty added; the matrix is overwritten."""
    gram.flat[:: len(gram) + 1] += _penalty(objective)
    return factorise(gram, _scales(gram.diagonal(), objective))


def _shared(objective: Objective, theta: Array, plan: Plan, alike: float = ALIKE) -> Preconditioner:
    """The preconditioner from a product: one Gram matrix of the inputs times the curvature of the classes.

    The Gram matrix is weighted by each sample's mean curvature. Where all samples curve alike, as with the
    softmax at zero coefficients, the product is the full Hessian; for a hinge it is near enough to start
    from. Combinations of classes whose curvature differs by at most a factor `alike` are taken to curve
    alike.
    """
    total = CurvatureAt(objective.condensed(theta), theta).total()
    (gram,), sampled = _grams(objective, theta, _curvature_trace, plan.n_rows)
    # The trace in the codes is a constant times the trace in the scores, by which the Gram matrix is
    # weighted.
    scale = objective.code_square / max(np.trace(total), SMALLEST)
    eigenvalues, rotation = np.linalg.eigh(scale * total)
    groups = _groups(np.maximum(eigenvalues, 0), alike)
    roots = tuple(_penalised_factor(np.mean(group) * gram, objective) for group in groups)
    root = BlockRoot(roots, tuple(map(len, groups)))
    return Preconditioner(root, rotation.T, Form.SHARED, plan.cost, sampled)


def _groups(values: Array, alike: float) -> list[list[float]]:
    """Ascending numbers in groups, each of which spans at most a factor `alike`."""
    groups = [[values[0]]]
    for value in values[1:]:
        if value <= alike * groups[-1][0]:
            groups[-1].append(value)
        else:
            groups.append([value])
    return groups


def _by_class(objective: Objective, theta: Array, plan: Plan) -> Preconditioner:
    """The preconditioner from one Gram matrix for each class, weighted by the curvature in its score."""
    grams, sampled = _grams(objective, theta, _own_curvature(objective), plan.n_rows)
    scale = _class_scale(objective)
    roots = tuple(_penalised_factor(scale * gram, objective) for gram in grams)
    root = BlockRoot(roots, (1,) * len(roots))
    return Preconditioner(root, _class_frame(objective), Form.BY_CLASS, plan.cost, sampled)


def _diagonal(objective: Objective, theta: Array) -> Preconditioner:
    """The preconditioner from the diagonals of the Gram matrices of the classes."""
    root = _diagonal_root(objective, theta)
    return Preconditioner(root, _class_frame(objective), Form.DIAGONAL, renewal_cost=1.0)


def _diagonal_root(objective: Objective, theta: Array) -> DiagonalRoot:
    """Roots of the diagonals of the Gram matrices of the classes.

    No pass over the rows is needed where coefficients are zero and all samples curve alike, as with the
    softmax: the diagonals are then in proportion to the variances of the features.
    """
    condensed = objective if objective.term.loss.has_sparse_curvature else objective.condensed(theta)
    curvature, own_curvature = CurvatureAt(condensed, theta), _own_curvature(objective)
    if condensed is objective:
        diagonals = curvature.by_feature(own_curvature)
    else:
        (totals,) = curvature.sum(lambda _, each: (own_curvature(each).sum(axis=0),))
        squares = np.append(objective.statistics.variance, [1.0] * objective.fit_intercept)
        diagonals = objective.C * np.outer(totals, squares)
    diagonals *= _class_scale(objective)
    diagonals += _penalty(objective)
    return DiagonalRoot(_scales(diagonals, objective))


def _leading(objective: Objective, theta: Array, plan: Plan) -> Preconditioner:
    """The preconditioner from the diagonals and the directions in which all classes together curve most.

    These directions, of the features, are few but account for most of how features curve together: for how
    long texts are, and what the texts of each topic have in common. The rest is near its diagonal.
    """
    diagonal, frame = _diagonal_root(objective, theta), _class_frame(objective)
    n_features = objective.rows.n_features
    by_class = diagonal.scales.reshape(len(frame), -1)[:, :n_features]
    inverse = 1 / np.sqrt(np.square(by_class).mean(axis=0))[:, None]
    inverse[objective.statistics.constant] = 0
    multiply = CurvatureAt(objective, theta).gram_product(_curvature_trace)
    share = _class_scale(objective) / objective.n_classes

    def product(directions: Array) -> Array:
        scaled = inverse * directions
        return np.asarray(inverse * (share * multiply(scaled) + objective.penalty * scaled))

    eigenvalues, basis = leading_directions(product, n_features, LEADING_DIRECTIONS, LEADING_PRODUCTS)
    root = LeadingRoot(diagonal, basis, np.maximum(eigenvalues, 1), len(frame))
    return Preconditioner(root, frame, Form.LEADING, plan.cost)


def _class_frame(objective: Objective) -> Array:
    """The coding of the classes whose curvatures differ, scaled to a tight frame."""
    coding = objective.coding[: objective.n_own_curvatures]
    return np.asarray(coding / np.sqrt(np.square(coding).sum(axis=0)))


def _class_scale(objective: Objective) -> float:
    """Factor on each class's own curvature that makes it exact where all classes curve alike."""
    n_classes = objective.n_classes
    return objective.code_square * n_classes / (n_classes - 1)


def _own_curvature(objective: Objective) -> Callable[[Curvature], Array]:
    """A function for each sample's curvature in each class's score alone, (n_samples, n_own_curvatures)."""

    def weightings(curvature: Curvature) -> Array:
        own = curvature.diagonal - curvature.left * curvature.right
        return np.asarray(own[:, : objective.n_own_curvatures])

    return weightings


def _curvature_trace(curvature: Curvature) -> Array:
    """Trace of each sample's curvature, of shape (n_samples, 1)."""
    diagonal, left, right = curvature
    trace = diagonal.sum(axis=1) - np.einsum("ij,ij->i", left, right)
    return np.asarray(trace[:, None])


def _penalty(objective: Objective) -> Array:
    """The penalty's second derivatives for the inputs of one code, intercept last."""
    penalty = np.full(objective.n_inputs, objective.penalty)
    if objective.fit_intercept:
        penalty[-1] = 0
    return penalty


def _scales(diagonal: Array, objective: Objective) -> Array:
    """Square roots of a diagonal; infinite where a parameter has no curvature, so that it does not move."""
    diagonal = diagonal.reshape(-1, objective.n_inputs).copy()
    statistics = objective.statistics
    # The data contribute nothing but round-off to the curvature of a constant feature.
    diagonal[:, statistics.constant] = objective.penalty
    if objective.fit_intercept:
        diagonal[:, -1] = np.maximum(diagonal[:, -1], _least_curvature(diagonal[:, -1], objective))
    return np.where(diagonal > 0, np.sqrt(diagonal), np.inf).ravel()


def _least_curvature(curvature: Array, objective: Objective) -> float:
    """Least curvature that is assumed of each code's intercept, given the curvature of all of them."""
    flat = FLAT_INTERCEPT * objective.C * objective.statistics.total_weight
    return float(INTERCEPT_FLOOR * curvature.max() or flat)
