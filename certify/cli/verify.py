"""``certify verify``: torch is imported only when weights are to be hashed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from certify.certificate import AnyDocument, Certificate, GateRecord, Measurement, read_document
from certify.cli.exits import Exit, of_error
from certify.errors import ActivationRefused, CertificateMismatch, InvalidPlan
from certify.records import same_model
from certify.verify import PROOF_LIMIT, differences

ONLY_WEIGHTS = (
    "Of the named folders only the weights were compared: version 1 recorded the bytes of the other files, not what "
    "they mean."
)


@dataclass(frozen=True)
class OtherFiles:
    """Files named beside the record, to be held against it."""

    base: Path | None
    checkpoint: Path | None
    benchmark: Path | None
    subspaces: tuple[Path, ...]

    def require_weights(self, document: AnyDocument, option: str) -> None:
        """Refuse to draw again what was not named: a gate's draws lie at its checkpoint, all others at the base."""
        part = "checkpoint" if isinstance(document, GateRecord) else "base"
        if getattr(self, part) is None or self.benchmark is None:
            raise InvalidPlan(f"{option} needs the weights and the items: name --{part} and --benchmark")


def run_verify(out: Console, file: Path, others: OtherFiles, replayed: int = 0, audited: int = 0) -> Exit:
    """Verify one file and print what was found.

    ``replayed`` of its runs' draws are drawn again and scored, ``audited`` draws of its activation-space runs are
    re-run as ordinary models, if these are not 0.
    """
    try:
        document = read_document(file)
    except CertificateMismatch as error:
        out.print(f"INVALID  {error}", markup=False)
        return of_error(error)
    if replayed or audited:
        others.require_weights(document, "--replay" if replayed else "--audit")
    lines, said = differences(document) + _hashes(document, others), [PROOF_LIMIT]
    if (replayed or audited) and not lines:
        lines, said = _drawn_again(document, others, replayed, audited)
    if document.version == 1 and (others.base or others.checkpoint):
        said.append(ONLY_WEIGHTS)
    if lines:
        out.print(f"INVALID  {file}", markup=False)
        for line in lines:
            out.print(f"    {line}", markup=False)
        return Exit.CONTRADICTION
    out.print(f"VALID  {file}", markup=False)
    if not isinstance(document, Measurement):
        out.print(f"    {document.verdict.upper()}: {document.claim_text}", markup=False)
    for line in said:
        out.print(f"    {line}", markup=False)
    return Exit.CERTIFIED


def _drawn_again(document: AnyDocument, others: OtherFiles, replayed: int, audited: int) -> tuple[list[str], list[str]]:
    """Return what a replay and an audit contradict, and what to say if they contradict nothing."""
    from certify.measuring import Base
    from certify.measuring.replay import audit, audit_lines, replay
    from certify.noise import open_subspace

    weights = others.checkpoint if isinstance(document, GateRecord) else others.base
    assert weights is not None
    assert others.benchmark is not None
    base, lines, said = Base.open(weights, others.benchmark), list[str](), list[str]()
    try:
        if replayed:
            lines += replay(document, base, replayed, [open_subspace(path) for path in others.subspaces])
            said.append(f"Drawn again, {replayed} of each run: the same scores.")
        if audited:
            found = audit(document, base, audited)
            lines += [line for line, passed in audit_lines(found, audited) if not passed]
            said += [line for line, _ in audit_lines(found, audited)]
    except ActivationRefused as refusal:
        lines.append(f"the recorded engine cannot have drawn this: {refusal}")
    return lines, said


def _hashes(document: AnyDocument, others: OtherFiles) -> list[str]:
    """Hash the files that were named and compare them with the identities in the record."""
    lines = []
    recorded = {"base": document.base}
    if isinstance(document, Certificate | GateRecord):
        recorded["checkpoint"] = document.checkpoint
    for part, path in (("base", others.base), ("checkpoint", others.checkpoint)):
        if path is None:
            continue
        if part not in recorded:
            lines.append(f"{part}: the file is about a base and names no {part}")
            continue
        from certify.checkpoints import open_checkpoint

        if not same_model(open_checkpoint(path).identity, recorded[part]):
            lines.append(f"{part}: {path} is not what was measured (recorded {recorded[part].weights})")
    if others.benchmark is not None:
        from certify.benchmarks import open_benchmark

        found = open_benchmark(others.benchmark).digest
        if found != document.benchmark.digest:
            lines.append(f"benchmark: {others.benchmark} has digest {found}, recorded {document.benchmark.digest}")
    return lines
