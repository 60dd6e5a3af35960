"""The estimators: parameters, fitted attributes, prediction.

Knows scikit-learn. A fit makes a handful of calls into the imported modules, which do the work.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import scipy.special
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from ._calibration import fit_temperature
from ._callbacks import CallbackSupportMixin, reporting, tearing_down
from ._certificate import relative_gap
from ._checks import as_numbers, check_boolean, check_integer, check_number, check_option
from ._fit import Fit
from ._model import Model
from ._problem import LARGEST, Problem, make_problem, refuse_dates
from ._run import Iteration, Result
from ._threads import single_threaded_blas
from ._typing import Array
from .losses import CrammerSingerLoss, HingeLoss, Loss, SoftmaxLoss, WestonWatkinsLoss

# Entries of a dense X that are scored at a time (4 MB in float64): float32 rows are scored in float64 without
# a copy of all of X.
SCORED_ENTRIES = 2**19
# NO_BOUND: relative gap from which on a warning says that the objective is not certified to be near the
# optimum.
# FLOAT64_LIMITED_GAP: relative gap below which only float64 keeps the fit from more digits.
NO_BOUND, FLOAT64_LIMITED_GAP = 0.5, 1e-10


class LinearClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fit and prediction that the two estimators share.

    The class is not exported. Its name is not private, since Python's errors of missing arguments show it.
    """

    # The page that the HTML representation links to.
    _doc_link_module = "sk_linear_losses"
    _doc_link_template = "https://sk-linear-losses.readthedocs.io/en/stable/api/generated/{estimator_module}.{estimator_name}.html"

    # What else than a number C may be, for the error message.
    _other_C_values = ""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features. They need neither scaling nor centring for the fit to converge. float64 and float32
            arrays, memory-mapped ones too, are used as given; other types are converted to float64. Sparse
            formats other than CSR are copied to CSR. Missing values are not accepted, not even in rows of
            weight 0, nor are dates and durations. The largest magnitude must be zero or from 1e-100 to 1e100.
        y : array-like of shape (n_samples,)
            Class labels, of at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights. The sum of sample weight times class weight must be from 1e-100 to 1e100. A
            weight of 2 is the same as repeating the row, and a weight of 0 is the same as leaving the row
            out, with two exceptions. A class whose rows all weigh 0 stays in `classes_` with probability 0,
            even if only one other class is left. If only two of three or more classes keep weight, each of
            them keeps its own coefficients, so the penalty is half that of a two-class problem.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are not as described. This leaves the estimator unchanged.

        Warns
        -----
        ConvergenceWarning
            If the fit ended before it reached `tol`: after `max_iter` iterations, because a callback asked to
            stop, at the limits of float64 arithmetic or, for hinges, after 600 iterations without progress.
            Also if there is no optimum to reach.
        """
        self._check_parameters()
        # The fit sets attributes of a copy, so that an error or interrupt leaves this estimator unchanged.
        fitted = self._copied()
        result = fitted._fit(X, y, sample_weight)
        self.__dict__ = fitted.__dict__
        if result is not None:
            self._warn(result)
        return self

    def decision_function(self, X: Any) -> Array:
        """Scores of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples, n_classes), or (n_samples,) for two classes
            Scores in float64; with two classes, the score of ``classes_[1]`` minus that of ``classes_[0]``.
            A class of which no sample had weight scores minus infinity. With two classes the difference is
            then minus infinity or infinity.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not have the features that it had in `fit`, or has values that are not finite.
        """
        check_is_fitted(self)
        refuse_dates(X)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        scores = np.empty((X.shape[0], len(self.coef_)))
        most = X.shape[0] if sp.issparse(X) else max(1, SCORED_ENTRIES // X.shape[1])
        for batch in gen_batches(X.shape[0], most):
            scores[batch] = X[batch] @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.coef_) == 1 else scores

    def predict(self, X: Any) -> Array:
        """Most probable class of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples,)
            Labels from `classes_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not have the features that it had in `fit`, or has values that are not finite.
        """
        winners = self._class_scores(X).argmax(axis=1)
        return np.asarray(self.classes_[winners])

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples, n_classes)
            Each row sums to one; columns in the order of `classes_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not have the features that it had in `fit`, or has values that are not finite.
        """
        scores = self._class_scores(X)
        return _led_by(scores, scipy.special.softmax(scores / self._temperature, axis=1))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the class probabilities, finite for every class that had weight in `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples, n_classes)
            Columns in the order of `classes_`; ``-inf`` for a class of which no sample had weight.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not have the features that it had in `fit`, or has values that are not finite.
        """
        scores = self._class_scores(X)
        return _led_by(scores, scipy.special.log_softmax(scores / self._temperature, axis=1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @property
    def _temperature(self) -> float:
        """The divisor of the scores before the softmax turns them into probabilities."""
        return 1.0

    def _class_scores(self, X: Any) -> Array:
        """Scores of shape (n_samples, n_classes)."""
        scores = self.decision_function(X)
        if scores.ndim > 1:
            return scores
        # Minus the winner's score, so that the winner has zero even if the other class has no weight.
        return np.stack([np.minimum(-scores, 0), np.minimum(scores, 0)], axis=1)

    def _check_parameters(self) -> None:
        """Raise ValueError on parameters that are invalid for all data."""
        check_number(
            "C",
            self.C,
            lambda value: LARGEST**-2 <= value <= LARGEST**2 or value == np.inf,
            f"a number from {LARGEST**-2:g} to {LARGEST**2:g}{self._other_C_values}",
        )
        check_number("tol", self.tol, lambda tol: 0 <= tol < np.inf, "a finite number >= 0")
        check_integer("max_iter", self.max_iter, lambda most: most >= 1, "an integer of at least 1")
        if self.n_jobs is not None:
            check_integer("n_jobs", self.n_jobs, lambda jobs: jobs != 0, "None or an integer other than 0")
        if not isinstance(self.verbose, bool | np.bool_):
            check_integer("verbose", self.verbose, lambda level: level >= 0, "an integer of at least 0")
        for name in ("fit_intercept", "warm_start"):
            check_boolean(name, getattr(self, name))

    def _copied(self) -> Self:
        """A new estimator with the same attributes, made without pickling methods of a subclass."""
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    @tearing_down
    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Result | None:
        """Fit this estimator in place; an error or interrupt leaves it partly changed.

        Returns None if only one class has weight: there is nothing to minimise, as it is always predicted.
        """
        started = time.perf_counter()
        problem = make_problem(self, X, y, sample_weight, self.class_weight, self.n_jobs)
        fit = Fit(
            problem.samples,
            self._loss(problem),
            C=float(self.C),
            fit_intercept=bool(self.fit_intercept),
            one_vector=len(problem.classes) == 2,
            tol=float(self.tol),
            max_iter=int(self.max_iter),
        )

        def attributes(result: Result) -> dict[str, Any]:
            ended = self._copied()
            ended._store(problem, fit.model(result), result.history)
            ended._calibrate(problem, result)
            return dict(vars(ended))

        with (
            single_threaded_blas,
            # A probability too small for float64 is as good as zero, and a bound too large for float64 is no
            # bound. A fit whose objective is too large for float64 has not converged.
            np.errstate(under="ignore", over="ignore"),
            reporting(self, X, y, sample_weight, attributes) as reporters,
        ):
            result = None
            if len(problem.present) == 1:
                coef = np.zeros((problem.samples.X.shape[1], 1))
                model = Model(coef, np.zeros(1), objective=0.0, gap=0.0, converged=True)
            else:
                result, model = fit.minimise(self._known(problem), started, reporters)
            self._store(problem, model, result.history if result else ())
            self._calibrate(problem, result)
        return result

    def _loss(self, problem: Problem) -> Loss:
        """The loss, for the classes that have weight."""
        raise NotImplementedError

    def _known(self, problem: Problem) -> tuple[Array, Array] | None:
        """Coefficients (n_features, n_classes) and intercept of the previous fit, zero for classes new to it.

        None without a warm start, or if they cannot be used. If they were set by hand, without `classes_`,
        they are taken to be for the classes of this problem.
        """
        if not (self.warm_start and hasattr(self, "coef_") and hasattr(self, "intercept_")):
            return None
        n_features = problem.samples.X.shape[1]
        known = np.asarray(getattr(self, "classes_", problem.classes))
        n_rows = 1 if len(known) == 2 else len(known)
        old_coef, old_intercept = np.asarray(self.coef_), np.asarray(self.intercept_)
        if old_coef.shape != (n_rows, n_features) or old_intercept.shape != (n_rows,):
            return None
        if not np.isfinite(old_coef).all():
            return None
        if n_rows == 1:
            old_coef = np.vstack([-old_coef, old_coef]) / 2
            old_intercept = np.concatenate([-old_intercept, old_intercept]) / 2
        coef = np.zeros((n_features, len(problem.present)))
        intercept = np.zeros(len(problem.present))
        position = {label: k for k, label in enumerate(known.tolist())}
        for k, label in enumerate(problem.classes[problem.present].tolist()):
            old = position.get(label)
            if old is not None and np.isfinite(old_intercept[old]):
                coef[:, k], intercept[k] = old_coef[old], old_intercept[old]
        return coef, intercept

    def _store(self, problem: Problem, model: Model, history: tuple[Iteration, ...]) -> None:
        """Set the fitted attributes."""
        n_classes = len(problem.classes)
        coef = np.zeros((n_classes, len(model.coef)))
        coef[problem.present] = model.coef.T
        # A class without weight is never predicted: its intercept would tend to minus infinity.
        intercept = np.full(n_classes, -np.inf)
        intercept[problem.present] = model.intercept
        if n_classes == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.classes_ = problem.classes
        self.coef_, self.intercept_ = coef, intercept
        self.objective_, self.duality_gap_ = model.objective, model.gap
        self.converged_ = bool(model.converged)
        self.n_iter_ = len(history)
        columns = zip(*history, strict=True) if history else [(), (), ()]
        self.history_ = {
            field: np.array(column, dtype=np.float64)
            for field, column in zip(Iteration._fields, columns, strict=True)
        }

    def _calibrate(self, problem: Problem, result: Result | None) -> None:
        """Set what probabilities need besides scores; `result` is None if there was nothing to minimise."""

    def _warn(self, result: Result) -> None:
        """Warn, with the reason, if the fit did not reach its tolerance."""
        if self.converged_:
            return
        if result.unbounded:
            message = (
                f"{type(self).__name__}(C=inf): the classes can be separated, so the likelihood has no "
                "maximum and the coefficients would grow without end. Set C to a finite value."
            )
        else:
            gap = relative_gap(self.objective_, self.duality_gap_)
            if result.stopped:
                reason, advice = "was stopped by a callback", ""
            elif len(result.history) >= self.max_iter:
                reason = f"stopped at max_iter={self.max_iter}"
                advice = " Increase max_iter or tol, scale the columns or decrease C."
            else:
                reason = (
                    "could not get closer to the optimum, at the limit of float64 arithmetic or of the method"
                )
                advice = " Increase tol."
                # Without a penalty there is no gap, so `tol` decides which advice is given.
                if not (self.tol if np.isinf(float(self.C)) else gap) < FLOAT64_LIMITED_GAP:
                    advice = (
                        " Increase tol or, if the fit is far from the tolerance, scale the columns, replace "
                        "one of two nearly identical columns by their difference or decrease C."
                    )
            if not np.isfinite(gap):
                known = (
                    "the objective has no certificate, and its estimated relative distance from the optimum "
                    "is"
                )
            elif gap < NO_BOUND:
                known = f"the objective is certified to be within a relative {gap:.2g} of the optimum,"
            else:
                known = (
                    "the objective is not certified to be near the optimum: its relative duality gap is "
                    f"{gap:.2g},"
                )
            message = f"{type(self).__name__} {reason}: {known} more than tol={float(self.tol):g}.{advice}"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


class SoftmaxClassifier(LinearClassifier):
    """Multinomial logistic regression with an L2 penalty, solved to a certified accuracy.

    Minimises ``|W|^2 / 2 + C * sum_i w_i * loss(W x_i + b, y_i)`` over W and the unpenalised intercept b,
    where the loss is the cross-entropy of the softmax and w_i is the product of sample weight and class
    weight. This is the objective of :class:`sklearn.linear_model.LogisticRegression` at the same `C`. With
    two classes the model is one weight vector w with the penalty ``|w|^2 / 2``.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, from 1e-200 to 1e200, or ``inf`` for no penalty. Without a penalty
        the fit is maximum likelihood, which has an optimum only if the classes overlap or labels are
        smoothed.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    class_weight : dict or "balanced", default=None
        Weight of each class, by which `sample_weight` is multiplied. It is 1 for None and for classes that
        the dict does not have; "balanced" is ``sum(w) / (n_classes * sum(w of the class))`` over the classes
        that have weight. If the dict lacks a class, all its keys must be classes.
    label_smoothing : float, default=0.0
        Share of each target spread evenly over the classes that have weight, in [0, 1).
    tol : float, default=1e-6
        The fit stops when the duality gap certifies that the objective is within ``tol * objective`` of the
        optimum. Where the full matrix of second derivatives is too expensive and the gap is loose, the fit
        stops when the relative distance estimated from the Newton decrement is below ``tol / 10``. Where the
        matrix is cheap, the coefficients are as accurate as the objective.
    max_iter : int, default=1000
        Maximum number of iterations of L-BFGS over all samples. If it is less than 500, fits that converge
        slowly make no second attempt in other coordinates.
    warm_start : bool, default=False
        Whether to start from the present `coef_`, matched by class label. If the number of features has
        changed, the fit starts afresh.
    n_jobs : int, default=None
        Number of threads that share the rows of large data. None means as many as BLAS would use, within
        the limits of threadpoolctl and joblib; -1 means all cores.
    verbose : int, default=0
        1 prints a line after each stage of the fit, when curvature is computed anew, and after each fit to a
        sample of the rows; 2 prints a line after each iteration too. A line has the objective, the certified
        gap if there is one, and the seconds since `fit` began.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels.
    coef_ : array of shape (n_classes, n_features), or (1, n_features) for two classes
        Coefficients. For three or more classes they sum to zero over the classes. For two classes there is
        one row, the coefficients of ``classes_[1]`` minus those of ``classes_[0]``.
    intercept_ : array of shape (n_classes,), or (1,) for two classes
        Intercepts, likewise; zero without `fit_intercept`. A class of which no sample has weight is never
        predicted: its intercept is ``-inf``. With two classes the one intercept is then infinite.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of shape (`n_features_in_`,)
        Names of the features, if X had any.
    n_iter_ : int
        Number of iterations of L-BFGS over all samples. Iterations over a sample of the rows, which come
        first if there are many rows, are not counted. After a warm start it may be 0; `history_` is then
        empty.
    objective_ : float
        The objective at the solution. For ``C=inf`` it is the weighted sum of the losses, without `C`.
    duality_gap_ : float
        Certified upper bound on `objective_` minus the optimum. It is ``inf`` if there is no bound, as for
        ``C=inf``: without a penalty the dual gives none. For `C` above about 1e24 it may be as large as
        `objective_`.
    converged_ : bool
        Whether `tol` was reached.
    history_ : dict of arrays of shape (`n_iter_`,)
        ``"objective"``, ``"gap"`` (certified, but without the cost of rounding the stored coefficients) and
        ``"seconds"`` since `fit` began, after each iteration.

    See Also
    --------
    MulticlassSVMClassifier : The same model with the multiclass hinge.

    References
    ----------
    - Böhning, D., "Multinomial logistic regression algorithm", Annals of the Institute of Statistical
      Mathematics, 1992.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_linear_losses import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxClassifier().fit(X, y)
    >>> round(model.objective_, 4)
    28.8863
    >>> bool(model.duality_gap_ <= 1e-6 * model.objective_)
    True
    """

    _other_C_values = " (or np.inf for no penalty)"

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        label_smoothing: float = 0.0,
        tol: float = 1e-6,
        max_iter: int = 1000,
        warm_start: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        # The loss checks its parameter.
        SoftmaxLoss(self.label_smoothing)

    def _loss(self, problem: Problem) -> Loss:
        return SoftmaxLoss(float(self.label_smoothing))


class MulticlassSVMClassifier(LinearClassifier):
    """Linear multiclass support vector machine, solved to a certified accuracy.

    Minimises ``|W|^2 / 2 + C * sum_i w_i * loss(W x_i + b, y_i)`` over W and the unpenalised intercept b.
    The loss requires the score of the right class to exceed each other score by the margin. It is made of
    the shortfalls: their sum (Weston-Watkins, as in CS231n), the sum of their squares, or the largest one
    (Crammer-Singer). With two classes and the hinge this is ``sklearn.svm.SVC(kernel="linear")`` at the same
    `C`.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, from 1e-200 to 1e200.
    loss : {"hinge", "squared_hinge"}, default="hinge"
        Whether the loss takes shortfalls as they are or squared.
    multi_class : {"weston_watkins", "crammer_singer"}, default="weston_watkins"
        Whether all wrong classes count or only the worst one. "crammer_singer" needs ``loss="hinge"``, since
        its square is not differentiable at ties.
    margin : float or array of shape (n_classes, n_classes), default=1.0
        How far the right class y must lead a wrong class j: a number from 1e-100 to 1e100, or an array with
        such a number or zero for each pair ``[y, j]``, in the order of `classes_`. A pandas DataFrame has the
        class labels on both axes instead, in any order, and may have further labels. The diagonal is ignored.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    class_weight : dict or "balanced", default=None
        Weight of each class, by which `sample_weight` is multiplied. It is 1 for None and for classes that
        the dict does not have; "balanced" is ``sum(w) / (n_classes * sum(w of the class))`` over the classes
        that have weight. If the dict lacks a class, all its keys must be classes.
    tol : float, default=1e-6
        The fit stops when the objective is within ``tol * objective`` of the optimum, by the duality gap or,
        where the gap is loose, by an estimate from the Newton decrement. It also stops when the objective is
        within the round-off of the sum of losses, which comes first for hard margins at large `C`. If `tol`
        is 1e-6 or less, small problems are solved to the last digit.
    max_iter : int, default=1000
        Maximum number of iterations: those of L-BFGS over all samples and those of dual ascent together. Dual
        ascent is for data such as text of many classes: at least as many features as samples, and too many of
        both for second derivatives. Each of its iterations makes five passes over the samples. If `max_iter`
        is less than 500, fits that converge slowly make no second attempt in other coordinates.
    warm_start : bool, default=False
        Whether to start from the present `coef_`, matched by class label. If the number of features has
        changed, the fit starts afresh. With ``loss="hinge"`` this helps little, since multipliers are not
        kept: many short fits do not replace a long one.
    n_jobs : int, default=None
        Number of threads that share the rows of large data. None means as many as BLAS would use, within
        the limits of threadpoolctl and joblib; -1 means all cores.
    verbose : int, default=0
        1 prints a line after each stage of the fit, when curvature is computed anew or multipliers are moved,
        after dual ascent, and after each fit to a sample of the rows; 2 prints a line after each iteration
        too. A line has the objective, the certified gap if there is one, and the seconds since `fit` began.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels.
    coef_ : array of shape (n_classes, n_features), or (1, n_features) for two classes
        Coefficients. For three or more classes they sum to zero over the classes. For two classes there is
        one row, the coefficients of ``classes_[1]`` minus those of ``classes_[0]``.
    intercept_ : array of shape (n_classes,), or (1,) for two classes
        Intercepts, likewise; zero without `fit_intercept`. A class of which no sample has weight is never
        predicted: its intercept is ``-inf``. With two classes the one intercept is then infinite.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of shape (`n_features_in_`,)
        Names of the features, if X had any.
    n_iter_ : int
        Number of iterations of L-BFGS over all samples and of dual ascent; see `max_iter`. Iterations over a
        sample of the rows, which come first for the squared hinge if there are many rows, are not counted.
        For the squared hinge it may be 0 after a warm start; `history_` is then empty.
    objective_ : float
        The objective at the solution.
    duality_gap_ : float
        Certified upper bound on `objective_` minus the optimum. For `C` above about 1e24 it may be as large
        as `objective_`.
    converged_ : bool
        Whether `tol` was reached.
    history_ : dict of arrays of shape (`n_iter_`,)
        ``"objective"``, ``"gap"`` (certified, but without the cost of rounding the stored coefficients) and
        ``"seconds"`` since `fit` began, after each iteration.
    temperature_ : float
        The scores divided by this are the logits of `predict_proba`. `fit` finds it at the end. In a fit that
        takes more than some tenths of a second, this takes at most about half as long as the rest of the fit.
        In a fit of some hundredths of a second, it can take several times as long.

    See Also
    --------
    SoftmaxClassifier : The same model with the cross-entropy.

    References
    ----------
    - Weston, J., and Watkins, C., "Support vector machines for multi-class pattern recognition", ESANN 1999.

    - Crammer, K., and Singer, Y., "On the algorithmic implementation of multiclass kernel-based vector
      machines", JMLR 2001.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_linear_losses import MulticlassSVMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MulticlassSVMClassifier().fit(X, y)
    >>> round(model.objective_, 4)
    15.6042
    >>> bool(model.duality_gap_ <= 1e-6 * model.objective_)
    True
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        loss: Literal["hinge", "squared_hinge"] = "hinge",
        multi_class: Literal["weston_watkins", "crammer_singer"] = "weston_watkins",
        margin: Any = 1.0,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        tol: float = 1e-6,
        max_iter: int = 1000,
        warm_start: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.C = C
        self.loss = loss
        self.multi_class = multi_class
        self.margin = margin
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if np.isinf(float(self.C)):
            raise ValueError("C=inf: the hinge needs a penalty. Set C to a finite value.")
        check_option("loss", self.loss, ("hinge", "squared_hinge"))
        multi_class: Any = self.multi_class
        if isinstance(multi_class, str) and multi_class == "ovr":
            raise ValueError(
                "multi_class='ovr' is not offered: the losses look at all classes at once. For one class "
                "against the rest, wrap the estimator in sklearn.multiclass.OneVsRestClassifier."
            )
        check_option("multi_class", multi_class, ("weston_watkins", "crammer_singer"))
        if multi_class == "crammer_singer" and self.loss == "squared_hinge":
            raise ValueError(
                "multi_class='crammer_singer' cannot take loss='squared_hinge', which is not differentiable "
                "at ties. Use loss='hinge' or multi_class='weston_watkins'."
            )
        if _is_number(self.margin):
            check_number(
                "margin",
                self.margin.item() if isinstance(self.margin, np.ndarray) else self.margin,
                lambda margin: 1 / LARGEST <= margin <= LARGEST,
                f"a positive number, from {1 / LARGEST:g} to {LARGEST:g}, or an array",
            )

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities: the softmax of the scores over `temperature_`.

        A hinge does not define probabilities. Its scores of the training samples are overconfident, without
        bound where the classes can be separated. The temperature is therefore fitted to the scores that each
        sample would have had, to first order, if others of its class had taken its place. This gives held-out
        probabilities from one fit. They are deterministic, and the class that `predict` returns has the
        largest one.

        Where the matrix of second derivatives in all coefficients is cheap enough to invert, its inverse
        tells how leaving out a sample moves its scores. Up to 4000 samples are all left out, one at a time,
        and a weight of two is then the same as a repeated row. Of more samples a random selection is left
        out, drawn separately from those whose loss has a slope and from the others. Elsewhere all samples are
        left out, and the scores of each are moved in proportion to its squared distance from the mean, with
        one factor common to all samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples, n_classes)
            Each row sums to one; columns in the order of `classes_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not have the features that it had in `fit`, or has values that are not finite.
        """
        return super().predict_proba(X)

    @property
    def _temperature(self) -> float:
        return float(self.temperature_)

    def _calibrate(self, problem: Problem, result: Result | None) -> None:
        # A single class has probability 1 at any temperature.
        self.temperature_ = 1.0
        if result is not None:
            self.temperature_ = fit_temperature(result.minimised, result.theta, problem.unit_weight)

    def _loss(self, problem: Problem) -> HingeLoss:
        margin = self._margin(problem)
        if self.multi_class == "crammer_singer":
            return CrammerSingerLoss(margin)
        return WestonWatkinsLoss(margin, squared=self.loss == "squared_hinge")

    def _margin(self, problem: Problem) -> float | Array:
        """The margin for the classes that have weight, checked."""
        if _is_number(self.margin):
            return float(self.margin)
        margin = as_numbers("margin", _in_order_of(problem.classes, self.margin), but_diagonal=True)
        n_classes = len(problem.classes)
        if margin.shape != (n_classes, n_classes):
            raise ValueError(
                f"margin has shape {margin.shape}; expected a number or shape {(n_classes, n_classes)}, one "
                f"entry for each pair of right and wrong class; the classes are {problem.classes.tolist()}. "
                "Only a pandas DataFrame with labels may have further classes."
            )
        if not ((margin == 0) | (margin >= 1 / LARGEST) & (margin <= LARGEST)).all():
            raise ValueError(
                f"margin={self.margin!r} must hold only zeros and numbers from {1 / LARGEST:g} to "
                f"{LARGEST:g}; the diagonal is ignored."
            )
        return np.asarray(margin[np.ix_(problem.present, problem.present)])


def _is_number(margin: Any) -> bool:
    """Whether the margin is meant as one number for all pairs of classes."""
    return margin is None or np.isscalar(margin) or getattr(margin, "ndim", None) == 0


def _in_order_of(classes: Array, margin: Any) -> Any:
    """The margin; if it has labels, its rows and columns of the classes, in the order of `classes`."""
    labels, names = classes.tolist(), getattr(margin, "columns", None)
    if hasattr(margin, "reindex") and names is not None:
        for axis in (margin.index, names):
            counts = Counter(axis)
            if len(counts) < len(axis) or any(label not in counts for label in labels):
                raise ValueError(
                    f"margin has the labels {list(axis)}, but the classes are {labels}. Name rows and "
                    "columns after the classes, each once, or put them in the order of the classes and pass "
                    "margin.to_numpy()."
                )
        return margin.reindex(index=labels, columns=labels)
    # Tables that do not name their rows, such as those of polars, name their columns by strings only.
    if isinstance(names, list) and names != (known := list(map(str, labels))) and set(names) & set(known):
        raise ValueError(
            f"margin has columns named {names}, but no row labels, so rows and columns cannot be put in the "
            f"order of the classes {labels}. Pass them in that order, or a pandas DataFrame with labels for "
            "both."
        )
    return margin


def _led_by(scores: Array, probabilities: Array) -> Array:
    """The probabilities, raised for the class of the largest score where rounding ties it with another."""
    winners = scores.argmax(axis=1)
    tied = np.flatnonzero(probabilities.argmax(axis=1) != winners)
    probabilities[tied, winners[tied]] = np.nextafter(probabilities[tied].max(axis=1), np.inf)
    return probabilities
