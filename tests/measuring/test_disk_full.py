"""A disk that fills up at any moment: one line and exit 2, nothing half written, and the same bytes after a second run.

The limit is that of the process for the size of a file, whose error takes the same way as that of a full disk.
"""

from __future__ import annotations

import resource
import subprocess
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


def smoothed(where: Path, place: Path, largest: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Gather forty paired draws in a process that may write files of ``largest`` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

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
