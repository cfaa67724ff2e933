"""Bounds for two models scored on the same items: the drop from discordant counts, and ratios of scores.

An item is `lost` if the base is right and the checkpoint wrong, `gained` if it is the other way round; m
items in all. Items must be independent, and the checkpoint made and chosen without them. On a fixed
benchmark with deterministic decoding the drop is simply (lost - gained) / m and carries no confidence.

Source: docs/theory.md, "Paired items".
"""

from __future__ import annotations

from certify.statistics import ranges
from certify.statistics.binomial import LARGEST_ONE_PASS_ALPHA, Interval, one_pass_lower, one_pass_upper
from certify.statistics.rounding import round_down, round_up


def drop_bounds(lost: int, gained: int, m: int, alpha: float) -> Interval:
    """Return (lower, upper) for the drop, base mean minus checkpoint mean, each one-sided at alpha.

    Guarantee: with probability at least 1 - alpha over the items, drop <= upper; and with probability at
    least 1 - alpha, drop >= lower. (Both together: 1 - 2 alpha.)

    upper = U(lost, alpha/2) - L(gained, alpha/2), lower = L(lost, alpha/2) - U(gained, alpha/2), with the
    bounds for unequal trials, so that items may be stratified or decoding sampled. Score units, in [-1, 1].
    Raises InvalidInput unless counts are whole, lost + gained <= m, 0 < alpha <= 1/2.
    """
    level = ranges.failure_probability("alpha", alpha, 2 * LARGEST_ONE_PASS_ALPHA)
    items = ranges.count("m", m)
    worse, better = ranges.count("lost", lost, smallest=0), ranges.count("gained", gained, smallest=0)
    ranges.require(worse + better <= items, "lost + gained", worse + better, f"must be at most m = {m}")
    lower = one_pass_lower(worse, items, level / 2) - one_pass_upper(better, items, level / 2)
    upper = one_pass_upper(worse, items, level / 2) - one_pass_lower(better, items, level / 2)
    return Interval(max(-1.0, round_down(lower)), min(1.0, round_up(upper)))


def chance_corrected_retention(bound: float, base: float, chance: float) -> float:
    """Return (bound - chance) / (base - chance), rounded down: a certified score as a share of the base's.

    Guarantee: inherits that of `bound`, if `base` is known exactly, or is an upper bound with its own share
    of alpha and bound > chance.

    All in [0, 1]; raises InvalidInput outside, or if base <= chance (no capability that could be retained).
    """
    b, s0, c = ranges.unit("bound", bound), ranges.unit("base", base), ranges.unit("chance", chance)
    ranges.require(s0 > c, "base", base, f"must be above chance = {chance!r}")
    return round_down((b - c) / (s0 - c))


def ratio_test_target(rho: float, chance: float) -> float:
    """Return (rho + (1 - rho) c) / (1 + rho), rounded up: the mean that the ratio score X must reach.

    X = (checkpoint - rho * base + rho) / (1 + rho) lies in [0, 1], and retention >= rho exactly if
    E X >= the value, given E base > c. rho in (0, 1], chance in [0, 1). Raises InvalidInput outside.
    """
    share, c = ranges.unit("rho", rho), ranges.unit("chance", chance)
    ranges.require(share > 0.0, "rho", rho, "must be above 0")
    ranges.require(c < 1.0, "chance", chance, "must be below 1")
    return round_up((share + (1.0 - share) * c) / (1.0 + share))
