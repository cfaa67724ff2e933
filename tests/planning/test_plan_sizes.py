"""Numbers of draws and distances within reach, against brute force and scipy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from certify import statistics
from certify.errors import InvalidInput, InvalidPlan
from certify.statistics import laws
from certify.statistics.sizes import smallest

alphas = st.floats(1e-6, 0.2)


@given(st.integers(0, 300), st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 0.1))
def test_the_search_finds_the_smallest_size_that_reaches(above, step, largest, spare):
    """Exactly for spare 0, too large by at most that share otherwise; None if nothing allowed reaches."""
    goal, most = above + step, above + largest
    found = smallest(lambda n: n >= goal, above, most, spare)
    if goal > most:
        assert found is None
    else:
        assert goal <= found <= most
        assert found - goal <= max(0.0, spare * found)
    assert smallest(lambda n: n >= goal, above, most) == (None if goal > most else goal)


@given(st.floats(0.05, 0.99), st.floats(0, 2.5), alphas)
def test_clean_draws_are_just_enough(q, r, alpha):
    """n clean draws certify q at r, n - 1 do not."""
    n = statistics.draws_zero_failures(q, r, alpha)
    need = laws.required_base_level(q, r)
    assert statistics.clopper_pearson_lower(n, n, alpha) >= need * (1 - 1e-9)
    assert n == 1 or statistics.clopper_pearson_lower(n - 1, n - 1, alpha) < need


def test_clean_draws_beyond_reach_are_refused():
    """At infinite or absurd distance there is no number of draws."""
    with pytest.raises(InvalidPlan, match="r = inf: no feasible number of draws"):
        statistics.draws_zero_failures(0.5, math.inf, 0.01)
    with pytest.raises(InvalidPlan, match=r"r = 40\.0"):
        statistics.draws_zero_failures(0.5, 40.0, 0.01)


@given(st.integers(0, 20), st.floats(0.05, 0.995), alphas)
def test_draws_with_failures_are_just_enough(c, p, alpha):
    """n draws with c failures certify p, n - 1 with as many do not."""
    n = statistics.draws_with_failures(c, p, alpha)
    assert statistics.clopper_pearson_lower(n - c, n, alpha) >= p
    assert n == c + 1 or statistics.clopper_pearson_lower(n - 1 - c, n - 1, alpha) < p


@pytest.mark.parametrize(("p0", "p1", "alpha", "power"), [(0.8, 0.9, 0.05, 0.8), (0.5, 0.6, 0.01, 0.9)])
def test_power_plan_agrees_with_scipy_over_all_sizes(p0, p1, alpha, power):
    """n_first is the first size with the power, and every size from n_hold on has it."""
    plan = statistics.draws_for_power(p0, p1, alpha, power, limit=1500)
    n = np.arange(1, 1500)
    k = stats.binom.isf(alpha, n, p0) + 1
    enough = (k <= n) & (stats.binom.sf(k - 1, n, p1) >= power)
    assert plan.n_first == n[np.argmax(enough)]
    assert plan.n_hold == n[np.flatnonzero(~enough)[-1] + 1]
    assert (plan.k_first, plan.k_hold) == (k[plan.n_first - 1], k[plan.n_hold - 1])
    assert stats.binom.sf(plan.k_hold - 1, plan.n_hold, p0) <= alpha


def test_a_level_that_rounding_cannot_reach_is_refused():
    """Bounds are rounded down by a relative 1e-12, so that no number of draws certifies more than that."""
    with pytest.raises(InvalidPlan, match="no feasible number of draws"):
        statistics.draws_with_failures(0, 1 - 1e-14, 0.05)


def test_power_beyond_the_limit_is_refused():
    """A hair's difference needs more draws than the limit."""
    with pytest.raises(InvalidPlan, match=r"power 0.9 needs more than 1000 draws"):
        statistics.draws_for_power(0.8, 0.801, 0.01, limit=1000)


@given(st.integers(1, 400), st.floats(0.01, 0.99), alphas)
@settings(max_examples=60)
def test_quantile_rank_is_the_largest_that_holds(n, level, alpha):
    """P(Bin(n, level) >= k) >= 1 - alpha for the rank, not for the next."""
    k = statistics.quantile_rank(n, level, alpha)
    assert 0 <= k <= n
    if k:
        assert stats.binom.sf(k - 1, n, level) >= 1 - alpha - 1e-12
    if k < n:
        assert stats.binom.sf(k, n, level) < 1 - alpha + 1e-12


@given(st.integers(1, 10**6), alphas)
def test_largest_radius_of_a_clean_run_has_a_closed_form(n, alpha):
    """Phi^-1(alpha^(1/n)) for q = 1/2, rounded down."""
    expected = -stats.norm.ppf(-math.expm1(math.log(alpha) / n))
    radius = statistics.largest_radius(n, 0, alpha)
    assert radius == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_failures_shrink_the_radius_and_total_failure_forbids_it():
    """More failures, less distance; -inf when nothing succeeded."""
    radii = statistics.largest_radius(100, [0, 1, 10, 100], 0.01)
    assert np.all(np.diff(radii) < 0)
    assert radii[-1] == -math.inf


@given(st.integers(2, 20))
def test_ladder_costs_distance(rungs):
    """Sharing alpha among sigmas never gains; one sigma costs nothing."""
    assert statistics.ladder_radius_cost(1000, 0.01, rungs) > statistics.ladder_radius_cost(1000, 0.01, rungs - 1) - 1e-15
    assert statistics.ladder_radius_cost(1000, 0.01, 1) == 0.0


def test_equal_sigmas_in_a_ladder_never_beat_one():
    """K copies of one sigma at alpha / K certify less than that sigma at alpha."""
    x = np.random.default_rng(3).beta(20, 3, 200)
    alone = statistics.score_band(x, 0.01).radius_for_mean(0.6)
    for rungs in (2, 3, 5):
        assert statistics.score_band(x, 0.01 / rungs).radius_for_mean(0.6) <= alone


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.draws_zero_failures(1.0, 1.0, 0.01), "q = 1.0"),
        (lambda: statistics.draws_zero_failures(0.5, -1.0, 0.01), "r = -1.0"),
        (lambda: statistics.draws_zero_failures(0.5, 1.0, 0.0), "alpha = 0.0"),
        (lambda: statistics.draws_with_failures(-1, 0.9, 0.01), "failures = -1"),
        (lambda: statistics.draws_for_power(0.8, 0.7, 0.01), "p1 = 0.7: must be above p0"),
        (lambda: statistics.quantile_rank(0, 0.5, 0.01), "n = 0"),
        (lambda: statistics.largest_radius(10, 11, 0.01), "k = "),
        (lambda: statistics.tolerated_ratio(10, 0.01, 0), "k = 0"),
        (lambda: statistics.ladder_radius_cost(10, 0.01, 0), "ladder = 0"),
    ],
)
def test_impossible_plans_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
