"""Distance evidence: what holds for *every* checkpoint this close to a base that was measured once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from certify.evidence import crosschecks
from certify.evidence.displacement import Displacement
from certify.evidence.engines import engine_limits
from certify.evidence.judgement import (
    NO_INTERVAL,
    Deciding,
    Interval,
    Judgement,
    Requirement,
    Shown,
    Verdict,
    down,
    finite,
    percent,
    up,
)
from certify.evidence.paired_items import DEPLOYMENT_LIMIT, POPULATION_PREMISE, Items
from certify.evidence.point import above_chance_note
from certify.evidence.smoothed import SMOOTHED_LIMITS, DrawScores
from certify.evidence.trials import Purpose, RecordedRun, Subject
from certify.records import (
    ActivationIdentity,
    Alpha,
    AnyEngine,
    BenchmarkIdentity,
    BroughtIdentity,
    NoiseLaw,
    Record,
    Seed,
    SubspaceNoise,
    Unit,
    grouping,
)
from certify.statistics import (
    Design,
    ScoreBand,
    best_bound,
    chance_corrected_retention,
    clopper_pearson_lower,
    clopper_pearson_upper,
    kl_inverse_lower,
    largest_radius,
    mean_upper,
    population_band,
    score_band,
    two_level_lower,
)
from certify.statistics.laws import mahalanobis, strong_upper
from certify.statistics.rounding import round_up

DrawDesign = Literal["table", "pairs"]
DESIGNS = {"table": Design.TABLE, "pairs": Design.PAIR}

DISTANCE_LIMITS = (
    "Nothing is proved outside the certified radius, in either direction, and random directions say nothing "
    "about the worst one.",
)
LARGEST_EXACT_BAND = 20_000
"""Calibrating the band takes two seconds here and grows with n; above it the union bound takes its place."""
PAIRS_LIMIT = (
    "Design pairs: each draw scored one random item, so nothing is said about events or percentiles of the score."
)


def best_mean(n: int, alpha: float, design: DrawDesign) -> float:
    """Return the best lower bound of the base's mean that n draws could give."""
    calibration: Literal["exact", "bonferroni"] = "exact" if n <= LARGEST_EXACT_BAND else "bonferroni"
    return best_bound(DESIGNS[design], n, alpha, calibration=calibration)


