"""Rounding has a direction, for claims and for print."""

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certify.errors import InvalidInput
from certify.statistics import ceil_to, floor_to, round_down, round_up

finite = st.floats(-1e3, 1e3)


@given(finite)
def test_claims_move_outwards(x):
    """round_down never rises, round_up never falls, and both stay close."""
    assert round_down(x) <= x <= round_up(x)
    assert round_up(x) - round_down(x) <= 2.1e-12 * abs(x) + 1e-300  # subnormal


@given(finite, st.integers(0, 9))
@example(0.29, 2)
@example(0.949999999, 3)
@example(-0.0001, 3)
def test_print_never_rounds_a_lower_bound_up(x, digits):
    """Cut downwards on the exact value, by less than one unit of the last digit; ceil_to is the mirror."""
    unit = Decimal(1).scaleb(-digits)
    down, up = floor_to(x, digits), ceil_to(x, digits)
    assert down <= x <= up
    assert Decimal(f"{down:.{digits}f}") <= Decimal(x) <= Decimal(f"{up:.{digits}f}")
    assert Decimal(f"{up:.{digits}f}") - Decimal(f"{down:.{digits}f}") <= unit
    assert floor_to(-x, digits) == -up


def test_rounding_to_nearest_would_be_caught():
    """The property above fails for Python's own format: .9996 prints as 1.000."""
    x = 0.9996
    assert Decimal(f"{x:.3f}") > Decimal(x)
    assert Decimal(f"{floor_to(x, 3):.3f}") <= Decimal(x)


def test_any_size_can_be_printed():
    """Numbers far beyond the digits of a float are cut, not refused."""
    assert floor_to(1e300, 12) == ceil_to(1e300, 12) == 1e300
    assert floor_to(1e-300, 12) == 0.0
    assert ceil_to(1e-300, 12) == 1e-12


def test_infinity_is_left_alone_and_nan_is_refused():
    """inf is a legitimate radius; NaN is a mistake."""
    assert round_down(math.inf) == floor_to(math.inf, 3) == math.inf
    assert round_up(-math.inf) == ceil_to(-math.inf, 3) == -math.inf
    with pytest.raises(InvalidInput, match="x = nan"):
        floor_to(math.nan, 3)


def test_numbers_give_floats_and_arrays_keep_their_shape():
    """A number in, a float out."""
    assert type(round_down(0.5)) is float
    assert round_up(np.ones((2, 3))).shape == (2, 3)
