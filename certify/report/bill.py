"""The report as a fragment of a CycloneDX 1.6 bill of materials: each model a component, its gates its model card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from certify._version import __version__
from certify.report.release import OF_NONE
from certify.report.rows import AnyContext, AnyRow, Context, Outcome, Row, told_apart


def render_cyclonedx(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return the fragment as JSON, to be merged into the bill of a product that ships the checkpoints.

    A metric names its verdict and what was required, with the bounds as its interval; kind of evidence, alpha, n and
    the claim in full are properties, since the format has no fields for them. A gate that was not judged has no metric.
    No digest stands as a hash: ours are of a model's parameters, those of the format are of files.
    Source: https://cyclonedx.org/docs/1.6/json/
    """
    found, about = told_apart(rows, context)
    names = dict.fromkeys(_model(row, about) for row in found)
    models = [_component(name, [row for row in found if _model(row, about) == name]) for name in names]
    tool = {"type": "application", "name": "pytest-basin", "version": __version__}
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": [tool]}},
        "components": models,
    }
    return json.dumps(bill, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _model(row: Row, about: Context) -> str:
    """Return the model that a row speaks of: a checkpoint, or the base of what is about none; a family is no model."""
    return row.base if row.evidence in OF_NONE else row.checkpoint or about.checkpoint or "the checkpoint"


def _component(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    bases = dict.fromkeys(row.base for row in rows if row.base and row.base != name)
    ancestors = {"pedigree": {"ancestors": [{"type": _TYPE, "name": base} for base in bases]}} if bases else {}
    card: dict[str, Any] = {
        "quantitativeAnalysis": {"performanceMetrics": [_metric(row) for row in rows if _was_judged(row)]},
        "considerations": {"technicalLimitations": list(dict.fromkeys(line for row in rows for line in row.limits))},
        "properties": [each for number, row in enumerate(rows, 1) for each in _properties(f"gate.{number}", row)],
    }
    return {"type": _TYPE, "bom-ref": f"model:{name}", "name": name, **ancestors, "modelCard": card}


_TYPE = "machine-learning-model"


def _was_judged(row: Row) -> bool:
    return row.outcome is not Outcome.ERROR


def _metric(row: Row) -> dict[str, Any]:
    aside = ", for information" if row.informational else ""
    over = f" over {row.checkpoint}" if row.evidence in OF_NONE and row.checkpoint else ""
    metric = {
        "type": f"{row.quantity} ({row.evidence} evidence{over}; {row.outcome}{aside}; {row.asked} required)",
        "value": row.bounded if row.value is None else f"{row.value!r}",
        "slice": row.benchmark,
    }
    ends = {"lowerBound": row.lower, "upperBound": row.upper}
    known = {end: f"{bound!r}" for end, bound in ends.items() if bound is not None}
    return {**metric, "confidenceInterval": known} if known else metric


def _properties(gate: str, row: Row) -> list[dict[str, str]]:
    values = {
        "item": row.item,
        "benchmark": row.benchmark,
        "evidence": row.evidence,
        "verdict": row.outcome,
        "error": row.error,
        "vacuous": "true" if row.vacuous else "",
        "informational": "true" if row.informational else "",
        "baseline": row.against_baseline or "",
        "required": row.asked,
        "bound": row.found if _was_judged(row) else "",
        "confidence": row.confidence,
        "alpha": "" if row.alpha is None else f"{row.alpha!r}",
        "n": f"{row.n}",
        "counted": row.of,
        "claim": row.claim if _was_judged(row) else "",
        "certificate": row.record,
        **{f"{part}.digest": row.digests.get(part, "") for part in ("base", "checkpoint", "benchmark")},
    }
    return [{"name": f"pytest-basin:{gate}:{name}", "value": str(value)} for name, value in values.items() if value]