class BaseDraws(Record):
    """What the base scored under ``n`` draws of one noise law.

    ``design`` "table": the mean over all items under every draw. "pairs": one item under every draw, uniformly
    random and fresh (from the seed), 0 or 1; it bounds the mean alone. ``alpha`` was declared before the draws and is
    the failure probability of their bounds over all checkpoints, distances and floors at once. A law that is one of a
    ladder of ``ladder`` sigmas is judged at alpha/ladder, so that the best of them may be picked afterwards.
    ``base_score`` is the base's score without noise.
    """

    law: NoiseLaw
    engine: AnyEngine
    seed: Seed
    design: DrawDesign = "table"
    alpha: Alpha
    ladder: Annotated[int, Field(ge=1)] = 1
    draws: DrawScores
    base_score: Unit

    def __repr__(self) -> str:
        """Return what was drawn, on one line."""
        return f"<{type(self).__name__}: {self.in_brief}>"

    __str__ = __repr__

    @property
    def in_brief(self) -> str:
        """What was drawn, in a few words."""
        items = "one random item" if self.design == "pairs" else "all items"
        return f"{self.n} draws, {items} under each, {self.law.describe()}"

    @model_validator(mode="after")
    def _one_trial_for_each_draw(self) -> BaseDraws:
        if self.design == "pairs" and any(x not in (0.0, 1.0) for x in (*self.draws.scores, *self.draws.failed)):
            raise ValueError("pairs: the score of one item, and whether it failed, must be 0 or 1")
        if isinstance(self.engine, ActivationIdentity):
            if self.design != "pairs" or isinstance(self.law, SubspaceNoise):
                raise ValueError("the activation engine draws pairs under noise on weights, and nothing else")
            if self.engine.guarded > sum(self.draws.failed):
                raise ValueError(f"{self.engine.guarded} guarded decisions, but {sum(self.draws.failed):g} left open")
        if isinstance(self.engine, BroughtIdentity):
            if self.design != "table" or isinstance(self.law, SubspaceNoise):
                raise ValueError("draws that were written into folders are of noise on weights, asked all items each")
            if len(self.engine.draws) != self.draws.n:
                raise ValueError(f"{len(self.engine.draws)} folders were written, but {self.draws.n} draws scored")
        return self

    @property
    def n(self) -> int:
        """Number of draws."""
        return self.draws.n

    @property
    def eta(self) -> float:
        """Total variation between one implemented draw and the ideal Gaussian."""
        return self.engine.eta(self.law)

    def band(self, alpha: float) -> ScoreBand:
        """Return the band of the base's noised score, from which every bound at a distance follows.

        Pairs have one level, at 1: the mean of the 0/1 trials is E J(base + noise), bounded by Clopper-Pearson.

        Guarantee: with probability at least 1 - alpha over the draws, :meth:`ScoreBand.mean_lower` holds for all
        checkpoints at once. Source: theory §4.1, "table" and "pair".
        """
        if self.design == "table":
            return score_band(self.draws.scores, alpha, self.eta)
        return self._trials(self._base_level(alpha), alpha)

    def population_band(self, alpha: float, m: int) -> ScoreBand:
        """Return the same for the population that the ``m`` items were drawn from; items and draws take alpha/2 each.

        Guarantee: with probability at least 1 - alpha over draws and items.
        """
        if self.design == "table":
            return population_band(self.draws.scores, m, alpha / 2, alpha / 2, self.eta)
        return self._trials(two_level_lower(self._base_level(alpha / 2), alpha / 2, m), alpha)

    def mean_upper(self, alpha: float, r: float = 0.0, *, failures_as_1: bool = True) -> float:
        """Return an upper bound of E J(checkpoint + noise) at distance r.

        Pairs always count failures as 1 here: a decision within the guard may have been right.
        """
        if self.design == "table":
            scores = self.draws.with_failures_as_1 if failures_as_1 else self.draws.scores
            return float(mean_upper(scores, alpha, r, self.eta))
        top = clopper_pearson_upper(round(sum(self.draws.with_failures_as_1)), self.n, alpha) + self.eta
        return min(1.0, round_up(strong_upper(min(1.0, top), r)))

    def ceiling(self, alpha: float, r: float) -> float:
        """Return the best lower bound at distance r that n draws of this design could have given."""
        return best_bound(DESIGNS[self.design], self.n, alpha, r, self.eta)

    def run(self, where: str, subject: Subject) -> RecordedRun:
        """Return what was drawn, as ``verify`` and ``--replay`` look at it."""
        if self.design == "table":
            purpose: Purpose = "drawn" if isinstance(self.engine, BroughtIdentity) else "distance"
            return RecordedRun.of(where, purpose, subject, self.law, self.n, self.seed, self.engine, self.draws.scores)
        scores = [None if failed else s for s, failed in zip(self.draws.scores, self.draws.shares_failed, strict=True)]
        return RecordedRun.of(where, "pairs", subject, self.law, self.n, self.seed, self.engine, scores)

    def _base_level(self, alpha: float) -> float:
        return max(0.0, clopper_pearson_lower(round(sum(self.draws.scores)), self.n, alpha) - self.eta)

    def _trials(self, level: float, alpha: float) -> ScoreBand:
        first_right = min(self.n, self.n - round(sum(self.draws.scores)) + 1)  # rank among the sorted trials
        return ScoreBand((first_right,), (1.0,), (level,), self.n, alpha, self.eta)


