"""Progress of draws for callers of the library: a line with rate and time left, or a function of one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Literal

from certify.errors import InvalidInput
from certify.measuring.run import Run, Track
from certify.text import visible

Progress = Literal["auto"] | Callable[[str, int, int], object]
"""``auto``, or a function of (what is drawn, how many are done, how many there are), called before and after each."""


def with_progress(run: Run | None, progress: Progress | None) -> Run | None:
    """Return the run, with progress shown as asked; results do not depend on it.

    Raises:
        InvalidInput: neither ``auto`` nor a function.
    """
    if progress is None:
        return run
    if progress != "auto" and not callable(progress):
        raise InvalidInput(f'progress is "auto" or a function of (label, done, total), got {progress!r}')
    return replace(run or Run(), track=_line if progress == "auto" else _told(progress))


def _told(report: Callable[[str, int, int], object]) -> Track:
    def track(indices: Sequence[int], label: str) -> Iterator[int]:
        report(label, 0, len(indices))
        for done, i in enumerate(indices, 1):
            yield i
            report(label, done, len(indices))

    return track


def _line(indices: Sequence[int], label: str) -> Iterator[int]:
    """Write one line again and again, on a terminal or in a notebook, and nowhere else; it is gone in the end."""
    if not (sys.stderr.isatty() or _in_notebook()):
        yield from indices
        return
    start, width = perf_counter(), 0
    try:
        for done, i in enumerate(indices, 1):
            yield i
            text = _said(label, done, len(indices), perf_counter() - start)
            sys.stderr.write(f"\r{text:<{width}}")
            sys.stderr.flush()
            width = len(text)
    finally:
        sys.stderr.write(f"\r{'':<{width}}\r")


def _said(label: str, done: int, total: int, seconds: float) -> str:
    """Return the line: what is drawn, how far, how fast, and the time left at that rate."""
    rate = done / max(seconds, 1e-9)
    left = round((total - done) / rate)
    clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    return f"{visible(label)}: {done} of {total}, {rate:.1f}/s, {clock} left"


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter's runs this; nothing is imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
