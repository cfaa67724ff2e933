"""Files are written whole or not at all, with the user's permissions, and places are tried before work is done."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from certify.errors import InvalidInput
from certify.writing import refuse_unwritable, refuse_unwritable_folder, write_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from certify import writing
writing.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
writing.write_whole(Path(sys.argv[1]), "new")
"""


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_respect_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    """What the user keeps private stays so, a file that is replaced too."""
    before = os.umask(mask)
    try:
        for _ in range(2):
            written = write_whole(tmp_path / "record.json", "text")
            assert stat.S_IMODE(written.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_sweeps(tmp_path: Path) -> None:
    """SIGKILL before the rename: the old text stands, and what was left behind goes with the next write."""
    file = write_whole(tmp_path / "record.json", "old")
    subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    left = [each.name for each in tmp_path.iterdir() if each != file]
    assert len(left) == 1 and file.read_text() == "old"
    alive = tmp_path / left[0].replace(left[0].split(".")[3], str(os.getpid()))
    alive.write_text("another writer's")
    write_whole(file, "new")
    assert sorted(tmp_path.iterdir()) == sorted([file, alive]) and file.read_text() == "new"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Text that cannot be encoded ends before the file is touched."""
    file = write_whole(tmp_path / "record.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "\ud800")
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == "old"


def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    """The part beside it has a short name of its own."""
    assert write_whole(tmp_path / ("n" * 250 + ".json"), "text").read_text() == "text"


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    """Nothing is made by the trial, and a file that is there is not touched."""
    refuse_unwritable(tmp_path / "a" / "b" / "record.json")
    assert list(tmp_path.iterdir()) == []
    file = write_whole(tmp_path / "record.json", "old")
    refuse_unwritable(file)
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a place under a file, a name too long and a folder that forbids it: one line each."""
    (tmp_path / "file").write_text("")
    for path, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "record.json", "file: is a file, where a folder is needed"),
        (tmp_path / ("n" * 300), "File name too long"),
        (tmp_path / ("n" * 300) / "record.json", "File name too long"),
        (Path("/proc/record.json"), "cannot be written"),
    ):
        with pytest.raises(InvalidInput, match=said):
            refuse_unwritable(path)
    with pytest.raises(InvalidInput, match="file: is a file, where"):
        refuse_unwritable_folder(tmp_path / "file" / "in")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
