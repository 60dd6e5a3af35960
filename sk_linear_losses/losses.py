"""Losses of score arrays: value, gradient, second derivative and convex conjugate.

Knows scores and integer classes. Knows nothing of features, weights, solvers or scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ._checks import as_numbers, check_boolean, check_number
from ._typing import Array

__all__ = [
    "CrammerSingerLoss",
    "Curvature",
    "HingeLoss",
    "Loss",
    "SoftmaxLoss",
    "WestonWatkinsLoss",
    "sums_to_zero",
]

# Round-off allowed at the boundary of a conjugate's domain: an absolute amount, or this many machine epsilons
# of the values' dtype where that is more.
DOMAIN_SLACK, DOMAIN_EPSILONS = 1e-12, 16
# Exponent up to which exponentials of many classes stay in the range of float32.
LARGE_EXPONENT = 40


class Curvature(NamedTuple):
    """A symmetric matrix for each sample, ``diag(d) - (l r' + r l') / 2``.

    For example the second derivative of a sample's loss in its scores. The rows of each matrix sum to zero.

    Parameters
    ----------
    diagonal, left, right : array of shape (n_samples, n_classes)
        The d, l and r of each sample.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_linear_losses.losses import SoftmaxLoss
    >>> curvature = SoftmaxLoss().curvature(np.log([[1.0, 1.0, 2.0]]), np.array([2]))
    >>> curvature.diagonal
    array([[0.25, 0.25, 0.5 ]])
    >>> curvature.product(np.array([[1.0, 0.0, 0.0]]))
    array([[ 0.1875, -0.0625, -0.125 ]])
    """

    diagonal: Array
    left: Array
    right: Array

    def take(self, samples: Array) -> Curvature:
        """The matrices of some samples.

        Parameters
        ----------
        samples : array of indices or bool
            The samples to select.

        Returns
        -------
        Curvature
            Their matrices.
        """
        return Curvature(self.diagonal[samples], self.left[samples], self.right[samples])

    def product(self, change: Array) -> Array:
        """Each sample's matrix times a change of its scores.

        Parameters
        ----------
        change : array of shape (n_samples, n_classes)
            Or any shape to which the three arrays broadcast, with the classes last.

        Returns
        -------
        array of the shape of `change`
            The products.
        """
        left = np.einsum("...j,...j->...", self.left, change)[..., None]
        right = np.einsum("...j,...j->...", self.right, change)[..., None]
        return np.asarray(self.diagonal * change - (self.left * right + self.right * left) / 2)


class EnvelopePoint(NamedTuple):
    """The envelope of each sample's loss: arrays of shape (n_samples,), gradient (n_samples, n_classes).

    ``value`` and ``gradient`` belong to the envelope, ``loss`` is the loss itself, and ``conjugate`` is the
    loss's convex conjugate at ``gradient``.
    """

    value: Array
    loss: Array
    conjugate: Array
    gradient: Array


class Loss:
    """Base of the losses: convex, and unchanged when a number is added to all scores of a sample.

    A custom loss extends this class, or `HingeLoss` if it has kinks. It implements ``_value_and_gradient``,
    ``_curvature`` and ``_conjugate``, which trust their arguments and return what `value_and_gradient`,
    `curvature` and `conjugate` describe. It may also override ``_constant_scores`` (zero by default),
    ``_balancing_flow`` (one over the number of classes), ``_leeway`` (none) and `has_minimum` (False).
    :doc:`/adding_a_loss` says what each is for. Names that begin with an underscore may change before
    version 1.0.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_linear_losses.losses import Loss, WestonWatkinsLoss
    >>> loss = WestonWatkinsLoss()
    >>> isinstance(loss, Loss)
    True
    >>> value, gradient = loss.value_and_gradient(np.array([[0.5, 0.0, -2.0]]), np.array([1]))
    >>> value, gradient
    (array([1.5]), array([[ 1., -1.,  0.]]))
    """

    @property
    def _score_unit(self) -> float:
        """The unit of the scores."""
        return 1.0

    @property
    def has_minimum(self) -> bool:
        """Whether some finite scores attain the least loss.

        If not, an objective without penalty may have its optimum at infinity.
        """
        return False

    @property
    def has_kinks(self) -> bool:
        """Whether the loss is not differentiable everywhere."""
        return False

    @property
    def has_sparse_curvature(self) -> bool:
        """Whether a few samples may have all of the curvature near the optimum."""
        return False

    def value(self, scores: Array, y: Array) -> Array:
        """The loss of each sample.

        Parameters
        ----------
        scores : array of shape (n_samples, n_classes)
        y : integer array of shape (n_samples,)
            Class indices from 0 to n_classes - 1.

        Returns
        -------
        array of shape (n_samples,)
            In nats for the softmax, in units of the margin or of its square for hinges.

        Raises
        ------
        ValueError
            If `y` does not hold one class index per row, or the number of columns of `scores` is not the
            number of classes that the loss is made for.
        """
        return self.value_and_gradient(scores, y)[0]

    def gradient(self, scores: Array, y: Array) -> Array:
        """Gradient in the scores; at a kink, its limit from the side where the margin is met.

        Parameters
        ----------
        scores : array of shape (n_samples, n_classes)
        y : integer array of shape (n_samples,)
            Class indices from 0 to n_classes - 1.

        Returns
        -------
        array of shape (n_samples, n_classes)

        Raises
        ------
        ValueError
            If `y` does not hold one class index per row, or the number of columns of `scores` is not the
            number of classes that the loss is made for.
        """
        return self.value_and_gradient(scores, y)[1]

    def value_and_gradient(self, scores: Array, y: Array) -> tuple[Array, Array]:
        """Loss and gradient of each sample, computed together.

        Parameters
        ----------
        scores : array of shape (n_samples, n_classes)
        y : integer array of shape (n_samples,)
            Class indices from 0 to n_classes - 1.

        Returns
        -------
        value : array of shape (n_samples,)
        gradient : array of shape (n_samples, n_classes)

        Raises
        ------
        ValueError
            If `y` does not hold one class index per row, or the number of columns of `scores` is not the
            number of classes that the loss is made for.
        """
        return self._value_and_gradient(*self._checked("scores", scores, y))

    def curvature(self, scores: Array, y: Array) -> Curvature:
        """Second derivative in the scores; where it jumps, its limit from the side where the margin is met.

        Zero for a loss that is linear between its kinks.

        Parameters
        ----------
        scores : array of shape (n_samples, n_classes)
        y : integer array of shape (n_samples,)
            Class indices from 0 to n_classes - 1.

        Returns
        -------
        Curvature
            Arrays of shape (n_samples, n_classes).

        Raises
        ------
        ValueError
            If `y` does not hold one class index per row, or the number of columns of `scores` is not the
            number of classes that the loss is made for.
        """
        return self._curvature(*self._checked("scores", scores, y))

    def conjugate(self, gradient: Array, y: Array) -> Array:
        """Convex conjugate of the loss at a gradient.

        Infinite outside its domain, which is where no scores have a gradient close to this one.

        Parameters
        ----------
        gradient : array of shape (n_samples, n_classes)
        y : integer array of shape (n_samples,)
            Class indices from 0 to n_classes - 1.

        Returns
        -------
        array of shape (n_samples,)
            In units of the loss.

        Raises
        ------
        ValueError
            If `y` does not hold one class index per row, or the number of columns of `gradient` is not the
            number of classes that the loss is made for.
        """
        return self._conjugate(*self._checked("gradient", gradient, y))

    def leeway(self, gradient: Array, y: Array) -> Curvature:
        """How far a gradient may be moved without leaving the domain of the conjugate.

        Each sample has a matrix M. If its gradient is in the domain, so is ``gradient + M t`` for all t whose
        entries differ by at most 1.

        Parameters
        ----------
        gradient : array of shape (n_samples, n_classes)
        y : integer array of shape (n_samples,)
            Class indices from 0 to n_classes - 1.

        Returns
        -------
        Curvature
            Arrays of shape (n_samples, n_classes).

        Raises
        ------
        ValueError
            If `y` does not hold one class index per row, or the number of columns of `gradient` is not the
            number of classes that the loss is made for.
        """
        return self._leeway(*self._checked("gradient", gradient, y))

    def _checked(self, name: str, values: Array, y: Array) -> tuple[Array, Array]:
        """The values, as float64 unless they are floating already, and one class index for each row.

        `name` says in errors what the values are: scores or a gradient.
        """
        values, y = np.asarray(values), np.asarray(y)
        if values.ndim != 2 or values.shape[1] == 0 or values.shape[:1] != y.shape:
            is_one = values.ndim == 1 and y.size == 1
            remedy = f" For one sample, pass {name}[None, :] and [y]." if is_one else ""
            raise ValueError(
                f"{name} has shape {values.shape} and y has shape {y.shape}; expected (n_samples, n_classes) "
                f"and (n_samples,), with at least one class.{remedy}"
            )
        last = values.shape[1] - 1
        valid = (y >= 0) & (y <= last) if y.dtype.kind in "iu" else np.zeros(y.shape, dtype=bool)
        if not valid.all():
            raise ValueError(
                f"y holds {y[~valid].tolist()[0]!r}; pass integers from 0 to {last}, the columns of {name}. "
                "np.unique(y, return_inverse=True)[1] converts labels to such integers."
            )
        values = values if values.dtype.kind == "f" else as_numbers(name, values)
        return values, y.astype(np.intp, copy=False)

    def _constant_scores(self, class_totals: Array) -> Array:
        """Scores to start from, the same for all samples, given the total weight of each class."""
        return np.zeros_like(class_totals)

    def _balancing_flow(self, n_classes: int, mean_objective: float) -> float:
        """A number b such that gradients ``b * (e_j - e_y)`` are in the domain of the conjugate for all j.

        Mixing multipliers with such gradients balances them. A larger b needs a smaller share of these
        gradients, but their conjugate lowers the bound. `mean_objective` is the objective per unit of weight,
        which the bound should come close to.
        """
        return 1 / n_classes

    def _value_and_gradient(self, scores: Array, y: Array) -> tuple[Array, Array]:
        """Loss and gradient for floating scores."""
        raise NotImplementedError

    def _curvature(self, scores: Array, y: Array) -> Curvature:
        """Second derivative for floating scores."""
        raise NotImplementedError

    def _conjugate(self, gradient: Array, y: Array) -> Array:
        """Conjugate at a floating gradient."""
        raise NotImplementedError

    def _leeway(self, gradient: Array, y: Array) -> Curvature:
        """Leeway of a floating gradient; none unless a loss knows the domain of its conjugate."""
        none = np.zeros_like(gradient)
        return Curvature(none, none, none)


@dataclass(frozen=True)
class SoftmaxLoss(Loss):
    """Cross-entropy of softmax probabilities, in nats.

    For scores s and class y the loss is ``log(sum_j exp(s_j)) - <t, s>`` with the target
    ``t = (1 - label_smoothing) * onehot(y) + label_smoothing / n_classes``; its gradient is
    ``softmax(s) - t``.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of the target spread evenly over all classes, in [0, 1).

    Raises
    ------
    ValueError
        If `label_smoothing` is not a number in [0, 1).

    References
    ----------
    - Szegedy, C., et al., "Rethinking the Inception architecture for computer vision", CVPR 2016,
      section 7 (label smoothing).

    Examples
    --------
    >>> import numpy as np
    >>> from sk_linear_losses.losses import SoftmaxLoss
    >>> SoftmaxLoss().value(np.array([[-2.85, 0.86, 0.28]]), np.array([2])).round(2)
    array([1.04])
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_number(
            "label_smoothing", self.label_smoothing, lambda share: 0 <= share < 1, "a number in [0, 1)"
        )

    @property
    def has_minimum(self) -> bool:
        """Whether some finite scores attain the least loss: only with smoothed labels."""
        return self.label_smoothing > 0

    def _constant_scores(self, class_totals: Array) -> Array:
        # The softmax of the best constant scores is the mean target. It is not divided by the total weight,
        # since the shares of rare classes may be too small for float64.
        evenly = self.label_smoothing * class_totals.mean()
        return np.asarray(np.log((1 - self.label_smoothing) * class_totals + evenly))

    def _balancing_flow(self, n_classes: int, mean_objective: float) -> float:
        # The target of the right class: with more, its probability would be negative.
        return 1 - self.label_smoothing * (1 - 1 / n_classes)

    def _value_and_gradient(self, scores: Array, y: Array) -> tuple[Array, Array]:
        # As classes by samples, since numpy is fastest along samples.
        by_class = np.ascontiguousarray(scores.T)
        own = _own_entries(by_class, y)
        own_scores = by_class.take(own)
        gradient = by_class - own_scores
        entries, wrong = gradient.reshape(-1), gradient[:-1]
        # The wrong classes alone: the last class stands in the right one's place.
        entries[own] = gradient[-1]
        shift, own_term = 0.0, 1.0
        if wrong.max(initial=0) > LARGE_EXPONENT:
            shift = np.maximum(wrong.max(axis=0), 0)
            wrong -= shift
            own_term = np.exp(-shift)
        np.exp(wrong, out=wrong)
        wrong_terms = wrong.sum(axis=0)
        total = wrong_terms + own_term
        inverse_total = 1 / total
        # What rounding left out of the total keeps the digits of a loss that is far below 1e-16. It takes
        # less time than log1p.
        value = np.log(total)
        value += (wrong_terms - (total - own_term)) * inverse_total
        value += shift
        wrong *= inverse_total
        own_entry = -wrong_terms * inverse_total
        # Where the last class is the right one, it takes this entry from its own place.
        gradient[-1] = own_entry
        gradient[-1] = entries.take(own)
        entries[own] = own_entry
        if self.label_smoothing:
            value += self.label_smoothing * (own_scores - by_class.mean(axis=0))
            gradient -= self.label_smoothing / len(gradient)
            entries[own] += self.label_smoothing
        return value, gradient.T

    def _curvature(self, scores: Array, y: Array) -> Curvature:
        # diag(p) - p p' with p = softmax(s).
        probabilities = np.exp(scores - scores.max(axis=1)[:, None])
        probabilities /= probabilities.sum(axis=1)[:, None]
        return Curvature(probabilities, probabilities, probabilities)

    def _conjugate(self, gradient: Array, y: Array) -> Array:
        # The negative entropy of the probabilities; infinite off the simplex.
        probabilities = self._probabilities(gradient, y)
        feasible = (probabilities.min(axis=1) >= -_slack(gradient)) & sums_to_zero(gradient)
        probabilities = np.maximum(probabilities, np.finfo(float).tiny)
        return np.where(feasible, (probabilities * np.log(probabilities)).sum(axis=1), np.inf)

    def _leeway(self, gradient: Array, y: Array) -> Curvature:
        return _leeway_in_simplex(self._probabilities(gradient, y))

    def _probabilities(self, gradient: Array, y: Array) -> Array:
        """The softmax of the scores that have this gradient: the gradient plus the target."""
        probabilities = gradient + self.label_smoothing / gradient.shape[1]
        probabilities[np.arange(len(y)), y] += 1 - self.label_smoothing
        return np.asarray(probabilities)


