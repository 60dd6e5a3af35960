"""Values that checks of parameters accept, and the messages of their errors."""

import math
from fractions import Fraction

import numpy as np
import pytest

from sk_linear_losses._checks import as_float, as_numbers, check_integer, check_number, check_option

NUMBERS = [2, 0.5, math.inf, Fraction(1, 3), np.float32(0.1), np.int64(3)]
NO_NUMBERS = [True, np.True_, "1", None, 1j, [1.0], np.ones(1)]


def short(value):
    """The name of a test's value."""
    return repr(value)[:20]


def positive(value):
    return value > 0


@pytest.mark.parametrize("value", NUMBERS, ids=short)
def test_numbers_of_any_type_pass_where_they_are_valid(value):
    check_number("C", value, positive, "a number > 0")
    with pytest.raises(ValueError, match="must be a number < 0"):
        check_number("C", value, lambda number: number < 0, "a number < 0")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1.5, math.nan, 10**400, -(10**400)], ids=short)
def test_the_error_of_a_number_names_parameter_value_and_what_it_must_be(value):
    """Numbers beyond double precision are invalid, too."""
    with pytest.raises(ValueError, match=r"must be") as error:
        check_number("C", value, positive, "a number > 0")
    assert str(error.value) == f"C={value!r} must be a number > 0."


def test_a_number_is_judged_by_its_value_in_double_precision():
    tiny = Fraction(1, 10**400)
    assert tiny > 0
    with pytest.raises(ValueError, match="tol=Fraction"):
        check_number("tol", tiny, positive, "a number > 0")


@pytest.mark.parametrize("value", [1, np.int8(1), np.uint64(2**63), 10**400], ids=short)
def test_integers_of_any_type_and_size_pass_where_they_are_valid(value):
    check_integer("max_iter", value, positive, "an integer of at least 1")
    with pytest.raises(ValueError, match="must be negative"):
        check_integer("max_iter", value, lambda number: number < 0, "negative")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -3, 1.0, np.float64(2), math.nan], ids=short)
def test_the_error_of_an_integer_names_parameter_value_and_what_it_must_be(value):
    with pytest.raises(ValueError, match=r"must be") as error:
        check_integer("max_iter", value, positive, "an integer of at least 1")
    assert str(error.value) == f"max_iter={value!r} must be an integer of at least 1."


@pytest.mark.parametrize(
    "value", ["ridge", "", "l", "L1", None, 1, ["l1"], np.array(["l1", "l2"])], ids=short
)
def test_the_error_of_an_option_names_parameter_value_and_all_options(value):
    for option in ("l1", "l2"):
        check_option("penalty", option, ("l1", "l2"))
    with pytest.raises(ValueError, match=r"must be") as error:
        check_option("penalty", value, ("l1", "l2"))
    assert str(error.value) == f"penalty={value!r} must be one of 'l1', 'l2'."


def test_numbers_that_double_precision_does_not_hold_are_none():
    assert as_float(Fraction(1, 4)) == 0.25
    assert as_float(np.float32(0.1)) == float(np.float32(0.1))
    assert math.isnan(as_float(10**400))


def test_the_diagonal_of_numbers_may_be_anything_where_it_is_not_asked_for():
    given = [[None, 1], [2, "x"]]
    assert as_numbers("margin", given, but_diagonal=True).tolist() == [[0, 1], [2, 0]]
    assert given == [[None, 1], [2, "x"]]
    for value in (given, [[1, None], [2, 3]]):
        with pytest.raises(ValueError, match=r"margin=.* must be a number or an array of numbers"):
            as_numbers("margin", value, but_diagonal=value is not given)
