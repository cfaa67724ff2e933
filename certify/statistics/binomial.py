"""Clopper-Pearson bounds, for independent 0/1 trials with equal or unequal success probabilities.

k and n are numbers or arrays that broadcast; numbers give a float, arrays an array. alpha is the failure
probability of the one statement. Lower bounds are rounded down, upper bounds up, by a relative 1e-12.

Source: Clopper and Pearson (1934). Unequal probabilities: Hoeffding (1956), Doerr, arXiv 1712.00519, and
docs/theory.md, "One-pass trials".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np
from scipy.special import betainccinv, betaincinv

from certify.statistics import ranges
from certify.statistics.rounding import round_down, round_up

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

LARGEST_ONE_PASS_ALPHA = 0.25
"""Above 1/4 the binomial no longer dominates unequal trials at k >= 2 (docs/theory.md, "One-pass trials")."""


class Interval(NamedTuple):
    """A lower and an upper confidence bound for one number."""

    lower: float
    upper: float


@overload
def clopper_pearson_lower(k: float, n: float, alpha: float) -> float: ...
@overload
def clopper_pearson_lower(k: ArrayLike, n: ArrayLike, alpha: float) -> FloatArray: ...
def clopper_pearson_lower(k: ArrayLike, n: ArrayLike, alpha: float) -> float | FloatArray:
    """Return the lower bound for p from k successes in n independent trials, each of probability p.

    Guarantee: with probability at least 1 - alpha over the trials, p >= the bound.

    BetaInv(alpha; k, n - k + 1); 0 at k = 0, alpha^(1/n) at k = n. Trials that share a noise draw are not
    independent: one trial is one draw. Raises InvalidInput unless 0 <= k <= n, n >= 1, 0 < alpha < 1.
    """
    successes, trials, level = _checked(k, n, alpha)
    return round_down(_lower(successes, trials, level))


@overload
def lower_tail(k: float, n: float, alpha: float) -> float: ...
@overload
def lower_tail(k: ArrayLike, n: ArrayLike, alpha: float) -> FloatArray: ...
def lower_tail(k: ArrayLike, n: ArrayLike, alpha: float) -> float | FloatArray:
    """Return 1 - `clopper_pearson_lower` without cancellation, rounded up (the bound itself, down).

    Guarantee: with probability at least 1 - alpha over the trials, 1 - p <= the value.

    Raises InvalidInput unless 0 <= k <= n, n >= 1, 0 < alpha < 1.
    """
    successes, trials, level = _checked(k, n, alpha)
    return ranges.plain(np.minimum(1.0, round_up(_tail(successes, trials, level))))


@overload
def clopper_pearson_upper(k: float, n: float, alpha: float) -> float: ...
@overload
def clopper_pearson_upper(k: ArrayLike, n: ArrayLike, alpha: float) -> FloatArray: ...
def clopper_pearson_upper(k: ArrayLike, n: ArrayLike, alpha: float) -> float | FloatArray:
    """Return the upper bound for p from k successes in n independent trials, each of probability p.

    Guarantee: with probability at least 1 - alpha over the trials, p <= the bound.

    BetaInv(1 - alpha; k + 1, n - k); 1 at k = n. Raises InvalidInput unless 0 <= k <= n, n >= 1, 0 < alpha
    < 1.
    """
    successes, trials, level = _checked(k, n, alpha)
    return ranges.plain(np.minimum(1.0, round_up(_tail(trials - successes, trials, level))))


def clopper_pearson_interval(k: int, n: int, alpha: float) -> Interval:
    """Return the two-sided interval for p, alpha / 2 on each side.

    Guarantee: with probability at least 1 - alpha over the trials, lower <= p <= upper.

    Raises InvalidInput unless 0 <= k <= n, n >= 1, 0 < alpha < 1.
    """
    half = ranges.failure_probability("alpha", alpha) / 2
    return Interval(clopper_pearson_lower(k, n, half), clopper_pearson_upper(k, n, half))


@overload
def one_pass_lower(k: float, n: float, alpha: float) -> float: ...
@overload
def one_pass_lower(k: ArrayLike, n: ArrayLike, alpha: float) -> FloatArray: ...
def one_pass_lower(k: ArrayLike, n: ArrayLike, alpha: float) -> float | FloatArray:
    """Return the lower bound for the mean success probability of n independent trials, equal or not.

    Guarantee: with probability at least 1 - alpha over the trials, (p_1 + ... + p_n) / n >= the bound.

    Clopper-Pearson, except alpha / n at k = 1 (union bound): Clopper-Pearson itself fails there, as
    p = (x, 0) shows at n = 2. Raises InvalidInput unless 0 <= k <= n, n >= 1, 0 < alpha <= 1/4.
    Source: Hoeffding (1956) for k >= 2.
    """
    successes, trials, level = _checked(k, n, alpha, LARGEST_ONE_PASS_ALPHA)
    return round_down(np.where(successes == 1, level / trials, _lower(successes, trials, level)))


@overload
def one_pass_upper(k: float, n: float, alpha: float) -> float: ...
@overload
def one_pass_upper(k: ArrayLike, n: ArrayLike, alpha: float) -> FloatArray: ...
def one_pass_upper(k: ArrayLike, n: ArrayLike, alpha: float) -> float | FloatArray:
    """Return the upper bound for the mean success probability of n independent trials, equal or not.

    Guarantee: with probability at least 1 - alpha over the trials, (p_1 + ... + p_n) / n <= the bound.

    `one_pass_lower` of the failures, reflected: 1 - alpha / n at k = n - 1. Raises InvalidInput unless
    0 <= k <= n, n >= 1, 0 < alpha <= 1/4.
    """
    successes, trials, level = _checked(k, n, alpha, LARGEST_ONE_PASS_ALPHA)
    failures = trials - successes
    bound = np.where(failures == 1, 1.0 - level / trials, _tail(failures, trials, level))
    return ranges.plain(np.minimum(1.0, round_up(bound)))


def _checked(k: ArrayLike, n: ArrayLike, alpha: float, largest: float = 1.0) -> tuple[FloatArray, FloatArray, float]:
    level = ranges.failure_probability("alpha", alpha, largest)
    successes, trials = ranges.counts("k", k), ranges.counts("n", n, smallest=1)
    ranges.require(bool(np.all(successes <= trials)), "k", k, f"must be at most n = {n!r}")
    return successes, trials, level


def _lower(k: FloatArray, n: FloatArray, alpha: float) -> FloatArray:
    inner = betaincinv(np.where(k == 0, 1.0, k), n - k + 1.0, alpha)
    return np.where(k == 0, 0.0, np.where(k == n, alpha ** (1.0 / n), inner))


def _tail(k: FloatArray, n: FloatArray, alpha: float) -> FloatArray:
    """1 - _lower: the same quantile from the other end, so that tails near 0 keep their digits."""
    inner = betainccinv(n - k + 1.0, np.where(k == 0, 1.0, k), alpha)
    return np.where(k == 0, 1.0, np.where(k == n, -np.expm1(math.log(alpha) / n), inner))
