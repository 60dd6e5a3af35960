"""What evaluations and curvature cost, and which of it is worth its while.

That is which curvature, from how many rows, in which coordinates, after how many iterations; ascent of the
dual; how much L-BFGS remembers; whether samples are left out by an inverse. The largest coordinates and
corrections of a bound that are tried at all are limited where they are made.

Knows the size of an objective and how curvature may be taken. Knows nothing of what becomes of it.

Costs are counted in multiply-adds of a large matrix product, those of curvature in evaluations of the
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

# An evaluation's thin products run at two thirds of the speed of a large one, sparse ones at a ninth. The
# loss of one score costs as much as 100 multiply-adds, and what Python and scipy do around an evaluation as
# much as two million.
THIN_PRODUCT, SPARSE_PRODUCT = 1.5, 9.0
SCORE, CALL = 100, 2 * 10**6
# A small problem's evaluation costs at most so many times what is around it.
SMALL = 10
# To weight a row costs a Gram matrix as much as this many features more. Of rows that stay sparse each pair
# of stored entries costs so many multiply-adds (60 to 400 measured, the more the emptier the rows).
FORMING, STORED_PAIR = 8, 150
# Where each pair of classes draws rows of its own, to weight and draw one costs so much (30 to 70 nanoseconds
# measured). It counts for whether curvature is taken; stages that lasted as much longer would cost more.
DRAWING = 400
# To know how many samples curve takes a pass over the rows, which counts for so many evaluations and is made
# where factors of all second derivatives cost more. Beside products, each pair of the samples' own factors
# costs so many multiply-adds.
COUNTING, FACTOR_PAIR = 1.5, 100
# Each entry that two sparse rows have in common costs their Gram matrix as much as so many multiply-adds.
# Means in standard deviations beyond which rows are centred before: their Gram matrix loses twice the digits.
COMMON_ENTRY, OFF_CENTRE = 60, 100
# Most evaluations that this may cost where pair by pair of classes it costs too much, and each class alone
# does not. Beyond, as samples come and go every few iterations, curvature by class was as good. And most that
# each iteration may cost more by it: where the samples' rows are made dense, that is much beside an
# evaluation of sparse ones.
ACTIVE_BUDGET, ACTIVE_STEP = 30, 2.5
# Up to so many features for each pair of classes, and so many at most, one product of all pairs of features
# with all pairs of classes makes their Gram matrices faster than one product each: it has half the
# multiply-adds and little of Python, but the pairs of features have to be formed and leave the cache.
FEATURES_PER_PAIR, FEW_FEATURES = 4, 40
# Most that taking curvature may cost, in evaluations or in multiply-adds (some ten milliseconds). A fit that
# has made more iterations may spend as many evaluations.
BUDGET, SMALL_WORK = 60, 3 * 10**8
# Where the first curvature of a fit costs more evaluations than this, the fit starts with the diagonal, for
# half as many iterations as the curvature costs evaluations, but at least so many.
START_BUDGET, START_ITERATIONS = 4, 8
# Most that leaving out samples one by one may cost, in evaluations, or in multiply-adds (some hundredths of a
# second).
LEAVE_OUT_BUDGET, LEAVE_OUT_WORK = 30, 10**9
# Curvature comes from a sample of the rows where that is much cheaper. It has at least so many rows for each
# feature of a class: for all second derivatives, and for one class alone. Where these are too dear, a matrix
# that the classes share takes their place until the iterations of a fit have paid for so few. From the
# start they made easy fits take up to 2.5 times as long; with two, hard ones took up to 1.6 times.
EXACT_ROWS, CLASS_ROWS, FEWEST_CLASS_ROWS = 50, 10, 3
# It has as many rows as cost this many evaluations at least. For all second derivatives, in a fit that has
# made more iterations than the budget, as many as cost half of those.
SAMPLE_BUDGET = 5.0
# Share of the rows from which on a sample is as good as all of them. Where the pairs of classes share their
# rows all are taken then: the sample would save little.
AS_GOOD_AS_ALL = 1 / 4
# Directions in which curvature is largest, and products with as many vectors that find them; counted words
# took as long with 6 to 20, and with three products. They are for fits that have made as many iterations as
# they cost evaluations.
LEADING_DIRECTIONS, LEADING_PRODUCTS = 12, 2
# Most entries of the matrices that are factorised, in all: 128 MB, and 512 MB in a fit that has made more
# iterations than the budget.
MAX_ENTRIES, LATE_MAX_ENTRIES = 2**24, 2**26
# Most samples whose multipliers move at a time, passes over all of them for each iteration of ascent, which
# ends with an evaluation, and steps of a block at its turn. With 1 to 10 steps, and blocks of a fourth to
# four times the size, dual objectives rose about as fast.
ASCENT_ROWS, ASCENT_PASSES, ASCENT_STEPS = 256, 5, 5
# What Python does around a turn costs as much as so many multiply-adds (a millisecond). An iteration may cost
# at most so many evaluations. Of 71 fits to texts of two to ten classes, where one costs more, 60 took 0.2 to
# 0.98 of the time without ascent, the others up to 1.8 times (ten classes of thirty words a row, Crammer and
# Singer's at small C). With twenty classes they took twice as long.
ASCENT_TURN, ASCENT_BUDGET = 5 * 10**6, 10
# A sample of the rows is fitted first where an evaluation of it costs at most this share of one of all rows:
# of a small problem it saves little, as most of the cost is around the products.
MUCH_CHEAPER = 0.6
# Fewest iterations after which a fit goes on in other coordinates, if it may make twice as many in all. Where
# curvature of more than each feature alone is too dear, there is no such minimum.
ROTATION_ITERATIONS = 250
# L-BFGS keeps as many pairs of vectors as cost an evaluation, each this many multiply-adds for each parameter
# (measured in scipy's), but at least and at most so many: beyond, no fit gained.
PAIR, LEAST_PAIRS, MOST_PAIRS = 200, 5, 20


class Form(Enum):
    """Forms of curvature, from the best to the cheapest."""

    EXACT = auto()
    BY_CLASS = auto()
    SHARED = auto()
    LEADING = auto()
    DIAGONAL = auto()


class Plan(NamedTuple):
    """Curvature that may be taken: its form, its cost in evaluations, and how many rows it comes from."""

    form: Form
    cost: float
    n_rows: float


@dataclass(frozen=True)
class CostModel:
    """What curvature of an objective costs.

    Parameters
    ----------
    objective : Objective
    whole : Objective
        That whose evaluations it is to save, in units of which it is measured.
    n_iter : float
        Iterations that the fit has made; infinite if cost is no object.
    """

    objective: Objective
    whole: Objective
    n_iter: float

    @property
    def budget(self) -> float:
        """Most that curvature may cost: finite, as what takes too much memory costs infinitely much."""
        return min(max(BUDGET, SMALL_WORK / self._evaluation, self.n_iter), np.finfo(float).max)

    @cached_property
    def best(self) -> Plan:
        """The best curvature that is worth its cost; the diagonal counts as free."""
        plans = self.exact(), self.by_class(), self.shared()
        cheap = self.leading()
        if cheap.cost > self.n_iter:
            cheap = Plan(Form.DIAGONAL, 0.0, cheap.n_rows)
        return next((plan for plan in plans if plan.cost <= self.budget), cheap)

    def exact(self) -> Plan:
        """All second derivatives.

        Where each pair of classes draws rows of its own, `n_rows` is the total over pairs, and the cost is
        infinite where to draw them makes it too large.
        """
        n_samples, n_pairs = self.objective.rows.n_samples, self.objective.n_pairs
        size = self.objective.n_parameters
        budget, least = SAMPLE_BUDGET, self.of_all(0)
        if self.n_iter > BUDGET and least < np.inf:
            budget = max(budget, (self.n_iter - least) / 2)
        if pairs_together(self.objective):
            n_rows = self._n_rows(EXACT_ROWS, n_pairs, budget)
            if n_rows >= AS_GOOD_AS_ALL * n_samples:
                n_rows = n_samples
            return Plan(Form.EXACT, self.of_all(n_rows * n_pairs), n_rows)
        n_rows = min(max(EXACT_ROWS * size, budget / self._product), n_samples * n_pairs)
        cost = self.of_all(n_rows)
        return Plan(Form.EXACT, cost if cost + self._drawing <= self.budget else np.inf, n_rows)

    def by_class(self) -> Plan:
        """The second derivatives of each class alone, of fewer rows where iterations pay for no more."""
        n_matrices = self.objective.n_own_curvatures
        n_rows = self._n_rows(CLASS_ROWS, n_matrices, SAMPLE_BUDGET)
        cost = self.of_classes(n_matrices * n_rows)
        if cost > self.budget:
            paid = (self.n_iter - self.of_classes(0)) / (n_matrices * self._product)
            if paid >= FEWEST_CLASS_ROWS * self.objective.n_inputs:
                n_rows, cost = paid, self.n_iter
        return Plan(Form.BY_CLASS, cost, n_rows)

    def shared(self) -> Plan:
        """One Gram matrix for all classes."""
        n_rows = self._n_rows(CLASS_ROWS, 1, SAMPLE_BUDGET)
        return Plan(Form.SHARED, self.of_classes(n_rows), n_rows)

    def leading(self) -> Plan:
        """Each feature alone, and the directions in which all classes curve most."""
        rows = self.objective.rows
        product = rows.n_samples * _product_per_row(rows, rows.is_sparse)
        work = LEADING_PRODUCTS * (CALL + 2 * LEADING_DIRECTIONS * product)
        return Plan(Form.LEADING, work / self._evaluation, rows.n_samples)

    def of_all(self, n_products: float) -> float:
        """Cost of the matrix of all second derivatives from so many outer products of rows."""
        return self._factors(1, self.objective.n_parameters) + n_products * self._product

    def of_classes(self, n_products: float) -> float:
        """Cost of matrices of the inputs, one for each own curvature, from so many outer products in all."""
        n_matrices = self.objective.n_own_curvatures
        return self._factors(n_matrices, self.objective.n_inputs) + n_products * self._product

    @property
    def counts_active(self) -> bool:
        """Whether to count the samples that curve, by way of which second derivatives may be cheaper."""
        return self.of_all(0) > COUNTING

    def of_active(self, n_active: int, n_factors: int) -> float:
        """Cost of all second derivatives by way of so many samples that curve, which have so many factors."""
        if active_entries(self.objective, n_active, n_factors) > self._most_entries:
            return np.inf
        rows, sparse = self.objective.rows, rows_stay_sparse(self.objective)
        per_pair = COMMON_ENTRY * rows.common_entries if sparse else rows.n_features / 2
        work = n_factors**3 / 6 + n_active**2 * per_pair + FACTOR_PAIR * n_factors**2
        return COUNTING + work / self._evaluation

    def prefers_active(self, n_active: int, n_factors: int) -> bool:
        """Whether samples that curve are the cheapest way to second derivatives, and a cheap one to use."""
        # A change of variables takes four products of the rows, with the coefficients of all codes.
        product = _product_per_row(self.objective.rows, rows_stay_sparse(self.objective))
        work = 4 * n_active * product * self.objective.shape[1] + 2 * n_factors**2
        if work > ACTIVE_STEP * self._evaluation:
            return False
        cost, together = self.of_active(n_active, n_factors), pairs_together(self.objective)
        most: float = ACTIVE_BUDGET
        if self.best.form is Form.EXACT:
            # Of a sample that curves between few classes there are about as many pairs as factors.
            n_products = n_active * self.objective.n_pairs if together else n_factors
            most = self.of_all(n_products) + (0 if together else self._drawing)
        elif self.best.form in (Form.LEADING, Form.DIAGONAL):
            most = self.budget
        return cost <= min(most, self.budget)

    @property
    def _drawing(self) -> float:
        """Cost of choosing rows for each pair of classes."""
        return DRAWING * self.objective.rows.n_samples * self.objective.n_pairs / self._evaluation

    @property
    def _most_entries(self) -> int:
        """Most entries of matrices, in all."""
        return LATE_MAX_ENTRIES if self.n_iter > BUDGET else MAX_ENTRIES

    @cached_property
    def _evaluation(self) -> float:
        """Multiply-adds of an evaluation."""
        return _evaluation(self.whole)

    @cached_property
    def _product(self) -> float:
        """Cost of a row's outer product."""
        if gram_stays_sparse(self.objective):
            work = STORED_PAIR * max(self.objective.rows.stored_pairs, 1)
        else:
            work = (self.objective.n_inputs + FORMING) ** 2 / 2
        return work / self._evaluation

    def _factors(self, n_matrices: int, size: int) -> float:
        """Cost of factorising so many matrices; infinite where they take too much memory."""
        if n_matrices * size**2 > self._most_entries:
            return np.inf
        return n_matrices * size**3 / 6 / self._evaluation

    def _n_rows(self, per_feature: float, n_weightings: int, budget: float) -> float:
        """Rows to take so many weighted Gram matrices from."""
        wanted = max(per_feature * self.objective.n_inputs, budget / (n_weightings * self._product))
        return float(min(wanted, self.objective.rows.n_samples))