@dataclass(frozen=True, eq=False)
class HingeLoss(Loss):
    """Base of the hinges: losses of the wrong classes' shortfalls ``z_j = margin[y, j] + s_j - s_y``.

    A custom hinge implements ``_curvature`` and the private methods that raise NotImplementedError here. They
    describe the loss by its flows to the wrong classes: the entries of a gradient at the wrong classes. The
    entry at the right class is minus their sum.

    Parameters
    ----------
    margin : float or array of shape (n_classes, n_classes), default=1.0
        How far the right class y must lead a wrong class j: one number, or one for each pair ``[y, j]``.

    Raises
    ------
    ValueError
        If `margin` is neither a number nor a square array, or is negative or not finite off the diagonal.

    Examples
    --------
    >>> from sk_linear_losses.losses import CrammerSingerLoss, HingeLoss
    >>> issubclass(CrammerSingerLoss, HingeLoss)
    True
    """

    margin: float | Array = 1.0

    def __post_init__(self) -> None:
        margin = self._margin_array
        if margin.ndim not in (0, 2) or len(set(margin.shape)) > 1:
            raise ValueError(
                f"margin has shape {margin.shape}; pass a number, or an array with a row and a column for "
                "each class."
            )
        if not ((margin >= 0) & np.isfinite(margin)).all():
            raise ValueError(f"margin={self.margin!r} must be finite and not negative.")

    @property
    def has_minimum(self) -> bool:
        """Whether some finite scores attain the least loss: those that meet the margin do."""
        return True

    @property
    def has_kinks(self) -> bool:
        """Whether the loss is not differentiable everywhere."""
        return True

    @property
    def has_sparse_curvature(self) -> bool:
        """Whether a few samples, at a kink or short of their margin, may have all of the curvature."""
        return True

    @cached_property
    def _margin_array(self) -> Array:
        """The margin in float64; an array has zeros on its diagonal."""
        return as_numbers("margin", self.margin, but_diagonal=True)

    @property
    def _score_unit(self) -> float:
        """The unit of the scores: the largest margin, or 1 if all margins are zero."""
        return float(self._margin_array.max()) or 1.0

    def _balancing_flow(self, n_classes: int, mean_objective: float) -> float:
        return 1.0

    def _checked(self, name: str, values: Array, y: Array) -> tuple[Array, Array]:
        values, y = super()._checked(name, values, y)
        asked, n_classes = self._margin_array.shape, values.shape[1]
        if asked and asked[0] != n_classes:
            raise ValueError(
                f"margin has shape {asked}, but {name} has {n_classes} columns; pass a number, or a margin "
                f"of shape {(n_classes, n_classes)}."
            )
        return values, y

    def _value_and_gradient(self, scores: Array, y: Array) -> tuple[Array, Array]:
        shortfalls, own = self._shortfalls(scores, y)
        flows = self._flows(shortfalls)
        return self._value(shortfalls), _gradient_of(flows, flows.sum(axis=1), own)

    def _envelope(self, scores: Array, y: Array, flows: Array, smoothing: Array | float) -> EnvelopePoint:
        """Moreau envelope of the loss around the multipliers `flows`, which are zero at the right class.

        The loss is ``max_a <a, z> - h(a)`` over flows ``a`` from the right class to each wrong one. The
        envelope subtracts ``smoothing / 2 * |a - flows|^2`` inside the maximum. This makes it differentiable,
        with the maximiser as its slope (R. T. Rockafellar, "Augmented Lagrangians and applications of the
        proximal point algorithm in convex programming", 1976). As `smoothing` tends to zero, the envelope
        tends to the loss. `smoothing` is a number, or one for each sample, (n_samples, 1).
        """
        shortfalls, own = self._shortfalls(scores, y)
        new = self._best_flows(shortfalls, flows, smoothing)
        total = new.sum(axis=1)
        penalty = self._flow_penalty(new)
        conjugate = penalty - self._margin_term(new, total, y)
        step = new - flows
        value = np.einsum("ij,ij->i", new, shortfalls) - penalty
        value -= np.ravel(smoothing) / 2 * np.einsum("ij,ij->i", step, step)
        return EnvelopePoint(value, self._value(shortfalls), conjugate, _gradient_of(new, total, own))

    def _envelope_flows(self, scores: Array, y: Array, flows: Array, smoothing: Array | float) -> Array:
        """The flows that attain the envelope's maximum, zero at the right class."""
        return self._best_flows(self._shortfalls(scores, y)[0], flows, smoothing)

    def _envelope_gradient(self, scores: Array, y: Array, flows: Array, smoothing: Array | float) -> Array:
        """Gradient of the envelope, without its value."""
        shortfalls, own = self._shortfalls(scores, y)
        new = self._best_flows(shortfalls, flows, smoothing)
        return _gradient_of(new, new.sum(axis=1), own)

    def _conjugate(self, gradient: Array, y: Array) -> Array:
        flows = _flows_of(gradient, y)
        cost = self._flow_penalty(flows) - self._margin_term(flows, flows.sum(axis=1), y)
        return np.where(self._feasible(flows) & sums_to_zero(gradient), cost, np.inf)

    def _leeway(self, gradient: Array, y: Array) -> Curvature:
        return self._leeway_of(np.maximum(_flows_of(gradient, y), 0), y)

    def _kink_curvature(self, scores: Array, y: Array, width: float) -> Curvature:
        """Second derivative in the scores with each kink spread over `width`, in units of the scores."""
        return self._spread_kinks(self._shortfalls(scores, y)[0], y, width)

    def _kink_distances(self, scores: Array, y: Array) -> Array:
        """Distance of each sample's shortfalls from the nearest kink, (n_samples,)."""
        shortfalls, own = self._shortfalls(scores, y)
        by_class = np.abs(shortfalls.T)
        by_class.reshape(-1)[own] = np.inf
        return np.asarray(by_class.min(axis=0))

    def _shortfalls(self, scores: Array, y: Array) -> tuple[Array, Array]:
        """``z`` of shape (n_samples, n_classes), zero at the right class, and flat indices of those zeros."""
        own = _own_entries(scores.T, y)
        required = scores.T.take(own) - self._margins(y).T.astype(scores.dtype, copy=False)
        # As classes by samples, since numpy is fastest along samples.
        by_class = np.subtract(scores.T, required, order="C")
        by_class.reshape(-1)[own] = 0
        return by_class.T, own

    def _margins(self, y: Array) -> Array:
        """The margin of each sample over each class, of shape () or (n_samples, n_classes)."""
        margin = self._margin_array
        return margin if margin.ndim == 0 else margin.T[:, y].T

    def _margin_term(self, flows: Array, total: Array, y: Array) -> Array:
        """``<a, margin[y]>`` of each sample, for flows a with the sum `total`."""
        margins = self._margins(y)
        if margins.ndim == 0:
            return np.asarray(margins * total)
        return np.asarray(np.einsum("ij,ij->i", flows, margins))

    def _value(self, shortfalls: Array) -> Array:
        """Loss of each sample."""
        raise NotImplementedError

    def _flows(self, shortfalls: Array) -> Array:
        """Derivative of the loss in each shortfall: the flow to each wrong class."""
        raise NotImplementedError

    def _best_flows(self, shortfalls: Array, flows: Array, smoothing: Array | float) -> Array:
        """Maximiser of ``<a, z> - h(a) - smoothing / 2 * |a - flows|^2``.

        It is zero at the right class, where shortfall and flow are zero.
        """
        raise NotImplementedError

    def _envelope_curvature(self, flows: Array, y: Array, smoothing: Array | float) -> Curvature:
        """Second derivative of the envelope in the scores, where its maximiser is `flows`."""
        raise NotImplementedError

    def _spread_kinks(self, shortfalls: Array, y: Array, width: float) -> Curvature:
        """Second derivative in the scores, given the shortfalls, with each kink spread over `width`."""
        raise NotImplementedError

    def _flow_penalty(self, flows: Array) -> Array:
        """``h(a)`` of each sample, for flows in its domain."""
        return np.zeros(len(flows))

    def _feasible(self, flows: Array) -> Array:
        """Whether each sample's flows lie in the domain of ``h``."""
        raise NotImplementedError

    def _leeway_of(self, flows: Array, y: Array) -> Curvature:
        """Leeway of the gradient with these flows."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class WestonWatkinsLoss(HingeLoss):
    """Multiclass hinge summed over the wrong classes, as in CS231n.

    ``sum_{j != y} max(0, z_j)`` with ``z_j = margin[y, j] + s_j - s_y``, or the sum of the squares. Where
    the loss is not differentiable (``z_j = 0``), the gradient is its limit from the side where the margin is
    met.

    Parameters
    ----------
    margin : float or array of shape (n_classes, n_classes), default=1.0
        How far the right class y must lead a wrong class j: one number, or one for each pair ``[y, j]`` (the
        diagonal is ignored).
    squared : bool, default=False
        Whether each shortfall is squared.

    Raises
    ------
    ValueError
        If `margin` is neither a number nor a square array, or is negative or not finite off the diagonal; if
        `squared` is not a boolean.

    References
    ----------
    - Weston, J., and Watkins, C., "Support vector machines for multi-class pattern recognition", ESANN 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_linear_losses.losses import WestonWatkinsLoss
    >>> WestonWatkinsLoss().value(np.array([[-2.85, 0.86, 0.28]]), np.array([2])).round(2)
    array([1.58])
    """

    squared: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_boolean("squared", self.squared)

    @property
    def has_kinks(self) -> bool:
        """Whether the loss is not differentiable everywhere."""
        return not self.squared

    def _balancing_flow(self, n_classes: int, mean_objective: float) -> float:
        return self._shortfall_cost.balancing_flow(mean_objective)

    @property
    def _shortfall_cost(self) -> _LinearCost | _SquaredCost:
        """The cost of each shortfall."""
        return _SquaredCost() if self.squared else _LinearCost()

    def _curvature(self, scores: Array, y: Array) -> Curvature:
        return _independent_flows(self._shortfall_cost.curvature(self._shortfalls(scores, y)[0]), y)

    def _envelope_curvature(self, flows: Array, y: Array, smoothing: Array | float) -> Curvature:
        return _independent_flows(self._shortfall_cost.envelope_curvature(flows, smoothing), y)

    def _spread_kinks(self, shortfalls: Array, y: Array, width: float) -> Curvature:
        rates = self._shortfall_cost.spread_curvature(shortfalls, width)
        rates[np.arange(len(y)), y] = 0
        return _independent_flows(rates, y)

    def _value(self, shortfalls: Array) -> Array:
        return self._shortfall_cost.total(np.maximum(shortfalls, 0))

    def _flows(self, shortfalls: Array) -> Array:
        return self._shortfall_cost.slope(shortfalls)

    def _best_flows(self, shortfalls: Array, flows: Array, smoothing: Array | float) -> Array:
        return self._shortfall_cost.best_flows(shortfalls, flows, smoothing)

    def _flow_penalty(self, flows: Array) -> Array:
        return self._shortfall_cost.flow_penalty(flows)

    def _feasible(self, flows: Array) -> Array:
        slack = _slack(flows)
        most = self._shortfall_cost.most_flow + slack
        return np.asarray((flows.min(axis=1) >= -slack) & (flows.max(axis=1) <= most))

    def _leeway_of(self, flows: Array, y: Array) -> Curvature:
        return _independent_flows(self._shortfall_cost.leeway(flows), y)


class _LinearCost:
    """The cost of shortfalls z, entry by entry: ``max(0, z)``."""

    most_flow = 1.0

    def total(self, positive: Array) -> Array:
        """Cost of each sample, given the positive parts of its shortfalls."""
        return np.asarray(positive.sum(axis=1))

    def slope(self, shortfalls: Array) -> Array:
        """Derivative in each shortfall."""
        return np.greater(shortfalls, 0).astype(shortfalls.dtype)

    def curvature(self, shortfalls: Array) -> Array:
        """Second derivative in each shortfall."""
        return np.zeros_like(shortfalls)

    def spread_curvature(self, shortfalls: Array, width: float) -> Array:
        """Second derivative with the kink at zero spread over `width`."""
        return np.asarray((np.abs(shortfalls) < width / 2) / width)

    def best_flows(self, shortfalls: Array, flows: Array, smoothing: Array | float) -> Array:
        """Derivative of the envelope around the multipliers `flows`."""
        best = shortfalls * (1 / smoothing)
        best += flows
        return np.clip(best, 0, 1, out=best)

    def envelope_curvature(self, flows: Array, smoothing: Array | float) -> Array:
        """Second derivative of the envelope where its derivative is `flows`."""
        return np.asarray(((flows > 0) & (flows < 1)) / smoothing)

    def flow_penalty(self, flows: Array) -> Array:
        """Convex conjugate of each sample's cost at the flows."""
        return np.zeros(len(flows))

    def balancing_flow(self, mean_objective: float) -> float:
        """The largest flow, or the one whose conjugate is `mean_objective`.

        In a mixture, a larger flow would cost more than its smaller share saves.
        """
        return 1.0

    def leeway(self, flows: Array) -> Array:
        """Leeway of each flow: the product of its distances from the ends of its domain."""
        return np.asarray(flows * np.maximum(1 - flows, 0))


