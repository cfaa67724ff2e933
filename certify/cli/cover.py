"""``certify cover``: where in a small family of checkpoints what the base can do is kept."""

from __future__ import annotations

from collections.abc import Sequence
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
    from certify.records import Axis

DRAWS = 3000
MOST_DRAWS = 10_000_000
WINDOWS = {1: 10, 2: 4}  # along each coefficient


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
    from certify.measuring import Base
    from certify.measuring.cover import measure_cover
    from certify.report.cover_figure import cover_figure
    from certify.report.cover_table import cover_lines, cover_table
    from certify.report.figures import save

    if output is not None:
        refuse_unwritable_folder(output)
    kind, path = _kind_and_path(family)
    box = _box(within, windows, width)
    with carried_out(work, filed=output) as run:
        opened = Base.open(base, benchmark[0], work.device)
        bases = [opened, *(opened.on(open_benchmark(each)) for each in benchmark[1:])]
        if len({each.benchmark.digest for each in bases}) < len(bases):
            raise InvalidPlan("--benchmark: the same items are named twice")
        models = open_family(kind, path, opened.checkpoint)
        axes = len(models.identity.coefficients)
        if len(box) != axes:
            names = " and ".join(models.identity.coefficients)
            raise InvalidPlan(f"--range: {len(box)} given, and {models.identity.title} takes {axes} ({names})")
        point = models.own if chosen is None else _point(chosen, axes)
        inside = all(axis.low <= a <= axis.high for axis, a in zip(box, point, strict=True))
        if chosen is not None and not inside:
            raise InvalidPlan(f"--chosen {chosen}: lies outside the box, of which alone something is learnt")
        records = [
            measure_cover(
                each,
                models,
                box,
                draws=draws,
                requirement=asked.requirement,
                alpha=asked.alpha,
                chosen=point if inside else None,
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


def _box(ranges: Sequence[str], windows: int | None, width: float | None) -> tuple[Axis, ...]:
    from pydantic import ValidationError

    from certify.parsing import first_problem
    from certify.records import Axis

    if len(ranges) not in WINDOWS:
        raise InvalidPlan(f"--range: {len(ranges)} given; a family has one or two coefficients")
    count, box = windows or WINDOWS[len(ranges)], []
    for text in ranges:
        ends = [number("--range", part) for part in text.split(",")]
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise InvalidInput(f"--range {shortened(text, 60)}: must be two numbers, LOW,HIGH, the lower one first")
        across = (ends[1] - ends[0]) / count if width is None else width
        try:
            box.append(Axis(low=ends[0], high=ends[1], windows=count, width=across))
        except ValidationError as error:
            raise InvalidInput(f"--range {shortened(text, 60)}: {first_problem(error)}") from None
    return tuple(box)


def _point(text: str, axes: int) -> tuple[float, ...]:
    point = tuple(number("--chosen", part) for part in text.split(","))
    if len(point) != axes:
        raise InvalidInput(f"--chosen {shortened(text, 60)}: must be {axes} number{'s' * (axes > 1)}")
    return point