def n_corrections(objective: Objective) -> int:
    """How many pairs of vectors L-BFGS should keep."""
    pairs = _evaluation(objective) / (PAIR * objective.n_parameters)
    return int(np.clip(pairs, LEAST_PAIRS, MOST_PAIRS))


def is_small(objective: Objective) -> bool:
    """Whether an evaluation costs little beside what Python does around it."""
    return _evaluation(objective) <= SMALL * CALL


def saves_evaluations(sample: Objective, whole: Objective) -> bool:
    """Whether evaluations of the sample cost much less than those of all rows."""
    return _evaluation(sample) <= MUCH_CHEAPER * _evaluation(whole)


def digits_are_cheap(objective: Objective) -> bool:
    """Whether the problem is small and all its second derivatives are affordable from the start."""
    return is_small(objective) and CostModel(objective, objective, 0).best.form is Form.EXACT


def iterations_before_rotation(objective: Objective, work: float, max_iter: int) -> int:
    """Iterations to make before going on in coordinates that cost `work`: as many as cost the same.

    But some hundred at least where there is curvature of more than each feature alone without them.
    All for sparse rows that are more than their columns, and in these coordinates, which are dense, dearer to
    evaluate: those are for a fit that ends earlier, without success.
    """
    rows = objective.rows
    dense, stored = THIN_PRODUCT * rows.n_samples * rows.n_features, SPARSE_PRODUCT * rows.n_stored
    is_dearer = rows.is_sparse and rows.n_samples >= rows.n_features and dense > stored
    if work == np.inf or is_dearer or max_iter < 2 * ROTATION_ITERATIONS:
        return max_iter
    least = 1 if _only_diagonal(objective) else ROTATION_ITERATIONS
    return int(np.clip(work / _evaluation(objective), least, max_iter / 2))


