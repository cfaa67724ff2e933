"""The order of graded items: a sorted file is a known attack on betting bounds; the order from the seed withstands it.

Items are an independent sample from 20 subjects; the loss of an item is 0 or 1 in steps, its subject's share of losses
from 0 to twice the mean. The true drop is exactly the limit, so a certificate is false. The file is written sorted by
what each item lost, as a benchmark exported by difficulty or by subject is. Check and rejection as in test_coverage.py.
"""

import numpy as np
import pytest
from budget import check_coverage, power

from certify.evidence.paired_items import PairedScores
from certify.records import BenchmarkIdentity, order_of

ALPHA, ITEMS, LIMIT = 0.05, 200, 0.1
BROKEN = 0.25  # false certificates of the file's order, at least
SIZES = pytest.mark.parametrize("repeats", [300, pytest.param(3000, marks=pytest.mark.statistical)])


def sorted_losses(rng):
    """Losses in [0, 1] with mean LIMIT over the population, in the order of a file sorted by them."""
    share = rng.integers(0, 20, ITEMS) / 19 * 2 * LIMIT
    losses = np.minimum(1.0, share * rng.choice([0.0, 0.5, 1.5], ITEMS, p=[1 / 3, 1 / 3, 1 / 3]) / (2 / 3))
    return np.sort(losses)


def false_certificates(repeats, ordered, seed=1):
    """How often the drop is certified below the limit that it truly is."""
    rng, count = np.random.default_rng(seed), 0
    for i in range(repeats):
        losses = sorted_losses(rng)
        hexes = f"{rng.integers(1 << 62):064x}"
        benchmark = BenchmarkIdentity(
            name="graded", items=ITEMS, scoring="own", graded=True, chance=0.0, digest=f"sha256:{hexes}",
            tokens=f"sha256:{i:064x}",
        )  # fmt: skip
        order = order_of(benchmark) if ordered else None
        pairs = PairedScores(graded=True, order=order, base=(1.0,) * ITEMS, checkpoint=tuple(1.0 - losses))
        count += pairs.drop(ALPHA).upper < LIMIT
    return count


@SIZES
def test_the_order_from_the_seed_keeps_alpha(repeats):
    """m = 200, alpha = .05: no more false certificates than promised, whatever the order of the file."""
    check_coverage(false_certificates(repeats, ordered=True), repeats, ALPHA)


@SIZES
def test_the_order_of_a_sorted_file_does_not(repeats):
    """The negative control: in the file's own order the same check rejects."""
    count = false_certificates(repeats, ordered=False)
    assert count >= BROKEN * repeats
    assert power(repeats, ALPHA, BROKEN) >= 0.999
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, ALPHA)


def test_the_population_has_the_stated_drop():
    """Or the two tests above would be about something else."""
    rng = np.random.default_rng(0)
    means = [sorted_losses(rng).mean() for _ in range(2000)]
    assert np.mean(means) == pytest.approx(LIMIT, abs=4 * np.std(means) / 2000**0.5)
