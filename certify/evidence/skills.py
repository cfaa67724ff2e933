"""How wide the basins of one or several skills are on fixed benchmarks, and which of them lies inside which.

At each sigma every draw asks one random item of each skill, so all skills are seen under the same draws, and what a
width rests on is the number of draws and not that of items. Source: docs/theory.md, "Widths on fixed items".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from certify.evidence import crosschecks
from certify.evidence.engines import engine_limits
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
from certify.evidence.paired_items import (
    DEPLOYMENT_LIMIT,
    ItemScores,
    PairedScores,
    kept,
    refuse_grades,
    rule_for,
    share_missing,
    unlike_benchmark,
)
from certify.evidence.point import above_chance_note
from certify.evidence.position import GridOrigin, level_text
from certify.evidence.trials import RecordedRun, Subject, Trials, random_items
from certify.evidence.width import WIDTH_LIMITS
from certify.records import (
    BenchmarkIdentity,
    EngineIdentity,
    NoiseLaw,
    Part,
    Positive,
    Record,
    Seed,
)

SKILLS_LIMITS = (
    *WIDTH_LIMITS[:3],
    "The requirement, the grid and the number of draws are taken to have been chosen before a look at these draws: of "
    "several requirements the luckiest is not covered, and at another other basins may lie inside others.",
    "It speaks of exactly these items, each as likely to be asked as any other of its benchmark.",
)


class SkillsLevel(Record):
    """Scores under the draws of one sigma, for each skill in turn: draw i asks one random item of every skill.

    ``refined``: its sigma was placed after a look at the levels that were not.
    """

    sigma: Positive
    law: NoiseLaw
    engine: EngineIdentity
    seed: Seed
    refined: bool = False
    scores: Annotated[tuple[ItemScores, ...], Field(min_length=1)]


class SkillAtSigma(Record):
    """One skill at one sigma: bounds in the requirement's unit, each with the share of alpha of one statement."""

    sigma: float
    verdict: Verdict
    lost: int
    gained: int
    bounds: Interval


class SkillWidth(Record):
    """How wide the basin of one skill is: at least ``sigma_star``, and below ``refuted_from``."""

    name: str
    base_score: float
    chance: float
    sigma_star: float | None
    refuted_from: float | None
    vacuous: bool
    levels: tuple[SkillAtSigma, ...]


class Inside(Record):
    """The basin of ``inner`` is narrower than ``below``, and that of ``outer`` reaches at least to ``reaches``."""

    inner: str
    outer: str
    below: float
    reaches: float


class SkillsJudgement(Record):
    """What the draws say of all skills at once; everything here is recomputed by ``certify verify``.

    Certified: every skill has a sigma*. Refuted: some skill fails at every sigma of the grid. Undecided: neither.
    ``share`` is the failure probability of each bound. ``inside``: the pairs that are certified; of others nothing is
    said.
    """

    verdict: Verdict
    unit: RequirementUnit
    need: float
    share: float
    skills: tuple[SkillWidth, ...]
    inside: tuple[Inside, ...] = ()
    vacuous: bool = False
    notes: tuple[str, ...]
    claim: str
    limits: tuple[str, ...]


