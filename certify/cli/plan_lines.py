"""What ``certify plan`` says: needs, reach and cost, in lines. Imports torch only where a base is timed."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from scipy.stats import binom

from certify.errors import InvalidPlan
from certify.evidence import AuditEvidence, Requirement
from certify.evidence.distance import DrawDesign
from certify.evidence.feasibility import (
    BY_GROUP,
    LARGEST,
    LARGEST_WITH_POWER,
    ORDERS,
    audited_items,
    counted,
    infeasible,
    infeasible_pool,
    items_for_power,
    largest_distance,
    required_level,
    smallest_n,
    vacuous_from,
)
from certify.evidence.judgement import down, percent, up
from certify.evidence.position import FRACTIONS
from certify.evidence.sequential import gate_plan
from certify.records import BenchmarkIdentity, Groups, Seed, WeightNoise, identity_of_pool, units
from certify.statistics import (
    GatePlan,
    ceiling,
    clopper_pearson_upper,
    draws_for_power,
    largest_radius,
    tolerated_ratio,
)
from certify.statistics.laws import mahalanobis
from certify.statistics.rounding import floor_to
from certify.statistics.sizes import smallest

if TYPE_CHECKING:
    from certify.measuring import Base
    from certify.measuring.costs import Costs

ORDER = ("point", "position", "smoothed", "distance", "audit")
POOLED = ("point", "audit")
POOL_ORDERS = 20  # of the items of a pool, for an audit
MOST = 100 * 64  # hundredths of the items that a pool has
MANY_ITEMS = 10_000  # of a benchmark that is not named, for an audit
DRAWS = {"smoothed": 200, "distance": 1000, "cover": 3000}


@dataclass(frozen=True)
class Goal:
    """What is planned for: a requirement at failure probability ``alpha`` on a benchmark with that chance."""

    requirement: Requirement
    alpha: float
    chance: float
    design: DrawDesign = "table"
    groups: Groups = None
    pool: BenchmarkIdentity | None = None

    def describe(self) -> str:
        """Return the goal in words."""
        return f"{self.requirement.describe()}, {percent(self.alpha)} confidence, chance {self.chance:g}"

    @property
    def absence(self) -> bool:
        """Whether a capability must be absent, so that chance is nothing to fall to."""
        return self.requirement.unit == "absence"

    def problem(self, kind: str, n: int) -> str | None:
        """Return why ``n`` items, groups or draws can pass under no outcome, or None if they can."""
        grouped = self.grouped(kind)
        return infeasible(kind, n, self.requirement, self.alpha, self.chance, self.design, grouped=grouped)

    def grouped(self, kind: str) -> bool:
        """Whether items in groups count by group for one kind of evidence."""
        return self.groups is not None and kind in BY_GROUP

    def units(self, kind: str, items: int | None) -> int | None:
        """Return how many units the benchmark's items are for one kind of evidence."""
        return units(items, self.groups) if items is not None and self.grouped(kind) else items

    def audited(self, items: int | None, lost: float = 0.0, power: float = 0.5) -> int | None:
        """Return how many of so many items an audit scores until it certifies; None: it does not."""
        return audited_items(self.requirement, self.alpha, self.chance, items or MANY_ITEMS, lost, power)

    def floor(self, kind: str, n: int | None = None) -> int | None:
        """Return the fewest items, groups or draws that can pass, None if a million cannot; of n items for an audit."""
        if kind == "audit":
            return self.audited(n)
        grouped = self.grouped(kind)
        return smallest_n(kind, self.requirement, self.alpha, self.chance, design=self.design, grouped=grouped)

    def reach(self, n: int) -> float:
        """Return the distance up to which n perfect draws meet the requirement, in units of sigma."""
        return largest_distance(n, self.requirement, self.alpha, self.chance, self.design)


