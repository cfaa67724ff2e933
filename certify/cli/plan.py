"""``certify plan``: what a gate needs before anything is drawn. Imports torch only when a base is named."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from certify.errors import InvalidPlan
from certify.evidence import KINDS, Requirement, alpha_of, requirement_of
from certify.evidence.distance import DrawDesign
from certify.evidence.feasibility import (
    LARGEST_WITH_POWER,
    counted,
    infeasible,
    items_for_power,
    largest_distance,
    required_level,
    smallest_n,
    vacuous_from,
)
from certify.evidence.judgement import down, percent, up
from certify.evidence.position import FRACTIONS
from certify.evidence.sequential import gate_plan
from certify.records import WeightNoise
from certify.statistics import GatePlan, ceiling, draws_for_power, largest_radius, tolerated_ratio
from certify.statistics.laws import mahalanobis
from certify.statistics.rounding import floor_to

ORDER = ("point", "position", "smoothed", "distance")
DRAWS = {"smoothed": 200, "distance": 1000}


def run_plan(
    out: Console,
    *,
    base: Path | None,
    benchmark: Path | None,
    evidence: Sequence[str],
    items: int | None,
    draws: int | None,
    confidence: float,
    max_drop: float | None,
    min_retention: float | None,
    max_score: float | None,
    true_lost: float | None,
    power: float,
    p1: float | None,
    sigma: float | None,
    design: DrawDesign,
    device: str,
) -> None:
    """Print what each kind of evidence needs, then refuse numbers that cannot pass.

    Raises:
        InvalidPlan: an unknown kind, or numbers of items or draws that could certify under no outcome.
    """
    unknown = [k for k in evidence if k not in KINDS]
    if unknown or not evidence:
        raise InvalidPlan(f"unknown evidence {', '.join(unknown) or '(none)'}; choose from {', '.join(ORDER)}")
    requirement, alpha = requirement_of(max_drop, min_retention, max_score), alpha_of(confidence)
    chance, items = _benchmark(benchmark, items)
    sizes = {k: items if counted(k) == "items" else draws for k in evidence}
    problems = {
        k: found for k, n in sizes.items() if n and (found := infeasible(k, n, requirement, alpha, chance, design))
    }

    out.print(f"{requirement.describe()}, {percent(alpha)} confidence, chance {chance:g}", markup=False)
    out.print(_table(sizes, problems, requirement, alpha, chance, true_lost, power, design))
    lines = list(_items_lines(evidence, requirement, true_lost, power))
    if "distance" in evidence:
        lines += _distance_lines(draws or DRAWS["distance"], requirement, alpha, chance, design)
    if p1 is not None:
        if requirement.unit == "absence":
            raise InvalidPlan("--p1 plans a gate for a score that must be kept; it does not go with --max-score")
        lines += _gate_lines(required_level(requirement, chance), p1, alpha, power, draws)
    for line in lines:
        out.print(line, markup=False)
    if problems:
        raise InvalidPlan("; ".join(problems.values()))
    if base is not None:
        if benchmark is None:
            raise InvalidPlan("timing a base needs the benchmark: give --benchmark FILE.jsonl")
        for line in _time_lines(base, benchmark, device, evidence, draws, sigma, design):
            out.print(line, markup=False)


def run_plan_from_distance(
    out: Console,
    *,
    base: Path | None,
    checkpoint: Path | None,
    sigma: float | None,
    benchmark: Path | None,
    draws: int | None,
    confidence: float,
    max_drop: float | None,
    min_retention: float | None,
    max_score: float | None,
) -> None:
    """Say how far a checkpoint is from its base in units of noise, and what would make distance evidence speak.

    Raises:
        InvalidPlan: no base, checkpoint or sigma was named.
        CheckpointError: the two cannot be compared.
    """
    from certify.checkpoints import difference, open_checkpoint
    from certify.noise import weight_noise

    if base is None or checkpoint is None or sigma is None:
        raise InvalidPlan("--from-distance needs --base, --checkpoint and --sigma")
    requirement, alpha = requirement_of(max_drop, min_retention, max_score), alpha_of(confidence)
    chance, _ = _benchmark(benchmark, None)
    n, opened = draws or DRAWS["distance"], open_checkpoint(base)
    found = difference(opened, open_checkpoint(checkpoint))
    law = weight_noise({name: opened.parameters[name].size for name in found.norms}, sigma)
    r = float(mahalanobis([found.norms[name] for name in law.sigma], list(law.sigma.values())))
    out.print(f"||delta|| = {found.delta_norm:.4g} over {found.dimension:,} weights", markup=False)
    if found.differences:
        r = math.inf
        out.print("r is infinite: " + "; ".join(found.differences), markup=False)
    else:
        out.print(f"{law.describe()}: r = {up(r, 1)} sigma", markup=False)
    for line in _vacuity_lines(r, n, alpha, requirement, chance):
        out.print(line, markup=False)
    for line in _cure_lines(found.delta_norm, law, n, alpha, requirement, chance):
        out.print(line, markup=False)


def _benchmark(benchmark: Path | None, items: int | None) -> tuple[float, int | None]:
    """Return chance and the number of items: the benchmark's where one is named."""
    if benchmark is None:
        return 0.0, items
    from certify.benchmarks import open_benchmark

    opened = open_benchmark(benchmark)
    return opened.chance, items or len(opened.items)


