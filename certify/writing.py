"""Files that are written whole or not at all, and places that are tried before anything is worked out for them."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certify.errors import InvalidInput

ABANDONED = 24 * 3600.0
"""Seconds after which a part that a process of another machine was writing counts as left behind."""


def write_whole(path: Path, text: str) -> Path:
    """Write ``text`` to ``path``, as :func:`whole` does, and return the path."""
    with whole(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a file to write to, which takes the place of ``path`` at the end: readers see the old or the new, no part.

    It gets the permissions that the user's umask leaves (safetensors writes owner-only files), and what killed writers
    of it left behind is removed.

    Raises:
        InvalidInput: as :func:`writing`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_parts(path)
        aside = path.with_name(f"{_part_of(path)}{_here()}.{os.getpid()}.{secrets.token_hex(8)}")
        try:
            aside.touch(exist_ok=False)
            mode = stat.S_IMODE(aside.stat().st_mode)
            yield aside
            aside.chmod(mode)
            with aside.open("rb") as f:
                os.fsync(f.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write to, which is called ``path`` at the end, as a whole or not at all; nothing is replaced.

    What killed writers of it left behind is removed.

    Raises:
        InvalidInput: as :func:`writing`; something of that name is there.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_parts(path)
        aside = path.with_name(f"{_part_of(path)}{_here()}.{os.getpid()}.{secrets.token_hex(8)}")
        aside.mkdir()
        try:
            yield aside
            if os.path.lexists(path):  # a rename would take the place of an empty folder
                raise InvalidInput(f"{path}: exists; name another folder")
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what the system has against writing to ``path``, which was tried and may since be full.

    Raises:
        InvalidInput: the disk is full, a quota or a limit is reached, the folder was taken away.
    """
    try:
        yield
    except TimeoutError:  # of a lock, which speaks for itself
        raise
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot be written: {error.strerror or error}; finished draws are kept: make room, and run the "
            "same command again"
        ) from None


def refuse_unwritable(path: Path) -> None:
    """Refuse a file that could not be written where ``path`` says; nothing is made, so processes may try side by side.

    Raises:
        InvalidInput: it is a folder, or the nearest folder that is there cannot be written to.
    """
    refuse_unwritable_folder(path.parent)
    with _refused(path):
        if stat.S_ISDIR(path.stat().st_mode):
            raise InvalidInput(f"{path}: is a folder; name a file in it")


def refuse_unwritable_folder(folder: Path) -> None:
    """Refuse a folder that could not be made or written to, by writing to the nearest one that is there.

    Raises:
        InvalidInput: naming the path and what the system says.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        raise InvalidInput(f"{there}: is a file, where a folder is needed; name another place")
    with _refused(folder):
        folder.stat()  # no such folder is no problem; a name that is too long is
    with _refused(there), tempfile.TemporaryFile(dir=there):
        pass


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Say in one line why the system refuses ``path``; that something is not there yet is no refusal."""
    try:
        yield
    except OSError as error:
        if not (isinstance(error, FileNotFoundError) and not os.path.lexists(path)):
            raise InvalidInput(f"{path}: cannot be written to: {error.strerror}; name another place") from None


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
        if gone and part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif gone:
            part.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
