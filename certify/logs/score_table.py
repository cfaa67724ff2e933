"""Tables of one's own: a row for each item, with its id and its score."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certify.benchmarks.clusters import label_in
from certify.benchmarks.rows import Row
from certify.errors import InvalidInput
from certify.logs.log import Log, ScoredItem, once, text
from certify.text import shortened

TOOL = "table"
IDS = ("id", "item")
SCORE, CLUSTER = "score", "cluster"
WORDS = {"true": 1.0, "false": 0.0}
MISSING = ("", "none", "nan", "null")


def read_table(file: Path, digest: str, rows: list[Row], cluster: str | None = None) -> Log:
    """Return what a table says; an empty score is an answer that is missing, an empty cluster none.

    Raises:
        InvalidInput: a column is missing, or a score is no number.
    """
    items = once(_items(rows, cluster or CLUSTER), file)
    return Log(file=file, digest=digest, tool=TOOL, task="scores", items=items)


def _items(rows: list[Row], column: str) -> Iterator[tuple[str, ScoredItem]]:
    for where, fields in rows:
        name = next((fields[column] for column in IDS if fields.get(column) is not None), None)
        if name is None or SCORE not in fields:
            columns = ", ".join(map(shortened, fields))
            raise InvalidInput(f"{where}: a table of scores has the columns id and score; here are {columns}")
        cluster = text(label_in(where, fields, column))
        yield text(name), ScoredItem(
            where=where,
            cluster="" if cluster.strip().lower() in MISSING else cluster,
            metrics={SCORE: _number(where, fields[SCORE])},
        )


def _number(where: str, value: Any) -> float | None:
    written = text(value).strip().lower()
    if written in MISSING:
        return None
    try:
        return WORDS[written] if written in WORDS else float(written)
    except ValueError:
        raise InvalidInput(f"{where}: score {shortened(repr(value), 40)} is no number") from None
