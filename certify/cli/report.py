"""``certify report``: certificates as JSON, Markdown or one HTML page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.output import out, say
from certify.errors import CertificateMismatch, CertifyError, InvalidInput, InvalidPlan, UnsupportedSchema
from certify.writing import refuse_unwritable

if TYPE_CHECKING:
    from certify.report.render import Context, Row


def report(
    files: Annotated[list[Path], typer.Argument(help="Certificates, or reports as JSON.", show_default=False)],
    kind: Annotated[
        str, typer.Option("--type", "-t", help="json, markdown, markdown-append or html.", metavar="TYPE")
    ] = "markdown",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (standard output if absent).")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "",
    date: Annotated[str, typer.Option(help="Date to print; none unless given, so that a report is reproducible.")] = "",
) -> None:
    """Render certificates as a report. Exit 0 when it was written: the verdicts are those of the files."""
    from certify.report.render import ReportType, render, write_report
    from certify.report.rows import told_apart

    form = next((form for form in ReportType if form == kind), None)
    if form is None:
        raise InvalidPlan(f"--type {kind!r}: choose from {', '.join(ReportType)}")
    if form is ReportType.markdown_append and output is None:
        raise InvalidPlan("--type markdown-append adds to a file: name it with --output")
    if output is not None:
        _refuse_to_replace_a_record(output)
    read = [_read_rows_of(file) for file in files]
    rows, overlaps = told_apart([row for found, _ in read for row in found])
    given = {name: value for name, value in (("title", title), ("date", date)) if value}
    shared = _shared(context for _, context in read)
    about = shared.model_copy(update={**given, "notes": (*shared.notes, *overlaps)})
    if output is None:
        out.file.write(render(form, rows, about))
        return
    replaced = os.path.lexists(output) and form is not ReportType.markdown_append
    try:
        write_report(form, rows, about, output)
    except OSError as error:
        raise InvalidInput(f"{output}: the report cannot be written there: {error.strerror}") from None
    say(f"{'replaced' if replaced else 'wrote'} {output}")


def _refuse_to_replace_a_record(output: Path) -> None:
    """Let a report replace an earlier report, and never a certificate, whose name is so easily given for it.

    Raises:
        InvalidInput: there is a record, or nothing can be written there.
    """
    from certify.certificate import DOCUMENTS, read_as

    refuse_unwritable(output)
    if os.path.lexists(output):
        try:
            read_as(output, DOCUMENTS)
        except CertifyError:
            return
        raise InvalidPlan(f"{output}: is a record, which no report replaces; name another file")


def _read_rows_of(file: Path) -> tuple[list[Row], Context]:
    """Return the rows of a certificate that recomputes, or of a JSON report, and what it says of its run.

    Raises:
        CertificateMismatch: the certificate contradicts itself, so that a page must not repeat it.
        InvalidInput, UnsupportedSchema: the file judges nothing, or is none of ours.
    """
    from certify.certificate import DOCUMENTS, AnyDocument, read_as
    from certify.report.json_report import read_report
    from certify.report.render import Context, row_of
    from certify.verify import differences

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


def _shared(contexts: Iterable[Context]) -> Context:
    """Return what all contexts agree on, and nothing else."""
    from certify.report.render import Context

    dumped = [context.model_dump() for context in contexts]
    return Context(**{name: dumped[0][name] for name in dumped[0] if all(d[name] == dumped[0][name] for d in dumped)})
