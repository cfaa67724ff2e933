"""Position evidence: does the checkpoint lie inside the base's measured basin?"""

from __future__ import annotations

import math
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
    near_chance_note,
    no_less_than,
    no_more_than,
    nothing_claimed,
    percent,
    up,
    vacuous_note,
)
from certify.evidence.paired_items import (
    DEPLOYMENT_LIMIT,
    Items,
    ItemScores,
    PairedScores,
    Rule,
    groups_words,
    items_premise,
    kept,
    perfect_items,
    refuse_grades,
    sampled_words,
    share_missing,
    unlike_benchmark,
    unlike_groups,
    unlike_order,
)
from certify.evidence.point import above_chance_note
from certify.evidence.trials import RecordedRun, Subject
from certify.records import (
    ActivationIdentity,
    BenchmarkIdentity,
    EngineIdentity,
    Groups,
    NoiseLaw,
    Positive,
    Record,
    Seed,
    SubspaceNoise,
    refuse_ungrouped,
)
from certify.statistics.laws import slice_position

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Points of the segment from base to checkpoint that are scored, fixed beforehand."""

POSITION_LIMITS = (
    "It speaks of the listed points of the segment from the base, and of nothing between them.",
    "alpha* <= sigma* compares one chosen direction with random ones: geometry, not a theorem.",
)
FIXED_POSITION_PREMISE = (
    "It speaks of exactly these items: what it says of the points has no confidence, because nothing there is random; "
    "sigma* has one, over the basin's draws."
)
PILOT_LIMIT = (
    "Pilot draws that scored these same items placed the grid: free for exactly these items, but a statement about the "
    "population behind them takes other items, or a grid fixed without them."
)

GridOrigin = Literal["given", "pilot"]


class BasinLevel(Record):
    """Item scores at the base under noise of one sigma, each item under a draw of its own (one pass)."""

    sigma: Positive
    law: NoiseLaw
    engine: EngineIdentity
    seed: Seed
    scores: ItemScores

    @model_validator(mode="after")
    def _guarded_are_left_open(self) -> BasinLevel:
        if isinstance(self.engine, ActivationIdentity):
            if isinstance(self.law, SubspaceNoise):
                raise ValueError("the activation engine draws noise on weights, not in a subspace")
            if self.engine.guarded > self.scores.count(None):
                raise ValueError(f"{self.engine.guarded} guarded decisions, but {self.scores.count(None)} left open")
        return self


class Basin(Record):
    """The base without noise and under a pre-set ascending grid of sigmas, item by item; one engine drew all levels.

    Without levels it holds the base alone, and has no width: another tool scored its draws, all items under each.

    ``grid`` says who chose the sigmas: they were given, or pilot draws on the same items placed them. ``order``,
    ``rule`` and ``groups`` are those of :class:`PairedScores`.
    """

    graded: bool = False
    order: Seed | None = None
    rule: Rule = "split"
    groups: Groups = None
    grid: GridOrigin = "given"
    base: ItemScores
    levels: tuple[BasinLevel, ...]

    @model_validator(mode="after")
    def _well_formed(self) -> Basin:
        sigmas = [level.sigma for level in self.levels]
        if sigmas != sorted(set(sigmas)):
            raise ValueError(f"the sigma grid must ascend without repeats, got {sigmas}")
        refuse_ungrouped(self.groups, len(self.base))
        refuse_grades(self.base, self.graded)
        for level in self.levels:
            if len(level.scores) != len(self.base):
                raise ValueError(f"level sigma={level.sigma:g} has {len(level.scores)} items, base {len(self.base)}")
            refuse_grades(level.scores, self.graded)
        names = {level.engine.name for level in self.levels}
        if len(names) > 1:
            raise ValueError(f"levels of one basin speak of one function, but were drawn by {sorted(names)}")
        if self.graded and "activation" in names:
            raise ValueError("the activation engine decides right or wrong; it cannot score a graded benchmark")
        return self

    def drop_at(self, level: BasinLevel, items: Items = "population") -> PairedScores:
        """Return the level's item scores paired with the base's.

        Draws on fixed items are trials of unequal laws, which only the split rule bounds, each item for itself.
        """
        eta = level.engine.eta(level.law)
        rule, groups = (self.rule, self.groups) if items == "population" else ("split", None)
        own = {"graded": self.graded, "order": self.order, "rule": rule, "groups": groups}
        return PairedScores(**own, eta=eta, base=self.base, checkpoint=level.scores)

    def paired(self, scores: ItemScores) -> PairedScores:
        """Return the scores of other weights without noise, paired with the base's."""
        own = {"graded": self.graded, "order": self.order, "rule": self.rule, "groups": self.groups}
        return PairedScores(**own, base=self.base, checkpoint=scores)

    def method(self, items: Items) -> str:
        """Return how scores paired with the base's are bounded, in words."""
        return self.paired(self.base).method(items)

    @property
    def limits(self) -> tuple[str, ...]:
        """What the engine of the levels and the origin of the grid add to the limits of a claim."""
        if not self.levels:
            return ()
        eta = max(level.engine.eta(level.law) for level in self.levels)
        engines = engine_limits([x.engine for x in self.levels], len(self.base) * len(self.levels), eta)
        return (*engines, PILOT_LIMIT) if self.grid == "pilot" else engines

    def runs(self, where: str, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the draws of every level, as ``verify`` and ``--replay`` look at them."""
        return tuple(
            RecordedRun.of(
                f"{where}.levels.{i}", "basin", subject, level.law, len(level.scores), level.seed, level.engine,
                level.scores,
            )
            for i, level in enumerate(self.levels)
        )  # fmt: skip

    def contradictions(self, where: str, subject: Subject, whole: bool) -> list[str]:
        """Return what disagrees with the base and the benchmark that it is said to be of."""
        lines = unlike_benchmark(subject.benchmark, [len(self.base)], self.graded)
        lines += unlike_groups(subject.benchmark, where, self.groups)
        whole = whole or self.groups is not None  # version 1 knew no groups
        lines += unlike_order(subject.benchmark, where, self.order) if whole else []
        for i, level in enumerate(self.levels):
            lines += crosschecks.of_level(f"{where}.levels.{i}", level.sigma, level.law)
            lines += crosschecks.of_law(f"{where}.levels.{i}.law", level.law, subject)
        return lines

    @property
    def base_score(self) -> float:
        """The base's score on exactly these items without noise, failures as 0."""
        return sum(kept(self.base)) / len(self.base)

    def vacuous(self, requirement: Requirement, chance: float, items: Items = "population") -> bool:
        """Whether a model that knows nothing would meet the requirement, so that no width says anything."""
        return requirement.met_by_chance(self.paired(self.base).means(items)[0], chance)

    def width(
        self, requirement: Requirement, alpha: float, chance: float, items: Items = "population"
    ) -> float | None:
        """Return sigma*: the last sigma such that it and all smaller ones are certified; None if none is.

        None as well if the requirement is vacuous; so is :meth:`refuted_from` then.

        Guarantee: with probability at least 1 - alpha over draws (and items, for a population), the mean
        drop at every grid point up to sigma* meets the requirement. Fixed sequence: each level at alpha, in
        ascending order, stopping at the first failure, so no correction is needed.
        Source: theory §2.3, Def. 4.1.
        """
        width = None
        for level in () if self.vacuous(requirement, chance, items) else self.levels:
            if self._verdict_at(level, requirement, alpha, chance, items) is not Verdict.CERTIFIED:
                break
            width = level.sigma
        return width

    def refuted_from(self, requirement: Requirement, alpha: float, chance: float) -> float | None:
        """Return the smallest sigma such that it and all larger ones are refuted; None if the largest is not.

        Guarantee: with probability at least 1 - alpha over draws (and items, for a population), not every grid
        point up to the returned sigma meets the requirement: the width that :meth:`width` bounds from below lies
        below it. Fixed sequence from the largest sigma down: a wrong statement needs the largest grid point that
        does meet the requirement to be refuted, one particular test, so no correction is needed. Each of the two
        bounds has its own alpha; both hold at once with probability at least 1 - 2 alpha.
        """
        refuted = None
        for level in () if self.vacuous(requirement, chance) else reversed(self.levels):
            if self._verdict_at(level, requirement, alpha, chance, "population") is not Verdict.REFUTED:
                break
            refuted = level.sigma
        return refuted

    def _verdict_at(
        self, level: BasinLevel, requirement: Requirement, alpha: float, chance: float, items: Items
    ) -> Verdict:
        interval = self.drop_at(level, items).interval(requirement, alpha, chance, "population") or NO_INTERVAL
        return requirement.decide(interval.lower, interval.upper)


class SegmentPoint(Record):
    """Item scores at base + fraction * (checkpoint - base)."""

    fraction: Annotated[float, Field(gt=0.0, le=1.0)]
    scores: ItemScores


class PositionEvidence(Record):
    """The measured basin, the checkpoint's place on its segment, and item scores at points of the segment."""

    counts: ClassVar[Literal["items", "draws"]] = "items"
    """What its n counts."""
    speaks_of: ClassVar[str] = (
        "where the checkpoint lies in the measured basin, at the listed points of the segment from the base"
    )

    kind: Literal["position"] = "position"
    items: Items = "population"
    basin: Basin
    points: Annotated[tuple[SegmentPoint, ...], Field(min_length=1)]
    displacement: Displacement

    @model_validator(mode="after")
    def _as_many_items_as_the_base(self) -> PositionEvidence:
        if not self.basin.levels:
            raise ValueError("a position is held against a basin of at least one sigma")
        for point in self.points:
            refuse_grades(point.scores, self.basin.graded)
            if len(point.scores) != len(self.basin.base):
                raise ValueError(
                    f"point {point.fraction:g} has {len(point.scores)} items, the base {len(self.basin.base)}"
                )
        return self

    @classmethod
    def best_outcome(
        cls, n: int, requirement: Requirement, alpha: float, chance: float, design: str
    ) -> Interval | None:
        """Return the interval when ``n`` items lose nothing: no outcome does better."""
        return perfect_items(n, requirement, alpha, chance)

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing, at the base, under noise and at the points of the segment."""
        scores = (self.basin.base, *(level.scores for level in self.basin.levels), *(p.scores for p in self.points))
        return share_missing(*scores)

    @property
    def alpha_star(self) -> float:
        """Position of the checkpoint on the fine-tuning slice, in the unit of sigma."""
        return float(slice_position(self.displacement.delta_norm, self.displacement.dimension))

    @property
    def _width_unknown(self) -> bool:
        """Betting needs trials of one law: items of a population, or 0/1 scores by the one-pass rule instead."""
        return self.items == "fixed" and self.basin.graded

    @property
    def _of_all_points(self) -> str:
        return f"printed bounds hold for all {len(self.points)} points at once; the verdict needs each point alone"

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Judge whether the checkpoint lies in the measured basin.

        Certified when alpha* <= sigma* and every listed point meets the requirement (each at alpha,
        intersection-union); refuted when some listed point is shown to miss it (at alpha / number of points).

        Guarantee: with probability at least 1 - alpha, a certified requirement holds at every listed point,
        and a refuted one fails at some listed point. A requirement that a model at chance would meet is vacuous and
        certifies nothing.
        """
        width = None if self._width_unknown else self.basin.width(requirement, alpha, benchmark.chance, self.items)
        inside = width is not None and self.alpha_star <= width
        each = [self._point(p, requirement, alpha, benchmark.chance) for p in self.points]
        joint = [self._point(p, requirement, alpha / len(self.points), benchmark.chance) for p in self.points]
        verdict = self._verdict(requirement, inside, each, joint)
        worst = _worst(requirement, joint)
        vacuous = verdict is not Verdict.REFUTED and self.basin.vacuous(requirement, benchmark.chance, self.items)
        return Judgement.of(
            requirement,
            worst,
            verdict,
            quantities={
                "alpha_star": self.alpha_star,
                "sigma_star": width,
                "delta_norm": self.displacement.delta_norm,
            },
            vacuous=vacuous,
            notes=self._notes(requirement, verdict, worst, width, benchmark.chance, vacuous),
            claim=self._claim(benchmark, requirement, alpha, width, worst, verdict, vacuous),
            limits=(
                *POSITION_LIMITS,
                items_premise(self.items, self.basin.groups, FIXED_POSITION_PREMISE),
                *self.basin.limits,
                DEPLOYMENT_LIMIT,
            ),
        )

    def _point(self, point: SegmentPoint, requirement: Requirement, alpha: float, chance: float) -> Interval:
        return self.basin.paired(point.scores).interval(requirement, alpha, chance, self.items) or NO_INTERVAL

    def _verdict(self, requirement: Requirement, inside: bool, each: list[Interval], joint: list[Interval]) -> Verdict:
        if self.displacement.differences:
            return Verdict.UNDECIDED
        if any(requirement.decide(i.lower, i.upper) is Verdict.REFUTED for i in joint):
            return Verdict.REFUTED
        kept = all(requirement.decide(i.lower, i.upper) is Verdict.CERTIFIED for i in each)
        return Verdict.CERTIFIED if inside and kept else Verdict.UNDECIDED

    def _notes(
        self,
        requirement: Requirement,
        verdict: Verdict,
        worst: Interval,
        width: float | None,
        chance: float,
        vacuous: bool,
    ) -> tuple[str, ...]:
        notes = [vacuous_note(chance)] if vacuous else []
        if self.displacement.differences:
            notes.append("abstained: the segment is not defined: " + "; ".join(self.displacement.differences))
        if worst == NO_INTERVAL:
            notes.append(above_chance_note(chance))
        if self._width_unknown:
            notes.append("no basin: graded scores of a fixed benchmark, one draw for each item, have no valid bound")
        elif width is None and not self.basin.vacuous(requirement, chance, self.items):
            notes.append(f"no basin: not even the smallest sigma, {self.basin.levels[0].sigma:g}, is certified")
        elif width is not None and self.alpha_star > width:
            notes.append("outside the measured width: alpha* > sigma*")
        elif width == self.basin.levels[-1].sigma:
            notes.append("sigma* is the last sigma of the grid; the basin may be wider")
        if verdict is Verdict.CERTIFIED and requirement.decide(worst.lower, worst.upper) is not verdict:
            notes.append(self._of_all_points)
        return tuple(notes)

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        width: float | None,
        worst: Interval,
        verdict: Verdict,
        vacuous: bool,
    ) -> str:
        there = alpha_star_text(self.alpha_star, width, 4)
        fixed = self.items == "fixed"
        where = f"alpha* = {there}, sigma* = {level_text(width)}{'' if fixed else groups_words(self.basin.groups)}"
        fractions = ", ".join(f"{p.fraction:g}" for p in self.points)
        sampled = sampled_words(self.basin.groups, self.basin.order)
        surely = "" if fixed else f"With {percent(alpha)} confidence over the {sampled}, "
        segment = f"the points {fractions} of the segment from base to checkpoint"
        required = f"the requirement on {benchmark.name} ({requirement.describe()})"
        if vacuous:
            text = nothing_claimed(benchmark.name, requirement, chance=benchmark.chance, found=f"alpha* = {there}")
        elif verdict is Verdict.CERTIFIED:
            drawn = f"with {percent(alpha)} confidence over the basin's draws, " if fixed else ""
            text = (
                f"{surely}{segment} each meet {required}, and {drawn}the checkpoint lies inside the measured width "
                f"({where})."
            )
        elif verdict is Verdict.REFUTED:
            text = f"{surely}at least one of {segment} misses {required} ({where})."
        else:
            text = (
                f"Undecided whether the checkpoint lies in the basin measured on {benchmark.name} ({where}; worst "
                f"{requirement.quantity} of {segment} between {down(worst.lower)} and {up(worst.upper)})."
            )
        return text[0].upper() + text[1:]

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: Judgement
    ) -> Shown:
        """Return what a report says beside the judgement.

        A certificate rests on each point alone, at alpha: the worst of these bounds holds for the worst point,
        whichever that is, at alpha too. The other side, and every other verdict, need all points at once, as in the
        judgement.
        """
        interval, notes = judgement.interval, judgement.notes
        if judgement.verdict is Verdict.CERTIFIED:
            alone = _worst(requirement, [self._point(p, requirement, alpha, benchmark.chance) for p in self.points])
            side = "upper" if requirement.at_most else "lower"
            interval = interval.model_copy(update={side: getattr(alone, side)})
            notes = tuple(note for note in notes if note != self._of_all_points)  # it speaks of the record's own bounds
        if self.items == "population" and not judgement.vacuous:
            base = self.basin.paired(self.points[-1].scores).base_score(alpha)
            notes += near_chance_note(requirement, base, alpha, benchmark.chance)
        width = judgement.quantities.get("sigma_star")
        place = (f"alpha* {alpha_star_text(self.alpha_star, width)}", f"sigma* {level_text(width)}")
        return Shown.judged(
            judgement,
            interval=interval,
            notes=notes,
            bound=Deciding.of(requirement, judgement.verdict, interval),
            place=place,
            facts=", ".join(place),
            n=len(self.basin.base),
            of="items",
            items=self.items,
            method=f"{self.basin.method(self.items)}, at {len(self.points)} points of the segment",
            layers=self.displacement.largest(),
        )

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores."""
        return self.basin.base

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the recorded draws, those of the basin."""
        return self.basin.runs("evidence.basin", subject)

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record; ``whole``: its version stores all that is compared."""
        benchmark, law = subject.benchmark, self.basin.levels[0].law
        lines = self.basin.contradictions("evidence.basin", subject, whole)
        lines += unlike_benchmark(benchmark, [len(p.scores) for p in self.points], benchmark.graded)
        found = tuple(p.fraction for p in self.points)
        if found != FRACTIONS:
            lines.append(f"evidence.points: at the fractions {found}, the rule is {FRACTIONS}")
        lines += crosschecks.of_displacement("evidence.displacement", self.displacement, law, subject)
        if whole:
            lines += crosschecks.of_companions("evidence.displacement", self.displacement.differences, subject)
        return lines


def _worst(requirement: Requirement, points: list[Interval]) -> Interval:
    """Return the bounds of the worst of several points, valid when the points' bounds hold jointly."""
    if any(p == NO_INTERVAL for p in points):
        return NO_INTERVAL
    pick = max if requirement.at_most else min

    def side(name: str) -> float | None:
        values = [getattr(p, name) for p in points]
        return None if None in values else float(pick(values))

    return Interval(value=side("value"), lower=side("lower"), upper=side("upper"))


def alpha_star_text(alpha_star: float, sigma_star: float | None, digits: int | None = None) -> str:
    """Format alpha*, never below it: to three digits, or four decimals where that is more (``digits``: to as many).

    Where rounding would put it beyond a sigma* that it does not exceed, to six digits, as sigma* is.
    """
    if digits is None:
        digits = max(4, 2 - math.floor(math.log10(alpha_star))) if alpha_star else 4
    there = up(alpha_star, digits)
    beyond = sigma_star is not None and alpha_star <= sigma_star < float(there)
    return no_less_than(alpha_star) if beyond else there


def level_text(width: float | None) -> str:
    """Format sigma* to six significant digits, never above it, or say that there is none."""
    return "none" if width is None else no_more_than(width)
