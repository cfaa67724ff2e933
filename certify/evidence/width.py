"""The basin of a base itself: its width, the share of directions that lose nothing, and where checkpoints lie.

What ``certify basin`` claims. The width is :meth:`certify.evidence.position.Basin.width`, the one that position
evidence holds a checkpoint against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import model_validator

from certify.evidence import crosschecks
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.judgement import (
    NO_INTERVAL,
    Interval,
    Requirement,
    RequirementUnit,
    Shown,
    Verdict,
    no_less_than,
    percent,
    vacuous_note,
)
from certify.evidence.paired_items import DEPLOYMENT_LIMIT, ItemScores, groups_words, perfect_items, share_missing
from certify.evidence.point import above_chance_note
from certify.evidence.position import POSITION_LIMITS, Basin, level_text
from certify.evidence.smoothed import mean_of_draws
from certify.evidence.trials import RecordedRun, Subject
from certify.records import BenchmarkIdentity, ModelIdentity, Record
from certify.statistics import clopper_pearson_lower
from certify.statistics.laws import slice_position

WIDTH_LIMITS = (
    "It speaks of the points of the grid, and of nothing between them; of means over directions, in which gains cancel "
    "losses, and not of the worst direction.",
    "Within sigma* it says that the requirement is met, and no more: bounds of single sigmas hold one at a time.",
    "Width is not invariant under reparametrisation: sigmas of different models do not compare.",
    "The items are taken to be an independent sample of the population of interest, and the base to have been made and "
    "chosen without them; shares and changes over whole-benchmark draws speak of exactly these items.",
)
GROUPS_LIMIT = (
    "Of items in groups the groups are that sample, each counted once by the mean of its items, whatever its size."
)
GEOMETRY = POSITION_LIMITS[1]


class Place(Record):
    """Where one checkpoint lies relative to the base."""

    checkpoint: ModelIdentity
    displacement: Displacement

    @property
    def alpha_star(self) -> float:
        """Its coordinate on the fine-tuning slice, in the unit of sigma."""
        return float(slice_position(self.displacement.delta_norm, self.displacement.dimension))


class StrictShare(Record):
    """The share of directions that lose nothing at all, with Clopper-Pearson bounds over the draws.

    ``lower`` is one-sided at alpha; ``two_sided`` holds both ends at once, each at alpha/2.
    """

    clean: int
    draws: int
    lower: float
    two_sided: Interval

    @classmethod
    def of(cls, draws: BaseDraws, alpha: float) -> StrictShare:
        """Count the draws whose score is not below the base's own.

        Guarantee: with probability at least 1 - alpha over the draws, the share of random directions of this noise
        that keep the whole score on the fixed benchmark is at least ``lower``; and likewise for ``two_sided``.
        Source: theory §2.3, the strict-basin statistic.
        """
        clean = sum(s >= draws.base_score for s in draws.draws.scores)
        share, low, high = draws.draws.strict_share(draws.base_score, alpha, draws.eta)
        lower = max(0.0, clopper_pearson_lower(clean, draws.n, alpha) - draws.eta)
        return cls(clean=clean, draws=draws.n, lower=lower, two_sided=Interval(value=share, lower=low, upper=high))


class LevelJudgement(Record):
    """What was found at one sigma of the grid, each number with its own alpha, not all at once.

    ``bounds`` are in the requirement's unit, one-sided at alpha each; ``two_sided`` holds both ends at once. Where
    whole-benchmark draws were taken, ``strict`` is the share of them that lose nothing and ``change`` the mean of
    |J(base + noise) - J(base)|, in which gains cancel no losses, one-sided at alpha each.
    """

    sigma: float
    verdict: Verdict
    lost: int
    gained: int
    bounds: Interval
    two_sided: Interval
    strict: StrictShare | None = None
    change: Interval | None = None


class PlaceJudgement(Record):
    """A checkpoint's place and whether it is within the width; ``differences`` void the comparison."""

    name: str
    alpha_star: float
    delta_norm: float
    within: bool
    differences: tuple[str, ...] = ()


