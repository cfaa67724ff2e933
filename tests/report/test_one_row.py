"""Every renderer prints the bound that the verdict rests on, on its side, with the claim's word for what is bounded."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from world import World

from certify.documents import Certificate
from certify.evidence import KINDS, PositionEvidence, Requirement, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.judgement import up
from certify.report.page import Row
from certify.report.render import render_html, render_markdown
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
    certificate = found.under(Requirement.model_validate({"unit": unit, "limit": limit}))
    row = row_of(certificate)
    d = row.deciding
    if row.verdict is Verdict.CERTIFIED and d.quantity == row.quantity:
        met = d.upper is not None and d.upper <= limit if row.at_most else d.lower is not None and d.lower >= limit
        assert met, "a certificate prints a bound that meets its limit"
    if row.verdict is Verdict.REFUTED:
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


FIRST = settings(database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), max_examples=2000)


@pytest.mark.parametrize(("unit", "limit", "items"), [("absence", 0.9, "fixed"), ("drop", 0.9, "population")])
def test_what_was_printed_wrong_is_the_bound_of_the_claim(unit: str, limit: float, items: str) -> None:
    """A distance about a hazard, and about a population: both rest on an upper bound, and once printed another."""
    requirement = Requirement.model_validate({"unit": unit, "limit": limit})

    def fits(c: Certificate) -> bool:
        asked = c.under(requirement) if c.evidence.items == items else None
        return asked is not None and asked.verdict == "certified" and not asked.judgement.vacuous

    row = row_of(find(certificates(kinds=("distance",)), fits, settings=FIRST).under(requirement))
    said = re.search(CLAIM[row.deciding.quantity], row.claim)
    assert said is not None
    assert [part for part in said.groups() if part] == ["at most", up(row.upper)]
    assert row.found == f"{row.quantity} at most {up(row.upper)}"
    assert "score >=" not in cell(row).plain  # what stood there before


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=20)
def test_a_forged_record_without_its_numbers_still_has_a_row(kind: str, data: st.DataObject) -> None:
    """`show` reads what it is given: taken away quantities end in no traceback."""
    certificate = data.draw(certificates(kinds=(kind,), max_items=40, max_draws=40))
    bare = certificate.judgement.model_copy(update={"quantities": {}})
    assert list(document_lines(certificate.model_copy(update={"judgement": bare})))


def test_the_tensors_that_moved_most_have_shares_at_any_scale() -> None:
    """Squares of 1e-200 underflow and those of 1e200 overflow; shares of nothing are none."""
    for scale in (1e-200, 1.0, 1e200):
        found = Displacement(norms={"a": scale, "b": 2 * scale, "c": 0.0}, delta_norm=scale, dimension=4).largest()
        assert found == (("b", 0.8), ("a", 0.2))
    assert Displacement(norms={"a": 0.0}, delta_norm=0.0, dimension=4).largest() == ()


def test_a_certified_position_prints_each_side_at_the_confidence_that_it_has(world: World) -> None:
    """The worst of four bounds at alpha each bounds the worst point at alpha; the other side takes all four at once."""
    certificate = world.certificates["position"]
    assert isinstance(certificate.evidence, PositionEvidence)
    assert certificate.verdict == "certified"
    row, judgement, points = row_of(certificate), certificate.judgement, certificate.evidence.points
    alone = [certificate.evidence.basin.paired(p.scores).drop(certificate.alpha).upper for p in points]
    assert row.upper == max(alone) < (judgement.upper or 0.0)  # all at once need more room
    assert row.lower == judgement.lower
    assert not any("at once" in note for note in row.notes)
