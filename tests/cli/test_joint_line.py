"""``certify check`` says which of several required gates hold jointly."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import models
import pytest

from certify.__main__ import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on all its items, a copy, and a wreck."""
    where = tmp_path_factory.mktemp("joint")
    model = models.base_same_and_wreck(where)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 100))
    return where


def lines(monkeypatch, capsys, folder: Path, checkpoint: str, *more: str) -> list[str]:  # type: ignore[no-untyped-def]
    """What ``certify check`` printed about Holm."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CERTIFY_DRAWS_DIR", str(folder / "draws"))
    arguments = ["check", checkpoint, "--base", "base", "-b", "own.jsonl", "--sigma", "1e-4", "-n", "80", *more]
    monkeypatch.setattr(sys, "argv", ["certify", *arguments])
    with pytest.raises(SystemExit):
        main()
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Holm")]


def test_gates_that_hold_jointly_are_named(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Two sure gates hold jointly; none of a wreck's does."""
    both = ("--require", "point,smoothed", "--max-drop", "0.1")
    assert lines(monkeypatch, capsys, folder, "same", *both) == [
        "Holm over 2 gates at 0.05: 2 certified jointly (point, smoothed)"
    ]
    assert lines(monkeypatch, capsys, folder, "wreck", *both) == ["Holm over 2 gates at 0.05: 0 certified jointly"]


def test_a_single_required_gate_needs_no_such_line(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Evidence for information does not count."""
    assert lines(monkeypatch, capsys, folder, "same", "--also", "smoothed", "--max-drop", "0.1") == []


def test_checkpoints_of_one_name_have_answers_of_their_own(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Eight digits of the digest tell them apart, as in the table; the wreck does not pass for its namesake."""
    for run, model in (("first", "same"), ("second", "wreck")):
        shutil.copytree(folder / model, folder / run / "final")
    monkeypatch.chdir(folder)
    arguments = ["check", "first/final", "second/final", "--base", "base", "-b", "own.jsonl", "--max-drop", "0.1"]
    monkeypatch.setattr(sys, "argv", ["certify", *arguments])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    (name,) = re.findall(r"(final@[0-9a-f]{8}): Release\. ", said)
    (wreck,) = re.findall(r"(final@[0-9a-f]{8}): Do not release\. ", said)
    assert name != wreck
    assert f"1 certified jointly ({name}, point)" in said
