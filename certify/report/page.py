"""The report as one HTML file: inline style and SVG, nothing fetched, readable by eye, ear and printer.

Its one script filters and sorts a table; the page is whole without it, and its policy lets no other run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from certify.evidence import KINDS
from certify.report.intervals import ROOM_FOR_NUMBERS, Axis, Plot, axis_of, plot, ticks
from certify.report.release import columns, headlines, rests_on, title, tone
from certify.report.rows import (
    AnyContext,
    AnyRow,
    Outcome,
    Row,
    in_words,
    overall,
    told_apart,
    worst_first,
)
from certify.text import visible

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

MEANING = {
    Outcome.CERTIFIED: "the bounds show that the requirement holds",
    Outcome.REFUTED: "the bounds show that the requirement does not hold",
    Outcome.UNDECIDED: "the bounds show neither; this is not a pass",
    Outcome.ERROR: "not judged, or its test failed beside the verdict; this is not a pass",
}


ALWAYS = ("bound", "estimate", "required", "counted", "confidence", "gate", "certificate")
"""Words of the glossary that stand on every page, beside those that rows hold."""

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPT = (_TEMPLATES / "report.js").read_text(encoding="utf-8")


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
    logarithm: str


@dataclass(frozen=True)
class _Overview:
    """The gates of one unit on one axis."""

    quantity: str
    axis: Axis
    gates: list[Gate]


def render_html(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the report as one HTML page that needs neither script nor network."""
    from markupsafe import Markup

    found, about = told_apart(rows, context)
    gates, first = _gates(worst_first(found)), headlines(found, about)
    verdict = overall(found, about)
    return template("report.html.j2").render(
        about=about,
        verdict=verdict,
        tone=tone(first) if first else verdict or "none",
        title=title(first) if first else verdict.capitalize() if verdict else "No gates ran",
        words=in_words(found, about),
        headlines=first,
        rests_on=rests_on(first, about),
        columns=columns(found),
        number=_Numbers(gates),
        failing=any(gate.row.outcome is not Outcome.CERTIFIED for gate in gates),
        overviews=_overviews(gates),
        groups=[(each, [gate for gate in gates if gate.row.outcome is each]) for each in Outcome],
        kinds={name: kind.speaks_of for name, kind in KINDS.items() if any(row.evidence == name for row in found)},
        meaning=MEANING,
        again=_again(found),
        glossary=_explained(found),
        script=Markup(_SCRIPT),
        script_hash=base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
    )


def _explained(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the lines of the glossary of which a word stands in what the page says of these rows."""
    said = " ".join([*ALWAYS, *(row.model_dump_json().replace("_", " ") for row in rows)])
    lines = json.loads((_TEMPLATES / "glossary.json").read_text(encoding="utf-8"))
    return [
        (words, meaning)
        for words, meaning in lines
        if any(re.search(rf"(?<!\w){re.escape(word)}(?![\w*])", said, re.IGNORECASE) for word in words.split(", "))
    ]


def _breakable(name: str) -> Markup:
    """Return a gate's name that may go on in the next line before a bracket, and not within a word."""
    from markupsafe import Markup, escape

    return Markup("<wbr>[").join(escape(part) for part in name.split("["))


class _Numbers:
    """The number on the page of each row, which is no key: it holds mappings."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._of = {id(gate.row): gate.number for gate in gates}

    def __getitem__(self, row: Row) -> int:
        return self._of[id(row)]


def _again(rows: Sequence[Row]) -> list[str]:
    """Return the commands that recompute the claims, and those that draw again what was counted."""
    files = {row.certificate: row for row in rows if row.certificate}
    if not files:
        return []
    lines = [f"certify verify {' '.join(map(shlex.quote, files))}"]
    for file, row in files.items():
        quoted = shlex.quote(file)
        if "scores" in row.digests:
            lines.append(f"certify verify {quoted} --base BASE_LOG --checkpoint CHECKPOINT_LOG")
        else:
            models = "--base BASE" + " --checkpoint CHECKPOINT" * bool(row.checkpoint)
            lines.append(f"certify verify {quoted} {models} --benchmark ITEMS --replay 3")
    return lines


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

    ratio, logarithm = f"{1.0 / row.alpha:.4g}", f"{goal:.4g}"
    return _Trail(line(0), line(1), items, 100 - height.place(0.0), 100 - height.place(goal), ratio, logarithm)


def _overviews(gates: list[Gate]) -> list[_Overview]:
    units = dict.fromkeys(gate.row.unit for gate in gates)
    own = [[gate for gate in gates if gate.row.unit == unit] for unit in units]
    return [_Overview(some[0].row.quantity, some[0].among.axis, some) for some in own]


@cache
def template(name: str) -> Template:
    """Return a template of a page: all text that is put into it stays text, and a name that it lacks is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("certify.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["visible"] = visible
    environment.filters["breakable"] = _breakable
    environment.tests["of_earlier_run"] = lambda note: note.endswith(".stale")
    return environment.get_template(name)
