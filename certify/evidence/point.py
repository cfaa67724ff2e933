"""Point evidence: the checkpoint as deployed, paired item by item with its base."""

from __future__ import annotations

from typing import Literal

from certify.evidence.judgement import (
    NO_INTERVAL,
    Interval,
    Judgement,
    Requirement,
    Verdict,
    decide_or_vacuous,
    decisive,
    nothing_claimed,
    percent,
    retention,
    vacuous_note,
)
from certify.evidence.paired_items import (
    DEPLOYMENT_LIMIT,
    Items,
    PairedScores,
    items_premise,
    kept,
    order_words,
)
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

    kind: Literal["point"] = "point"
    items: Items = "population"
    scores: PairedScores
    differences: tuple[str, ...] = ()

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Judge the checkpoint's own score against the base's.

        Guarantee: with probability at least 1 - alpha over the items, a certified requirement holds in the
        population (and likewise a refuted one does not). With ``items="fixed"`` nothing is random. A requirement that a
        model at chance would meet is vacuous and certifies nothing.
        """
        s, base = self.scores, sum(kept(self.scores.base)) / self.scores.m
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
                "checkpoint_score": sum(kept(s.checkpoint)) / s.m,
                "retention": retention(base, sum(kept(s.checkpoint)) / s.m, benchmark.chance),
            },
            vacuous=vacuous,
            notes=notes,
            claim=self._claim(benchmark, requirement, alpha, interval, verdict, vacuous),
            limits=(items_premise(self.items), DEPLOYMENT_LIMIT),
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
            return f"On exactly these {s.m} items of {benchmark.name}: {counts} ({requirement.describe()} required)."
        bound = decisive(requirement, verdict, interval)
        if verdict is Verdict.UNDECIDED:
            return (
                f"Undecided whether {requirement.describe()} holds for the checkpoint on {benchmark.name}: {counts}, "
                f"{requirement.quantity} {bound}."
            )
        return (
            f"With {percent(alpha)} confidence over the items{order_words(s.graded, s.order)}, the checkpoint's "
            f"{requirement.quantity} on the population behind {benchmark.name} is {bound} "
            f"({counts}; {requirement.describe()} required)."
        )
