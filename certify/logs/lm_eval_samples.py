"""lm-evaluation-harness: ``samples_TASK_DATE.jsonl``, written by ``--log_samples``, beside ``results_DATE.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certify.benchmarks.clusters import label_in
from certify.benchmarks.rows import LARGEST, Row
from certify.errors import CertifyError, InvalidInput
from certify.logs.log import Log, ScoredItem, count_of, hash_of, numbers, once, text
from certify.parsing import read_text

PATTERN = "samples_*.jsonl"
OWN = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
}  # fmt: skip
ASKED = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn")
"""Settings of a run that change what every item of it is asked."""


def is_samples(rows: list[Row]) -> bool:
    """Whether these are rows of a samples file."""
    return bool(rows) and {"doc_id", "doc", "resps"} <= rows[0][1].keys()


def read_samples(file: Path, digest: str, rows: list[Row], cluster: str | None = None) -> Log:
    """Return what a samples file says, and of the results beside it what concerns its task."""
    task, run = _named(file), _results_beside(file)
    said = {name: _of_task(run, name, task) for name in ("n-shot", "versions", "task_hashes", "n-samples")}
    counts = said["n-samples"] if isinstance(said["n-samples"], dict) else {}
    all_items, items = counts.get("original"), once(_items(rows, cluster), file)
    limited = isinstance(all_items, int) and all_items > len(items)
    better = _of_task(run, "higher_is_better", task)
    lower = [name for name, high in better.items() if high is False] if isinstance(better, dict) else []
    asked = {name: text(run[name]) for name in ASKED if run.get(name) is not None}
    shots = said["n-shot"]
    return Log(
        file=file,
        digest=digest,
        tool="lm-eval",
        version=text(run.get("lm_eval_version")),
        task=task,
        task_version=" ".join(filter(None, (text(said["versions"]), text(said["task_hashes"])[:12]))),
        model=text(run.get("model_name")) or file.parent.name.strip("_"),
        shots=shots if isinstance(shots, int) and not isinstance(shots, bool) else None,
        lower_is_better=frozenset(lower),
        asked=asked,
        items=items,
        notes=(f"the log holds {count_of(items, 'item')} of {all_items}: a limit was set",) if limited else (),
    )


def _items(rows: list[Row], cluster: str | None) -> Iterator[tuple[str, ScoredItem]]:
    """Yield each item once: its lines, one for each filter, stand apart in the file."""
    merged: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {}
    for where, fields in rows:
        if not {"doc_id", "doc"} <= fields.keys():
            raise InvalidInput(f"{where}: is no sample of lm-eval: doc_id and doc are missing")
        name, through = text(fields["doc_id"]), text(fields.get("filter")) or "none"
        given = fields.get("metrics")
        names = [name for name in fields if (name in given if isinstance(given, list) else name not in OWN)]
        found = {f"{name},{through}": value for name, value in numbers({n: fields[n] for n in names}).items()}
        metrics = merged.setdefault(name, (where, fields, {}))[2]
        if metrics.keys() & found.keys():
            raise InvalidInput(f"{where}: the id {name} is there twice with the filter {through}")
        metrics.update(found)
    for name, (where, fields, metrics) in merged.items():
        arguments = fields.get("arguments")
        yield name, ScoredItem(
            where=where,
            content=hash_of([fields["doc"], fields.get("target")]),
            prompt="" if arguments is None else hash_of(arguments),
            choices=_choices(arguments, fields.get("resps")),
            cluster=text(label_in(where, fields["doc"], cluster)) if cluster else "",
            metrics=metrics,
        )


def _choices(arguments: Any, resps: Any) -> int:
    """Return how many answers there were to choose from: each got a log-likelihood.

    For acc_mutual_info each is asked for once more, without its context; repeats of one are alike.
    """
    if not isinstance(arguments, dict | list) or not isinstance(resps, list) or len(resps) < 2:
        return 0
    each = [group[0] for group in resps if isinstance(group, list) and group]
    likelihoods = [pair for pair in each if isinstance(pair, list) and len(pair) == 2]
    if not len(likelihoods) == len(resps) == len(arguments):
        return 0
    asked = arguments.values() if isinstance(arguments, dict) else arguments
    contexts = [each.get("arg_0") if isinstance(each, dict) else each for each in asked]
    return len([context for context in contexts if context]) or len(resps)


def _named(file: Path) -> str:
    """Return the task: what stands between ``samples_`` and the date."""
    stem = file.stem.removeprefix("samples_")
    head, _, date = stem.rpartition("_")
    return head if head and date[:4].isdigit() and "T" in date else stem


def _results_beside(file: Path) -> Mapping[str, Any]:
    """Return the summary of the same run; empty where it is not there."""
    date = file.stem.rpartition("_")[2]
    beside = file.with_name(f"results_{date}.json")
    if not beside.is_file():
        return {}
    try:  # any number may stand in it, NaN too: nothing is counted here
        found = json.loads(read_text(beside, InvalidInput, LARGEST))
    except (ValueError, RecursionError) as error:
        raise CertifyError(f"{beside}: not readable JSON: {error}") from None
    return found if isinstance(found, dict) else {}


def _of_task(run: Mapping[str, Any], name: str, task: str) -> Any:
    found = run.get(name)
    return found.get(task) if isinstance(found, dict) else None
