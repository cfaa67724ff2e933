"""The exact bound for a drop in paired items: coverage by enumeration, and a supremum that is proved, not sampled."""

from __future__ import annotations

import functools
import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, xlogy
from scipy.stats import binom

from certify import statistics
from certify.errors import InvalidInput, InvalidPlan
from certify.statistics import clopper_pearson_upper, drop_bounds, trinomial, trinomial_drop_bounds

ALPHA = 0.05


def outcomes(m):
    """Lost and gained of every outcome of m pairs."""
    return np.array([(lost, gained) for lost in range(m + 1) for gained in range(m + 1 - lost)])


def law(m, drop, q):
    """The probability of every outcome (columns) at each q (rows) and this drop."""
    lost, gained = outcomes(m).T
    ways = gammaln(m + 1) - gammaln(lost + 1) - gammaln(gained + 1) - gammaln(m - lost - gained + 1)
    q = np.atleast_1d(q)[:, None]
    same = np.maximum(1 - drop - 2 * q, 0.0)
    return np.exp(ways + xlogy(lost, np.maximum(q + drop, 0)) + xlogy(gained, q) + xlogy(m - lost - gained, same))


def all_q(drop, count):
    """From the smallest q that this drop allows to the largest, closer together near 0."""
    low, high = max(0.0, -drop), (1.0 - drop) / 2
    return np.unique(np.concatenate([np.linspace(low, high, count), low + np.geomspace(1e-4, 1, count) * (high - low)]))


def worst_miss(m, bounds, drops, count=25):
    """The largest probability, over true drops and q, that the bound lies below the truth."""
    return max(float(np.max(law(m, drop, all_q(drop, count)) @ (bounds < drop))) for drop in drops)


@functools.cache
def uppers(m, alpha=ALPHA):
    """The upper bound of every outcome."""
    return np.array([trinomial_drop_bounds(int(lost), int(gained), m, alpha).upper for lost, gained in outcomes(m)])


def hardest_drops(bounds):
    """True drops just above a bound, where every outcome with that bound misses, and a grid."""
    return np.concatenate([np.unique(bounds[bounds < 1]) + 1e-9, np.linspace(-0.97, 0.97, 49)])


@pytest.mark.parametrize("m", [1, 2, 7, 20, 30])
def test_the_upper_bound_misses_with_probability_at_most_alpha(m):
    """All outcomes, true drops at which most outcomes miss, fifty q each; and no more is given away than need be."""
    worst = worst_miss(m, uppers(m), hardest_drops(uppers(m)))
    assert 0.9 * ALPHA < worst <= ALPHA


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.01])
def test_so_it_does_at_other_alphas(alpha):
    """With the same order of outcomes."""
    assert worst_miss(12, uppers(12, alpha), hardest_drops(uppers(12, alpha))) <= alpha


def by_bisection(m, probability):
    """The bounds that bisecting in the drop gives for some probability(drop, place of the outcomes, gained)."""
    limits = np.array([lost - gained + 1.645 * np.sqrt(lost + gained + 2.353) for lost, gained in outcomes(m)])

    def bound(i):
        inside, short, enough = limits <= limits[i] + 1e-9, -1.0, 1.0
        while enough - short > 1e-6:
            middle = (short + enough) / 2
            low = probability(middle, inside, outcomes(m)[i][1] / m) <= ALPHA
            short, enough = (short, middle) if low else (middle, enough)
        return enough

    return np.array([bound(i) for i in range(len(limits))])


def test_enumeration_rejects_bisecting_at_the_q_that_was_observed():
    """The plug-in bound, without a supremum, misses twice as often as it says."""

    def plug_in(drop, inside, q):
        return float(law(12, drop, np.clip(q, max(0.0, -drop), (1 - drop) / 2))[0] @ inside)

    bounds = by_bisection(12, plug_in)
    assert worst_miss(12, bounds, hardest_drops(bounds)) > 1.5 * ALPHA


