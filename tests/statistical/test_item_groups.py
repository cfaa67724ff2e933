"""Items in groups: bounds that take each item for independent fail on them, the bound over groups keeps alpha.

Each of 100 groups has 2, 5 or 8 items, a tenth of groups loses all of them, whatever its size, and the file is sorted
by that: the true drop, over groups as over items, is exactly the limit, so a certificate is false. Check and rejection
as in test_coverage.py.
"""

import numpy as np
import pytest
from budget import check_coverage, power

from certify.evidence.paired_items import PairedScores
from certify.records import BenchmarkIdentity, order_of

ALPHA, GROUPS, LIMIT = 0.05, 100, 0.1
BROKEN = 0.2  # false certificates of a bound over items, and of groups in the file's order, at least
SIZES = pytest.mark.parametrize("repeats", [300, pytest.param(3000, marks=pytest.mark.statistical)])


def groups_of_losses(rng):
    """The size of each group and whether it is lost, lost ones last."""
    return rng.choice([2, 5, 8], GROUPS), np.sort(rng.random(GROUPS) < LIMIT)


def false_certificates(repeats, grouped=True, ordered=True, seed=1):
    """How often the drop is certified below the limit that it truly is."""
    rng, count = np.random.default_rng(seed), 0
    for i in range(repeats):
        sizes, lost = groups_of_losses(rng)
        groups = tuple(np.repeat(np.arange(GROUPS), sizes).tolist()) if grouped else None
        benchmark = BenchmarkIdentity(
            name="passages", items=sizes.sum(), scoring="own", chance=0.0, groups=groups,
            digest=f"sha256:{rng.integers(1 << 62):064x}", tokens=f"sha256:{i:064x}",
        )  # fmt: skip
        checkpoint = tuple(1.0 - np.repeat(lost, sizes))
        pairs = PairedScores(
            rule="trinomial", order=order_of(benchmark) if ordered else None, groups=groups,
            base=(1.0,) * len(checkpoint), checkpoint=checkpoint,
        )  # fmt: skip
        count += pairs.drop(ALPHA).upper < LIMIT
    return count


@SIZES
def test_a_bound_over_groups_keeps_alpha(repeats):
    """100 groups, alpha = .05: no more false certificates than promised."""
    check_coverage(false_certificates(repeats), repeats, ALPHA)


@SIZES
@pytest.mark.parametrize("broken", [{"grouped": False}, {"ordered": False}], ids=["items", "order of the file"])
def test_bounds_that_ignore_what_goes_together_do_not(repeats, broken):
    """The negative controls: each item for itself, and groups in a sorted file's order; the same check rejects both."""
    count = false_certificates(repeats, **broken)
    assert count >= BROKEN * repeats
    assert power(repeats, ALPHA, BROKEN) >= 0.999
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, ALPHA)


def test_the_population_has_the_stated_drop():
    """Over groups and over items alike, or the tests above would be about something else."""
    rng = np.random.default_rng(0)
    drawn = [groups_of_losses(rng) for _ in range(2000)]
    assert np.mean([lost.mean() for _, lost in drawn]) == pytest.approx(LIMIT, abs=0.003)  # 4.5 standard errors
    # Losses are sorted and sizes are not, so each group's size is drawn for itself.
    of_items = [np.average(lost, weights=sizes) for sizes, lost in drawn]
    assert np.mean(of_items) == pytest.approx(LIMIT, abs=0.004)
