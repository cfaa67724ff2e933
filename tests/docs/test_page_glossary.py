"""The words that a page explains are those of docs/glossary.md."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_words_of_pages_are_the_glossarys() -> None:
    """`python .ci/glossary.py` writes them."""
    made = runpy.run_path(str(ROOT / ".ci" / "glossary.py"))
    lines = made["glossary"]()
    assert json.loads(made["FILE"].read_text(encoding="utf-8")) == lines
    assert len(lines) > 70
    assert not any("`" in meaning or "](" in meaning for _, meaning in lines)
