"""``certify verify``: torch is imported only when weights are to be hashed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from certify.certificate import Certificate, Measurement, read_document
from certify.cli.exits import Exit, of_error
from certify.errors import CertificateMismatch, InvalidPlan
from certify.records import identity_key
from certify.verify import PROOF_LIMIT, differences


@dataclass(frozen=True)
class OtherFiles:
    """Files named beside the record, to be held against it."""

    base: Path | None
    checkpoint: Path | None
    benchmark: Path | None
    subspaces: tuple[Path, ...]


def run_verify(out: Console, file: Path, others: OtherFiles, draws: int) -> Exit:
    """Verify one file and print what was found; ``draws`` of its runs are drawn again if that is not 0."""
    if draws and (others.base is None or others.benchmark is None):
        raise InvalidPlan("--replay needs the weights and the items: name --base and --benchmark")
    try:
        document = read_document(file)
    except CertificateMismatch as error:
        out.print(f"INVALID  {error}", markup=False)
        return of_error(error)
    lines = differences(document) + _hashes(document, others)
    if draws and not lines:
        lines = _replayed(document, others, draws)
    if lines:
        out.print(f"INVALID  {file}", markup=False)
        for line in lines:
            out.print(f"    {line}", markup=False)
        return Exit.CONTRADICTION
    out.print(f"VALID  {file}", markup=False)
    if isinstance(document, Certificate):
        out.print(f"    {document.verdict.upper()}: {document.claim_text}", markup=False)
    out.print(f"    {f'Drawn again, {draws} of each run: the same scores.' if draws else PROOF_LIMIT}", markup=False)
    return Exit.CERTIFIED


def _replayed(document: Certificate | Measurement, others: OtherFiles, draws: int) -> list[str]:
    from certify.measuring import Base
    from certify.measuring.replay import replay
    from certify.noise import open_subspace

    assert others.base is not None
    assert others.benchmark is not None
    base = Base.open(others.base, others.benchmark)
    return replay(document, base, draws, [open_subspace(path) for path in others.subspaces])


def _hashes(document: Certificate | Measurement, others: OtherFiles) -> list[str]:
    """Hash the files that were named and compare them with the identities in the record."""
    lines = []
    recorded = {"base": document.base}
    if isinstance(document, Certificate):
        recorded["checkpoint"] = document.checkpoint
    for part, path in (("base", others.base), ("checkpoint", others.checkpoint)):
        if path is None:
            continue
        if part not in recorded:
            lines.append(f"{part}: the file is a measurement, which names no {part}")
            continue
        from certify.checkpoints import open_checkpoint

        if identity_key(open_checkpoint(path).identity) != identity_key(recorded[part]):
            lines.append(f"{part}: {path} is not what was measured (recorded {recorded[part].weights})")
    if others.benchmark is not None:
        from certify.benchmarks import open_benchmark

        found = open_benchmark(others.benchmark).digest
        if found != document.benchmark.digest:
            lines.append(f"benchmark: {others.benchmark} has digest {found}, recorded {document.benchmark.digest}")
    return lines
