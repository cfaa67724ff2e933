"""The drop from paired items: exact coverage by enumeration of all outcomes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln

from certify import statistics
from certify.errors import InvalidInput

M = 14
CELLS = np.array([c for c in itertools.product(range(M + 1), repeat=3) if sum(c) <= M])  # lost, gained, both right


def probability(lost, gained, right):
    """Exact multinomial probability of each outcome."""
    p = np.array([lost, gained, right, max(0.0, 1 - lost - gained - right)])
    counts = np.column_stack([CELLS, M - CELLS.sum(1)])
    logs = np.where(counts == 0, 0.0, counts * np.log(np.maximum(p, 1e-300)))
    return np.exp(gammaln(M + 1) - gammaln(counts + 1).sum(1) + logs.sum(1))


LEVELS = (0.0, 0.02, 0.1, 0.3, 0.6), (0.0, 0.02, 0.1, 0.3), (0.0, 0.3, 0.6, 0.95)
TRUTHS = [truth for truth in itertools.product(*LEVELS) if sum(truth) <= 1.0]


def drop_misses(function, alpha):
    """Worst probability over the truths that the lower, and the upper, drop bound is wrong."""
    table = {c: function(c[0], c[1], M, alpha) for c in {(int(a), int(b)) for a, b, _ in CELLS}}
    lower, upper = (np.array([table[int(a), int(b)][side] for a, b, _ in CELLS]) for side in (0, 1))
    worst = [0.0, 0.0]
    for lost, gained, right in TRUTHS:
        p, drop = probability(lost, gained, right), lost - gained
        worst = [max(worst[0], p @ (lower > drop + 1e-10)), max(worst[1], p @ (upper < drop - 1e-10))]
    return worst


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.05])
def test_drop_bounds_miss_with_probability_at_most_alpha(alpha):
    """All outcomes of 14 items, 50 truths, each side alone."""
    assert max(drop_misses(statistics.drop_bounds, alpha)) <= alpha


def test_enumeration_rejects_drop_bounds_without_a_share_for_the_gains():
    """Taking the gains at face value, without a bound, misses too often on both sides."""

    def wrong(lost, gained, m, alpha):
        at_face_value = gained / m
        return (statistics.clopper_pearson_lower(lost, m, alpha) - at_face_value,
                statistics.clopper_pearson_upper(lost, m, alpha) - at_face_value)  # fmt: skip

    assert min(drop_misses(wrong, 0.05)) > 0.1


@st.composite
def paired(draw):
    """(lost, gained, items)."""
    m = draw(st.integers(1, 400))
    lost = draw(st.integers(0, m))
    return lost, draw(st.integers(0, m - lost)), m


@given(paired(), st.floats(0.001, 0.5))
def test_drop_bounds_surround_the_observed_drop_and_mirror_each_other(counts, alpha):
    """Swapping the models swaps and negates the bounds."""
    lost, gained, m = counts
    lower, upper = statistics.drop_bounds(lost, gained, m, alpha)
    assert -1 <= lower <= (lost - gained) / m <= upper <= 1
    assert statistics.drop_bounds(gained, lost, m, alpha) == pytest.approx((-upper, -lower), abs=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.drop_bounds(60, 50, 100, 0.05), r"lost \+ gained = 110: must be at most m = 100"),
        (lambda: statistics.drop_bounds(-1, 0, 100, 0.05), "lost = -1"),
        (lambda: statistics.drop_bounds(1, 0, 0, 0.05), "m = 0"),
        (lambda: statistics.drop_bounds(1, 0, 10, 0.6), "alpha = 0.6: must be at most 0.5"),
        (lambda: statistics.chance_corrected_retention(0.5, 0.2, 0.25), r"base = 0\.2: must be above chance"),
        (lambda: statistics.ratio_test_target(0.0, 0.2), r"rho = 0\.0: must be above 0"),
    ],
)
def test_impossible_counts_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()


@given(st.floats(0.01, 1), st.floats(0, 0.9), st.floats(0, 1), st.floats(0, 1))
def test_ratio_target_is_met_exactly_where_retention_is(rho, chance, base, checkpoint):
    """E X >= target if and only if (s - c) >= rho (s0 - c)."""
    x = (checkpoint - rho * base + rho) / (1 + rho)
    margin = (checkpoint - chance) - rho * (base - chance)
    assert x - statistics.ratio_test_target(rho, chance) == pytest.approx(margin / (1 + rho), abs=1e-9)
