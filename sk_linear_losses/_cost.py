"""The cost of evaluations and of curvature, and what is worth its cost.

Decides which form of curvature to take and from how many rows; after how many iterations to change
coordinates; whether to raise the dual by ascent; how many pairs of vectors L-BFGS keeps; and whether to leave
samples out by way of an inverse. The modules that make coordinates and corrections of a bound limit the size
of these themselves.

Knows the size of an objective and how curvature may be taken. Knows nothing of how curvature is used.

The unit of cost is one multiply-add of a large matrix product. The cost of curvature is in evaluations of the
objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ._objective import Objective
from ._rows import Rows

# THIN_PRODUCT, SPARSE_PRODUCT: cost of a multiply-add in the thin products of an evaluation, which run at two
# thirds of the speed of a large product, and in sparse products, which run at a ninth. SCORE: multiply-adds
# for the loss of one score. CALL: those for what Python and scipy do around an evaluation. With fewer than
# about ten classes, thin products wait for memory and take two to five times as long as this says. Counting
# that saved evaluations, as curvature was taken sooner, but 51 fits of two and three classes took 1.09 times
# as long.
THIN_PRODUCT, SPARSE_PRODUCT = 1.5, 9.0
SCORE, CALL = 100, 2 * 10**6
# A problem is small if its evaluation costs at most this many times CALL.
SMALL = 10
# FORMING: weighting a row costs a Gram matrix as much as this many more features. STORED_PAIR: multiply-adds
# for each pair of stored entries in rows that stay sparse (60 to 400 measured; emptier rows cost more).
FORMING, STORED_PAIR = 8, 150
# Multiply-adds to weight and draw one row where each pair of classes draws rows of its own (30 to 70
# nanoseconds measured). This counts when deciding whether to take curvature. It does not count in the length
# of stages: stages that lasted as much longer would cost more.
DRAWN_ROW = 400
# A sample is active if its loss has curvature. COUNTING: cost in evaluations of the pass over the rows that
# counts the active samples. The pass is made where factors of all second derivatives cost more. FACTOR_PAIR:
# multiply-adds for each pair of the active samples' factors, beside products.
COUNTING, FACTOR_PAIR = 1.5, 100
# COMMON_ENTRY: multiply-adds in the Gram matrix of sparse rows for each entry that two rows have in common.
# OFF_CENTRE: mean, in standard deviations, beyond which rows are made dense and centred before products:
# implicit centring costs their Gram matrix twice the digits.
COMMON_ENTRY, OFF_CENTRE = 60, 100
# ACTIVE_BUDGET: most evaluations that all second derivatives by way of the active samples may cost where they
# cost too much pair by pair of classes, but each class alone does not. Beyond, curvature by class was as
# good, as samples become active and inactive every few iterations. ACTIVE_STEP: most evaluations that they
# may add to each iteration. Where the rows of the active samples are made dense, this addition is large
# beside an evaluation of sparse rows.
ACTIVE_BUDGET, ACTIVE_STEP = 30, 2.5
# With at most FEATURES_PER_PAIR features for each pair of classes, and at most FEW_FEATURES features, one
# product of all pairs of features with all pairs of classes makes the Gram matrices faster than one product
# for each pair of classes. The single product takes half the multiply-adds and little Python, but the pairs
# of features have to be formed and leave the cache.
FEATURES_PER_PAIR, FEW_FEATURES = 4, 40
# Most that taking curvature may cost: CURVATURE_BUDGET in evaluations or SMALL_WORK in multiply-adds (some
# ten milliseconds), whichever allows more. A fit that has made more iterations may spend as many evaluations.
CURVATURE_BUDGET, SMALL_WORK = 60, 3 * 10**8
# Where the first curvature of a fit costs more than START_BUDGET evaluations, the fit starts with the
# diagonal. It keeps the diagonal for half as many iterations as the curvature costs evaluations, but for at
# least START_ITERATIONS. With START_BUDGET = 4, 62 softmax fits, mostly to tables of 50 to 90 features, took
# 1.2 times as long; 81 fits of hinges took as long, some of the squared hinge half as long or twice.
START_BUDGET, START_ITERATIONS = 1, 8
# Most that leaving out samples one by one may cost: in evaluations or in multiply-adds (some hundredths of a
# second), whichever allows more.
LEAVE_OUT_BUDGET, LEAVE_OUT_WORK = 30, 10**9
# Curvature comes from a sample of the rows where that is much cheaper. The sample has at least EXACT_ROWS
# rows for each feature of a class for all second derivatives, and CLASS_ROWS for one class alone. Where
# CLASS_ROWS are too expensive, one matrix that all classes share is taken until the iterations of the fit
# have paid for FEWEST_CLASS_ROWS. With matrices from so few rows from the start, easy fits took up to 2.5
# times as long; with two rows instead of three, hard fits took up to 1.6 times as long.
EXACT_ROWS, CLASS_ROWS, FEWEST_CLASS_ROWS = 50, 10, 3
# The sample has at least as many rows as cost this many evaluations. For all second derivatives, in a fit
# that has made more iterations than CURVATURE_BUDGET, it has at least as many rows as cost half as many
# evaluations as there were iterations.
SAMPLE_BUDGET = 5.0
# Share of the rows from which on a sample counts as good as all rows. Where the pairs of classes share their
# rows, all rows are then taken: the sample would save little.
AS_GOOD_AS_ALL = 1 / 4
# LEADING_DIRECTIONS: number of directions in which curvature is largest. LEADING_PRODUCTS: products with as
# many vectors that find them. Fits to counted words took as long with 6 to 20 directions, and with three
# products. The directions are taken once a fit has made as many iterations as they cost evaluations.
LEADING_DIRECTIONS, LEADING_PRODUCTS = 12, 2
# Most entries of all matrices that are factorised, in total: 128 MB, and 512 MB in a fit that has made more
# iterations than CURVATURE_BUDGET.
MAX_ENTRIES, LATE_MAX_ENTRIES = 2**24, 2**26
# ASCENT_ROWS: most samples in a block, whose multipliers move together. ASCENT_PASSES: passes over all blocks
# in each iteration of ascent, which ends with an evaluation. ASCENT_STEPS: steps of a block at its turn. With
# 1 to 10 steps, and blocks of a fourth to four times the size, dual objectives rose about as fast.
ASCENT_ROWS, ASCENT_PASSES, ASCENT_STEPS = 256, 5, 5
# ASCENT_TURN: multiply-adds for what Python does around the turn of one block (a millisecond). ASCENT_BUDGET:
# most evaluations that an iteration of ascent may cost. Of 71 fits to texts of two to ten classes, where an
# iteration costs more, leaving out ascent made 60 faster, to 0.2 to 0.98 of their time with it. The others
# took up to 1.8 times as long without it (ten classes of thirty words a row, Crammer and Singer's hinge at
# small C), and fits to texts of twenty classes twice as long.
ASCENT_TURN, ASCENT_BUDGET = 5 * 10**6, 10
# A sample of the rows is fitted first where its evaluation costs at most this share of an evaluation of all
# rows. For a small problem a sample saves little, as most of the cost is around the products.
MUCH_CHEAPER = 0.6
# Fewest iterations after which a fit goes on in other coordinates, if it may make twice as many in all. There
# is no such minimum where the other coordinates are fewer. Without it, tables of some thousand rows and of
# fewer, but a thousand, features took 0.8 to 2.9 times as long, mostly 1.6.
ROTATION_ITERATIONS = 250
# L-BFGS keeps as many pairs of vectors as together cost one evaluation. PAIR_WORK: multiply-adds of one pair
# for each parameter (measured in scipy's L-BFGS). LEAST_PAIRS, MOST_PAIRS: limits on the number of pairs;
# with more, no fit gained.
PAIR_WORK, LEAST_PAIRS, MOST_PAIRS = 200, 5, 20


class Form(Enum):
    """Forms of curvature, from the best to the cheapest."""

    EXACT = auto()
    BY_CLASS = auto()
    SHARED = auto()
    LEADING = auto()
    DIAGONAL = auto()


class Plan(NamedTuple):
    """A way to take curvature: its form, its cost in evaluations, and the number of rows it comes from.

    ``n_rows`` is the most rows that each Gram matrix comes from. Where each pair of classes draws rows of its
    own, ``n_pooled`` is the number of rows that all pairs draw together.
    """

    form: Form
    cost: float
    n_rows: float
    n_pooled: float = np.inf


@dataclass(frozen=True)
class CostModel:
    """The cost of an objective's curvature.

    Parameters
    ----------
    objective : Objective
    whole : Objective
        The objective whose evaluations the curvature is to save. Costs are in evaluations of this one.
    n_iter : float
        Iterations that the fit has made; infinite if cost does not matter.
    """

    objective: Objective
    whole: Objective
    n_iter: float

    @property
    def budget(self) -> float:
        """Most that curvature may cost. Finite, since curvature that takes too much memory costs infinity."""
        return min(max(CURVATURE_BUDGET, SMALL_WORK / self._evaluation, self.n_iter), np.finfo(float).max)

    @cached_property
    def best(self) -> Plan:
        """The best curvature within the budget; the diagonal counts as free."""
        plans = self.exact(), self.by_class(), self.shared()
        cheap = self.leading()
        if cheap.cost > self.n_iter:
            cheap = Plan(Form.DIAGONAL, 0.0, cheap.n_rows)
        return next((plan for plan in plans if plan.cost <= self.budget), cheap)

    def exact(self) -> Plan:
        """All second derivatives.

        Where each pair of classes draws rows of its own, the cost is infinite if drawing the rows brings it
        above the budget.
        """
        n_samples, n_pairs = self.objective.rows.n_samples, self.objective.n_pairs
        size = self.objective.n_parameters
        budget, least = SAMPLE_BUDGET, self.of_all(0)
        if self.n_iter > CURVATURE_BUDGET and least < np.inf:
            budget = max(budget, (self.n_iter - least) / 2)
        if pairs_together(self.objective):
            n_rows = self._n_rows(EXACT_ROWS, n_pairs, budget)
            if n_rows >= AS_GOOD_AS_ALL * n_samples:
                n_rows = n_samples
            return Plan(Form.EXACT, self.of_all(n_rows * n_pairs), n_rows)
        n_pooled = min(max(EXACT_ROWS * size, budget / self._product), n_samples * n_pairs)
        cost = self.of_all(n_pooled)
        cost = cost if cost + self._drawing <= self.budget else np.inf
        return Plan(Form.EXACT, cost, n_samples, n_pooled)

    def by_class(self) -> Plan:
        """The second derivatives of each class alone, from fewer rows if iterations pay for no more."""
        n_matrices = self.objective.n_own_curvatures
        n_rows = self._n_rows(CLASS_ROWS, n_matrices, SAMPLE_BUDGET)
        cost = self.of_classes(n_matrices * n_rows)
        if cost > self.budget:
            # So many rows cost as many evaluations as the fit has made iterations.
            n_paid_rows = (self.n_iter - self.of_classes(0)) / (n_matrices * self._product)
            if n_paid_rows >= FEWEST_CLASS_ROWS * self.objective.n_inputs:
                return Plan(Form.BY_CLASS, self.n_iter, n_paid_rows)
        return Plan(Form.BY_CLASS, cost, n_rows)

    def shared(self) -> Plan:
        """One Gram matrix for all classes."""
        n_rows = self._n_rows(CLASS_ROWS, 1, SAMPLE_BUDGET)
        return Plan(Form.SHARED, self.of_classes(n_rows), n_rows)

    def leading(self) -> Plan:
        """The diagonal, and the directions in which the curvature of all classes together is largest."""
        rows = self.objective.rows
        product = rows.n_samples * _product_per_row(rows, rows.is_sparse)
        work = LEADING_PRODUCTS * (CALL + 2 * LEADING_DIRECTIONS * product)
        return Plan(Form.LEADING, work / self._evaluation, rows.n_samples)

    def of_all(self, n_products: float) -> float:
        """Cost of the matrix of all second derivatives, made from `n_products` outer products of rows."""
        return self._factors(1, self.objective.n_parameters) + n_products * self._product

    def of_classes(self, n_products: float) -> float:
        """Cost of one matrix of the inputs for each class that differs in its own curvature.

        They are made from `n_products` outer products of rows in all.
        """
        n_matrices = self.objective.n_own_curvatures
        return self._factors(n_matrices, self.objective.n_inputs) + n_products * self._product

    @property
    def counts_active(self) -> bool:
        """Whether to count the active samples: second derivatives may be cheaper by way of them."""
        return self.of_all(0) > COUNTING

    def of_active(self, n_active: int, n_factors: int) -> float:
        """Cost of all second derivatives by way of `n_active` active samples with `n_factors` factors."""
        if active_entries(self.objective, n_active, n_factors) > self._most_entries:
            return np.inf
        rows, sparse = self.objective.rows, rows_stay_sparse(self.objective)
        per_pair = COMMON_ENTRY * rows.mean_common_entries if sparse else rows.n_features / 2
        work = n_factors**3 / 6 + n_active**2 * per_pair + FACTOR_PAIR * n_factors**2
        return COUNTING + work / self._evaluation

    def prefers_active(self, n_active: int, n_factors: int) -> bool:
        """Whether the active samples are the cheapest way to all second derivatives, and cheap to use."""
        # A change of variables takes four products of the rows with the coefficients of all codes.
        product = _product_per_row(self.objective.rows, rows_stay_sparse(self.objective))
        work = 4 * n_active * product * self.objective.shape[1] + 2 * n_factors**2
        if work > ACTIVE_STEP * self._evaluation:
            return False
        cost, together = self.of_active(n_active, n_factors), pairs_together(self.objective)
        most: float = ACTIVE_BUDGET
        if self.best.form is Form.EXACT:
            # A sample that curves between few classes has about as many pairs of classes as factors.
            n_products = n_active * self.objective.n_pairs if together else n_factors
            most = self.of_all(n_products) + (0 if together else self._drawing)
        elif self.best.form in (Form.LEADING, Form.DIAGONAL):
            most = self.budget
        return cost <= min(most, self.budget)

    @property
    def _drawing(self) -> float:
        """Cost of choosing rows for each pair of classes."""
        return DRAWN_ROW * self.objective.rows.n_samples * self.objective.n_pairs / self._evaluation

    @property
    def _most_entries(self) -> int:
        """Most entries of all matrices together."""
        return LATE_MAX_ENTRIES if self.n_iter > CURVATURE_BUDGET else MAX_ENTRIES

    @cached_property
    def _evaluation(self) -> float:
        """Multiply-adds of an evaluation."""
        return _evaluation(self.whole)

    @cached_property
    def _product(self) -> float:
        """Cost of a row's outer product."""
        if gram_stays_sparse(self.objective):
            work = STORED_PAIR * max(self.objective.rows.mean_stored_pairs, 1)
        else:
            work = (self.objective.n_inputs + FORMING) ** 2 / 2
        return work / self._evaluation

    def _factors(self, n_matrices: int, size: int) -> float:
        """Cost of factorising `n_matrices` matrices; infinite if they take too much memory."""
        if n_matrices * size**2 > self._most_entries:
            return np.inf
        return n_matrices * size**3 / 6 / self._evaluation

    def _n_rows(self, per_feature: float, n_weightings: int, budget: float) -> float:
        """Number of rows from which to make `n_weightings` weighted Gram matrices."""
        wanted = max(per_feature * self.objective.n_inputs, budget / (n_weightings * self._product))
        return float(min(wanted, self.objective.rows.n_samples))


