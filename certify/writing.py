"""Files that are written whole or not at all, and places that are tried before anything is worked out for them."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certify.errors import InvalidInput

ABANDONED = 24 * 3600.0
"""Seconds after which a part that a process of another machine was writing counts as left behind."""


def write_whole(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` so that a reader sees the old file or the new one, never a part.

    The file gets the permissions that the user's umask leaves, and what killed writers of it left behind is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_parts(path)
    aside = path.with_name(f"{_part_of(path)}{_here()}.{os.getpid()}.{time.time_ns()}")
    try:
        with aside.open("x", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return path


def refuse_unwritable(path: Path) -> None:
    """Refuse a file that could not be written where ``path`` says: tried, not guessed, and nothing is left behind.

    Raises:
        InvalidInput: it is a folder, or it cannot be made there; the system's reason is named.
    """
    with _tried(path.parent), tempfile.TemporaryFile(dir=path.parent):
        if path.is_dir():
            raise InvalidInput(f"{path}: is a folder; name a file in it")
        if not os.path.lexists(path):
            path.open("x").close()
            path.unlink()


def refuse_unwritable_folder(folder: Path) -> None:
    """Refuse a folder that could not be made or written to; what had to be made for the trial is removed.

    Raises:
        InvalidInput: naming the path and what the system says.
    """
    with _tried(folder), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def _tried(folder: Path) -> Iterator[None]:
    """Make ``folder`` for the time of a trial."""
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    above = missing[-1].parent if missing else folder
    if above.exists() and not above.is_dir():
        raise InvalidInput(f"{above}: is a file, where a folder is needed; name another place")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be written to: {error.strerror}; name another place") from None
    finally:
        for each in missing:
            if each.is_dir():
                each.rmdir()


def _part_of(path: Path) -> str:
    """Return how the names of all parts of one file begin: short, whatever the file is called."""
    return f".part-{hashlib.sha256(path.name.encode(errors='surrogateescape')).hexdigest()[:12]}."


def _here() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _remove_parts(path: Path) -> None:
    """Remove the parts of ``path`` whose writers are gone."""
    for part in path.parent.glob(f"{_part_of(path)}*"):
        host, pid = part.name.split(".")[2:4]
        try:
            gone = not _runs(int(pid)) if host == _here() else time.time() - part.stat().st_mtime > ABANDONED
        except (OSError, ValueError):
            continue
        if gone:
            part.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
