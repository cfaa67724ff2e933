"""``certify cover``: where in a small family of checkpoints what the base can do is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.exits import of_verdict, worst
from certify.cli.options import Asked, BaseArgument, Work, number, spread
from certify.cli.output import out, say, say_written
from certify.cli.progress import carried_out
from certify.errors import InvalidInput, InvalidPlan
from certify.text import shortened
from certify.writing import refuse_unwritable_folder

if TYPE_CHECKING:
    from certify.checkpoints.family import FamilyKind

DRAWS = 3000
MOST_DRAWS = 10_000_000


@spread()
def cover(
    base: BaseArgument,
    *,
    family: Annotated[
        str,
        typer.Option(
            metavar="KIND:PATH",
            help="segment:CHECKPOINT, adapter:FOLDER (a LoRA's scale) or merge:RECIPE (its weights).",
            show_default=False,
        ),
    ],
    within: Annotated[
        list[str],
        typer.Option(
            "--range",
            metavar="LOW,HIGH",
            help="Range of the coefficient (of a segment 0 is the base, 1 the checkpoint); of two, one for each.",
            show_default=False,
        ),
    ],
    benchmark: Annotated[
        list[Path],
        typer.Option("--benchmark", "-b", help="File of items, covered by itself; repeatable.", show_default=False),
    ],
    draws: Annotated[
        int, typer.Option("--draws", "-n", min=1, max=MOST_DRAWS, help="Draws of one point and one item each.")
    ] = DRAWS,
    windows: Annotated[
        int | None, typer.Option(min=1, help="Windows along each coefficient (10; of two coefficients 4).")
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Their width along each coefficient, where they are to overlap.")
    ] = None,
    chosen: Annotated[
        str | None, typer.Option(metavar="A[,B]", help="The point to mark, that of the checkpoint itself if absent.")
    ] = None,
    asked: Asked,
    work: Work,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for records and figures.")] = None,
) -> None:
    """Say where in a family of checkpoints a skill is kept, by random points with one item each. Exit as `check`."""
    from certify.benchmarks import open_benchmark
    from certify.checkpoints.family import open_family
    from certify.evidence.cover import box_of
    from certify.measuring import Base
    from certify.measuring.cover import measure_cover
    from certify.report.cover_figure import cover_figure
    from certify.report.cover_table import cover_lines, cover_table
    from certify.report.figures import save

    if output is not None:
        refuse_unwritable_folder(output)
    kind, path = _kind_and_path(family)
    box = box_of([_range(text) for text in within], windows, width)
    with carried_out(work, filed=output) as run:
        opened = Base.open(base, benchmark[0], work.device)
        bases = [opened, *(opened.on(open_benchmark(each)) for each in benchmark[1:])]
        if len({each.benchmark.digest for each in bases}) < len(bases):
            raise InvalidPlan("--benchmark: the same items are named twice")
        models = open_family(kind, path, opened.checkpoint)
        records = [
            measure_cover(
                each,
                models,
                box,
                draws=draws,
                requirement=asked.requirement,
                alpha=asked.alpha,
                chosen=None if chosen is None else [number("--chosen", part) for part in chosen.split(",")],
                user_seed=work.seed,
                run=run,
            )
            for each in bases
        ]
    if run.world.rank == 0:
        for record in records:
            out.print(cover_table(record))
            say(*cover_lines(record))
            if output is not None:
                file = record.file_in(output)
                say_written([file, *save(cover_figure(record), output, file.stem)])
    raise typer.Exit(worst([of_verdict(record.judgement.verdict) for record in records]))


def _kind_and_path(text: str) -> tuple[FamilyKind, Path]:
    from certify.checkpoints.family import FAMILIES

    kind, colon, path = text.partition(":")
    for known in FAMILIES:
        if kind == known and colon and path:
            return known, Path(path)
    raise InvalidInput(f"--family {shortened(text, 60)}: must be KIND:PATH, KIND one of {', '.join(FAMILIES)}")


def _range(text: str) -> tuple[float, float]:
    low, comma, high = text.partition(",")
    if not comma or "," in high:
        raise InvalidInput(f"--range {shortened(text, 60)}: must be two numbers, LOW,HIGH, the lower one first")
    return number("--range", low), number("--range", high)
