"""Measure the basins of one or several skills on their fixed items: under each draw one random item of every skill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from certify.benchmarks import JsonlBenchmark, PooledBenchmark
from certify.documents import SkillsRecord
from certify.errors import InvalidPlan
from certify.evidence import Requirement
from certify.evidence.paired_items import ItemScores, kept
from certify.evidence.position import GridOrigin
from certify.evidence.skills import SkillsEvidence, SkillsJudgement, SkillsLevel
from certify.evidence.trials import Trials
from certify.measuring.at_base import check_grid
from certify.measuring.base import Base
from certify.measuring.costs import Load, foretell, noise_writing
from certify.measuring.item_trials import EXPLICIT, EngineChoice, carry_out_trials
from certify.measuring.ledger import Entry
from certify.measuring.pilot import allowed_drop, pilot_sigma
from certify.measuring.run import Run
from certify.measuring.scores import checked
from certify.noise import noised
from certify.records import BenchmarkIdentity, EngineIdentity, Part

POINTS = 8
"""Sigmas between half of the smallest that a pilot finds harmless to a skill, and twice the largest."""


def skills_grid(
    base: Base, requirement: Requirement, user_seed: int = 0, run: Run | None = None
) -> tuple[float, ...]:
    """Return ascending sigmas that pilot draws place around the edges of all basins, in equal ratios.

    The pilot scores the same items, which is free for exactly these: its draws are others.

    Raises:
        InvalidPlan: the requirement allows some skill no drop, or even the smallest sigma tried breaks it.
    """
    found = [pilot_sigma(each, allowed_drop(each, requirement), user_seed, run) for each in _each_skill(base)]
    return tuple(float(f"{sigma:.3g}") for sigma in np.geomspace(min(found) / 2, 2 * max(found), POINTS))


def measure_skills(
    base: Base,
    grid: Sequence[float],
    *,
    requirement: Requirement,
    draws: int = 3000,
    refine: int = 3,
    alpha: float = 0.05,
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
    grid_origin: GridOrigin = "given",
) -> SkillsRecord:
    """Measure the basins of the skills of ``base.benchmark`` (one, or a pool of them) on ``grid``, fixed beforehand.

    For each skill ``refine`` more sigmas are placed where its width ends: above the last that is certified, and below
    the first from which on all are refuted. Several skills are drawn by the explicit engine, whichever ``engine`` is:
    only there are the draws that all of them see the same.

    Guarantee: that of :meth:`certify.evidence.skills.SkillsEvidence.judge`.

    Raises:
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
        InvalidPlan: several skills and no retention to compare them at; so few draws that nothing could be certified;
            a pool whose weights are not alike.
        ActivationRefused: the activation engine was asked for, and is not exact here.
    """
    run = run or Run()
    check_grid(grid)
    _refuse_unlike(base, requirement)
    skills, drawn = len(base.scorer.identity.pool or (None,)), draws * len(grid)
    load = Load(draws=drawn, alone=skills * drawn, together=base.scorer.identity.items)
    one = next(iter(_each_skill(base)))  # a draw is written alike for each and for all of them
    foretell(base, run, load, writing=noise_writing(one, base.weight_law(grid[0])), seconds=engine.seconds)
    found = _Draws(base, draws, user_seed, run, engine)
    asked = {"requirement": requirement, "alpha": alpha}
    of_base, graded = found.of_base(), base.scorer.identity.graded
    whole: dict[str, Any] = {"graded": graded, "grid": grid_origin, "refine": refine, "base": of_base}
    _refuse_out_of_reach(of_base, base, draws, refine > 0, requirement, alpha)
    levels = found.levels(grid)
    if refine:
        judged = SkillsEvidence(**whole, levels=levels).judge(base.scorer.identity, requirement, alpha)
        levels = tuple(sorted((*levels, *found.levels(placed(judged, refine), refined=True)), key=lambda x: x.sigma))
    return SkillsRecord.make(
        base=base.checkpoint.identity,
        benchmark=base.scorer.identity,
        evidence=SkillsEvidence(**whole, levels=levels),
        environment=base.environment,
        **asked,
    )


def placed(judged: SkillsJudgement, refine: int) -> tuple[float, ...]:
    """Return new sigmas: ``refine`` evenly in each gap of the grid in which the width of a skill has an end.

    These are the gap above its sigma*, and the one below the sigma from which on all are refuted: often the same.
    """
    known, new = [0.0, *(level.sigma for level in judged.skills[0].levels)], set[float]()
    for skill in judged.skills:
        at = [known.index(skill.sigma_star or 0.0)]
        at += [] if skill.refuted_from is None else [known.index(skill.refuted_from) - 1]
        for i in at if not skill.vacuous else ():
            ends = known[i : i + 2]  # of the last certified sigma of all there is no gap
            steps = range(1, refine + 1) if len(ends) == 2 else ()
            new |= {float(f"{ends[0] + (ends[1] - ends[0]) * j / (refine + 1):.4g}") for j in steps}
    return tuple(sorted(new - set(known)))


class _Draws:
    """Scores under draws of the base, of all skills at once."""

    def __init__(self, base: Base, n: int, user_seed: int, run: Run, engine: EngineChoice) -> None:
        self._base, self._n, self._user_seed, self._run, self._engine = base, n, user_seed, run, engine
        self._skills = len(base.scorer.identity.pool or (None,))

    def of_base(self) -> tuple[ItemScores, ...]:
        """Return the base's own scores of each skill."""
        scores, pool = self._base.kept_scores(self._run), self._base.scorer.identity.pool
        ends = np.cumsum([part.items for part in pool]).tolist() if pool else [len(scores)]
        return tuple(scores[a:b] for a, b in zip((0, *ends), ends, strict=False))

    def levels(self, grid: Sequence[float], refined: bool = False) -> tuple[SkillsLevel, ...]:
        """Return a level for each sigma."""
        runs = [[self._trials(sigma, part) for part in range(self._skills)] for sigma in grid]
        drawn = self._shared(runs) if self._skills > 1 else self._alone([each for (each,) in runs])
        return tuple(
            SkillsLevel(sigma=s, law=parts[0].law, engine=engine, seed=parts[0].seed, refined=refined, scores=scores)
            for s, parts, (engine, scores) in zip(grid, runs, drawn, strict=True)
        )

    def _trials(self, sigma: float, part: int) -> Trials:
        return Trials("skills", self._base.subject, self._base.weight_law(sigma), self._n, self._user_seed, part=part)

    def _alone(self, runs: Sequence[Trials]) -> list[tuple[EngineIdentity, tuple[ItemScores, ...]]]:
        tried = carry_out_trials(self._base, runs, self._engine, self._run) if runs else []
        return [(each.engine, (each.scores,)) for each in tried]

    def _shared(self, runs: Sequence[Sequence[Trials]]) -> list[tuple[EngineIdentity, tuple[ItemScores, ...]]]:
        """Score an item of every skill under each draw, which is written once for all of them."""
        return [(self._base.engine, self._under_one_law(parts)) for parts in runs]

    def _under_one_law(self, parts: Sequence[Trials]) -> tuple[ItemScores, ...]:
        base, k, first = self._base, len(parts), parts[0]
        asked = list(zip(*(trials.items or () for trials in parts), strict=True))
        graded = base.scorer.identity.graded
        assert first.law is not None
        with noised(base.model, first.law, first.seed) as engine:

            def score(batch: Sequence[int]) -> list[Entry]:
                draw = batch[0] // k
                found = checked(base.scorer.score(engine.at(draw), asked[draw]), k, graded)
                return [(each, float(each is None)) for each in found]

            identity = {**base.run_identity(first.seed), "design": "skills", "draws": self._n * k}
            batches = [range(k * draw, k * draw + k) for draw in range(self._n)]
            entries = self._run.carry_out_batches(batches, score, first.label, identity)
        return tuple(tuple(entries[k * draw + part][0] for draw in range(self._n)) for part in range(k))


