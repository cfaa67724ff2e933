"""From a path to logs: a file or a folder says itself which tool wrote it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.benchmarks.rows import EXPECTED as OF_ITEMS
from certify.benchmarks.rows import LARGEST, Row, read_rows
from certify.errors import BenchmarkError, InvalidInput
from certify.logs import inspect_logs, lighteval_details, lm_eval_samples, score_table
from certify.logs.log import Log, listed
from certify.parsing import plain_json, read_bytes, read_text
from certify.text import shortened

EXPECTED = (
    "samples_*.jsonl of lm-eval, *.eval or *.json of Inspect, details_*.parquet of LightEval, or a table with the "
    "columns id and score"
)
ARCHIVE = ".eval"


def read_logs(path: Path, cluster: str | None = None) -> dict[str, Log]:
    """Return the logs in a file, or in a folder and those inside it, by task.

    ``cluster`` names the field of each item's document that says which group it comes in (a column of a table, a field
    of Inspect's metadata), in place of the field ``cluster`` of tables and metadata.

    Raises:
        InvalidInput: there is none, or two are of one task; the field ``cluster`` is in no item.
        CertifyError: one is not readable.
    """
    found: dict[str, Log] = {}
    for file in _files(path):
        log = _read(file, cluster)
        if cluster is not None and not any(item.cluster.strip() for item in log.items.values()):
            raise InvalidInput(f"{file}: the field {cluster!r}, asked for as cluster, is in no item")
        if log.task in found:
            first = found[log.task].file
            raise InvalidInput(f"two logs of the task {shortened(log.task)}: {first} and {file}; name one")
        found[log.task] = log
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    for patterns in ((lm_eval_samples.PATTERN,), (lighteval_details.PATTERN,), (f"*{ARCHIVE}", "*.json")):
        found = sorted(file for pattern in patterns for file in path.rglob(pattern) if file.is_file())
        if len(patterns) > 1:
            found = [file for file in found if file.suffix == ARCHIVE or inspect_logs.is_inspect(_json(file))]
        if found:
            return found
    raise InvalidInput(f"{path}: holds no log: {EXPECTED} (a table is named itself)")


def _read(file: Path, cluster: str | None) -> Log:
    digest = "sha256:" + hashlib.sha256(read_bytes(file, InvalidInput)).hexdigest()
    if file.suffix == ARCHIVE:
        return inspect_logs.read_inspect(file, digest, cluster=cluster)
    if file.suffix == ".json" and isinstance(value := _json(file), dict):
        if inspect_logs.is_inspect(value):
            return inspect_logs.read_inspect(file, digest, value, cluster)
        if "results" in value:
            raise InvalidInput(
                f"{file}: is a summary without items; name samples_*.jsonl, which lm-eval writes with --log_samples"
            )
    rows = _rows(file)
    if lm_eval_samples.is_samples(rows):
        return lm_eval_samples.read_samples(file, digest, rows, cluster)
    if lighteval_details.is_details(rows):
        return lighteval_details.read_details(file, digest, rows, cluster)
    return score_table.read_table(file, digest, rows, cluster)


def _rows(file: Path) -> list[Row]:
    try:
        return read_rows(file)
    except BenchmarkError as error:
        raise InvalidInput(str(error).replace(OF_ITEMS, f"expected {EXPECTED}")) from None


def _json(file: Path) -> Any:
    """Return what a file of JSON holds, None where it holds none."""
    try:
        return plain_json(read_text(file, InvalidInput, LARGEST))
    except ValueError:
        return None


def together(bases: Mapping[str, Log], checkpoints: Mapping[str, Log]) -> Iterator[tuple[Log, Log]]:
    """Yield the two logs of each task; a single one on either side fits the other, whatever it is called.

    Tables say nothing of themselves: where two have one name, in folders of two names, it is the task's, and the
    folders are the models.

    Raises:
        InvalidInput: a task is on one side only.
    """
    if len(bases) == len(checkpoints) == 1:
        base, checkpoint = *bases.values(), *checkpoints.values()
        tables = base.tool == checkpoint.tool == score_table.TOOL and base.file.name == checkpoint.file.name
        named = [replace(log, task=log.file.stem, model=log.file.resolve().parent.name) for log in (base, checkpoint)]
        yield (named[0], named[1]) if tables and named[0].model != named[1].model else (base, checkpoint)
        return
    if alone := sorted(bases.keys() ^ checkpoints.keys()):
        raise InvalidInput(f"tasks that only one of the two has: {listed(alone)}")
    for task, base in bases.items():
        yield base, checkpoints[task]
