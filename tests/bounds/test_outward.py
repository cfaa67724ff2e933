"""Floating point never helps a claim: every public bound lies on the safe side of its exact value."""

from fractions import Fraction
from math import comb

import mpmath
import numpy as np
import pytest

from certify import statistics
from certify.errors import InvalidInput
from certify.statistics import betting

RNG = np.random.default_rng(20_261_127)
COUNTS = [(int(RNG.integers(0, n + 1)), n) for n in RNG.integers(1, 60, 40).tolist()] + [(0, 9), (1, 9), (8, 9), (9, 9)]
ALPHAS = [1e-6, 0.003, 0.05, 0.25]


def tail(k, n, p):
    """P(Bin(n, p) >= k), exactly."""
    return sum((comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1)), Fraction(0))


def is_lower(bound, k, n, alpha):
    """Whether k successes or more have probability at most alpha where p is the bound: the true limit is no smaller."""
    return bound == 0.0 if k == 0 else tail(k, n, Fraction(bound)) <= Fraction(alpha)


def is_upper(bound, k, n, alpha):
    """The mirror: the failures."""
    return bound == 1.0 if k == n else tail(n - k, n, 1 - Fraction(bound)) <= Fraction(alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_limits_of_counts(k, n, alpha):
    """Clopper-Pearson, its tail and the one-pass bounds, against sums of exact fractions."""
    low, high = statistics.clopper_pearson_lower(k, n, alpha), statistics.clopper_pearson_upper(k, n, alpha)
    assert is_lower(low, k, n, alpha)
    assert is_upper(high, k, n, alpha)
    rest = statistics.lower_tail(k, n, alpha)
    assert rest == 1.0 if k == 0 else tail(k, n, 1 - Fraction(rest)) <= Fraction(alpha)
    both = statistics.clopper_pearson_interval(k, n, alpha)
    assert is_lower(both.lower, k, n, alpha / 2)
    assert is_upper(both.upper, k, n, alpha / 2)
    low, high = statistics.one_pass_lower(k, n, alpha), statistics.one_pass_upper(k, n, alpha)
    assert Fraction(low) <= Fraction(alpha) / n if k == 1 else is_lower(low, k, n, alpha)
    assert Fraction(high) >= 1 - Fraction(alpha) / n if k == n - 1 else is_upper(high, k, n, alpha)


def test_one_step_inwards_would_be_seen():
    """The check above refuses a limit that floating point moved inwards by a few times the claim's own step."""
    refused = [not is_lower(statistics.clopper_pearson_lower(k, n, 0.05) * (1 + 4e-12), k, n, 0.05)
               for k, n in COUNTS if k > 0]  # fmt: skip
    assert all(refused)


@pytest.mark.parametrize(("lost", "gained", "m"), [(0, 0, 5), (3, 1, 40), (7, 7, 50), (1, 0, 30), (20, 30, 50)])
def test_drops(lost, gained, m):
    """The difference of two outward limits is outward."""
    low, high = statistics.drop_bounds(lost, gained, m, 0.05)
    parts = [
        Fraction(f(k, m, 0.025)) for k in (lost, gained) for f in (statistics.one_pass_lower, statistics.one_pass_upper)
    ]
    assert Fraction(low) <= max(Fraction(-1), parts[0] - parts[3])
    assert Fraction(high) >= min(Fraction(1), parts[1] - parts[2])


def capital(x, bets, mu):
    """The largest capital on the way, in exact fractions of the floats that were bet."""
    found, most = Fraction(1), Fraction(0)
    for score, bet in zip(x, bets, strict=True):
        found *= 1 + min(Fraction(float(bet)), Fraction(9, 10) / mu) * (Fraction(float(score)) - mu)
        most = max(most, found)
    return most


@pytest.mark.parametrize("alpha", [0.001, 0.05])
@pytest.mark.parametrize("seed", range(6))
def test_betting_bounds_are_rejected_means(seed, alpha):
    """At the bound the exact capital has reached 1 / alpha; the upper bound is the mirror of one that has."""
    x = np.random.default_rng(seed).beta(8, 2, 30) if seed else np.ones(30)
    low = statistics.betting_lower(x, alpha)
    assert low > 0.0
    assert capital(x, betting._Rounds(x, ()).bets(alpha), Fraction(low)) >= 1 / Fraction(alpha)
    mirrored = 1.0 - x
    assert Fraction(statistics.betting_upper(mirrored, alpha)) >= 1 - Fraction(
        statistics.betting_lower(1.0 - mirrored, alpha)
    )
    d = 2.0 * x - 1.0
    halved = Fraction(statistics.betting_lower((d + 1.0) / 2.0, alpha))
    assert Fraction(statistics.paired_difference_lower(d, alpha)) <= 2 * halved - 1
    assert statistics.paired_difference_upper(-d, alpha) == -statistics.paired_difference_lower(d, alpha)


def moved(p, r):
    """Phi(Phi^-1(p) + r) with 50 digits."""
    return mpmath.ncdf(mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1) + mpmath.mpf(r))


