"""docs/troubleshooting.md quotes what is printed, and docs/faq.md's commands print what stands under them."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from certify.__main__ import main
from certify.cli import output

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUESTIONS = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
LETTERS = 6
"""Letters of a text in the sources, at least: shorter ones stand in every sentence."""
WORDS = 6
"""Words in a row that no text in the sources holds, at most: a name, a path, numbers, a few words of a library."""


def quoted(page: str) -> list[str]:
    """The lines that users see: those of blocks of output."""
    blocks = re.findall(r"^```output\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


@cache
def texts() -> list[str]:
    """Every fixed text in the sources, between the values that are filled in."""
    found = set[str]()
    for file in sorted((*ROOT.glob("certify/**/*.py"), *ROOT.glob("pytest_basin/*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = re.split(r"\n|\{\w*\}", node.value)  # some are filled in by str.format
                found |= {part for part in parts if sum(map(str.isalpha, part)) >= LETTERS}
    return sorted(found)


def printable(line: str) -> bool:
    """Whether the code can print a line: much of it stands in the sources, and what stands between is short."""
    line = re.sub(r"sha256:[0-9a-f.]+", "", line)
    known = bytearray(len(line))
    for text in texts():
        at = line.find(text)
        if at >= 0:
            known[at : at + len(text)] = b"k" * len(text)
    between = "".join(" | " if k else letter for letter, k in zip(line, known, strict=True)).split("|")
    longest = max(len(part.replace(", ", ",").split()) for part in between)
    return longest <= WORDS and sum(map(bool, known)) >= 0.4 * len(line)


@pytest.mark.parametrize("line", quoted(PAGE))
def test_a_quoted_line_is_one_that_the_code_prints(line: str) -> None:
    """Word for word, but for names and numbers."""
    assert printable(line)


def test_a_line_that_the_code_does_not_print_is_noticed() -> None:
    """Each quoted line with a few words more at some place is not printable; and there are lines."""
    lines = quoted(PAGE)
    assert len(lines) >= 40
    for line in lines:
        words = line.split(" ")
        more = "of course, or so they say, by all means"
        changed = [" ".join([*words[:i], more, *words[i:]]) for i in range(0, len(words), 3)]
        assert not all(map(printable, changed)), line


def test_every_symptom_says_why_and_what_to_do() -> None:
    """Each quoted block is followed by words before the next one."""
    after = re.split(r"^```output\n.*?^```$", PAGE, flags=re.MULTILINE | re.DOTALL)[1:]
    assert [text for text in after if len(text.split()) < 10] == []


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Each command of a page, and the words that it prints."""
    blocks = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [(command, said.splitlines()) for command, said in blocks]


@pytest.mark.parametrize(("command", "said"), commands(QUESTIONS))
def test_a_command_of_an_answer_prints_what_stands_under_it(
    command: str, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They plan, and draw nothing."""
    monkeypatch.setattr(sys, "argv", command.split())
    monkeypatch.setattr(output.out, "width", 120)
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert said and [words for words in said if words not in printed] == []


def test_answers_have_commands() -> None:
    """The test above has something to run, and no block of a command escapes it."""
    assert len(commands(QUESTIONS)) == QUESTIONS.count("```console") >= 3
