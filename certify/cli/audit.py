"""``certify audit``: checkpoints on fixed benchmarks, item by item in a random order, until it is decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from certify.cli.check import judge_each
from certify.cli.options import Asked, BaseOption, ServedByOption, Work, Workers, spread


@spread()
def audit(
    checkpoint: Annotated[
        list[Path],
        typer.Argument(help="Folder (or hf://...) of a checkpoint, or a merge's recipe; several at once.",
                       show_default=False),
    ],
    *,
    base: BaseOption,
    benchmark: Annotated[
        list[Path],
        typer.Option(
            "--benchmark", "-b", help="File of items, or a pool; each is a gate; repeatable.", show_default=False
        ),
    ],
    measurement: Annotated[
        list[Path] | None,
        typer.Option(help="The base's measurement file, which holds its scores; one for each benchmark, in any order."),
    ] = None,
    engine: ServedByOption = "transformers",
    asked: Asked,
    work: Work,
    workers: Workers,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the certificates.")] = None,
) -> None:
    """Decide on exactly these items, scoring as few as that takes. Exit 0, 1, 2, 3 as `check`."""
    judge_each(checkpoint, base, benchmark, measurement or [], ["audit"], [], asked, work, output,
               layout=workers.layout(engine, work))  # fmt: skip
