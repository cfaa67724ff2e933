"""The words that a page explains: ``python .ci/glossary.py`` writes them from docs/glossary.md, as plain text."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "certify" / "report" / "templates" / "glossary.json"


def glossary() -> list[list[str]]:
    """Return (words, meaning) of each line of the page's tables."""
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| ([^|]+) \| (.+) \|$", page, re.MULTILINE)
    return [[words, _plain(meaning)] for words, meaning in lines if words != "word"]


def _plain(text: str) -> str:
    """Return Markdown as it reads: without signs of code and emphasis, a link by its words."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text.replace("`", ""))
    return re.sub(r"(?<![\w*])\*(\w[^*]*)\*(?!\w)", r"\1", text)


if __name__ == "__main__":
    FILE.write_text(json.dumps(glossary(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
