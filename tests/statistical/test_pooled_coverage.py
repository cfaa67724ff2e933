"""Pools of unlike benchmarks whose weighted drop is exactly the limit: valid ones keep alpha, broken ones do not.

Check and rejection as in test_coverage.py. The broken siblings count every item alike although the weights differ, and
read the items of an audit in an order that knows nothing of the weights.
"""

import math

import numpy as np
import pytest
from budget import check_coverage, power

from certify.evidence.paired_items import PairedScores, bounded_by, in_order, item_weights
from certify.records import BenchmarkIdentity, Part, Seed, identity_of_pool
from certify.statistics import trinomial_drop_bounds
from certify.statistics.audits import running_evidence

ALPHA = 0.05
BROKEN = 0.22  # false certificates of each broken sibling, at least
SIZES = pytest.mark.parametrize("repeats", [200, pytest.param(1000, marks=pytest.mark.statistical)])
POOLS = {
    "alike": [(100, 1, 0.05, 0.0), (100, 1, 0.05, 0.0)],
    "small one loses": [(1000, 1, 0.0, 0.0), (100, 1, 0.1, 0.0)],
    "one gains, one loses": [(150, 2, 0.2, 0.02), (300, 1, 0.01, 0.1), (80, 1, 0.03, 0.03)],
    "all churn": [(120, 1, 0.2, 0.15), (160, 3, 0.25, 0.2), (90, 1, 0.12, 0.1), (200, 2, 0.08, 0.05)],
    "a benchmark of five": [(5, 1, 0.5, 0.1), (400, 9, 0.04, 0.02)],
    "many": [(60, weight, 0.02 * weight, 0.01) for weight in (1, 2, 3, 4, 5, 6, 7, 8)],
}
"""Items, weight, probability that an item is lost, and that it is gained, of each benchmark."""
GRADED, GROUPED = "graded", "in groups"


def identity(benchmarks, rng, graded=False, groups=None):
    """A pool with digests of its own, so that its order is another one each time."""
    pool = tuple(
        Part(name=f"b{k}", items=items, weight=weight, chance=0.0, digest=f"sha256:{rng.integers(1 << 62):064x}")
        for k, (items, weight, *_) in enumerate(benchmarks)
    )
    return BenchmarkIdentity(
        name="suite", scoring="own", tokens=None, graded=graded, groups=groups, pool=pool, **identity_of_pool(pool)
    )


def drop_of(benchmarks):
    """The weighted mean of what the benchmarks lose."""
    return sum(w * (p - q) for _, w, p, q in benchmarks) / sum(w for _, w, _, _ in benchmarks)


def sample(name, rng):
    """Scores of a sample, and the drop that is true of what they were drawn from."""
    if name == GRADED:  # losses between 0 and 1 where half the weight is, right or wrong where the rest is
        benchmarks = [(150, 1, 0.0, 0.0), (60, 1, 0.1, 0.0)]
        x = np.concatenate([rng.beta(0.5, 4.5, 150), np.where(rng.random(60) < 0.1, 1.0, 0.0)])
        return PairedScores(**bounded_by(identity(benchmarks, rng, graded=True)), base=(1.0,) * 210,
                            checkpoint=tuple(1.0 - x)), 0.1  # fmt: skip
    if name == GROUPED:  # groups of 2, 5 or 8, lost whole, the first benchmark's last ones first
        sizes, lost = rng.choice([2, 5, 8], 60), np.sort(rng.random(60) < 0.1)[::-1]
        benchmarks = [(int(sizes.sum()), 1, 0.0, 0.0), (200, 2, 0.0, 0.0)]
        groups = (*np.repeat(np.arange(60), sizes).tolist(), *range(60, 260))
        x = np.concatenate([np.repeat(lost, sizes), rng.random(200) < 0.025])
        return PairedScores(**bounded_by(identity(benchmarks, rng, groups=groups)), base=(1.0,) * len(x),
                            checkpoint=tuple(1.0 - x)), 0.05  # fmt: skip
    benchmarks = POOLS[name]
    x = np.concatenate([rng.choice([1.0, -1.0, 0.0], m, p=[p, q, 1 - p - q]) for m, _, p, q in benchmarks])
    return PairedScores(**bounded_by(identity(benchmarks, rng)), base=tuple(np.where(x < 0, 0.0, 1.0)),
                        checkpoint=tuple(np.where(x > 0, 0.0, 1.0))), drop_of(benchmarks)  # fmt: skip


