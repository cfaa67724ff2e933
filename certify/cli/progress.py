"""Progress bars with rate and time left, on stderr and only on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from certify.measuring.scores import Track


class RateColumn(ProgressColumn):
    """Draws per second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before there is one."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress_bars() -> Iterator[Track]:
    """Yield a ``track`` that shows each loop as a bar; without a terminal it shows nothing."""
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    def track(indices: range, label: str) -> Iterable[int]:
        task = bars.add_task(label, total=len(indices))
        for i in indices:
            yield i
            bars.advance(task)
        bars.remove_task(task)

    with bars:
        yield track