class DistanceEvidence(Record):
    """Draws at the base and the displacement of one checkpoint; ``items`` says what the items stand for."""

    counts: ClassVar[Literal["items", "draws"]] = "draws"
    """What its n counts."""
    speaks_of: ClassVar[str] = "the noise-averaged score of everything this close to the base"

    kind: Literal["distance"] = "distance"
    items: Items = "fixed"
    draws: BaseDraws
    displacement: Displacement

    @classmethod
    def best_outcome(
        cls, n: int, requirement: Requirement, alpha: float, chance: float, design: DrawDesign
    ) -> Interval | None:
        """Return the interval when each of ``n`` draws at the base is perfect and the checkpoint lies at r = 0."""
        if requirement.unit == "retention":  # the denominator's upper bound is 1 - chance: all scores are 1
            return Interval(value=None, lower=(best_mean(n, alpha / 2, design) - chance) / (1.0 - chance), upper=None)
        return at_most(min(1.0, round_up(1.0 - best_mean(n, alpha, design))))

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing."""
        return sum(self.draws.draws.shares_failed) / self.draws.n

    @model_validator(mode="after")
    def _same_coordinates(self) -> DistanceEvidence:
        law, names = self.draws.law, set(self.displacement.norms)
        expected = {str(i) for i in range(law.dimension)} if isinstance(law, SubspaceNoise) else set(law.sigma)
        if not self.displacement.differences and names != expected:
            raise ValueError(f"displacement and noise law differ in coordinates: {sorted(names ^ expected)[:5]}")
        return self

    @property
    def r(self) -> float:
        """Distance of the checkpoint in units of noise, infinite if anything without noise differs."""
        if self.displacement.differences:
            return float("inf")
        law = self.draws.law
        sigma = {str(i): s for i, s in enumerate(law.sigma)} if isinstance(law, SubspaceNoise) else law.sigma
        names = sorted(sigma)
        return float(mahalanobis([self.displacement.norms[name] for name in names], [sigma[name] for name in names]))

    def band(self, alpha: float, m: int) -> ScoreBand:
        """Return the band of the base's noised score at failure probability ``alpha``.

        Guarantee: with probability at least 1 - alpha over the draws (and, for a population, its m items), all
        bounds of the band hold for all checkpoints at once.
        """
        return self.draws.population_band(alpha, m) if self.items == "population" else self.draws.band(alpha)

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Bound the noise-averaged score of this checkpoint from draws at the base alone.

        Guarantee: with probability at least 1 - alpha over the base's draws (and, for a population, its
        items), for all checkpoints at once, E J(checkpoint + noise) >= bound(r); for absence, at most it. It
        certifies or leaves undecided; it never refutes, and a vacuous bound never certifies.
        Source: theory, "Layer cake", "Rank-grid band"; uniformity: one event carries every checkpoint.
        """
        declared, alpha = alpha, alpha / self.draws.ladder
        interval = self._interval(requirement, alpha, benchmark)
        bound = self.bound(alpha, benchmark.items)
        vacuous = self._vacuous(requirement, interval, bound, benchmark.chance)
        # A limit so lax that chance would meet it must not turn a bound that says nothing into a certificate.
        verdict = Verdict.UNDECIDED if vacuous else requirement.decide(interval.lower, interval.upper)
        radius = self._radius(requirement, alpha, benchmark)
        d = self.draws
        return Judgement.of(
            requirement,
            interval,
            verdict,
            quantities={
                "r": None if self.r == float("inf") else self.r,
                "delta_norm": self.displacement.delta_norm,
                "bound": bound,
                "retention_bound": _retention(bound, d.base_score, benchmark.chance),
                "ceiling": None if self.r == float("inf") else d.ceiling(alpha, self.r),
                "certified_radius": radius,
                "largest_radius_of_n": float(largest_radius(d.n, 0, alpha)),
                "base_score": d.base_score,
                "base_smoothed_score": d.draws.mean,
                "eta": d.eta,
            },
            vacuous=vacuous,
            notes=self._notes(benchmark, requirement, interval, radius, vacuous),
            claim=self._claim(benchmark, requirement, declared, bound, interval, verdict, vacuous) + self._brought,
            limits=(
                SMOOTHED_LIMITS[0],
                POPULATION_PREMISE if self.items == "population" else SMOOTHED_LIMITS[1],
                *DISTANCE_LIMITS,
                *((PAIRS_LIMIT,) if d.design == "pairs" else ()),
                *engine_limits((d.engine,), d.n, d.eta),
                DEPLOYMENT_LIMIT,
            ),
        )

    def bound(self, alpha: float, m: int) -> float:
        """Return the lower bound of E J(checkpoint + noise) at failure probability ``alpha``."""
        return 0.0 if self.r == float("inf") else float(self.band(alpha, m).mean_lower(self.r))

    def _interval(self, requirement: Requirement, alpha: float, benchmark: BenchmarkIdentity) -> Interval:
        """Return the one-sided bound in the requirement's unit.

        A drop is measured from J(base): known exactly on the fixed benchmark, bounded from above by Chernoff
        over the items of a population (alpha/2). Retention is a share of E J(base + noise), bounded from above
        (alpha/2 each), and abstains unless that is shown to be above chance.
        """
        d, m, chance = self.draws, benchmark.items, benchmark.chance
        population = self.items == "population"
        if requirement.unit == "drop":
            top = 1 - kl_inverse_lower(1 - d.base_score, math.log(2 / alpha) / m) if population else d.base_score
            return at_most(top - self.bound(alpha / 2 if population else alpha, m))
        if population:
            return NO_INTERVAL
        if requirement.unit == "absence":
            if self.r == float("inf"):
                return at_most(1.0)
            return at_most(d.mean_upper(alpha, self.r))
        if self.band(alpha / 2, m).mean_lower(0.0) <= chance:
            return NO_INTERVAL
        top = d.mean_upper(alpha / 2, failures_as_1=False)
        share = chance_corrected_retention(max(chance, self.bound(alpha / 2, m)), top, chance)
        return Interval(value=None, lower=share, upper=None)

    def _vacuous(self, requirement: Requirement, interval: Interval, bound: float, chance: float) -> bool:
        if requirement.unit == "absence":
            return interval.upper is None or interval.upper >= 1.0
        return bound <= chance

    def _floor_known(self, requirement: Requirement) -> bool:
        """Whether there is a required score above 0 that is known exactly."""
        return requirement.unit == "drop" and self.items == "fixed" and requirement.limit < self.draws.base_score

    def _radius(self, requirement: Requirement, alpha: float, benchmark: BenchmarkIdentity) -> float | None:
        """Return the largest distance at which a drop requirement would be certified, in units of noise.

        For the fixed benchmark, whose required score is known exactly; None otherwise, and where there is none.
        """
        if not self._floor_known(requirement):
            return None
        return self.band(alpha, benchmark.items).radius_for_mean(self._floor(requirement, benchmark.chance))

    def _floor(self, requirement: Requirement, chance: float) -> float:
        """Return the score that a bound must reach to certify: what is required, and more than chance."""
        return max(self.draws.base_score - requirement.limit, math.nextafter(chance, 1.0))

    def _notes(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        interval: Interval,
        radius: float | None,
        vacuous: bool,
    ) -> tuple[str, ...]:
        notes, k = [], self.draws.law.dimension
        if self.draws.design == "pairs":
            notes.append("design pairs: one random item under each draw, Clopper-Pearson on their mean")
        if self.displacement.differences:
            notes.append("r is infinite: " + "; ".join(self.displacement.differences))
        if vacuous:
            reached = "1" if requirement.unit == "absence" else f"chance ({benchmark.chance:g})"
            side = "at" if requirement.unit == "absence" else "at or below"
            notes.append(f"vacuous: the bound is {side} {reached}" + self._why_vacuous())
        if interval == NO_INTERVAL:
            notes.append(above_chance_note(benchmark.chance))
        if self._floor_known(requirement) and radius is None:
            floor = self._floor(requirement, benchmark.chance)
            notes.append(f"no radius: even at distance 0 the bound misses the required score {floor:.3f}")
        if radius is not None:
            notes.append(
                f"certified radius {down(radius)} sigma = {radius / k**0.5:.2g} of the typical length of the noise "
                "itself"
            )
        if self.draws.ladder > 1:
            notes.append(f"one of a ladder of {self.draws.ladder} sigmas, each at alpha/{self.draws.ladder}")
        return tuple(notes)

    def _why_vacuous(self) -> str:
        if self.r == float("inf"):
            return ""
        return (
            f", since the checkpoint is {up(self.r, 1)} sigma away and noise on {self.draws.law.dimension:,} "
            "coordinates speaks only of a few sigma; noise in a small subspace fixed beforehand, or point, position "
            "and smoothed evidence, can say more"
        )

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        bound: float,
        interval: Interval,
        verdict: Verdict,
        vacuous: bool,
    ) -> str:
        d, population = self.draws, self.items == "population"
        drawn = f"{d.n} draws at the base" + (" with one random item each" if d.design == "pairs" else "")
        if vacuous:
            shown = up(interval.upper) if requirement.unit == "absence" else down(bound)
            return (
                f"Nothing is claimed about {benchmark.name}: the distance bound {shown} is vacuous "
                f"(chance {benchmark.chance:g}; {drawn})."
            )
        outcome = "enough for" if verdict is Verdict.CERTIFIED else "too little to decide"
        where = f"the population behind {benchmark.name}" if population else benchmark.name
        deciding = self._deciding(requirement, bound, interval)
        bounded = {
            "score": f"scores {deciding.side}",
            "retention": f"keeps {deciding.side} of the base's score above chance",
            "drop": f"scores {deciding.side} below the base without noise",
        }
        return (
            f"With {percent(alpha)} confidence over {drawn}{' and the items' if population else ''}, every checkpoint "
            f"that {_apart(d.law)} and lies within {up(self.r)} sigma of it (this one included) "
            f"{bounded[deciding.quantity]} on {where} on average over {d.law.describe()}: {outcome} the requirement "
            f"({requirement.describe()})."
        )

    @property
    def _brought(self) -> str:
        """The sentence that no claim from draws scored elsewhere may lack."""
        engine = self.draws.engine
        if not isinstance(engine, BroughtIdentity):
            return ""
        tool = "a table of scores" if engine.tool == "table" else f"{engine.tool} {engine.version}".strip()
        return f" The scores of these draws were brought, by {tool}: no draw was scored here."

    def _deciding(self, requirement: Requirement, bound: float | None, interval: Interval) -> Deciding:
        """Return the one bound that the verdict rests on; the others hold at the same confidence alone, not with it."""
        if requirement.unit == "absence" or (requirement.unit == "drop" and self.items == "population"):
            return Deciding(quantity=requirement.quantity, upper=interval.upper)
        if requirement.unit == "retention" and interval.lower is not None:
            return Deciding(quantity="retention", lower=interval.lower)
        return Deciding(quantity="score", lower=bound)

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: Judgement
    ) -> Shown:
        """Return what a report says beside the judgement."""
        d, r = self.draws, self.r
        within, bound = judgement.quantities.get("certified_radius"), judgement.quantities.get("bound")
        away = "infinitely far" if r == float("inf") else f"{up(r, 1)} sigma away"
        radius = "" if within is None else f", certified radius {down(within)} sigma"
        design = "one item each, Clopper-Pearson" if d.design == "pairs" else "all items each, rank-grid band"
        return Shown.judged(
            judgement,
            bound=self._deciding(requirement, bound, judgement.interval),
            place=("r infinite" if r == float("inf") else f"r {up(r, 2)} sigma",),
            facts=f"{away}{radius}{' (vacuous)' if judgement.vacuous else ''}",
            n=d.n,
            of="draws",
            items=self.items,
            method=f"draws at the base, {design}",
            layers=self.displacement.largest() if d.law.kind == "weights" else (),
        )

    @property
    def unnoised(self) -> None:
        """The base's own item scores: not kept."""
        return

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the recorded draws."""
        return (self.draws.run("evidence.draws", subject),)

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record; ``whole``: its version stores all that is compared."""
        benchmark, lines = subject.benchmark, crosschecks.of_law("evidence.draws.law", self.draws.law, subject)
        lines += crosschecks.of_displacement("evidence.displacement", self.displacement, self.draws.law, subject)
        if whole:
            lines += crosschecks.of_companions("evidence.displacement", self.displacement.differences, subject)
        if self.draws.alpha != alpha:
            lines.append(f"alpha: recorded {alpha!r}, the draws declared {self.draws.alpha!r}")
        if self.items == "population" and benchmark.groups is not None:
            found = grouping(benchmark.groups)
            lines.append(f"evidence.items: population, but the benchmark has {found}, whose mean no draws bound")
        if self.draws.design == "pairs" and benchmark.graded:
            lines.append("evidence.draws: pairs of a graded benchmark have no valid bound")
        return lines


