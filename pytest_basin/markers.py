"""The marker ``@pytest.mark.basin(...)``: which keywords it takes, and what each may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import pytest

USED_BY = frozenset({"basin", "basin_bound", "basin_scores"})
EVIDENCE = ("point", "position", "smoothed", "distance", "audit", "cover")
FAMILIES = ("segment", "adapter", "merge")
OF_COVERS = ("family", "range", "windows", "width", "chosen")
"""What is said of a family of checkpoints, in the words of ``certify cover``."""
UNITS: dict[str, Literal["retention", "drop", "absence"]] = {
    "min_retention": "retention",
    "max_drop": "drop",
    "max_score": "absence",
}
LIMITS = tuple(UNITS)

DECLARATION = (
    "basin(*, benchmarks=None, checkpoints=None, evidence='point', min_retention=None, max_drop=None, max_score=None, "
    "confidence=None, draws=None, family=None, range=None, windows=None, width=None, chosen=None): gate each "
    "checkpoint once per benchmark through the fixture basin_bound; give at most one of min_retention, max_drop and "
    "max_score; evidence='cover' needs family and range"
)


def uses_basin(item: pytest.Item) -> bool:
    """Whether an item asks for a basin fixture."""
    return not USED_BY.isdisjoint(getattr(item, "fixturenames", ()))


def asked(node: pytest.Item) -> dict[str, Any]:
    """Return the keywords of all basin markers on ``node``; the closest marker wins.

    A family that names its checkpoint (``segment:PLACE``) is one of that checkpoint alone.

    Raises:
        UsageError: a positional argument, an unknown keyword, two limits, or a value that cannot be meant.
    """
    keywords: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("basin"))):
        _check(mark)
        if any(limit in mark.kwargs for limit in LIMITS):
            keywords = {k: v for k, v in keywords.items() if k not in LIMITS}
        keywords |= mark.kwargs
    evidence = keywords.get("evidence", "point")
    if "draws" in keywords and evidence not in ("smoothed", "cover"):
        raise pytest.UsageError(
            f"basin marker: draws is the number of draws of smoothed or cover evidence; this gate asks for {evidence} "
            "evidence"
        )
    if evidence == "cover":
        return _of_its_family(keywords)
    if given := [name for name in OF_COVERS if name in keywords]:
        raise pytest.UsageError(f"basin marker: {given[0]} is of cover evidence; this gate asks for {evidence}")
    return keywords


def _of_its_family(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of a cover with the kind of its family, and the place beside it as the checkpoint."""
    if missing := [name for name in ("family", "range") if name not in keywords]:
        raise pytest.UsageError(f"basin marker: cover evidence needs {' and '.join(missing)}")
    kind, _, place = keywords["family"].partition(":")
    if place and "checkpoints" in keywords:
        raise pytest.UsageError(f"basin marker: family names {place}, and checkpoints others: give family={kind!r}")
    return keywords | {"family": kind} | ({"checkpoints": [place]} if place else {})


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


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _family(value: object) -> bool:
    kind, colon, place = value.partition(":") if isinstance(value, str) else ("", "", "")
    return kind in FAMILIES and bool(place) == bool(colon)


def ranges(value: Any) -> list[tuple[float, float]]:
    """Return a range, or those of two coefficients, as pairs of numbers; nothing where it is neither."""
    found = list(value) if isinstance(value, list | tuple) else []
    pairs = [found] if all(map(_number, found)) else found
    fits = all(isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_number, pair)) for pair in pairs)
    return [(float(low), float(high)) for low, high in pairs] if fits else []


def point(value: Any) -> list[float]:
    """Return a point's coordinates; nothing where it is none."""
    found = value if isinstance(value, list | tuple) else [value]
    return [float(a) for a in found] if all(map(_number, found)) else []


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "benchmarks": (_names, "a list of different benchmark names"),
    "checkpoints": (lambda v: _names(v, str | Path), "a list of different checkpoints, by name or place"),
    "evidence": (lambda v: v in EVIDENCE, f"one of {', '.join(EVIDENCE)}"),
    "min_retention": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "max_drop": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "max_score": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "confidence": (lambda v: _number(v) and 0 < v < 1, "a number strictly between 0 and 1"),
    "draws": (_whole, "a positive whole number"),
    "family": (_family, f"KIND or KIND:PLACE, KIND one of {', '.join(FAMILIES)}"),
    "range": (lambda v: bool(ranges(v)), "(low, high), or two of them for two coefficients"),
    "windows": (_whole, "a positive whole number"),
    "width": (lambda v: _number(v) and v > 0, "a number above 0"),
    "chosen": (lambda v: bool(point(v)), "a number, or one for each of two coefficients"),
}
