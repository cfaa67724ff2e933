"""A record at a prompt is one line, and in a notebook a table that nothing in it can break out of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given

from certify.documents import DOCUMENTS, Certificate, Document, DrawnWeights, Measurement, read_as
from certify.evidence.distance import BaseDraws
from certify.landscape import Landscape
from certify.records import WeightNoise
from certify.strategies import certificates, covers, measurements

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = {**DOCUMENTS, "pytest-basin/landscape": Landscape}
FILES = sorted(GOLDEN.rglob("*.json"))


@given(certificates())
def test_one_line(certificate: Certificate) -> None:
    """Verdict, kind of evidence, models and benchmark; the digest tells two of them apart."""
    line = repr(certificate)
    assert line.startswith(f"<Certificate {certificate.digest.removeprefix('sha256:')[:8]} {certificate.verdict}: ")
    assert certificate.benchmark.name in line
    assert len(line.splitlines()) == 1


@given(certificates())
def test_a_table_in_a_notebook(certificate: Certificate) -> None:
    """The claim and the digest stand in it."""
    table = certificate._repr_html_()
    assert certificate.digest in table
    assert certificate.verdict in table
    assert re.sub(r"</?(table|tr|th|td)>", "", table).count("<") == 0


def short(document: Document) -> None:
    """Hold what a prompt and a notebook show against what they may."""
    line, table = repr(document), document._repr_html_()
    assert line.startswith(f"<{type(document).__name__} {document.digest.removeprefix('sha256:')[:8]} ")
    assert str(document) == line
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    assert document.digest in table
    assert re.sub(r"</?(table|tr|th|td)>", "", table).count("<") == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(GOLDEN)))
def test_every_kind_of_record(file: Path) -> None:
    """Those that judge nothing, too; of any version."""
    document = read_as(file, KINDS)
    short(document)
    assert document.base.name in repr(document)


def test_every_kind_is_kept_somewhere() -> None:
    """The test above can miss none."""
    kept = {type(read_as(file, KINDS)).__name__ for file in FILES}
    assert {kind.__name__ for kind in KINDS.values()} - kept <= {"ScoresRecord", "Landscape"}


@given(measurements())
def test_a_measurement_says_what_it_counted(measurement: Measurement) -> None:
    """Sigmas of the basin, draws of each law; its draws say it alone, without their scores."""
    short(measurement)
    assert f"basin of {len(measurement.basin.levels)} sigmas" in repr(measurement)
    for draws in measurement.draws:
        assert draws.in_brief in repr(measurement)
        assert repr(draws) == str(draws) == f"<BaseDraws: {draws.in_brief}>"
        assert f"{draws.n} draws" in repr(draws)
    assert "<script" not in measurement.model_copy(
        update={"base": measurement.base.model_copy(update={"name": "<script>"})}
    )._repr_html_()


@given(covers())
def test_a_cover(cover: Document) -> None:
    """Of a family, not of one checkpoint."""
    short(cover)


def test_a_draw() -> None:
    """Which of how many, and under what."""
    base, law = read_as(GOLDEN / "v1" / "measurement.json", KINDS).base, WeightNoise(sigma={"w": 0.01}, sizes={"w": 5})
    seed = DrawnWeights.seed_of(base, law, 100, 0)
    drawn = DrawnWeights.seal(base=base, law=law, seed=seed, draw=3, draws=100, grid=(0.01,), alpha=0.05,
                              weights="sha256:" + "0" * 64)  # fmt: skip
    short(drawn)
    assert repr(drawn).endswith(f"draw 3 of 100 of {base.name}, sigma 0.01>")
    assert BaseDraws.__str__ is BaseDraws.__repr__


@given(certificates())
def test_names_are_escaped(certificate: Certificate) -> None:
    """A folder may be called like a script."""
    named = certificate.checkpoint.model_copy(update={"name": "<script>alert(1)</script>"})
    table = certificate.model_copy(update={"checkpoint": named})._repr_html_()
    assert "<script" not in table
    assert "&lt;script&gt;" in table
