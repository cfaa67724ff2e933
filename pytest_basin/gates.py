"""A gate: one benchmark, one kind of evidence, one limit, one confidence, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_basin.markers import LIMITS, UNITS, check_values
from pytest_basin.options import COMMAND_LINE, DEFAULT, INI, MARKER, Settings

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
    """Return the gate that a marker's keywords and the settings ask for: marker before settings.

    Raises:
        UsageError: both limits at one level, or a setting out of range.
    """
    limit, value, origin = _limit(asked, settings)
    origins = {limit: origin, "evidence": MARKER if "evidence" in asked else DEFAULT}
    chosen: dict[str, Any] = {"evidence": asked.get("evidence", "point")}
    for name in ("confidence", "draws"):
        chosen[name] = asked.get(name, settings.value(name))
        origins[name] = MARKER if name in asked else settings[name].origin
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


def _limit(asked: Mapping[str, Any], settings: Settings) -> tuple[str, float, str]:
    """Return the limit of the first level that gives one: marker, command line, ini, default."""
    for name in LIMITS:
        if name in asked:
            return name, asked[name], MARKER
    for origin in (COMMAND_LINE, INI):
        given = [n for n in LIMITS if settings[n.replace("_", "-")].origin == origin]
        if len(given) > 1:
            names = " and ".join(f"basin_{name}" for name in given)
            raise pytest.UsageError(f"give one limit, not {names} (all on the {origin})")
        if given:
            return given[0], settings.value(given[0].replace("_", "-")), origin
    return "max_drop", DEFAULT_MAX_DROP, DEFAULT