def plan_table(
    goal: Goal, sizes: Mapping[str, int | None], problems: Container[str], true_lost: float | None, power: float
) -> Table:
    """Return what each kind of evidence needs, what is given, and whether that can pass."""
    table = Table(header_style="bold")
    for column in ("evidence", "needed if nothing is lost", "given", "can pass"):
        table.add_column(column)
    if true_lost is not None:
        table.add_column(f"for {100 * power:g} % power if {100 * true_lost:g} % are lost")
    for kind, n in sizes.items():
        floor = goal.floor(kind, n)
        shown = "more than a million" if floor is None else f"{floor:,}"
        given = ["-", "-"] if n is None else [f"{n:,}", "no" if kind in problems else "yes"]
        row = [kind, f"{shown} {counted(kind, goal.grouped(kind))}", *given]
        if true_lost is not None:
            row.append(_with_power(goal, kind, n, true_lost, power))
        table.add_row(*row)
    return table


def _with_power(goal: Goal, kind: str, n: int | None, true_lost: float, power: float) -> str:
    """Return the items at which a gate passes with the wanted power, from there on; position needs all its points."""
    if kind == "audit":
        scored = goal.audited(n, true_lost, power)
        return "none: it refutes" if scored is None else f"{scored:,} items"
    if counted(kind) == "draws":
        return "depends on the scores: pilot"
    if goal.grouped(kind):
        return "depends on the groups"
    each = power if kind == "point" else 1.0 - (1.0 - power) / len(FRACTIONS)
    found = items_for_power(goal.requirement, goal.alpha, goal.chance, true_lost, each)
    return f"more than {LARGEST_WITH_POWER:,} items" if found is None else f"{found.n_hold:,} items"


def items_lines(goal: Goal, kinds: Sequence[str], true_lost: float | None, power: float) -> Iterator[str]:
    """Say how a size with power is meant."""
    if "audit" in kinds:
        yield "audit: items scored until it is decided, of those given" + (
            "" if true_lost is None else f"; simulated on {ORDERS} orders, exactly that share lost and none gained"
        )
    if true_lost is None or not {"point", "position"} & set(kinds) or goal.groups is not None:
        return
    event = "still answered at the checkpoint" if goal.absence else "lost, none gained"
    yield (
        f"power: exact binomial, each item {event} with probability {true_lost:g} independently, a base "
        f"{'wrong' if goal.absence else 'right'} on all items; the numbers hold from there on"
    )
    if "position" in kinds:
        yield (
            f"position: all {len(FRACTIONS)} points pass with probability at least {power:g} (union bound), given "
            "alpha* <= sigma*"
        )


def distance_lines(goal: Goal, draws: int | None) -> Iterator[str]:
    """Say how far so many perfect draws at the base reach."""
    n = draws or DRAWS["distance"]
    reach = goal.reach(n)
    yield (
        f"distance, {n:,} perfect draws: the requirement holds up to r = {down(reach, 2)} sigma"
        if reach >= 0
        else f"distance, {n:,} draws: even perfect ones miss the requirement at r = 0"
    )
    if goal.design == "pairs":
        yield "pairs bound the mean alone: no event or percentile is certified"
    else:
        event = float(largest_radius(n, 0, goal.alpha))
        yield f"an event (a score that half of all draws keep) is certified up to r = {down(event, 2)} sigma"
    if goal.chance > 0 and not goal.absence:
        edge = up(vacuous_from(n, goal.alpha, goal.chance, goal.design), 2)
        yield f"from r = {edge} sigma on even perfect draws are vacuous (bound at or below chance {goal.chance:g})"


def sequential_lines(goal: Goal, p1: float, power: float, cap: int | None) -> Iterator[str]:
    """Say what a sequential gate on one checkpoint costs and errs.

    Raises:
        InvalidPlan: the goal is an absence, or no such gate can be planned.
    """
    if goal.absence:
        raise InvalidPlan("--p1 plans a gate for a score that must be kept; it does not go with --max-score")
    p0 = required_level(goal.requirement, goal.chance)
    plan = gate_plan(p0, p1, alpha=goal.alpha, power=power, cap=cap)
    yield (
        f"sequential gate of E J(checkpoint + noise) <= {p0:g} (a perfect base assumed) against {p1:g}, at most "
        f"{plan.cap:,} draws with one item each:"
    )
    yield from gate_plan_lines(plan, power)
    early = gate_plan(p0, p1, alpha=goal.alpha, power=power, cap=cap, futility=True)
    yield "or, giving up as undecided (--futility) instead of refuting:"
    yield from gate_plan_lines(early, power)


