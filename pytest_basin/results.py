"""What a gate leaves behind: a plain record, JUnit properties, and the name of its certificate's file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from pytest_basin.bound import CERTIFIED, REFUTED, UNDECIDED, Bound

RESULTS = pytest.StashKey[list[dict[str, Any]]]()
PROPERTIES = (
    "verdict", "evidence", "unit", "value", "lower", "upper", "need", "n", "alpha", "benchmark", "certificate"
)  # fmt: skip


def result(bound: Bound) -> dict[str, Any]:
    """Return a gate's result in plain types, the only ones that cross to an xdist controller."""
    n, of = bound.trials
    return {
        "item": bound.name,
        "benchmark": bound.gate.benchmark,
        "evidence": bound.gate.evidence,
        "verdict": bound.verdict,
        "unit": bound.unit,
        "value": bound.value,
        "lower": bound.lower,
        "upper": bound.upper,
        "need": bound.required,
        "n": n or 0,
        "of": of,
        "alpha": bound.gate.alpha,
        "certificate": str(bound.file) if bound.file else "",
        "claim": bound.claim,
        "settings": bound.gate.describe(),
        "seconds": round(bound.seconds, 3),
    }


def overall(verdicts: Iterable[str]) -> str:
    """Return the verdict of several gates: certified when all are, refuted when any is."""
    given = set(verdicts)
    if REFUTED in given:
        return REFUTED
    return CERTIFIED if given == {CERTIFIED} else UNDECIDED


def junit(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, object]]:
    """Return JUnit properties: ``basin.<field>`` for one gate; for several, each under its evidence and benchmark."""
    if len(results) == 1:
        return [(f"basin.{field}", results[0][field]) for field in PROPERTIES]
    properties: list[tuple[str, object]] = [("basin.verdict", overall(r["verdict"] for r in results))]
    for r in results:
        properties += [(f"basin.{r['evidence']}.{r['benchmark']}.{field}", r[field]) for field in PROPERTIES]
    return properties


def certificate_name(test: str, benchmark: str, evidence: str) -> str:
    """Return a file name of safe characters that is different for every gate."""
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", test).strip("-.")[-100:]
    mark = hashlib.sha256(f"{test}\n{benchmark}\n{evidence}".encode()).hexdigest()[:8]
    return f"{readable}-{evidence}-{mark}.json"
