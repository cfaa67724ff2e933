"""The marker ``@pytest.mark.basin(...)``: which keywords it takes, and what each may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import pytest

USED_BY = frozenset({"basin", "basin_bound", "basin_scores"})
EVIDENCE = ("point", "position", "smoothed", "distance", "audit")
UNITS: dict[str, Literal["retention", "drop", "absence"]] = {
    "min_retention": "retention",
    "max_drop": "drop",
    "max_score": "absence",
}
LIMITS = tuple(UNITS)

DECLARATION = (
    "basin(*, benchmarks=None, checkpoints=None, evidence='point', min_retention=None, max_drop=None, max_score=None, "
    "confidence=None, draws=None): gate each checkpoint once per benchmark through the fixture basin_bound; give at "
    "most one of min_retention, max_drop and max_score"
)


def uses_basin(item: pytest.Item) -> bool:
    """Whether an item asks for a basin fixture."""
    return not USED_BY.isdisjoint(getattr(item, "fixturenames", ()))


def asked(node: pytest.Item) -> dict[str, Any]:
    """Return the keywords of all basin markers on ``node``; the closest marker wins.

    Raises:
        UsageError: a positional argument, an unknown keyword, two limits, or a value that cannot be meant.
    """
    keywords: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("basin"))):
        _check(mark)
        if any(limit in mark.kwargs for limit in LIMITS):
            keywords = {k: v for k, v in keywords.items() if k not in LIMITS}
        keywords |= mark.kwargs
    if "draws" in keywords and keywords.get("evidence", "point") != "smoothed":
        raise pytest.UsageError(
            f"basin marker: draws is the number of paired draws of smoothed evidence; this gate asks for "
            f"{keywords.get('evidence', 'point')} evidence"
        )
    return keywords


def _check(mark: pytest.Mark) -> None:
    if mark.args:
        raise pytest.UsageError(
            f"basin marker takes keywords only, got {', '.join(map(repr, mark.args))}; valid: {', '.join(RULES)}"
        )
    for name in mark.kwargs:
        if name not in RULES:
            raise pytest.UsageError(f"basin marker has no keyword {name!r}; valid: {', '.join(RULES)}")
    given = [limit for limit in LIMITS if limit in mark.kwargs]
    if len(given) > 1:
        raise pytest.UsageError(f"basin marker: give one of {', '.join(LIMITS)}, not {' and '.join(given)}")
    check_values(mark.kwargs, "basin marker: {}")


def check_values(values: Mapping[str, Any], form: str) -> None:
    """Hold each value against the rule for its name; ``form`` says how the name is shown.

    Raises:
        UsageError: name, rule and value.
    """
    for name, value in values.items():
        holds, rule = RULES[name]
        if not holds(value):
            raise pytest.UsageError(f"{form.format(name)} must be {rule}, got {value!r}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(value: object, kinds: type | UnionType = str) -> bool:
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(name, kinds) and str(name) for name in value) and len(set(value)) == len(value)


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "benchmarks": (_names, "a list of different benchmark names"),
    "checkpoints": (lambda v: _names(v, str | Path), "a list of different checkpoints, by name or place"),
    "evidence": (lambda v: v in EVIDENCE, f"one of {', '.join(EVIDENCE)}"),
    "min_retention": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "max_drop": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "max_score": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "confidence": (lambda v: _number(v) and 0 < v < 1, "a number strictly between 0 and 1"),
    "draws": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v > 0, "a positive whole number"),
}
