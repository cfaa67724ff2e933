"""Coverage by simulation, each bound beside broken ones that the same check must reject.

Every check has a false-alarm budget of 1e-6 (budget.py), whatever the seed; seeds are fixed, so that a
failure stays. The power of each rejection is asserted to be at least .999 from the stated miss rate of the
broken bound. Short versions run by default, long ones with `pytest -m statistical`.
"""

import math

import numpy as np
import pytest
from budget import check_coverage, critical_misses, power
from scipy import stats
from toys import GENTLE, RARE

from certify import statistics
from certify.statistics import laws, layer_cake_looks

SIZES = pytest.mark.parametrize("repeats", [1000, pytest.param(20_000, marks=pytest.mark.statistical)])
SLOW_SIZES = pytest.mark.parametrize("repeats", [300, pytest.param(5000, marks=pytest.mark.statistical)])


def misses(toy, n, repeats, bound, truth, seed=1):
    """How often the bound of n fresh scores exceeds the truth."""
    rng = np.random.default_rng(seed)
    return sum(bound(toy.scores(rng, n)) > truth for _ in range(repeats))


def rejects(count, repeats, alpha, actual):
    """Whether the check rejects this count, having power >= .999 against the stated miss rate."""
    assert power(repeats, alpha, actual) >= 0.999
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, alpha)
    return True


# ------------------------------------------------------------------ one score per draw


@SIZES
@pytest.mark.parametrize("toy", [RARE, GENTLE], ids=["rare", "gentle"])
@pytest.mark.parametrize("r", [0.0, 1.0])
def test_layer_cake_covers_the_mean_at_every_distance(toy, r, repeats):
    """n = 50, alpha = .05, checkpoints along the cliff, where the bound is attained."""
    count = misses(toy, 50, repeats, lambda x: statistics.score_band(x, 0.05).mean_lower(r), toy.mean(r))
    check_coverage(count, repeats, 0.05)


@SIZES
def test_layer_cake_covers_a_checkpoint_and_floor_chosen_after_the_draws(repeats):
    """One event carries all: any of 13 distances and 19 floors may be chosen afterwards."""
    rng = np.random.default_rng(2)
    r, t = np.linspace(0, 3, 13), np.linspace(0.05, 0.95, 19)
    means, events = np.array([GENTLE.mean(each) for each in r]), GENTLE.survival(t)
    count = 0
    for _ in range(repeats):
        band = statistics.score_band(GENTLE.scores(rng, 50), 0.05)
        wrong_mean = np.any(band.mean_lower(r) > means)
        count += bool(wrong_mean or np.any([band.event_lower(f) > g for f, g in zip(t, events, strict=True)]))
    check_coverage(count, repeats, 0.05)


@SIZES
def test_clopper_pearson_with_the_floor_chosen_after_the_draws_is_rejected(repeats):
    """Whoever may pick among 19 floors afterwards can pick one that misses, if there is one."""
    rng = np.random.default_rng(2)
    t = np.linspace(0.05, 0.95, 19)
    truth, count = GENTLE.survival(t), 0
    for _ in range(repeats):
        k = (GENTLE.scores(rng, 50)[:, None] >= t).sum(0)
        count += bool(np.any(statistics.clopper_pearson_lower(k, 50, 0.05) > truth))
    assert rejects(count, repeats, 0.05, actual=0.2)


@SLOW_SIZES
@pytest.mark.parametrize("toy", [RARE, GENTLE], ids=["rare", "gentle"])
def test_betting_covers_the_mean(toy, repeats):
    """n = 50, alpha = .05."""
    check_coverage(misses(toy, 50, repeats, lambda x: statistics.betting_lower(x, 0.05), toy.mean()), repeats, 0.05)


@SLOW_SIZES
def test_betting_covers_a_paired_difference(repeats):
    """Checkpoint at r = .5 under the same noise as the base: D = J(z + .5) - J(z)."""
    rng = np.random.default_rng(3)
    truth, count = GENTLE.mean(0.5) - GENTLE.mean(), 0
    for _ in range(repeats):
        z = rng.standard_normal(50)
        d = stats.norm.cdf(GENTLE.a - GENTLE.b * (z + 0.5)) - stats.norm.cdf(GENTLE.a - GENTLE.b * z)
        count += statistics.paired_difference_lower(d, 0.05) > truth
    check_coverage(count, repeats, 0.05)


@SIZES
def test_student_t_is_rejected(repeats):
    """1 % of draws collapse: a t-interval that saw none is far too sure (misses about .5 at n = 50)."""

    def student(x):
        return x.mean() - stats.t.ppf(0.95, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))

    assert rejects(misses(RARE, 50, repeats, student, RARE.mean()), repeats, 0.05, actual=0.3)


@SIZES
def test_pooling_draws_and_items_is_rejected(repeats):
    """Clopper-Pearson on 50 draws x 200 items, as if they were 10,000 independent trials."""

    def pooled(x):
        return statistics.clopper_pearson_lower(int(np.round(200 * x).sum()), 200 * len(x), 0.05)

    assert rejects(misses(GENTLE, 50, repeats, pooled, GENTLE.mean()), repeats, 0.05, actual=0.3)


# ------------------------------------------------------------------ 0/1 trials

N, ALPHA = 400, 0.05
# The success probability at which Clopper-Pearson attains its level: just below one of its own values.
P = statistics.clopper_pearson_lower(385, N, ALPHA) * (1 - 1e-9)


