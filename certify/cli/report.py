"""``certify report``: certificates as JSON, Markdown or one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from certify.certificate import DOCUMENTS, AnyDocument, read_as
from certify.errors import CertificateMismatch, InvalidInput, InvalidPlan, UnsupportedSchema
from certify.report.gates import Context, ReportType, Row, render, row_of, write_report
from certify.report.json_report import read_report
from certify.verify import differences


def run_report(out: Console, *, files: Sequence[Path], kind: str, output: Path | None, title: str, date: str) -> None:
    """Render the files as one report and write it to ``output``, or print it."""
    form = next((form for form in ReportType if form == kind), None)
    if form is None:
        raise InvalidPlan(f"--type {kind!r}: choose from {', '.join(ReportType)}")
    if form is ReportType.markdown_append and output is None:
        raise InvalidPlan("--type markdown-append adds to a file: name it with --output")
    rows, contexts = [], []
    for file in files:
        found, context = read_rows_of(file)
        rows += found
        contexts.append(context)
    given = {name: value for name, value in (("title", title), ("date", date)) if value}
    about = shared(contexts).model_copy(update=given)
    if output is None:
        out.file.write(render(form, rows, about))
        return
    try:
        write_report(form, rows, about, output)
    except OSError as error:
        raise InvalidInput(f"{output}: the report cannot be written there: {error.strerror}") from None
    out.print(f"wrote {output}", markup=False)


def read_rows_of(file: Path) -> tuple[list[Row], Context]:
    """Return the rows of a certificate that recomputes, or of a JSON report, and what it says of its run.

    Raises:
        CertificateMismatch: the certificate contradicts itself, so that a page must not repeat it.
        InvalidInput, UnsupportedSchema: the file judges nothing, or is none of ours.
    """
    try:
        document: AnyDocument = read_as(file, DOCUMENTS)
    except UnsupportedSchema:
        report = read_report(file)
        if report is None:
            raise
        return report
    row = row_of(document, str(file))
    problems = differences(document)
    if problems:
        raise CertificateMismatch(f"{file}: {problems[0]} (`certify verify {file}` says all)")
    return [row], Context(base=row.base, checkpoint=row.checkpoint, versions=document.environment.packages)


def shared(contexts: Iterable[Context]) -> Context:
    """Return what all contexts agree on, and nothing else."""
    dumped = [context.model_dump() for context in contexts]
    return Context(**{name: dumped[0][name] for name in dumped[0] if all(d[name] == dumped[0][name] for d in dumped)})
