"""``certify basin``: how wide the basin of a base is, and where checkpoints lie; of several skills, nested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from certify.cli.exits import of_verdict
from certify.cli.options import (
    ASKED,
    WORK,
    Asked,
    BaseArgument,
    EngineName,
    OverwriteOption,
    Work,
    Workers,
    parse_grid,
    spread,
)
from certify.cli.output import out, refuse_to_replace, say, say_written
from certify.cli.progress import carried_out
from certify.errors import InvalidPlan

if TYPE_CHECKING:
    from certify.evidence import Requirement
    from certify.measuring import Base

WHOLE, SINGLE = 100, 3000  # draws at each sigma: of whole benchmarks, and of one item of each
RETENTION = 0.95  # what skills are compared at unless another is asked for
REFINED = 3


@spread("max_score")
def basin(
    base: BaseArgument,
    *,
    benchmark: Annotated[
        list[Path],
        typer.Option(
            "--benchmark",
            "-b",
            help="File of items, or lm-eval:TASK; of several skills, all under the same draws.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Record to write; its figure goes beside it.", show_default=False)
    ],
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", "-c", help="Also say where this checkpoint lies; repeatable.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Ascending sigmas, comma-separated; placed by pilot draws if absent.")
    ] = None,
    items: Annotated[
        Literal["population", "fixed"] | None,
        typer.Option(
            help="What the items stand for: a population, each under one draw; or themselves, asked at random by as "
            "many draws as one likes (fixed, always so with several benchmarks).",
            rich_help_panel=ASKED,
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws",
            "-n",
            min=0,
            help=f"Draws at each sigma: of whole benchmarks, for the strict share ({WHOLE}); with fixed items of one "
            f"random item of each benchmark ({SINGLE}).",
        ),
    ] = None,
    refine: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help=f"With fixed items: sigmas placed between what was certified and refuted, for half of alpha "
            f"({REFINED}).",
        ),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="Engine of the width; auto times both on pilot draws.", rich_help_panel=WORK),
    ] = "auto",
    asked: Asked,
    work: Work,
    workers: Workers,
    overwrite: OverwriteOption = False,
) -> None:
    """Say how wide the basin of a base is. Exit 0 if some sigma is certified, 1 if the smallest is refuted, else 3."""
    from certify.checkpoints import open_checkpoint
    from certify.measuring import Base, choose_engine, measure_width, pilot_grid
    from certify.measuring.at_base import PlannedDraws, check_grid
    from certify.report.basin_figure import basin_record_figure
    from certify.report.basin_table import basin_table, summary_lines
    from certify.report.figures import save

    refuse_to_replace(output, overwrite)
    requirement, alpha, stated = asked.requirement, asked.alpha, parse_grid(grid)
    if stated is not None:
        check_grid(stated)
    layout = workers.layout(engine, work)
    if len(benchmark) > 1 or items == "fixed":
        if layout is not None:
            raise InvalidPlan("--engine vllm: it measures one skill on a population of items; leave it out here")
        if items == "population":
            raise InvalidPlan("--items population: the basins of several skills speak of exactly the items that stand "
                              "in their files; leave it out, or ask for one skill")  # fmt: skip
        if checkpoint:
            raise InvalidPlan("--checkpoint: places of checkpoints stand beside the basin of one skill on a population "
                              "of items; leave it out here")  # fmt: skip
        if len(benchmark) > 1 and asked.max_drop is None and asked.min_retention is None:
            from certify.evidence import Requirement

            requirement = Requirement(unit="retention", limit=RETENTION)
        single, more = SINGLE if draws is None else draws, REFINED if refine is None else refine
        opened = _opened(base, benchmark, work.device)
        _fixed(opened, requirement, alpha, stated, single, more, engine, work, output)
    if refine is not None:
        raise InvalidPlan("--refine: a grid is refined on fixed items only; add --items fixed")
    opened = Base.open(base, benchmark[0], work.device, layout)
    beside = [open_checkpoint(path, opened.checkpoint) for path in checkpoint or ()]
    whole = WHOLE if draws is None else draws
    with carried_out(work) as run:
        levels = stated if stated is not None else pilot_grid(opened, requirement, work.seed, run)
        strict = [PlannedDraws(opened.weight_law(sigma), whole) for sigma in levels] if whole else []
        record = measure_width(
            opened,
            levels,
            requirement=requirement,
            alpha=alpha,
            draws=whole,
            checkpoints=beside,
            user_seed=work.seed,
            run=run,
            grid_origin="given" if stated is not None else "pilot",
            engine=choose_engine(opened, strict, levels, engine=engine, user_seed=work.seed, run=run),
        )
    if run.world.rank == 0:
        out.print(basin_table(record))
        say(*summary_lines(record))
        say_written([record.to_json(output), *save(basin_record_figure(record), output.parent, output.stem)])
    raise typer.Exit(of_verdict(record.judgement.verdict))


def _opened(base: Path, benchmarks: Sequence[Path], device: str) -> Base:
    """Open a base with one benchmark, or with all of them as one pool."""
    from certify.benchmarks import PooledBenchmark, open_benchmark
    from certify.measuring import Base

    found = [open_benchmark(each) for each in benchmarks]
    return Base.open(base, found[0] if len(found) == 1 else PooledBenchmark.alike(found), device)


def _fixed(
    opened: Base,
    requirement: Requirement,
    alpha: float,
    stated: Sequence[float] | None,
    draws: int,
    refine: int,
    engine: EngineName,
    work: Work,
    output: Path,
) -> None:
    """Measure on fixed items, say what was found, and exit by it."""
    from certify.measuring import choose_engine
    from certify.measuring.item_trials import EXPLICIT
    from certify.measuring.skills import measure_skills, skills_grid
    from certify.report.figures import save
    from certify.report.skills_figure import skills_figure
    from certify.report.skills_table import skills_lines, skills_table

    several = opened.scorer.identity.pool is not None
    if several and engine == "activation":
        raise InvalidPlan("--engine activation: several skills see the same draws only where these are written into "
                          "the weights; leave it out")  # fmt: skip
    if draws < 1:
        raise InvalidPlan("--draws 0: fixed items are asked by draws, and none are left")
    with carried_out(work) as run:
        levels = stated if stated is not None else skills_grid(opened, requirement, work.seed, run)
        record = measure_skills(
            opened,
            levels,
            requirement=requirement,
            draws=draws,
            refine=refine,
            alpha=alpha,
            user_seed=work.seed,
            run=run,
            grid_origin="given" if stated is not None else "pilot",
            engine=EXPLICIT
            if several
            else choose_engine(opened, [], levels, engine=engine, user_seed=work.seed, run=run),
        )
    if run.world.rank == 0:
        out.print(skills_table(record))
        say(*skills_lines(record))
        say_written([record.to_json(output), *save(skills_figure(record), output.parent, output.stem)])
    raise typer.Exit(of_verdict(record.judgement.verdict))
