"""One process at a time: who waits for another says for whom, and gives up when it was told to."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from certify.errors import CertifyWarning, InvalidInput, InvalidPlan
from certify.parsing import read_text
from certify.writing import write_whole, writing


@contextmanager
def held(file: Path, longest: float | None = None) -> Iterator[None]:
    """Hold the lock ``file``; a lock of a process that died is free.

    ``longest``: seconds to wait for another process that has it, None for as long as it takes.

    Raises:
        InvalidPlan: another process had it for longer.
    """
    from filelock import FileLock, Timeout

    lock, owner = FileLock(file), file.with_name(f"{file.name}.owner")
    try:
        with writing(file):
            lock.acquire(timeout=0)
    except Timeout:
        whose = _owner(owner)
        _say(f"{file.parent}: waiting for {whose}, which works on the same draws; they are used when it is done")
        try:
            lock.acquire(timeout=-1 if longest is None else longest)
        except Timeout:
            raise InvalidPlan(
                f"{file.parent}: {whose} has worked on the same draws for {longest:g} s and more: wait longer, end it, "
                "or name another folder of draws"
            ) from None
    try:
        with suppress(InvalidInput):  # a full disk: then those who wait learn less
            write_whole(owner, f"process {os.getpid()} on {platform.node()}, since {time.strftime('%H:%M:%S')}")
        yield
    finally:
        lock.release()


def _owner(file: Path) -> str:
    with suppress(InvalidInput):
        return read_text(file, InvalidInput)[:200] or "another process"
    return "another process"


def _say(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # it is news and no fault: nobody's filter makes an error of it
        warnings.warn(text, CertifyWarning, stacklevel=3)
