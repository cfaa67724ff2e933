"""Checked by mypy, never run: the public names have the types that their page promises."""

from pathlib import Path
from typing import assert_type

import certify
from certify import (
    Base,
    Certificate,
    CertifyError,
    Checkpoint,
    Measurement,
    PlannedDraws,
    Requirement,
    Verdict,
    check,
    compare,
    differences,
    measure_base,
    open_benchmark,
    open_checkpoint,
    read_document,
)


def gate(folder: Path) -> Verdict:
    """One call, and what it returns."""
    certificate = certify.certify(folder / "base", folder / "ft", folder / "items.jsonl", max_drop=0.02)
    assert_type(certificate, Certificate)
    assert_type(certificate.judgement.verdict, Verdict)
    return certificate.judgement.verdict


def measured(folder: Path) -> list[Certificate]:
    """Measure a base, then check a checkpoint by two kinds of evidence."""
    base = Base.open(folder / "base", open_benchmark(folder / "items.jsonl"), device="cpu")
    measurement = measure_base(base, grid=[0.01, 0.02], planned=[PlannedDraws(base.weight_law(0.01), 200)])
    assert_type(measurement, Measurement)
    checkpoint = open_checkpoint(folder / "ft")
    assert_type(checkpoint, Checkpoint)
    requirement = Requirement.model_validate({"unit": "drop", "limit": 0.05})
    return list(check(base, checkpoint, kinds=("point", "position"), requirement=requirement, measurement=measurement))


def recomputed(file: Path) -> list[str]:
    """Read a file and say what contradicts it."""
    try:
        document = read_document(file)
    except CertifyError as error:
        return [str(error)]
    return differences(document)


def change(first: Certificate, second: Certificate) -> str:
    """Compare two certificates."""
    return str(compare(first, second, alpha=0.05))


assert_type(certify.__version__, str)