def binomial_misses(bound, p, repeats, n=N, seed=4):
    """How often the bound of Bin(n, p) successes exceeds p."""
    k = np.random.default_rng(seed).binomial(n, p, repeats)
    return int(np.sum(np.asarray(bound(k, n)) > p))


@pytest.mark.parametrize("repeats", [4000, pytest.param(400_000, marks=pytest.mark.statistical)])
def test_clopper_pearson_attains_its_level_and_no_more(repeats):
    """At the worst p the miss is alpha exactly: the check passes, and would not with 1.5 alpha."""
    count = binomial_misses(lambda k, n: statistics.clopper_pearson_lower(k, n, ALPHA), P, repeats)
    check_coverage(count, repeats, ALPHA)
    assert power(repeats, ALPHA, 1.5 * ALPHA) > 0.95
    assert count > repeats * ALPHA - (critical_misses(repeats, ALPHA) - repeats * ALPHA)


@pytest.mark.parametrize("repeats", [4000])
def test_doubled_alpha_is_rejected(repeats):
    """A two-sided interval at alpha, read as two one-sided statements the wrong way round."""
    p = statistics.clopper_pearson_lower(385, N, 2 * ALPHA) * (1 - 1e-9)
    count = binomial_misses(lambda k, n: statistics.clopper_pearson_lower(k, n, 2 * ALPHA), p, repeats)
    assert rejects(count, repeats, ALPHA, actual=0.1)


@pytest.mark.parametrize("repeats", [2000])
def test_printing_rounded_up_is_rejected_and_printing_with_floor_to_is_not(repeats):
    """Two decimals at p = .8299, n = 1000: nearest or up says .83, and is wrong too often."""

    def up(k, n):
        return np.ceil(100 * statistics.clopper_pearson_lower(k, n, ALPHA)) / 100

    def floored(k, n):
        return [statistics.floor_to(float(each), 2) for each in statistics.clopper_pearson_lower(k, n, ALPHA)]

    assert rejects(binomial_misses(up, 0.8299, repeats, n=1000), repeats, ALPHA, actual=0.2)
    check_coverage(binomial_misses(floored, 0.8299, repeats, n=1000), repeats, ALPHA)


@SIZES
def test_best_of_ten_sigmas_is_rejected_and_a_ladder_is_not(repeats):
    """Ten sigmas in a flat basin, the best bound reported: 1 - .95^10 = .40; at alpha / 10 each it holds."""
    k = np.random.default_rng(5).binomial(N, P, (repeats, 10))
    best = np.asarray(statistics.clopper_pearson_lower(k, N, ALPHA)).max(1)
    assert rejects(int(np.sum(best > P)), repeats, ALPHA, actual=0.35)
    ladder = np.asarray(statistics.clopper_pearson_lower(k, N, ALPHA / 10)).max(1)
    check_coverage(int(np.sum(ladder > P)), repeats, ALPHA)


@SIZES
def test_peeking_is_rejected_and_planned_looks_are_not(repeats):
    """A look after every tenth of 1000 draws, the best kept, against five looks that share alpha."""
    k = np.random.default_rng(6).binomial(1, 0.8, (repeats, 1000)).cumsum(1)
    looks = np.arange(10, 1001, 10)
    peeked = np.asarray(statistics.clopper_pearson_lower(k[:, looks - 1], looks, ALPHA)).max(1)
    assert rejects(int(np.sum(peeked > 0.8)), repeats, ALPHA, actual=0.2)
    planned = np.column_stack(
        [statistics.clopper_pearson_lower(k[:, n - 1], n, share) for n, share in layer_cake_looks(1000, ALPHA)]
    )
    check_coverage(int(np.sum(planned.max(1) > 0.8)), repeats, ALPHA)


@SIZES
def test_one_pass_covers_unequal_items_and_a_shared_draw_is_rejected(repeats):
    """200 items of unequal difficulty under noise of their own hold; under one shared noise they fail."""
    rng = np.random.default_rng(7)
    edges = np.linspace(-0.5, 2.0, 200)
    truth = float(stats.norm.cdf(edges).mean())
    own = (rng.standard_normal((repeats, 200)) <= edges).sum(1)
    check_coverage(int(np.sum(statistics.one_pass_lower(own, 200, 0.05) > truth)), repeats, 0.05)
    shared = (rng.standard_normal((repeats, 1)) <= edges).sum(1)
    assert rejects(int(np.sum(statistics.one_pass_lower(shared, 200, 0.05) > truth)), repeats, 0.05, actual=0.3)


@SIZES
def test_radius_covers_the_distance_at_which_the_floor_is_lost(repeats):
    """At most alpha of the certified radii exceed the true one; of radii twice as large nearly all do."""
    p, floor = 0.9, 0.5
    true_radius = laws.certified_radius(p, floor)
    k = np.random.default_rng(8).binomial(200, p, repeats)
    radius = laws.certified_radius(statistics.clopper_pearson_lower(k, 200, 0.05), floor)
    check_coverage(int(np.sum(radius > true_radius)), repeats, 0.05)
    assert rejects(int(np.sum(2 * radius > true_radius)), repeats, 0.05, actual=0.9)


# ------------------------------------------------------------------ the check itself


def test_a_valid_bound_hardly_ever_fails_the_check():
    """The critical value keeps the false-alarm budget, and is no looser than one count."""
    for repeats, alpha in ((300, 0.05), (1000, 0.05), (20_000, 0.01)):
        critical = critical_misses(repeats, alpha)
        assert stats.binom.sf(critical - 1, repeats, alpha) <= 1e-6
        assert stats.binom.sf(critical - 2, repeats, alpha) > 1e-6
