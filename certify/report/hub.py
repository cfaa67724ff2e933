"""What the Hugging Face hub reads of a model: ``model-index`` of its card, and files in ``.eval_results``.

Formats: modelcard.md and docs/hub/eval-results.md of huggingface/hub-docs. Nothing is claimed to be verified by the
hub: its fields for that are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import yaml

from certify.errors import InvalidInput
from certify.report.release import OF_NONE
from certify.report.rows import AnyContext, AnyRow, Context, Outcome, Row, told_apart
from certify.text import visible


def render_model_index(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the gates of one checkpoint as metadata of its model card, YAML to stand between its ``---`` lines.

    A metric is named with its verdict, and holds the estimate; where there is none, the bound that the verdict rests
    on, in words. Its arguments are what the claim rests on: kind of evidence, requirement, bounds, alpha, n, and
    what is on trust.

    Raises:
        InvalidInput: the gates are not of one checkpoint, or one of them was not judged.
    """
    found, about = _of_one_model(rows, context, "hf-model-index")
    results = [_result(row) for row in found]
    return _yaml({"model-index": [{"name": found[0].checkpoint or about.checkpoint, "results": results}]})


def render_eval_results(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the scores of one checkpoint on benchmarks of the hub, as a file for ``.eval_results/`` of its repository.

    ``hub_tasks`` of the context says which dataset and task of the hub a benchmark is: no record knows. The value is
    the checkpoint's own score, from 0 to 1; notes say what was certified of it.

    Raises:
        InvalidInput: the gates are not of one checkpoint, were not judged, hold no score of the checkpoint itself (only
            point evidence does), or are on a benchmark whose task is not given; or a task is given for none.
    """
    found, about = _of_one_model(rows, context, "hf-eval-results")
    if unknown := sorted(set(about.hub_tasks) - {row.benchmark for row in found}):
        raise InvalidInput(f"{unknown[0]}: a task of the hub is given for it, and no gate was judged on it")
    return _yaml([_entry(row, about) for row in found])


def _of_one_model(rows: Iterable[AnyRow], context: AnyContext, form: str) -> tuple[list[Row], Context]:
    """Return the rows if they are of one checkpoint and were judged: a card is of one model, and knows no errors."""
    found, about = told_apart(rows, context)
    if not found:
        raise InvalidInput(f"{form}: no gate ran, so there is nothing to say of a model")
    if aside := next((row for row in found if row.evidence in OF_NONE), None):
        raise InvalidInput(f"{form}: {aside.item} is {aside.evidence} evidence, about no one checkpoint; leave it out")
    if failed := next((row for row in found if row.outcome is Outcome.ERROR), None):
        raise InvalidInput(f"{form}: {failed.item} was not judged, or its test failed: {failed.error}")
    if len(names := dict.fromkeys(row.checkpoint for row in found)) > 1:
        raise InvalidInput(f"{form} is of one model, and these gates are of {len(names)}: {', '.join(names)}")
    if not (found[0].checkpoint or about.checkpoint):
        raise InvalidInput(f"{form} is of one model, and {found[0].item} names none")
    return found, about


def _result(row: Row) -> dict[str, Any]:
    what = "estimate" if row.value is not None else "bound"
    aside = ", for information" if row.informational else ""
    name = f"{row.quantity}, {what}; {row.outcome}{aside}: {row.found} ({row.evidence} evidence), {row.asked} required"
    args = {
        "verdict": str(row.outcome),
        "evidence": row.evidence,
        "required": row.asked,
        "bound": row.found,
        "lower": row.lower,
        "upper": row.upper,
        "confidence": row.confidence,
        "alpha": row.alpha,
        "n": row.n,
        "counted": row.of,
        "vacuous": row.vacuous,
        "informational": row.informational,
        "base": row.base,
        "claim": row.claim,
        "on_trust": " ".join(row.on_trust),
        "certificate": row.record,
    }
    kept = {key: value for key, value in args.items() if value not in ("", None)}
    value = row.bounded if row.value is None else row.value
    metric = {"type": row.quantity, "value": value, "name": name, "args": kept}
    return {
        "task": {"type": "text-generation", "name": "Capability kept since the base model"},
        "dataset": {"type": row.benchmark, "name": row.benchmark, "args": {"digest": row.digests.get("benchmark", "")}},
        "metrics": [metric],
    }


def _entry(row: Row, about: Context) -> dict[str, Any]:
    score, named = row.quantities.get("checkpoint_score"), about.hub_tasks.get(row.benchmark)
    if score is None:
        raise InvalidInput(
            f"hf-eval-results: {row.item} is {row.evidence} evidence, which holds no score of the checkpoint itself; "
            "point evidence does"
        )
    if named is None:
        raise InvalidInput(
            f"hf-eval-results: which task of the hub is {row.benchmark}? Name it: --hub-task "
            f"{row.benchmark}=OWNER/DATASET:TASK"
        )
    dataset, _, task = named.partition(":")
    aside = ", for information" if row.informational else ""
    trust = "".join(f"; {limit}" for limit in row.on_trust)
    notes = (
        f"pytest-basin, {row.evidence} evidence against base {row.base}: {row.outcome}{aside}: {row.found} "
        f"({row.confidence}), {row.asked} required; alpha {row.alpha:g}, {row.trials}; record {row.record}{trust}"
    )
    when = {"date": about.date} if _is_date(about.date) else {}
    return {"dataset": {"id": dataset, "task_id": task}, "value": score, **when, "notes": notes}


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True, width=10_000)
    return text


def _plain(value: Any) -> Any:
    """Return the value in plain types, with no character in it that cannot be seen."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return visible(value) if isinstance(value, str) else value
