"""Cover evidence: a small family of checkpoints, made of a base by one or two coefficients, covered by random draws.

Each draw is one point of a box that was fixed beforehand, and one item, scored on the checkpoint that this point makes:
no noise, no distance, the models that would be served. Source: docs/theory.md, "Covers".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from certify.errors import InvalidPlan
from certify.evidence.judgement import (
    NO_INTERVAL,
    Interval,
    Requirement,
    RequirementUnit,
    Shown,
    Verdict,
    decide_or_vacuous,
    down,
    percent,
    up,
    vacuous_note,
)
from certify.evidence.paired_items import (
    DEPLOYMENT_LIMIT,
    ItemScores,
    PairedScores,
    kept,
    refuse_grades,
    rule_for,
    unlike_benchmark,
)
from certify.evidence.point import above_chance_note
from certify.evidence.trials import RecordedRun, Subject, Trials, random_items, random_points
from certify.parsing import first_problem
from certify.records import Axis, BenchmarkIdentity, FamilyIdentity, Record, Seed, Unit
from certify.statistics import betting_upper, clopper_pearson_upper, round_down, round_up

if TYPE_CHECKING:
    from certify.statistics.ranges import FloatArray

Place = tuple[tuple[float, float], ...]
"""Both ends of a window along each coefficient."""
Box = Annotated[tuple[Axis, ...], Field(min_length=1, max_length=2)]
MOST_WINDOWS = 1000
WINDOWS = {1: 10, 2: 4}
"""Windows along each coefficient of a family of so many, unless others are asked for."""
NAMES = {Verdict.CERTIFIED: "kept", Verdict.REFUTED: "lost", Verdict.UNDECIDED: "open"}
"""What a window is called by its verdict."""
COVER_LIMITS = (
    "It speaks of means over windows, and of no coefficient alone: choose one on the map, then audit it on items that "
    "did not choose it.",
    "It speaks of exactly these items and of this box, whose windows were fixed before any draw; windows that are "
    "chosen after a look have the bound for every window and no other.",
    "The bound for every window and the bounds of the windows fixed beforehand are two statements, each with its own "
    "alpha.",
)


class WindowJudgement(Record):
    """What was found in one window, fixed beforehand: bounds of the mean over it, in the requirement's unit.

    ``draws`` fell inside; of these ``lost`` scored lower than the base on their item, and ``gained`` higher.
    """

    place: Place
    verdict: Verdict
    draws: int
    lost: int
    gained: int
    bounds: Interval


class CoverJudgement(Record):
    """What a cover says; everything here is recomputed by ``certify verify``.

    Certified: every window fixed beforehand is kept. Refuted: at least one is lost. Undecided: neither.

    ``failure`` bounds the mean failure over the whole box from above: the score that is lost, gains cancelling nothing
    (where something must be absent, the score). ``anywhere`` bounds it over every window of the size of those that were
    fixed, wherever it lies. ``share``: the requirement is met in every window that takes up at least this share of the
    box, and coefficients at which it is not take up at most this share; None where retention has no meaning.
    """

    verdict: Verdict
    unit: RequirementUnit
    need: float
    lost: int
    gained: int
    failure: float
    anywhere: float
    share: float | None
    windows: tuple[WindowJudgement, ...]
    vacuous: bool = False
    notes: tuple[str, ...]
    claim: str
    limits: tuple[str, ...]

    def count(self, verdict: Verdict) -> int:
        """Return how many windows have this verdict."""
        return sum(window.verdict is verdict for window in self.windows)

    @property
    def interval(self) -> Interval:
        """No estimate and no bounds: a map is no one number."""
        return NO_INTERVAL


class CoverEvidence(Record):
    """The scores of draws of one point and one item each, in draw order; points and items follow from ``seed``.

    ``base`` holds the base's score on every item, in the file's order. ``chosen`` is the point that would be deployed,
    which is marked in figures, and decides nothing.
    """

    counts: ClassVar[Literal["items", "draws"]] = "draws"
    """What its n counts."""

    kind: Literal["cover"] = "cover"
    graded: bool = False
    family: FamilyIdentity
    box: Box
    chosen: tuple[float, ...] | None = None
    seed: Seed
    base: ItemScores
    scores: Annotated[tuple[Unit | None, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> CoverEvidence:
        k = len(self.family.coefficients)
        if len(self.box) != k or (self.chosen is not None and len(self.chosen) != k):
            raise ValueError(f"a family of {k} coefficients needs as many ranges, and as many numbers of a choice")
        if len(self.places) > MOST_WINDOWS:
            raise ValueError(f"{len(self.places)} windows: at most {MOST_WINDOWS}")
        refuse_grades((*self.base, *self.scores), self.graded)
        return self

    @property
    def n(self) -> int:
        """Number of draws."""
        return len(self.scores)

    @property
    def places(self) -> tuple[Place, ...]:
        """The windows that were fixed beforehand."""
        return tuple(product(*(axis.places for axis in self.box)))

    @property
    def window_share(self) -> float:
        """The share of the box that each window takes up."""
        return float(round_down(math.prod(axis.width / (axis.high - axis.low) for axis in self.box)))

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing, of the base and of the family."""
        return (self.base.count(None) + self.scores.count(None)) / (len(self.base) + self.n)

    @property
    def base_score(self) -> float:
        """The base's score, items without an answer as 0."""
        return sum(kept(self.base)) / len(self.base)

    @property
    def points(self) -> FloatArray:
        """The point of each draw, shape (n, k)."""
        return random_points(self.seed, self.box, self.n)

    @property
    def items(self) -> tuple[int, ...]:
        """The item of each draw."""
        return random_items(self.seed, len(self.base), self.n)

    def inside(self, place: Place) -> list[int]:
        """Return the draws whose point fell into a window."""
        low, high = np.array(place).T
        found: list[int] = np.flatnonzero(((self.points >= low) & (self.points <= high)).all(axis=1)).tolist()
        return found

    def pairs(self, draws: Sequence[int]) -> PairedScores:
        """Return the scores of these draws beside the base's on their items; given a window, they are independent."""
        items = self.items
        return PairedScores(
            graded=self.graded,
            rule=rule_for(self.graded),
            base=tuple(self.base[items[i]] for i in draws),
            checkpoint=tuple(self.scores[i] for i in draws),
        )

    def failure(self, requirement: Requirement, alpha: float) -> float:
        """Return the upper bound of the mean failure over the box, from all draws.

        Guarantee: with probability at least 1 - ``alpha`` over the draws, the mean over the box and the items of the
        score that is lost (for an absence, of the score) is at most this. Gains cancel no loss.
        """
        pairs = self.pairs(range(self.n))
        lost = [max(0.0, loss) for loss in pairs.losses]
        if requirement.unit == "absence":
            lost = [1.0 if score is None else score for score in self.scores]
        if self.graded:
            return betting_upper(lost, alpha)
        return clopper_pearson_upper(sum(lost), self.n, alpha)

    def allowed(self, requirement: Requirement, chance: float) -> float | None:
        """Return the drop (absence: the score) that is allowed; None: the base has nothing to retain."""
        if requirement.unit != "retention":
            return requirement.limit
        above = self.base_score - chance
        return round_down((1.0 - requirement.limit) * above) if above > 0 else None

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> CoverJudgement:
        """Judge where in the box the requirement is met.

        Guarantee: with probability at least 1 - ``alpha`` over the draws, at once: the requirement is met on average
        over every window that takes up at least ``share`` of the box, wherever it lies, and coefficients at which it is
        not met take up at most ``share``. With probability at least 1 - ``alpha`` no window fixed beforehand is called
        kept that is not, and with probability at least 1 - ``alpha`` none lost that is not: each bound at alpha/M.
        Source: docs/theory.md, "Covers".
        """
        chance, pairs = benchmark.chance, self.pairs(range(self.n))
        failure, allowed = self.failure(requirement, alpha), self.allowed(requirement, chance)
        share = None if allowed is None else min(1.0, round_up(failure / allowed)) if allowed > 0 else 1.0
        vacuous = requirement.met_by_chance(self.base_score, chance)
        windows = tuple(self._window(place, requirement, alpha / len(self.places), chance) for place in self.places)
        verdicts = {window.verdict for window in windows}
        verdict = Verdict.REFUTED if Verdict.REFUTED in verdicts else Verdict.UNDECIDED
        verdict = Verdict.CERTIFIED if verdicts == {Verdict.CERTIFIED} else verdict
        found = CoverJudgement(
            verdict=verdict,
            unit=requirement.unit,
            need=requirement.limit,
            lost=pairs.lost,
            gained=pairs.gained,
            failure=failure,
            anywhere=min(1.0, round_up(failure / self.window_share)),
            share=share,
            windows=windows,
            vacuous=vacuous and verdict is not Verdict.REFUTED,
            notes=(),
            claim="",
            limits=(*COVER_LIMITS, DEPLOYMENT_LIMIT),
        )
        words = {"notes": tuple(self._notes(found, chance)), "claim": self._claim(benchmark, requirement, alpha, found)}
        return found.model_copy(update=words)

    def _window(self, place: Place, requirement: Requirement, alpha: float, chance: float) -> WindowJudgement:
        draws = self.inside(place)
        pairs = self.pairs(draws) if draws else None
        bounds = pairs.beside(self.base_score, requirement, alpha, chance) if pairs else NO_INTERVAL
        return WindowJudgement(
            place=place,
            verdict=decide_or_vacuous(requirement, bounds, self.base_score, chance)[0],
            draws=len(draws),
            lost=pairs.lost if pairs else 0,
            gained=pairs.gained if pairs else 0,
            bounds=bounds,
        )

    def _notes(self, found: CoverJudgement, chance: float) -> Iterator[str]:
        if found.vacuous:
            yield vacuous_note(chance)
        if found.share is None:
            yield above_chance_note(chance)
        if empty := sum(not window.draws for window in found.windows):
            yield f"no draw fell into {empty} of the windows: more draws, or fewer windows, would say something there"
        if self.chosen is not None:
            around = {NAMES[window.verdict] for window in found.windows if _within(self.chosen, window.place)}
            where = " and in one that is ".join(sorted(around))
            where = f"in a window that is {where}" if around else "outside the box"
            yield f"the chosen point {point_text(self.chosen)} lies {where}"

    def _claim(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, found: CoverJudgement
    ) -> str:
        counted = f"{self.n} draws, {found.lost} lost, {found.gained} gained; windows: {counts_text(found)}"
        bound = f"at {'most' if requirement.at_most else 'least'} {requirement.limit:g}"
        asked = f"the mean {requirement.quantity} is {bound}"
        what = f"{self.family.title} over {self.box_text} on exactly these {len(self.base)} items of {benchmark.name}"
        if found.vacuous:
            return f"Nothing is claimed about {what}: a model that knows nothing would meet {requirement.describe()}."
        if found.share is None:
            return f"Nothing is claimed about {what}: the base has nothing to retain."
        sure = f"With {percent(alpha)} confidence over the draws"
        many = f"the {len(found.windows)} windows fixed beforehand" if len(found.windows) > 1 else "the whole box"
        if found.verdict is Verdict.CERTIFIED:
            first = f"{sure}, {asked} over {'each of ' * (len(found.windows) > 1)}{many} of {what} ({counted})."
        elif found.verdict is Verdict.REFUTED:
            lost = found.count(Verdict.REFUTED)
            first = f"{sure}, {asked.replace(' is ', ' is not ')} over {lost} of {many} of {what} ({counted})."
        else:
            first = f"Undecided whether {asked} over all of {many} of {what} ({counted})."
        if found.anywhere >= 1.0:
            return first
        what = "the score" if requirement.unit == "absence" else "what is lost, gains aside,"
        size = " x ".join(f"{axis.width:.6g}" for axis in self.box)
        second = f"{sure}, {what} is at most {up(found.anywhere)} on average over every window of {size} anywhere"
        if found.share >= 1.0:
            return f"{first} {second}."
        share = up(100 * found.share)
        within = f"over every window of at least {share} % of the box, and at all but {share} % of its points"
        return f"{first} {second}; and {requirement.quantity} {bound} {within}."

    @property
    def box_text(self) -> str:
        """The box in words."""
        return " x ".join(f"[{axis.low:g}, {axis.high:g}]" for axis in self.box)

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: CoverJudgement
    ) -> Shown:
        """Return what a report says beside the judgement: a map, which is no one bound in the requirement's unit."""
        return Shown(
            unit=judgement.unit,
            need=judgement.need,
            interval=judgement.interval,
            bound=None,
            place=(counts_text(judgement),),
            facts=f"{judgement.lost} of {self.n} draws lost, {judgement.gained} gained",
            n=self.n,
            of="draws",
            items="fixed",
            method=f"one random point of {self.box_text} and one random item for each draw",
            quantities={
                "share": judgement.share,
                "failure": judgement.failure,
                "anywhere": judgement.anywhere,
                **{name: float(judgement.count(verdict)) for verdict, name in NAMES.items()},
            },
            notes=judgement.notes,
        )

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores."""
        return self.base

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the draws as a run without noise."""
        trials = Trials("cover", subject, None, self.n, self.seed.user_seed, self.seed.attempt, box=self.box)
        return (RecordedRun("evidence", trials, self.seed, None, self.scores),)

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record."""
        return unlike_benchmark(subject.benchmark, [len(self.base)], self.graded)


def box_of(
    ranges: Sequence[tuple[float, float]], windows: int | None = None, width: float | None = None
) -> tuple[Axis, ...]:
    """Return a box of (low, high) for each coefficient, with as many ``windows`` along each, each ``width`` wide.

    Unless given, there are :data:`WINDOWS` of them, side by side.

    Raises:
        InvalidPlan: a range without an inside, windows that leave a gap, or more than two ranges.
    """
    if len(ranges) not in WINDOWS:
        raise InvalidPlan(f"range: {len(ranges)} given; a family has one or two coefficients")
    count, box = windows or WINDOWS[len(ranges)], []
    for low, high in ranges:
        if not low < high:
            raise InvalidPlan(f"range {low:g},{high:g}: must be two numbers, LOW,HIGH, the lower one first")
        across = (high - low) / count if width is None else width
        try:
            box.append(Axis(low=low, high=high, windows=count, width=across))
        except ValidationError as error:
            raise InvalidPlan(f"range {low:g},{high:g}: {first_problem(error)}") from None
    return tuple(box)


def fewest_draws(
    box: Sequence[Axis], requirement: Requirement, alpha: float, chance: float, base_score: float = 1.0
) -> tuple[int, int]:
    """Return how many draws a window takes to be called kept if nothing is lost, and how many put so many into each.

    The second is what it takes on average. Both are 1 where no number of draws is too small, or none is enough.
    """
    windows = math.prod(axis.windows for axis in box)
    share = math.prod(axis.width / (axis.high - axis.low) for axis in box)
    allowed = requirement.limit
    if requirement.unit == "retention":
        allowed = (1.0 - requirement.limit) * (base_score - chance)
    if not 0.0 < allowed < 1.0:
        return 1, 1
    least = math.log(alpha / windows) / math.log1p(-allowed)
    return math.ceil(least), math.ceil(least / share)


def too_few_draws(
    draws: int, box: Sequence[Axis], requirement: Requirement, alpha: float, chance: float, base_score: float = 1.0
) -> str:
    """Return why no window of a cover with so few draws could be called kept if nothing were lost, or nothing."""
    least, needed = fewest_draws(box, requirement, alpha, chance, base_score)
    if draws >= needed:
        return ""
    windows = math.prod(axis.windows for axis in box)
    share = math.prod(axis.width / (axis.high - axis.low) for axis in box)
    return (
        f"{draws} draws put about {draws * share:.0f} into each of {windows} windows, and {requirement.describe()} "
        f"takes {least} there even if nothing is lost: take {needed} draws or more, or fewer windows"
    )


def counts_text(judgement: CoverJudgement) -> str:
    """Say how many windows are kept, lost and open."""
    return ", ".join(f"{judgement.count(verdict)} {name}" for verdict, name in NAMES.items())


def point_text(point: Sequence[float]) -> str:
    """Return a point's coordinates in words."""
    return f"{point[0]:g}" if len(point) == 1 else f"({', '.join(f'{a:g}' for a in point)})"


def place_text(place: Place) -> str:
    """Return a window in words."""
    return " x ".join(f"[{low:.6g}, {high:.6g}]" for low, high in place)


def bound_text(window: WindowJudgement, at_most: bool) -> str:
    """Return the bound of a window that shows what is kept, rounded outwards."""
    return up(window.bounds.upper) if at_most else down(window.bounds.lower)


def _within(point: Sequence[float], place: Place) -> bool:
    return all(low <= a <= high for a, (low, high) in zip(point, place, strict=True))
