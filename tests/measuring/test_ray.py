"""Actors of Ray itself: one is killed, and the record is that of one process; Ctrl-C leaves nothing running.

What actors and driver say to each other is tested without Ray in ``test_actors.py``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import models
import pytest
from forked import Child, start

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (it has a lane of its own)")
MEASURE = ("measure", "base", "-b", "own.jsonl", "--sigma", "0.05", "--grid", "0.01", "--max-drop", "0.5",
           "--engine", "explicit")  # fmt: skip
PATIENCE = 600  # seconds: of a machine that has other work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and its items, measured by one process."""
    where = tmp_path_factory.mktemp("ray")
    models.save_folder(where / "base", models.llama())
    models.write_jsonl(where / "own.jsonl", models.own_answers(models.llama(), 40))
    done = begun(where, "alone").finish()
    assert done.returncode == 0, done.stderr
    return where


def begun(folder: Path, name: str, *more: str, draws: int = 1000) -> Child:
    return start(*MEASURE, "-n", draws, "-o", f"{name}.json", "--draws-dir", f"{name}.draws", *more, cwd=folder)


def kept(folder: Path) -> int:
    """Finished draws of the table: of two runs the one with most."""
    return max((len(file.read_bytes().splitlines()) for file in folder.glob("*/ledger.*.jsonl")), default=0)


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process started, and theirs."""
    for child in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((child / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            yield int(child.name)
            yield from descendants(int(child.name))


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def running(pid: int) -> bool:
    """Whether a process is there, and no corpse that nobody has buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def eventually(holds: Callable[[], object]) -> bool:
    until = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(holds())


def test_a_killed_actor_is_replaced(folder: Path) -> None:
    """SIGKILL of one of two in the middle: the measurement of one process, and one line on stderr of what happened."""
    run = begun(folder, "two", "--ray", "local", "--ray-actors", "2")
    assert eventually(lambda: kept(folder / "two.draws") > 60)
    actors = [pid for pid in descendants(run.pid) if title(pid).startswith("ray::Member")]
    os.kill(actors[0], signal.SIGKILL)
    done = run.finish()
    assert done.returncode == 0, done.stderr
    estimate, lost = done.stderr.splitlines()
    assert estimate.startswith("estimate: ")
    assert lost.startswith(f"certify: warning: process {actors[0]} on ")
    assert lost.endswith("its draws go to another actor")
    assert (folder / "two.json").read_bytes() == (folder / "alone.json").read_bytes()


def test_an_interrupt_ends_actors_and_ray(folder: Path) -> None:
    """One line, what was drawn is kept, and no process is left of it."""
    run = begun(folder, "stopped", "--ray", "local", "--ray-actors", "1", draws=100_000)  # more than it comes to
    assert eventually(lambda: kept(folder / "stopped.draws") > 60)
    theirs = list(descendants(run.pid))
    assert any(title(pid).startswith("ray::Member") for pid in theirs)
    os.kill(run.pid, signal.SIGINT)
    done = run.finish()
    assert done.returncode == 130
    _, said = done.stderr.splitlines()
    assert said == "certify: interrupted; nothing was written half"
    assert kept(folder / "stopped.draws") > 60
    assert not (folder / "stopped.json").exists()
    assert eventually(lambda: not any(map(running, theirs)))
