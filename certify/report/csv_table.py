"""The report as CSV: a line for each gate, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from certify.evidence.judgement import Verdict
from certify.report.rows import AnyContext, AnyRow, Row, told_apart
from certify.text import visible

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell must not begin with, or a spreadsheet computes it: the four signs, also in full width."""


def render_csv(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return a head and a line for each gate, in the given order; bounds and estimates as they are, not rounded.

    A text that a spreadsheet would take for a formula begins with an apostrophe; characters that cannot be seen are
    written out, so that a gate has one line.
    """
    found, _ = told_apart(rows, context)
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    cells = [_cells(row) for row in found]
    table.writerow(_cells(_EMPTY))
    table.writerows([_inert(value) for value in line.values()] for line in cells)
    return file.getvalue()


_EMPTY = Row(item="", benchmark="", evidence="", verdict=Verdict.UNDECIDED, unit="drop", need=0.0)
"""The row whose cells have the names of the columns."""


def _cells(row: Row) -> dict[str, str | float | None]:
    return {
        "gate": row.item,
        "checkpoint": row.checkpoint,
        "base": row.base,
        "benchmark": row.benchmark,
        "evidence": row.evidence,
        "verdict": row.outcome,
        "informational": "yes" if row.informational else "no",
        "vacuous": "yes" if row.vacuous else "no",
        "baseline": row.against_baseline or "",
        "bound": row.found,
        "required": row.asked,
        "unit": row.unit,
        "estimate": row.value,
        "lower": row.lower,
        "upper": row.upper,
        "limit": row.need,
        "alpha": row.alpha,
        "confidence": row.confidence,
        "n": row.n,
        "counted": row.of,
        "p_value": row.p,
        "error": row.error,
        "claim": row.claim,
        "certificate": row.certificate,
        "certificate_digest": row.record,
        "base_digest": row.digests.get("base", ""),
        "checkpoint_digest": row.digests.get("checkpoint", ""),
        "benchmark_digest": row.digests.get("benchmark", ""),
    }


def _inert(value: str | float | None) -> str | float | None:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text
