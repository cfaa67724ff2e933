"""The report as JSON: one record that every other form can be made from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from certify.errors import UnsupportedSchema
from certify.parsing import read_json
from certify.report.release import headlines, rests_on
from certify.report.rows import AnyContext, AnyRow, Context, Row, counts, overall, read_context, read_rows, told_apart

SCHEMA = "pytest-basin/report"
VERSION = 1


def render_json(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the report as JSON text.

    Counts, seeds and digests are what was recorded; bounds and verdicts are derived from them, and stand in full
    in the certificates that the rows name, where ``certify verify`` recomputes them.
    """
    gates, about = read_rows(rows), read_context(context)
    verdict, first = overall(gates, about), headlines(*told_apart(gates, about))
    value = {
        "schema": SCHEMA,
        "version": VERSION,
        "verdict": verdict,
        "checkpoints": [
            {"checkpoint": head.checkpoint, "answer": head.answer, "because": head.because} for head in first
        ],
        "rests_on": rests_on(first, about),
        "counts": {str(each): number for each, number in counts(gates).items()},
        "context": about.model_dump(mode="json"),
        "gates": [row.model_dump(mode="json") for row in gates],
    }
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_report(path: Path) -> tuple[list[Row], Context] | None:
    """Return rows and context of a report that :func:`render_json` made, or None for a file of another schema.

    A report repeats what certificates say; it is not recomputed.

    Raises:
        CertifyError: the file is not readable JSON.
        UnsupportedSchema: a version of the report that this release does not know.
        InvalidInput: a field is missing or of the wrong kind.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        return None
    if value.get("version") != VERSION:
        found = value.get("version")
        raise UnsupportedSchema(f"{path}: report version {found!r}; this release reads {VERSION}: upgrade pytest-basin")
    return read_rows(value.get("gates", ())), read_context(value.get("context"))
