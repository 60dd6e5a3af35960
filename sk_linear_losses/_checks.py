"""Checks of parameters, whose errors name the parameter, its value and what it must be.

Knows nothing of what parameters mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from numbers import Integral, Real
from typing import Any

import numpy as np

from ._typing import Array


def check_number(name: str, value: Any, valid: Callable[[float], bool], wanted: str) -> None:
    """Raise ValueError unless `value` is a number that is `valid` in float64."""
    if isinstance(value, bool) or not isinstance(value, Real) or not valid(as_float(value)):
        raise ValueError(f"{name}={value!r} must be {wanted}.")


def check_integer(name: str, value: Any, valid: Callable[[int], bool], wanted: str) -> None:
    """Raise ValueError unless `value` is an integer that is `valid`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not valid(int(value)):
        raise ValueError(f"{name}={value!r} must be {wanted}.")


def check_boolean(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a boolean of Python or numpy."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r} must be True or False.")


def check_option(name: str, value: Any, options: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of the `options`."""
    if not (isinstance(value, str) and value in options):
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, options))}.")


def as_numbers(name: str, value: Any, but_diagonal: bool = False) -> Array:
    """A new float64 array of `value`. Raises ValueError unless `value` is a number or an array of numbers.

    With `but_diagonal`, the diagonal of a matrix may hold anything; it becomes zero.
    """
    try:
        array = np.array(value)
        if but_diagonal and array.ndim == 2:
            np.fill_diagonal(array, 0)
        numeric = array.dtype.kind in "iuf" or (array.dtype.kind == "b" and array.ndim > 0)
        if numeric or (array.dtype == object and all(isinstance(entry, Real) for entry in array.flat)):
            return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name}={value!r} must be a number or an array of numbers.")


def as_float(value: Real) -> float:
    """The number in float64; NaN if it is too large for float64."""
    try:
        return float(value)
    except OverflowError:
        return math.nan
