"""Undecided is a result with advice: each undecided gate says what may settle it, and no other does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from certify.documents import Certificate, Judged, read_document
from certify.report.markdown import render_markdown
from certify.report.page import render_html
from certify.report.rows import Outcome, Row, row_of, share_text
from certify.report.words import document_lines
from certify.strategies import certificates, covers

GOLDEN = Path(__file__).parents[1] / "golden"


def settled(document: Judged) -> str:
    """Hold one record against the rule; return what may settle it."""
    row = row_of(document)
    assert (row.outcome is Outcome.UNDECIDED) == bool(row.settled_by)
    return row.settled_by


@given(certificates())
def test_of_every_kind_of_evidence(certificate: Certificate) -> None:
    """Vacuous and abstaining ones, too."""
    settled(certificate)


@given(covers())
def test_of_a_family(cover: Judged) -> None:
    settled(cover)


@pytest.mark.parametrize("name", ["futile", "capped", "passed", "refuted"])
def test_of_a_sequential_gate(name: str) -> None:
    """Whatever stopped it."""
    (file,) = (GOLDEN / "v1" / "gates").glob(f"*.{name}.json")
    document = read_document(file)
    assert isinstance(document, Judged)
    settled(document)


def undecided() -> Row:
    """A gate that lost 4 of 100 items, a drop of at most 0.05 allowed."""
    return Row(item="run[arc]", checkpoint="run", benchmark="arc", evidence="point", verdict="undecided", unit="drop",
               value=0.04, lower=0.001, upper=0.09, need=0.05, n=100, digests={"certificate": "sha256:0"})  # fmt: skip


def test_a_veto_is_settled_by_whoever_vetoed() -> None:
    """Its bounds certify; and a gate that was never measured has a reason of its own."""
    assert undecided().settled_by.startswith("about 8000 items decide nine times in ten")
    assert undecided().model_copy(update={"upper": 0.05}).settled_by == ""
    known = {"items": "fixed", "lower": 0.04, "value": 0.04, "upper": 0.06, "unit": "retention", "need": 0.05}
    assert undecided().model_copy(update=known).settled_by == "answers to the items that have none may decide"
    assert undecided().model_copy(update={"digests": {}}).settled_by == ""
    assert undecided().model_copy(update={"verdict": "refuted"}).settled_by == ""
    assert undecided().model_copy(update={"error": "crashed"}).settled_by == ""


def test_every_form_says_it() -> None:
    """Page, summary, and the record in words."""
    row = undecided()
    assert row.settled_by in render_html([row])
    assert f"To decide: {row.settled_by}." in render_markdown([row])
    (file,) = (GOLDEN / "v1" / "gates").glob("*.futile.json")
    document = read_document(file)
    assert f"note: {row_of(document).settled_by}" in list(document_lines(document))


def test_a_share_that_moved_is_never_none() -> None:
    """To whole per cent, but for the smallest."""
    assert [share_text(share) for share in (1.0, 0.414, 0.01, 0.0099, 1e-9)] == \
        ["100 %", "41 %", "1 %", "under 1 %", "under 1 %"]  # fmt: skip
