"""Files of every released schema version verify forever: they are kept, never edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from certify.certificate import Certificate, Measurement, read_document
from certify.verify import differences

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("v*/*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_kept_file_still_verifies(path: Path) -> None:
    """Every bound, seed and digest of the file recomputes with today's code."""
    assert differences(read_document(path)) == []


def test_every_kind_is_kept() -> None:
    """A certificate of each kind of evidence, each verdict, a vacuous one, and a measurement."""
    documents = [read_document(path) for path in GOLDEN]
    certificates = [d for d in documents if isinstance(d, Certificate)]
    assert {c.evidence.kind for c in certificates} == {"distance", "position", "point", "smoothed"}
    assert {c.verdict for c in certificates} == {"certified", "refuted", "undecided"}
    assert any(c.judgement.vacuous for c in certificates)
    assert any(isinstance(d, Measurement) for d in documents)