def _apart(law: NoiseLaw) -> str:
    """Say how a checkpoint may differ from the base for its distance to be finite."""
    if isinstance(law, SubspaceNoise):
        return "differs from the base within the subspace only"
    return "differs from the base in noised weights only"


def best_rung(
    rungs: Sequence[DistanceEvidence], benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float
) -> DistanceEvidence:
    """Return the rung of a ladder that serves the requirement best: one that certifies it, then the best bound.

    The bound is that of the requirement's unit, which is what the verdict rests on; where a rung has none (it
    abstains), that of the score decides.

    Guarantee: that of :meth:`DistanceEvidence.judge` for the rung picked, as all of them hold at once: each of K is
    judged at alpha/K.
    """

    def rank(rung: DistanceEvidence) -> tuple[bool, bool, float, float]:
        judged = rung.judge(benchmark, requirement, alpha)
        decisive = judged.upper if requirement.at_most else judged.lower
        good = -math.inf if decisive is None else -decisive if requirement.at_most else decisive
        return judged.verdict is Verdict.CERTIFIED, not judged.vacuous, good, judged.quantities["bound"] or 0.0

    return max(rungs, key=rank)


def at_most(x: float) -> Interval:
    """Return the interval of a quantity that is bounded from above only."""
    return Interval(value=None, lower=None, upper=x)


def _retention(bound: float, base: float, chance: float) -> float | None:
    """Return the bound as a chance-corrected share of the base's own score, where that has a meaning."""
    return finite(chance_corrected_retention(bound, base, chance)) if base > chance else None
