"""Sequential evidence: draws taken one after the other until a gate that was planned beforehand is decided.

One trial is one random item under one fresh draw of noise at the checkpoint (the pair design), so trials are
independent 0/1 values with mean E J(checkpoint + noise) on the fixed benchmark, which is what Wald's test needs.
Source: theory §4.1 (pair), §4.6 (gates).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from certify.errors import InvalidPlan
from certify.evidence import crosschecks
from certify.evidence.engines import engine_limits
from certify.evidence.judgement import Deciding, Interval, Shown, Verdict, no_less_than, no_more_than, percent
from certify.evidence.paired_items import DEPLOYMENT_LIMIT, ItemScores, kept
from certify.evidence.point import own_settings_note
from certify.evidence.smoothed import SMOOTHED_LIMITS
from certify.evidence.trials import RecordedRun, Subject
from certify.records import (
    ActivationIdentity,
    BenchmarkIdentity,
    EngineIdentity,
    NoiseLaw,
    Record,
    Seed,
    Unit,
)
from certify.statistics import Decision, GatePlan, draws_for_power

CAP = 1.5  # of the fixed size with the same power (theory, "Gates")
RIGHT, WRONG, UNCLEAR = "1", "0", "x"
SCORES = {RIGHT: 1.0, WRONG: 0.0, UNCLEAR: None}
VERDICTS = {Decision.PASSED: Verdict.CERTIFIED, Decision.REFUTED: Verdict.REFUTED}
ONE_GATE = (
    "The checkpoint must have been made and chosen without this gate's draws, and the plan fixed before them; another "
    "gate for the same checkpoint is another test and needs an alpha of its own."
)


class ScoreRequirement(Record):
    """What E J(checkpoint + noise) must exceed, known as one number before the first draw.

    ``score``: the number itself. ``retention``: c + limit (J(base) - c), c chance and J(base) the base's score
    without noise, which is known exactly on a fixed benchmark with deterministic decoding; ``base`` holds its item
    scores.
    """

    unit: Literal["score", "retention"]
    limit: Unit
    base: ItemScores | None = None

    @model_validator(mode="after")
    def _base_where_it_is_needed(self) -> ScoreRequirement:
        if (self.base is not None) != (self.unit == "retention"):
            raise ValueError(f"base: item scores of the base belong to a retention, not to a {self.unit}")
        return self

    @property
    def base_score(self) -> float | None:
        """J(base), items without an answer as 0, where the requirement refers to it."""
        return None if self.base is None else math.fsum(kept(self.base)) / len(self.base)

    def level(self, chance: float) -> float:
        """Return the required score p0.

        Raises:
            InvalidPlan: the base is not above chance, so there is nothing to retain; or p0 is at or below chance,
                so that a pass would say nothing.
        """
        level, base = self.limit, self.base_score
        if base is not None:
            if base <= chance:
                raise InvalidPlan(f"the base scores {base:.4g}, not above chance {chance:g}: it has nothing to retain")
            level = chance + self.limit * (base - chance)
        if level <= chance:
            raise InvalidPlan(f"a score above {level:.4g} says nothing: chance is {chance:g}")
        return level

    def describe(self, chance: float) -> str:
        """Return the requirement in words."""
        origin = self.origin(chance)
        return f"score above {self.level(chance):.6g}" + (f" ({origin})" if origin else "")

    def origin(self, chance: float) -> str:
        """Say where the required number comes from; empty where it was given as such."""
        if self.base_score is None:
            return ""
        above = f" above chance {chance:g}" if chance else ""
        return f"{self.limit:g} of the base's {self.base_score:.6g} without noise{above}"


def gate_plan(
    p0: float,
    p1: float,
    *,
    alpha: float,
    power: float = 0.9,
    cap: int | None = None,
    futility: bool = False,
    eta: float = 0.0,
) -> GatePlan:
    """Return the plan of a gate that passes with probability at most ``alpha`` at p0, about ``power`` at p1.

    ``cap`` is 1.5 times the size of a fixed test with that power unless given. With ``futility`` the gate gives up,
    undecided, once p1 looks unlikely (at 1 - power); without, it goes on until it refutes, at ``alpha`` as well.

    Raises:
        InvalidInput: not 0 < p0 + eta < p1 < 1, or a probability outside (0, 1).
        InvalidPlan: a cap with which the gate cannot pass even if every trial is right, or a fixed test of more than
            20,000 draws.
    """
    if cap is None:
        cap = math.ceil(CAP * draws_for_power(p0, p1, alpha, power).n_hold)
    plan = GatePlan(
        p0=p0, p1=p1, alpha=alpha, beta=round(1.0 - power, 12), cap=cap, alpha_refute=None if futility else alpha
    )
    least = least_to_pass(plan, eta, 0, 0)
    if least > cap:
        raise InvalidPlan(f"this gate cannot pass with {cap} draws: {least} are needed if all are right")
    return plan


def decide_at(plan: GatePlan, eta: float, n: int, right: int, unclear: int = 0) -> Decision:
    """Return the decision after n trials: a pass against p0 + eta, a refutation against p0 - eta.

    A trial that is unclear counts against either: as wrong for a pass, as right for a refutation.
    """
    if right + unclear <= replace(plan, p0=plan.p0 - eta).refuted_at_most(n):
        return Decision.REFUTED
    decision = replace(plan, p0=plan.p0 + eta).decide(n, right)
    if decision is Decision.REFUTED:  # against p0 + eta, or by counting what is unclear as wrong
        return Decision.CAPPED if n >= plan.cap else Decision.CONTINUE
    return decision


def decide(plan: GatePlan, eta: float, outcomes: str) -> Decision:
    """Return what the gate decides on these outcomes, trial by trial.

    Raises:
        InvalidPlan: it had decided before the last of them.
    """
    decision, right, unclear = Decision.CONTINUE, 0, 0
    for n, outcome in enumerate(outcomes, 1):
        if decision is not Decision.CONTINUE:
            raise InvalidPlan(f"the gate was decided ({decision.value}) after {n - 1} of {len(outcomes)} outcomes")
        right, unclear = right + (outcome == RIGHT), unclear + (outcome == UNCLEAR)
        decision = decide_at(plan, eta, n, right, unclear)
    return decision


def least_to_pass(plan: GatePlan, eta: float, n: int, right: int) -> int:
    """Return with how many further trials, all right, the gate passes."""
    strict, more = replace(plan, p0=plan.p0 + eta), 1
    while right + more < strict.pass_at_least(n + more):
        more += 1
    return more


class GateJudgement(Record):
    """What a gate decided, recomputed by ``certify verify``. FUTILE and CAPPED leave it undecided."""

    verdict: Verdict
    decision: Decision
    drawn: int
    right: int
    unclear: int
    notes: tuple[str, ...]
    claim: str
    limits: tuple[str, ...]


class SequentialEvidence(Record):
    """What a gate was planned to be and what it saw.

    ``plan.p0`` is the required score before finite precision. ``outcomes`` has a character for each trial, in draw
    order: 1 right, 0 wrong or without an answer, x unclear (the engine could not tell, see its identity).
    ``differences`` names what differs from the base beside the weights: it is part of what was scored. ``keyed_by``:
    what of the plan entered the seed; of files that do not say it, the cap alone.
    """

    kind: Literal["sequential"] = "sequential"
    law: NoiseLaw
    engine: EngineIdentity
    seed: Seed
    plan: GatePlan
    outcomes: Annotated[str, Field(pattern=r"^[01x]+$")]
    differences: tuple[str, ...] = ()
    keyed_by: Literal["cap", "plan"] = "cap"

    @model_validator(mode="after")
    def _unclear_by_its_engine(self) -> SequentialEvidence:
        guarded = self.engine.guarded if isinstance(self.engine, ActivationIdentity) else None
        unclear = self.outcomes.count(UNCLEAR)
        if unclear if guarded is None else guarded > unclear:
            raise ValueError(f"{unclear} unclear outcomes do not fit the {self.engine.name} engine")
        return self

    @property
    def eta(self) -> float:
        """Total variation between one implemented draw and the ideal Gaussian."""
        return self.engine.eta(self.law)

    @property
    def unanswered(self) -> float:
        """The share of trials that the engine left open; one without an answer was recorded as wrong."""
        return self.outcomes.count(UNCLEAR) / len(self.outcomes)

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The outcome of each trial, None where it is unclear."""
        return tuple(SCORES[outcome] for outcome in self.outcomes)

    @property
    def decision(self) -> Decision:
        """Where the outcomes leave the gate."""
        return decide(self.plan, self.eta, self.outcomes)

    def judge(self, benchmark: BenchmarkIdentity, requirement: ScoreRequirement) -> GateJudgement:
        """Judge the outcomes by the plan.

        Guarantee: if E J(checkpoint + noise) on these items is at most the required score, the verdict is
        ``certified`` with probability at most plan.alpha over the draws and the choice of items; if it is at least
        that, ``refuted`` with probability at most plan.alpha_refute. ``undecided`` carries no guarantee.

        Raises:
            InvalidPlan: the gate had decided before its last outcome, or has not decided yet.
        """
        decision = self.decision
        if decision is Decision.CONTINUE:
            raise InvalidPlan(f"the gate is not decided after {len(self.outcomes)} outcomes")
        right, unclear = self.outcomes.count(RIGHT), self.outcomes.count(UNCLEAR)
        return GateJudgement(
            verdict=VERDICTS.get(decision, Verdict.UNDECIDED),
            decision=decision,
            drawn=len(self.outcomes),
            right=right,
            unclear=unclear,
            notes=(*own_settings_note(self.differences), *self._notes(decision, right, unclear)),
            claim=self._claim(benchmark, requirement, decision, right, unclear),
            limits=(
                *SMOOTHED_LIMITS,
                ONE_GATE,
                DEPLOYMENT_LIMIT,
                *engine_limits([self.engine], len(self.outcomes), self.eta),
            ),
        )

    def _claim(
        self, benchmark: BenchmarkIdentity, requirement: ScoreRequirement, decision: Decision, right: int, unclear: int
    ) -> str:
        p0, origin = self.plan.p0, requirement.origin(benchmark.chance)
        found = f"{right} of {len(self.outcomes)} trials right" + (f", {unclear} unclear" if unclear else "")
        found += f"; required: {origin}" if origin else ""
        what = (
            f"the noise-averaged score E J(checkpoint + noise) on exactly these {benchmark.items} items of "
            f"{benchmark.name} under {self.law.describe()}"
        )
        if decision is Decision.PASSED:
            sure = percent(self.plan.alpha)
            return f"With {sure} confidence over the draws, {what} is above {no_more_than(p0)} ({found})."
        if decision is Decision.REFUTED:
            assert self.plan.alpha_refute is not None  # or it could not refute
            sure = percent(self.plan.alpha_refute)
            return f"With {sure} confidence over the draws, {what} is below {no_less_than(p0)} ({found})."
        why = (
            f"a score of {self.plan.p1:g} looked unlikely, which proves nothing"
            if decision is Decision.FUTILE
            else f"the cap of {self.plan.cap} draws came first"
        )
        return f"Undecided whether {what} is above {p0:.6g} ({found}): {why}."

    def _notes(self, decision: Decision, right: int, unclear: int) -> tuple[str, ...]:
        notes: tuple[str, ...] = ()
        if unclear:
            notes += (f"{unclear} unclear trials were counted as wrong for a pass and as right for a refutation",)
        if decision is Decision.CAPPED:
            more = least_to_pass(self.plan, self.eta, len(self.outcomes), right)
            notes += (f"{more} more right answers in a row would have passed",)
        return notes

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: ScoreRequirement, alpha: float, judgement: GateJudgement
    ) -> Shown:
        """Return what a report says: the bound is the required score, and a stopped mean is no estimate."""
        p0 = self.plan.p0
        lower, upper = (p0 if judgement.verdict is v else None for v in (Verdict.CERTIFIED, Verdict.REFUTED))
        unclear = f", {judgement.unclear} unclear" if judgement.unclear else ""
        return Shown(
            unit="score",
            need=p0,
            interval=Interval(value=None, lower=lower, upper=upper),
            bound=Deciding(quantity="score", lower=lower, upper=upper),
            facts=f"{judgement.right} of {judgement.drawn} trials right{unclear}",
            n=judgement.drawn,
            of="draws",
            items="fixed",
            method=f"one random item under each draw, sequential test ({judgement.decision.value})",
            quantities={
                "right": float(judgement.right),
                "unclear": float(judgement.unclear),
                "p1": self.plan.p1,
                "cap": float(self.plan.cap),
            },
            notes=judgement.notes,
        )

    @property
    def unnoised(self) -> None:
        """The base's own item scores: its draws lie at the checkpoint."""
        return

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the recorded draws, at the checkpoint; an item without an answer was recorded as wrong."""
        return (
            RecordedRun.of(
                "evidence",
                "sequential",
                subject,
                self.law,
                self.plan.cap,
                self.seed,
                self.engine,
                self.scores,
                unanswered=0.0,
                plan=self.plan if self.keyed_by == "plan" else None,
            ),
        )

    def contradictions(self, subject: Subject, requirement: ScoreRequirement, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record; ``whole``: its version stores all that is compared."""
        benchmark, base, p0 = subject.benchmark, requirement.base, self.plan.p0
        lines = crosschecks.of_law("evidence.law", self.law, subject)
        if whole:
            lines += crosschecks.of_companions("evidence", self.differences, subject)
        if len(self.outcomes) > self.plan.cap:
            lines.append(f"evidence: {len(self.outcomes)} trials, the plan's cap is {self.plan.cap}")
        if base is not None and len(base) != benchmark.items:
            lines.append(f"requirement.base: {len(base)} scores, the benchmark has {benchmark.items} items")
        if benchmark.graded:
            lines.append("benchmark: is graded, so a gate on single items has no valid test")
        try:
            level = requirement.level(benchmark.chance)
        except InvalidPlan as problem:
            return [*lines, f"evidence: {problem}"]
        if not math.isclose(p0, level, rel_tol=1e-9):
            lines.append(f"evidence.plan.p0: recorded {p0!r}, recomputed {level!r}")
        return lines
