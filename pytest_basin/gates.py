"""A gate: one benchmark, one kind of evidence, one limit, one confidence, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_basin.markers import LIMITS, RULES, UNITS, check_values
from pytest_basin.options import COMMAND_LINE, DEFAULT, FORCE, INI, MARKER, Settings

if TYPE_CHECKING:
    from certify.evidence import Requirement

DEFAULT_MAX_DROP = 0.05


class BasinWarning(pytest.PytestWarning):
    """Base of every warning that the plugin emits."""


@dataclass(frozen=True)
class Gate:
    """What one item asks of the checkpoint."""

    benchmark: str
    evidence: str
    unit: Literal["drop", "retention", "absence"]
    limit: float
    confidence: float
    draws: int
    origins: Mapping[str, str]

    @property
    def requirement(self) -> Requirement:
        """What the library judges against."""
        from certify.evidence import Requirement

        return Requirement(unit=self.unit, limit=self.limit)

    @property
    def measured(self) -> bool:
        """Whether a measurement of the base may be what its evidence rests on."""
        return self.evidence in ("position", "smoothed", "distance")

    @property
    def alpha(self) -> float:
        """Failure probability."""
        from certify.evidence import alpha_of

        return alpha_of(self.confidence)

    @property
    def operator(self) -> str:
        """The comparison that is true when the gate is certified."""
        return "<=" if self.requirement.at_most else ">="

    def on(self, benchmark: str) -> Gate:
        """Return the same gate on another benchmark."""
        return replace(self, benchmark=benchmark)

    def describe(self) -> str:
        """Return the effective values and where each comes from."""
        limit = next(name for name, unit in UNITS.items() if unit == self.unit)
        values = {limit: self.limit, "confidence": self.confidence, "evidence": self.evidence}
        if self.evidence == "smoothed":
            values["draws"] = self.draws
        return ", ".join(f"{name} {value} ({self.origins[name]})" for name, value in values.items())


def resolve(asked: Mapping[str, Any], settings: Settings, benchmark: str) -> Gate:
    """Return the gate that a marker's keywords and the settings ask for: force before marker before settings.

    Raises:
        UsageError: two limits at one level, or a value out of range.
    """
    levels = {FORCE: forced(settings.value("force") or ()), MARKER: asked}
    limit, value, origin = _limit(levels, settings)
    chosen: dict[str, Any] = {}
    origins = {limit: origin}
    for name in ("evidence", "confidence", "draws"):
        origins[name] = next((level for level, given in levels.items() if name in given), "")
        if origins[name]:
            chosen[name] = levels[origins[name]][name]
        elif name == "evidence":
            chosen[name], origins[name] = "point", DEFAULT
        else:
            chosen[name], origins[name] = settings.value(name), settings[name].origin
    check_values({limit: value, **chosen}, "basin {}")
    if settings.value("seed") < 0:
        raise pytest.UsageError(f"basin seed must be 0 or more, got {settings.value('seed')}")
    return Gate(
        benchmark=benchmark,
        unit=UNITS[limit],
        limit=float(value),
        origins=origins,
        **chosen,
    )


def forced(given: Sequence[str]) -> dict[str, Any]:
    """Return the keywords of ``--basin-force KEY=VALUE``, the only thing that beats a marker.

    Raises:
        UsageError: no such keyword, two limits, or a value that cannot be meant.
    """
    lists = ("benchmarks", "checkpoints")
    parse = {name: float for name in RULES if name not in lists} | {"evidence": str, "draws": int}
    keywords: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in parse:
            raise pytest.UsageError(f"--basin-force has no keyword {name!r}; valid: {', '.join(parse)}")
        try:
            keywords[name] = parse[name](value)
        except ValueError:
            raise pytest.UsageError(f"--basin-force {name} must be {RULES[name][1]}, got {value!r}") from None
    if len(limits := [name for name in LIMITS if name in keywords]) > 1:
        raise pytest.UsageError(f"--basin-force: give one limit, not {' and '.join(limits)}")
    check_values(keywords, "--basin-force {}")
    return keywords


def _limit(levels: Mapping[str, Mapping[str, Any]], settings: Settings) -> tuple[str, float, str]:
    """Return the limit of the first level that gives one: force, marker, command line, ini, default."""
    for level, given in levels.items():
        for name in LIMITS:
            if name in given:
                return name, given[name], level
    for origin in (COMMAND_LINE, INI):
        named = [n for n in LIMITS if settings[n.replace("_", "-")].origin == origin]
        if len(named) > 1:
            names = " and ".join(f"basin_{name}" for name in named)
            raise pytest.UsageError(f"give one limit, not {names} (all on the {origin})")
        if named:
            return named[0], settings.value(named[0].replace("_", "-")), origin
    return "max_drop", DEFAULT_MAX_DROP, DEFAULT
