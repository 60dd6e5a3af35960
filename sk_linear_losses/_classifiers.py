"""The estimators: parameters, fitted attributes, prediction.

Knows scikit-learn. The work of a fit is a handful of calls into the modules that it imports.
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
from ._fit import Fit, Model
from ._problem import LARGEST, Problem, make_problem, refuse_dates
from ._run import Iteration, Result
from ._threads import single_threaded_blas
from ._typing import Array
from .losses import CrammerSingerLoss, HingeLoss, Loss, SoftmaxLoss, WestonWatkinsLoss

# Entries of a dense X scored at a time, so that float32 rows are scored in float64 without a copy (4 MB).
SCORED_ENTRIES = 2**19
# Relative gap from which on a warning does not call it a bound, and below which more digits are float64's.
NO_BOUND, LAST_DIGITS = 0.5, 1e-10


class LinearClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fit and prediction that the two estimators share.

    Not exported, but Python's errors of missing arguments name it, so that its name is no private one.
    """

    # Where the HTML representation links to.
    _doc_link_module = "sk_linear_losses"
    _doc_link_template = "https://sk-linear-losses.readthedocs.io/en/stable/api/generated/{estimator_module}.{estimator_name}.html"

    # What C may be beside a number, in words.
    _other_strength = ""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, as they are: neither scaling nor centring is needed for convergence. float64 and
            float32 are used as given, memory-mapped arrays too, other types are converted to float64. Sparse
            formats other than CSR are copied to CSR. Missing values are not accepted, not even in rows of
            weight 0, nor are dates and durations. The largest magnitude must be zero or from 1e-100 to 1e100.
        y : array-like of shape (n_samples,)
            Class labels, of at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights. Their sum, each times its class weight, must be from 1e-100 to 1e100. A
            weight of 2 is the same as repeating the row, a weight of 0 as leaving it out. There are
            two differences. A class whose rows all weigh 0 stays in `classes_` with probability 0, even if
            only one other class is left. If two of three or more classes keep weight, each keeps
            its own coefficients, so the penalty is half of that of a two-class problem.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are not as described. The estimator is then unchanged.

        Warns
        -----
        ConvergenceWarning
            If `tol` was not reached within `max_iter` iterations, before a callback asked to stop, or in
            float64 arithmetic, by hinges also if 600 iterations made no progress; or if there is no optimum
            to reach.
        """
        self._check_parameters()
        # All that a fit sets is set on a copy, so that whatever interrupts it leaves this estimator whole.
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
            With two classes, the score of ``classes_[1]`` less that of ``classes_[0]``. Minus infinity for
            a class of which no sample had weight, and infinity for the other one of two. In float64.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X has other features than in `fit`, or values that are not finite.
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
            Labels out of `classes_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X has other features than in `fit`, or values that are not finite.
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
            If X has other features than in `fit`, or values that are not finite.
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
            If X has other features than in `fit`, or values that are not finite.
        """
        scores = self._class_scores(X)
        return _led_by(scores, scipy.special.log_softmax(scores / self._temperature, axis=1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @property
    def _temperature(self) -> float:
        """What scores are divided by before the softmax makes probabilities of them."""
        return 1.0

    def _class_scores(self, X: Any) -> Array:
        """Scores of shape (n_samples, n_classes)."""
        scores = self.decision_function(X)
        if scores.ndim > 1:
            return scores
        # Less that of the winner, which has zero also where the other class has no weight.
        return np.stack([np.minimum(-scores, 0), np.minimum(scores, 0)], axis=1)

    def _check_parameters(self) -> None:
        """Raise on parameters that no data could make sense of."""
        check_number(
            "C",
            self.C,
            lambda value: LARGEST**-2 <= value <= LARGEST**2 or value == np.inf,
            f"a number from {LARGEST**-2:g} to {LARGEST**2:g}{self._other_strength}",
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
        """Another estimator with the same attributes, made without the methods that pickle a subclass."""
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    @tearing_down
    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Result | None:
        """Fit this estimator itself, which leaves it half changed where something interrupts it.

        Returns None where one class alone has weight, so that it is always predicted.
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
            # A probability that is too small for float64 is as good as zero, and a bound that is too large is
            # none; an objective that is makes the fit no success.
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
        """Coefficients (n_features, n_classes) and intercept of the previous fit, zero for unknown classes.

        None if they are not to be used. What was set by hand without `classes_` is for the present ones.
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
        # A class without weight is never predicted, which is where its intercept would tend.
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
        """Set what probabilities need beside the scores; no result means that nothing was to be fitted."""

    def _warn(self, result: Result) -> None:
        """Say what kept the fit from its tolerance."""
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
                reason = "could not get closer, at the limit of float64 arithmetic or of the method"
                advice = " Increase tol."
                # Without a penalty there is no gap, and what was asked for tells.
                if not (self.tol if np.isinf(float(self.C)) else gap) < LAST_DIGITS:
                    advice = (
                        " Increase tol or, where that is far off, scale the columns, replace one of two "
                        "nearly identical columns by their difference or decrease C."
                    )
            if not np.isfinite(gap):
                known = "the objective has no certificate and is not estimated to be within"
            elif gap < NO_BOUND:
                known = (
                    f"the objective is certified to be within a relative {gap:.2g} of the optimum, more than"
                )
            else:
                known = "the objective is not certified to be near the optimum, let alone within"
            message = f"{type(self).__name__} {reason}: {known} tol={float(self.tol):g}.{advice}"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


class SoftmaxClassifier(LinearClassifier):
    """Multinomial logistic regression with an L2 penalty, solved to a certified accuracy.

    Minimises ``|W|^2 / 2 + C * sum_i w_i * loss(W x_i + b, y_i)`` over W and the unpenalised intercept b,
    where the loss is the cross-entropy of the softmax and w_i the product of sample and class weight: the
    objective of :class:`sklearn.linear_model.LogisticRegression`, at the same `C`. With two classes
    the model is one weight vector w with the penalty ``|w|^2 / 2``.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the strength of the penalty, from 1e-200 to 1e200 or inf. ``inf`` means none: maximum
        likelihood, which has an optimum only if the classes overlap or labels are smoothed.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    class_weight : dict or "balanced", default=None
        Weight of each class, which multiplies `sample_weight`: 1 for None and for classes that the dict does
        not have; "balanced" is ``sum(w) / (n_classes * sum(w of the class))`` over the classes that have
        weight. If a class has no key, all keys must be classes.
    label_smoothing : float, default=0.0
        Share of each target spread evenly over the classes that have weight, in [0, 1).
    tol : float, default=1e-6
        The fit stops when the objective is within ``tol * objective`` of the optimum, by the duality gap
        or, where all second derivatives are too expensive and the gap is loose, when the distance estimated
        from the Newton decrement is below ``tol / 10``. Where they are cheap, the coefficients are as
        accurate as the objective.
    max_iter : int, default=1000
        Maximum number of iterations of L-BFGS over all samples. With less than 500, fits that converge slowly
        have no second attempt in other coordinates.
    warm_start : bool, default=False
        Whether to start from the present `coef_`, matched by class label. With another number of features
        the fit starts afresh.
    n_jobs : int, default=None
        Threads that share the rows of large data. None means as many as BLAS would use, under the limits of
        threadpoolctl and joblib; -1 all cores.
    verbose : int, default=0
        1 prints a line for each stage of the fit, after which curvature is taken anew, and for each fit to a
        sample of the rows; 2 for each iteration too: objective, certified gap if any, seconds since `fit`
        began.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels.
    coef_ : array of shape (n_classes, n_features), or (1, n_features) for two classes
        Coefficients. Of three classes and more they sum to zero over classes; of two there is one row,
        those of ``classes_[1]`` less those of ``classes_[0]``.
    intercept_ : array of shape (n_classes,), or (1,) for two classes
        Intercepts, likewise; zero without `fit_intercept`. A class of which no sample has weight has
        ``-inf``, or makes that of two classes infinite: it is never predicted.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of shape (`n_features_in_`,)
        Names of the features, if X had any.
    n_iter_ : int
        Iterations of L-BFGS over all samples. Those over a sample of the rows, which come first where rows
        are many, are not counted. It may be 0 after a warm start: then `history_` is empty.
    objective_ : float
        The objective at the solution. For ``C=inf`` it is the weighted sum of the losses, without `C`.
    duality_gap_ : float
        Certified upper bound on `objective_` minus the optimum. ``inf`` where there is none, as for
        ``C=inf``: without a penalty the dual gives no bound. For `C` beyond some 1e24 it may be as large
        as `objective_`.
    converged_ : bool
        Whether `tol` was reached.
    history_ : dict of arrays of shape (`n_iter_`,)
        ``"objective"``, ``"gap"`` (certified, but without what storing the coefficients costs) and
        ``"seconds"`` since `fit` began.

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

    _other_strength = " (or np.inf for no penalty)"

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
        # The loss refuses what is no share.
        SoftmaxLoss(self.label_smoothing)

    def _loss(self, problem: Problem) -> Loss:
        return SoftmaxLoss(float(self.label_smoothing))


class MulticlassSVMClassifier(LinearClassifier):
    """Linear multiclass support vector machine, solved to a certified accuracy.

    Minimises ``|W|^2 / 2 + C * sum_i w_i * loss(W x_i + b, y_i)`` over W and the unpenalised intercept b.
    The loss asks the score of the right class to exceed each other one by the margin and costs the
    shortfalls: their sum (Weston-Watkins, as in CS231n), the sum of their squares, or the worst one
    (Crammer-Singer). With two classes and the hinge this is ``sklearn.svm.SVC(kernel="linear")``, at the
    same `C`.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the strength of the penalty, from 1e-200 to 1e200.
    loss : {"hinge", "squared_hinge"}, default="hinge"
        Whether shortfalls cost as they are or squared.
    multi_class : {"weston_watkins", "crammer_singer"}, default="weston_watkins"
        Whether all wrong classes cost or only the worst; the latter with ``loss="hinge"`` alone, since its
        square is not differentiable at ties.
    margin : float or array of shape (n_classes, n_classes), default=1.0
        How far the right class y must lead a wrong class j: a number from 1e-100 to 1e100, or an array
        with such a number, or zero, for each pair ``[y, j]``, in the order of `classes_` or in a pandas
        DataFrame with their labels, and others' if need be. The diagonal is ignored.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    class_weight : dict or "balanced", default=None
        Weight of each class, which multiplies `sample_weight`: 1 for None and for classes that the dict does
        not have; "balanced" is ``sum(w) / (n_classes * sum(w of the class))`` over the classes that have
        weight. If a class has no key, all keys must be classes.
    tol : float, default=1e-6
        The fit stops when the objective is within ``tol * objective`` of the optimum, by the duality gap
        or, where that is loose, by an estimate from the Newton decrement; or when it is within the
        round-off of the sum of losses, which hard margins at large `C` come to first. With a `tol` of 1e-6
        or less, small problems are solved to the last digit.
    max_iter : int, default=1000
        Maximum number of iterations, those of L-BFGS over all samples and those of the dual's ascent
        together. There is ascent for data such as text of many classes: at least as many features as samples,
        and too many of both for second derivatives. An iteration of it makes five passes over the samples.
        With less than 500, fits that converge slowly have no second attempt in other coordinates.
    warm_start : bool, default=False
        Whether to start from the present `coef_`, matched by class label. With another number of features
        the fit starts afresh. Brings little for a hinge with kinks, since its multipliers are not kept: many
        short fits do not replace a long one.
    n_jobs : int, default=None
        Threads that share the rows of large data. None means as many as BLAS would use, under the limits of
        threadpoolctl and joblib; -1 all cores.
    verbose : int, default=0
        1 prints a line for each stage of the fit, after which curvature is taken anew or multipliers are
        moved, for ascent of the dual, and for each fit to a sample of the rows; 2 for each iteration too:
        objective, certified gap, seconds since `fit` began.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels.
    coef_ : array of shape (n_classes, n_features), or (1, n_features) for two classes
        Coefficients. Of three classes and more they sum to zero over classes; of two there is one row,
        those of ``classes_[1]`` less those of ``classes_[0]``.
    intercept_ : array of shape (n_classes,), or (1,) for two classes
        Intercepts, likewise; zero without `fit_intercept`. A class of which no sample has weight has
        ``-inf``, or makes that of two classes infinite: it is never predicted.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of shape (`n_features_in_`,)
        Names of the features, if X had any.
    n_iter_ : int
        Iterations of L-BFGS over all samples and of the dual's ascent, see `max_iter`. Those over a sample of
        the rows, which come first for the squared hinge where rows are many, are not counted. For the
        squared hinge it may be 0 after a warm start: then `history_` is empty.
    objective_ : float
        The objective at the solution.
    duality_gap_ : float
        Certified upper bound on `objective_` minus the optimum. For `C` beyond some 1e24 it may be as large
        as `objective_`.
    converged_ : bool
        Whether `tol` was reached.
    history_ : dict of arrays of shape (`n_iter_`,)
        ``"objective"``, ``"gap"`` (certified, but without what storing the coefficients costs) and
        ``"seconds"`` since `fit` began.
    temperature_ : float
        Scores over this are the logits of `predict_proba`. `fit` finds it in the end, in about half of its
        time or less where that is long, but in several times the rest of fits of some hundredths of a second.

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
                "multi_class='crammer_singer' needs loss='hinge': its squared hinge is not differentiable "
                "at ties."
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

        A hinge says nothing of probabilities, and its scores of the training samples are too sure of them,
        without bound where the classes can be separated. The temperature is therefore fitted to the scores
        that each sample would have had, to first order, had others of its class taken its place: held-out
        probabilities from one fit. They are deterministic, and largest for the class that `predict` names.
        Where the curvature of all coefficients is cheap enough to invert, each sample is left out by that
        inverse, of more than 4000 a random selection, those with a slope of the loss apart from those
        without; a weight of two and a repeated row are the same unless there are more. Elsewhere all samples
        are left out, by one factor common to all times their squared distance from the mean.

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
            If X has other features than in `fit`, or values that are not finite.
        """
        return super().predict_proba(X)

    @property
    def _temperature(self) -> float:
        return float(self.temperature_)

    def _calibrate(self, problem: Problem, result: Result | None) -> None:
        # One class alone is certain at any temperature.
        self.temperature_ = 1.0
        if result is not None:
            self.temperature_ = fit_temperature(result.minimised, result.theta, problem.unit)

    def _loss(self, problem: Problem) -> HingeLoss:
        margin = self._margin(problem)
        if self.multi_class == "crammer_singer":
            return CrammerSingerLoss(margin)
        return WestonWatkinsLoss(margin, squared=self.loss == "squared_hinge")

    def _margin(self, problem: Problem) -> float | Array:
        """The margin, checked, for the classes that have weight."""
        if _is_number(self.margin):
            return float(self.margin)
        margin = as_numbers("margin", _in_order_of(problem.classes, self.margin), but_diagonal=True)
        n_classes = len(problem.classes)
        if margin.shape != (n_classes, n_classes):
            raise ValueError(
                f"margin has shape {margin.shape}; expected a number or shape {(n_classes, n_classes)}, one "
                f"entry for each pair of right and wrong class; the classes are {problem.classes.tolist()}. "
                "A pandas DataFrame with labels may name more."
            )
        if not ((margin == 0) | (margin >= 1 / LARGEST) & (margin <= LARGEST)).all():
            raise ValueError(
                f"margin={self.margin!r} must hold zeros and numbers from {1 / LARGEST:g} to {LARGEST:g}."
            )
        return np.asarray(margin[np.ix_(problem.present, problem.present)])


def _is_number(margin: Any) -> bool:
    """Whether the margin is meant to be one for all pairs of classes."""
    return margin is None or np.isscalar(margin) or getattr(margin, "ndim", None) == 0


def _in_order_of(classes: Array, margin: Any) -> Any:
    """The margin; of one with labels the rows and columns of the classes, in their order."""
    labels, names = classes.tolist(), getattr(margin, "columns", None)
    if hasattr(margin, "reindex") and names is not None:
        for axis in (margin.index, names):
            counts = Counter(axis)
            if len(counts) < len(axis) or any(label not in counts for label in labels):
                raise ValueError(
                    f"margin has the labels {list(axis)}, but the classes are {labels}. Name rows and "
                    "columns after the classes, each once, or pass margin.to_numpy() in their order."
                )
        return margin.reindex(index=labels, columns=labels)
    # Tables without names of rows, as those of polars, have but strings for names of columns.
    if isinstance(names, list) and names != (known := list(map(str, labels))) and set(names) & set(known):
        raise ValueError(
            f"margin has columns named {names}, but no names of rows by which to put both in the order of "
            f"the classes {labels}. Pass rows and columns in that order, or a pandas DataFrame with both."
        )
    return margin


def _led_by(scores: Array, probabilities: Array) -> Array:
    """The probabilities, largest where the scores are, though rounding may have made another as large."""
    winners = scores.argmax(axis=1)
    tied = np.flatnonzero(probabilities.argmax(axis=1) != winners)
    probabilities[tied, winners[tied]] = np.nextafter(probabilities[tied].max(axis=1), np.inf)
    return probabilities
