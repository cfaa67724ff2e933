"""``certify plan``: what a gate needs before anything is drawn. Imports torch only when a base is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.options import (
    ASKED,
    Asked,
    DesignName,
    DesignOption,
    DeviceOption,
    PriceOption,
    names,
    spread,
)
from certify.cli.output import out, say
from certify.errors import InvalidPlan

if TYPE_CHECKING:
    from certify.cli.plan_lines import Goal

EVERY = "point,position,smoothed,distance,audit"


@spread()
def plan(
    base: Annotated[
        Path | None, typer.Argument(help="Folder (or hf://...) of a base to time on --benchmark.", show_default=False)
    ] = None,
    *,
    benchmark: Annotated[
        Path | None, typer.Option("--benchmark", "-b", help="File of items: their number and their chance.")
    ] = None,
    evidence: Annotated[
        str, typer.Option(help="Kinds of evidence to plan for, comma-separated.", rich_help_panel=ASKED)
    ] = EVERY,
    items: Annotated[
        int | None, typer.Option(min=1, help="Items, or groups of them, at hand (the benchmark's if absent).")
    ] = None,
    draws: Annotated[int | None, typer.Option("--draws", "-n", min=1, help="Draws that can be afforded.")] = None,
    asked: Asked,
    true_lost: Annotated[
        float | None,
        typer.Option(help="Expected share of items lost; adds sizes with power.", rich_help_panel=ASKED),
    ] = None,
    power: Annotated[
        float, typer.Option(help="Wanted probability that a good checkpoint passes.", rich_help_panel=ASKED)
    ] = 0.9,
    p1: Annotated[
        float | None,
        typer.Option(help="Plan a sequential gate that should pass at this score.", rich_help_panel=ASKED),
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option(min=1, help="Plan a cover with so many windows in all, side by side.", rich_help_panel=ASKED),
    ] = None,
    from_distance: Annotated[
        bool, typer.Option("--from-distance", help="Plan for one checkpoint's distance; reads weights only.")
    ] = False,
    of_base: Annotated[Path | None, typer.Option("--base", help="With --from-distance: the base.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="With --from-distance: the checkpoint.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Noise on every weight, with --from-distance or for timing a base.")
    ] = None,
    design: DesignOption = "table",
    device: DeviceOption = "cpu",
    price_per_hour: PriceOption = None,
) -> None:
    """Say what a gate needs before anything is drawn. Exit 2 if the given items or draws can never pass."""
    from certify.cli.plan_lines import (
        ORDER,
        POOLED,
        cover_lines,
        distance_lines,
        from_distance_lines,
        items_lines,
        plan_table,
        pool_lines,
        sequential_lines,
        time_lines,
    )
    from certify.evidence import KINDS
    from certify.evidence.feasibility import counted, infeasible_pool

    if from_distance:
        origin = of_base or base
        if origin is None or checkpoint is None or sigma is None:
            raise InvalidPlan("--from-distance needs --base, --checkpoint and --sigma")
        if unheard := [option for option, value in {"--windows": windows, "--p1": p1}.items() if value is not None]:
            raise InvalidPlan(f"{unheard[0]}: --from-distance plans distance evidence alone; leave one of them out")
        goal, _ = _goal(asked, benchmark)
        say(*from_distance_lines(goal, origin, checkpoint, sigma, draws))
        return
    kinds = names(evidence)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise InvalidPlan(f"unknown evidence {', '.join(unknown) or '(none)'}; choose from {', '.join(ORDER)}")
    goal, at_hand = _goal(asked, benchmark, design)
    if goal.pool is not None:
        given = {"--windows": windows, "--p1": p1, "--items": items}
        if unheard := [option for option, value in given.items() if value is not None]:
            raise InvalidPlan(f"{benchmark} is a pool, for which {unheard[0]} plans nothing; name one benchmark")
        if evidence == EVERY:
            kinds = list(POOLED)
        if other := [kind for kind in kinds if kind not in POOLED]:
            raise InvalidPlan(f"a pool is judged by {' and '.join(POOLED)} evidence; plan {', '.join(other)} for each")
        say(goal.describe(), *pool_lines(goal, goal.pool, kinds, true_lost))
        if "point" in kinds and (problem := infeasible_pool(goal.pool, goal.requirement, goal.alpha)):
            raise InvalidPlan(problem)
        if (timed := base or of_base) and benchmark is not None:
            for line in time_lines(goal, timed, benchmark, device, kinds, draws, sigma, price_per_hour):
                say(line)
        return
    sizes = {kind: (items or goal.units(kind, at_hand)) if counted(kind) == "items" else draws for kind in kinds}
    problems = {kind: found for kind, n in sizes.items() if n and (found := goal.problem(kind, n))}
    say(goal.describe())
    out.print(plan_table(goal, sizes, problems, true_lost, power))
    lines = list(items_lines(goal, kinds, true_lost, power))
    if "distance" in kinds:
        lines += distance_lines(goal, draws)
    if p1 is not None:
        lines += sequential_lines(goal, p1, power, draws)
    if windows is not None:
        lines += cover_lines(goal, windows, draws, true_lost, power)
    say(*lines)
    if problems:
        raise InvalidPlan("; ".join(problems.values()))
    if timed := base or of_base:
        if benchmark is None:
            raise InvalidPlan("timing a base needs the benchmark: give --benchmark FILE.jsonl")
        for line in time_lines(goal, timed, benchmark, device, kinds, draws, sigma, price_per_hour):
            say(line)  # at once: each took its time


def _goal(asked: Asked, benchmark: Path | None, design: DesignName = "table") -> tuple[Goal, int | None]:
    """Return what is planned for, and the number of items: the benchmark's where one is named."""
    from certify.cli.plan_lines import Goal

    requirement, alpha = asked.requirement, asked.alpha
    if benchmark is None:
        return Goal(requirement, alpha, 0.0, design), None
    from certify.benchmarks import open_pool_or_benchmark

    opened = open_pool_or_benchmark(benchmark)
    pool = getattr(opened, "identity", None)
    return Goal(requirement, alpha, opened.chance, design, opened.groups, pool), len(opened.items)
