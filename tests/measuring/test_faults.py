"""A disk that fills up at any moment: one line and exit 2, nothing half written, and the same bytes after a second run.

The limit is that of the process for the size of a file, whose error takes the same way as that of a full disk. Clocks
that jump and a home that is not there come after it.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import models
import pytest
import torch
from forked import certify


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a checkpoint, ten items."""
    folder = tmp_path_factory.mktemp("full")
    model = models.llama()

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] += 1e-4

    models.variant(models.save_folder(folder / "base", model), folder / "tuned", nudge)
    models.write_jsonl(folder / "own.jsonl", models.own_answers(model, 10))
    return folder


def smoothed(
    where: Path, place: Path, largest: int = resource.RLIM_INFINITY, fault: Callable[[], object] = lambda: None
) -> subprocess.CompletedProcess[str]:
    """Gather forty paired draws in a process that may write files of ``largest`` bytes, under a fault."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        fault()

    return certify(
        "check", where / "tuned", "--base", where / "base", "-b", where / "own.jsonl", "--require", "smoothed",
        "--sigma", "1e-4", "-n", "40", "--max-drop", "0.5", "--draws-dir", place / "draws", "-o", place / "out",
        before=limit,
    )  # fmt: skip


def records(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / "out").glob("*.json")}


LARGEST = (0, 700, 2400, *(pytest.param(size, marks=pytest.mark.statistical) for size in (50, 1200, 1800, 3000, 3600)))


@pytest.fixture(scope="module")
def expected(where: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is filed where there is room."""
    place = tmp_path_factory.mktemp("whole")
    assert smoothed(where, place).returncode == 0
    return records(place)


@pytest.mark.parametrize("largest", LARGEST)
def test_a_full_disk_loses_nothing(
    where: Path, expected: dict[str, bytes], tmp_path: Path, largest: int
) -> None:
    """From nothing at all to all but the record; each is followed by a run with room."""
    found = smoothed(where, tmp_path, largest)
    (line,) = (line for line in found.stderr.splitlines() if not line.startswith("estimate: "))
    assert (found.returncode, line.startswith("certify: error: ")) == (2, True), found
    assert "cannot be written" in line
    assert len(line) < 500
    assert not records(tmp_path)
    assert not list(tmp_path.rglob(".part-*"))
    again = smoothed(where, tmp_path)
    assert again.returncode == 0, again.stderr
    assert records(tmp_path) == expected


def test_a_clock_that_jumps_decides_nothing(where: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    """By days, back and forth at every look: the same bytes, from a first run and from one that resumes its draws."""
    rng, real = random.Random(0), time.time

    def jumps() -> None:
        time.time = lambda: real() + rng.uniform(-1e6, 1e6)

    for _ in range(2):
        found = smoothed(where, tmp_path, fault=jumps)
        assert found.returncode == 0, found.stderr
        assert records(tmp_path) == expected
        for file in (tmp_path / "out").iterdir():
            file.unlink()


@pytest.mark.parametrize("home", ["/proc/nobody", "/dev/null"])
def test_no_home_is_one_line_before_the_first_draw(where: Path, tmp_path: Path, home: str) -> None:
    """Finished draws are kept there unless another folder is named."""

    def homeless() -> None:
        for name in ("XDG_CACHE_HOME", "CERTIFY_DRAWS_DIR"):
            os.environ.pop(name, None)
        os.environ["HOME"] = home

    found = certify(
        "check", where / "tuned", "--base", where / "base", "-b", where / "own.jsonl", "--require", "smoothed",
        "--sigma", "1e-4", "-n", "40", "--max-drop", "0.5", "-o", tmp_path / "out", before=homeless,
    )  # fmt: skip
    (line,) = found.stderr.splitlines()
    assert (found.returncode, line.startswith("certify: error: ")) == (2, True), found
    assert "finished draws cannot be kept" in line
    assert not list(tmp_path.iterdir())