def gate_plan_lines(plan: GatePlan, power: float) -> Iterator[str]:
    """Say how a gate errs and what it costs; exact, by dynamic programming, but for finite precision."""
    at_p0, at_p1, at_refute = (plan.outcome(p) for p in (plan.p0, plan.p1, plan.p_refute))
    yield (
        f"    passes wrongly with probability {up(at_p0.passed, 4)} (allowed {plan.alpha:g}), rightly at {plan.p1:g} "
        f"with {down(at_p1.passed)}"
    )
    if plan.alpha_refute is not None:
        yield (
            f"    refutes wrongly with probability {up(at_p0.refuted, 4)} (allowed {plan.alpha_refute:g}), rightly at "
            f"{plan.p_refute:g} with {down(at_refute.refuted)}"
        )
    try:
        fixed = f"a fixed test of power {power:g} needs {draws_for_power(plan.p0, plan.p1, plan.alpha, power).n_hold:,}"
    except InvalidPlan:
        fixed = f"no fixed test of power {power:g} within reach"
    yield (
        f"    expected draws: {math.ceil(at_p1.expected_draws):,} at {plan.p1:g}, "
        f"{math.ceil(at_p0.expected_draws):,} at {plan.p0:g}, {math.ceil(at_refute.expected_draws):,} at "
        f"{plan.p_refute:g}; {fixed}"
    )


def cover_lines(
    goal: Goal, windows: int, draws: int | None, true_lost: float | None, power: float
) -> Iterator[str]:
    """Say how many draws a cover of so many windows of one size, side by side, takes, and for which statement.

    A window is judged by the trinomial bound at alpha/M, as :class:`certify.evidence.cover.CoverEvidence` does, with a
    base that is right on every item; how many draws fall into each is random, so all have enough by a union bound.
    """
    allowed = 1.0 - required_level(goal.requirement, goal.chance)
    each = Requirement(unit="absence" if goal.absence else "drop", limit=allowed)
    share, n = goal.alpha / windows, draws or DRAWS["cover"]
    least = smallest_n("point", each, share, goal.chance) if allowed > 0 else None
    if least is None:
        yield f"cover: no window can be called kept: {goal.requirement.describe()} leaves nothing to lose"
        return
    said = f"cover of {windows:,} windows: one takes {least:,} draws if nothing is lost"
    yield _window_line(said, least, windows, power)
    if true_lost is not None:
        found = items_for_power(each, share, goal.chance, true_lost, 1.0 - (1.0 - power) / windows)
        where = f"{100 * true_lost:g} % is lost everywhere, for {100 * power:g} % power"
        if found is None:
            yield f"where {where}, a window takes more than {LARGEST_WITH_POWER:,}"
        else:
            yield _window_line(f"where {where}, a window takes {found.n_hold:,}", found.n_hold, windows, power)
    reach = clopper_pearson_upper(0, n, goal.alpha) / allowed
    yield (
        f"{n:,} draws, none lost: the requirement is met on average in every window, wherever it lies, that takes up "
        f"at least {up(min(1.0, reach), 4)} of the box; of one of {windows:,} that is shown by "
        f"{_draws_for_share(1.0 / windows, allowed, goal.alpha):,} draws"
    )
    if n < windows * least:
        yield f"{n:,} draws put about {n / windows:.0f} into each window: too few, `certify cover` would refuse them"


def _window_line(said: str, least: int, windows: int, power: float) -> str:
    """Say how many draws in all put ``least`` into every window, on average and with the wanted probability."""
    total = smallest(lambda n: windows * float(binom.cdf(least - 1, n, 1.0 / windows)) <= 1.0 - power, 0, LARGEST)
    sure = "more than a million" if total is None else f"{total:,}"
    return f"{said}: {least * windows:,} in all on average, {sure} for every window to have them with {100 * power:g} %"


def _draws_for_share(share: float, allowed: float, alpha: float) -> int:
    """Return how many draws that lose nothing bound the failure by share * allowed: the least n with that bound."""
    return math.ceil(math.log(alpha) / math.log1p(-share * allowed))


