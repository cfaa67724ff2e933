"""How far the bound of a pool of benchmarks lies from the sum of their own bounds: medians for docs/theory.md."""

from __future__ import annotations

import numpy as np

from certify.statistics import paired_difference_lower, trinomial_drop_bounds
from certify.statistics.audits import running_evidence

ALPHA, SAMPLES = 0.05, 200
POOLS = [
    ((160,), (1,), 0.0, 0.0),
    ((160,) * 2, (1,) * 2, 0.0, 0.0),
    ((160,) * 8, (1,) * 8, 0.0, 0.0),
    ((160,) * 8, (1,) * 8, 0.03, 0.02),
    ((160,) * 8, (1,) * 8, 0.1, 0.08),
    ((1000,) * 4, (1,) * 4, 0.03, 0.025),
    ((8000, 164), (1, 1), 0.0, 0.0),
    ((8000, 164), (1, 1), 0.02, 0.015),
    ((300, 2000, 160), (2, 7, 1), 0.02, 0.015),
    ((3, 1000), (1, 1), 0.0, 0.0),
]
"""Items of each benchmark, weights, and the probabilities that an item is lost and gained."""
AUDITED = [((2355, 164), (1, 1)), ((300, 2000, 160), (2, 7, 1))]


def pooled(losses: list[np.ndarray], shares: list[float]) -> float:
    """The upper bound of the weighted drop, in rounds."""
    strata = [(len(x), share) for x, share in zip(losses, shares, strict=True)]
    return -paired_difference_lower(-np.concatenate(losses), ALPHA, strata)


def each(losses: list[np.ndarray], shares: list[float]) -> float:
    """The weighted sum of the benchmarks' own bounds, at alpha/K each."""
    own = [trinomial_drop_bounds(int((x > 0).sum()), int((x < 0).sum()), len(x), ALPHA / len(losses)) for x in losses]
    return sum(share * bound.upper for share, bound in zip(shares, own, strict=True))


def medians() -> None:
    """Print a row for each pool."""
    rng = np.random.default_rng(0)
    print("| items | weights | lost | gained | own bounds, summed | pooled |")
    for items, weights, lost, gained in POOLS:
        shares, found = [w / sum(weights) for w in weights], []
        for _ in range(SAMPLES if lost else 1):
            x = [rng.choice([1.0, -1.0, 0.0], m, p=[lost, gained, 1 - lost - gained]) for m in items]
            found.append((each(x, shares), pooled(x, shares)))
        own, together = np.ceil(np.median(found, axis=0) * 1e4) / 1e4
        print(f"| {items} | {weights} | {lost} | {gained} | {own:.4f} | {together:.4f} |")


def audited() -> None:
    """Print after how many items an audit of benchmarks that lose nothing has certified a drop of at most .05."""
    rng = np.random.default_rng(0)
    for items, weights in AUDITED:
        each_item = np.concatenate([np.full(m, w / sum(weights) / m) for m, w in zip(items, weights, strict=True)])
        ends = []
        for _ in range(SAMPLES):
            own = each_item[np.argsort(rng.standard_exponential(len(each_item)) / each_item)]
            met = running_evidence(np.zeros(len(own)), np.ones(len(own)), 0.05, own) >= np.log(1 / ALPHA)
            ends.append(int(met.argmax()) + 1)
        print(f"audit of {items}, weights {weights}, nothing lost: {int(np.median(ends))} items")


if __name__ == "__main__":
    medians()
    audited()
