"""Betting bounds for the mean of bounded scores, and for paired differences.

x holds one score per draw, in seed order; the order matters, so it is fixed by the seeds and never chosen.
Valid for independent scores of one law (or any sequence whose conditional means are constant). 0/1 trials
have the tighter Clopper-Pearson bound. Source: Waudby-Smith and Ramdas, arXiv 2010.09686; Ville's
inequality.

``strata``: x holds the scores of several populations one after the other, each given by (number of scores, weight), and
the mean that is bounded is the weighted mean of theirs. docs/theory.md, "Several benchmarks in one decision".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from certify.statistics import ranges
from certify.statistics.rounding import round_down, round_up

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

LARGEST_BET = 0.9
"""Share of the capital that one bet may lose; below 1, so that capital never reaches 0."""

Strata = Sequence[tuple[int, float]]


def betting_lower(x: ArrayLike, alpha: float, strata: Strata = ()) -> float:
    """Return the lower bound for E X: sup of the means mu at which max_i K_i(mu) >= 1 / alpha.

    Guarantee: with probability at least 1 - alpha over the draws, E X >= the bound; with ``strata``, the weighted
    mean of the populations' means is.

    K_i(mu) = prod_(s <= i) [1 + min(lambda_s, 0.9/mu) (X_s - mu)] with lambda_s = sqrt(2 ln(1/alpha) / (n
    v_(s-1))), planned for n draws; never above the sample mean. Every factor falls in mu, so bisection is
    exact; the lower end is returned, rounded down. x: shape (n,), in [0, 1], seed order. Raises
    InvalidInput otherwise.

    With ``strata`` one s is a round: scores of every population, as many rounds as the smallest one has scores. In it
    each score has a factor 1 + min(lambda_s, 0.9/(a mu)) a_i (x_i - mu), a_i the share that is left to it of its
    population's, a the largest of these.
    """
    scores, level = ranges.scores("x", x), ranges.failure_probability("alpha", alpha)
    rounds = _Rounds(scores, strata)
    bets = rounds.bets(level)
    goal = math.log(1.0 / level)
    rejected, open_end = 0.0, rounds.mean
    for _ in range(60):
        middle = (rejected + open_end) / 2
        if middle > 0.0 and rounds.log_capital(bets, middle).max() >= goal:
            rejected = middle
        else:
            open_end = middle
    return round_down(rejected)


def betting_upper(x: ArrayLike, alpha: float, strata: Strata = ()) -> float:
    """Return the upper bound for E X, 1 - betting_lower(1 - x, alpha), rounded up.

    Guarantee: with probability at least 1 - alpha over the draws, E X <= the bound.

    x: shape (n,), in [0, 1], seed order. Raises InvalidInput otherwise.
    """
    return min(1.0, round_up(1.0 - betting_lower(1.0 - ranges.scores("x", x), alpha, strata)))


def paired_difference_lower(d: ArrayLike, alpha: float, strata: Strata = ()) -> float:
    """Return a lower bound for E D, 2 betting_lower((d + 1) / 2, alpha) - 1, rounded down.

    Guarantee: with probability at least 1 - alpha over the draws, E D >= the bound; with D = checkpoint -
    base under the same noise, the drop is at most minus the bound.

    d: shape (n,), in [-1, 1], seed order; a failure on either side counts as -1. The checkpoint must be made
    without these seeds. Raises InvalidInput otherwise.
    """
    differences = ranges.scores("d", d, low=-1.0)
    return max(-1.0, round_down(2.0 * betting_lower((differences + 1.0) / 2.0, alpha, strata) - 1.0))


def paired_difference_upper(d: ArrayLike, alpha: float) -> float:
    """Return an upper bound for E D, minus `paired_difference_lower` of -d.

    Guarantee: with probability at least 1 - alpha over the draws, E D <= the bound.

    d: shape (n,), in [-1, 1], seed order; a failure on either side counts as 1 here. Raises InvalidInput
    otherwise.
    """
    return -paired_difference_lower(-ranges.scores("d", d, low=-1.0), alpha)


class _Rounds:
    """Scores in rounds: one each, or some of each population; their ``shares`` add up to 1 in every round."""

    def __init__(self, scores: FloatArray, strata: Strata) -> None:
        sizes = [size for size, _ in strata] or [len(scores)]
        ranges.require(sum(sizes) == len(scores) and min(sizes) > 0, "strata", list(strata), "must divide the scores")
        weights = np.array([ranges.positive("weight", weight) for _, weight in strata] or [1.0])
        n = min(sizes)
        of = np.concatenate([np.arange(size) * n // size for size in sizes])  # of as equal numbers of each as may be
        owner = np.repeat(np.arange(len(sizes)), sizes)
        count = np.stack([np.bincount(of[owner == k], minlength=n) for k in range(len(sizes))])
        order = np.argsort(of, kind="stable")
        each = (weights / weights.sum())[:, None] / count
        self.scores, self.shares = scores[order], each[owner, of][order]
        self.starts, self.of = np.searchsorted(of[order], np.arange(n)), of[order]
        self.sums = np.add.reduceat(self.shares * self.scores, self.starts)
        self.spread = 0.25 * float((count * each**2).sum() / n)
        self.largest = each.max(axis=0)
        self.mean = float(scores.mean()) if len(sizes) == 1 else float(self.sums.mean())

    def bets(self, alpha: float) -> FloatArray:
        """lambda_1 .. lambda_n before the cap; predictable: v_(s-1) uses rounds before s only."""
        n, t = len(self.sums), np.arange(1, len(self.sums) + 1)
        mean = (0.5 + np.cumsum(self.sums)) / (t + 1)
        variance = (self.spread + np.cumsum((self.sums - mean) ** 2)) / (t + 1)
        known = np.concatenate(([self.spread], variance[:-1]))
        return np.sqrt(2.0 * math.log(1.0 / alpha) / (n * known))

    def log_capital(self, bets: FloatArray, mu: float) -> FloatArray:
        """ln K_1(mu) .. ln K_n(mu) for 0 < mu < 1."""
        stakes = np.minimum(bets, LARGEST_BET / mu / self.largest)[self.of] * self.shares
        return np.cumsum(np.add.reduceat(np.log1p(stakes * (self.scores - mu)), self.starts))
