"""How often do tempting mistakes lie? The numbers of docs/fooling-yourself.md.

Run `python benchmarks/fooling.py`: one Markdown table, the same at every run (exact where "exact" is said, otherwise
simulated with fixed seeds). A row says how often the claim is wrong, for the mistake and for the right function;
the nominal rate is alpha.
"""

import functools
import math

import numpy as np
from scipy import stats

from certify import statistics
from certify.statistics import attempt_alpha

REPEATS = 4000


def collapsing_scores(rng, n, rate, items=1000):
    """Scores of n draws: near .85, but a share `rate` of draws collapses to U(0, .3). And their true mean."""
    x = np.clip(rng.normal(0.85, 0.02, n), 0, 1)
    x = np.where(rng.random(n) < rate, rng.uniform(0, 0.3, n), x)
    return np.round(x * items) / items, (1 - rate) * 0.85 + rate * 0.15


def wrong_rates(seed, n, rate, *methods):
    """How often each method's lower bound for the mean is above the mean."""
    rng = np.random.default_rng(seed)
    wrong = np.zeros(len(methods))
    for _ in range(REPEATS):
        x, mean = collapsing_scores(rng, n, rate)
        wrong += [method(x) > mean for method in methods]
    return wrong / REPEATS


def pooling():
    """100 draws x 1000 items as if 100,000 independent trials; 3 % of draws collapse."""
    return wrong_rates(
        1, 100, 0.03,
        lambda x: statistics.clopper_pearson_lower(int(np.round(x.sum() * 1000)), len(x) * 1000, 0.01),
        lambda x: statistics.score_band(x, 0.01).mean_lower(),
    )  # fmt: skip


def student_t():
    """A t-interval, and a percentile bootstrap of 500 resamples, of 50 draws; 1 % of draws collapse."""
    resample = np.random.default_rng(2).integers(0, 50, (500, 50))
    return wrong_rates(
        3, 50, 0.01,
        lambda x: x.mean() - stats.t.ppf(0.99, 49) * x.std(ddof=1) / math.sqrt(50),
        lambda x: np.quantile(x[resample].mean(1), 0.01),
        lambda x: statistics.betting_lower(x, 0.01),
    )  # fmt: skip


def peeking(p=0.8, alpha=0.05, draws=1000):
    """A bound looked at after each of 1000 draws, the best kept; exact, by dynamic programming."""
    alive, wrong = np.ones(1), 0.0
    for n in range(1, draws + 1):
        alive = np.convolve(alive, [1 - p, p])
        above = np.asarray(statistics.clopper_pearson_lower(np.arange(n + 1), n, alpha)) > p
        wrong, alive = wrong + float(alive[above].sum()), np.where(above, 0.0, alive)
    return wrong, statistics.GatePlan(p, 0.85, alpha, draws).type_one_error


def best_of_sigmas(count, n=400, alpha=0.05):
    """The best of several sigmas in a flat basin; exact, at the success probability where alpha is attained."""
    p = statistics.clopper_pearson_lower(385, n, alpha) * (1 - 1e-9)

    def any_wrong(level):
        k = np.arange(n + 1)
        right = np.asarray(statistics.clopper_pearson_lower(k, n, level)) <= p
        return 1 - float(stats.binom.pmf(k[right], n, p).sum()) ** count

    return any_wrong(alpha), any_wrong(alpha / count)


def table_of_floors(n=200, alpha=0.05):
    """Nineteen floors with a bound each, of which anyone may quote any; scores from Beta(8, 2)."""
    rng = np.random.default_rng(4)
    floors = np.linspace(0.05, 0.95, 19)
    truth, wrong = stats.beta.sf(floors, 8, 2), np.zeros(2)
    for _ in range(REPEATS):
        x = rng.beta(8, 2, n)
        each = np.asarray(statistics.clopper_pearson_lower((x[:, None] >= floors).sum(0), n, alpha))
        band = statistics.score_band(x, alpha)
        together = np.array([band.event_lower(float(t)) for t in floors])
        wrong += [np.any(each > truth), np.any(together > truth)]
    return wrong / REPEATS


def best_of_checkpoints(count=20, m=1000, alpha=0.05, tau=0.05):
    """Twenty checkpoints, each exactly at a drop that just must not pass, tried on the same items until one passes.

    Each loses 6 % of the items and gains 1 %; tried on one set of 1000 items. Right: attempt j at alpha / (j (j + 1)).
    """
    rng = np.random.default_rng(5)
    upper = functools.cache(lambda lost, gained, level: statistics.drop_bounds(lost, gained, m, level).upper)
    levels = [attempt_alpha(alpha, j) for j in range(1, count + 1)]
    wrong = np.zeros(2)
    for _ in range(REPEATS):
        lost, gained, _ = rng.multinomial(m, [0.06, 0.01, 0.93], count).T.tolist()
        wrong += [
            any(upper(worse, better, alpha) < tau for worse, better in zip(lost, gained, strict=True)),
            any(upper(*each) < tau for each in zip(lost, gained, levels, strict=True)),
        ]
    return wrong / REPEATS


def rows():
    """(mistake, design, alpha, rate of wrong claims, right function, its rate)."""
    pooled, band = pooling()
    student, bootstrap, betting = student_t()
    peeked, gate = peeking()
    floors, banded = table_of_floors()
    retried, halved = best_of_checkpoints()
    sigmas = {count: best_of_sigmas(count) for count in (2, 5, 10)}
    simulated = f"{REPEATS} repetitions"
    return [
        ("pooling draws and items", f"100 draws x 1000 items, {simulated}", 0.01, pooled, "score_band", band),
        ("Student-t", f"50 draws, {simulated}", 0.01, student, "betting_lower", betting),
        ("bootstrap", f"50 draws, {simulated}", 0.01, bootstrap, "betting_lower", betting),
        ("peeking", "after each of 1000 draws, p = .8, exact", 0.05, peeked, "BernoulliGate", gate),
        *((f"best of {count} sigmas", "400 draws each, exact", 0.05, wrong, f"alpha / {count} each", right)
          for count, (wrong, right) in sigmas.items()),
        ("any of 19 floors", f"200 draws, {simulated}", 0.05, floors, "ScoreBand.event_lower", banded),
        ("best of 20 checkpoints", f"1000 items, {simulated}", 0.05, retried, "attempt_alpha", halved),
    ]  # fmt: skip


def table():
    """The Markdown table, one string for each line."""
    lines = [
        "| mistake | design | alpha | wrong claims | instead | wrong claims |",
        "|---|---|---|---|---|---|",
    ]
    for mistake, design, alpha, wrong, right, rate in rows():
        lines.append(f"| {mistake} | {design} | {alpha:g} | {wrong:.3f} | `{right}` | {rate:.3f} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
