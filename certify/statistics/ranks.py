"""Rank grids and their calibration: the level at which a whole band of order statistics holds at once.

Let U_(1) <= ... <= U_(n) be n sorted uniforms. The band at local level a' holds when U_(i) <= B_i(a') for
every rank i of the grid, B_i(a') the (1 - a')-quantile of U_(i). `local_level` finds the largest a' that
keeps the probability of a miss below alpha, exactly. Source: docs/theory.md, "Rank-grid band".
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv, gammaln, kl_div

from certify.errors import InvalidPlan
from certify.statistics import ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certify.statistics.ranges import FloatArray

_WALK_ERROR = 1e-15  # allowed for rounding in the walk, times n; measured below 1e-16 n
_SMALLEST_EXACT_ALPHA = 1e-8  # below it, or below 100 walk errors, `local_level` is alpha / K


def geometric_ranks(n: int, base: float = 1.25) -> tuple[int, ...]:
    """Return ranks 1, 2, 3, ... that grow by the factor `base` and at least by one, none above n.

    n >= 1 draws, base > 1, fixed before drawing. Raises InvalidInput otherwise.
    """
    size = ranges.count("n", n)
    ranges.require(1.0 < base < math.inf, "base", base, "must be a finite number above 1")
    found, v = [], 1.0
    while v <= size + 1e-9:  # 1e-9: products such as 10 * 1.1 miss a whole number by an ulp
        found.append(math.ceil(v - 1e-9))
        v = max(v * base, v + 1.0)
    return tuple(found)


def non_crossing_probability(n: int, ranks: Sequence[int], bounds: Sequence[float]) -> float:
    """Return P(U_(i_k) <= B_k for all k), for n sorted uniforms; exact up to n * 1e-15.

    n >= 1; ranks: increasing whole numbers in [1, n]; bounds: B_k in [0, 1], one for each rank. Raises
    InvalidInput otherwise. Method: with V = 1 - U the event is #{V < 1 - B_k} <= n - i_k for all k; count the
    points of a Poisson process of rate n from the left, drop the paths that violate, condition on n points.
    """
    size = ranges.count("n", n)
    grid = ranges.counts("ranks", ranks, smallest=1).astype(int)
    caps = ranges.units("bounds", bounds)
    shapes = (grid.shape, caps.shape)
    same = grid.ndim == 1 and grid.size >= 1 and grid.shape == caps.shape
    ranges.require(same, "shapes of ranks and bounds", shapes, "must agree, (K,) with K >= 1")
    increasing = bool(np.all(np.diff(grid) > 0)) and int(grid[-1]) <= size
    ranges.require(increasing, "ranks", list(ranks), f"must increase and stay at or below n = {n}")
    return _non_crossing(size, grid, 1.0 - caps)


def local_level(n: int, alpha: float, base: float = 1.25) -> float:
    """Return a', the largest common level of the band's ranks with miss probability at most alpha.

    Guarantee: P(U_(i) <= B_i(a') for all ranks i of `geometric_ranks(n, base)`) >= 1 - alpha over n uniforms.

    Always alpha / K <= a' <= alpha, K the number of ranks. On the safe side by a relative 1e-6; alpha / K for
    alpha below 1e-8 (1e-13 n). Cached. Raises InvalidInput unless n >= 1, 0 < alpha < 1, base > 1.
    """
    grid = geometric_ranks(n, base)
    level = ranges.failure_probability("alpha", alpha)
    if level < max(_SMALLEST_EXACT_ALPHA, 100 * _WALK_ERROR * n) or len(grid) == 1:
        return level / len(grid)
    return _calibrated(int(n), level, grid)


def bonferroni_level(n: int, alpha: float, base: float = 1.25) -> float:
    """Return alpha / K, the level that holds by the union bound over the K ranks of the grid.

    Guarantee: that of `local_level`. Raises InvalidInput unless n >= 1, 0 < alpha < 1, base > 1.
    """
    return ranges.failure_probability("alpha", alpha) / len(geometric_ranks(n, base))


@lru_cache(maxsize=1024)
def _calibrated(n: int, alpha: float, ranks: tuple[int, ...]) -> float:
    """Iterate a' <- a' * target / miss: the miss is nearly a power of a', so this converges fast."""
    grid = np.array(ranks)
    target = alpha - _WALK_ERROR * n
    level, factor = alpha / len(ranks), 1.0
    for _ in range(200):
        cuts = np.asarray(betaincinv(n - grid + 1.0, grid, level), dtype=np.float64)
        miss = 1.0 - _non_crossing(n, grid, cuts)
        factor = target / miss
        if 1.0 <= factor <= 1.0 + 1e-6:
            return level
        level *= factor if factor > 1.0 else factor * (1.0 - 1e-7)
    raise InvalidPlan(f"n = {n}, alpha = {alpha}: no calibrated level found, last factor {factor!r}")


def _non_crossing(n: int, ranks: np.ndarray[tuple[int], np.dtype[np.int64]], cuts: FloatArray) -> float:
    """The walk of `non_crossing_probability` over cuts c_k = 1 - B_k, visited in ascending order of c."""
    alive, at = np.ones(1), 0.0
    for rank, cut in zip(ranks[::-1], cuts[::-1], strict=True):
        top = n - int(rank)
        if cut > at:
            alive = _convolve(alive, _poisson(np.arange(top + 1), n * (cut - at)))[: top + 1]
            at = float(cut)
        else:
            alive = alive[: top + 1]
    rest = _poisson(n - np.arange(len(alive)), n * (1.0 - at))
    return min(1.0, float(alive @ rest) / float(_poisson(np.array([n]), float(n))[0]))


def _poisson(k: np.ndarray[tuple[int], np.dtype[np.int64]], mean: float) -> FloatArray:
    """Poisson probabilities, by Loader's form: exp(-D(k, mean) - error of Stirling's formula) / sqrt(2 pi k).

    The usual exp(k ln mean - mean - ln k!) loses n * 1e-14 at n = 20000, all of it to ln k!.
    """
    if mean <= 0.0:
        return np.asarray(k == 0, dtype=np.float64)
    x = np.maximum(k, 1).astype(np.float64)
    small = np.minimum(x, 20.0)
    exact = gammaln(small + 1) - (small + 0.5) * np.log(small) + small - 0.5 * math.log(2 * math.pi)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * x * x)) / (x * x)) / (x * x)) / x
    stirling = np.where(x < 20, exact, series)
    inner = np.exp(-kl_div(x, mean) - stirling) / np.sqrt(2 * math.pi * x)
    return np.asarray(np.where(k == 0, math.exp(-mean), inner), dtype=np.float64)


def _convolve(a: FloatArray, b: FloatArray) -> FloatArray:
    if min(len(a), len(b)) < 100:
        return np.convolve(a, b)
    size = 1 << (len(a) + len(b) - 2).bit_length()
    product = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size), size)
    return np.maximum(product[: len(a) + len(b) - 1], 0.0)