@SIZES
@pytest.mark.parametrize("name", [*POOLS, GRADED, GROUPED])
def test_bounds_keep_alpha_on_both_sides(repeats, name):
    """The upper bound lies below the true drop, and the lower one above it, no more often than promised."""
    rng, low, high = np.random.default_rng(1), 0, 0
    for _ in range(repeats):
        scores, drop = sample(name, rng)
        found = scores.drop(ALPHA)
        low, high = low + (found.upper < drop), high + (found.lower > drop)
    check_coverage(low, repeats, ALPHA)
    check_coverage(high, repeats, ALPHA)


@SIZES
def test_items_counted_alike_are_rejected(repeats):
    """The negative control: the exact bound of all items as one sample, where half the weight is on a tenth of them."""
    rng, count = np.random.default_rng(1), 0
    for _ in range(repeats):
        scores, drop = sample("small one loses", rng)
        count += trinomial_drop_bounds(scores.lost, scores.gained, scores.m, ALPHA).upper < drop
    assert count >= BROKEN * repeats
    assert power(repeats, ALPHA, BROKEN) >= 0.99
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, ALPHA)


def falsely_certified(repeats, name, weighted=True):
    """How often an audit of fixed items certifies a drop below the one that they have, before the last item."""
    rng, benchmarks = np.random.default_rng(2), POOLS[name]
    lost = [[(1.0, round(p * m)), (-1.0, round(q * m)), (0.0, m - round(p * m) - round(q * m))]
            for m, _, p, q in benchmarks]  # fmt: skip
    x = [value for each in lost for value, times in each for _ in range(times)]
    weights = item_weights(identity(benchmarks, rng).pool)
    tau, count = math.fsum(w * v for w, v in zip(weights, x, strict=True)), 0
    assert tau > 0.01
    for i in range(repeats):
        places = in_order(list(range(len(x))), Seed(value=f"{i:064x}"), weights if weighted else None)
        taken, own = np.array(x)[places], np.array(weights)[places]
        most = np.where(taken < 0, 0.0, 1.0)
        count += bool((running_evidence(taken[:-1], most, tau, own) >= math.log(1 / ALPHA)).any())
    return count


@SIZES
@pytest.mark.parametrize("name", POOLS)
def test_audits_keep_alpha(repeats, name):
    """Over the weighted orders that seeds draw, at a drop of exactly the limit."""
    check_coverage(falsely_certified(repeats, name), repeats, ALPHA)


@SIZES
def test_an_order_that_ignores_the_weights_is_rejected(repeats):
    """The negative control: a uniform order brings the items of the large benchmark, which lost none, too early."""
    count = falsely_certified(repeats, "small one loses", weighted=False)
    assert count >= BROKEN * repeats
    assert power(repeats, ALPHA, BROKEN) >= 0.99
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, ALPHA)


def test_the_samples_have_the_stated_drop():
    """Graded and grouped ones too, or the tests above would be about something else."""
    for name in (*POOLS, GRADED, GROUPED):
        rng = np.random.default_rng(3)
        drops = [scores.average(scores._by_unit(scores.losses)) - drop for scores, drop in
                 (sample(name, rng) for _ in range(300))]  # fmt: skip
        assert abs(np.mean(drops)) < 4.9 * np.std(drops) / math.sqrt(300) + 1e-9, name  # false alarm 1e-6


def test_a_weighted_order_takes_each_by_its_weight():
    """The first of three with weights 1, 2 and 5, and the second after the heaviest: against exact probabilities."""
    first, second, repeats = np.zeros(3), np.zeros(3), 4000
    for i in range(repeats):
        a, b, _ = in_order([0, 1, 2], Seed(value=f"{i:064x}"), [1.0, 2.0, 5.0])
        first[a] += 1
        second[b] += a == 2
    for found, expected, n in ((first, [1 / 8, 2 / 8, 5 / 8], repeats), (second, [1 / 3, 2 / 3, 0.0], first[2])):
        p = np.array(expected)
        assert (abs(found / n - p) <= 5.2 * np.sqrt(p * (1 - p) / n)).all()  # six comparisons, false alarm 1.2e-6
