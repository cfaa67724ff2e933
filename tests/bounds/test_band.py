"""The band and the bounds that follow from it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln

from certify import statistics
from certify.errors import InvalidInput
from certify.statistics import laws

samples = st.lists(st.floats(0, 1), min_size=1, max_size=60)
grades = st.lists(st.integers(0, 10).map(lambda k: k / 10), min_size=1, max_size=60)  # many ties
radii = st.floats(0, 4)


@given(st.one_of(samples, grades), radii)
@settings(max_examples=60)
def test_layer_cake_is_below_the_mean_and_the_best_score(x, r):
    """A lower bound is no higher than what was seen."""
    band = statistics.score_band(x, 0.05)
    assert 0 <= band.mean_lower(r) <= band.mean_lower(0.0) * (1 + 1e-14) <= np.mean(x) <= max(x) + 1e-15


@given(samples, radii)
@settings(max_examples=60)
def test_layer_cake_is_at_least_the_law_of_its_own_mean(x, r):
    """Jensen: h of the layers beats h of their sum."""
    band = statistics.score_band(x, 0.05)
    assert band.mean_lower(r) >= laws.strong_lower(band.mean_lower(0.0), r) * (1 - 1e-9)


@given(samples, radii, radii)
@settings(max_examples=60)
def test_bounds_fall_with_distance(x, r, s):
    """Mean, event and percentile are worth less farther away."""
    near, far = sorted((r, s))
    band = statistics.score_band(x, 0.05)
    assert band.mean_lower(far) <= band.mean_lower(near) * (1 + 1e-12)
    assert band.event_lower(0.5, far) <= band.event_lower(0.5, near) * (1 + 1e-12)
    assert band.percentile_lower(0.5, far) <= band.percentile_lower(0.5, near)


@given(samples, st.data(), radii)
@settings(max_examples=60)
def test_bounds_rise_with_every_score(x, data, r):
    """Raising one score lowers no bound."""
    index = data.draw(st.integers(0, len(x) - 1))
    raised = list(x)
    raised[index] = data.draw(st.floats(x[index], 1))
    low, high = statistics.score_band(x, 0.05), statistics.score_band(raised, 0.05)
    assert high.mean_lower(r) >= low.mean_lower(r) - 1e-12
    assert high.event_lower(0.5, r) >= low.event_lower(0.5, r)
    assert high.percentile_lower(0.3, r) >= low.percentile_lower(0.3, r)


@given(grades, st.randoms())
@settings(max_examples=40)
def test_order_of_draws_does_not_matter(x, random):
    """A band is a function of the sorted scores."""
    assert statistics.score_band(random.sample(x, len(x)), 0.05) == statistics.score_band(x, 0.05)


@given(st.integers(0, 60), st.integers(0, 60), radii)
@settings(max_examples=60)
def test_zero_one_scores_give_the_event_bound(ones, zeros, r):
    """For 0/1 scores the mean is the event J >= 1."""
    x = [1.0] * ones + [0.0] * zeros or [0.0]
    band = statistics.score_band(x, 0.05)
    assert band.mean_lower(r) == pytest.approx(band.event_lower(1.0, r), rel=1e-11, abs=1e-300)


@given(samples, st.floats(0.01, 1), radii)
@settings(max_examples=60)
def test_mean_is_at_least_the_floor_times_the_event(x, floor, r):
    """Markov, seen from the band."""
    band = statistics.score_band(x, 0.05)
    assert band.mean_lower(r) >= floor * band.event_lower(floor, r) - 1e-12


@given(samples, st.floats(0.05, 0.95), radii)
@settings(max_examples=60)
def test_percentile_and_event_say_the_same(x, q, r):
    """The certified q-level score is itself an event of bound q."""
    band = statistics.score_band(x, 0.05)
    score = band.percentile_lower(q, r)
    assert score == 0.0 or band.event_lower(score, r) >= q * (1 - 1e-11)


@given(samples, st.floats(0.01, 0.99))
@settings(max_examples=60)
def test_radius_is_the_safe_end_of_the_bisection(x, floor):
    """At the radius the floor holds, a little beyond it does not; None if it never does."""
    band = statistics.score_band(x, 0.05)
    radius = band.radius_for_mean(floor)
    if radius is None:
        assert band.mean_lower(0.0) < floor
    else:
        assert band.mean_lower(radius) >= floor
        assert band.mean_lower(radius + 1e-6) < floor


def test_floor_zero_has_no_radius_limit():
    """Every score is at least 0."""
    assert statistics.score_band([0.5] * 20, 0.05).radius_for_mean(0.0) == math.inf


@given(st.integers(1, 300), st.floats(1e-4, 0.3))
@settings(max_examples=40)
def test_levels_decrease_and_are_the_ceiling_of_perfect_scores(n, alpha):
    """g_1 > g_2 > ..., and h_r(g_1) is what all-ones data gives."""
    band = statistics.score_band(np.ones(n), alpha)
    assert np.all(np.diff(band.levels) < 0)
    assert band.mean_lower(1.0) == statistics.ceiling(n, alpha, 1.0)
    assert statistics.ceiling(n, alpha, math.inf) == 0.0


@given(samples)
@settings(max_examples=40)
def test_bonferroni_band_is_never_wider_in_claim(x):
    """The exact calibration dominates alpha / K at every rank."""
    exact, union = statistics.score_band(x, 0.05), statistics.score_band(x, 0.05, calibration="bonferroni")
    assert all(a >= b * (1 - 1e-6) for a, b in zip(exact.levels, union.levels, strict=True))


@given(samples, st.floats(0, 0.5), radii)
@settings(max_examples=40)
def test_eta_is_taken_from_every_level(x, eta, r):
    """Imperfect noise lowers each level by eta, not below 0."""
    plain, paid = statistics.score_band(x, 0.05), statistics.score_band(x, 0.05, eta=eta)
    assert paid.levels == pytest.approx([max(0.0, g - eta) for g in plain.levels], abs=1e-15)
    assert paid.mean_lower(r) <= plain.mean_lower(r)


@given(samples, radii)
@settings(max_examples=40)
def test_upper_bound_mirrors_the_lower(x, r):
    """1 - (bound of the losses); above the mean, rising with distance, 1 at infinity."""
    upper = statistics.mean_upper(x, 0.05, r)
    losses = [1 - each for each in x]
    assert upper == pytest.approx(1 - statistics.score_band(losses, 0.05).mean_lower(r), abs=3e-12)
    assert np.mean(x) <= upper + 1e-15 <= statistics.mean_upper(x, 0.05, r + 1) + 2e-12
    assert statistics.mean_upper(x, 0.05, math.inf) == 1.0


VALUES = np.array([0.0, 0.4, 1.0])
N = 16
OUTCOMES = np.array([(a, b, N - a - b) for a, b in itertools.product(range(N + 1), repeat=2) if a + b <= N])
LAWS = [p for p in itertools.product(np.linspace(0, 1, 11), repeat=2) if sum(p) <= 1]


def band_miss(bound, r):
    """Worst probability, over three-valued laws of the score, that the bound exceeds the true layer cake.

    Exact: all outcomes of 16 draws. The truth sum_k (v_k - v_(k-1)) h_r(P(J >= v_k)) is attained by the half-
    space arrangement, so exceeding it is a wrong claim for some checkpoint.
    """
    given_ = np.array([bound(np.repeat(VALUES, counts), r) for counts in OUTCOMES])
    worst = 0.0
    for first, second in LAWS:
        p = np.array([first, second, max(0.0, 1 - first - second)])
        survival = np.clip([1 - first, 1 - first - second], 0, 1)
        truth = np.diff(VALUES) @ laws.strong_lower(survival, r)
        logs = np.where(OUTCOMES == 0, 0.0, OUTCOMES * np.log(np.maximum(p, 1e-300))).sum(1)
        weight = np.exp(gammaln(N + 1) - gammaln(OUTCOMES + 1).sum(1) + logs)
        worst = max(worst, float(weight @ (given_ > truth + 1e-9)))
    return worst


@pytest.mark.parametrize("r", [0.0, 1.0])
@pytest.mark.parametrize("alpha", [0.3, 0.05])
def test_layer_cake_misses_with_probability_at_most_alpha(alpha, r):
    """Exact enumeration over scores with ties."""
    assert band_miss(lambda x, r: statistics.score_band(x, alpha).mean_lower(r), r) <= alpha


def test_enumeration_rejects_student_t_and_the_empirical_layer_cake():
    """Both miss far more often than the nominal 5 per cent."""

    def student(x, r):
        lower = x.mean() - stats.t.ppf(0.95, N - 1) * x.std(ddof=1) / math.sqrt(N)
        return laws.strong_lower(max(0.0, lower), r)

    def empirical(x, r):
        levels = [np.mean(x >= v) for v in VALUES[1:]]
        return np.diff(VALUES) @ laws.strong_lower(levels, r)

    assert band_miss(student, 0.0) > 0.15
    assert band_miss(empirical, 1.0) > 0.2


@pytest.mark.parametrize("x", [[0.0], [1.0], [0.0] * 30, [1.0] * 30, [0.5] * 30])
def test_degenerate_samples_have_a_bound(x):
    """One draw, all 0, all 1, all tied: finite, between 0 and the mean."""
    band = statistics.score_band(x, 0.05)
    assert 0 <= band.mean_lower(1.0) <= np.mean(x)
    assert band.event_lower(1.0, 1.0) >= 0
    assert band.percentile_lower(0.5) in {0.0, x[0]}


def test_array_of_distances_gives_an_array():
    """One bound for each distance, equal to single calls."""
    band = statistics.score_band([0.9, 0.8, 1.0, 0.7], 0.05)
    many = band.mean_lower(np.array([[0.0, 1.0], [2.0, math.inf]]))
    assert many.shape == (2, 2)
    assert many[0, 1] == band.mean_lower(1.0)
    assert many[1, 1] == 0.0
    assert type(band.mean_lower(1.0)) is float


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.score_band([], 0.05), "shape of scores"),
        (lambda: statistics.score_band([[0.5]], 0.05), r"must be \(n,\) with n >= 1"),
        (lambda: statistics.score_band([0.5, math.nan], 0.05), r"scores = nan: every entry must lie in \[0, 1\]"),
        (lambda: statistics.score_band([0.5, 1.5], 0.05), "scores = 1.5"),
        (lambda: statistics.score_band([0.5], 1.0), "alpha = 1.0"),
        (lambda: statistics.score_band([0.5], 0.05, eta=-0.1), "eta = -0.1"),
        (
            lambda: statistics.score_band([0.5], 0.05, calibration="guess"),
            "calibration = 'guess': must be one of",
        ),
        (lambda: statistics.score_band([0.5], 0.05).mean_lower(-1.0), "r = -1.0"),
        (lambda: statistics.score_band([0.5], 0.05).event_lower(1.5), "floor = 1.5"),
        (lambda: statistics.score_band([0.5], 0.05).percentile_lower(1.0), "q = 1.0"),
        (lambda: statistics.score_band([0.5], 0.05).radius_for_mean(math.nan), "floor = nan"),
        (lambda: statistics.ceiling(0, 0.05, 1.0), "n = 0"),
    ],
)
def test_impossible_scores_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
