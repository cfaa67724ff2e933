"""What every kind of evidence is judged against, and what a judgement holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from certify.errors import InvalidPlan
from certify.records import Record
from certify.statistics.rounding import ceil_to, floor_to, round_down, round_up

RequirementUnit = Literal["drop", "retention", "absence"]


class Verdict(StrEnum):
    """The three outcomes of a gate."""

    CERTIFIED = "certified"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


class Requirement(Record):
    """What a checkpoint must keep (or lack), in exactly one unit.

    ``drop``: the score may fall by at most ``limit`` (tau, in score units).
    ``retention``: the chance-corrected share (s - c)/(s0 - c) must be at least ``limit`` (rho).
    ``absence``: the score itself must be at most ``limit`` (a hazardous or unlearned capability).
    """

    unit: RequirementUnit = "drop"
    limit: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05

    def decide(self, lower: float | None, upper: float | None) -> Verdict:
        """Return the verdict of a lower and an upper confidence bound of the quantity in this unit.

        None stands for "no bound on this side".

        Guarantee: a wrong ``certified`` and a wrong ``refuted`` each have at most the failure probability of
        the bound they rest on.
        """
        if self.at_most:
            meets = upper is not None and upper <= self.limit
            fails = lower is not None and lower > self.limit
        else:
            meets = lower is not None and lower >= self.limit
            fails = upper is not None and upper < self.limit
        if meets:
            return Verdict.CERTIFIED
        return Verdict.REFUTED if fails else Verdict.UNDECIDED

    def met_by_chance(self, base_score: float, chance: float) -> bool:
        """Whether a model that knows nothing would meet it: then meeting it says nothing, and it is called vacuous.

        A drop from ``base_score`` to chance or below; a retention of nothing; for absence, any score at all.
        """
        if self.unit == "drop":
            return base_score - self.limit <= chance
        return self.limit >= 1.0 if self.unit == "absence" else self.limit <= 0.0

    @property
    def at_most(self) -> bool:
        """Whether small values meet the requirement."""
        return self.unit != "retention"

    @property
    def quantity(self) -> str:
        """What is bounded, in a word."""
        return "score" if self.unit == "absence" else self.unit

    @property
    def perfect_score(self) -> float:
        """The score of every item or draw that meets it best."""
        return 0.0 if self.unit == "absence" else 1.0

    def describe(self) -> str:
        """Return the requirement in words."""
        return f"{self.quantity} at {'most' if self.at_most else 'least'} {self.limit:g}"


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
    unit: RequirementUnit
    value: float | None
    lower: float | None
    upper: float | None
    need: float
    quantities: dict[str, float | None]
    vacuous: bool = False
    notes: tuple[str, ...]
    claim: str
    limits: tuple[str, ...]

    @property
    def interval(self) -> Interval:
        """Estimate and bounds."""
        return Interval(value=self.value, lower=self.lower, upper=self.upper)

    @classmethod
    def of(cls, requirement: Requirement, interval: Interval, verdict: Verdict, **rest: Any) -> Judgement:
        """Return the judgement of an interval in the requirement's unit."""
        return cls(
            verdict=verdict,
            unit=requirement.unit,
            value=interval.value,
            lower=interval.lower,
            upper=interval.upper,
            need=requirement.limit,
            **rest,
        )


class Deciding(Record):
    """The bound that a verdict rests on, as its claim says it: one side where it decides, else what there is.

    ``quantity`` is the claim's word for what is bounded. Claims and reports print this and nothing else as the bound.
    ``strict``: it lies beyond the number, not at it; an audit shows on which side of a limit something is, no more.
    """

    quantity: str
    lower: float | None = None
    upper: float | None = None
    strict: bool = False

    @classmethod
    def of(cls, requirement: Requirement, verdict: Verdict, interval: Interval) -> Deciding:
        """Return the side of ``interval`` that the verdict rests on, both where neither decides."""
        if verdict is Verdict.UNDECIDED:
            return cls(quantity=requirement.quantity, lower=interval.lower, upper=interval.upper)
        if (verdict is Verdict.CERTIFIED) == requirement.at_most:
            return cls(quantity=requirement.quantity, upper=interval.upper)
        return cls(quantity=requirement.quantity, lower=interval.lower)

    @property
    def side(self) -> str:
        """The bound without its quantity, outward rounded; dashes where there is none."""
        if (self.lower is None) == (self.upper is None):
            return f"between {down(self.lower)} and {up(self.upper)}"
        if self.strict:
            return f"above {down(self.lower)}" if self.upper is None else f"below {up(self.upper)}"
        return f"at least {down(self.lower)}" if self.upper is None else f"at most {up(self.upper)}"

    @property
    def words(self) -> str:
        """The bound in words."""
        if self.lower is not None and self.upper is not None:
            return f"{self.quantity} {down(self.lower)} to {up(self.upper)}"
        none = self.lower is None and self.upper is None
        return f"no bound on the {self.quantity}" if none else f"{self.quantity} {self.side}"

    @property
    def signs(self) -> str:
        """The bound in signs, for tables."""
        signs = {"at least": ">=", "at most": "<=", "above": ">", "below": "<"}
        return next((self.words.replace(f" {word} ", f" {sign} ") for word, sign in signs.items()
                     if f" {word} " in self.words), self.words)  # fmt: skip


