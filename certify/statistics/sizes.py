"""Exact numbers of draws, and the distances they reach. Source: docs/theory.md, "Planning" and "Vacuity"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np
from scipy.special import betainc, log_ndtr, ndtri

from certify.errors import InvalidPlan
from certify.statistics import ranges
from certify.statistics.binomial import clopper_pearson_lower
from certify.statistics.laws import certified_radius
from certify.statistics.rounding import round_down

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray


def smallest(reaches: Callable[[int], bool], above: int, largest: int, spare: float = 0.0) -> int | None:
    """Return the smallest n in (above, largest] that reaches, or None: by doubling, then by bisection.

    `reaches` must be monotone and not hold at `above` >= 0. With spare > 0 the result reaches, but may be too
    large by that share; None if `largest` does not reach.
    """
    short, enough = above, min(max(2 * above, 1), largest)
    while not reaches(enough):
        if enough >= largest:
            return None
        short, enough = enough, min(2 * enough, largest)
    while enough - short > max(1.0, spare * enough):
        middle = (short + enough) // 2
        short, enough = (short, middle) if reaches(middle) else (middle, enough)
    return enough


def draws_zero_failures(q: float, r: float, alpha: float) -> int:
    """Return the smallest n at which n clean 0/1 draws certify probability q at distance r.

    ceil(ln alpha / ln Phi(Phi^-1(q) + r)). q in (0, 1), r >= 0. Raises InvalidInput outside, InvalidPlan if
    no number of draws below 2^53 is enough (r = inf included).
    """
    level = ranges.failure_probability("alpha", alpha)
    target, distance = ranges.open_unit("q", q), float(ranges.distances("r", r))
    log_needed = -math.inf if math.isinf(distance) else float(log_ndtr(ndtri(target) + distance))
    draws = math.log(level) / log_needed if -math.inf < log_needed < 0.0 else math.inf
    if draws >= 2.0**53:
        raise InvalidPlan(f"r = {r!r}: no feasible number of draws certifies q = {q!r} at this distance")
    return math.ceil(draws)


def draws_with_failures(failures: int, p: float, alpha: float) -> int:
    """Return the smallest n at which n draws with this many failures certify p by Clopper-Pearson.

    failures >= 0, p in (0, 1). Raises InvalidInput outside, InvalidPlan if no number of draws below 2^53
    is enough.
    """
    c, target = ranges.count("failures", failures, smallest=0), ranges.open_unit("p", p)
    found = smallest(lambda n: clopper_pearson_lower(n - c, n, alpha) >= target, c, 2**53)
    if found is None:
        raise InvalidPlan(f"p = {p!r}: no feasible number of draws certifies it")
    return found


class PowerPlan(NamedTuple):
    """Sizes of a fixed 0/1 test; k is the number of successes that passes."""

    n_first: int
    k_first: int
    n_hold: int
    k_hold: int


def draws_for_power(p0: ArrayLike, p1: float, alpha: float, power: float = 0.9, limit: int = 20_000) -> PowerPlan:
    """Return the sizes at which the exact test of p <= p0 passes with the wanted power at p1.

    Guarantee: the test "at least k successes in n" passes with probability at most alpha over the draws if
    p <= p0, and at least `power` if p >= p1.

    n_first is the smallest such n; from n_hold on every n up to `limit` has the power (it saw-tooths): use
    n_hold. p0 is a number, or an array with the level of each n = 1, ..., limit - 1. Raises InvalidInput
    unless 0 <= p0 < p1 <= 1 (for an array, its last entry); InvalidPlan if the power does not hold by `limit`.
    """
    null, alternative = ranges.units("p0", p0), ranges.unit("p1", p1)
    largest_null = float(null.flat[-1])
    ranges.require(largest_null < alternative, "p1", p1, f"must be above p0 = {largest_null!r}")
    level, wanted = ranges.failure_probability("alpha", alpha), ranges.open_unit("power", power)
    n = np.arange(1.0, ranges.count("limit", limit, smallest=2))
    k = critical_counts(n, null, level)
    enough = (k <= n) & (_at_least(np.minimum(k, n), n, alternative) >= wanted)
    if not enough[-1]:
        raise InvalidPlan(f"p0 = {largest_null!r}, p1 = {p1!r}: power {power} needs more than {limit} draws")
    short = np.flatnonzero(~enough)
    first, hold = int(np.argmax(enough)), int(short[-1]) + 1 if short.size else 0
    return PowerPlan(int(n[first]), int(k[first]), int(n[hold]), int(k[hold]))


def quantile_rank(n: int, level: float, alpha: float) -> int:
    """Return the largest k for which the k-th smallest of n scores bounds the `level`-quantile from below.

    Guarantee: with probability at least 1 - alpha over n iid scores, the k-th smallest is at most that
    quantile.

    0 if there is no such rank. n >= 1, level in (0, 1). Raises InvalidInput otherwise.
    """
    size, quantile = ranges.count("n", n), ranges.open_unit("level", level)
    confidence = 1.0 - ranges.failure_probability("alpha", alpha)
    k = np.arange(1.0, size + 1)
    return int(np.count_nonzero(_at_least(k, np.full_like(k, size), quantile) >= confidence))


@overload
def largest_radius(n: int, failures: float, alpha: float, q: float = 0.5) -> float: ...
@overload
def largest_radius(n: int, failures: ArrayLike, alpha: float, q: float = 0.5) -> FloatArray: ...
def largest_radius(n: int, failures: ArrayLike, alpha: float, q: float = 0.5) -> float | FloatArray:
    """Return r_max, the largest distance at which n 0/1 draws with these failures certify probability q.

    In units of noise, rounded down; negative if not even r = 0 is certified. failures in [0, n], number or
    array. q in (0, 1). Raises InvalidInput otherwise.
    """
    missed, target = ranges.counts("failures", failures), ranges.open_unit("q", q)
    lower = clopper_pearson_lower(ranges.count("n", n) - missed, n, alpha)
    return ranges.plain(np.asarray(certified_radius(np.asarray(lower), target)))


def tolerated_ratio(n: int, alpha: float, k: int) -> float:
    """Return r_max / sqrt(k): certifiable ||delta|| over the norm of the noise, for noise on k coordinates.

    The vacuity ratio: with all weights of a large model noised it is about 1e-5. n, k >= 1. Raises
    InvalidInput otherwise.
    """
    return round_down(largest_radius(n, 0, alpha) / math.sqrt(ranges.count("k", k)))


def ladder_radius_cost(n: int, alpha: float, ladder: int) -> float:
    """Return how much r_max shrinks when `ladder` sigmas share alpha, in units of noise.

    n, ladder >= 1. Raises InvalidInput otherwise.
    """
    return largest_radius(n, 0, alpha) - largest_radius(n, 0, alpha / ranges.count("ladder", ladder))


def _at_least(k: FloatArray, n: FloatArray, p: float | FloatArray) -> FloatArray:
    """P(Bin(n, p) >= k) for 1 <= k <= n."""
    return np.asarray(betainc(k, n - k + 1.0, p), dtype=np.float64)


def critical_counts(n: FloatArray, p0: FloatArray, alpha: float) -> FloatArray:
    """Return for each n the smallest k with P(Bin(n, p0) >= k) <= alpha, n + 1 if even k = n is too likely."""
    low, high = np.zeros_like(n), n + 1.0  # low is too likely, high is not
    while np.any(high - low > 1.0):
        middle = np.floor((low + high) / 2)
        rare = _at_least(np.maximum(middle, 1.0), n, p0) <= alpha
        settled = high - low <= 1.0
        low, high = np.where(settled | rare, low, middle), np.where(settled | ~rare, high, middle)
    return high