def _table(
    sizes: Mapping[str, int | None],
    problems: Container[str],
    requirement: Requirement,
    alpha: float,
    chance: float,
    true_lost: float | None,
    power: float,
    design: DrawDesign,
) -> Table:
    table = Table(header_style="bold")
    for column in ("evidence", "needed if nothing is lost", "given", "can pass"):
        table.add_column(column)
    if true_lost is not None:
        table.add_column(f"for {100 * power:g} % power if {100 * true_lost:g} % are lost")
    for kind, n in sizes.items():
        floor = smallest_n(kind, requirement, alpha, chance, design=design)
        shown = "more than a million" if floor is None else f"{floor:,}"
        given = ["-", "-"] if n is None else [f"{n:,}", "no" if kind in problems else "yes"]
        row = [kind, f"{shown} {counted(kind)}", *given]
        if true_lost is not None:
            row.append(_with_power(kind, requirement, alpha, chance, true_lost, power))
        table.add_row(*row)
    return table


def _with_power(
    kind: str, requirement: Requirement, alpha: float, chance: float, true_lost: float, power: float
) -> str:
    """Return the items at which a gate passes with the wanted power, from there on; position needs all its points."""
    if counted(kind) == "draws":
        return "depends on the scores: pilot"
    each = power if kind == "point" else 1.0 - (1.0 - power) / len(FRACTIONS)
    found = items_for_power(requirement, alpha, chance, true_lost, each)
    return f"more than {LARGEST_WITH_POWER:,} items" if found is None else f"{found.n_hold:,} items"


def _items_lines(
    evidence: Sequence[str], requirement: Requirement, true_lost: float | None, power: float
) -> Iterator[str]:
    if true_lost is None or not {"point", "position"} & set(evidence):
        return
    event = "still answered at the checkpoint" if requirement.unit == "absence" else "lost, none gained"
    yield (
        f"power: exact binomial, each item {event} with probability {true_lost:g} independently, a base "
        f"{'wrong' if requirement.unit == 'absence' else 'right'} on all items; the numbers hold from there on"
    )
    if "position" in evidence:
        yield (
            f"position: all {len(FRACTIONS)} points pass with probability at least {power:g} (union bound), given "
            "alpha* <= sigma*"
        )


def _distance_lines(n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign) -> Iterator[str]:
    """Say how far n perfect draws at the base reach."""
    reach = largest_distance(n, requirement, alpha, chance, design)
    yield (
        f"distance, {n:,} perfect draws: the requirement holds up to r = {down(reach, 2)} sigma"
        if reach >= 0
        else f"distance, {n:,} draws: even perfect ones miss the requirement at r = 0"
    )
    if design == "pairs":
        yield "pairs bound the mean alone: no event or percentile is certified"
    else:
        event = float(largest_radius(n, 0, alpha))
        yield f"an event (a score that half of all draws keep) is certified up to r = {down(event, 2)} sigma"
    if chance > 0 and requirement.unit != "absence":
        edge = vacuous_from(n, alpha, chance, design)
        yield f"from r = {up(edge, 2)} sigma on even perfect draws are vacuous (bound at or below chance {chance:g})"