def _each_skill(base: Base) -> list[Base]:
    """Return the base with each benchmark alone."""
    whole = base.benchmark
    benchmarks: Sequence[JsonlBenchmark] = whole.benchmarks if isinstance(whole, PooledBenchmark) else ()
    return [base.on(each) for each in benchmarks] or [base]


def _refuse_unlike(base: Base, requirement: Requirement) -> None:
    pool = base.scorer.identity.pool
    if pool is None:
        return
    if requirement.unit != "retention":
        raise InvalidPlan(f"several skills compare at the same retention, not at a {requirement.describe()}")
    if len({part.weight for part in pool}) > 1:
        raise InvalidPlan(f"{base.benchmark.name} weighs its benchmarks, and basins of several skills know no weights")


def _refuse_out_of_reach(
    scores: Sequence[ItemScores], base: Base, draws: int, refined: bool, requirement: Requirement, alpha: float
) -> None:
    """Refuse a skill that the base lacks, and so few draws that nothing could be certified if nothing were lost."""
    share = alpha / (2 * len(scores) * (1 + refined))
    parts: Sequence[Part | BenchmarkIdentity] = base.scorer.identity.pool or (base.scorer.identity,)
    for own, part in zip(scores, parts, strict=True):
        score = sum(kept(own)) / len(own)
        above = score - part.chance
        if requirement.unit == "retention" and above <= 0.0:
            raise InvalidPlan(f"{part.name}: the base scores {score:.3f}, chance {part.chance:g}: nothing to retain")
        allowed = (1.0 - requirement.limit) * above if requirement.unit == "retention" else requirement.limit
        least = math.ceil(math.log(share) / math.log1p(-allowed)) if 0.0 < allowed < 1.0 else 0
        if draws < least:
            raise InvalidPlan(
                f"{part.name}: {draws} draws at each sigma certify nothing whatever they show; of a base that scores "
                f"{score:.3f}, {requirement.describe()} takes {least} even if nothing is lost"
            )