def n_corrections(objective: Objective) -> int:
    """Number of pairs of vectors that L-BFGS should keep."""
    pairs = _evaluation(objective) / (PAIR_WORK * objective.n_parameters)
    return int(np.clip(pairs, LEAST_PAIRS, MOST_PAIRS))


def is_small(objective: Objective) -> bool:
    """Whether an evaluation costs at most SMALL times what Python and scipy do around it."""
    return _evaluation(objective) <= SMALL * CALL


def saves_evaluations(sample: Objective, whole: Objective) -> bool:
    """Whether evaluations of the sample cost much less than evaluations of all rows."""
    return _evaluation(sample) <= MUCH_CHEAPER * _evaluation(whole)


def digits_are_cheap(objective: Objective) -> bool:
    """Whether the problem is small and all its second derivatives are affordable from the start."""
    return is_small(objective) and CostModel(objective, objective, 0).best.form is Form.EXACT


def iterations_before_rotation(objective: Objective, work: float, max_iter: int) -> int:
    """Iterations to make before going on in coordinates that cost `work`: as many as cost the same.

    They are at most half of `max_iter`. Where the rows are at least as many as the features, the new
    coordinates are no fewer: iterations are then at least ROTATION_ITERATIONS. Sparse rows that are more
    expensive to evaluate in the new coordinates, which are dense, have all of `max_iter`: the new coordinates
    are for a fit that ends without success. So it is too if `max_iter` is less than twice
    ROTATION_ITERATIONS.
    """
    rows = objective.rows
    narrow = rows.n_samples >= rows.n_features
    dense, stored = THIN_PRODUCT * rows.n_samples * rows.n_features, SPARSE_PRODUCT * rows.n_stored
    is_dearer = narrow and rows.is_sparse and dense > stored
    if work == np.inf or is_dearer or max_iter < 2 * ROTATION_ITERATIONS:
        return max_iter
    least = ROTATION_ITERATIONS if narrow else 1
    return int(np.clip(work / _evaluation(objective), least, max_iter / 2))


