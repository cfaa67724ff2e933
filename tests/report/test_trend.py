"""The page over many checkpoints: in the order given, each record once, every number in a table, readable anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from gate_rows import CONTEXT, HOSTILE, HOSTILE_ROW, ROWS, row
from point_certificates import BENCHMARK, certificate, identity
from test_gate_page import BROKEN, NARROW, UNREADABLE, Outline

from certify.documents import read_document
from certify.evidence import Requirement
from certify.report.render import ReportType, render, row_of
from certify.report.rows import Row

GOLDEN = Path(__file__).parents[1] / "golden"


def step(number: int, wrong: int = 12, **more: Any) -> Row:
    """The gate of one checkpoint of a series."""
    checkpoint = identity(f"checkpoint-{number}", f"{number % 10}")
    return row_of(certificate(wrong, checkpoint=checkpoint, **more), f"certs/{number}.json")


SERIES = [step(number, wrong) for number, wrong in enumerate((12, 9, 60, 22), 1)]


def page(*rows: Any) -> str:
    return render(ReportType.trend, rows, CONTEXT)


def plain(text: str) -> list[str]:
    """Text of the page, a line for each element's."""
    return [line for part in Outline(text).text if (line := " ".join(part.split()))]


def columns(text: str) -> list[tuple[str, str]]:
    """The verdict of each bar of the first figure, and the middle of its column."""
    figure = text[text.index('aria-labelledby="plot-1"') : text.index("</figure>")]
    return re.findall(r'<svg class="(\w+)" overflow="visible">\s*<line class="bar" x1="([\d.]+)%"', figure)


def test_checkpoints_stand_in_the_order_given() -> None:
    """Numbered from one, in equal columns; the page says what orders them."""
    text = page(*SERIES)
    assert columns(text) == [
        ("certified", "12.5"), ("certified", "37.5"), ("refuted", "62.5"), ("undecided", "87.5")
    ]  # fmt: skip
    said = " ".join(plain(text))
    assert "Trend over 4 checkpoints" in said
    assert "From checkpoint-1 to checkpoint-4, in the order in which the files were given" in said
    assert "The last, checkpoint-4: undecided" in said
    turned = " ".join(plain(page(*SERIES[::-1])))
    assert "From checkpoint-4 to checkpoint-1" in turned
    assert "1. checkpoint-4" in turned


def test_the_table_has_every_number() -> None:
    """Bound, requirement, scores of checkpoint and base, and what was counted."""
    lines = plain(page(*SERIES))
    for number, own in enumerate(SERIES, 1):
        i = lines.index(f"{number}. checkpoint-{number}")
        score, base = own.quantities["checkpoint_score"], own.quantities["base_score"]
        scores = [f"{score:.3f}", "base", f"{base:.3f}"]
        expected = [own.outcome, own.found, own.asked, *scores, "400 items", own.confidence]
        assert lines[i + 1 : i + 9] == expected


def test_a_copy_is_shown_once_and_an_attempt_beside_the_first() -> None:
    """Both in the column of their checkpoint."""
    assert page(*SERIES, SERIES[1]) == page(*SERIES)
    again = columns(page(*SERIES, step(2, 13)))
    assert [middle for _, middle in again] == ["12.5", "31.25", "43.75", "62.5", "87.5"]


def test_other_items_and_other_evidence_are_another_series() -> None:
    """Also under the same name: two digests are no one benchmark."""
    other = BENCHMARK.model_copy(update={"digest": "sha256:" + "a" * 64})
    smoothed = row_of(read_document(GOLDEN / "v1" / "full.addition.smoothed.json"))
    text = page(*SERIES, step(5, benchmark=other), smoothed)
    assert re.findall(r'<a href="#series-\d">([^<]+)</a>', text) == [
        "own@dddddddd, point, drop", "own@aaaaaaaa, point, drop", "addition, smoothed, drop"
    ]  # fmt: skip
    assert "Noise-averaged score" in text
    assert "own is the name of 2 different benchmarks" in text


def test_what_changes_on_the_way_is_said() -> None:
    """The base, and what was required; where nothing changes, nothing is said."""
    said = " ".join(plain(page(*SERIES, step(5, base=identity("base", "a")))))
    assert "The base is another one from number 5 on" in said
    said = " ".join(plain(page(*SERIES, step(5, requirement=Requirement(limit=0.2)))))
    assert "The requirement was not always the same: drop at most 0.05, drop at most 0.2." in said
    same = " ".join(plain(page(*SERIES)))
    assert "another one" not in same
    assert "not always the same" not in same


def test_what_is_about_no_checkpoint_is_left_out_by_name() -> None:
    """And nothing is a page, too."""
    basin = row_of(read_document(GOLDEN / "v1" / "base.addition.basin.json"))
    left_out = "Left out, since it is about no one checkpoint: basin of base[addition]."
    for text in (page(*SERIES, basin), page(basin)):
        assert left_out in plain(text)
    for text in (page(), page(basin)):
        assert text.startswith("<!DOCTYPE html>")
        assert "No gates ran" in text
        assert "certified" not in text.partition("</style>")[2]


def test_the_page_is_well_formed_inert_and_refers_only_to_itself() -> None:
    """Whatever was judged, and whoever wrote the names: ids once, references met, no script, no address."""
    text = page(*ROWS, HOSTILE_ROW, *SERIES, row(error="it cannot be read", checkpoint="gone"))
    outline = Outline(text)
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    assert {href.removeprefix("#") for href in outline.values("href")} - {"data:,"} <= set(ids)
    assert set(outline.values("aria-labelledby")) <= set(ids)
    assert "script" not in {tag for tag, _ in outline.tags}
    assert not outline.values("src")
    assert any(HOSTILE in part for part in outline.text)
    assert "it cannot be read" in text
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h\d", tag)]
    assert levels == [1, *[2] * (len(levels) - 1)]
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in outline.tags if tag == "th")


@pytest.fixture(scope="module")
def trend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of gate, many checkpoints and long names."""
    file = tmp_path_factory.mktemp("trend") / "trend.html"
    name = "org/Qwen2.5-7B-InstructMerged-checkpoint-"
    long = [row_of(certificate(n, checkpoint=identity(f"{name}{500 * n}", "1"))) for n in range(30)]
    file.write_text(page(*long, *ROWS, HOSTILE_ROW), encoding="utf-8")
    return file


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_readable_in_a_browser(browser: Browser, trend: Path, dark: bool, width: int) -> None:
    """Contrast, no overflow, no name broken within a word, one request, a silent console; scripts are off."""
    browser.look(width=width, dark=dark, scripts=False)
    browser.open(trend)
    assert browser.requests() == [trend.as_uri()]
    assert browser.complaints() == []
    browser.look(width=width, dark=dark)
    assert browser.value(UNREADABLE) == []
    assert browser.value(NARROW) == 0
    assert browser.value(BROKEN) == []
