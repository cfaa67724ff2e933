"""Clopper-Pearson bounds: against two other libraries, by exact enumeration, and at every end."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from certify import statistics
from certify.errors import InvalidInput

alphas = st.floats(1e-6, 0.5)


@st.composite
def outcomes(draw, largest=2000):
    """(successes, trials)."""
    n = draw(st.integers(1, largest))
    return draw(st.integers(0, n)), n


@given(outcomes(), alphas)
def test_bounds_equal_those_of_statsmodels_and_scipy(outcome, alpha):
    """One-sided at alpha is their two-sided interval at 2 alpha, or binomtest's one-sided one."""
    k, n = outcome
    lower, upper = statistics.clopper_pearson_lower(k, n, alpha), statistics.clopper_pearson_upper(k, n, alpha)
    assert (lower, upper) == pytest.approx(proportion_confint(k, n, 2 * alpha, method="beta"), rel=1e-9, abs=1e-12)
    test = stats.binomtest(k, n, alternative="greater").proportion_ci(1 - alpha, "exact")
    assert lower == pytest.approx(test.low, rel=1e-6, abs=1e-9)
    test = stats.binomtest(k, n, alternative="less").proportion_ci(1 - alpha, "exact")
    assert upper == pytest.approx(test.high, rel=1e-6, abs=1e-9)


@given(outcomes(), alphas)
def test_bounds_surround_the_observed_share(outcome, alpha):
    """0 <= L < k/n < U <= 1, up to the ends."""
    k, n = outcome
    lower, upper = statistics.clopper_pearson_lower(k, n, alpha), statistics.clopper_pearson_upper(k, n, alpha)
    assert 0 <= lower <= k / n <= upper <= 1


@given(st.integers(1, 300), alphas)
def test_bounds_increase_with_the_successes(n, alpha):
    """One more success never lowers a bound."""
    k = np.arange(n + 1)
    assert np.all(np.diff(statistics.clopper_pearson_lower(k, n, alpha)) > 0)
    assert np.all(np.diff(statistics.clopper_pearson_upper(k, n, alpha)) > 0)


@given(outcomes(), alphas)
def test_upper_bound_is_the_reflection_of_the_lower(outcome, alpha):
    """Counting failures instead of successes changes nothing, to the last claim digit."""
    k, n = outcome
    reflected = 1 - statistics.clopper_pearson_lower(n - k, n, alpha)
    assert statistics.clopper_pearson_upper(k, n, alpha) == pytest.approx(reflected, abs=3e-12)
    assert statistics.lower_tail(n - k, n, alpha) == statistics.clopper_pearson_upper(k, n, alpha)


@pytest.mark.parametrize("n", [1, 2, 100, 10**6, 10**12])
def test_tail_of_a_clean_run_keeps_its_digits(n):
    """1 - alpha^(1/n) is computed as a small number, not as a difference from 1."""
    assert statistics.lower_tail(n, n, 0.01) == pytest.approx(-math.expm1(math.log(0.01) / n), rel=1e-11)


@pytest.mark.parametrize("alpha", [1e-300, 1e-12, 0.01])
def test_one_draw_proves_as_much_as_alpha_allows(alpha):
    """One success in one draw proves p >= alpha, one failure p <= 1 - alpha."""
    assert statistics.clopper_pearson_lower(1, 1, alpha) == pytest.approx(alpha)
    assert statistics.clopper_pearson_lower(0, 1, alpha) == 0.0
    assert statistics.clopper_pearson_upper(0, 1, alpha) == pytest.approx(1 - alpha)
    assert statistics.clopper_pearson_upper(1, 1, alpha) == 1.0


def worst_miss(lower, n, alpha):
    """The largest probability that the lower bound exceeds p, over all p: just below its own values.

    The miss P(L(K) > p) = P(K >= k(p)) increases in p between two values of L, so its supremum is approached
    from below at the values themselves.
    """
    k = np.arange(1, n + 1)
    values = np.array([lower(int(each), n, alpha) for each in k])
    return float(special.betainc(k, n - k + 1.0, np.clip(values, 0, 1) * (1 - 1e-9)).max())


@pytest.mark.parametrize("n", [1, 2, 3, 10, 50, 300])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 1e-6])
def test_lower_bound_misses_with_probability_at_most_alpha_for_every_p(n, alpha):
    """Exact enumeration over outcomes, worst case over p; attained up to rounding."""
    miss = worst_miss(statistics.clopper_pearson_lower, n, alpha)
    assert miss <= alpha
    assert miss >= alpha * (1 - 1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda k, n, alpha: statistics.clopper_pearson_lower(k, n, 2 * alpha),
        lambda k, n, alpha: k / n - stats.norm.isf(alpha) * math.sqrt(k * (n - k) / n**3),
        lambda k, n, alpha: statistics.clopper_pearson_lower(k, n, alpha) + 0.0005,
        lambda k, n, alpha: math.ceil(1000 * statistics.clopper_pearson_lower(k, n, alpha)) / 1000,
    ],
    ids=["doubled alpha", "normal interval", "shifted", "rounded up"],
)
def test_enumeration_rejects_a_bound_that_is_too_high(wrong):
    """The check above fails for each of these."""
    assert worst_miss(wrong, 50, 0.05) > 0.05 * (1 + 1e-5)


def unequal_distribution(p):
    """Exact distribution of the number of successes of independent trials with probabilities p."""
    law = np.ones(1)
    for each in p:
        law = np.convolve(law, [1 - each, each])
    return law


