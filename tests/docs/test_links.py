"""Relative links of the Markdown pages lead to a file, and their fragments to one of its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md") for page in ROOT.glob(pattern))


def links(text: str) -> Iterator[str]:
    """Targets inside the repository; code is no link."""
    prose = re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"[a-z]+:", target):
            yield target


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether the file is there, and the heading in it."""
    path, _, fragment = target.partition("#")
    file = page.parent / path if path else page
    if not fragment or not file.exists():
        return file.exists()
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return fragment in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every one."""
    assert [link for link in links(page.read_text(encoding="utf-8")) if not leads_somewhere(page, link)] == []


def test_dead_links_are_noticed() -> None:
    """A file or a heading that is not there; and there are links to look at."""
    page = ROOT / "README.md"
    assert sum(len(list(links(each.read_text(encoding="utf-8")))) for each in PAGES) > 50
    assert leads_somewhere(page, "docs/theory.md")
    assert leads_somewhere(page, "#start")
    assert not leads_somewhere(page, "docs/practice.md")
    assert not leads_somewhere(page, "docs/theory.md#no-such-heading")
    assert list(links("`[x](y)` [a](b) [c](https://example.invalid)")) == ["b"]
