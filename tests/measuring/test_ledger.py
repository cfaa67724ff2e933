"""Finished draws on disk: resumed runs, several processes and crashes all give the same table."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import pytest
from accelerate import PartialState
from forked import Child, start

from certify.documents import read_measurement
from certify.errors import CertificateMismatch, CertifyWarning, InvalidPlan
from certify.measuring.item_trials import EngineChoice
from certify.measuring.ledger import Ledger
from certify.measuring.run import Run
from certify.measuring.world import World, join_world

IDENTITY = {"seed": "1", "engine": {"name": "explicit"}}


def score(draw: int) -> tuple[float | None, float]:
    return (None, 0.25) if draw == 3 else (draw / 100, 0.0)


def fill(folder: Path, draws: range, rank: int = 0) -> Ledger:
    ledger = Ledger(folder, IDENTITY)
    with ledger.writer(rank) as append:
        for i in draws:
            append(i, score(i))
    return ledger


def only_file(ledger: Ledger) -> Path:
    (file,) = ledger.folder.glob("ledger.*.jsonl")
    return file


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """Scores come back exactly, an unanswered draw too."""
    assert fill(tmp_path, range(5)).read() == {i: score(i) for i in range(5)}


def test_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    """A crash in the middle of a line costs that draw and no other, wherever it was cut."""
    ledger = fill(tmp_path, range(5))
    whole = only_file(ledger).read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        only_file(ledger).write_bytes(whole[:-cut])
        assert ledger.read() == {i: score(i) for i in range(4)}


@pytest.mark.parametrize("cut", [1, 10])
def test_a_torn_header_is_an_empty_ledger(tmp_path: Path, cut: int) -> None:
    """A process that died before its first line left nothing."""
    ledger = fill(tmp_path, range(2))
    only_file(ledger).write_bytes(only_file(ledger).read_bytes()[:cut])
    assert ledger.read() == {}


def test_damage_elsewhere_costs_that_draw_and_is_said(tmp_path: Path) -> None:
    """A line in the middle that does not fit its checksum is warned of by file and line, and drawn again."""
    ledger = fill(tmp_path, range(5))
    lines = only_file(ledger).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:3] + b"\n"
    only_file(ledger).write_bytes(b"".join(lines))
    with pytest.warns(CertifyWarning, match=r"\.jsonl:3: damaged \(1 of 6 lines\)"):
        assert ledger.read() == {i: score(i) for i in (0, 2, 3, 4)}


def test_every_flipped_bit_is_found_and_its_draw_drawn_again(tmp_path: Path) -> None:
    """Each of all single flipped bits leaves only true draws, and the run that resumes gives the same table.

    False-alarm budget none: CRC-32 finds every single flip. Without the checksum a flip in a digit changes a score.
    """
    ledger = fill(tmp_path, range(5))
    file, true = only_file(ledger), {i: score(i) for i in range(5)}
    whole = file.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CertifyWarning)
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            file.write_bytes(flipped)
            found = ledger.read()
            assert found.items() <= true.items() and len(found) < 5, f"bit {bit}"
    flipped = bytearray(whole)
    flipped[-10] ^= 1
    file.write_bytes(flipped)
    with pytest.warns(CertifyWarning, match="these draws are drawn again"):
        again = Run(ledgers=tmp_path).carry_out(range(5), score, "x", IDENTITY)
    assert again == [score(i) for i in range(5)]


@pytest.mark.parametrize("foreign", [[5, 0.5, 0.0], [-1, 0.5, 0.0], ["0", 0.5, 0.0], [0, 0.5], [0.0, 0.5, 0.0], 7])
def test_a_draw_that_the_run_has_not_is_refused(tmp_path: Path, foreign: Any) -> None:
    """A sealed line of another shape, or with a number outside the run, was not written by this run."""
    identity = {**IDENTITY, "draws": 5}
    ledger = Ledger(tmp_path, identity)
    with ledger.writer(0) as append:
        append(4, (0.5, 0.0))
    assert ledger.read() == {4: (0.5, 0.0)}
    text = json.dumps(foreign, separators=(",", ":")).encode()
    with only_file(ledger).open("ab") as file:
        file.write(b"%08x %s\n" % (zlib.crc32(text), text))
    with pytest.raises(CertificateMismatch, match=r"\.jsonl:3: is no draw of this run"):
        ledger.read()


def test_a_damaged_choice_is_made_again(tmp_path: Path) -> None:
    """Whatever a flipped bit made of the kept choice, the run does not go on from it."""
    run, made = Run(ledgers=tmp_path), list[int]()

    def choose() -> EngineChoice:
        made.append(1)
        return EngineChoice(engine="activation", tokens_per_batch=512)

    choice = run.settled(choose, EngineChoice, IDENTITY)
    assert run.settled(choose, EngineChoice, IDENTITY) == choice and len(made) == 1
    (file,) = tmp_path.rglob("choice.json")
    whole = file.read_bytes()
    for bit in range(8 * (len(whole) - 1)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.warns(CertifyWarning, match=r"choice\.json: damaged: it is made again"):
            assert run.settled(choose, EngineChoice, IDENTITY) == choice
    assert len(made) == 1 + 8 * (len(whole) - 1) and file.read_bytes() == whole


def test_the_same_draw_twice_is_one_draw(tmp_path: Path) -> None:
    """Two processes that scored the same draw alike agree."""
    fill(tmp_path, range(5))
    assert len(fill(tmp_path, range(3, 8), rank=1).read()) == 8


def test_a_machine_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """The same draw with two scores is named: such scores are no evidence."""
    ledger = fill(tmp_path, range(5))
    with ledger.writer(1) as append:
        append(4, (0.5, 0.0))
    with pytest.raises(CertificateMismatch, match=r"draw 4 scored .* elsewhere in this ledger"):
        ledger.read()


def test_another_run_has_another_folder_and_a_moved_file_is_refused(tmp_path: Path) -> None:
    """Everything that shapes a score is in the folder's name, and in each file's header."""
    ledger = fill(tmp_path, range(2))
    other = Ledger(tmp_path, {**IDENTITY, "seed": "2"})
    assert other.read() == {}
    other.folder.mkdir()
    only_file(ledger).rename(other.folder / "ledger.0.1.1.jsonl")
    with pytest.raises(CertificateMismatch, match="the ledger of another run: seed"):
        other.read()


def test_finished_draws_are_not_repeated(tmp_path: Path) -> None:
    """A second run scores what is missing and nothing else, and returns the same entries."""
    asked: list[int] = []

    def counting(draw: int) -> tuple[float | None, float]:
        asked.append(draw)
        return score(draw)

    run = Run(ledgers=tmp_path)
    first = run.carry_out(range(6), counting, "x", IDENTITY)
    again = run.carry_out(range(8), counting, "x", IDENTITY)
    assert asked == list(range(8))
    assert again[:6] == first == Run().carry_out(range(6), score, "x", IDENTITY)


def test_an_interrupted_run_keeps_what_was_done(tmp_path: Path) -> None:
    """An exception in the middle loses no finished draw."""

    def failing(draw: int) -> tuple[float | None, float]:
        if draw == 4:
            raise KeyboardInterrupt
        return score(draw)

    with pytest.raises(KeyboardInterrupt):
        Run(ledgers=tmp_path).carry_out(range(6), failing, "x", IDENTITY)
    assert Ledger(tmp_path, IDENTITY).read() == {i: score(i) for i in range(4)}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_share_all_draws_and_none_twice(size: int) -> None:
    """Whatever the number of processes, their shares partition the pending draws."""
    pending = [1, 4, 5, 8, 9, 11, 20]
    shares = [list(World(rank, size).share(pending)) for rank in range(size)]
    assert sorted(i for share in shares for i in share) == pending


def test_a_rank_that_starts_late_misses_nothing() -> None:
    """A rank that already finds draws of another finished still takes its own: assignment is by number."""
    early, late = World(0, 2).share(range(6)), World(1, 2).share([i for i in range(6) if i not in (0, 2)])
    assert sorted([*early, *late]) == list(range(6))


def test_missing_draws_are_said(tmp_path: Path) -> None:
    """One of two processes alone cannot finish, and says what to do."""
    run = Run(ledgers=tmp_path, world=_Alone(0, 2))
    with pytest.raises(InvalidPlan, match="3 of 6 draws are missing"):
        run.carry_out(range(6), score, "x", IDENTITY)
    assert len(Run(ledgers=tmp_path, world=_Alone(1, 2)).carry_out(range(6), score, "x", IDENTITY)) == 6


class _Alone(World):
    def wait(self) -> None:
        """Do not wait for a partner that is not there."""


def test_several_processes_need_a_folder() -> None:
    """Without one they could not join their draws."""
    with pytest.raises(InvalidPlan, match="need a folder"):
        Run(world=World(0, 2)).carry_out(range(2), score, "x", IDENTITY)


def test_a_world_that_collapsed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes asked for and one running is an error that says how to start two."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(InvalidPlan, match="2 processes were asked for and 1 are running; start them with `torchrun"):
        join_world(2, "cpu")
    assert join_world(1, "cpu") == World()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("scale")
    model = models.llama()
    models.save_folder(where / "base", model)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 40))
    return where


def command(output: str, draws_dir: str, n: int, *more: str) -> list[str]:
    return [
        *("measure", "base", "-b", "own.jsonl", "-o", output, "--sigma", "0.05", "--grid", "0.01", "-n", str(n)),
        *("--max-drop", "0.5", "--draws-dir", draws_dir, "--engine", "explicit", *more),
    ]


def finish(run: Child) -> None:
    done = run.finish()
    assert done.returncode == 0, done.stderr


def document(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def test_a_killed_run_resumes_to_the_same_bytes(folder: Path) -> None:
    """SIGKILL in the middle, the same command again: the measurement of an undisturbed run, byte for byte."""
    finish(start(*command("whole.json", "a", 400), cwd=folder))
    killed = start(*command("killed.json", "b", 400), cwd=folder)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not _lines(folder / "b") > 60:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.finish().returncode == -signal.SIGKILL
    assert not (folder / "killed.json").exists()
    assert _lines(folder / "b") > 60
    finish(start(*command("killed.json", "b", 400), cwd=folder))
    assert (folder / "killed.json").read_bytes() == (folder / "whole.json").read_bytes()


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """The measurement of one process."""
    finish(start(*command("one.json", "d", 101), cwd=folder))
    return folder / "one.json"


def by_torchrun(folder: Path, size: int, words: list[str]) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(size), "-m", "certify"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *words], cwd=folder, env=env, text=True, capture_output=True, timeout=180)
    assert done.returncode == 0, done.stderr


def by_hand(folder: Path, size: int, words: list[str]) -> None:
    """With the variables that torchrun sets."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [start(*words, cwd=folder, env={**names, "RANK": str(i), "LOCAL_RANK": str(i)},
                   before=PartialState._reset_state) for i in range(size)]  # another test may have joined a world
    for rank in ranks:
        finish(rank)


