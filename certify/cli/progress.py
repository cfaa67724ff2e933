"""Progress bars with rate and time left, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
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

from certify.cli.options import Work
from certify.errors import InvalidInput
from certify.writing import refuse_unwritable_folder

if TYPE_CHECKING:
    from certify.cluster import Crew
    from certify.measuring.run import Run, Track


class _RateColumn(ProgressColumn):
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
        _RateColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    def track(indices: Sequence[int], label: str) -> Iterable[int]:
        task = bars.add_task(label, total=len(indices))
        for i in indices:
            yield i
            bars.advance(task)
        bars.remove_task(task)

    with bars:
        yield track


@contextmanager
def carried_out(work: Work, filed: Path | None = None) -> Iterator[Run]:
    """Yield the run of a command: bars and estimates on the first rank, finished draws kept, work shared with others.

    ``filed``: the folder that its certificates go to.
    """
    from platformdirs import user_cache_path

    from certify.cluster import member
    from certify.measuring import Run, join_world
    from certify.measuring.world import World

    if (actor := member()) is not None:
        yield Run(world=World(rank=1), crew=actor)  # what it says and keeps, its driver does
        return
    world = join_world(work.processes, work.device)
    ledgers = work.draws_dir or user_cache_path("pytest-basin") / "draws"
    try:
        refuse_unwritable_folder(ledgers)
    except InvalidInput as error:
        raise InvalidInput(f"finished draws cannot be kept: {error} with --draws-dir") from None
    with _crew(work) as crew, progress_bars() as track:
        alone = Run(
            ledgers=ledgers,
            filed=filed,
            world=world,
            longest_wait=work.wait,
            tell=lambda line: typer.echo(line, err=True) if world.rank == 0 else None,
            price_per_hour=work.price_per_hour,
            crew=crew,
        )
        yield replace(alone, track=track) if world.rank == 0 else alone


@contextmanager
def _crew(work: Work) -> Iterator[Crew | None]:
    """Yield the actors that were asked for; each carries out this very command."""
    if work.ray is None:
        yield None
        return
    from certify.cluster import Crew, Hub

    with Hub(work.ray, work.ray_actors, work.device, sys.argv[1:]) as hub:
        yield Crew(hub, hub.size)
