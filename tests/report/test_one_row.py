"""Every renderer prints the bound that the verdict rests on, on its side, with the claim's word for what is bounded."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.certificate import Certificate
from certify.evidence import KINDS, Requirement, Verdict
from certify.report.gates import render_html, render_markdown
from certify.report.page import Row
from certify.report.rows import row_of
from certify.report.table import cell
from certify.report.words import document_lines
from certify.strategies import certificates
from pytest_basin.results import junit
from pytest_basin.terminal import table

UNITS = ("drop", "retention", "absence")
SIDE = r"(at least|at most) (-?\d+\.\d+)"
CLAIM = {
    "score": rf"(?:scores|score on .*? is) {SIDE}(?! below)",
    "drop": rf"(?:scores {SIDE} below|drop on .*? is {SIDE})",
    "retention": rf"(?:keeps|retention on .*? is) {SIDE}",
}


def judged(certificate: Certificate, requirement: Requirement) -> Certificate:
    kept = {n: getattr(certificate, n) for n in ("base", "checkpoint", "benchmark", "alpha", "evidence", "environment")}
    return Certificate.make(**kept, requirement=requirement)


def printed(row: Row) -> dict[str, str]:
    """What each renderer says, as plain text."""
    plain = row.model_dump(mode="json") | {"seconds": 1.0}
    return {
        "pytest": "\n".join(table([plain])),
        "markdown": re.sub(r"\\(.)", r"\1", render_markdown([row])),
        "html": render_html([row]),
        "junit": str(dict(junit([plain]))),
    }


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), limit=st.sampled_from([0.02, 0.1, 0.5, 0.9, 0.98]))
@settings(max_examples=25)
def test_each_renderer_prints_the_bound_of_the_claim(kind: str, unit: str, data: st.DataObject, limit: float) -> None:
    """And the interval holds the same number, so that no axis shows another."""
    found = data.draw(certificates(kinds=(kind,), max_items=60, max_draws=60))
    certificate = judged(found, Requirement.model_validate({"unit": unit, "limit": limit}))
    row = row_of(certificate)
    d = row.deciding
    if row.verdict is Verdict.CERTIFIED and d.quantity == row.quantity:
        met = d.upper is not None and d.upper <= limit if row.at_most else d.lower is not None and d.lower >= limit
        assert met, "a certificate prints a bound that meets its limit"
    if row.verdict is Verdict.REFUTED and kind != "position":
        missed = d.lower is not None and d.lower > limit if row.at_most else d.upper is not None and d.upper < limit
        assert missed, "a refutation prints a bound that misses its limit"
    said = re.search(CLAIM[d.quantity], row.claim)
    if said and not row.vacuous and row.verdict is not Verdict.UNDECIDED:
        side, number = (part for part in said.groups() if part)
        assert d.side == f"{side} {number}"
    for renderer, text in printed(row).items():
        assert row.found in text, renderer
    none = d.lower is None and d.upper is None and row.place
    assert row.vacuous or none or d.signs in cell(row).plain
    assert any(row.found in line for line in document_lines(certificate))


def test_a_row_without_its_bound_falls_back_to_its_interval() -> None:
    """Rows of other tools, and reports from before: the side of the verdict, both where none decides."""
    bounds = {"lower": 0.0105, "upper": 0.0836}
    row = Row(item="a", benchmark="b", evidence="point", verdict=Verdict.CERTIFIED, unit="absence", need=0.1, **bounds)
    assert row.found == "score at most 0.084"
    assert row.model_copy(update={"verdict": Verdict.REFUTED}).found == "score at least 0.010"
    assert row.model_copy(update={"verdict": Verdict.UNDECIDED}).found == "score 0.010 to 0.084"
