"""Two runs of the same draws: the second one says for whom it waits, and gives up when it was told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from certify.errors import CertifyWarning, InvalidInput, InvalidPlan
from certify.locks import held
from certify.measuring.ledger import Ledger

HOLDS = """
import sys, time
from pathlib import Path
from certify.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Another process that has the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path / "lock"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_waiting_is_said_and_ends_when_told(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    """The line names the process and since when; so does the refusal."""
    with (
        pytest.warns(CertifyWarning, match=rf"waiting for process {other.pid} on .*, since \d\d:\d\d:\d\d, which"),
        pytest.raises(InvalidPlan, match=rf"process {other.pid} on .* has worked on the same draws for 0\.2 s"),
        held(tmp_path / "lock", 0.2),
    ):
        pass


def test_a_filter_of_errors_does_not_end_the_wait(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    """It is no fault to wait."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("error")
        with pytest.raises(InvalidPlan), held(tmp_path / "lock", 0.1):
            pass
    assert [warning.category for warning in said] == [CertifyWarning]  # recorded, not raised


def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    """Killed while it held it: the next one goes on at once, without a word."""
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with held(tmp_path / "lock", 5):
        assert (tmp_path / "lock.owner").read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_that_is_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    """What the system says of it, and nothing is waited for."""
    (tmp_path / "lock").symlink_to(tmp_path / "lock")
    with pytest.raises(InvalidInput, match="lock: cannot be written: Too many levels"), held(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("name", ["choice.json", "ledger.0.1.1.jsonl"])
def test_a_pipe_among_finished_draws_is_refused(tmp_path: Path, name: str) -> None:
    """It would keep its reader waiting for ever."""
    ledger = Ledger(tmp_path, {"draws": 3})
    ledger.folder.mkdir()
    os.mkfifo(ledger.folder / name)
    with pytest.raises(InvalidInput, match="it is no ordinary file"):
        _ = ledger.kept(name) if name == "choice.json" else ledger.read()
