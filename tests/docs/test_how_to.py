"""The how-to pages: every file is written, every command is run, and what is printed below it is printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forked import certify, run_pytest

from certify.demo import DATA

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
NEEDS = re.compile(r"<!-- needs: (\w+) -->")
"""A library that a page is about; the page is tried where it is installed."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files(page: str) -> dict[str, str]:
    """The files that a page shows: blocks whose first line is a comment with the name."""
    shown = (text.partition("\n") for kind, text in BLOCK.findall(page) if kind in ("toml", "python"))
    return {first.removeprefix("# "): rest for first, _, rest in shown if first.startswith("# ")}


def commands(page: str) -> list[tuple[str, int, list[str]]]:
    """Each command, its exit code (0 unless a comment says so) and the lines below it."""
    found = []
    for kind, text in BLOCK.findall(page):
        if kind == "console":
            command, *lines = text.splitlines()
            words, _, code = command.removeprefix("$ ").partition("  # exit ")
            found.append((words, int(code or 0), lines))
    return found


def python(*words: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A script that a page shows."""
    return subprocess.run([sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """In one folder, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    if needed := NEEDS.match(text):
        pytest.importorskip(needed[1])
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    for name, content in files(text).items():
        (tmp_path / name).write_text(content)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    for command, code, lines in commands(text):
        program, *words = command.split()
        words = [str(found) for word in words for found in (sorted(tmp_path.glob(word)) if "*" in word else [word])]
        of_pytest = program == "pytest" or words[:2] == ["-m", "pytest"]
        run = certify if program == "certify" else run_pytest if of_pytest else python
        done = run(*(words[2:] if words[:1] == ["-m"] and of_pytest else words), cwd=tmp_path, env=environment)
        assert done.returncode == code, (command, done.stdout + done.stderr)
        said = " ".join((done.stdout + done.stderr).split())
        assert [line for line in lines if line not in said] == [], (command, said)


def test_there_are_pages_with_commands() -> None:
    """The test above has something to run; a page names each file that its commands take."""
    assert len(PAGES) >= 2
    for page in PAGES:
        assert commands(page.read_text(encoding="utf-8")), page