class _SquaredCost:
    """The cost of squared shortfalls z, entry by entry: ``max(0, z)**2``; methods as in `_LinearCost`."""

    most_flow = np.inf

    def total(self, positive: Array) -> Array:
        return np.asarray(np.einsum("ij,ij->i", positive, positive))

    def slope(self, shortfalls: Array) -> Array:
        return 2 * np.maximum(shortfalls, 0)

    def curvature(self, shortfalls: Array) -> Array:
        return np.asarray(2.0 * (shortfalls > 0))

    def spread_curvature(self, shortfalls: Array, width: float) -> Array:
        return 2 * np.clip(shortfalls / width + 0.5, 0, 1)

    def best_flows(self, shortfalls: Array, flows: Array, smoothing: Array | float) -> Array:
        return np.maximum((shortfalls + smoothing * flows) / (smoothing + 0.5), 0)

    def envelope_curvature(self, flows: Array, smoothing: Array | float) -> Array:
        return np.asarray((flows > 0) / (smoothing + 0.5))

    def flow_penalty(self, flows: Array) -> Array:
        return np.asarray(np.einsum("ij,ij->i", flows, flows) / 4)

    def balancing_flow(self, mean_objective: float) -> float:
        return 2 * math.sqrt(mean_objective)

    def leeway(self, flows: Array) -> Array:
        return flows


