"""``certify report``: certificates as JSON, Markdown, one HTML page, or in the forms of others."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.output import out, say
from certify.errors import CertifyError, CertifyWarning, InvalidInput, InvalidPlan, UnsupportedSchema
from certify.text import shortened
from certify.writing import refuse_unwritable, write_whole

if TYPE_CHECKING:
    from certify.documents import AnyDocument
    from certify.report.render import Context, Row

STATEMENT = "in-toto"
"""The one form that is made of a record itself and not of its row."""
LISTED = 20
"""Items lost, and items gained, whose texts a gate shows at most."""
LONGEST = 160
"""Characters of an item's text that are shown."""


def report(
    files: Annotated[
        list[Path], typer.Argument(help="Certificates, folders of them, or reports as JSON.", show_default=False)
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            "-t",
            help="json, markdown, markdown-append, html, annotations, csv, hf-model-index, hf-eval-results, cyclonedx, "
            "in-toto or trend.",
            metavar="TYPE",
        ),
    ] = "markdown",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (standard output if absent).")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "",
    benchmark: Annotated[
        list[Path] | None,
        typer.Option(
            "--benchmark",
            "-b",
            help="File of items: show the texts of those lost and gained, too; repeatable. Otherwise their numbers.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Of releasing some of several checkpoints, all of them together (0.95 if absent)."),
    ] = None,
    hub_task: Annotated[
        list[str] | None,
        typer.Option(
            help="For hf-eval-results: which dataset and task of the hub a benchmark is; repeatable.",
            metavar="BENCHMARK=OWNER/DATASET:TASK",
            show_default=False,
        ),
    ] = None,
    date: Annotated[str, typer.Option(help="Date to print; none unless given, so that a report is reproducible.")] = "",
) -> None:
    """Render certificates as a report. Exit 0 when it was written: the verdicts are those of the files."""
    from certify.evidence import alpha_of
    from certify.report.render import ReportType, render, write_report

    form = next((form for form in ReportType if form == kind), None)
    if form is None and kind != STATEMENT:
        raise InvalidPlan(f"--type {kind!r}: choose from {', '.join([*ReportType, STATEMENT])}")
    if form is ReportType.markdown_append and output is None:
        raise InvalidPlan("--type markdown-append adds to a file: name it with --output")
    if hub_task and form is not ReportType.hf_eval_results:
        raise InvalidPlan("--hub-task belongs to --type hf-eval-results")
    if output is not None:
        _refuse_to_replace_a_record(output)
    files, notes = _expanded(files)
    if form is None:
        _hand_over(_statement(files), output)
        return
    read = [_read_rows_of(file) for file in files]
    alpha = None if confidence is None else alpha_of(confidence)
    about = _shared(context for _, context, _ in read)
    judged, copies = _each_once([(row, document) for found, _, document in read for row in found])
    asked = {
        "title": title,
        "date": date,
        "alpha": alpha,
        "hub_tasks": _hub_tasks(hub_task or ()),
        "notes": (*about.notes, *notes, *copies),
    }
    about = about.model_copy(update={name: value for name, value in asked.items() if value})
    for copy in copies:
        warnings.warn(copy, CertifyWarning, stacklevel=2)  # not every form has a place for notes
    rows = with_p_values(judged, about)
    rows = _with_texts(rows, benchmark or ())
    if output is None or form is not ReportType.markdown_append:
        _hand_over(render(form, rows, about), output)
        return
    try:
        write_report(form, rows, about, output)
    except OSError as error:
        raise InvalidInput(f"{output}: the report cannot be written there: {error.strerror}") from None
    say(f"wrote {output}")


