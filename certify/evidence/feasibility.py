"""What is within reach, asked before the first draw: floors, distances, and sizes with power (theory §4.10).

"Perfect" means a base that is right everywhere (for absence: wrong everywhere) and a checkpoint that loses
nothing: no outcome does better, so a requirement that perfect trials miss is infeasible.
"""

from __future__ import annotations

import math

import numpy as np

from certify.errors import InvalidPlan
from certify.evidence import KINDS
from certify.evidence.audit import goal
from certify.evidence.distance import DrawDesign, best_mean
from certify.evidence.judgement import Requirement, Verdict, percent
from certify.evidence.paired_items import perfect_groups, perfect_pool
from certify.evidence.width import WidthEvidence
from certify.records import BenchmarkIdentity, Groups, units
from certify.statistics import PowerPlan, certified_radius, draws_for_power, one_pass_lower, pairs_for_power, ranges
from certify.statistics.audits import running_evidence
from certify.statistics.sizes import smallest

LARGEST = 1 << 20
"""Beyond this many trials the answer is "more than a million"."""
LARGEST_WITH_POWER = 20_000
"""Sizes with power are searched exhaustively up to here."""
ORDERS = 200
"""Orders of items that a plan of an audit simulates."""


PLANNED = {**KINDS, "basin": WidthEvidence}
"""Everything that is planned by a number of items or draws."""


BY_GROUP = ("point", "position", "basin")
"""What claims of a population of items, so that items in groups count by group."""


def counted(kind: str, grouped: bool = False) -> str:
    """Return what n counts for one kind of evidence, or for a basin."""
    return "groups" if grouped else PLANNED[kind].counts


def require_feasible(
    kind: str,
    n: int,
    requirement: Requirement,
    alpha: float,
    chance: float,
    design: DrawDesign = "table",
    groups: Groups = None,
) -> None:
    """Refuse a gate that ``n`` trials could not certify even if nothing is lost.

    ``n`` counts items for point, position and a basin, draws for smoothed and distance. For distance the checkpoint
    is taken at r = 0 and the base at score 1; a farther one needs more. ``design`` is that of distance draws.
    ``groups`` of these items, where a population's are counted in their place.

    Raises:
        InvalidPlan: naming the n that would do.
    """
    n, grouped = units(n, groups), groups is not None
    problem = infeasible(kind, n, requirement, alpha, chance, design, grouped=grouped)
    if problem:
        raise InvalidPlan(problem)


def infeasible(
    kind: str,
    n: int,
    requirement: Requirement,
    alpha: float,
    chance: float,
    design: DrawDesign = "table",
    *,
    grouped: bool = False,
) -> str | None:
    """Return why ``n`` trials cannot certify the requirement whatever they show, or None if they can.

    ``grouped``: the trials are groups of items.

    For distance above LARGEST_EXACT_BAND draws, "can" is judged by the union bound, which is a little stricter.
    """
    if _can_certify(kind, n, requirement, alpha, chance, design, grouped):
        return None
    needed = smallest_n(kind, requirement, alpha, chance, above=n, design=design, grouped=grouped)
    advice = "more than a million are needed; relax the requirement" if needed is None else f"{needed} are needed"
    return (
        f"{kind}: this gate cannot pass with {n} {counted(kind, grouped)}: {advice} if nothing is lost or gained "
        f"({requirement.describe()} at {percent(alpha)} confidence)"
    )


