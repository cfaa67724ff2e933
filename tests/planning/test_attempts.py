"""Trying again is paid for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify import statistics
from certify.errors import InvalidInput


@given(st.floats(1e-9, 0.5), st.integers(1, 60))
def test_attempts_share_one_alpha(alpha, attempts):
    """alpha/2 + alpha/6 + alpha/12 + ... never reaches alpha; what later attempts spend is below half of it."""
    shares = [statistics.attempt_alpha(alpha, j) for j in range(1, attempts + 1)]
    assert shares[0] == alpha / 2
    assert math.fsum(shares) <= alpha
    assert math.fsum(shares[1:]) <= alpha / 2
    assert shares == sorted(shares, reverse=True)


def test_attempts_are_counted_from_one():
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match="attempt = 0: must be a whole number"):
        statistics.attempt_alpha(0.05, 0)
