"""``certify verify``: torch is imported only when weights are to be hashed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.exits import Exit, of_error, worst
from certify.cli.options import SubspaceOption, spread
from certify.cli.output import say
from certify.errors import ActivationRefused, CertificateMismatch, InvalidPlan

if TYPE_CHECKING:
    from certify.certificate import AnyDocument

ONLY_WEIGHTS = (
    "Of the named folders only the weights were compared: version 1 recorded the bytes of the other files, not what "
    "they mean."
)


@dataclass(frozen=True)
class Beside:
    """What is held against each file beside itself: other files, and draws that are made again."""

    base: Annotated[Path | None, typer.Option(help="Also hash this base.")] = None
    checkpoint: Annotated[Path | None, typer.Option(help="Also hash this checkpoint.")] = None
    benchmark: Annotated[Path | None, typer.Option(help="Also hash this benchmark.")] = None
    replay: Annotated[int, typer.Option(min=0, help="Draw this many stored draws at the base again.")] = 0
    audit: Annotated[int, typer.Option(min=0, help="Re-run this many activation-space draws as ordinary models.")] = 0
    subspace: SubspaceOption = None

    @property
    def draws(self) -> bool:
        """Whether anything is drawn again."""
        return bool(self.replay or self.audit)


@spread()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Certificates or measurements.", show_default=False)],
    beside: Beside,
) -> None:
    """Recompute everything that a file claims from what it stores. Exit 0 valid, 4 contradiction."""
    raise typer.Exit(worst([_verified(file, beside) for file in files]))


def _verified(file: Path, beside: Beside) -> Exit:
    """Verify one file and print what was found."""
    from certify.certificate import Measurement, read_document
    from certify.verify import PROOF_LIMIT, differences

    try:
        document = read_document(file)
    except CertificateMismatch as error:
        say(f"INVALID  {error}")
        return of_error(error)
    weights = _weights_drawn_at(document, beside) if beside.draws else None
    lines, said = differences(document) + _hashes(document, beside), [PROOF_LIMIT]
    if weights is not None and not lines:
        lines, said = _drawn_again(document, *weights, beside)
    if document.version == 1 and (beside.base or beside.checkpoint):
        said.append(ONLY_WEIGHTS)
    if lines:
        say(f"INVALID  {file}", *(f"    {line}" for line in lines))
        return Exit.CONTRADICTION
    say(f"VALID  {file}")
    if not isinstance(document, Measurement):
        say(f"    {document.verdict.upper()}: {document.claim_text}")
    say(*(f"    {line}" for line in said))
    return Exit.CERTIFIED


def _weights_drawn_at(document: AnyDocument, beside: Beside) -> tuple[Path, Path]:
    """Return weights and items to draw with: a gate's draws lie at its checkpoint, all others at the base.

    Raises:
        InvalidPlan: they were not named.
    """
    from certify.certificate import GateRecord

    part, weights = ("checkpoint", beside.checkpoint) if isinstance(document, GateRecord) else ("base", beside.base)
    if weights is None or beside.benchmark is None:
        option = "--replay" if beside.replay else "--audit"
        raise InvalidPlan(f"{option} needs the weights and the items: name --{part} and --benchmark")
    return weights, beside.benchmark


def _drawn_again(document: AnyDocument, weights: Path, benchmark: Path, beside: Beside) -> tuple[list[str], list[str]]:
    """Return what a replay and an audit contradict, and what to say if they contradict nothing."""
    from certify.measuring import Base
    from certify.measuring.replay import audit, audit_lines, replay
    from certify.noise import open_subspace

    base, lines, said = Base.open(weights, benchmark), list[str](), list[str]()
    try:
        if beside.replay:
            lines += replay(document, base, beside.replay, [open_subspace(path) for path in beside.subspace or ()])
            said.append(f"Drawn again, {beside.replay} of each run: the same scores.")
        if beside.audit:
            found = list(audit_lines(audit(document, base, beside.audit), beside.audit))
            lines += [line for line, passed in found if not passed]
            said += [line for line, _ in found]
    except ActivationRefused as refusal:
        lines.append(f"the recorded engine cannot have drawn this: {refusal}")
    return lines, said


def _hashes(document: AnyDocument, beside: Beside) -> list[str]:
    """Hash the files that were named and compare them with the identities in the record."""
    from certify.certificate import Certificate, GateRecord
    from certify.records import same_model

    lines = []
    recorded = {"base": document.base}
    if isinstance(document, Certificate | GateRecord):
        recorded["checkpoint"] = document.checkpoint
    for part, path in (("base", beside.base), ("checkpoint", beside.checkpoint)):
        if path is None:
            continue
        if part not in recorded:
            lines.append(f"{part}: the file is about a base and names no {part}")
            continue
        from certify.checkpoints import open_checkpoint

        if not same_model(open_checkpoint(path).identity, recorded[part]):
            lines.append(f"{part}: {path} is not what was measured (recorded {recorded[part].weights})")
    if beside.benchmark is not None:
        from certify.benchmarks import open_benchmark

        found = open_benchmark(beside.benchmark).digest
        if found != document.benchmark.digest:
            lines.append(f"benchmark: {beside.benchmark} has digest {found}, recorded {document.benchmark.digest}")
    return lines
