"""``certify check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from certify.certificate import Certificate, read_measurement
from certify.checkpoints import open_checkpoint
from certify.checkpoints.compare import spelling_differences
from certify.cli.progress import carried_out
from certify.evidence import alpha_of, requirement_of
from certify.joint import holm_certified
from certify.measuring import Base
from certify.measuring import check as check_checkpoint
from certify.noise import open_subspace
from certify.report.rows import Row, row_of
from certify.report.table import verdict_table


def run_check(
    out: Console,
    *,
    checkpoint: Path,
    base: Path,
    benchmark: Path,
    required: Sequence[str],
    informational: Sequence[str],
    measurement: Path | None,
    sigma: float | None,
    subspaces: Sequence[Path],
    draws: int,
    items: Literal["population", "fixed"] | None,
    confidence: float,
    max_drop: float | None,
    min_retention: float | None,
    max_score: float | None,
    seed: int,
    device: str,
    processes: int,
    draws_dir: Path | None,
    output: Path | None,
    verbose: bool,
) -> list[Certificate]:
    """Judge one checkpoint, print the table and the claims, and write certificates if a folder is named."""
    with carried_out(processes, device, draws_dir) as run:
        opened, judged = Base.open(base, benchmark, device), open_checkpoint(checkpoint)
        certificates = list(
            check_checkpoint(
                opened,
                judged,
                kinds=[*required, *informational],
                requirement=requirement_of(max_drop, min_retention, max_score),
                alpha=alpha_of(confidence),
                measurement=read_measurement(measurement) if measurement else None,
                sigma=sigma,
                draws=draws,
                subspaces=[open_subspace(path) for path in subspaces],
                items=items,
                user_seed=seed,
                run=run,
            )
        )
    if run.world.rank > 0:
        return certificates
    rows = [row_of(c) for c in certificates]
    out.print(verdict_table(rows, informational))
    print_claims(out, rows)
    if verbose:
        for line in spelling_differences(opened.checkpoint, judged) or ["nothing"]:
            out.print(f"spelled differently beside the weights: {line}", markup=False)
    decisive = [c for c in certificates if c.evidence.kind in required]
    if len(decisive) > 1:
        out.print(holm_line(decisive, alpha_of(confidence)), markup=False)
    if output is not None:
        for certificate in certificates:
            out.print(f"wrote {certificate.to_json(output / certificate.file_name)}", markup=False)
    return certificates


def print_claims(out: Console, rows: Sequence[Row]) -> None:
    """Print one sentence for each verdict, and its notes."""
    for row in rows:
        out.print(f"{row.checkpoint}, {row.evidence}: {row.claim}", markup=False)
        for note in row.notes:
            out.print(f"    {note}", markup=False)


def holm_line(certificates: Sequence[Certificate], alpha: float) -> str:
    """Say which of several gates hold jointly, by Holm's procedure."""
    holds = holm_certified(certificates, alpha)
    held = ", ".join(c.evidence.kind for c, yes in zip(certificates, holds, strict=True) if yes)
    return f"Holm over {len(holds)} gates at {alpha:g}: {sum(holds)} certified jointly{held and f' ({held})'}"