def pool_lines(goal: Goal, pool: BenchmarkIdentity, kinds: Sequence[str], true_lost: float | None) -> Iterator[str]:
    """Say what the items of a pool are enough for, and how many of them would be."""
    yield f"pool: {pool.spelled}; chance {pool.chance:g}"
    if "point" in kinds:
        found = smallest(lambda k: not infeasible_pool(_resized(pool, k), goal.requirement, goal.alpha), 0, MOST)
        if found is None:
            yield f"point: cannot pass, not even with {MOST // 100:,} times the items, if nothing is lost"
        else:
            parts = _resized(pool, found).pool or ()
            needed = ", ".join(f"{part.items:,} of {part.name}" for part in parts)
            yield f"point: {'can' if found <= 100 else 'cannot'} pass; if nothing is lost it takes {needed}"
    if "audit" in kinds:
        for lost in dict.fromkeys((0.0, true_lost or 0.0)):
            counts = sorted(_audited_pool(goal, pool, lost, seed) for seed in range(POOL_ORDERS))
            yield (
                f"audit: decided after {counts[len(counts) // 2]:,} of {pool.items:,} items in half of {POOL_ORDERS} "
                f"simulated orders, {counts[-1]:,} at most, if "
                + (f"{100 * lost:g} % of them are lost, none gained" if lost else "nothing is lost")
            )


