"""What is within reach, asked before the first draw: floors, distances, and sizes with power (theory §4.10).

"Perfect" means a base that is right everywhere (for absence: wrong everywhere) and a checkpoint that loses
nothing: no outcome does better, so a requirement that perfect trials miss is infeasible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from certify.errors import InvalidPlan
from certify.evidence.distance import DESIGNS, DrawDesign, at_most
from certify.evidence.judgement import Interval, Requirement, Verdict, interval_in_unit, percent
from certify.evidence.smoothed import mean_of_draws, paired_drop
from certify.statistics import (
    PowerPlan,
    best_bound,
    draws_for_power,
    drop_bounds,
    one_pass_lower,
    one_pass_upper,
    ranges,
)
from certify.statistics.laws import certified_radius
from certify.statistics.rounding import round_up
from certify.statistics.sizes import smallest

LARGEST = 1 << 20
"""Beyond this many trials the answer is "more than a million"."""
LARGEST_EXACT_BAND = 20_000
"""Calibrating the band takes two seconds here and grows with n; above it the union bound takes its place."""
LARGEST_WITH_POWER = 20_000
"""Sizes with power are searched exhaustively up to here."""


COUNT_ITEMS = ("point", "position", "basin")


def counted(kind: str) -> str:
    """Return what n counts for one kind of evidence, or for a basin."""
    return "items" if kind in COUNT_ITEMS else "draws"


def require_feasible(
    kind: str, n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign = "table"
) -> None:
    """Refuse a gate that ``n`` trials could not certify even if nothing is lost.

    ``n`` counts items for point, position and a basin, draws for smoothed and distance. For distance the checkpoint
    is taken at r = 0 and the base at score 1; a farther one needs more. ``design`` is that of distance draws.

    Raises:
        InvalidPlan: naming the n that would do.
    """
    problem = infeasible(kind, n, requirement, alpha, chance, design)
    if problem:
        raise InvalidPlan(problem)


def infeasible(
    kind: str, n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign = "table"
) -> str | None:
    """Return why ``n`` trials cannot certify the requirement whatever they show, or None if they can.

    For distance above LARGEST_EXACT_BAND draws, "can" is judged by the union bound, which is a little stricter.
    """
    if _can_certify(kind, n, requirement, alpha, chance, design):
        return None
    needed = smallest_n(kind, requirement, alpha, chance, above=n, design=design)
    advice = "more than a million are needed; relax the requirement" if needed is None else f"{needed} are needed"
    return (
        f"{kind}: this gate cannot pass with {n} {counted(kind)}: {advice} if nothing is lost or gained "
        f"({requirement.describe()} at {percent(alpha)} confidence)"
    )


def smallest_n(
    kind: str, requirement: Requirement, alpha: float, chance: float, above: int = 0, design: DrawDesign = "table"
) -> int | None:
    """Return the smallest number of perfect trials that certifies, larger than an ``above`` that does not.

    Exact for items and paired draws; for distance up to 1 %. None: more than a million.
    """
    spare = 0.01 if kind == "distance" else 0.0
    return smallest(lambda n: _can_certify(kind, n, requirement, alpha, chance, design), above, LARGEST, spare)


def required_level(requirement: Requirement, chance: float) -> float:
    """Return the noise-averaged score that a perfect base's checkpoint must keep; for absence, of its failures."""
    if requirement.unit == "retention":
        return chance + requirement.limit * (1.0 - chance)
    return 1.0 - requirement.limit


def largest_distance(
    n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign = "table"
) -> float:
    """Return the largest r at which ``n`` perfect draws certify the requirement, in units of noise, rounded down.

    Negative: not even at r = 0. Source: theory, "Rank-grid band" (ceiling); eta is left out, it is below 1e-5.
    """
    best = _ceiling(n, alpha / 2 if requirement.unit == "retention" else alpha, design)
    return float(certified_radius(best, required_level(requirement, chance)))


def vacuous_from(n: int, alpha: float, chance: float, design: DrawDesign = "table") -> float:
    """Return the r from which on even ``n`` perfect draws are vacuous: the best bound is at or below chance."""
    return float(certified_radius(_ceiling(n, alpha, design), chance))


