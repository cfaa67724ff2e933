"""Rank grids and their calibration, against a second algorithm and closed forms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from certify import statistics
from certify.errors import InvalidInput
from certify.statistics import ranks as ranks_module


def binomial_walk(n, ranks, caps):
    """P(U_(i_k) <= B_k for all k) by binomial steps: the number of points left of each cut, conditionally.

    Given j points so far, the next interval holds Bin(n - j, (c - s) / (1 - s)) more. No Poisson, no FFT.
    """
    alive, at = np.ones(1), 0.0
    for rank, cut in zip(ranks[::-1], 1 - np.asarray(caps, float)[::-1], strict=True):
        top = n - rank
        moved = np.zeros(top + 1)
        for j, weight in enumerate(alive[: top + 1]):
            share = max(0.0, (cut - at) / (1 - at)) if at < 1 else 0.0
            moved[j:] += weight * stats.binom.pmf(np.arange(top + 1 - j), n - j, share)
        alive, at = moved, max(at, cut)
    return float(alive.sum())


def caps_at(n, level, base):
    """B_k of the band at a local level."""
    ranks = np.array(statistics.geometric_ranks(n, base), float)
    return 1 - special.betaincinv(n - ranks + 1, ranks, level)


def test_products_of_polynomials_do_not_wrap():
    """The length just above a power of two is where a transform that is one short would fold the end onto the start."""
    rng = np.random.default_rng(5)
    for long, short in ((900, 126), (130, 128), (513, 512), (400, 300)):
        a, b = rng.random(long), rng.random(short)
        assert ranks_module._convolve(a, b) == pytest.approx(np.convolve(a, b), rel=1e-9)


@given(st.integers(1, 5000), st.floats(1.01, 5))
def test_ranks_start_at_one_and_grow_as_promised(n, base):
    """Increasing, within 1..n, each next rank within one of `base` times the last, or one more."""
    ranks = statistics.geometric_ranks(n, base)
    assert ranks[0] == 1
    assert ranks[-1] <= n
    for a, b in itertools.pairwise(ranks):
        assert a < b <= max(a * base, a + 1) + 1


def test_dense_ranks_are_all_ranks():
    """A base barely above 1 lists every rank of a small sample."""
    assert statistics.geometric_ranks(20, 1.0001) == tuple(range(1, 21))


@given(st.integers(1, 200), st.data())
def test_one_rank_is_a_beta_distribution(n, data):
    """P(U_(i) <= b) is the distribution function of Beta(i, n - i + 1)."""
    i, b = data.draw(st.integers(1, n)), data.draw(st.floats(0, 1))
    expected = special.betainc(i, n - i + 1, b)
    assert statistics.non_crossing_probability(n, [i], [b]) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 40), st.data())
@settings(max_examples=60)
def test_walk_agrees_with_binomial_steps(n, data):
    """Poisson conditioned on its total equals binomial steps, for any ranks and increasing caps."""
    ranks = sorted(data.draw(st.sets(st.integers(1, n), min_size=1, max_size=6)))
    caps = sorted(data.draw(st.lists(st.floats(0, 1), min_size=len(ranks), max_size=len(ranks))))
    assert statistics.non_crossing_probability(n, ranks, caps) == pytest.approx(
        binomial_walk(n, ranks, caps), abs=1e-12
    )


def test_two_uniforms_have_a_closed_form():
    """P(min <= a, max <= b) = b^2 - (b - a)^2 for a <= b."""
    assert statistics.non_crossing_probability(2, [1, 2], [0.3, 0.8]) == pytest.approx(0.8**2 - 0.5**2, abs=1e-14)


@given(st.integers(2, 120), st.floats(1e-6, 0.3), st.sampled_from([1.1, 1.25, 2.0]))
@settings(max_examples=25)
def test_calibrated_level_lies_between_bonferroni_and_alpha_and_holds_by_both_algorithms(n, alpha, base):
    """alpha / K <= a' <= alpha; the miss is at most alpha, and not much less."""
    level = statistics.local_level(n, alpha, base)
    assert statistics.bonferroni_level(n, alpha, base) * (1 - 1e-6) <= level <= alpha
    ranks, caps = statistics.geometric_ranks(n, base), caps_at(n, level, base)
    miss = 1 - statistics.non_crossing_probability(n, ranks, caps)
    second = 1 - binomial_walk(n, ranks, caps)
    assert miss <= alpha
    assert second <= alpha + 1e-12
    assert miss >= alpha * (1 - 1e-5) - 1e-12


@pytest.mark.parametrize("factor", [1.01, 2.0])
def test_the_second_algorithm_rejects_a_level_that_is_too_large(factor):
    """One per cent above the calibrated level, the band misses more often than alpha."""
    ranks, alpha = statistics.geometric_ranks(60), 0.05
    caps = caps_at(60, factor * statistics.local_level(60, alpha), 1.25)
    assert 1 - binomial_walk(60, ranks, caps) > alpha * (1 + 1e-4)


def test_levels_of_large_samples_agree_with_binomial_steps():
    """n = 300 with 23 ranks: both algorithms within 1e-12 of each other."""
    ranks, caps = statistics.geometric_ranks(300), caps_at(300, statistics.local_level(300, 0.01), 1.25)
    first = statistics.non_crossing_probability(300, ranks, caps)
    assert first == pytest.approx(binomial_walk(300, ranks, caps), abs=1e-12)


def test_tiny_alpha_and_single_draw_fall_back_to_the_union_bound():
    """Where the miss would drown in rounding, alpha / K is used; with one rank both agree."""
    ranks = len(statistics.geometric_ranks(1000))
    assert statistics.local_level(1000, 1e-9) == pytest.approx(1e-9 / ranks)
    assert statistics.local_level(1, 0.05) == 0.05


def test_more_draws_lower_the_common_level():
    """More ranks share the same alpha."""
    levels = [statistics.local_level(n, 0.01) for n in (10, 100, 1000)]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.geometric_ranks(0), "n = 0"),
        (lambda: statistics.geometric_ranks(10, 1.0), "base = 1.0: must be a finite number above 1"),
        (lambda: statistics.geometric_ranks(10, math.nan), "base = nan"),
        (lambda: statistics.local_level(10, 0.0), "alpha = 0.0"),
        (lambda: statistics.non_crossing_probability(5, [1, 2], [0.5]), "must agree"),
        (lambda: statistics.non_crossing_probability(5, [2, 2], [0.5, 0.5]), "must increase"),
        (lambda: statistics.non_crossing_probability(5, [6], [0.5]), "stay at or below n = 5"),
        (lambda: statistics.non_crossing_probability(5, [1], [1.5]), "bounds = 1.5"),
    ],
)
def test_impossible_grids_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