@pytest.mark.parametrize(("size", "launched"), [(2, by_torchrun), (3, by_hand)])
def test_several_processes_give_the_table_of_one(
    folder: Path, alone: Path, size: int, launched: Callable[[Path, int, list[str]], None]
) -> None:
    """Ranks share the draws and write the same measurement."""
    launched(folder, size, command(f"{size}.json", f"c{size}", 101, "--processes", str(size)))
    assert (folder / f"{size}.json").read_bytes() == alone.read_bytes()
    assert read_measurement(alone).draws[0].n == 101
    ranks = {file.name.split(".")[1] for file in (folder / f"c{size}").glob("*/ledger.*.jsonl")}
    assert ranks == {str(rank) for rank in range(size)}


def _lines(folder: Path) -> int:
    return sum(len(file.read_bytes().splitlines()) for file in folder.glob("*/ledger.*.jsonl"))


def test_a_clock_that_stands_still_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks jump back, and then name the same moment twice: files are named without them."""
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    monkeypatch.setattr(time, "time", lambda: 1.0)
    ledger = Ledger(tmp_path, {"draws": 2})
    for draw in range(2):
        with ledger.writer(0) as append:
            append(draw, (0.5, 0.0))
    assert ledger.read() == {0: (0.5, 0.0), 1: (0.5, 0.0)}
