"""What commands print on standard output, and the files that they write."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from certify.errors import InvalidPlan
from certify.text import visible
from certify.writing import refuse_unwritable

out = Console(highlight=False, soft_wrap=True)


def say(*lines: str) -> None:
    """Print each line as it stands: brackets are text, not style, and what cannot be seen is written out."""
    for line in lines:
        out.print(visible(line), markup=False)


def say_written(paths: Iterable[Path]) -> None:
    """Name each file, once it is written."""
    for path in paths:
        say(f"wrote {path}")


def refuse_to_replace(output: Path, overwrite: bool) -> None:
    """Protect what took time to make, and try the place before anything is worked out for it.

    Raises:
        InvalidPlan: the file exists, and nobody said that it may go.
        InvalidInput: it cannot be written.
    """
    refuse_unwritable(output)
    if os.path.lexists(output) and not overwrite:
        raise InvalidPlan(f"{output} exists; name another file or pass --overwrite")
