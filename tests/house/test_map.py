"""CONTRIBUTING's map is the tree, and the house names no more things than it did."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MOST = 30.2
"""Concepts per 1,000 lines; lower it when they fall."""


def mapped(text: str) -> set[str]:
    """The places that stand in the first column of the map."""
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {place.rstrip("/") for row in rows for place in re.findall(r"`([^`]+)`", row)}


def tree() -> set[str]:
    """Every module and folder right below `certify`, and the plugin."""
    inside = {p for p in (ROOT / "certify").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    return {str(p.relative_to(ROOT)) for p in inside} | {"pytest_basin"}


def test_the_map_is_the_tree() -> None:
    """Nothing is missing, nothing is gone."""
    assert mapped(TEXT) == tree()


def test_a_place_that_is_gone_is_noticed() -> None:
    """The check above can fail."""
    assert mapped(TEXT.replace("`certify/joint.py`", "`certify/together.py`")) != tree()


def test_files_that_it_sends_newcomers_to_exist() -> None:
    """Each path in the answers to "where do I add"."""
    answers = TEXT[TEXT.index("### Where do I add") : TEXT.index("## House rules")]
    paths = re.findall(r"`((?:certify|pytest_basin|tests)/[\w/]+\.py)`", answers)
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_concepts_do_not_grow() -> None:
    """Folders, modules and public names against lines: what a reader has to hold in mind."""
    counted = runpy.run_path(str(ROOT / "benchmarks" / "house.py"))["concepts"]()
    assert counted["concepts per 1,000 lines"] <= MOST
