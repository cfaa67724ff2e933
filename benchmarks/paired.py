"""What does the exact bound of a paired drop save, does it hold, how far off are its sums, and how long does it take?

Run `python benchmarks/paired.py`: the bounds and times of docs/theory.md; coverage by enumerating all outcomes of m
pairs over true drops (those just above each bound, and a grid) and 35 q at each; relative errors of 60 seeded sums
against mpmath at 40 digits.
"""

import time

import mpmath as mp
import numpy as np
from scipy.special import gammaln, xlogy

from certify.evidence import Requirement
from certify.evidence.feasibility import smallest_n
from certify.statistics import ceil_to, drop_bounds, trinomial, trinomial_drop_bounds

ALPHA = 0.05
COUNTS = (
    (160, 0, 0), (160, 3, 0), (160, 3, 2), (160, 4, 4), (163, 3, 4), (300, 8, 7), (1000, 30, 25), (10_000, 300, 250),
    (10_000, 3000, 2950),
)  # fmt: skip


def savings():
    """Print both upper bounds at 0.05, rounded up, and the time of the exact one."""
    print(f"{'items':>7} {'lost':>5} {'gained':>6} {'split':>8} {'exact':>8} {'ms':>6}")
    for m, lost, gained in COUNTS:
        start = time.perf_counter()
        exact = trinomial_drop_bounds(lost, gained, m, ALPHA).upper
        spent = (time.perf_counter() - start) / 2  # both sides
        split = drop_bounds(lost, gained, m, ALPHA).upper
        print(f"{m:7} {lost:5} {gained:6} {ceil_to(split, 4):8.4f} {ceil_to(exact, 4):8.4f} {1000 * spent:6.0f}")
    print("floor of drop <= 0.05:", smallest_n("point", Requirement(limit=0.05), ALPHA, 0.0), "items")


def coverage(m):
    """Print how often the bounds of m pairs are below the true drop at worst, and where the split ones are lower."""
    lost, gained = np.array([(a, b) for a in range(m + 1) for b in range(m + 1 - a)]).T
    ways = gammaln(m + 1) - gammaln(lost + 1) - gammaln(gained + 1) - gammaln(m - lost - gained + 1)
    pairs = list(zip(lost.tolist(), gained.tolist(), strict=True))
    exact, split = (np.array([f(a, b, m, ALPHA).upper for a, b in pairs]) for f in (trinomial_drop_bounds, drop_bounds))
    worst = np.zeros(2)
    for drop in np.concatenate([np.unique(exact[exact < 1]) + 1e-9, np.unique(split[split < 1]) + 1e-9]):
        low, high = max(0.0, -drop), (1.0 - drop) / 2
        q = np.concatenate([np.linspace(low, high, 25), low + np.geomspace(1e-4, 0.5, 10) * (high - low)])[:, None]
        same = np.maximum(1 - drop - 2 * q, 0.0)
        law = np.exp(
            ways + xlogy(lost, np.maximum(q + drop, 0)) + xlogy(gained, q) + xlogy(m - lost - gained, same)
        )
        worst = np.maximum(worst, [np.max(law @ (bounds < drop)) for bounds in (exact, split)])
    less = float(np.mean(split < exact))
    print(
        f"m = {m}: wrong with probability at most {worst[0]:.5f} (exact), {worst[1]:.5f} (split); mean of the upper "
        f"bounds {exact.mean():.4f} and {split.mean():.4f}; split is lower for {100 * less:.1f} % of the outcomes, by "
        f"at most {max(0.0, float(np.max(exact - split))):.4f}"
    )


def error_of_a_sum(rng):
    """Relative error of one probability, m up to 10,000, against the same outcomes summed at 40 digits."""
    m = int(10 ** rng.uniform(0.5, 4))
    moved = int(min(m, 10 ** rng.uniform(0, 1.8)))
    lost = int(rng.integers(0, moved + 1))
    found = trinomial._Outcomes(lost, moved - lost, m, 10 ** rng.uniform(-9, -1))
    q = rng.uniform(*found.q)
    drop = (2 * lost - moved) / m + rng.uniform(0, 4) * np.sqrt(moved + 3) / m
    drop = float(np.clip(drop, -q, 0.99 * (1 - q) - q))
    computed = found._probability(drop, np.array([q]))[0]
    computed = (computed - trinomial._CUT * found.alpha) / (1 + trinomial._NUMERICAL)
    p, q, exact = mp.mpf(drop) + mp.mpf(float(q)), mp.mpf(float(q)), mp.mpf(0)
    middle, reach = int(m * q), int(12 * (m * q) ** 0.5 + 40)
    for gained in range(max(0, middle - reach), min(m, middle + reach) + 1):
        most = int(min(m - gained, found._most_lost(np.array([float(gained)]))[0]))
        if most >= 0:
            ways = mp.binomial(m, gained)
            exact += ways * q**gained * (1 - q) ** (m - gained) * _below(most, m - gained, p / (1 - q))
    return abs(mp.mpf(float(computed)) / exact - 1), float(exact)


def _below(most, trials, p):
    term, total = (1 - p) ** trials, mp.mpf(0)
    for k in range(most + 1):
        total += term
        term *= mp.mpf(trials - k) / (k + 1) * p / (1 - p) if p < 1 else 0
    return total


def main():
    """Print all four."""
    savings()
    for m in (5, 10, 20, 40, 60):
        coverage(m)
    mp.mp.dps = 40
    rng = np.random.default_rng(0)
    found = [error for error, exact in (error_of_a_sum(rng) for _ in range(60)) if exact > 1e-12]
    worst = float(max(found))
    granted = trinomial._NUMERICAL / worst
    print(f"largest relative error of {len(found)} sums: {worst:.1e}; {granted:.0f} times that is granted")


if __name__ == "__main__":
    main()