@dataclass(frozen=True, eq=False)
class CrammerSingerLoss(HingeLoss):
    """Multiclass hinge of the worst wrong class.

    ``max(0, max_{j != y} z_j)`` with ``z_j = margin[y, j] + s_j - s_y``. Among equally bad classes the
    gradient takes the first. Where the largest z_j is exactly zero, the gradient is zero.

    Parameters
    ----------
    margin : float or array of shape (n_classes, n_classes), default=1.0
        How far the right class y must lead a wrong class j: one number, or one for each pair ``[y, j]`` (the
        diagonal is ignored).

    Raises
    ------
    ValueError
        If `margin` is neither a number nor a square array, or is negative or not finite off the diagonal.

    References
    ----------
    - Crammer, K., and Singer, Y., "On the algorithmic implementation of multiclass kernel-based vector
      machines", JMLR 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_linear_losses.losses import CrammerSingerLoss
    >>> CrammerSingerLoss().value(np.array([[-2.85, 0.86, 0.28]]), np.array([2])).round(2)
    array([1.58])
    """

    def _curvature(self, scores: Array, y: Array) -> Curvature:
        return _independent_flows(np.zeros_like(scores), y)

    def _envelope_curvature(self, flows: Array, y: Array, smoothing: Array | float) -> Curvature:
        return self._face_curvature(flows > 0, flows.sum(axis=1) >= 1 - _slack(flows), 1 / smoothing, y)

    def _spread_kinks(self, shortfalls: Array, y: Array, width: float) -> Curvature:
        worst = shortfalls.max(axis=1)
        at_kink = shortfalls > worst[:, None] - width / 2
        at_kink[np.arange(len(y)), y] = False
        return self._face_curvature(at_kink, worst > width / 2, 1 / width, y)

    @staticmethod
    def _face_curvature(support: Array, bound: Array, rate: float | Array, y: Array) -> Curvature:
        """Curvature `rate` among the flows in `support`; where `bound`, their sum is held fixed."""
        rates = support * rate
        free = _independent_flows(rates, y)
        shared = bound[:, None]
        size = np.maximum(support.sum(axis=1), 1)[:, None]
        return Curvature(
            np.where(shared, rates, free.diagonal),
            np.where(shared, rates / size, free.left),
            np.where(shared, support, free.right),
        )

    def _value(self, shortfalls: Array) -> Array:
        # The right class has shortfall zero, so the largest shortfall is never negative.
        return np.asarray(shortfalls.max(axis=1))

    def _flows(self, shortfalls: Array) -> Array:
        worst = np.arange(len(shortfalls)), shortfalls.argmax(axis=1)
        flows = np.zeros_like(shortfalls)
        flows[worst] = shortfalls[worst] > 0
        return flows

    def _best_flows(self, shortfalls: Array, flows: Array, smoothing: Array | float) -> Array:
        target = shortfalls * (1 / smoothing)
        target += flows
        # `target` is zero at the right class, and so is its projection, which takes nothing from the others.
        return _project_below_simplex(target)

    def _feasible(self, flows: Array) -> Array:
        slack = _slack(flows)
        return np.asarray((flows.min(axis=1) >= -slack) & (flows.sum(axis=1) <= 1 + slack))

    def _leeway_of(self, flows: Array, y: Array) -> Curvature:
        # The right class gets what is missing, so that the flows add up to one.
        flows[np.arange(len(y)), y] = 1 - flows.sum(axis=1)
        return _leeway_in_simplex(flows)


