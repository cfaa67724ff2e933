"""Point evidence: the checkpoint as deployed, paired item by item with its base."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from certify.bounds import (
    betting_lower,
    betting_upper,
    drop_bounds,
    one_pass_lower,
    one_pass_upper,
    paired_difference_lower,
)
from certify.evidence.judgement import (
    NO_INTERVAL,
    Interval,
    Judgement,
    Requirement,
    Verdict,
    down,
    interval_in_unit,
    percent,
    pieces,
    up,
)
from certify.records import BenchmarkIdentity, Record, Unit

Items = Literal["population", "fixed"]
Scores = Annotated[tuple[Unit, ...], Field(min_length=1)]

POPULATION_PREMISE = (
    "The items are taken to be an independent sample of the population of interest, and the checkpoint to "
    "have been made and chosen without them; gating again after feedback is another test."
)
FIXED_PREMISE = "It speaks of exactly these items; it has no confidence because nothing is random."
DEPLOYMENT_LIMIT = "It holds for this benchmark, scoring, tokenizer, dtype and these kernels."


class PairedScores(Record):
    """Scores of the same items, in the same order, at the base and at one other set of weights."""

    base: Scores
    checkpoint: Scores

    @model_validator(mode="after")
    def _paired(self) -> PairedScores:
        if len(self.base) != len(self.checkpoint):
            raise ValueError(f"paired scores must have equal length, got {len(self.base)} and {len(self.checkpoint)}")
        return self

    @property
    def m(self) -> int:
        """Number of items."""
        return len(self.base)

    @property
    def lost(self) -> int:
        """Items that scored lower than at the base."""
        return sum(c < b for b, c in zip(self.base, self.checkpoint, strict=True))

    @property
    def gained(self) -> int:
        """Items that scored higher than at the base."""
        return sum(c > b for b, c in zip(self.base, self.checkpoint, strict=True))

    @property
    def binary(self) -> bool:
        """Whether every score is 0 or 1."""
        return all(s in (0.0, 1.0) for s in (*self.base, *self.checkpoint))

    def drop(self, alpha: float) -> Interval:
        """Return the drop of the mean score with one-sided bounds, each at ``alpha``.

        Guarantee: each bound fails with probability at most ``alpha`` over the items (population), for 0/1
        scores also when items are stratified; other scores need independent items in an order fixed
        beforehand.
        Source: theory §4.9 (lost and gained at alpha/2 each by the one-pass rule; betting for scores).
        """
        value = (sum(self.base) - sum(self.checkpoint)) / self.m
        if self.binary:
            lower, upper = drop_bounds(self.lost, self.gained, self.m, alpha)
        else:
            gain = [c - b for b, c in zip(self.base, self.checkpoint, strict=True)]
            lower = paired_difference_lower([-g for g in gain], alpha)
            upper = -paired_difference_lower(gain, alpha)
        return Interval(value=value, lower=lower, upper=upper)

    def base_mean(self, alpha: float) -> Interval:
        """Return the base's mean score with one-sided bounds, each at ``alpha``, like :meth:`drop`."""
        value = sum(self.base) / self.m
        if self.binary:
            k = round(sum(self.base))
            return Interval(value=value, lower=one_pass_lower(k, self.m, alpha), upper=one_pass_upper(k, self.m, alpha))
        return Interval(value=value, lower=betting_lower(self.base, alpha), upper=betting_upper(self.base, alpha))

    def exact(self) -> tuple[Interval, Interval]:
        """Return drop and base score as known numbers (a fixed benchmark, deterministic decoding)."""
        drop, base = (sum(self.base) - sum(self.checkpoint)) / self.m, sum(self.base) / self.m
        return Interval(value=drop, lower=drop, upper=drop), Interval(value=base, lower=base, upper=base)

    def interval(self, requirement: Requirement, alpha: float, chance: float, items: Items) -> Interval | None:
        """Return the bounds in the requirement's unit, or None where retention has no meaning."""
        if items == "fixed":
            return interval_in_unit(requirement, *self.exact(), chance)
        share = alpha / pieces(requirement)
        return interval_in_unit(requirement, self.drop(share), self.base_mean(share), chance)


def above_chance_note(chance: float) -> str:
    """Say why retention was not judged."""
    return f"abstained: the base is not shown to score above chance {chance:g}, so retention has no meaning"


class PointEvidence(Record):
    """Paired item scores of base and checkpoint, and what the items stand for.

    ``differences`` names what differs beside the weights: it is part of what was scored, so it is allowed,
    and said.
    """

    kind: Literal["point"] = "point"
    items: Items = "population"
    scores: PairedScores
    differences: tuple[str, ...] = ()

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Judge the checkpoint's own score against the base's.

        Guarantee: with probability at least 1 - alpha over the items, a certified requirement holds in the
        population (and likewise a refuted one does not). With ``items="fixed"`` nothing is random.
        """
        s = self.scores
        interval = s.interval(requirement, alpha, benchmark.chance, self.items)
        notes: tuple[str, ...] = () if interval else (above_chance_note(benchmark.chance),)
        if self.differences:
            notes += ("the checkpoint was scored with its own settings: " + "; ".join(self.differences),)
        interval = interval or NO_INTERVAL
        verdict = requirement.decide(interval.lower, interval.upper)
        return Judgement(
            verdict=verdict,
            unit=requirement.unit,
            value=interval.value,
            lower=interval.lower,
            upper=interval.upper,
            need=requirement.limit,
            quantities={
                "lost": float(s.lost),
                "gained": float(s.gained),
                "base_score": sum(s.base) / s.m,
                "checkpoint_score": sum(s.checkpoint) / s.m,
            },
            notes=notes,
            claim=self._claim(benchmark, requirement, alpha, interval, verdict),
            limits=(POPULATION_PREMISE if self.items == "population" else FIXED_PREMISE, DEPLOYMENT_LIMIT),
        )

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        interval: Interval,
        verdict: Verdict,
    ) -> str:
        s = self.scores
        counts = f"{s.lost} of {s.m} items lost, {s.gained} gained"
        if self.items == "fixed":
            return f"On exactly these {s.m} items of {benchmark.name}: {counts} ({requirement.describe()} required)."
        if verdict is Verdict.UNDECIDED:
            return (
                f"Undecided whether the checkpoint keeps {benchmark.name} with {requirement.describe()}: {counts}, "
                f"{requirement.unit} between {down(interval.lower)} and {up(interval.upper)}."
            )
        bound = (
            f"at most {up(interval.upper)}"
            if (verdict is Verdict.CERTIFIED) == (requirement.unit == "drop")
            else f"at least {down(interval.lower)}"
        )
        return (
            f"With {percent(alpha)} confidence over the items, the checkpoint's {requirement.unit} on the "
            f"population behind {benchmark.name} is {bound} ({counts}; {requirement.describe()} required)."
        )
