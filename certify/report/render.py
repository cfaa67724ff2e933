"""Reports of gates: the same rows as JSON, as Markdown for a step summary, as one HTML page, and for other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

from certify.report.annotations import render_annotations
from certify.report.bill import render_cyclonedx
from certify.report.csv_table import render_csv
from certify.report.hub import render_eval_results, render_model_index
from certify.report.json_report import render_json
from certify.report.markdown import LIMIT, render_markdown
from certify.report.page import render_html
from certify.report.rows import AnyContext, AnyRow, Context, Row, row_of
from certify.report.trend import render_trend
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
    csv = "csv"
    hf_model_index = "hf-model-index"
    hf_eval_results = "hf-eval-results"
    cyclonedx = "cyclonedx"
    trend = "trend"


_RENDERERS: dict[ReportType, Callable[[Iterable[AnyRow], AnyContext], str]] = {
    ReportType.json: render_json,
    ReportType.markdown: render_markdown,
    ReportType.markdown_append: render_markdown,
    ReportType.html: render_html,
    ReportType.annotations: render_annotations,
    ReportType.csv: render_csv,
    ReportType.hf_model_index: render_model_index,
    ReportType.hf_eval_results: render_eval_results,
    ReportType.cyclonedx: render_cyclonedx,
    ReportType.trend: render_trend,
}


def render(kind: ReportType, rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the report in one of its forms.

    Raises:
        InvalidInput: the form cannot say what these rows hold.
    """
    return _RENDERERS[kind](rows, context)


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
