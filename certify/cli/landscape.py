"""``certify landscape``: a base and its surroundings, explored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from certify.cli.options import (
    ASKED,
    BaseArgument,
    BenchmarkOption,
    OverwriteOption,
    Work,
    names,
    number,
    spread,
)
from certify.cli.output import out, refuse_to_replace, say
from certify.cli.progress import carried_out

RECORD = "landscape.json"


@spread("processes")
def landscape(
    base: BaseArgument,
    *,
    benchmark: BenchmarkOption,
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
    from certify.landscape.survey import Settings, explore
    from certify.measuring import Base
    from certify.report.figures import save
    from certify.report.landscape_figures import landscape_figures
    from certify.report.landscape_table import print_landscape

    refuse_to_replace(output / RECORD, overwrite)
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
    opened = Base.open(base, benchmark, work.device)
    with carried_out(work) as run:
        found = explore(
            opened,
            checkpoints=checkpoint or (),
            cases=None if cases is None else names(cases),
            settings=settings,
            user_seed=work.seed,
            run=run,
        )
    written = [found.to_json(output / RECORD)]
    for name, figure in landscape_figures(found).items():
        written += save(figure, output, name)
    print_landscape(out, found)
    say(f"wrote {output}: {', '.join(path.name for path in written)}")
