"""The report as one HTML file: inline style and SVG, no script, nothing fetched, readable by eye, ear and printer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from certify.evidence import KINDS
from certify.report.intervals import ROOM_FOR_NUMBERS, Axis, Plot, axis_of, plot, ticks
from certify.report.rows import (
    AnyContext,
    AnyRow,
    Outcome,
    Row,
    counts,
    in_words,
    overall,
    read_context,
    read_rows,
    worst_first,
)

if TYPE_CHECKING:
    from jinja2 import Template

MEANING = {
    Outcome.CERTIFIED: "the bounds show that the requirement holds",
    Outcome.REFUTED: "the bounds show that the requirement does not hold",
    Outcome.UNDECIDED: "the bounds show neither; this is not a pass",
    Outcome.ERROR: "not judged, or its test failed beside the verdict; this is not a pass",
}


@dataclass(frozen=True)
class Gate:
    """A row, its number on the page, its place on the axis of its unit, and on an axis of its own."""

    number: int
    row: Row
    among: Plot
    alone: Plot
    trail: _Trail | None


@dataclass(frozen=True)
class _Trail:
    """Running evidence: points of two lines, x and y in per cent, and how high 1 and 1/alpha lie."""

    met: str
    missed: str
    items: Axis
    start: float
    needed: float
    ratio: str


@dataclass(frozen=True)
class _Overview:
    """The gates of one unit on one axis."""

    quantity: str
    axis: Axis
    gates: list[Gate]


def render_html(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the report as one HTML page that needs neither script nor network."""
    found, about = read_rows(rows), read_context(context)
    gates = _gates(worst_first(found))
    return _template().render(
        about=about,
        verdict=overall(found, about),
        words=in_words(found, about),
        counts=counts(found),
        overviews=_overviews(gates),
        groups=[(each, [gate for gate in gates if gate.row.outcome is each]) for each in Outcome],
        kinds={name: kind.speaks_of for name, kind in KINDS.items() if any(row.evidence == name for row in found)},
        meaning=MEANING,
    )


def _gates(rows: list[Row]) -> list[Gate]:
    axes = {unit: axis_of([row for row in rows if row.unit == unit]) for unit in {row.unit for row in rows}}
    return [
        Gate(i, row, plot(row, axes[row.unit]), plot(row, axis_of([row], ROOM_FOR_NUMBERS)), _trail(row))
        for i, row in enumerate(rows, 1)
    ]


def _trail(row: Row) -> _Trail | None:
    """Place the running evidence of a row; what is known lies at the top, what is hopeless at the bottom."""
    if not row.running or row.alpha is None:
        return None
    goal, last = math.log(1.0 / row.alpha), row.running[-1][0]
    items, height = Axis(0.0, float(last), ticks(0.0, float(last))), Axis(-goal, 1.25 * goal, ())

    def line(side: int) -> str:
        points = [(0.0, 0.0), *((n, height.high if (y := each[side]) is None else y) for n, *each in row.running)]
        return " ".join(f"{items.place(x):g},{100 - height.place(y):g}" for x, y in points)

    ratio = f"{1.0 / row.alpha:.4g}"
    return _Trail(line(0), line(1), items, 100 - height.place(0.0), 100 - height.place(goal), ratio)


def _overviews(gates: list[Gate]) -> list[_Overview]:
    units = dict.fromkeys(gate.row.unit for gate in gates)
    own = [[gate for gate in gates if gate.row.unit == unit] for unit in units]
    return [_Overview(some[0].row.quantity, some[0].among.axis, some) for some in own]


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("certify.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")