def test_enumeration_rejects_bisecting_with_a_few_q():
    """A coarse grid is no supremum."""

    def few(drop, inside, q):
        return float(np.max(law(12, drop, np.array([max(0.0, -drop), (1 - drop) / 2])) @ inside))

    bounds = by_bisection(12, few)
    assert worst_miss(12, bounds, hardest_drops(bounds)) > 1.5 * ALPHA


def test_with_all_q_bisecting_is_right():
    """The supremum over q falls in the drop: what makes bisecting wrong is a supremum that is none."""

    def all_of_them(drop, inside, q):
        return float(np.max(law(10, drop, all_q(drop, 40)) @ inside))

    bounds = by_bisection(10, all_of_them)
    assert np.all(uppers(10) < bounds + 1e-3)  # q near what was seen is less than all q
    assert worst_miss(10, bounds, hardest_drops(bounds)) <= ALPHA * 1.001


@st.composite
def paired(draw, most=300):
    """(lost, gained, items)."""
    m = draw(st.integers(1, most))
    lost = draw(st.integers(0, m))
    return lost, draw(st.integers(0, m - lost)), m


@given(paired(), st.floats(1e-6, 0.5))
@settings(max_examples=40)
@example((1, 0, 1), 0.05)
@example((0, 1, 1), 0.05)
@example((300, 0, 300), 0.05)
@example((0, 300, 300), 0.05)
@example((150, 150, 300), 0.05)
def test_bounds_surround_the_observed_drop_and_mirror_each_other(counts, alpha):
    """Swapping the models swaps and negates the bounds, exactly."""
    lost, gained, m = counts
    lower, upper = trinomial_drop_bounds(lost, gained, m, alpha)
    assert -1 <= lower <= (lost - gained) / m <= upper <= 1
    assert trinomial_drop_bounds(gained, lost, m, alpha) == (-upper, -lower)


@given(paired(100), st.floats(1e-6, 0.25))
@settings(max_examples=30)
def test_what_is_certified_at_some_alpha_is_so_at_twice_it(counts, alpha):
    """Bounds at alphas that far apart are nested, though the order of outcomes is that of alpha."""
    wide, narrow = trinomial_drop_bounds(*counts, alpha), trinomial_drop_bounds(*counts, 2 * alpha)
    assert wide.lower <= narrow.lower
    assert narrow.upper <= wide.upper


@given(paired(120), st.sampled_from([0.25, 0.05, 1e-3]))
@settings(max_examples=25)
def test_between_the_points_that_were_computed_nothing_rises_above_alpha(counts, alpha):
    """At the bound, 400 q by another summation; two steps below, some q is above alpha (unless 1 is the bound)."""
    lost, gained, m = counts
    upper = trinomial_drop_bounds(lost, gained, m, alpha).upper
    found = trinomial._Outcomes(lost, gained, m, alpha)
    step = 2.0 ** np.floor(np.log2(np.sqrt(lost + gained + 2.35) / m)) / 2048

    def likeliest(drop):
        low, high = max(found.q[0], -drop, 0.0), min(found.q[1], (1 - drop) / 2)
        each = np.arange(m + 1)
        most = np.minimum([found._most_lost(np.array([float(g)]))[0] for g in each], m - each)
        return max(
            float(np.sum(binom.pmf(each, m, q) * binom.cdf(most, m - each, min(1.0, (q + drop) / max(1 - q, 1e-300)))))
            for q in np.linspace(low, max(low, high), 400)
        )

    assert upper == 1 or likeliest(upper) <= alpha * (1 + 1e-9)
    assert upper == -1 or likeliest(max(-1.0, upper - 2 * step)) > alpha * (1 - 2e-3)


