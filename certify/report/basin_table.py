"""A basin record as a table and in words. Nothing is computed here that is claimed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from certify.documents import BasinRecord
from certify.evidence.judgement import Interval, down, percent, up
from certify.evidence.position import alpha_star_text, level_text
from certify.evidence.width import LevelJudgement
from certify.report.table import STYLES

if TYPE_CHECKING:
    from certify.evidence.width import StrictShare


def basin_table(record: BasinRecord) -> Table:
    """Return one row for each sigma: the bound that decides, both ends at once, and what whole draws lost."""
    requirement, with_draws = record.requirement, bool(record.evidence.draws)
    caption = f"each number with {percent(record.alpha)} confidence, one at a time"
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=0, caption=caption)
    names = ["sigma", "lost", "gained", f"{requirement.quantity}\n{'<=' if requirement.at_most else '>='}", "two-sided"]
    names += ["clean\ndraws", "share\n>=", "|change|\n<="] if with_draws else []
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("alone")
    for level in record.judgement.levels:
        bound = up(level.bounds.upper) if requirement.at_most else down(level.bounds.lower)
        row = [f"{level.sigma:g}", f"{level.lost}", f"{level.gained}", bound, _both_ends(level.two_sided)]
        if level.strict is not None and level.change is not None:
            row += [f"{level.strict.clean}/{level.strict.draws}", down(level.strict.lower), up(level.change.upper)]
        table.add_row(*row, Text(level.verdict.value, style=STYLES[level.verdict]))
    return table


def _both_ends(interval: Interval) -> str:
    """Return the two bounds of an interval, rounded outwards."""
    return f"{down(interval.lower)} to {up(interval.upper)}"


def _share_text(share: StrictShare | None) -> str:
    """Return a share of directions with its bounds."""
    if share is None:
        return "-"
    return f"{share.clean} of {share.draws}: >= {down(share.lower)}, {_both_ends(share.two_sided)}"


def summary_lines(record: BasinRecord) -> Iterator[str]:
    """Yield verdict, claim, notes and places of checkpoints."""
    j = record.said
    yield f"{j.verdict.value.upper()}  basin of {record.base.name} on {record.benchmark.name}: {j.claim}"
    for note in j.notes:
        yield f"note: {note}"
    yield from place_lines(record)


def place_lines(record: BasinRecord) -> Iterator[str]:
    """Yield where checkpoints lie."""
    j = record.said
    for place in j.places:
        compared = "within" if place.within else "outside"
        where = "not comparable" if place.differences else f"{compared} sigma* = {level_text(j.sigma_star)}"
        lies = alpha_star_text(place.alpha_star, j.sigma_star)
        yield (
            f"{place.name}: alpha* = ||delta||/sqrt(d) = {lies}, {where} (geometry, no verdict: "
            "`certify check --require position` judges)"
        )


def detail_lines(record: BasinRecord) -> Iterator[str]:
    """Yield what was found at each sigma."""
    for level in record.judgement.levels:
        yield from _level_lines(level, record)


def _level_lines(level: LevelJudgement, record: BasinRecord) -> Iterator[str]:
    sure = percent(record.alpha)
    yield (
        f"sigma {level.sigma:g}: {level.lost} of {record.benchmark.items} items lost, {level.gained} gained; "
        f"{record.requirement.quantity} {_both_ends(level.bounds)} ({sure} one-sided each), "
        f"{_both_ends(level.two_sided)} (two-sided): {level.verdict.value} alone"
    )
    if level.strict is not None and level.change is not None:
        yield (
            f"    directions that lose nothing: {_share_text(level.strict)} ({sure} one-sided, then two-sided); mean "
            f"|change| of the score at most {up(level.change.upper)}"
        )