def is_worth_rotation(objective: Objective, work: float, converged: bool) -> bool:
    """Whether to go on in coordinates that cost `work`; for a certificate alone only in cheap ones."""
    return work <= ROTATION_ITERATIONS * _evaluation(objective) if converged else work < np.inf


def ascent_blocks(objective: Objective) -> int:
    """How many blocks of samples to move multipliers in, one after the other; zero to move none.

    They are moved where curvature of more than each feature alone is too dear and samples, of which there is
    a multiplier, are no more than features, of which there is a coefficient; of more samples the method of
    multipliers took as little as a twentieth of the time. Nor are they where there is room for the curvature
    of all samples: without ascent most such hinges took a third to two thirds of the time, a few with small C
    near that limit up to three times as long. Also, rows must be centred without losing digits, and stored
    one after the other or else copied; and an iteration must not cost much more than evaluations.
    """
    rows, statistics = objective.rows, objective.statistics
    if rows.n_samples > rows.n_features or not (rows.by_row or rows.n_stored <= MAX_ENTRIES):
        return 0
    n_rows = min(ASCENT_ROWS, MAX_ENTRIES // rows.n_samples)
    if not _only_diagonal(objective) or statistics.is_far_from_zero() or n_rows < ASCENT_ROWS / 4:
        return 0
    if active_entries(objective, rows.n_samples, rows.n_samples * (rows.n_classes - 1)) <= MAX_ENTRIES:
        return 0
    n_blocks = -(-rows.n_samples // n_rows)
    turns = n_blocks * ASCENT_TURN + ASCENT_STEPS * rows.n_samples * n_rows * rows.n_classes
    cost = ASCENT_PASSES * (1 + turns / _evaluation(objective))
    return n_blocks if cost <= ASCENT_BUDGET else 0


def active_entries(objective: Objective, n_active: int, n_factors: int) -> int:
    """Entries of the matrices that second derivatives by way of so many samples with factors take."""
    dense = 0 if rows_stay_sparse(objective) else n_active * objective.rows.n_features
    return n_factors**2 + n_active**2 + dense


def gram_stays_sparse(objective: Objective) -> bool:
    """Whether Gram matrices of the features are best made of sparse rows as they are, and centred then."""
    rows = objective.rows
    if not rows.is_sparse or objective.statistics.is_far_from_zero():
        return False
    return STORED_PAIR * rows.stored_pairs < objective.n_inputs**2 / 2


def rows_stay_sparse(objective: Objective) -> bool:
    """Whether products of sparse rows as they are, centred implicitly, take less than of dense ones."""
    rows = objective.rows
    if not rows.is_sparse or objective.statistics.is_far_from_zero(OFF_CENTRE):
        return False
    return _product_per_row(rows, sparse=True) < _product_per_row(rows, sparse=False)


def pairs_together(objective: Objective) -> bool:
    """Whether the Gram matrices of all pairs of classes are best made together."""
    return objective.n_inputs <= min(FEATURES_PER_PAIR * objective.n_pairs, FEW_FEATURES)


def may_be_inverted(objective: Objective, n_samples: float, n_left_out: float) -> bool:
    """Whether inverting all second derivatives, to leave out `n_left_out` of `n_samples`, is affordable.

    Does not depend on the number of rows, of which several may be one sample.
    """
    n_inputs, size = objective.n_inputs, objective.n_parameters
    products = n_samples * (n_inputs + FORMING) ** 2 / 2 + n_left_out * n_inputs**2
    work = size**3 / 2 + objective.n_pairs * products
    evaluation = _pass(objective.n_classes, n_samples, THIN_PRODUCT * n_samples * n_inputs)
    return size**2 <= MAX_ENTRIES and work <= max(LEAVE_OUT_BUDGET * evaluation, LEAVE_OUT_WORK)


def _only_diagonal(objective: Objective) -> bool:
    """Whether a fit starts where curvature of more than each feature alone is too dear."""
    return CostModel(objective, objective, 0).best.form is Form.DIAGONAL


def _evaluation(objective: Objective) -> float:
    """What an evaluation costs, in multiply-adds."""
    rows = objective.rows
    product = rows.n_samples * _product_per_row(rows, rows.is_sparse)
    return _pass(rows.n_classes, rows.n_samples, product)


def _product_per_row(rows: Rows, sparse: bool) -> float:
    """Multiply-adds of the product of a row, as it is stored if it is sparse or else made dense."""
    return SPARSE_PRODUCT * rows.n_stored / rows.n_samples if sparse else THIN_PRODUCT * rows.n_features


def _pass(n_classes: int, n_samples: float, product: float) -> float:
    """Multiply-adds of an evaluation of so many scores, of which a product of the rows makes one class's."""
    return CALL + n_classes * (2 * product + SCORE * n_samples)
