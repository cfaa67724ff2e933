"""``certify verify``: torch is imported only when weights are to be hashed."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from certify.certificate import Certificate, Measurement, read_document
from certify.cli.exits import Exit, of_error
from certify.errors import CertificateMismatch
from certify.records import identity_key
from certify.verify import PROOF_LIMIT, differences


def run_verify(out: Console, file: Path, *, base: Path | None, checkpoint: Path | None, benchmark: Path | None) -> Exit:
    """Verify one file and print what was found."""
    try:
        document = read_document(file)
    except CertificateMismatch as error:
        out.print(f"INVALID  {error}", markup=False)
        return of_error(error)
    lines = differences(document) + _other_files(document, base, checkpoint, benchmark)
    if lines:
        out.print(f"INVALID  {file}", markup=False)
        for line in lines:
            out.print(f"    {line}", markup=False)
        return Exit.CONTRADICTION
    out.print(f"VALID  {file}", markup=False)
    if isinstance(document, Certificate):
        out.print(f"    {document.verdict.upper()}: {document.claim_text}", markup=False)
    out.print(f"    {PROOF_LIMIT}", markup=False)
    return Exit.CERTIFIED


def _other_files(
    document: Certificate | Measurement, base: Path | None, checkpoint: Path | None, benchmark: Path | None
) -> list[str]:
    """Hash the files that were named and compare them with the identities in the record."""
    lines = []
    recorded = {"base": document.base}
    if isinstance(document, Certificate):
        recorded["checkpoint"] = document.checkpoint
    for part, path in (("base", base), ("checkpoint", checkpoint)):
        if path is None:
            continue
        if part not in recorded:
            lines.append(f"{part}: the file is a measurement, which names no {part}")
            continue
        from certify.checkpoints import open_checkpoint

        if identity_key(open_checkpoint(path).identity) != identity_key(recorded[part]):
            lines.append(f"{part}: {path} is not what was measured (recorded {recorded[part].weights})")
    if benchmark is not None:
        from certify.benchmarks import open_benchmark

        found = open_benchmark(benchmark).digest
        if found != document.benchmark.digest:
            lines.append(f"benchmark: {benchmark} has digest {found}, recorded {document.benchmark.digest}")
    return lines