def _gate_lines(p0: float, p1: float, alpha: float, power: float, cap: int | None) -> Iterator[str]:
    """Say what a sequential gate on one checkpoint costs and errs."""
    plan = gate_plan(p0, p1, alpha=alpha, power=power, cap=cap)
    yield (
        f"sequential gate of E J(checkpoint + noise) <= {p0:g} (a perfect base assumed) against {p1:g}, at most "
        f"{plan.cap:,} draws with one item each:"
    )
    yield from gate_plan_lines(plan, power)
    early = gate_plan(p0, p1, alpha=alpha, power=power, cap=cap, futility=True)
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


def _vacuity_lines(r: float, n: int, alpha: float, requirement: Requirement, chance: float) -> Iterator[str]:
    best = 0.0 if math.isinf(r) else float(ceiling(n, alpha, r))
    if requirement.unit == "absence":
        words, outcome = f"at most {up(1.0 - best)}", "vacuous: " if best <= 0.0 else ""
    else:
        words, outcome = f"at least {down(best)}", "vacuous: " if best <= chance else ""
    tail = f", chance is {chance:g}" if outcome and requirement.unit != "absence" else ""
    yield f"{outcome}{n:,} perfect draws at the base would show a score of {words} at this distance{tail}"


def _cure_lines(
    norm: float, law: WeightNoise, n: int, alpha: float, requirement: Requirement, chance: float
) -> Iterator[str]:
    """Say what would bring the checkpoint within reach. Source: theory, "Vacuity"."""
    reach = largest_distance(n, requirement, alpha, chance)
    if reach < 0:
        yield f"no budget: even {n:,} perfect draws miss {requirement.describe()} at r = 0"
    else:
        yield (
            f"budget: {n:,} perfect draws certify {requirement.describe()} for ||delta|| up to "
            f"{down_to_digits(max(law.sigma.values()) * reach)} at this sigma; the checkpoint's is {norm:.3g}"
        )
    if norm == 0:
        return
    ratio = norm / law.noise_norm
    k = largest_subspace(ratio, n, alpha, law.dimension)
    about = f"||delta|| is {ratio:.2g} of the norm of this noise ({law.noise_norm:.3g})"
    if k == 0:
        yield (
            f"subspace: none; {about}, and even along a single direction {n:,} draws reach only "
            f"{tolerated_ratio(n, alpha, 1):.3g}"
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


def _time_lines(
    base: Path,
    benchmark: Path,
    device: str,
    evidence: Sequence[str],
    draws: int | None,
    sigma: float | None,
    design: DrawDesign,
) -> Iterator[str]:
    """Time a pilot at the base, foresee measure and check, and compare the engines."""
    from certify.measuring import Base, PlannedDraws, choose_engine, sigma_grid
    from certify.measuring.pilot import TIMED, faint_sigma, pilot_costs
    from certify.measuring.plan import duration

    opened = Base.open(base, benchmark, device)
    costs, n = pilot_costs(opened), {k: draws or DRAWS.get(k, 0) for k in ORDER}
    yield (
        f"pilot, {TIMED} draws at {opened.checkpoint.name} on {device}: {duration(costs.draw)} to write a draw, "
        f"{duration(costs.item)} for one item alone, {duration(costs.benchmark)} for all {costs.items} items"
    )
    middle = faint_sigma(opened) if sigma is None else sigma
    planned = PlannedDraws(opened.weight_law(middle), n["distance"], design=design)
    choice = choose_engine(opened, [planned], sigma_grid(middle))
    seconds = costs.measure(1, n["distance"], design) if choice.seconds is None else choice.seconds
    yield (
        f"measure: {_minutes(seconds)} (basin at 5 sigmas, {n['distance']:,} draws); "
        f"choosing sigma adds {_minutes(costs.choosing())} at most"
    )
    yield from choice.reasons if sigma is not None else choice.reasons[:2]  # so faint a noise shows no correlation
    parts = ", ".join(f"{k} {_minutes(costs.check(k, n[k], len(FRACTIONS)))}" for k in evidence)
    yield f"check of one checkpoint, beside reading its weights: {parts}"


def down_to_digits(x: float, digits: int = 3) -> str:
    """Format a positive number to significant digits, rounded down."""
    return "0" if x <= 0 else f"{floor_to(x, max(0, digits - 1 - math.floor(math.log10(x)))):g}"


def _minutes(seconds: float) -> str:
    if seconds == 0.0:
        return "no time"
    return "under 0.1 minutes" if seconds < 6.0 else f"{seconds / 60:.1f} minutes"