def is_worth_rotation(objective: Objective, work: float, converged: bool) -> bool:
    """Whether to go on in coordinates that cost `work`.

    Once the fit has converged, only a certificate may be lacking: then only if the coordinates are cheap.
    """
    return work <= ROTATION_ITERATIONS * _evaluation(objective) if converged else work < np.inf


def ascent_blocks(objective: Objective) -> int:
    """Number of blocks of samples in which ascent moves multipliers, one after the other; zero for no ascent.

    Ascent needs all of these:

    * Only the curvature of each feature alone is affordable.
    * There are no more samples than features: multipliers belong to samples, coefficients to features. With
      more samples, the method of multipliers took as little as a twentieth of the time.
    * The matrices for the curvature of all samples have more than MAX_ENTRIES entries. Where they have fewer,
      leaving out ascent brought most hinges down to a third to two thirds of their time; a few with small C,
      near that limit, took up to three times as long without it.
    * Rows can be centred implicitly without losing digits.
    * The entries of a row are stored one after the other, or X is small enough to be copied.
    * The Gram matrices of the blocks have at most MAX_ENTRIES entries in all. Blocks are made smaller for
      that, but not below ASCENT_ROWS / 4 samples.
    * An iteration costs at most ASCENT_BUDGET evaluations.
    """
    rows, statistics = objective.rows, objective.statistics
    if rows.n_samples > rows.n_features or not (rows.by_row or rows.n_stored <= MAX_ENTRIES):
        return 0
    n_rows = min(ASCENT_ROWS, MAX_ENTRIES // rows.n_samples)
    if statistics.is_far_from_zero() or n_rows < ASCENT_ROWS / 4:
        return 0
    if CostModel(objective, objective, 0).best.form is not Form.DIAGONAL:
        return 0
    if active_entries(objective, rows.n_samples, rows.n_samples * (rows.n_classes - 1)) <= MAX_ENTRIES:
        return 0
    n_blocks = -(-rows.n_samples // n_rows)
    turns = n_blocks * ASCENT_TURN + ASCENT_STEPS * rows.n_samples * n_rows * rows.n_classes
    cost = ASCENT_PASSES * (1 + turns / _evaluation(objective))
    return n_blocks if cost <= ASCENT_BUDGET else 0


def active_entries(objective: Objective, n_active: int, n_factors: int) -> int:
    """Entries of the matrices for second derivatives by way of active samples and their factors."""
    dense = 0 if rows_stay_sparse(objective) else n_active * objective.rows.n_features
    return n_factors**2 + n_active**2 + dense


def gram_stays_sparse(objective: Objective) -> bool:
    """Whether Gram matrices of the features are best made from sparse rows and centred afterwards."""
    rows = objective.rows
    if not rows.is_sparse or objective.statistics.is_far_from_zero():
        return False
    return STORED_PAIR * rows.mean_stored_pairs < objective.n_inputs**2 / 2


def rows_stay_sparse(objective: Objective) -> bool:
    """Whether products of sparse rows, centred implicitly, cost less than products of the rows made dense."""
    rows = objective.rows
    if not rows.is_sparse or objective.statistics.is_far_from_zero(OFF_CENTRE):
        return False
    return _product_per_row(rows, sparse=True) < _product_per_row(rows, sparse=False)


def pairs_together(objective: Objective) -> bool:
    """Whether the Gram matrices of all pairs of classes are best made together."""
    return objective.n_inputs <= min(FEATURES_PER_PAIR * objective.n_pairs, FEW_FEATURES)


def may_be_inverted(objective: Objective, n_samples: float, n_left_out: float) -> bool:
    """Whether inverting all second derivatives, to leave out `n_left_out` of `n_samples`, is affordable.

    The answer does not depend on the number of rows, as several rows may stand for one sample.
    """
    n_inputs, size = objective.n_inputs, objective.n_parameters
    products = n_samples * (n_inputs + FORMING) ** 2 / 2 + n_left_out * n_inputs**2
    work = size**3 / 2 + objective.n_pairs * products
    evaluation = _pass(objective.n_classes, n_samples, THIN_PRODUCT * n_samples * n_inputs)
    return size**2 <= MAX_ENTRIES and work <= max(LEAVE_OUT_BUDGET * evaluation, LEAVE_OUT_WORK)


def _evaluation(objective: Objective) -> float:
    """Cost of an evaluation, in multiply-adds."""
    rows = objective.rows
    product = rows.n_samples * _product_per_row(rows, rows.is_sparse)
    return _pass(rows.n_classes, rows.n_samples, product)


def _product_per_row(rows: Rows, sparse: bool) -> float:
    """Multiply-adds of a product of one row with one vector: as the row is stored if `sparse`, else dense."""
    return SPARSE_PRODUCT * rows.n_stored / rows.n_samples if sparse else THIN_PRODUCT * rows.n_features


def _pass(n_classes: int, n_samples: float, product: float) -> float:
    """Multiply-adds of an evaluation; `product` are those of the product that makes one class's scores."""
    return CALL + n_classes * (2 * product + SCORE * n_samples)
