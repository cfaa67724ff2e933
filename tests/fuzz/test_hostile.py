"""Hostile input, a little of each kind; `.ci/run` tries more, `python benchmarks/fuzz.py` any number."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
FOUND = [
    ("config.json", 70),  # a trillion layers: built until memory ended
    ("model.safetensors", 18),  # a pipe: opened for ever, deaf to signals
    ("b.jsonl", 9653),  # 70,000 characters: a check that was quadratic in them
    ("generation_config.json", 9091),  # half a surrogate pair: no digest of it
    ("tokenizer.json", 51010),  # a panic of a library in Rust, which is no Exception
    ("ini", 9358),  # a confidence of 0
    ("ini", 21132),  # a folder of certificates whose name is too long
    ("command line", 266),  # a checkpoint whose name is too long
    ("command line", 107557),  # a seed that is a byte and no text
    ("generation_config.json", 104645),  # an end of text that is a list of lists
    ("position", 108450),  # an item that is nearly wrong
    ("inspect", 1058),  # an epoch that is a list
    ("results", 1257),  # half a character in the name of a model
    ("config.json", 103060),  # no tokens at all: a library warned first
]
"""What the job found, by the number that makes it again."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_a_few_of_each_kind_and_what_was_found() -> None:
    """One of every target, and the corpus, each of which once broke the rule: no traceback, no hang, one line,
    nothing left behind.
    """
    again = [word for target, seed in FOUND for word in ("--again", target, str(seed))]
    found = run("--cases", str(len(hostile.TARGETS)), "--seed", "3", *again)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    counts = re.search(r"^together +(\d+) accepted +(\d+) clear error$", found.stdout, re.M)
    assert counts is not None
    assert all(int(count) > 0 for count in counts.groups())


def test_a_number_makes_its_case_again() -> None:
    """Whatever was damaged before it: values that lists and objects share would drift."""
    raw = b'{"a": {"b": 1}, "c": [1, 2]}'
    first = [hostile.damage_json(random.Random(seed), raw) for seed in range(3000)]
    assert [hostile.damage_json(random.Random(seed), raw) for seed in range(3000)] == first
    assert hostile.VALUES[25:30] == [[], {}, [[]], [None], {"": None}]


@pytest.mark.parametrize(
    ("code", "err", "what"),
    [
        (5, "certify: error of certify itself: KeyError", "traceback"),
        (70, "RuntimeError: ", "traceback"),
        (2, "", "not one line"),
        (2, "certify: error: a\nb\n", "not one line"),
        (0, "something\n", "not one line"),
        (2, "certify: error: " + "x" * 700 + "\n", "too long a line"),
        (None, "", "hang"),
        (2, "certify: error: a\n", hostile.REFUSED),
        (0, "certify: warning: a\n", hostile.ACCEPTED),
    ],
)
def test_the_rule_can_be_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int | None, err: str, what: str
) -> None:
    """Each way to break it is seen, and what is right is let through."""
    monkeypatch.setattr(hostile, "in_a_child", lambda _: (code, "", err, 0))
    assert hostile.judged(["check"], tmp_path)[0] == what


def test_what_is_left_behind_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A half-written file, or a record of a run that was refused."""

    def leaves(name: str) -> None:
        monkeypatch.setattr(
            hostile, "in_a_child",
            lambda _: ((tmp_path / name).write_text("x"), (2, "", "certify: error: a\n", 0))[1],
        )  # fmt: skip

    for name in (".part-1", "record.json"):
        leaves(name)
        assert hostile.judged(["check"], tmp_path)[0] == "left behind"
