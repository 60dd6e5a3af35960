"""From the user's input to a problem: the only place that validates data to fit.

Knows scikit-learn's conventions for X, y, weights and classes. Knows nothing of losses and solvers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn import config_context
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ._checks import as_float
from ._rows import Samples
from ._threads import single_threaded_blas
from ._typing import Array

# Largest magnitude of X, weights and margins. The least is its inverse; C lies between the squares of both.
# This leaves room in float64 for sums and products.
LARGEST = 1e100


@dataclass(frozen=True)
class Problem:
    """Validated input.

    ``present`` has the positions in ``classes`` of the classes that have weight. The classes of ``samples``
    are indices into ``present``; samples of a class without weight carry class 0. A sample's weight is its
    sample weight times its class weight. ``unit_weight`` is the part of this weight that belongs to a single
    row: a sample weight above 1 stands for repeated rows.
    """

    samples: Samples
    unit_weight: Array
    classes: Array
    present: Array


def make_problem(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    class_weight: dict[Any, float] | str | None,
    n_jobs: int | None,
) -> Problem:
    """Validate the input of ``estimator.fit``; sets the estimator's ``n_features_in_``.

    Raises
    ------
    ValueError
        On anything that cannot be fitted, naming the parameter and the value.
    """
    refuse_dates(X)
    X, y = validate_data(
        estimator,
        X,
        y,
        accept_sparse="csr",
        accept_large_sparse=True,
        dtype=[np.float64, np.float32],
        ensure_all_finite=False,
    )
    _check_values(X, estimator)
    # Integers and strings are always valid class labels. They are checked only if so many are distinct that
    # they may not be meant as labels.
    if not (plain := y.dtype.kind in "biuU"):
        check_classification_targets(y)
    classes, indices = np.unique(y, return_inverse=True)
    if plain and 2 * len(classes) > len(y):
        check_classification_targets(y)
    name = type(estimator).__name__
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs samples of at least 2 classes, but y has the one class {classes.tolist()[0]!r}."
        )
    weight = _sample_weight(sample_weight, len(y))
    per_class = _class_weight(class_weight, classes, indices, weight)[indices]
    unit_weight, weight = np.minimum(weight, 1) * per_class, weight * per_class
    totals = np.bincount(indices, weights=weight, minlength=len(classes))
    if totals.any() and not 1 / LARGEST <= totals.sum() <= LARGEST:
        raise ValueError(
            f"The sum of sample_weight times class_weight is {totals.sum():.3g}, so products with it may "
            f"overflow or underflow float64. It must be from {1 / LARGEST:g} to {LARGEST:g}: divide the "
            "weights by their maximum."
        )
    present = np.flatnonzero(totals > 0)
    if totals[present].min(initial=np.inf) < LARGEST**-3 * totals.sum():
        rarest = present[totals[present].argmin()]
        raise ValueError(
            f"The sum of sample_weight times class_weight is {totals[rarest]:.3g} for class "
            f"{classes.tolist()[rarest]!r} and {totals.sum():.3g} for all classes, so quotients of the two "
            "may overflow or underflow float64. Give the class more weight, or weight 0 to leave it out."
        )
    if len(present) == 0:
        raise ValueError(
            "sample_weight times class_weight is zero for all samples: nothing is left to fit. Give some "
            "samples a weight above 0."
        )
    position = np.zeros(len(classes), dtype=np.intp)
    position[present] = np.arange(len(present))
    samples = Samples(_as_rows(X), position[indices], weight, len(present), _n_threads(n_jobs))
    return Problem(samples, unit_weight, classes, present)


def refuse_dates(X: Any) -> None:
    """Raise ValueError if X has dates or durations: as numbers they count a unit that only X knows."""
    for column, dtype in _types_by_column(X):
        # The dtypes of numpy and pandas tell by a letter, those of polars by a method.
        is_temporal = getattr(dtype, "is_temporal", None)
        if getattr(dtype, "kind", None) in ("m", "M") or (callable(is_temporal) and is_temporal()):
            raise ValueError(
                f"X has dates or durations ({column}{dtype}), which are not numbers. From dates subtract a "
                "fixed date, the same in fit and predict, and divide durations by a unit, as in "
                "(t - np.datetime64('2000-01-01')) / np.timedelta64(1, 'D')."
            )


def _types_by_column(X: Any) -> list[tuple[str, Any]]:
    """The dtypes in X, each after the name of its column if columns have names.

    For lists and arrays of objects, the dtypes are those of the first row; for a categorical column, that of
    the categories. The list is empty if no dtype can be found, as for ragged lists.
    """
    columns, dtypes = getattr(X, "columns", None), getattr(X, "dtypes", None)
    if isinstance(columns, Iterable) and isinstance(dtypes, Iterable):
        values = (getattr(getattr(dtype, "categories", None), "dtype", dtype) for dtype in dtypes)
        return [(f"column {name!r}, ", dtype) for name, dtype in zip(columns, values, strict=False)]
    if isinstance(X, list | tuple):
        try:
            X = np.asarray(X[:1])
        except ValueError:
            return []
    entries = X[:1].flat if isinstance(X, np.ndarray) and X.dtype.kind == "O" and X.ndim else ()
    return [("", getattr(each, "dtype", None)) for each in (X, *entries)]


def _n_threads(n_jobs: int | None) -> int:
    """Number of threads for a fit: by default that of BLAS, but one if joblib runs fits in threads."""
    if n_jobs is not None:
        return int(effective_n_jobs(n_jobs))
    backend, _ = get_active_backend()
    in_main_thread = threading.current_thread() is threading.main_thread()
    if backend.nesting_level and not in_main_thread:
        return 1
    return single_threaded_blas.n_threads_outside()


def _sample_weight(sample_weight: Any, n_samples: int) -> Array:
    """Weights of shape (n_samples,) in float64."""
    if sample_weight is None:
        return np.ones(n_samples)
    if isinstance(sample_weight, str):
        raise ValueError(
            f"sample_weight={sample_weight!r} must be an array with one weight for each row of X; "
            "'balanced' is for class_weight."
        )
    if isinstance(sample_weight, Mapping):
        raise ValueError(
            f"sample_weight is a {type(sample_weight).__name__}, but must be an array with one weight for "
            "each row of X; class_weight takes one for each class."
        )
    if isinstance(sample_weight, Real) or getattr(sample_weight, "ndim", None) == 0:
        sample_weight = np.full(n_samples, sample_weight)
    # Checked under assume_finite too: the sum of NaN weights would be reported as out of range.
    with config_context(assume_finite=False):
        weight = check_array(_as_weights(sample_weight), ensure_2d=False, input_name="sample_weight")
    if weight.shape != (n_samples,):
        remedy = " Flatten a column with np.ravel(sample_weight)." if weight.size == n_samples else ""
        raise ValueError(
            f"sample_weight has shape {weight.shape}; expected ({n_samples},), one for each row of X.{remedy}"
        )
    if weight.min() < 0:
        raise ValueError(
            f"sample_weight has the negative value {weight.min()}: the objective would not be convex. "
            "Remove these samples or give them weight 0."
        )
    if not weight.any():
        raise ValueError(
            "sample_weight is zero for all samples: nothing is left to fit. Give some samples a weight "
            "above 0."
        )
    return np.asarray(weight)


def _as_weights(sample_weight: Any) -> Array:
    """Weights in float64, from any kind of real number."""
    try:
        weight = np.asarray(sample_weight)
        if weight.dtype.kind not in "cmM":
            return weight.astype(np.float64)
        reason = f"its values are of type {weight.dtype}"
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error)
    raise ValueError(f"sample_weight must hold a real number for each row of X: {reason}.")


def _class_weight(class_weight: Any, classes: Array, indices: Array, weight: Array) -> Array:
    """One weight for each class; "balanced" counts samples by their weight."""
    n_classes = len(classes)
    if class_weight is None:
        return np.ones(n_classes)
    if isinstance(class_weight, str) and class_weight == "balanced":
        totals = np.bincount(indices, weights=weight, minlength=n_classes)
        occupied = totals > 0
        balanced = np.zeros(n_classes)
        balanced[occupied] = totals.sum() / (occupied.sum() * totals[occupied])
        return balanced
    if not isinstance(class_weight, Mapping):
        if hasattr(class_weight, "to_dict"):
            raise ValueError(
                f"class_weight is a {type(class_weight).__name__}, but must be a dict, 'balanced' or None. "
                "Pass class_weight.to_dict()."
            )
        raise ValueError(f"class_weight={class_weight!r} must be a dict, 'balanced' or None.")
    labels = classes.tolist()
    unknown = [label for label in class_weight if label not in labels]
    # A fold may lack a class, so unknown keys are no mistake if each class in y has a key.
    if unknown and (missing := [label for label in labels if label not in class_weight]):
        kind, text = type(labels[0]).__name__, isinstance(labels[0], str)
        others = sorted({type(key).__name__ for key in unknown if isinstance(key, str) != text})
        reason = f" Keys of type {' and '.join(others)} equal no class of type {kind}." if others else ""
        raise ValueError(
            f"class_weight has the keys {unknown}, which are not among the classes {labels}, and none for "
            f"{missing}. Give each class a key; a weight of 1 changes nothing.{reason}"
        )
    if not all(isinstance(each, Real) and 0 <= as_float(each) < np.inf for each in class_weight.values()):
        raise ValueError(f"class_weight={class_weight!r} must hold finite, non-negative numbers.")
    return np.array([class_weight.get(label, 1) for label in labels], dtype=np.float64)


def _check_values(X: Any, estimator: Any) -> None:
    """Raise ValueError if values are not finite, or if their squares leave the range of float64."""
    values = X.data if sp.issparse(X) else X
    axes = list(range(values.ndim))
    # This one sum of squares lets nearly all data pass both checks.
    total = float(np.einsum(values, axes, values, axes, []))
    if LARGEST**-2 < total < LARGEST**2:
        return
    # The sum has found a reason to check, so this is done under assume_finite too.
    with config_context(assume_finite=False):
        assert_all_finite(X, estimator_name=type(estimator).__name__, input_name="X")
    if values.size == 0:
        return
    largest = max(-float(values.min()), float(values.max()))
    if largest > LARGEST or 0 < largest < 1 / LARGEST:
        raise ValueError(
            f"The largest magnitude in X is {largest:.3g}, so squares of values in X may overflow or "
            f"underflow float64. It must be zero or from {1 / LARGEST:g} to {LARGEST:g}: scale the columns, "
            "for example with sklearn.preprocessing.MaxAbsScaler."
        )


def _as_rows(X: Any) -> Any:
    """X as an array, or as a CSR array that stores no entry twice."""
    if not sp.issparse(X):
        return X
    rows = sp.csr_array(X)
    # A CSC array has its entries in order even if a CSR row does not, so it is canonical unless it stores an
    # entry twice.
    if not (rows.has_canonical_format or rows.tocsc().has_canonical_format):
        rows = rows.copy()
        rows.sum_duplicates()
    return rows
