"""Reports of gates: the same rows as JSON, as Markdown for a step summary, and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from certify.report.annotations import render_annotations
from certify.report.json_report import render_json
from certify.report.markdown import LIMIT, render_markdown
from certify.report.page import render_html
from certify.report.rows import AnyContext, AnyRow, Context, Row, row_of
from certify.writing import write_whole

__all__ = [
    "Context",
    "ReportType",
    "Row",
    "render",
    "render_annotations",
    "render_html",
    "render_json",
    "render_markdown",
    "row_of",
    "write_report",
]


class ReportType(StrEnum):
    """The forms of a report; ``markdown-append`` adds to its destination instead of replacing it.

    ``annotations`` are lines that a workflow prints.
    """

    json = "json"
    markdown = "markdown"
    markdown_append = "markdown-append"
    html = "html"
    annotations = "annotations"


def render(kind: ReportType, rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the report in one of its forms."""
    if kind is ReportType.json:
        return render_json(rows, context)
    if kind is ReportType.html:
        return render_html(rows, context)
    if kind is ReportType.annotations:
        return render_annotations(rows, context)
    return render_markdown(rows, context)


def write_report(kind: ReportType, rows: Iterable[AnyRow], context: AnyContext, destination: Path) -> Path:
    """Write the report and return its path: whole or not at all, or added to the end by ``markdown-append``.

    What is appended is kept so short that the whole file stays below the 1 MiB of a step summary.
    """
    if kind is not ReportType.markdown_append:
        return write_whole(destination, render(kind, rows, context))
    destination.parent.mkdir(parents=True, exist_ok=True)
    with destination.open("a", encoding="utf-8") as file:
        before = "\n" if file.tell() else ""
        file.write(before + render_markdown(rows, context, LIMIT - file.tell() - 1))
    return destination
