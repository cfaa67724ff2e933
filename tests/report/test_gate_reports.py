"""Reports of gates as JSON and Markdown: complete, escaped, short enough, and never closer than the bounds are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from gate_rows import (
    BASELINE,
    CONTEXT,
    HOSTILE,
    HOSTILE_CONTEXT,
    HOSTILE_ROW,
    ROWS,
    WITHOUT_BASELINE,
    WORSE_THAN_BEFORE,
    row,
)
from hypothesis import given, settings
from markdown_it import MarkdownIt

from certify.documents import Certificate, Measurement, read_document
from certify.errors import InvalidInput, UnsupportedSchema
from certify.report.json_report import read_report
from certify.report.markdown import LIMIT
from certify.report.render import ReportType, Row, render, render_json, render_markdown, row_of, write_report
from certify.strategies import certificates

KEPT = (
    "adversarial.addition.point",
    "benign.addition.position",
    "full.addition.smoothed",
    "measurement",
    "merge.addition.distance",
    "subspace.addition.distance",
)
OF_ANY_GATES = [kind for kind in ReportType if not kind.startswith("hf-")]
"""Forms that say any gates: those of the hub are of one model, and the results of scores alone."""
GOLDEN = [Path(__file__).parent.parent / "golden" / "v1" / f"{name}.json" for name in KEPT]


def tokens(markdown: str) -> list[Any]:
    """What a Markdown reader makes of it, flat: tables and autolinks as GitHub has them, HTML allowed."""
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    return [token for outer in parsed for token in (outer, *(outer.children or ()))]


def text_of(markdown: str) -> str:
    """The text that a reader sees."""
    return " ".join(
        token.content for token in tokens(markdown) if token.type in ("text", "code_inline", "text_special")
    )


# ---------------------------------------------------------------- JSON


def test_json_holds_every_field_of_every_gate() -> None:
    """One record for many outputs: rows and context come back as they went in."""
    value = json.loads(render_json(ROWS, CONTEXT))
    assert (value["schema"], value["version"]) == ("pytest-basin/report", 1)
    assert value["verdict"] == "refuted"
    assert value["counts"] == {"error": 0, "refuted": 2, "undecided": 3, "certified": 2}
    for given_, written in zip(ROWS, value["gates"], strict=True):
        assert {name: written[name] for name in given_} == given_
    assert {name: value["context"][name] for name in CONTEXT} == CONTEXT


def test_json_is_read_back_into_the_same_rows(tmp_path: Path) -> None:
    """A report can be rendered again in another form."""
    file = tmp_path / "report.json"
    file.write_text(render_json(ROWS, CONTEXT))
    found = read_report(file)
    assert found is not None
    assert render_json(*found) == file.read_text()


def test_a_report_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """Never half understood; and a file of another schema is no report."""
    value = json.loads(render_json(ROWS))
    (tmp_path / "later.json").write_text(json.dumps({**value, "version": 2}))
    with pytest.raises(UnsupportedSchema, match=r"later\.json: report version 2; this release reads 1"):
        read_report(tmp_path / "later.json")
    assert read_report(GOLDEN[0]) is None


def test_no_gates_have_no_verdict() -> None:
    """Nothing measured is not "certified"."""
    value = json.loads(render_json([]))
    assert value["verdict"] is None
    assert "no gates ran" in render_markdown([])


# ---------------------------------------------------------------- rows


def test_what_is_wrong_with_a_row_is_named() -> None:
    """Row, field and rule, not a traceback of the template."""
    with pytest.raises(InvalidInput, match="row 1 of the report: verdict: Input should be 'certified', 'refuted'"):
        render_json([row(), row(verdict="fine")])
    with pytest.raises(InvalidInput, match="context of the report: seed"):
        render_json([row()], {"seed": "x"})


def test_a_row_needs_only_what_identifies_the_gate() -> None:
    """Everything else has a default, and fields of later releases are left alone."""
    least = {"item": "a", "benchmark": "b", "evidence": "point", "verdict": "undecided", "unit": "drop", "need": 0.05}
    for kind in OF_ANY_GATES:
        assert "undecided" in render(kind, [{**least, "invented_later": 1}])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_rows_of_kept_certificates_hold_what_they_say(path: Path) -> None:
    """Counts, alpha, method, seeds and digests stand in the row; a measurement has none."""
    document = read_document(path)
    if isinstance(document, Measurement):
        with pytest.raises(InvalidInput, match="is a measurement, which makes no claim"):
            row_of(document, "m.json")
        return
    assert isinstance(document, Certificate)
    found = row_of(document, str(path), replay="again")
    assert (found.verdict, found.claim) == (document.judgement.verdict, document.claim_text)
    shown = document.shown().interval
    assert (found.lower, found.upper, found.need) == (shown.lower, shown.upper, document.requirement.limit)
    assert found.n in {
        "point": {300}, "position": {300}, "smoothed": {100}, "distance": {300, 1500}, "audit": {11, 271},
    }[found.evidence]  # fmt: skip
    assert found.digests["certificate"] == document.digest
    assert found.method
    assert (found.evidence == "point") == (not found.seeds)
    assert found.replay == "again"
    assert sum(share for _, share in found.layers) <= 1.0 + 1e-12


@settings(max_examples=40)
@given(certificates())
def test_any_certificate_can_be_reported_in_every_form(certificate: Certificate) -> None:
    """Whatever came out, its verdict is named in each, and printed bounds are never closer than they are."""
    found = row_of(certificate, "c.json")
    for kind in OF_ANY_GATES:
        silent = kind is ReportType.annotations and not found.failing
        assert (certificate.verdict in render(kind, [found])) != silent
    if found.lower is not None:
        assert float(found.low) <= found.lower
    if found.upper is not None:
        assert float(found.high) >= found.upper


# ---------------------------------------------------------------- Markdown


def test_markdown_has_a_table_and_a_paragraph_for_each_failing_gate() -> None:
    """Seven rows after the matrix of one; five paragraphs with claim, notes, layers, certificate and replay."""
    text = render_markdown(ROWS, CONTEXT)
    found = tokens(text)
    assert sum(token.type == "tr_open" for token in found) == 2 + 1 + len(ROWS)
    assert text.count(": REFUTED.**") == 2
    assert text.count(": UNDECIDED.**") == 3
    assert "CERTIFIED.**" not in text
    seen = text_of(text)
    for words in (
        "Release gates", "7 gates: 2 refuted, 3 undecided, 2 certified", "org/base@3f1c0de", "user seed 7",
        "Holm over 7 gates", "layers.23.mlp.down_proj 41 %", "tokenizer differs", "certs/kept-mmlu-point.json",
        'pytest "tests/test_gate.py::test_kept[mmlu]" --basin-seed=0', "undecided (vacuous)",
    ):  # fmt: skip
        assert words in seen, words


def test_markdown_rounds_outwards() -> None:
    """0.9612 and 0.9905 print as 0.961 and 0.991."""
    assert "| retention at least 0.961 | retention at least 0.95 | 0.980 | 2000 items |" in render_markdown([row()])


def test_hostile_text_stays_text_in_markdown() -> None:
    """No HTML, no link, no emphasis of its own, no further table cell; the reader sees what was given."""
    text = render_markdown([HOSTILE_ROW], HOSTILE_CONTEXT)
    found = tokens(text)
    kinds = {token.type for token in found}
    assert not kinds & {"html_block", "link_open", "image", "em_open"}
    assert {token.content for token in found if token.type == "html_inline"} == {"<br>"}
    assert sum(token.type == "td_open" for token in found) == 7
    outside = re.sub(r"`+.*?`+", "", text)
    assert not re.search(r"(?<!&#58;)(?<!:)//e|(?<![\\&])@|www\.", outside)  # nor what GitHub would make a link of
    (heading,) = [found[i + 1] for i, token in enumerate(found) if token.type == "heading_open"]
    seen = "".join(token.content for token in heading.children if token.type != "text_special" or token.content)
    assert seen.removeprefix("❌ ") == HOSTILE


def test_the_escape_is_needed() -> None:
    """The check above can fail: unescaped, the same text makes HTML, links and emphasis."""
    kinds = {token.type for token in tokens(f"a {HOSTILE}")}
    assert {"html_inline", "link_open", "strong_open"} <= kinds


@pytest.mark.parametrize(("certified", "failing", "limit"), [(0, 3500, LIMIT), (900, 300, 100_000)])
def test_markdown_stays_below_the_limit_of_a_step_summary(certified: int, failing: int, limit: int) -> None:
    """Gates with names in Greek: cut whole rows, certified ones first, and say how many."""
    rows = [row(item=f"fine[{i}]") for i in range(certified)]
    rows += [row(item=f"kept[λμν-{i}]", verdict="refuted") for i in range(failing)]
    text = render_markdown(rows, CONTEXT, limit)
    assert limit / 2 < len(text.encode()) <= limit
    (said,) = re.findall(r"(\d+) table rows and (\d+) paragraphs of failing gates are left out", text)
    assert text.count("\n| ") - 1 == certified + failing - int(said[0])
    assert text.count(": REFUTED.**") == failing - int(said[1]) > 0
    assert text.count("❌ refuted |") >= text.count(": REFUTED.**")
    assert "user seed 7" in text


def test_a_small_limit_says_that_all_is_cut_or_gives_nothing() -> None:
    """Never over the limit, whatever it is."""
    sizes = [len(render_markdown(ROWS, CONTEXT, limit).encode()) for limit in range(0, 6000, 50)]
    assert all(size <= limit for size, limit in zip(sizes, range(0, 6000, 50), strict=True))
    assert sizes[0] == 0
    assert "Cut to fit" in render_markdown(ROWS, CONTEXT, 2000)
    assert "Cut to fit" not in render_markdown(ROWS, CONTEXT)


def test_a_baseline_that_is_not_kept_is_not_hidden_by_a_certified_gate() -> None:
    """The verdict of the report is the worst of gates and baselines, and the gate gets its paragraph."""
    for case, verdict in ((WORSE_THAN_BEFORE, "refuted"), (WITHOUT_BASELINE, "undecided")):
        assert json.loads(render_json([row(), case]))["verdict"] == verdict
        text = render_markdown([row(), case])
        assert f"2 gates: 2 certified; against baselines: 1 {verdict}" in text_of(text)
        assert f"baseline {verdict} |" in text
        assert text.count(": CERTIFIED.**") == 1
    said = "Note: since the baseline: REFUTED retention lost since step-100."
    assert said in render_markdown([WORSE_THAN_BEFORE])
    assert "Baseline: created: look at it and check it in." in render_markdown([WITHOUT_BASELINE])
    kept = row(baselines=[{**BASELINE, "verdict": "certified"}])
    assert json.loads(render_json([kept]))["verdict"] == "certified"
    assert ": CERTIFIED.**" not in render_markdown([kept])


# ---------------------------------------------------------------- files


def test_append_adds_and_others_replace(tmp_path: Path) -> None:
    """A step summary may have text already; a file of one report has that report alone."""
    summary, page = tmp_path / "new" / "summary.md", tmp_path / "page.html"
    for _ in range(2):
        write_report(ReportType.markdown_append, ROWS, CONTEXT, summary)
        write_report(ReportType.html, ROWS, CONTEXT, page)
    assert summary.read_text().count("## ❌ Release gates") == 2
    assert page.read_text().count("<!DOCTYPE html>") == 1


def test_append_never_makes_a_summary_too_long(tmp_path: Path) -> None:
    """What is there already counts."""
    summary = tmp_path / "summary.md"
    summary.write_text("x" * (LIMIT - 3000))
    write_report(ReportType.markdown_append, ROWS * 20, CONTEXT, summary)
    assert LIMIT - 3000 < summary.stat().st_size <= LIMIT
    assert "Cut to fit" in summary.read_text()


def test_the_same_rows_give_the_same_bytes() -> None:
    """No clock, no machine, no order of sets."""
    for kind in OF_ANY_GATES:
        assert render(kind, ROWS, CONTEXT) == render(kind, [Row(**each) for each in ROWS], CONTEXT)