def _expanded(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the files, in the place of a folder the records in it that judge something, and a note on all else.

    They come by name, numbers in it by their value: checkpoint-900 before checkpoint-1000.

    Raises:
        InvalidPlan: a folder holds no such record.
        CertifyError: a file in it cannot be read, as one that was cut off.
    """
    found, notes = list[Path](), list[str]()
    for file in files:
        if not file.is_dir():
            found.append(file)
            continue
        inside = sorted(file.rglob("*.json"), key=lambda path: _by_value(str(path)))
        judging = [path for path in inside if _judges(path)]
        if not judging:
            raise InvalidPlan(f"{file}: holds no certificate (`certify check -o {file}` writes them)")
        others = [path for path in (*inside, *sorted(file.rglob("*.json.stale"))) if path not in judging]
        if others:
            named = ", ".join(str(path.relative_to(file)) for path in others[:5])
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            notes.append(f"In {file} and left out, since they are no certificates or were set aside: {named}{more}")
        found += judging
    return found, notes


def _by_value(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _judges(file: Path) -> bool:
    """Whether a file is one of ours that makes a claim; another program's JSON is none."""
    from certify.documents import DOCUMENTS, Judged
    from certify.parsing import plain_json, read_text

    try:
        value = plain_json(read_text(file, InvalidInput))
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{file}: not readable JSON: {shortened(str(error))}") from None
    schema = value.get("schema") if isinstance(value, dict) else None
    return isinstance(schema, str) and issubclass(DOCUMENTS.get(schema, object), Judged)


def _hand_over(text: str, output: Path | None) -> None:
    """Write the text to the file, whole, and say so; or print it, and nothing else."""
    if output is None:
        out.file.write(text)
        return
    replaced = os.path.lexists(output)
    write_whole(output, text)
    say(f"{'replaced' if replaced else 'wrote'} {output}")


def _statement(files: Sequence[Path]) -> str:
    """Return the in-toto statement of a record that recomputes; its copies are no other records.

    Raises:
        InvalidPlan: there are several files: one statement is about one record.
        CertificateMismatch: the record contradicts itself.
    """
    from certify.attestation import statement
    from certify.verify import read_valid

    one, *others = {document.digest: document for document in map(read_valid, files)}.values()
    if others:
        raise InvalidPlan(f"--type {STATEMENT}: a statement is of one record, and {1 + len(others)} are named")
    return json.dumps(statement(one), indent=1, ensure_ascii=False) + "\n"


def _hub_tasks(texts: Sequence[str]) -> dict[str, str]:
    """Return the dataset and task of the hub that each benchmark is said to be.

    Raises:
        InvalidPlan: a text of another form, or two for one benchmark.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, task = text.rpartition("=")
        if not name or not re.fullmatch(r"[\w.-]+/[\w.-]+:[^\s:]+", task):
            raise InvalidPlan(f"--hub-task {text!r}: expected BENCHMARK=OWNER/DATASET:TASK, as hle=cais/hle:default")
        if name in found:
            raise InvalidPlan(f"--hub-task {text!r}: {name} is {found[name]} already")
        found[name] = task
    return found


def _refuse_to_replace_a_record(output: Path) -> None:
    """Let a report replace an earlier report, and never a certificate, whose name is so easily given for it.

    Raises:
        InvalidInput: there is a record, or nothing can be written there.
    """
    from certify.documents import DOCUMENTS, read_as

    refuse_unwritable(output)
    if os.path.lexists(output):
        try:
            read_as(output, DOCUMENTS)
        except CertifyError:
            return
        raise InvalidPlan(f"{output}: is a record, which no report replaces; name another file")


def _read_rows_of(file: Path) -> tuple[list[Row], Context, AnyDocument | None]:
    """Return the rows of a certificate that recomputes, or of a JSON report, what it says of its run, and the former.

    Raises:
        CertificateMismatch: the certificate contradicts itself, so that a page must not repeat it.
        InvalidInput, UnsupportedSchema: the file judges nothing, or is none of ours.
    """
    from certify.report.json_report import read_report
    from certify.report.render import Context, row_of
    from certify.verify import read_valid

    try:
        document = read_valid(file)
    except UnsupportedSchema:
        report = read_report(file)
        if report is None:
            raise
        return *report, None
    stale = {"error": "not judged by the latest run, which set this file aside"} if file.suffix == ".stale" else {}
    row = row_of(document, str(file), **stale)
    versions = {name: version for name, version in document.environment.packages.items() if version}
    return [row], Context(base=row.base, checkpoint=row.checkpoint, versions=versions), document


def _each_once(
    found: Sequence[tuple[Row, AnyDocument | None]],
) -> tuple[list[tuple[Row, AnyDocument | None]], list[str]]:
    """Return the rows without those that say of one record what an earlier one says, and a note on each that went.

    A row that says more of it, as that it was set aside or missed its baseline, stays.
    """
    kept: dict[str | int, tuple[Row, AnyDocument | None]] = {}
    notes: list[str] = []
    for row, document in found:
        said = row.model_dump_json(exclude={"certificate", "replay"})
        first, _ = kept.setdefault(said if row.record else id(row), (row, document))
        if first is not row:
            notes.append(f"{row.certificate or row.item} is a copy of {first.certificate or first.item}, and not shown")
    return list(kept.values()), notes


def with_p_values(found: Sequence[tuple[Row, AnyDocument | None]], about: Context) -> list[Row]:
    """Return the rows, those of checkpoints that pass beside others that fail with their p-values, if these are known.

    Only then does a headline rest on them; each takes its judge a few dozen times.
    """
    from certify.documents import Certificate, ScoresRecord
    from certify.joint import holm_levels, p_value
    from certify.report.release import OF_NONE
    from certify.report.rows import told_apart

    told, _ = told_apart([row for row, _ in found], about)
    names = {row.checkpoint for row in told if row.evidence not in OF_NONE}
    failing = {row.checkpoint for row in told if row.failing}
    levels = holm_levels(about.alpha, len(names))

    def judged(row: Row, name: str, document: AnyDocument | None) -> Row:
        if not failing or name in failing or row.informational or not isinstance(document, Certificate | ScoresRecord):
            return row
        p = p_value(document.evidence, document.benchmark, document.requirement, levels)
        return row.model_copy(update={"p": min(p, document.alpha)})  # it is certified there; p is rounded up

    return [judged(row, each.checkpoint, document) for each, (row, document) in zip(told, found, strict=True)]


def _with_texts(rows: Sequence[Row], benchmarks: Sequence[Path]) -> list[Row]:
    """Return the rows with the texts of items that were lost or gained on these benchmarks, in a few words.

    Raises:
        InvalidPlan: a benchmark that no row was judged on.
        BenchmarkError: it cannot be read.
    """
    from certify.benchmarks import open_pool_or_benchmark

    opened = {path: open_pool_or_benchmark(path) for path in benchmarks}
    judged_on = {row.digests.get("benchmark") for row in rows}
    if unknown := [str(path) for path, items in opened.items() if items.digest not in judged_on]:
        raise InvalidPlan(f"--benchmark {unknown[0]}: no gate of this report was judged on these items")
    texts = {items.digest: [shortened(item.prompt, LONGEST) for item in items.items] for items in opened.values()}

    def shown(row: Row) -> dict[int, str]:
        own = texts.get(row.digests.get("benchmark", ""), [])
        return {i: own[i - 1] for some in (row.items_lost, row.items_gained) for i in some[:LISTED] if own}

    return [row.model_copy(update={"texts": shown(row)}) if shown(row) else row for row in rows]


def _shared(contexts: Iterable[Context]) -> Context:
    """Return what all contexts agree on, and nothing else."""
    from certify.report.render import Context

    dumped = [context.model_dump() for context in contexts]
    return Context(**{name: dumped[0][name] for name in dumped[0] if all(d[name] == dumped[0][name] for d in dumped)})
