"""``certify basin``: how wide the basin of a base is, and where checkpoints lie beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from certify.cli.exits import of_verdict
from certify.cli.options import (
    WORK,
    Asked,
    BaseArgument,
    BenchmarkOption,
    EngineName,
    OverwriteOption,
    Work,
    Workers,
    parse_grid,
    spread,
)
from certify.cli.output import out, refuse_to_replace, say, say_written
from certify.cli.progress import carried_out


@spread("max_score")
def basin(
    base: BaseArgument,
    *,
    benchmark: BenchmarkOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Record to write; its figure goes beside it.", show_default=False)
    ],
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", "-c", help="Also say where this checkpoint lies; repeatable.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Ascending sigmas, comma-separated; placed by pilot draws if absent.")
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", "-n", min=0, help="Whole-benchmark draws at each sigma, for the strict share.")
    ] = 100,
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
    from certify.measuring import Base, choose_engine, measure_width, pilot_grid
    from certify.measuring.at_base import check_grid
    from certify.report.basin_figure import basin_record_figure
    from certify.report.basin_table import basin_table, summary_lines
    from certify.report.figures import save

    refuse_to_replace(output, overwrite)
    requirement, alpha, stated = asked.requirement, asked.alpha, parse_grid(grid)
    if stated is not None:
        check_grid(stated)
    opened = Base.open(base, benchmark, work.device, workers.layout(engine, work))
    with carried_out(work) as run:
        levels = stated if stated is not None else pilot_grid(opened, requirement, work.seed, run.track)
        record = measure_width(
            opened,
            levels,
            requirement=requirement,
            alpha=alpha,
            draws=draws,
            checkpoints=checkpoint or (),
            user_seed=work.seed,
            run=run,
            grid_origin="given" if stated is not None else "pilot",
            engine=choose_engine(opened, [], levels, engine=engine, user_seed=work.seed, run=run),
        )
    if run.world.rank == 0:
        out.print(basin_table(record))
        say(*summary_lines(record))
        say_written([record.to_json(output), *save(basin_record_figure(record), output.parent, output.stem)])
    raise typer.Exit(of_verdict(record.judgement.verdict))