class SkillsEvidence(Record):
    """Scores of skills under the same draws at every sigma; items follow from each level's seed.

    ``base`` holds the base's scores of each skill, all items in the file's order. ``refine``: how many sigmas were to
    be placed, after a look, where a width ends; what was declared is paid for, whether or not any was placed.
    """

    counts: ClassVar[Literal["items", "draws"]] = "draws"
    """What its n counts."""

    kind: Literal["skills"] = "skills"
    graded: bool = False
    grid: GridOrigin = "given"
    refine: Annotated[int, Field(ge=0)] = 0
    base: Annotated[tuple[ItemScores, ...], Field(min_length=1)]
    levels: Annotated[tuple[SkillsLevel, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _well_formed(self) -> SkillsEvidence:
        sigmas = [level.sigma for level in self.levels]
        if sigmas != sorted(set(sigmas)):
            raise ValueError(f"the sigma grid must ascend without repeats, got {sigmas}")
        if all(level.refined for level in self.levels):
            raise ValueError("every level is refined: those that were fixed beforehand are missing")
        if not self.refine and any(level.refined for level in self.levels):
            raise ValueError("levels are refined, though none were to be")
        for level in self.levels:
            if len(level.scores) != len(self.base) or {len(each) for each in level.scores} != {self.n}:
                raise ValueError(
                    f"level sigma={level.sigma:g} must have {self.n} scores of each of {len(self.base)} skills"
                )
        for scores in (*self.base, *(each for level in self.levels for each in level.scores)):
            refuse_grades(scores, self.graded)
        names = {level.engine.name for level in self.levels}
        if len(names) > 1 or (names == {"activation"} and (self.graded or len(self.base) > 1)):
            raise ValueError(f"levels of one function and of the same draws, but drawn by {sorted(names)}")
        return self

    @property
    def n(self) -> int:
        """Number of draws at each sigma."""
        return len(self.levels[0].scores[0])

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing, at the base and under noise."""
        return share_missing(*self.base, *(each for level in self.levels for each in level.scores))

    def share(self, alpha: float) -> float:
        """Return the failure probability of each bound, when all statements together fail with at most ``alpha``.

        Two ends for each skill, and twice as many where the grid was to be refined: what is placed after a look is
        bounded by draws of its own, and pays for itself.
        """
        return alpha / (2 * len(self.base) * (2 if self.refine else 1))

    def _pairs(self, level: SkillsLevel, skill: int) -> PairedScores:
        """Return the scores of a skill at a level beside the base's on the items that were asked: one law for all."""
        items = random_items(level.seed, len(self.base[skill]), self.n, skill)
        base = tuple(self.base[skill][i] for i in items)
        rule, eta = rule_for(self.graded), level.engine.eta(level.law)
        return PairedScores(graded=self.graded, rule=rule, eta=eta, base=base, checkpoint=level.scores[skill])

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> SkillsJudgement:
        """Judge how wide the basin of each skill is, and which lies inside which.

        Guarantee: with probability at least 1 - ``alpha`` over the draws everything holds at once: each skill meets the
        requirement at every sigma of the grid, refined or not, up to its sigma*; each width on the grid lies below its
        ``refuted_from``; and so each pair that is said to lie inside each other does.
        Source: docs/theory.md, "Widths on fixed items".
        """
        share = self.share(alpha)
        skills = tuple(self._width(k, part, requirement, share) for k, part in enumerate(_parts(benchmark)))
        inside = tuple(
            Inside(inner=inner.name, outer=outer.name, below=inner.refuted_from, reaches=outer.sigma_star)
            for inner, outer in permutations(skills, 2)
            if requirement.unit == "retention" and inner.refuted_from is not None and outer.sigma_star is not None
            and inner.refuted_from <= outer.sigma_star
        )  # fmt: skip
        verdict = Verdict.UNDECIDED
        if all(skill.sigma_star is not None for skill in skills):
            verdict = Verdict.CERTIFIED
        elif any(skill.refuted_from == self.levels[0].sigma for skill in skills):
            verdict = Verdict.REFUTED
        found = SkillsJudgement(
            verdict=verdict,
            unit=requirement.unit,
            need=requirement.limit,
            share=share,
            skills=skills,
            inside=inside,
            vacuous=all(skill.vacuous for skill in skills),
            notes=(),
            claim="",
            limits=(*SKILLS_LIMITS, *self._premises(), DEPLOYMENT_LIMIT),
        )
        words = {"notes": tuple(self._notes(found)), "claim": self._claim(requirement, alpha, found)}
        return found.model_copy(update=words)

    def _width(self, k: int, part: Part, requirement: Requirement, share: float) -> SkillWidth:
        score = sum(kept(self.base[k])) / len(self.base[k])
        vacuous = requirement.met_by_chance(score, part.chance)
        levels = tuple(self._at(level, k, part, score, requirement, share) for level in self.levels)
        width = refuted = None
        for level in () if vacuous else levels:
            if level.verdict is not Verdict.CERTIFIED:
                break
            width = level.sigma
        for level in () if vacuous else reversed(levels):
            if level.verdict is not Verdict.REFUTED:
                break
            refuted = level.sigma
        return SkillWidth(
            name=part.name,
            base_score=score,
            chance=part.chance,
            sigma_star=width,
            refuted_from=refuted,
            vacuous=vacuous,
            levels=levels,
        )

    def _at(
        self, level: SkillsLevel, k: int, part: Part, score: float, requirement: Requirement, share: float
    ) -> SkillAtSigma:
        pairs = self._pairs(level, k)
        bounds = pairs.beside(score, requirement, share, part.chance)
        verdict = requirement.decide(bounds.lower, bounds.upper)
        return SkillAtSigma(sigma=level.sigma, verdict=verdict, lost=pairs.lost, gained=pairs.gained, bounds=bounds)

    def _premises(self) -> tuple[str, ...]:
        eta = max(level.engine.eta(level.law) for level in self.levels)
        decisions = self.n * len(self.levels) * len(self.base)
        return engine_limits([level.engine for level in self.levels], decisions, eta)

    def _notes(self, found: SkillsJudgement) -> Iterator[str]:
        last = self.levels[-1].sigma
        for skill in found.skills:
            if skill.vacuous:
                yield f"{skill.name}: {vacuous_note(skill.chance)}"
            elif skill.levels[0].bounds == NO_INTERVAL:
                yield f"{skill.name}: {above_chance_note(skill.chance)}"
            elif skill.sigma_star == last:
                yield f"{skill.name}: sigma* is the last sigma of the grid; the basin may be wider"
            elif skill.sigma_star is None and skill.refuted_from != self.levels[0].sigma:
                yield f"{skill.name}: no basin shown, and not all sigmas are refuted"
        if len(found.skills) > 1 and found.unit != "retention":
            yield "which basin lies inside which is said at the same retention only"

    def _claim(self, requirement: Requirement, alpha: float, found: SkillsJudgement) -> str:
        asked = f"at {'most' if requirement.at_most else 'least'} {requirement.limit:g}"
        levels, refined = len(self.levels), sum(level.refined for level in self.levels)
        placed = f", {refined} of them placed after a look at the others" if refined else ""
        said = [text for skill in found.skills if (text := _width_words(skill))]
        what = f"of the mean {requirement.quantity} {asked} on exactly these items"
        drawn = f"{self.n} draws at each of {levels} sigmas{placed}"
        if not said:
            return f"Nothing is shown about basins {what} ({drawn})."
        nested = [f"that of {pair.inner} lies inside that of {pair.outer}" for pair in found.inside]
        of_pairs = f"; {'; '.join(nested)}" if nested else ""
        if len(found.skills) > 1 and not nested:
            of_pairs = "; of no pair is it shown which lies inside which"
        return (
            f"With {percent(alpha)} confidence over the draws, for all of it at once, the basins {what} under Gaussian "
            f"noise on {self.levels[0].law.dimension:,} weights are on this grid: {'; '.join(said)}{of_pairs} "
            f"({drawn})."
        )

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: SkillsJudgement
    ) -> Shown:
        """Return what a report says beside the judgement: widths, which are no bound in the requirement's unit."""
        widths = tuple(
            f"{skill.name}: sigma* {level_text(skill.sigma_star)}"
            + ("" if skill.refuted_from is None else f", refuted from {no_less_than(skill.refuted_from)}")
            for skill in judgement.skills
        )
        return Shown(
            unit=judgement.unit,
            need=judgement.need,
            interval=NO_INTERVAL,
            bound=None,
            place=(*widths, *(f"{pair.inner} inside {pair.outer}" for pair in judgement.inside)),
            n=self.n,
            of="draws",
            items="fixed",
            method=f"one random item of each skill under each draw, at {len(self.levels)} sigmas in fixed sequences",
            quantities={},
            notes=judgement.notes,
        )

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores, of all skills one after the other."""
        return tuple(score for scores in self.base for score in scores)

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the recorded draws of each skill at each sigma, whose seed all skills share."""
        return tuple(
            RecordedRun(
                f"evidence.levels.{i}",
                Trials("skills", subject, level.law, self.n, level.seed.user_seed, level.seed.attempt, part=k),
                level.seed, level.engine, scores,
            )
            for i, level in enumerate(self.levels)
            for k, scores in enumerate(level.scores)
        )  # fmt: skip

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the base and the benchmarks that it is said to be of."""
        lines = unlike_benchmark(subject.benchmark, [len(self.unnoised)], self.graded)
        recorded, declared = [len(each) for each in self.base], [part.items for part in _parts(subject.benchmark)]
        if recorded != declared:
            lines.append(f"evidence.base: skills of {recorded} items, the benchmarks have {declared}")
        for i, level in enumerate(self.levels):
            lines += crosschecks.of_level(f"evidence.levels.{i}", level.sigma, level.law)
            lines += crosschecks.of_law(f"evidence.levels.{i}.law", level.law, subject)
        return lines


def _parts(benchmark: BenchmarkIdentity) -> tuple[Part, ...]:
    """Return the benchmarks of a pool, or the only one."""
    own = {name: getattr(benchmark, name) for name in ("name", "items", "chance", "digest")}
    return benchmark.pool or (Part(weight=1.0, **own),)


def _width_words(skill: SkillWidth) -> str:
    ends = [] if skill.sigma_star is None else [f"up to sigma* = {level_text(skill.sigma_star)} at least"]
    ends += [] if skill.refuted_from is None else [f"below {no_less_than(skill.refuted_from)}"]
    return f"{skill.name} {' and '.join(ends)}" if ends else ""
