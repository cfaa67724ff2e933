"""``certify landscape``: a base and its surroundings, explored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.options import (
    ASKED,
    BaseArgument,
    OverwriteOption,
    Work,
    names,
    number,
    spread,
)
from certify.cli.output import out, refuse_to_replace, say, say_written
from certify.cli.progress import carried_out

if TYPE_CHECKING:
    from certify.landscape import Landscape

RECORD = "landscape.json"


@spread("processes", "ray", "ray_actors")
def landscape(
    base: BaseArgument,
    *,
    benchmark: Annotated[
        list[Path],
        typer.Option(
            "--benchmark",
            "-b",
            help="File of items, or lm-eval:TASK; several are looked at along the same directions.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the record and its figures.", show_default=False)
    ],
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", "-c", help="A checkpoint to look towards; repeatable.")
    ] = None,
    cases: Annotated[
        str | None,
        typer.Option(
            help="Of most, sft, worst, filter, plane, comma-separated (most, worst, with a checkpoint sft, if absent)."
        ),
    ] = None,
    directions: Annotated[int, typer.Option(min=1, help="Random directions, whose spread is shown.")] = 5,
    span: Annotated[
        float | None, typer.Option(help="How far slices go, in the unit of sigma; a pilot chooses if absent.")
    ] = None,
    points: Annotated[int, typer.Option(min=3, help="Points of a slice that are fixed beforehand; odd.")] = 21,
    refine: Annotated[int, typer.Option(min=0, help="Points added where the scores fall.")] = 12,
    side: Annotated[int, typer.Option(min=2, help="Points along each axis of a plane.")] = 15,
    attack_at: Annotated[
        str, typer.Option(help="Radii of the worst case, comma-separated (a fifth of the span if absent).")
    ] = "",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each ascent to a worst case.")] = 30,
    restarts: Annotated[int, typer.Option(min=1, help="Ascents to each worst case, from random starts.")] = 3,
    max_drop: Annotated[
        float, typer.Option(help="Allowed drop in score units: where an edge is drawn.", rich_help_panel=ASKED)
    ] = 0.05,
    work: Work,
    overwrite: OverwriteOption = False,
) -> None:
    """Look around a base: slices with their spread, an attack, the way to checkpoints. Explores; proves nothing."""
    from certify.benchmarks import PooledBenchmark, open_benchmark
    from certify.landscape.survey import SPAN, Settings, explore
    from certify.measuring import Base, pilot_sigma
    from certify.report.figures import save
    from certify.report.landscape_figures import landscape_figures, skills_landscape_figure
    from certify.report.landscape_table import print_landscape

    settings = Settings(
        directions=directions,
        span=span,
        points=points,
        refine=refine,
        side=side,
        attack_at=tuple(number("--attack-at", radius) for radius in names(attack_at)),
        steps=steps,
        restarts=restarts,
        tau=max_drop,
    )
    found = [open_benchmark(each) for each in benchmark]
    pool = PooledBenchmark.alike(found) if len(found) > 1 else None
    folders = {each.name: output / each.name if pool else output for each in found}
    for folder in folders.values():
        refuse_to_replace(folder / RECORD, overwrite)
    seen: list[Landscape] = []
    opened = Base.open(base, found[0], work.device)
    beside = Base.open(opened.checkpoint, pool, work.device).scorer.identity if pool else None
    with carried_out(work) as run:
        for each in found:
            here = opened.on(each)
            if pool and settings.span is None:  # that of the first skill serves all, so that they share one axis
                pilot = pilot_sigma(here, max_drop, work.seed, run)
                settings = replace(settings, span=float(f"{SPAN * pilot:.2g}"))
            seen.append(
                explore(
                    here,
                    checkpoints=checkpoint or (),
                    cases=None if cases is None else names(cases),
                    settings=settings,
                    user_seed=work.seed,
                    run=run,
                    beside=beside,
                )
            )
    for view, folder in zip(seen, folders.values(), strict=True):
        written = [view.to_json(folder / RECORD)]
        for name, figure in landscape_figures(view).items():
            written += save(figure, folder, name)
        print_landscape(out, view)
        say(f"wrote {folder}: {', '.join(path.name for path in written)}")
    if pool and all(each.of_case("most") for each in seen):
        say_written(save(skills_landscape_figure(seen), output, "skills"))