def items_for_power(
    requirement: Requirement, alpha: float, chance: float, lost: float, power: float = 0.9
) -> PowerPlan | None:
    """Return the numbers of items at which the point judge certifies with probability at least ``power``.

    The base is right on every item, each item is lost with probability ``lost`` (for absence: still answered)
    independently, none is gained. ``n_hold``: from there on every number up to LARGEST_WITH_POWER has the
    power. None if there is no such number. Exact: the judge certifies iff U(lost items) at its share of alpha
    stays within what the requirement allows, which is an exact binomial test.

    Raises:
        InvalidInput: ``lost`` outside [0, 1) or not below what the requirement allows, ``power`` outside (0, 1).
    """
    n = np.arange(1.0, LARGEST_WITH_POWER)
    piece = {"drop": alpha / 2, "retention": alpha / 3, "absence": alpha}[requirement.unit]
    if requirement.unit == "retention":
        keep = 1.0 - (1.0 - requirement.limit) * (one_pass_lower(n, n, piece) - chance)
    else:
        keep = np.full_like(n, 1.0 - requirement.limit)
    least, found = float(keep[-1]), 1.0 - ranges.unit("lost", lost)
    ranges.require(found > least, "lost", lost, f"must be below what the requirement allows, {1.0 - least:.4g}")
    try:
        return draws_for_power(np.clip(keep, 0.0, 1.0), found, piece, power, limit=LARGEST_WITH_POWER)
    except InvalidPlan:
        return None


def _can_certify(kind: str, n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign) -> bool:
    interval = _best_outcome(kind, n, requirement, alpha, chance, design)
    return interval is not None and requirement.decide(interval.lower, interval.upper) is Verdict.CERTIFIED


def _best_outcome(
    kind: str, n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign
) -> Interval | None:
    """Return the interval when every trial shows what the requirement wants, at the base and at the checkpoint."""
    score = 0.0 if requirement.unit == "absence" else 1.0
    if kind in COUNT_ITEMS:
        return interval_in_unit(requirement, _PerfectItems(n, score), alpha, chance)
    if kind == "smoothed":
        return interval_in_unit(requirement, _PerfectDraws(n, score), alpha, chance)
    if requirement.unit == "retention":  # the denominator's upper bound is 1 - chance: all scores are 1
        return Interval(value=None, lower=(_ceiling(n, alpha / 2, design) - chance) / (1.0 - chance), upper=None)
    return at_most(min(1.0, round_up(1.0 - _ceiling(n, alpha, design))))


def _ceiling(n: int, alpha: float, design: DrawDesign) -> float:
    """Return the best lower bound of the base's mean that n draws could give."""
    calibration: Literal["exact", "bonferroni"] = "exact" if n <= LARGEST_EXACT_BAND else "bonferroni"
    return best_bound(DESIGNS[design], n, alpha, calibration=calibration)


@dataclass(frozen=True)
class _PerfectItems:
    """n items that score the same at base and checkpoint, all of them ``perfect``."""

    n: int
    perfect: float

    def drop(self, alpha: float) -> Interval:
        lower, upper = drop_bounds(0, 0, self.n, alpha)
        return Interval(value=0.0, lower=lower, upper=upper)

    def base_score(self, alpha: float) -> Interval:
        k = round(self.n * self.perfect)
        lower, upper = one_pass_lower(k, self.n, alpha), one_pass_upper(k, self.n, alpha)
        return Interval(value=self.perfect, lower=lower, upper=upper)

    def score(self, alpha: float) -> Interval:
        return self.base_score(alpha)


@dataclass(frozen=True)
class _PerfectDraws:
    """n paired draws that all score the same at base and checkpoint."""

    n: int
    perfect: float

    def drop(self, alpha: float) -> Interval:
        return paired_drop([0.0] * self.n, alpha)

    def base_score(self, alpha: float) -> Interval:
        return mean_of_draws([self.perfect] * self.n, alpha)

    def score(self, alpha: float) -> Interval:
        return mean_of_draws([self.perfect] * self.n, alpha)
