"""A cover as a table of windows and in words. Nothing is computed here that is claimed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from certify.documents import CoverRecord
from certify.evidence.cover import NAMES, bound_text, place_text
from certify.evidence.judgement import down, percent, up
from certify.report.table import STYLES, plain


def cover_table(record: CoverRecord) -> Table:
    """Return one row for each window: how many draws fell inside, what they lost, and the bounds of the mean there."""
    said, requirement, count = record.judgement, record.requirement, len(record.judgement.windows)
    sure = percent(record.failure_probability)
    names = ", ".join(record.evidence.family.coefficients)
    caption = f"windows of {names}; bounds of all {count} at once, {sure} on each side"
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=0, caption=plain(caption))
    table.add_column("window", no_wrap=True)
    sign = "<=" if requirement.at_most else ">="
    for name in ("draws", "lost", "gained", f"{requirement.quantity}\n{sign}", "between"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for window in said.windows:
        table.add_row(
            Text(place_text(window.place)),
            f"{window.draws}",
            f"{window.lost}",
            f"{window.gained}",
            bound_text(window, requirement.at_most),
            f"{down(window.bounds.lower)} and {up(window.bounds.upper)}",
            Text(NAMES[window.verdict], style=STYLES[window.verdict]),
        )
    return table


def cover_lines(record: CoverRecord) -> Iterator[str]:
    """Yield verdict, claim and notes."""
    said = record.said
    where = f"{record.evidence.family.title} on {record.benchmark.name}"
    yield f"{said.verdict.value.upper()}  cover of {where}: {said.claim}"
    for note in said.notes:
        yield f"note: {note}"


def window_lines(record: CoverRecord) -> Iterator[str]:
    """Yield what each window says."""
    requirement = record.requirement
    for window in record.said.windows:
        bound = f"{requirement.quantity} {'at most' if requirement.at_most else 'at least'}"
        yield (
            f"{place_text(window.place)}: {NAMES[window.verdict]}, {bound} {bound_text(window, requirement.at_most)} "
            f"({window.draws} draws, {window.lost} lost, {window.gained} gained)"
        )