class Shown(Record):
    """What one kind of evidence puts into the one row that every report prints.

    ``interval`` and ``need`` are in ``unit``, with the bounds that the verdict rests on. ``bound`` is as the claim says
    it, ``place`` where the checkpoint lies (short), ``facts`` what was counted (a sentence part). ``n`` counts ``of``.
    ``layers`` are the tensors that moved most, each with its share of the squared distance. ``items_lost`` and
    ``items_gained`` number the items that scored lower and higher than at the base, from 1, in the benchmark's order,
    where each item was scored without noise. ``running``: for evidence that stops when it is decided, (number of
    items, ln E that it is met, ln E that it is missed); None: known.
    """

    unit: Literal["drop", "retention", "absence", "score"]
    need: float
    interval: Interval
    bound: Deciding | None
    place: tuple[str, ...] = ()
    facts: str = ""
    n: int
    of: Literal["items", "draws"]
    items: Literal["population", "fixed"]
    method: str
    quantities: dict[str, float | None]
    notes: tuple[str, ...]
    layers: tuple[tuple[str, float], ...] = ()
    items_lost: tuple[int, ...] = ()
    items_gained: tuple[int, ...] = ()
    running: tuple[tuple[int, float | None, float | None], ...] = ()

    @classmethod
    def judged(cls, judgement: Judgement, **rest: Any) -> Shown:
        """Return what is shown of a judgement in the requirement's unit."""
        own = {name: getattr(judgement, name) for name in ("unit", "need", "quantities", "notes", "interval")}
        return cls(**{**own, **rest})


def decide_or_vacuous(
    requirement: Requirement, interval: Interval, base_score: float, chance: float
) -> tuple[Verdict, bool]:
    """Return the verdict of these bounds, and whether the requirement is vacuous: it then certifies nothing.

    A refutation stands: what chance would meet, the checkpoint is shown to miss.
    """
    verdict = requirement.decide(interval.lower, interval.upper)
    if verdict is Verdict.REFUTED or not requirement.met_by_chance(base_score, chance):
        return verdict, False
    return Verdict.UNDECIDED, True


def vacuous_note(chance: float) -> str:
    """Say why a requirement certifies nothing."""
    return f"vacuous: a model that knows nothing (chance {chance:g}) would meet the requirement"


NEAR_CHANCE = "the base itself is not shown to score above chance"
"""What the note on a base that may know nothing begins with: no summary of a green drop leaves it out."""


def near_chance_note(requirement: Requirement, base: Interval, alpha: float, chance: float) -> tuple[str, ...]:
    """Say where a small drop may be from a base that knows nothing; a retention abstains there.

    ``base``: its score, with bounds each at ``alpha``.
    """
    if requirement.unit != "drop" or base.lower is None or base.lower > chance:
        return ()
    sure = f"its score is at least {down(base.lower)}, {percent(alpha)} one-sided"
    return (f"{NEAR_CHANCE} {chance:g} ({sure}): there may be nothing here that a checkpoint could lose",)


def nothing_claimed(name: str, requirement: Requirement, chance: float, found: str) -> str:
    """Return the claim of a vacuous requirement: none."""
    return (
        f"Nothing is claimed about {name}: a model that knows nothing (chance {chance:g}) would meet the requirement "
        f"({requirement.describe()}); {found}."
    )


class _ScoreBounds(Protocol):
    """What evidence can bound; every bound is one-sided at the alpha it is asked for."""

    def drop(self, alpha: float) -> Interval:
        """Base score minus checkpoint score."""
        ...

    def base_score(self, alpha: float) -> Interval:
        """The base's score."""
        ...

    def score(self, alpha: float) -> Interval:
        """The checkpoint's score, failures counted as 1."""
        ...


@dataclass(frozen=True)
class KnownScores:
    """Scores that are known whatever alpha; drop and score as far as every item has an answer."""

    known_drop: Interval
    known_base: float
    known_score: Interval

    def drop(self, alpha: float) -> Interval:
        """Base score minus checkpoint score."""
        return self.known_drop

    def base_score(self, alpha: float) -> Interval:
        """The base's score."""
        return exactly(self.known_base)

    def score(self, alpha: float) -> Interval:
        """The checkpoint's score."""
        return self.known_score


