"""Point evidence: the checkpoint as deployed, paired item by item with its base."""

from __future__ import annotations

from typing import ClassVar, Literal

from certify.evidence import crosschecks
from certify.evidence.judgement import (
    NO_INTERVAL,
    Deciding,
    Interval,
    Judgement,
    Requirement,
    Shown,
    Verdict,
    decide_or_vacuous,
    near_chance_note,
    nothing_claimed,
    percent,
    retention,
    vacuous_note,
)
from certify.evidence.paired_items import (
    DEPLOYMENT_LIMIT,
    Items,
    ItemScores,
    PairedScores,
    groups_words,
    items_premise,
    perfect_items,
    pool_premise,
    populations,
    sampled_words,
    share_missing,
    unlike_benchmark,
    unlike_groups,
    unlike_order,
    unlike_pool,
)
from certify.evidence.trials import RecordedRun, Subject
from certify.records import BenchmarkIdentity, Record


def above_chance_note(chance: float) -> str:
    """Say why retention was not judged."""
    return f"abstained: the base is not shown to score above chance {chance:g}, so retention has no meaning"


def own_settings_note(differences: tuple[str, ...]) -> tuple[str, ...]:
    """Say what beside the weights was the checkpoint's own."""
    return ("the checkpoint was scored with its own settings: " + "; ".join(differences),) if differences else ()


class PointEvidence(Record):
    """Paired item scores of base and checkpoint, and what the items stand for.

    ``differences`` names what differs beside the weights: it is part of what was scored, so it is allowed,
    and said.
    """

    counts: ClassVar[Literal["items", "draws"]] = "items"
    """What its n counts."""
    speaks_of: ClassVar[str] = "the checkpoint as deployed, paired with its base item by item"

    kind: Literal["point"] = "point"
    items: Items = "population"
    scores: PairedScores
    differences: tuple[str, ...] = ()

    @classmethod
    def best_outcome(
        cls, n: int, requirement: Requirement, alpha: float, chance: float, design: str
    ) -> Interval | None:
        """Return the interval when ``n`` items lose nothing: no outcome does better."""
        return perfect_items(n, requirement, alpha, chance)

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing."""
        return share_missing(self.scores.base, self.scores.checkpoint)

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Judge the checkpoint's own score against the base's.

        Guarantee: with probability at least 1 - alpha over the items, or their groups, a certified requirement holds
        in the population (and likewise a refuted one does not). With ``items="fixed"`` nothing is random. A requirement
        that a model at chance would meet is vacuous and certifies nothing.
        """
        s, (base, here) = self.scores, self.scores.means(self.items)
        interval = s.interval(requirement, alpha, benchmark.chance, self.items)
        notes: tuple[str, ...] = () if interval else (above_chance_note(benchmark.chance),)
        notes += own_settings_note(self.differences)
        interval = interval or NO_INTERVAL
        verdict, vacuous = decide_or_vacuous(requirement, interval, base, benchmark.chance)
        notes = (vacuous_note(benchmark.chance), *notes) if vacuous else notes
        return Judgement.of(
            requirement,
            interval,
            verdict,
            quantities={
                "lost": float(s.lost),
                "gained": float(s.gained),
                "base_score": base,
                "checkpoint_score": here,
                "retention": retention(base, here, benchmark.chance),
            },
            vacuous=vacuous,
            notes=notes,
            claim=self._claim(benchmark, requirement, alpha, interval, verdict, vacuous),
            limits=(items_premise(self.items, s.groups), *pool_premise(s.pool), DEPLOYMENT_LIMIT),
        )

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        interval: Interval,
        verdict: Verdict,
        vacuous: bool,
    ) -> str:
        s = self.scores
        counts = f"{s.lost} of {s.m} items lost, {s.gained} gained"
        if vacuous:
            return nothing_claimed(benchmark.name, requirement, benchmark.chance, counts)
        if self.items == "fixed":
            return f"On exactly these {s.m} items of {benchmark.spelled}: {counts} ({requirement.describe()} required)."
        counts += groups_words(s.groups)
        bound = Deciding.of(requirement, verdict, interval).side
        if verdict is Verdict.UNDECIDED:
            return (
                f"Undecided whether {requirement.describe()} holds for the checkpoint on {benchmark.spelled}: "
                f"{counts}, {requirement.quantity} {bound}."
            )
        return (
            f"With {percent(alpha)} confidence over the {sampled_words(s.groups, s.order)}, the checkpoint's "
            f"{requirement.quantity} on {populations(s.pool)} behind {benchmark.spelled} is {bound} "
            f"({counts}; {requirement.describe()} required)."
        )

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: Judgement
    ) -> Shown:
        """Return what a report says beside the judgement."""
        s, (base, here) = self.scores, self.scores.means(self.items)
        notes = judgement.notes
        if self.items == "population" and not judgement.vacuous:
            notes += near_chance_note(requirement, s.base_score(alpha), alpha, benchmark.chance)
        return Shown.judged(
            judgement,
            notes=notes,
            bound=Deciding.of(requirement, judgement.verdict, judgement.interval),
            facts=(
                f"{s.lost} items lost, {s.gained} gained; score {base:.3f} at the base, {here:.3f} here, "
                f"chance {benchmark.chance:.3g}"
            ),
            n=s.m,
            of="items",
            items=self.items,
            method=s.method(self.items),
            items_lost=tuple(i for i, loss in enumerate(s.losses, 1) if loss > 0),
            items_gained=tuple(i for i, loss in enumerate(s.losses, 1) if loss < 0),
        )

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores."""
        return self.scores.base

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the recorded draws: none."""
        return ()

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record; ``whole``: its version stores all that is compared."""
        lines = unlike_benchmark(subject.benchmark, [self.scores.m], self.scores.graded)
        lines += unlike_groups(subject.benchmark, "evidence.scores", self.scores.groups)
        lines += unlike_pool(subject.benchmark, "evidence.scores", self.scores.pool)
        if whole or self.scores.groups is not None:  # version 1 knew no groups
            lines += unlike_order(subject.benchmark, "evidence.scores", self.scores.order)
        if whole:
            lines += crosschecks.of_companions("evidence", self.differences, subject)
        return lines
