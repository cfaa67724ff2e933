"""What pytest-html shows beside a gate's test: a table, the interval as a picture, and the row as JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

import pytest

FIELDS = ("verdict", "error", "evidence", "bound", "need", "value", "claim", "notes", "settings", "replay")
COLOURS = {"certified": "#1a7f37", "refuted": "#cf222e", "undecided": "#9a6700", "error": "#cf222e"}


def attach(config: pytest.Config, report: pytest.TestReport, rows: Sequence[dict[str, Any]]) -> None:
    """Add a gate's extras to a report, where pytest-html is asked for a page."""
    if not config.pluginmanager.hasplugin("html") or not config.getoption("htmlpath", None):
        return
    from pytest_html import extras

    found = list(getattr(report, "extras", []))
    for row in rows:
        found += [
            extras.html(table(row)),
            extras.svg(b64encode(picture(row).encode()).decode(), name=f"{row['item']} interval"),
            extras.json(row, name=f"{row['item']} row"),
        ]
    report.extras = found  # type: ignore[attr-defined]


def table(row: dict[str, Any]) -> str:
    """Return the row as an HTML table: lower bounds rounded down, upper bounds up."""
    from certify.report.rows import read_rows

    (read,) = read_rows([row])
    shown = row | {
        "value": read.estimate,
        "bound": read.found,
        "need": read.asked,
        "notes": "; ".join(row["notes"]),
    }
    named = [name for name in FIELDS if shown.get(name)]
    cells = "".join(f"<tr><th>{name}</th><td>{escape(str(shown[name]))}</td></tr>" for name in named)
    return f'<table class="basin">{cells}</table>'


def picture(row: dict[str, Any]) -> str:
    """Return the row's interval as an SVG of its own: where the requirement holds, the bounds, the estimate."""
    from certify.report.intervals import axis_of, plot
    from certify.report.rows import read_rows

    (read,) = read_rows([row])
    p, colour = plot(read, axis_of([read])), COLOURS[read.outcome]
    start, width = p.meets
    shapes = [f'<rect x="{start}%" width="{width}%" y="64" height="36" fill="#d0d7de"/>']
    if not p.empty:
        shapes.append(f'<line x1="{p.start}%" x2="{p.end}%" y1="82" y2="82" stroke="{colour}" stroke-width="6"/>')
    if p.value is not None:
        shapes.append(f'<circle cx="{p.value}%" cy="82" r="7" fill="{colour}"/>')
    shapes.append(f'<line x1="{p.need}%" x2="{p.need}%" y1="58" y2="106" stroke="#57606a" stroke-width="2"/>')
    anchor = "start" if p.need < 30 else "end" if p.need > 70 else "middle"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="140" role="img" font-family="sans-serif" '
        f'font-size="13"><title>{escape(p.description)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="8" y="22" font-weight="bold" fill="{colour}">{read.outcome.upper()}</text>'
        f'<text x="8" y="42">{escape(read.found)}</text>{"".join(shapes)}'
        f'<text x="{p.need}%" y="124" text-anchor="{anchor}">{escape(read.required)}</text></svg>'
    )
