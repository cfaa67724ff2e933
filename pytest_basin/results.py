"""What a gate leaves behind: a plain row, JUnit properties, and the name of its certificate's file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from pytest_basin.bound import CERTIFIED, REFUTED, UNDECIDED, Bound
from pytest_basin.gates import Gate

RESULTS = pytest.StashKey[list[dict[str, Any]]]()
PROPERTIES = (
    "verdict", "evidence", "unit", "value", "lower", "upper", "need", "n", "alpha", "benchmark", "checkpoint", "base",
    "certificate",
)  # fmt: skip
COMPARISON_PROPERTIES = ("verdict", "value", "lower", "upper", "margin", "file")


def result(bound: Bound, **more: Any) -> dict[str, Any]:
    """Return a gate's row in plain types, the only ones that cross to an xdist controller.

    Its fields are those of :class:`certify.report.rows.Row`; ``more`` adds to them, or overrides them.
    """
    from certify.report.rows import Row, row_of

    known: dict[str, Any] = {
        "item": bound.name,
        "benchmark": bound.gate.benchmark,
        "settings": bound.gate.describe(),
        "seconds": round(bound.seconds, 3),
        **more,
    }
    if bound.certificate is not None:
        return row_of(bound.certificate, str(bound.file or ""), **known).model_dump(mode="json")
    n, of = bound.trials
    row = Row(
        evidence=bound.gate.evidence,
        verdict=bound.verdict_at(bound.required),
        unit=bound.gate.unit,
        need=bound.gate.limit,
        n=n or 0,
        of=of,
        alpha=bound.gate.alpha,
        claim=bound.claim,
        **known,
    )
    return row.model_dump(mode="json")


def errored(gate: Gate, **known: Any) -> dict[str, Any]:
    """Return the row of a gate that was asked for and never judged."""
    from certify.report.rows import Row

    row = Row(
        benchmark=gate.benchmark,
        evidence=gate.evidence,
        verdict=UNDECIDED,
        unit=gate.unit,
        need=gate.limit,
        alpha=gate.alpha,
        settings=gate.describe(),
        **known,
    )
    return row.model_dump(mode="json")


def outcome(row: Mapping[str, Any]) -> str:
    """Return the verdict of a row, or that something failed."""
    return "error" if row.get("error") else str(row["verdict"])


def overall(verdicts: Iterable[str]) -> str:
    """Return the verdict of several gates: certified when all are, refuted when any is."""
    given = set(verdicts)
    if REFUTED in given:
        return REFUTED
    return CERTIFIED if given == {CERTIFIED} else UNDECIDED


def junit(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, object]]:
    """Return JUnit properties: ``basin.<field>`` for one gate; for several, under what tells them apart."""
    from certify.report.rows import read_rows

    properties: list[tuple[str, object]] = []
    many = len({r["checkpoint"] for r in results}) > 1
    if len(results) > 1:
        error = any(r.get("error") for r in results)
        properties.append(("basin.verdict", "error" if error else overall(r["verdict"] for r in results)))
    for r in results:
        which = [r["evidence"], r["benchmark"], *[r["checkpoint"]] * many] if len(results) > 1 else []
        prefix = ".".join(["basin", *which])
        (row,) = read_rows([r])
        properties += [(f"{prefix}.{field}", r[field]) for field in PROPERTIES]
        properties[-len(PROPERTIES)] = (f"{prefix}.verdict", outcome(r))
        properties.append((f"{prefix}.bound", row.found))
        for compared in r.get("baselines", ()):
            place = f"{prefix}.baseline.{compared['metric']}"
            properties += [(f"{place}.{field}", compared[field]) for field in COMPARISON_PROPERTIES]
    return properties


def certificate_name(test: str, benchmark: str, evidence: str) -> str:
    """Return a file name of safe characters that is different for every gate."""
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", test).strip("-.")[-100:]
    mark = hashlib.sha256(f"{test}\n{benchmark}\n{evidence}".encode()).hexdigest()[:8]
    return f"{readable}-{evidence}-{mark}.json"