def exactly(x: float) -> Interval:
    """Return the interval of a number that is known."""
    return Interval(value=x, lower=x, upper=x)


def interval_in_unit(requirement: Requirement, bounds: _ScoreBounds, alpha: float, chance: float) -> Interval | None:
    """Return the quantity that the requirement speaks of, with one-sided bounds, each at ``alpha``.

    Retention (s - c)/(s0 - c) = 1 - drop/(s0 - c), s0 the base's score and c chance, takes 2 alpha/3 for the drop
    D and alpha/3 for s0. Lower: 1 - max(D_U, 0)/(s0_L - c). Upper: 1 - D_L/(s0_U - c) if D_L >= 0, else
    1 + |D_L|/(s0_L - c). Only one of s0_L and s0_U can spoil the upper bound, since the sign of the true drop
    decides which, so s0 needs no second share. None (abstain): s0 is not shown to be above chance.

    Guarantee: each side fails with probability at most ``alpha`` over the randomness of ``bounds``; for a retention
    of a base at or below chance, the result is None with probability at least 1 - alpha/3.
    """
    if requirement.unit == "drop":
        return bounds.drop(alpha)
    if requirement.unit == "absence":
        return bounds.score(alpha)
    drop, base = bounds.drop(2 * alpha / 3), bounds.base_score(alpha / 3)
    if base.lower is None or base.lower <= chance:
        return None
    value = None if drop.value is None or base.value is None else finite(1.0 - drop.value / (base.value - chance))
    lower = None if drop.upper is None else finite(1.0 - round_up(max(drop.upper, 0.0) / (base.lower - chance)))
    upper = None
    if drop.lower is not None and base.upper is not None:
        upper = finite(1.0 - round_down(drop.lower / ((base.upper if drop.lower >= 0 else base.lower) - chance)))
    return Interval(value=value, lower=lower, upper=upper)


def requirement_of(
    max_drop: float | None = None, min_retention: float | None = None, max_score: float | None = None
) -> Requirement:
    """Return the requirement in the one unit that was given; a drop of at most 0.05 when none was.

    Raises:
        InvalidPlan: more than one was given, or a value outside [0, 1].
    """
    given = {
        name: value
        for name, value in (("max_drop", max_drop), ("min_retention", min_retention), ("max_score", max_score))
        if value is not None
    }
    if len(given) > 1:
        raise InvalidPlan(f"give one of max_drop, min_retention and max_score, not {' and '.join(given)}")
    units: dict[str, RequirementUnit] = {"max_drop": "drop", "min_retention": "retention", "max_score": "absence"}
    for name, value in given.items():
        if not 0.0 <= value <= 1.0:
            raise InvalidPlan(f"{name} must lie in [0, 1], got {value}")
        return Requirement(unit=units[name], limit=value)
    return Requirement()


def alpha_of(confidence: float) -> float:
    """Return the failure probability alpha = 1 - confidence, to 12 decimals (so that 0.95 gives 0.05).

    Raises:
        InvalidPlan: the confidence is not strictly between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise InvalidPlan(f"confidence must lie strictly between 0 and 1, got {confidence}")
    return round(1.0 - confidence, 12)


def retention(base: float, score: float, chance: float) -> float | None:
    """Return the plain chance-corrected share (s - c)/(s0 - c), or None for a base at, below or a hair above chance."""
    return finite((score - chance) / (base - chance)) if base > chance else None


def finite(x: float) -> float | None:
    """Return ``x``, or None (no estimate, no bound) where a base a hair above chance made a quotient overflow."""
    return x if math.isfinite(x) else None


def down(x: float | None, digits: int = 3) -> str:
    """Format a lower bound: rounded down, or a dash where there is none."""
    return "-" if x is None else f"{floor_to(x, digits):.{digits}f}"


def up(x: float | None, digits: int = 3) -> str:
    """Format an upper bound: rounded up, or a dash where there is none."""
    return "-" if x is None else f"{ceil_to(x, digits):.{digits}f}"


def no_more_than(x: float) -> str:
    """Format to six significant digits, rounded down unless that is the number."""
    return text if float(text := f"{x:.6g}") <= x else f"{floor_to(x, _places(x)):.6g}"


def no_less_than(x: float) -> str:
    """Format to six significant digits, rounded up unless that is the number."""
    return text if float(text := f"{x:.6g}") >= x else f"{ceil_to(x, _places(x)):.6g}"


def _places(x: float) -> int:
    """Return the decimals of the sixth significant digit, none beyond the point."""
    return max(0, 5 - math.floor(math.log10(abs(x)))) if x else 6


def percent(alpha: float) -> str:
    """Format a confidence of 1 - alpha as a percentage, never more than it is."""
    return f"{floor_to(100 * (1 - alpha), 4):g} %"