@pytest.mark.parametrize(("lost", "gained", "drop", "q"), [(3, 2, 0.1, 0.03), (0, 9, -0.1, 0.2), (25, 20, 0.2, 0.4)])
def test_its_sum_is_the_exact_one(lost, gained, drop, q):
    """Against fractions: no less than the sum is, and by no more than is granted to rounding."""
    m = 45
    found = trinomial._Outcomes(lost, gained, m, ALPHA)
    p, q_exact = Fraction(drop) + Fraction(q), Fraction(q)
    exact = Fraction(0)
    for b, a in itertools.product(range(m + 1), repeat=2):
        if a + b <= m and a <= found._most_lost(np.array([float(b)]))[0]:
            exact += comb(m, a) * comb(m - a, b) * p**a * q_exact**b * (1 - p - q_exact) ** (m - a - b)
    computed = float(found._probability(drop, np.array([q]))[0])
    assert float(exact) <= computed <= float(exact) * (1 + 2e-8) + 1e-11


SPLIT_AND_EXACT = {
    (160, 0, 0): (0.0228, 0.0186), (160, 3, 0): (0.0539, 0.0478), (160, 3, 2): (0.0523, 0.0389),
    (160, 4, 4): (0.0560, 0.0329), (163, 3, 4): (0.0462, 0.0283), (300, 8, 7): (0.0425, 0.0267),
    (1000, 30, 25): (0.0264, 0.0177), (10_000, 300, 250): (0.0116, 0.0089),
}  # fmt: skip


@pytest.mark.parametrize("counts", SPLIT_AND_EXACT, ids=str)
def test_known_bounds(counts):
    """Upper bounds at 0.05, rounded up; those of docs/theory.md."""
    m, lost, gained = counts
    found = (function(lost, gained, m, ALPHA).upper for function in (drop_bounds, trinomial_drop_bounds))
    assert tuple(statistics.ceil_to(x, 4) for x in found) == SPLIT_AND_EXACT[counts]


@pytest.mark.parametrize("m", [7, 20, 60, 300])
def test_where_nothing_is_gained_it_is_the_bound_of_the_lost(m):
    """Up to a drop of 1/2, but for the share of alpha that is paid for q, and the step: sizes with power rest on it."""
    for lost in range(0, m // 2, 1 + m // 30):
        alone = clopper_pearson_upper(lost, m, ALPHA * (1 - trinomial._SHARE_FOR_Q))
        if alone <= 0.5:
            upper = trinomial_drop_bounds(lost, 0, m, ALPHA).upper
            assert alone < upper < alone + 1.001 * trinomial._step(lost, m)


def test_many_pairs_are_answered():
    """Both ends of what is asked: much churn, and next to none."""
    assert 0.0172 < trinomial_drop_bounds(3000, 2950, 10_000, ALPHA).upper < 0.0178
    assert trinomial_drop_bounds(0, 0, 1_000_000, ALPHA).upper == pytest.approx(2.996e-6, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: trinomial_drop_bounds(60, 50, 100, 0.05), InvalidInput, r"lost \+ gained = 110: must be at most m ="),
        (lambda: trinomial_drop_bounds(-1, 0, 100, 0.05), InvalidInput, "lost = -1"),
        (lambda: trinomial_drop_bounds(0, 0.5, 100, 0.05), InvalidInput, r"gained = 0\.5"),
        (lambda: trinomial_drop_bounds(1, 0, 0, 0.05), InvalidInput, "m = 0"),
        (lambda: trinomial_drop_bounds(1, 0, 10, 0.6), InvalidInput, r"alpha = 0\.6: must be at most 0\.5"),
        (lambda: trinomial_drop_bounds(1, 0, 10, 0.0), InvalidInput, r"alpha = 0\.0"),
        (lambda: statistics.pairs_for_power(0.05, 0.05, 0.05), InvalidPlan, r"lost = 0\.05: power 0\.9 needs more"),
        (lambda: statistics.pairs_for_power(1.5, 0.05, 0.05), InvalidInput, r"drop = 1\.5"),
    ],
)
def test_impossible_counts_are_refused_by_name(call, error, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(error, match=message):
        call()
