"""What every kind of evidence is judged against, and what a judgement holds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from certify.errors import InvalidPlan
from certify.records import Record
from certify.rounding import ceil_to, floor_to


class Verdict(StrEnum):
    """The three outcomes of a gate."""

    CERTIFIED = "certified"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


class Requirement(Record):
    """What a checkpoint must keep, in exactly one unit.

    ``drop``: the score may fall by at most ``limit`` (tau, in score units).
    ``retention``: the chance-corrected share (s - c)/(s0 - c) must be at least ``limit`` (rho).
    """

    unit: Literal["drop", "retention"] = "drop"
    limit: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05

    def decide(self, lower: float | None, upper: float | None) -> Verdict:
        """Return the verdict of a lower and an upper confidence bound of the quantity in this unit.

        None stands for "no bound on this side".

        Guarantee: a wrong ``certified`` and a wrong ``refuted`` each have at most the failure probability of
        the bound they rest on.
        """
        if self.unit == "drop":
            meets = upper is not None and upper <= self.limit
            fails = lower is not None and lower > self.limit
        else:
            meets = lower is not None and lower >= self.limit
            fails = upper is not None and upper < self.limit
        if meets:
            return Verdict.CERTIFIED
        return Verdict.REFUTED if fails else Verdict.UNDECIDED

    def describe(self) -> str:
        """Return the requirement in words."""
        if self.unit == "drop":
            return f"drop at most {self.limit:g}"
        return f"retention at least {self.limit:g}"


class Interval(Record):
    """A quantity in the requirement's unit: its plain estimate (None where there is none) and its bounds."""

    value: float | None
    lower: float | None
    upper: float | None


NO_INTERVAL = Interval(value=None, lower=None, upper=None)


class Judgement(Record):
    """What one kind of evidence says about one checkpoint; everything here is recomputed by ``certify verify``.

    ``value``, ``lower``, ``upper`` and ``need`` are in the requirement's unit; ``quantities`` are the further
    numbers that the claim rests on; ``notes`` are warnings (vacuous, abstained and why); ``limits`` say what
    the claim does not cover.
    """

    verdict: Verdict
    unit: Literal["drop", "retention"]
    value: float | None
    lower: float | None
    upper: float | None
    need: float
    quantities: dict[str, float | None]
    vacuous: bool = False
    notes: tuple[str, ...]
    claim: str
    limits: tuple[str, ...]


def interval_in_unit(
    requirement: Requirement,
    drop: Interval,
    base: Interval,
    chance: float,
) -> Interval | None:
    """Express bounds on the drop s0 - s in the requirement's unit.

    For retention (s - c)/(s0 - c) the bounds on the base score s0 are needed too; the result is None
    (abstain) when s0 is not shown to be above chance c, since the ratio then has no meaning.

    Guarantee: each side fails with at most the sum of the failure probabilities of the bounds it uses.
    Source: retention = 1 - drop/(s0 - c) falls in the drop and, where the drop is positive, rises in s0.
    """
    if requirement.unit == "drop":
        return drop
    if base.lower is None or base.lower <= chance:
        return None
    value = None if drop.value is None or base.value is None else 1.0 - drop.value / (base.value - chance)
    lower = None if drop.upper is None else 1.0 - max(drop.upper, 0.0) / (base.lower - chance)
    upper = None
    if drop.lower is not None and base.upper is not None:
        upper = 1.0 - drop.lower / ((base.upper if drop.lower >= 0 else base.lower) - chance)
    return Interval(value=value, lower=lower, upper=upper)


def pieces(requirement: Requirement) -> int:
    """Return how many bounds share one side's alpha: the drop alone, or the drop and both ends of s0."""
    return 1 if requirement.unit == "drop" else 3


def requirement_of(max_drop: float | None, min_retention: float | None) -> Requirement:
    """Return the requirement in the one unit that was given; a drop of at most 0.05 when none was.

    Raises:
        InvalidPlan: both were given, or a value outside [0, 1].
    """
    if max_drop is not None and min_retention is not None:
        raise InvalidPlan(f"give max_drop or min_retention, not both (got {max_drop} and {min_retention})")
    for name, value in (("max_drop", max_drop), ("min_retention", min_retention)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise InvalidPlan(f"{name} must lie in [0, 1], got {value}")
    if min_retention is not None:
        return Requirement(unit="retention", limit=min_retention)
    return Requirement() if max_drop is None else Requirement(unit="drop", limit=max_drop)


def alpha_of(confidence: float) -> float:
    """Return the failure probability alpha = 1 - confidence, to 12 decimals (so that 0.95 gives 0.05).

    Raises:
        InvalidPlan: the confidence is not strictly between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise InvalidPlan(f"confidence must lie strictly between 0 and 1, got {confidence}")
    return round(1.0 - confidence, 12)


def down(x: float | None, digits: int = 3) -> str:
    """Format a lower bound: rounded down, or a dash where there is none."""
    return "-" if x is None else f"{floor_to(x, digits):.{digits}f}"


def up(x: float | None, digits: int = 3) -> str:
    """Format an upper bound: rounded up, or a dash where there is none."""
    return "-" if x is None else f"{ceil_to(x, digits):.{digits}f}"


def percent(alpha: float) -> str:
    """Format a confidence of 1 - alpha as a percentage, never more than it is."""
    return f"{floor_to(100 * (1 - alpha), 4):g} %"
