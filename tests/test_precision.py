"""The budget of finite precision."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.errors import InvalidInput
from certify.statistics.precision import eta_strict, eta_table, tail_floor_truncated

sizes = st.integers(1, 10**12)


@given(sizes, sizes, st.sampled_from([8, 12]))
def test_eta_grows_with_the_number_of_weights(d, e, bits):
    """More weights, more loss; and eta is a probability."""
    small, large = sorted((d, e))
    assert 0 < eta_strict(small, bits) <= eta_strict(large, bits) <= 1
    assert 0 < eta_table(small, bits) <= eta_table(large, bits) <= 1


def test_coarser_lattice_costs_less():
    """Eight bits below sigma lose less than twelve."""
    assert eta_strict(7 * 10**9, 8) < eta_strict(7 * 10**9, 12)
    assert eta_table(7 * 10**9, 8) < eta_table(7 * 10**9, 12)


def test_truncated_uniforms_are_exposed_by_their_tail():
    """24-bit uniforms can carry nothing at 7e9 weights; 53-bit ones are not exposed this way."""
    assert tail_floor_truncated(7 * 10**9, 24) == pytest.approx(1.0)
    assert tail_floor_truncated(7 * 10**9, 53) < 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eta_strict(0), "d = 0: must be a whole number of at least 1"),
        (lambda: eta_strict(10, 10), r"lattice_bits = 10: must be one of \[8, 12\]"),
        (lambda: eta_table(10, 0), "lattice_bits = 0"),
        (lambda: eta_table(10, 41), "lattice_bits = 41: must be at most 40"),
        (lambda: tail_floor_truncated(1.5, 24), "d = 1.5"),
        (lambda: eta_table(math.nan), "d = nan: must be a number, not NaN"),
    ],
)
def test_impossible_samplers_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
