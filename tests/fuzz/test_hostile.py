"""Hostile input, a little of each kind; `.ci/run` tries more, `python benchmarks/fuzz.py` any number."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import found
import hostile
import pytest
from damage import VALUES, damage_json, written_toml

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def test_one_of_each_kind_and_what_was_found(tmp_path: Path) -> None:
    """One of every target, and everything that once broke the rule: no traceback, no hang, one line, nothing left
    behind; and the table of what came of them.
    """
    cases = len(hostile.TARGETS)
    ran = subprocess.run([sys.executable, SCRIPT, "--cases", str(cases), "--seed", "3"], capture_output=True, text=True)
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode, [each for each in said if "broken" in each]) == (0, []), ran.stderr[-3000:]
    counts: dict[str, int] = {}
    for _, what, n in (each for line in said for each in line.get("counts", ())):
        counts[what] = counts.get(what, 0) + n
    assert sum(counts.values()) == cases + len(found.FOUND)
    assert counts.keys() == {hostile.ACCEPTED, hostile.REFUSED}
    (tmp_path / "log").write_text(ran.stdout)
    printed = subprocess.run([sys.executable, SCRIPT, "--table", tmp_path / "log"], capture_output=True, text=True)
    last = [cell.strip() for cell in printed.stdout.splitlines()[-1].strip("|").split("|")]
    numbers = [cases + len(found.FOUND), counts[hostile.REFUSED], counts[hostile.ACCEPTED]]
    assert last == ["together", *map(str, numbers), *["0"] * (len(hostile.BROKEN) + 1)]


def test_a_number_makes_its_case_again() -> None:
    """Whatever was damaged before it: values that lists and objects share would drift."""
    raw = b'{"a": {"b": 1}, "c": [1, 2]}'
    first = [damage_json(random.Random(seed), raw) for seed in range(3000)]
    assert [damage_json(random.Random(seed), raw) for seed in range(3000)] == first
    assert VALUES[25:30] == [[], {}, [[]], [None], {"": None}]


def test_toml_is_written_as_it_is_read() -> None:
    """What is damaged as values is no other file before that."""
    value = {"a": 1, "b": {"c": ["x", {"d": True}], "e.f": 0.5}}
    assert tomllib.loads(written_toml(value)) == value


@pytest.mark.parametrize(
    ("code", "err", "more", "what"),
    [
        (5, "certify: error of certify itself: KeyError", 0, "traceback"),
        (70, "RuntimeError: ", 0, "traceback"),
        (-11, "", 0, "crash"),
        (2, "", 0, "not one line"),
        (2, "certify: error: a\nb\n", 0, "not one line"),
        (0, "something\n", 0, "not one line"),
        (4, "certify: error: a\nb\n", 0, "not one line"),
        (2, "certify: error: " + "x" * 700 + "\n", 0, "too long a line"),
        (2, "certify: error: a\n", 2 * hostile.MEMORY, "memory"),
        (None, "", 0, "hang"),
        (2, "certify: error: a\n", 0, hostile.REFUSED),
        (0, "certify: warning: a\n", 0, hostile.ACCEPTED),
    ],
)
def test_the_rule_can_be_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int | None, err: str, more: int, what: str
) -> None:
    """Each way to break it is seen, and what is right is let through."""
    monkeypatch.setattr(hostile, "in_a_copy", lambda _: (code, "", err, more))
    assert hostile.judged(["check"], tmp_path)[0] == what


def test_what_is_left_behind_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A half-written file, or a record of a run that was refused."""

    def leaves(name: str) -> None:
        monkeypatch.setattr(
            hostile, "in_a_copy",
            lambda _: ((tmp_path / name).write_text("x"), (2, "", "certify: error: a\n", 0))[1],
        )  # fmt: skip

    for name in (".part-1", "record.json"):
        leaves(name)
        assert hostile.judged(["check"], tmp_path)[0] == "left behind"


def test_a_copy_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time on the processor and its waiting end, a signal and lines that pass Python by are seen."""

    def does(what: Any) -> tuple[int | None, str, str, int]:
        monkeypatch.setattr(hostile, "run", lambda _: what() or (0, "", ""))
        return hostile.in_a_copy(["check"])

    def busy() -> None:
        while True:
            pass

    monkeypatch.setattr(hostile, "SECONDS", 1)
    monkeypatch.setattr(hostile, "PATIENCE", 2)
    assert does(lambda: time.sleep(100))[0] is None
    assert does(lambda: os.kill(os.getpid(), signal.SIGTERM))[0] == -signal.SIGTERM
    printed = does(lambda: os.system("echo past Python; echo and past >&2") and None)
    assert printed[1:3] == ("", "past Python\nand past\n")
    assert does(lambda: bytearray(1 << 29) and None)[3] > 1 << 27  # libraries' pages count once it uses them
    monkeypatch.setattr(hostile, "PATIENCE", 60)
    assert does(busy)[0] is None
