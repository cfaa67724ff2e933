"""``certify draw``: base + one draw as a folder, for an engine that this project does not drive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from certify.cli.options import BaseArgument, ConfidenceOption, parse_grid, parse_seed
from certify.cli.output import say, say_written
from certify.errors import InvalidPlan
from certify.writing import refuse_unwritable_folder


def draw(
    base: BaseArgument,
    *,
    sigma: Annotated[float, typer.Option(help="Noise on every weight.", show_default=False)],
    number: Annotated[
        int, typer.Option("--draw", min=0, help="Which draw to write, counted from 0.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.", show_default=False)],
    draws: Annotated[
        int, typer.Option("--draws", "-n", min=1, help="Draws that are planned, fixed beforehand: all are collected.")
    ] = 200,
    grid: Annotated[
        str | None, typer.Option(help="Ascending sigmas that are planned, comma-separated (this one alone if absent).")
    ] = None,
    confidence: ConfidenceOption = 0.95,
    seed: Annotated[
        int, typer.Option(parser=parse_seed, metavar="SEED", help="User seed, shown in every record.")
    ] = 0,
) -> None:
    """Write base + one draw of noise as a folder that any engine loads; `certify collect` takes its scores back."""
    from certify.checkpoints import open_checkpoint
    from certify.evidence import Requirement, alpha_of
    from certify.evidence.feasibility import infeasible
    from certify.noise.drawn import write_draw

    if os.path.lexists(output):
        raise InvalidPlan(f"{output} exists; name another folder")
    refuse_unwritable_folder(output.absolute().parent)
    drawn = write_draw(
        open_checkpoint(base), output, sigma, number,
        draws=draws, grid=tuple(parse_grid(grid) or ()), alpha=alpha_of(confidence), user_seed=seed,
    )  # fmt: skip
    say(f"draw {number} of {draws} from {drawn.base.name}: {drawn.law.describe()}, weights {drawn.weights}")
    too_few = infeasible("distance", draws, Requirement(), drawn.alpha / len(drawn.grid), 0.0)
    if too_few and number == 0:
        say(f"note: at the default limit, {too_few}")
    say_written([output])
