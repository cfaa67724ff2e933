"""A gate: one benchmark, one kind of evidence, one limit, one confidence, each with its origin."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_basin.markers import LIMITS, OF_COVERS, RULES, UNITS, check_values, point, ranges
from pytest_basin.options import COMMAND_LINE, DEFAULT, FORCE, INI, MARKER, Settings

if TYPE_CHECKING:
    from certify.evidence import Requirement
    from certify.records import Axis

DEFAULT_MAX_DROP = 0.05
DRAWS_OF_A_COVER = 3000  # as `certify cover`


class BasinWarning(pytest.PytestWarning):
    """Base of every warning that the plugin emits."""


@dataclass(frozen=True)
class Covered:
    """The family that a cover is of, and the box of its coefficients: what its marker said."""

    kind: Literal["segment", "adapter", "merge"]
    ranges: tuple[tuple[float, float], ...]
    windows: int | None = None
    width: float | None = None
    chosen: tuple[float, ...] | None = None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Covered:
        """Return the family of a marker's keywords.

        Raises:
            UsageError: two ranges for a family of one coefficient.
            InvalidPlan: a range without an inside, or windows that leave a gap.
        """
        found = cls(
            asked["family"],
            tuple(ranges(asked["range"])),
            asked.get("windows"),
            asked.get("width"),
            tuple(point(asked["chosen"])) if "chosen" in asked else None,
        )
        if found.kind != "merge" and len(found.ranges) > 1:
            raise pytest.UsageError(f"basin marker: range: {len(found.ranges)} given; family {found.kind!r} takes 1")
        _ = found.box
        return found

    @property
    def box(self) -> tuple[Axis, ...]:
        """The ranges with their windows."""
        from certify.evidence.cover import box_of

        return box_of(self.ranges, self.windows, self.width)

    @property
    def options(self) -> list[str]:
        """The options of ``certify cover`` for the box."""
        given = [f"--range={low!r},{high!r}" for low, high in self.ranges]
        given += [f"--{name}={value}" for name, value in (("windows", self.windows), ("width", self.width)) if value]
        return given + ([f"--chosen={','.join(map(repr, self.chosen))}"] if self.chosen else [])


@dataclass(frozen=True)
class Gate:
    """What one item asks of the checkpoint; of the family that it makes, where that is to be covered."""

    benchmark: str
    evidence: str
    unit: Literal["drop", "retention", "absence"]
    limit: float
    confidence: float
    draws: int
    origins: Mapping[str, str]
    family: Covered | None = None

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

    def cover_command(self, settings: Settings, base: str, benchmark: str, checkpoint: str) -> str:
        """Return the ``certify cover`` that makes the same record of its family and draws it; nothing without one."""
        if self.family is None:
            return ""
        limit = next(name for name, unit in UNITS.items() if unit == self.unit).replace("_", "-")
        words = [base, f"--family={self.family.kind}:{checkpoint}", *self.family.options, f"--benchmark={benchmark}"]
        words += [f"--draws={self.draws}", f"--{limit}={self.limit!r}", f"--confidence={self.confidence!r}"]
        words += [f"--seed={settings.value('seed')}", f"--device={settings.value('device')}", "--output=covers"]
        return shlex.join(["certify", "cover", *words])

    def on(self, benchmark: str) -> Gate:
        """Return the same gate on another benchmark."""
        return replace(self, benchmark=benchmark)

    def describe(self) -> str:
        """Return the effective values and where each comes from."""
        limit = next(name for name, unit in UNITS.items() if unit == self.unit)
        values = {limit: self.limit, "confidence": self.confidence, "evidence": self.evidence}
        if self.evidence in ("smoothed", "cover"):
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
        elif name == "draws" and chosen["evidence"] == "cover":  # the option is of draws with all items each
            chosen[name], origins[name] = DRAWS_OF_A_COVER, DEFAULT
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
        family=Covered.of(asked) if chosen["evidence"] == "cover" else None,
        **chosen,
    )


def forced(given: Sequence[str]) -> dict[str, Any]:
    """Return the keywords of ``--basin-force KEY=VALUE``, the only thing that beats a marker.

    Raises:
        UsageError: no such keyword, two limits, or a value that cannot be meant.
    """
    lists = ("benchmarks", "checkpoints", *OF_COVERS)
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
    if keywords.get("evidence") == "cover":
        raise pytest.UsageError("--basin-force evidence=cover: a family and its range are for a marker to say")
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
