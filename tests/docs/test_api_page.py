"""docs/api.md lists what certify exports, name by name, and the names are there without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import certify

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def listed(text: str) -> list[str]:
    """The names in the first column of the page's table."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_the_page_lists_the_exports_and_nothing_else() -> None:
    """No name is missing, none is listed twice or gone."""
    assert sorted(listed(PAGE.read_text(encoding="utf-8"))) == sorted(certify.__all__)


def test_a_name_too_few_is_noticed() -> None:
    """The check above can fail."""
    shorter = PAGE.read_text(encoding="utf-8").replace("| `Verdict` |", "| Verdict |")
    assert sorted(listed(shorter)) != sorted(certify.__all__)


def test_every_name_leads_somewhere_and_dir_shows_it() -> None:
    """Users find the names by completion, and nothing else among them."""
    assert dir(certify) == sorted(certify.__all__)
    assert [name for name in certify.__all__ if getattr(certify, name, None) is None] == []


def test_the_names_of_files_load_no_torch() -> None:
    """Who reads and verifies files installs less."""
    code = "import sys\nfrom certify import Certificate, Requirement, Verdict, compare, differences, read_document\n"
    probe = subprocess.run(
        [sys.executable, "-c", f"{code}print('torch' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert probe.stdout.strip() == "False"
