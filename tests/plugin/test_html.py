"""With pytest-html each gate's test shows a table, the interval as a picture, and the row as JSON."""

import base64
import html
import json
import re

import pytest

from pytest_basin import extras

pytest_plugins = ["pytester"]
pytest.importorskip("pytest_html")


def shown(project):
    """The extras of each test on the page."""
    text = (project.pytester.path / "page.html").read_text(encoding="utf-8")
    blob = json.loads(html.unescape(re.search(r'data-jsonblob="([^"]*)"', text)[1]))
    return {test: runs[-1]["extras"] for test, runs in blob["tests"].items()}


def test_extras_of_a_gate(project):
    """Table, picture and JSON, on a page that needs no other file."""
    project.run("near", "--html=page.html", "--self-contained-html")
    (extra,) = shown(project).values()
    assert [each["format_type"] for each in extra] == ["html", "image", "json"]
    assert "<td>undecided</td>" in extra[0]["content"]
    picture = base64.b64decode(extra[1]["content"].partition("base64,")[2]).decode()
    assert picture.startswith("<svg")
    assert "UNDECIDED" in picture
    assert json.loads(base64.b64decode(extra[2]["content"].partition("base64,")[2]))["item"] == "kept[digits]"


def test_other_tests_have_none(project):
    """And a gate's own extras are not repeated for its set-up."""
    project.run("same", "--html=page.html", test="def test_other(): pass")
    assert list(shown(project).values()) == [[]]


def test_nothing_is_made_without_a_page(project, monkeypatch):
    """Without --html no picture is drawn."""
    monkeypatch.setattr(extras, "picture", pytest.fail)
    project.run("same").assert_outcomes(passed=1)


ROW = {
    "item": "<kept>[arc]", "benchmark": "arc", "evidence": "point", "verdict": "refuted", "unit": "absence",
    "value": 0.4, "lower": 0.3501, "upper": 0.4501, "need": 0.3, "claim": "a < b", "notes": ["c & d"], "settings": "",
    "replay": "pytest",
}  # fmt: skip


def test_table_escapes_and_rounds_outwards():
    """No text becomes markup, and no bound is better than it is."""
    table = extras.table(ROW)
    assert "<td>score at least 0.350</td>" in table
    assert "<td>score at most 0.3</td>" in table
    assert "<td>a &lt; b</td>" in table
    assert "<td>c &amp; d</td>" in table


@pytest.mark.parametrize(
    "bounds", [{}, {"lower": None}, {"upper": None}, {"lower": None, "upper": None, "value": None}]
)
def test_picture_of_any_bounds(bounds):
    """Open sides and no bounds at all."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(extras.picture(ROW | bounds))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "REFUTED"
    assert texts[-1] == "at most 0.3"