def _own_entries(by_class: Array, y: Array) -> Array:
    """Flat index of each sample's own class in an array of classes by samples."""
    own = np.multiply(y, by_class.shape[1], dtype=np.intp)
    own += np.arange(len(y))
    return own


def _slack(values: Array) -> float:
    """Round-off allowed at the boundary of a conjugate's domain, for values of this dtype."""
    return max(DOMAIN_SLACK, DOMAIN_EPSILONS * float(np.finfo(values.dtype).eps))


def sums_to_zero(gradient: Array) -> Array:
    """Whether each row sums to zero, up to round-off, as the gradient of every `Loss` does.

    Parameters
    ----------
    gradient : array of shape (n_samples, n_classes)

    Returns
    -------
    bool array of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from sk_linear_losses.losses import sums_to_zero
    >>> sums_to_zero(np.array([[0.1, 0.2, -0.3], [0.1, 0.2, 0.3]]))
    array([ True, False])
    """
    allowed = _slack(gradient) * np.maximum(1, np.abs(gradient).max(axis=1))
    return np.asarray(np.abs(gradient.sum(axis=1)) <= allowed)


def _flows_of(gradient: Array, y: Array) -> Array:
    """The flows to the wrong classes: the gradient with the right class's entry set to zero."""
    flows = gradient.copy(order="K")
    flows[np.arange(len(y)), y] = 0
    return flows