@pytest.mark.parametrize("r", [1e-9, 0.1, 1.0, 3.5])
@pytest.mark.parametrize("p", [1e-4, 0.3, 0.77, 0.9999])
def test_laws(p, r):
    """A radius certifies its floor, a required level suffices, and the bounds of a band follow the law downwards."""
    with mpmath.workdps(50):
        floor = float(statistics.round_down(statistics.strong_lower(p, r)))
        assert floor <= moved(p, -r)
        assert float(statistics.round_up(statistics.strong_upper(p, r))) >= moved(p, r)
        assert float(statistics.round_up(statistics.strong_lower_tail(p, r))) >= moved(p, r)
        assert moved(p, -statistics.certified_radius(p, floor)) >= mpmath.mpf(floor)
        assert moved(statistics.required_base_level(floor, r), -r) >= mpmath.mpf(floor)
        assert statistics.weak_lower(p, r) <= moved(p, -r)
        assert statistics.weak_upper(p, r) >= moved(p, r)
        band = statistics.score_band([p] * 50, 0.05)
        levels = [mpmath.mpf(level) for level in band.levels]
        steps = np.diff(np.array(band.thresholds), prepend=0.0)
        exact = sum(mpmath.mpf(step) * moved(level, -r) for step, level in zip(steps, levels, strict=True))
        assert band.mean_lower(r) <= exact
        assert band.event_lower(p, r) <= moved(levels[0], -r)
        assert statistics.ceiling(50, 0.05, r) <= moved(levels[0], -r)


@pytest.mark.parametrize("c", [1e-4, 0.01, 0.3])
@pytest.mark.parametrize("x", [0.02, 0.5, 0.97, 1.0])
def test_relative_entropy(x, c):
    """The population's bound is no larger than the exact root: there the relative entropy is at least c."""
    low = statistics.kl_inverse_lower(x, c)
    with mpmath.workdps(50):
        mean, y = mpmath.mpf(x), mpmath.mpf(low)
        rest = 0 if x == 1.0 else (1 - mean) * mpmath.log((1 - mean) / (1 - y))
        assert mean * mpmath.log(mean / y) + rest >= c
    m = 100
    assert statistics.two_level_lower(x, 0.01, m) <= statistics.kl_inverse_lower(x, float(np.log(100)) / m) + 1e-15
    assert statistics.crossed_lower(x, 50, m, 0.01) == statistics.crossed_lower(x, m, 50, 0.01)


def test_distances_ratios_and_shares():
    """Outward as sums of exact squares and quotients of exact fractions."""
    norms, sigmas = RNG.random(200), RNG.random(200) + 0.01
    r = statistics.mahalanobis(norms, sigmas)
    assert Fraction(r) ** 2 >= sum(
        (Fraction(a) / Fraction(s)) ** 2 for a, s in zip(norms.tolist(), sigmas.tolist(), strict=True)
    )
    for bound, base, chance in RNG.random((200, 3)).tolist():
        top = 1 - (1 - base) * (1 - chance) / 2  # above chance
        found = statistics.chance_corrected_retention(bound, top, chance)
        assert Fraction(found) <= (Fraction(bound) - Fraction(chance)) / (Fraction(top) - Fraction(chance))
        target = statistics.ratio_test_target(bound, chance)
        assert Fraction(target) >= (Fraction(bound) + (1 - Fraction(bound)) * Fraction(chance)) / (1 + Fraction(bound))
    for j in range(1, 30):
        assert statistics.attempt_alpha(0.05, j) <= 0.05 / (j * (j + 1))


@pytest.mark.parametrize("d", [1, 10**6, 7 * 10**9])
def test_what_samplers_cost(d):
    """eta is no smaller than its formula."""
    for bits, grain in ((12, 9), (8, Fraction(3, 2))):
        rest = Fraction(statistics.eta_strict(d, bits)) - Fraction(grain) * Fraction(1, 2**53) * d
        assert rest**2 >= (Fraction(16) * Fraction(2) ** (bits - 52)) ** 2 * d
    with mpmath.workdps(50):
        exact = d * ((2 * int(9.2 * 2**12) + 1) * mpmath.mpf(2) ** -65 + 2 * mpmath.ncdf(mpmath.mpf("-9.2")))
        assert statistics.eta_table(d, 12) >= min(mpmath.mpf(1), exact) * (1 - mpmath.mpf(10) ** -12)


@pytest.mark.parametrize("value", ["abc", None, [1.0], object()])
def test_what_is_no_number_is_refused_by_name(value):
    """Whatever a caller hands over: the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=r"alpha = .*: must be a number"):
        statistics.clopper_pearson_lower(3, 9, value)
