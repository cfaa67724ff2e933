"""``certify check``: one checkpoint, judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from certify.cli.exits import of_verdict, worst
from certify.cli.options import (
    ASKED,
    Asked,
    BaseOption,
    BenchmarkOption,
    CheckpointArgument,
    SubspaceOption,
    Work,
    names,
    spread,
)
from certify.cli.output import out, say, say_written
from certify.cli.progress import carried_out

if TYPE_CHECKING:
    from certify.certificate import Certificate


@spread()
def check(
    checkpoint: CheckpointArgument,
    *,
    base: BaseOption,
    benchmark: BenchmarkOption,
    require: Annotated[
        str, typer.Option(help="Evidence that sets the verdict, comma-separated.", rich_help_panel=ASKED)
    ] = "point",
    also: Annotated[
        str, typer.Option(help="Evidence shown for information only, comma-separated.", rich_help_panel=ASKED)
    ] = "",
    measurement: Annotated[Path | None, typer.Option(help="The base's measurement file.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Noise of smoothed evidence (the measurement's if absent).")
    ] = None,
    subspace: SubspaceOption = None,
    draws: Annotated[int, typer.Option("--draws", "-n", min=1, help="Paired draws of smoothed evidence.")] = 200,
    items: Annotated[
        Literal["population", "fixed"] | None,
        typer.Option(
            help="What the items stand for (a population for point and position, else fixed).", rich_help_panel=ASKED
        ),
    ] = None,
    asked: Asked,
    work: Work,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the certificates.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is spelled differently, too.")] = False,
) -> None:
    """Judge one checkpoint. Exit 0 certified, 1 refuted, 2 bad input, 3 undecided, 4 contradiction."""
    from certify.certificate import read_measurement
    from certify.checkpoints import open_checkpoint
    from certify.checkpoints.difference import spelling_differences
    from certify.measuring import Base
    from certify.measuring import check as check_checkpoint
    from certify.noise import open_subspace

    required = names(require)
    informational = [kind for kind in names(also) if kind not in required]
    with carried_out(work) as run:
        opened, judged = Base.open(base, benchmark, work.device), open_checkpoint(checkpoint)
        judgements = check_checkpoint(
            opened,
            judged,
            kinds=required,
            informational=informational,
            requirement=asked.requirement,
            alpha=asked.alpha,
            measurement=read_measurement(measurement) if measurement else None,
            sigma=sigma,
            draws=draws,
            subspaces=[open_subspace(path) for path in subspace or ()],
            items=items,
            user_seed=work.seed,
            run=run,
        )
        certificates = list(judgements)
    decisive = [c for c in certificates if not c.informational]
    if run.world.rank == 0:
        say_verdicts(certificates)
        if verbose:
            spelled = spelling_differences(opened.checkpoint, judged) or ["nothing"]
            say(*(f"spelled differently beside the weights: {line}" for line in spelled))
        if len(decisive) > 1:
            say(_holm_line(decisive, asked.alpha))
        if output is not None:
            say_written(c.to_json(output / c.file_name) for c in certificates)
    raise typer.Exit(worst(of_verdict(c.judgement.verdict) for c in decisive))


def say_verdicts(certificates: Sequence[Certificate]) -> None:
    """Print the table of verdicts, then one sentence for each, and its notes."""
    from certify.report.rows import row_of
    from certify.report.table import verdict_table

    rows = [row_of(c) for c in certificates]
    out.print(verdict_table(rows))
    for row in rows:
        say(f"{row.checkpoint}, {row.evidence}: {row.claim}", *(f"    {note}" for note in row.notes))


def _holm_line(certificates: Sequence[Certificate], alpha: float) -> str:
    """Say which of several gates hold jointly, by Holm's procedure."""
    from certify.joint import holm_certified

    holds = holm_certified(certificates, alpha)
    held = ", ".join(c.evidence.kind for c, yes in zip(certificates, holds, strict=True) if yes)
    return f"Holm over {len(holds)} gates at {alpha:g}: {sum(holds)} certified jointly{held and f' ({held})'}"