class WidthJudgement(Record):
    """What the basin's measurement says; everything here is recomputed by ``certify verify``.

    Certified: there is a sigma*. Refuted: the smallest sigma of the grid fails. Undecided: neither is shown.
    """

    verdict: Verdict
    unit: RequirementUnit
    need: float
    sigma_star: float | None
    refuted_from: float | None
    levels: tuple[LevelJudgement, ...]
    places: tuple[PlaceJudgement, ...] = ()
    vacuous: bool = False
    notes: tuple[str, ...]
    claim: str
    limits: tuple[str, ...]


class WidthEvidence(Record):
    """The measured basin, whole-benchmark draws at the same sigmas (or none), and the places of checkpoints."""

    counts: ClassVar[Literal["items", "draws"]] = "items"
    """What its n counts."""

    kind: Literal["basin"] = "basin"
    basin: Basin
    draws: tuple[BaseDraws, ...] = ()
    places: tuple[Place, ...] = ()

    @classmethod
    def best_outcome(
        cls, n: int, requirement: Requirement, alpha: float, chance: float, design: str
    ) -> Interval | None:
        """Return the interval when ``n`` items lose nothing: no outcome does better."""
        return perfect_items(n, requirement, alpha, chance)

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing, at the base and under noise."""
        return share_missing(self.basin.base, *(level.scores for level in self.basin.levels))

    @model_validator(mode="after")
    def _same_laws(self) -> WidthEvidence:
        if not self.basin.levels:
            raise ValueError("a width needs a basin of at least one sigma")
        if self.draws and [d.law for d in self.draws] != [level.law for level in self.basin.levels]:
            raise ValueError("whole-benchmark draws must be of the laws of the basin's levels, in their order")
        if any(d.design != "table" for d in self.draws):
            raise ValueError("the share of directions that lose nothing needs all items under every draw")
        other = [d.base_score for d in self.draws if abs(d.base_score - self.base_score) > 1e-12]
        if other:
            raise ValueError(f"whole-benchmark draws name the base score {other[0]}, the items {self.base_score}")
        return self

    @property
    def base_score(self) -> float:
        """The base's score without noise, failures as 0."""
        return self.basin.base_score

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> WidthJudgement:
        """Judge how wide the basin is.

        Guarantee: with probability at least 1 - alpha over draws and items, the requirement is met at every sigma of
        the grid up to sigma*; with probability at least 1 - alpha the width on the grid lies below ``refuted_from``.
        Source: theory §2.3, Def. 4.1; fixed sequences from either end of the grid, no correction.
        """
        chance = benchmark.chance
        vacuous = self.basin.vacuous(requirement, chance)
        width = self.basin.width(requirement, alpha, chance)
        beyond = self.basin.refuted_from(requirement, alpha, chance)
        levels = tuple(self._level(i, requirement, alpha, chance) for i in range(len(self.basin.levels)))
        verdict = Verdict.UNDECIDED if width is None else Verdict.CERTIFIED
        if not vacuous and levels[0].verdict is Verdict.REFUTED:
            verdict = Verdict.REFUTED
        return WidthJudgement(
            verdict=verdict,
            unit=requirement.unit,
            need=requirement.limit,
            sigma_star=width,
            refuted_from=beyond,
            levels=levels,
            places=tuple(_placed(place, width) for place in self.places),
            vacuous=vacuous,
            notes=tuple(self._notes(levels, width, beyond, vacuous, chance)),
            claim=self._claim(benchmark, requirement, alpha, verdict, width, beyond),
            limits=(
                *WIDTH_LIMITS,
                *((GROUPS_LIMIT,) if self.basin.groups else ()),
                *((GEOMETRY,) if self.places else ()),
                *self.basin.limits,
                DEPLOYMENT_LIMIT,
            ),
        )

    def _level(self, i: int, requirement: Requirement, alpha: float, chance: float) -> LevelJudgement:
        level = self.basin.levels[i]
        paired = self.basin.drop_at(level)
        bounds, two_sided = (paired.interval(requirement, a, chance, "population") or NO_INTERVAL
                             for a in (alpha, alpha / 2))  # fmt: skip
        strict = change = None
        if self.draws:
            d = self.draws[i]
            strict = StrictShare.of(d, alpha)
            change = mean_of_draws([abs(s - d.base_score) for s in d.draws.scores], alpha, d.eta)
        return LevelJudgement(
            sigma=level.sigma,
            verdict=requirement.decide(bounds.lower, bounds.upper),
            lost=paired.lost,
            gained=paired.gained,
            bounds=bounds,
            two_sided=two_sided,
            strict=strict,
            change=change,
        )

    def _notes(
        self,
        levels: tuple[LevelJudgement, ...],
        width: float | None,
        beyond: float | None,
        vacuous: bool,
        chance: float,
    ) -> Iterator[str]:
        if vacuous:
            yield vacuous_note(chance)
            return
        if levels[0].bounds == NO_INTERVAL:
            yield above_chance_note(chance)
        elif width is None and levels[0].verdict is not Verdict.REFUTED:
            yield f"no basin shown: the smallest sigma, {levels[0].sigma:g}, is neither certified nor refuted"
        if width == levels[-1].sigma:
            yield "sigma* is the last sigma of the grid; the basin may be wider"
        elif beyond is None:
            yield f"the largest sigma, {levels[-1].sigma:g}, is not refuted: nothing bounds the width from above"
        for place in self.places:
            if place.displacement.differences:
                differences = "; ".join(place.displacement.differences)
                yield f"{place.checkpoint.name} differs in more than weights, so alpha* says nothing: {differences}"

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        verdict: Verdict,
        width: float | None,
        beyond: float | None,
    ) -> str:
        sampled = "groups of items" if self.basin.groups else "items"
        sure = f"With {percent(alpha)} confidence over the draws and {sampled}"
        levels = self.basin.levels
        weights = f"Gaussian noise on {levels[0].law.dimension:,} weights"
        what = f"the mean {requirement.quantity} on the population behind {benchmark.name} under {weights}"
        asked = f"at {'most' if requirement.at_most else 'least'} {requirement.limit:g}"
        counted = groups_words(self.basin.groups)
        if verdict is Verdict.REFUTED:
            return f"{sure}, {what} is not {asked} at sigma = {levels[0].sigma:g}, the smallest of the grid{counted}."
        above = "" if beyond is None else f" {sure}, the width on the grid is below {no_less_than(beyond)}."
        if width is None:
            return f"Undecided up to which sigma, if any, {what} is {asked}{counted}.{above}"
        held = f"{sum(level.sigma <= width for level in levels)} of {len(levels)}{counted}"
        return (
            f"{sure}, {what} is {asked} at every sigma of the grid up to sigma* = {level_text(width)} ({held}).{above}"
        )

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: WidthJudgement
    ) -> Shown:
        """Return what a report says beside the judgement: a width, which is no bound in the requirement's unit."""
        beyond = judgement.refuted_from
        above = "" if beyond is None else f", refuted from {no_less_than(beyond)}"
        return Shown(
            unit=judgement.unit,
            need=judgement.need,
            interval=NO_INTERVAL,
            bound=None,
            place=(f"sigma* {level_text(judgement.sigma_star)}{above}",),
            n=len(self.basin.base),
            of="items",
            items="population",
            method=f"one draw for each item, at {len(self.basin.levels)} sigmas in a fixed sequence",
            quantities={"sigma_star": judgement.sigma_star, "refuted_from": beyond},
            notes=judgement.notes,
        )

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores."""
        return self.basin.base

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the recorded draws: of the basin, and of whole benchmarks."""
        whole = (draws.run(f"evidence.draws.{i}", subject) for i, draws in enumerate(self.draws))
        return (*self.basin.runs("evidence.basin", subject), *whole)

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record; ``whole``: its version stores all that is compared."""
        lines = self.basin.contradictions("evidence.basin", subject, whole)
        for i, draws in enumerate(self.draws):
            lines += crosschecks.of_base_score(f"evidence.draws.{i}", draws.base_score, self.base_score)
            if draws.alpha != alpha:
                lines.append(f"alpha: recorded {alpha!r}, evidence.draws.{i} declared {draws.alpha!r}")
        for i, place in enumerate(self.places):
            where, about = f"evidence.places.{i}.displacement", replace(subject, checkpoint=place.checkpoint)
            lines += crosschecks.of_displacement(where, place.displacement, self.basin.levels[0].law, about)
        return lines


def _placed(place: Place, width: float | None) -> PlaceJudgement:
    differences = place.displacement.differences
    return PlaceJudgement(
        name=place.checkpoint.name,
        alpha_star=place.alpha_star,
        delta_norm=place.displacement.delta_norm,
        within=width is not None and not differences and place.alpha_star <= width,
        differences=differences,
    )
