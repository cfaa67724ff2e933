"""Betting bounds for the mean of bounded scores, and for paired differences.

x holds one score per draw, in seed order; the order matters, so it is fixed by the seeds and never chosen.
Valid for independent scores of one law (or any sequence whose conditional means are constant). 0/1 trials
have the tighter Clopper-Pearson bound. Source: Waudby-Smith and Ramdas, arXiv 2010.09686; Ville's
inequality.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from certify.statistics import ranges
from certify.statistics.rounding import round_down, round_up

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

LARGEST_BET = 0.9
"""Share of the capital that one bet may lose; below 1, so that capital never reaches 0."""


def betting_lower(x: ArrayLike, alpha: float) -> float:
    """Return the lower bound for E X: sup of the means mu at which max_i K_i(mu) >= 1 / alpha.

    Guarantee: with probability at least 1 - alpha over the draws, E X >= the bound.

    K_i(mu) = prod_(s <= i) [1 + min(lambda_s, 0.9/mu) (X_s - mu)] with lambda_s = sqrt(2 ln(1/alpha) / (n
    v_(s-1))), planned for n draws; never above the sample mean. Every factor falls in mu, so bisection is
    exact; the lower end is returned, rounded down. x: shape (n,), in [0, 1], seed order. Raises
    InvalidInput otherwise.
    """
    scores, level = ranges.scores("x", x), ranges.failure_probability("alpha", alpha)
    bets = _bets(scores, level)
    goal = math.log(1.0 / level)
    rejected, open_end = 0.0, float(scores.mean())
    for _ in range(60):
        middle = (rejected + open_end) / 2
        if middle > 0.0 and _log_capital(scores, bets, middle).max() >= goal:
            rejected = middle
        else:
            open_end = middle
    return round_down(rejected)


def betting_upper(x: ArrayLike, alpha: float) -> float:
    """Return the upper bound for E X, 1 - betting_lower(1 - x, alpha), rounded up.

    Guarantee: with probability at least 1 - alpha over the draws, E X <= the bound.

    x: shape (n,), in [0, 1], seed order. Raises InvalidInput otherwise.
    """
    return min(1.0, round_up(1.0 - betting_lower(1.0 - ranges.scores("x", x), alpha)))


def paired_difference_lower(d: ArrayLike, alpha: float) -> float:
    """Return a lower bound for E D, 2 betting_lower((d + 1) / 2, alpha) - 1, rounded down.

    Guarantee: with probability at least 1 - alpha over the draws, E D >= the bound; with D = checkpoint -
    base under the same noise, the drop is at most minus the bound.

    d: shape (n,), in [-1, 1], seed order; a failure on either side counts as -1. The checkpoint must be made
    without these seeds. Raises InvalidInput otherwise.
    """
    differences = ranges.scores("d", d, low=-1.0)
    return max(-1.0, round_down(2.0 * betting_lower((differences + 1.0) / 2.0, alpha) - 1.0))


def paired_difference_upper(d: ArrayLike, alpha: float) -> float:
    """Return an upper bound for E D, minus `paired_difference_lower` of -d.

    Guarantee: with probability at least 1 - alpha over the draws, E D <= the bound.

    d: shape (n,), in [-1, 1], seed order; a failure on either side counts as 1 here. Raises InvalidInput
    otherwise.
    """
    return -paired_difference_lower(-ranges.scores("d", d, low=-1.0), alpha)


def _bets(x: FloatArray, alpha: float) -> FloatArray:
    """lambda_1 .. lambda_n before the cap; predictable: v_(s-1) uses scores before s only."""
    n = len(x)
    t = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    known = np.concatenate(([0.25], variance[:-1]))
    return np.sqrt(2.0 * math.log(1.0 / alpha) / (n * known))


def _log_capital(x: FloatArray, bets: FloatArray, mu: float) -> FloatArray:
    """ln K_1(mu) .. ln K_n(mu) for 0 < mu < 1."""
    return np.cumsum(np.log1p(np.minimum(bets, LARGEST_BET / mu) * (x - mu)))
