"""``certify collect``: scores of draws that another engine made, brought back as a measurement. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from certify.cli.options import OverwriteOption
from certify.cli.output import refuse_to_replace, say, say_written
from certify.errors import CertificateMismatch


def collect(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders that `certify draw` made, each with its scores in it; their weights may be gone.",
                       show_default=False),
    ],
    *,
    scores: Annotated[
        Path, typer.Option(help="The base's scores: a log, a table, or a folder with one.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    metric: Annotated[str | None, typer.Option(help="Metric of the logs, where they hold several.")] = None,
    chance: Annotated[
        float | None,
        typer.Option(help="Score of a model that knows nothing (from the number of choices if absent)."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Field of the logged documents that names the group an item comes in.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Take the scores of all planned draws back into a measurement, which serves every checkpoint by distance."""
    from certify.evidence import Requirement
    from certify.evidence.feasibility import infeasible
    from certify.logs.collecting import collect as collected
    from certify.report.words import measurement_lines

    refuse_to_replace(output, overwrite)
    measurement = collected(
        folders, scores, metrics=[metric] if metric else (), chance=chance, cluster=cluster
    )
    held = _weights_held(folders)
    measurement.to_json(output)
    say(f"weights of {held} of {len(folders)} folders are still there, and are those that were written")
    say(*measurement_lines(measurement))
    draws, base_score, floor = measurement.draws[0], measurement.basin.base_score, measurement.benchmark.chance
    if too_few := infeasible("distance", draws.n, Requirement(), draws.alpha / draws.ladder, floor):
        say(f"note: at the default limit, {too_few}")
    if base_score <= floor:
        say(f"note: the base scores {base_score:.4g}, not above chance {floor:g}: whatever is kept will be vacuous")
    say_written([output])


def _weights_held(folders: Sequence[Path]) -> int:
    """Hash the weights that are still in their folders, and return of how many.

    Raises:
        CertificateMismatch: they are not those that were written there.
    """
    from certify.documents import read_draw

    held = [folder for folder in folders if any(folder.glob("*.safetensors"))]
    for folder in held:
        from certify.checkpoints import open_checkpoint

        found, recorded = open_checkpoint(folder).identity.weights, read_draw(folder).weights
        if found != recorded:
            raise CertificateMismatch(
                f"{folder}: holds other weights ({found}) than were written there ({recorded}), so its scores are of "
                "another model: write the draw again and score that"
            )
    return len(held)