def infeasible_pool(benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> str | None:
    """Return why point evidence cannot certify a pool even if none of its items loses anything, or None if it can."""
    interval = perfect_pool(benchmark, requirement, alpha)
    if interval is not None and requirement.decide(interval.lower, interval.upper) is Verdict.CERTIFIED:
        return None
    return (
        f"point: this gate cannot pass on {benchmark.spelled}: they are too few even if nothing is lost or gained "
        f"({requirement.describe()} at {percent(alpha)} confidence); a benchmark with few items needs less weight"
    )


def smallest_n(
    kind: str,
    requirement: Requirement,
    alpha: float,
    chance: float,
    above: int = 0,
    design: DrawDesign = "table",
    *,
    grouped: bool = False,
) -> int | None:
    """Return the smallest number of perfect trials that certifies, larger than an ``above`` that does not.

    ``grouped``: the trials are groups of items.

    Exact for items, groups of them and paired draws; for distance up to 1 %. None: more than a million.
    """
    spare = 0.01 if kind == "distance" else 0.0
    return smallest(lambda n: _can_certify(kind, n, requirement, alpha, chance, design, grouped), above, LARGEST, spare)


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
    best = best_mean(n, alpha / 2 if requirement.unit == "retention" else alpha, design)
    return float(certified_radius(best, required_level(requirement, chance)))


def vacuous_from(n: int, alpha: float, chance: float, design: DrawDesign = "table") -> float:
    """Return the r from which on even ``n`` perfect draws are vacuous: the best bound is at or below chance."""
    return float(certified_radius(best_mean(n, alpha, design), chance))


def items_for_power(
    requirement: Requirement, alpha: float, chance: float, lost: float, power: float = 0.9
) -> PowerPlan | None:
    """Return the numbers of items at which the point judge certifies with probability at least ``power``.

    The base is right on every item, each item is lost with probability ``lost`` (for absence: still answered)
    independently, none is gained. ``n_hold``: from there on every number up to LARGEST_WITH_POWER has the
    power. None if there is no such number. Exact for drops up to 1/2: where none is gained, the
    judge then certifies iff the lost items pass an exact binomial test.

    Raises:
        InvalidInput: ``lost`` outside [0, 1) or not below what the requirement allows, ``power`` outside (0, 1).
    """
    n = np.arange(1.0, LARGEST_WITH_POWER)
    allowed = np.full_like(n, requirement.limit)
    if requirement.unit == "retention":
        allowed = np.clip((1.0 - requirement.limit) * (one_pass_lower(n, n, alpha / 3) - chance), 0.0, 1.0)
    most, share = float(allowed[-1]), ranges.unit("lost", lost)
    ranges.require(share < most, "lost", lost, f"must be below what the requirement allows, {most:.4g}")
    try:
        if requirement.unit == "absence":
            return draws_for_power(1.0 - allowed, 1.0 - share, alpha, power, limit=LARGEST_WITH_POWER)
        of_drop = alpha if requirement.unit == "drop" else 2 * alpha / 3
        return pairs_for_power(allowed, share, of_drop, power, limit=LARGEST_WITH_POWER)
    except InvalidPlan:
        return None


def audited_items(
    requirement: Requirement, alpha: float, chance: float, items: int, lost: float = 0.0, power: float = 0.5
) -> int | None:
    """Return after how many of ``items`` an audit has certified in a share ``power`` of orders; None: it refutes.

    The base is right on every item, of which a share ``lost``, rounded, is lost (absence: still answered), and none
    gained. Simulated on ORDERS orders from a fixed seed; exact where nothing is lost, since all orders are then alike.
    """
    missing, least = round(ranges.unit("lost", lost) * items), required_level(requirement, chance)
    x = np.repeat([1.0, 0.0], [missing, items - missing])
    if x.mean() > 1.0 - least:
        return None
    orders = (np.random.default_rng(seed).permutation(x) for seed in range(ORDERS if missing else 1))
    reached = [running_evidence(order, np.ones(items), 1.0 - least) >= goal(alpha) for order in orders]
    ends = sorted(int(found.argmax()) + 1 if found.any() else items for found in reached)
    return ends[math.ceil(power * len(ends)) - 1]


def _can_certify(
    kind: str, n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign, grouped: bool
) -> bool:
    if grouped:
        interval = perfect_groups(n, requirement, alpha, chance)
    else:
        interval = PLANNED[kind].best_outcome(n, requirement, alpha, chance, design)
    return interval is not None and requirement.decide(interval.lower, interval.upper) is Verdict.CERTIFIED