def _gradient_of(flows: Array, total: Array, own: Array) -> Array:
    """The gradient in the scores: the flows, and minus their `total` at `own`. May overwrite the flows."""
    gradient = np.asfortranarray(flows)
    gradient.T.reshape(-1)[own] = -total
    return gradient


def _independent_flows(rates: Array, y: Array) -> Curvature:
    """Curvature ``sum_j rates_j (e_j - e_y)(e_j - e_y)'``, for rates that vanish at the right class."""
    rates = np.asfortranarray(rates)
    own = _own_entries(rates.T, y)
    diagonal, right = rates.copy(order="F"), np.zeros_like(rates)
    diagonal.T.reshape(-1)[own] = rates.sum(axis=1)
    right.T.reshape(-1)[own] = 2
    return Curvature(diagonal, rates, right)


def _leeway_in_simplex(shares: Array) -> Curvature:
    """Leeway of shares p that add up to one, ``diag(p) - p p'``: p_j changes by at most p_j."""
    shares = np.maximum(shares, 0)
    return Curvature(shares, shares, shares)


def _project_below_simplex(points: Array) -> Array:
    """Euclidean projection of each row onto ``{a >= 0, sum(a) <= 1}``.

    Where the positive entries sum to more than 1, a threshold is subtracted from all entries. It is above
    zero and leaves the largest entry at most 1. Newton's method finds it from below: in each iteration
    further entries become zero, until none does. Round-off can bring an entry back, so the test compares with
    the fewest positive entries so far.
    """
    projected = np.maximum(points, 0)
    above = np.flatnonzero(projected.sum(axis=1) > 1)
    # Less each point's largest entry, so that the 1 is not lost in large points. As classes by points, since
    # the sums run over classes.
    lowered = points.T.take(above, axis=1)
    largest = lowered.max(axis=0)
    lowered -= largest
    threshold, fewest = np.maximum(-largest, -1), np.full(len(above), np.inf)
    rest = np.empty_like(lowered)
    while True:
        np.subtract(lowered, threshold, out=rest)
        np.maximum(rest, 0, out=rest)
        size = (rest > 0).sum(axis=0, dtype=np.uint32)
        if (size >= fewest).all():
            break
        threshold += (rest.sum(axis=0) - 1) / size
        fewest = np.minimum(size, fewest)
    projected.T[:, above] = rest
    return projected
