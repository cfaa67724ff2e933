"""LightEval: ``details_TASK_DATE.parquet``, written by ``--save-details``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certify.benchmarks.clusters import label_in
from certify.benchmarks.rows import Row
from certify.errors import InvalidInput
from certify.logs.log import Log, ScoredItem, hash_of, numbers, once, text

PATTERN = "details_*.parquet"


def is_details(rows: list[Row]) -> bool:
    """Whether these are rows of a file of details."""
    return bool(rows) and {"doc", "metric"} <= rows[0][1].keys()


def read_details(file: Path, digest: str, rows: list[Row], cluster: str | None = None) -> Log:
    """Return what a file of details says; its version of LightEval is not in it."""
    task = file.stem.removeprefix("details_").rpartition("_")[0] or file.stem
    shots = task.rpartition("|")[2]
    return Log(
        file=file,
        digest=digest,
        tool="lighteval",
        task=task,
        model="/".join(file.parts[file.parts.index("details") + 1 : -2]) if "details" in file.parts[:-2] else "",
        shots=int(shots) if shots.isdigit() else None,
        items=once(_items(rows, cluster), file),
    )


def _items(rows: list[Row], cluster: str | None) -> Iterator[tuple[str, ScoredItem]]:
    for where, fields in rows:
        doc, metrics = fields.get("doc"), fields.get("metric")
        if not isinstance(doc, dict) or not isinstance(metrics, dict) or "query" not in doc:
            raise InvalidInput(f"{where}: is no detail of LightEval: doc and metric are missing")
        content = hash_of([doc["query"], doc.get("choices"), doc.get("gold_index")])
        choices = doc.get("choices")
        yield text(doc.get("id")) or content[:16], ScoredItem(
            where=where,
            content=content,
            choices=len(choices) if isinstance(choices, list) and len(choices) > 1 else 0,
            cluster=_cluster(where, doc, cluster) if cluster else "",
            metrics=numbers(metrics),
        )


def _cluster(where: str, doc: dict[str, Any], name: str) -> str:
    """Return the label of an item: a field of its doc, or of what the task keeps beside it."""
    own = label_in(where, doc, name)
    return text(label_in(where, doc.get("specific"), name) if own is None else own)
