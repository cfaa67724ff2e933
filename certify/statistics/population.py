"""From the fixed benchmark to the population of items it was drawn from.

m items are iid and independent of everything that was fixed before the draws (weights, noise, floor,
prompt, judge). Each function pays for the items with its own share of alpha; without it a bound for the
fixed benchmark, read as one for the population, covers too little. Source: docs/theory.md, "Population of
items"; Chernoff's bound in its kl form (Hoeffding 1963, Theorem 1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, overload

import numpy as np
from scipy.special import rel_entr

from certify.errors import InvalidInput
from certify.statistics import ranges
from certify.statistics.band import ScoreBand, score_band
from certify.statistics.rounding import round_down

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray


@overload
def kl_inverse_lower(x: float, c: float) -> float: ...
@overload
def kl_inverse_lower(x: ArrayLike, c: float) -> FloatArray: ...
def kl_inverse_lower(x: ArrayLike, c: float) -> float | FloatArray:
    """Return inf{y <= x : kl(x, y) <= c}, kl the relative entropy of two coins; lower end, rounded down.

    Guarantee: with probability at least 1 - alpha over m iid terms in [0, 1] of mean x, their expectation
    is at least the value at c = ln(1 / alpha) / m.

    x in [0, 1], any shape; c >= 0. Raises InvalidInput otherwise.
    """
    mean, budget = ranges.units("x", x), ranges.not_negative("c", c)
    low, high = np.zeros_like(mean), mean.copy()
    for _ in range(80):
        middle = (low + high) / 2
        outside = rel_entr(mean, middle) + rel_entr(1.0 - mean, 1.0 - middle) > budget
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    return round_down(low)


def two_level_lower(lower_fixed: float, alpha_items: float, m: int) -> float:
    """Return kl^-1(lower_fixed, ln(1 / alpha_items) / m): a base bound, carried to the population of items.

    Guarantee: with probability at least 1 - alpha_1 - alpha_items over draws and items, the base's noised
    score on the population is at least the value, if lower_fixed bounds its noised score on the m items at
    alpha_1. Apply it to the base score first, then the law for the distance.

    lower_fixed in [0, 1], m >= 1. Raises InvalidInput otherwise.
    """
    level, items = ranges.failure_probability("alpha_items", alpha_items), ranges.count("m", m)
    return kl_inverse_lower(ranges.unit("lower_fixed", lower_fixed), math.log(1.0 / level) / items)


def crossed_lower(mean: float, n: int, m: int, alpha: float) -> float:
    """Return kl^-1(mean, ln(1 / alpha) / min(n, m)) for an n x m table, n draws crossed with m items.

    Guarantee: with probability at least 1 - alpha over draws and items, the base's noised score on the
    population is at least the value. (The table's mean averages means of min(n, m) iid cells; Jensen.)

    mean in [0, 1], n >= 1, m >= 1. Raises InvalidInput otherwise.
    """
    level = ranges.failure_probability("alpha", alpha)
    smaller = min(ranges.count("n", n), ranges.count("m", m))
    return kl_inverse_lower(ranges.unit("mean", mean), math.log(1.0 / level) / smaller)


def population_band(
    scores: ArrayLike, m: int, alpha_draws: float, alpha_items: float, eta: float = 0.0, base: float = 1.25
) -> ScoreBand:
    """Return the band of the population scores: each J_i replaced by kl^-1(J_i, ln(n / alpha_items) / m).

    Guarantee: with probability at least 1 - alpha_draws - alpha_items over draws and items, every bound of
    the band holds for the score on the population of items, also for checkpoints trained on the m items.

    scores: shape (n,), in [0, 1]; m >= 1 items. The band's alpha is the sum of both. Raises InvalidInput
    otherwise, and if the sum is not below 1.
    """
    table, items = ranges.scores("scores", scores), ranges.count("m", m)
    level = ranges.failure_probability("alpha_items", alpha_items)
    if alpha_draws + level >= 1.0:
        raise InvalidInput(f"alpha_draws + alpha_items = {alpha_draws + level!r}: must be below 1")
    carried = kl_inverse_lower(table, math.log(len(table) / level) / items)
    band = score_band(carried, alpha_draws, eta, base)
    return ScoreBand(band.ranks, band.thresholds, band.levels, band.n, alpha_draws + level, band.eta)
