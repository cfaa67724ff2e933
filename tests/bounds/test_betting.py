"""Betting bounds: exact coverage by enumeration, and the properties that make bisection exact."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from certify import statistics
from certify.errors import InvalidInput
from certify.statistics import betting

samples = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(samples, st.floats(1e-6, 0.5))
@settings(max_examples=60)
def test_lower_bound_lies_between_zero_and_the_mean(x, alpha):
    """Never above what was seen."""
    assert (
        0 <= statistics.betting_lower(x, alpha) <= np.mean(x) <= statistics.betting_upper(x, alpha) + 1e-15 <= 1 + 1e-15
    )


@given(samples, st.floats(0.01, 0.98), st.floats(0.001, 0.5))
@settings(max_examples=60)
def test_capital_falls_in_the_hypothetical_mean(x, mu, alpha):
    """Every partial product decreases in mu, so bisection finds the end of the rejected means."""
    rounds = betting._Rounds(np.array(x), ())
    bets = rounds.bets(alpha)
    assert np.all(rounds.log_capital(bets, mu + 0.01) <= rounds.log_capital(bets, mu) + 1e-12)


@given(samples, st.floats(0.001, 0.3))
@settings(max_examples=60)
def test_bound_is_a_rejected_mean(x, alpha):
    """At the bound the capital has reached 1 / alpha: it is the safe end of the bisection."""
    lower, scores = statistics.betting_lower(x, alpha), np.array(x)
    rounds, goal = betting._Rounds(scores, ()), math.log(1 / alpha)
    bets = rounds.bets(alpha)
    if lower > 0:
        assert rounds.log_capital(bets, lower).max() >= goal - 1e-9
    elif scores.mean() > 1e-200:  # then no mean is rejected, however small
        assert rounds.log_capital(bets, float(scores.mean()) * 2.0**-59).max() < goal + 1e-9


@given(samples, st.floats(0.001, 0.2))
@settings(max_examples=60)
def test_smaller_alpha_claims_less(x, alpha):
    """Up to the bets, which are planned for alpha: the bound of constant scores falls with alpha."""
    constant = [x[0]] * len(x)
    assert statistics.betting_lower(constant, alpha / 2) <= statistics.betting_lower(constant, alpha) + 1e-12


def test_order_matters_so_it_is_the_order_of_the_seeds():
    """The same scores in another order give another bound: nobody may choose the order afterwards."""
    x = [0.2] * 5 + [0.9] * 45
    assert statistics.betting_lower(x, 0.01) != pytest.approx(statistics.betting_lower(x[::-1], 0.01), abs=0.01)


VALUES = (0.0, 0.5, 1.0)
PATHS = np.array(list(itertools.product(range(3), repeat=7)))


def enumerated_miss(bound):
    """Worst probability over laws on {0, 1/2, 1} that the bound of 7 draws exceeds the mean, exactly."""
    values = np.array([bound(np.array(VALUES)[path]) for path in PATHS])
    worst = 0.0
    for a, b in itertools.product(np.linspace(0, 1, 11), repeat=2):
        if a + b <= 1:
            p = np.array([a, b, max(0.0, 1 - a - b)])
            weight = p[PATHS].prod(1)
            worst = max(worst, float(weight @ (values > p @ VALUES + 1e-9)))
    return worst


def test_lower_bound_misses_with_probability_at_most_alpha():
    """All 2187 paths of seven three-valued draws, alpha = .2 (with less, seven draws prove little)."""
    assert enumerated_miss(lambda x: statistics.betting_lower(x, 0.2)) <= 0.2


def test_enumeration_rejects_student_t_and_bets_that_peek():
    """A t-interval fails, and so do bets that see the score they bet on."""

    def student(x):
        return x.mean() - stats.t.ppf(0.8, 6) * x.std(ddof=1) / math.sqrt(7)

    def peeking(x):
        for mu in np.linspace(0.99, 0.01, 99):
            bets = np.where(x > mu, 0.9 / mu, 0.0)  # decided after seeing x
            if np.prod(1 + bets * (x - mu)) >= 1 / 0.2:
                return float(mu)
        return 0.0

    assert enumerated_miss(student) > 0.3
    assert enumerated_miss(peeking) > 0.3


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(0.001, 0.3))
@settings(max_examples=60)
def test_paired_bounds_mirror_each_other(d, alpha):
    """Swapping the models swaps and negates the bounds; both enclose the observed difference."""
    lower, upper = statistics.paired_difference_lower(d, alpha), statistics.paired_difference_upper(d, alpha)
    assert -1 <= lower <= np.mean(d) + 1e-15
    assert np.mean(d) - 1e-15 <= upper <= 1
    assert statistics.paired_difference_lower([-x for x in d], alpha) == -upper


@pytest.mark.parametrize(("x", "expected"), [([0.0], 0.0), ([0.0] * 30, 0.0), ([1e-300] * 5, 0.0)])
def test_scores_at_zero_prove_nothing(x, expected):
    """The lower bound is 0, without a division by zero on the way."""
    assert statistics.betting_lower(x, 0.05) == pytest.approx(expected, abs=1e-250)


def test_one_draw_proves_little():
    """One perfect score gives a positive bound at most."""
    assert 0 <= statistics.betting_lower([1.0], 0.05) < 0.06


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.betting_lower([], 0.05), "shape of x"),
        (lambda: statistics.betting_lower([0.5, math.nan], 0.05), "x = nan"),
        (lambda: statistics.betting_upper([1.5], 0.05), "x = 1.5"),
        (lambda: statistics.betting_lower([0.5], 0.0), "alpha = 0.0"),
        (
            lambda: statistics.paired_difference_lower([-1.5], 0.05),
            r"d = -1.5: every entry must lie in \[-1, 1\]",
        ),
    ],
)
def test_impossible_scores_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