def _resized(pool: BenchmarkIdentity, hundredths: int) -> BenchmarkIdentity:
    """Return the same pool with so many hundredths of each benchmark's items, rounded up."""
    parts = tuple(
        part.model_copy(update={"items": -(-part.items * hundredths // 100)}) for part in pool.pool or ()
    )
    return pool.model_copy(update={"pool": parts, "groups": None, **identity_of_pool(parts)})


def _audited_pool(goal: Goal, pool: BenchmarkIdentity, lost: float, seed: int) -> int:
    perfect = goal.requirement.perfect_score
    base, missing = np.full(pool.items, perfect), round(lost * pool.items)
    scores = base.copy()
    scores[np.random.default_rng(seed).permutation(pool.items)[:missing]] = 1.0 - perfect
    evidence = AuditEvidence(
        seed=Seed(value=f"{seed:064x}"), until=goal.requirement, base=tuple(base), checkpoint=(), pool=pool.pool
    )
    order = evidence.order
    asked = evidence.model_copy(update={"checkpoint": tuple(float(scores[i]) for i in order)})
    return asked.decided_after(goal.requirement, goal.alpha, pool.chance) or pool.items


def from_distance_lines(goal: Goal, base: Path, checkpoint: Path, sigma: float, draws: int | None) -> Iterator[str]:
    """Say how far a checkpoint is from its base in units of noise, and what would make distance evidence speak.

    Raises:
        CheckpointError: the two cannot be compared.
    """
    from certify.checkpoints import difference, open_checkpoint
    from certify.noise import weight_noise

    n, opened = draws or DRAWS["distance"], open_checkpoint(base)
    found = difference(opened, open_checkpoint(checkpoint, opened))
    law = weight_noise({name: opened.parameters[name].size for name in found.norms}, sigma)
    r = float(mahalanobis([found.norms[name] for name in law.sigma], list(law.sigma.values())))
    yield f"||delta|| = {found.delta_norm:.4g} over {found.dimension:,} weights"
    if found.differences:
        r = math.inf
        yield "r is infinite: " + "; ".join(found.differences)
    else:
        yield f"{law.describe()}: r = {up(r, 1)} sigma"
    yield _vacuity_line(goal, r, n)
    yield from _cure_lines(goal, found.delta_norm, law, n)


def _vacuity_line(goal: Goal, r: float, n: int) -> str:
    best = 0.0 if math.isinf(r) else float(ceiling(n, goal.alpha, r))
    if goal.absence:
        words, outcome = f"at most {up(1.0 - best)}", "vacuous: " if best <= 0.0 else ""
    else:
        words, outcome = f"at least {down(best)}", "vacuous: " if best <= goal.chance else ""
    tail = f", chance is {goal.chance:g}" if outcome and not goal.absence else ""
    return f"{outcome}{n:,} perfect draws at the base would show a score of {words} at this distance{tail}"


def _cure_lines(goal: Goal, norm: float, law: WeightNoise, n: int) -> Iterator[str]:
    """Say what would bring the checkpoint within reach. Source: theory, "Vacuity"."""
    reach, required = goal.reach(n), goal.requirement.describe()
    if reach < 0:
        yield f"no budget: even {n:,} perfect draws miss {required} at r = 0"
    else:
        yield (
            f"budget: {n:,} perfect draws certify {required} for ||delta|| up to "
            f"{down_to_digits(max(law.sigma.values()) * reach)} at this sigma; the checkpoint's is {norm:.3g}"
        )
    if norm == 0:
        return
    ratio = norm / law.noise_norm
    k = largest_subspace(ratio, n, goal.alpha, law.dimension)
    about = f"||delta|| is {ratio:.2g} of the norm of this noise ({law.noise_norm:.3g})"
    if k == 0:
        yield (
            f"subspace: none; {about}, and even along a single direction {n:,} draws reach only "
            f"{tolerated_ratio(n, goal.alpha, 1):.3g}"
        )
    else:
        yield (
            f"subspace: {about}; noise of the same norm on at most {k:,} fixed coordinates would bring an event (half "
            f"of all draws) within reach of {n:,} clean draws, for a checkpoint made inside that subspace and a base "
            "that keeps its score under that noise"
        )


def largest_subspace(ratio: float, n: int, alpha: float, largest: int) -> int:
    """Return the largest k <= ``largest`` with tolerated_ratio(n, alpha, k) >= ratio; 0 if not even one."""
    k = min(largest, math.floor((tolerated_ratio(n, alpha, 1) / ratio) ** 2))
    while k > 0 and tolerated_ratio(n, alpha, k) < ratio:
        k -= 1
    return k


def time_lines(
    goal: Goal,
    base: Path,
    benchmark: Path,
    device: str,
    kinds: Sequence[str],
    draws: int | None,
    sigma: float | None,
    price: float | None = None,
) -> Iterator[str]:
    """Time a pilot at the base, foresee measure and check (time, memory, money), and compare the engines."""
    from certify.benchmarks import open_pool_or_benchmark
    from certify.measuring import Base, Run
    from certify.measuring.costs import Load, duration, noise_writing, pilot_costs
    from certify.measuring.pilot import faint_sigma

    opened = Base.open(base, open_pool_or_benchmark(benchmark), device)
    items, n = opened.scorer.identity.items, {k: draws or DRAWS.get(k, 0) for k in ORDER}
    law = opened.weight_law(faint_sigma(opened) if sigma is None else sigma)
    costs = pilot_costs(opened, Run(), None if goal.pool else noise_writing(opened, law))
    drawn = "" if goal.pool else f"{duration(costs.draw)} to write a draw, "
    yield (
        f"pilot at {opened.checkpoint.name} on {device}: {drawn}{duration(costs.alone)} for one item alone, "
        f"{duration(items * costs.together)} for all {items} items"
    )
    if not goal.pool:
        in_table = n["distance"] if "distance" in kinds and draws else 0
        yield from _measure_lines(goal, opened, costs, law, in_table, price)
    for kind in kinds:
        count = (goal.audited(items) or items) if kind == "audit" and not goal.pool else items
        load = Load.of_check([kind], count, n[kind], len(FRACTIONS), known=kind in ("position", "audit"))
        load += Load(together=items if kind == "audit" else 0)
        took = "reads weights only" if kind == "distance" else costs.describe(load, price=price)
        yield f"check by {kind}, beside reading weights: {took}"


def _measure_lines(
    goal: Goal, base: Base, costs: Costs, law: WeightNoise, draws: int, price: float | None
) -> Iterator[str]:
    from certify.measuring import PlannedDraws, choose_engine, sigma_grid
    from certify.measuring.costs import Load

    planned = [PlannedDraws(law, draws, design=goal.design)] if draws else []
    levels = sigma_grid(max(law.sigma.values()))
    choice = choose_engine(base, planned, levels)
    load = Load.at_base(base.scorer.identity.items, len(levels), [(plan.n, plan.design) for plan in planned])
    of_draws = f", {draws:,} draws for distance" if draws else ""
    yield f"measure: {costs.describe(load, choice.seconds, price)} (basin at {len(levels)} sigmas{of_draws})"
    yield from choice.reasons[:2]


def down_to_digits(x: float, digits: int = 3) -> str:
    """Format a positive number to significant digits, rounded down."""
    return "0" if x <= 0 else f"{floor_to(x, max(0, digits - 1 - math.floor(math.log10(x)))):g}"