def one_pass_miss(lower, p, alpha):
    """P(lower bound > mean p), exactly."""
    values = np.asarray(lower(np.arange(len(p) + 1), len(p), alpha))
    return float(unequal_distribution(p) @ (values > np.mean(p) * (1 + 1e-10)))


PROFILES = [
    [x if i < j else y for i in range(n)]
    for n in (2, 5, 20, 60) for j in sorted({1, 2, n // 2, n - 1})
    for x in (0.01, 0.2, 0.5, 0.9, 1.0) for y in (0.0, 0.05, 0.5, 1.0)
]  # fmt: skip


@pytest.mark.parametrize("alpha", [0.25, 0.05, 0.01])
def test_one_pass_bound_holds_for_adversarial_profiles(alpha):
    """Unequal probabilities, such as (x, 0, ..., 0) and (1, ..., 1, x): miss <= alpha by enumeration."""
    assert max(one_pass_miss(statistics.one_pass_lower, p, alpha) for p in PROFILES) <= alpha * (1 + 1e-9)


@pytest.mark.parametrize("alpha", [0.25, 0.05, 0.01])
def test_one_pass_upper_bound_holds_for_adversarial_profiles(alpha):
    """The reflected bound, on the reflected profiles."""

    def reflected(k, n, level):
        return 1 - np.asarray(statistics.one_pass_upper(n - k, n, level))

    assert max(one_pass_miss(reflected, p, alpha) for p in PROFILES) <= alpha * (1 + 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.001, 0.25))
def test_one_pass_bound_holds_for_any_profile(p, alpha):
    """Random profiles of up to forty trials."""
    assert one_pass_miss(statistics.one_pass_lower, p, alpha) <= alpha * (1 + 1e-9)


@pytest.mark.parametrize("alpha", [0.25, 0.05, 0.01])
def test_enumeration_rejects_plain_clopper_pearson_for_unequal_trials(alpha):
    """At k = 1 Clopper-Pearson fails for p = (x, 0): the reason for the alpha / n rule."""
    x = 2 * statistics.clopper_pearson_lower(1, 2, alpha) * (1 - 1e-6)
    assert one_pass_miss(statistics.clopper_pearson_lower, [x, 0.0], alpha) > alpha * 1.001
    assert one_pass_miss(statistics.one_pass_lower, [x, 0.0], alpha) <= alpha


def test_binomial_tail_at_its_step_is_at_least_a_quarter():
    """P(Bin(n, (k-1)/n) >= k) >= 1/4 for k >= 2: what the one-pass rule rests on, for all n up to 400."""
    for n in [*range(2, 401), 1000, 5000]:
        k = np.arange(2.0, n + 1)
        assert special.betainc(k, n - k + 1, (k - 1) / n).min() >= 0.25


def test_one_pass_bounds_differ_from_clopper_pearson_at_one_count_only():
    """At k = 1 for the lower, k = n - 1 for the upper bound; 1 - alpha/n there."""
    k = np.arange(31)
    lower, upper = statistics.one_pass_lower(k, 30, 0.05), statistics.one_pass_upper(k, 30, 0.05)
    assert np.flatnonzero(lower != statistics.clopper_pearson_lower(k, 30, 0.05)).tolist() == [1]
    assert np.flatnonzero(upper != statistics.clopper_pearson_upper(k, 30, 0.05)).tolist() == [29]
    assert upper[29] == pytest.approx(1 - 0.05 / 30)


def test_two_sided_interval_halves_alpha():
    """Each end is the one-sided bound at alpha / 2."""
    interval = statistics.clopper_pearson_interval(95, 100, 0.05)
    assert interval.lower == statistics.clopper_pearson_lower(95, 100, 0.025)
    assert interval.upper == statistics.clopper_pearson_upper(95, 100, 0.025)


@pytest.mark.parametrize(
    ("k", "n", "alpha", "message"),
    [
        (5, 4, 0.05, "k = 5: must be at most n = 4"),
        (-1, 4, 0.05, "k = -1.0: must be a whole number of at least 0"),
        (1.5, 4, 0.05, "k = 1.5: must be a whole number"),
        (math.nan, 4, 0.05, "k = nan"),
        (0, 0, 0.05, "n = 0.0: must be a whole number of at least 1"),
        (1, 4, 0.0, "alpha = 0.0: must lie strictly between 0 and 1"),
        (1, 4, 1.0, "alpha = 1.0"),
        (1, 4, math.nan, "alpha = nan: must be a number, not NaN"),
    ],
)
@pytest.mark.parametrize("bound", [statistics.clopper_pearson_lower, statistics.clopper_pearson_upper, statistics.lower_tail])
def test_impossible_counts_are_refused_by_name(bound, k, n, alpha, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        bound(k, n, alpha)


@pytest.mark.parametrize("bound", [statistics.one_pass_lower, statistics.one_pass_upper])
def test_one_pass_bounds_refuse_alpha_above_a_quarter(bound):
    """Beyond 1/4 nothing is proved."""
    with pytest.raises(InvalidInput, match=r"alpha = 0\.3: must be at most 0\.25"):
        bound(5, 10, 0.3)


def test_numbers_give_floats_and_arrays_keep_their_shape():
    """A number in, a float out."""
    assert type(statistics.clopper_pearson_lower(3, 10, 0.05)) is float
    assert statistics.clopper_pearson_upper(np.arange(4).reshape(2, 2), 10, 0.05).shape == (2, 2)
