"""Smoothed evidence: the noise-averaged score at the checkpoint against the base's, with the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from certify.evidence import crosschecks
from certify.evidence.engines import sampler_premise
from certify.evidence.judgement import (
    NO_INTERVAL,
    Deciding,
    Interval,
    Judgement,
    Requirement,
    Shown,
    Verdict,
    decide_or_vacuous,
    interval_in_unit,
    near_chance_note,
    nothing_claimed,
    percent,
    retention,
    vacuous_note,
)
from certify.evidence.paired_items import DEPLOYMENT_LIMIT
from certify.evidence.point import above_chance_note, own_settings_note
from certify.evidence.trials import RecordedRun, Subject
from certify.records import BenchmarkIdentity, NoiseLaw, Record, Seed, Unit, WrittenIdentity
from certify.statistics import betting_lower, betting_upper, clopper_pearson_interval, paired_difference_lower

SMOOTHED_LIMITS = (
    "It speaks of the noise-averaged model (or one freshly noised copy), not of the checkpoint served without noise.",
    "It speaks of exactly these benchmark items, not of the population behind them.",
)


class DrawScores(Record):
    """Benchmark scores under draws of noise, one for each draw, in draw order.

    ``scores`` counts items without an answer as 0; ``failed`` is their share in each draw, empty if there
    were none anywhere.
    """

    scores: Annotated[tuple[Unit, ...], Field(min_length=1)]
    failed: tuple[Unit, ...] = ()

    @model_validator(mode="after")
    def _one_share_for_each_draw(self) -> DrawScores:
        if self.failed and len(self.failed) != len(self.scores):
            raise ValueError(f"{len(self.failed)} shares of failed items for {len(self.scores)} draws")
        return self

    @property
    def n(self) -> int:
        """Number of draws."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """Mean score, failures as 0."""
        return sum(self.scores) / self.n

    @property
    def shares_failed(self) -> tuple[float, ...]:
        """The share of failed items in each draw."""
        return self.failed or (0.0,) * self.n

    @property
    def with_failures_as_1(self) -> list[float]:
        """Scores with failures as 1, for absence."""
        return [min(1.0, s + f) for s, f in zip(self.scores, self.shares_failed, strict=True)]

    def strict_share(self, unnoised: float, alpha: float, eta: float) -> tuple[float, float, float]:
        """Return the share of draws that lose nothing against ``unnoised``, and its two-sided bounds.

        Guarantee: with probability at least 1 - alpha over the draws, the share of random directions that
        keep the capability at this noise lies between the bounds.
        Source: theory, "Basins" (the strict-basin statistic; Clopper-Pearson over draws).
        """
        k = sum(s >= unnoised for s in self.scores)
        bounds = clopper_pearson_interval(k, self.n, alpha)
        return k / self.n, max(0.0, bounds.lower - eta), min(1.0, bounds.upper + eta)


class SmoothedEvidence(Record):
    """Benchmark scores of base and checkpoint under the same ``n`` draws of weight noise.

    ``differences`` names what differs beside the weights: it is part of what was scored, and said.
    ``base_unnoised`` and ``checkpoint_unnoised`` are the scores without noise, for Def. 4.1 and the share of
    directions that keep the capability.
    """

    counts: ClassVar[Literal["items", "draws"]] = "draws"
    """What its n counts."""
    speaks_of: ClassVar[str] = "the noise-averaged score of the checkpoint against the base's, under the same draws"

    kind: Literal["smoothed"] = "smoothed"
    law: NoiseLaw
    engine: WrittenIdentity  # paired draws: in activation space the same draw is another noise for each model
    seed: Seed
    base: DrawScores
    checkpoint: DrawScores
    base_unnoised: Unit
    checkpoint_unnoised: Unit
    differences: tuple[str, ...] = ()

    @classmethod
    def best_outcome(
        cls, n: int, requirement: Requirement, alpha: float, chance: float, design: str
    ) -> Interval | None:
        """Return the interval when ``n`` paired draws lose nothing: no outcome does better."""
        return interval_in_unit(requirement, _PerfectDraws(n, requirement.perfect_score), alpha, chance)

    @model_validator(mode="after")
    def _paired(self) -> SmoothedEvidence:
        if self.base.n != self.checkpoint.n:
            raise ValueError(f"paired draws must have equal number, got {self.base.n} and {self.checkpoint.n}")
        return self

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing, of both models."""
        return sum((*self.base.shares_failed, *self.checkpoint.shares_failed)) / (2 * self.n)

    @property
    def n(self) -> int:
        """Number of draws."""
        return self.base.n

    @property
    def eta(self) -> float:
        """Total variation between one implemented draw and the ideal Gaussian."""
        return self.engine.eta(self.law)

    def drop(self, alpha: float) -> Interval:
        """Return E J(base + noise) - E J(checkpoint + noise) with one-sided bounds, each at ``alpha``.

        Guarantee: each bound fails with probability at most ``alpha`` over the draws; finite precision is
        paid with 2 eta. An item without an answer on either side counts for the upper bound as lost, for the lower
        one as wrong at the base and right at the checkpoint.
        """
        failed = zip(self.base.shares_failed, self.checkpoint.shares_failed, strict=True)
        pairs = zip(self.base.scores, self.checkpoint.scores, failed, strict=True)
        most = [min(1.0, b - c + sum(f)) for b, c, f in pairs]
        least = [b - c for b, c in zip(self.base.scores, self.checkpoint.with_failures_as_1, strict=True)]
        found = paired_drop(most, alpha, self.eta)
        return found if least == most else found.model_copy(update={"lower": paired_drop(least, alpha, self.eta).lower})

    def base_score(self, alpha: float) -> Interval:
        """Return E J(base + noise) with one-sided bounds, each at ``alpha``, over the draws."""
        return mean_of_draws(self.base.scores, alpha, self.eta)

    def score(self, alpha: float) -> Interval:
        """Return E J(checkpoint + noise), failures as 1, with one-sided bounds, each at ``alpha``."""
        return mean_of_draws(self.checkpoint.with_failures_as_1, alpha, self.eta)

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Judge the noise-averaged checkpoint against the noise-averaged base.

        Guarantee: with probability at least 1 - alpha over the noise draws, a certified requirement holds
        (and likewise a refuted one does not), for the fixed benchmark. A requirement that a model at chance would meet,
        beside a base that the noise has brought near chance for one, is vacuous and certifies nothing.
        """
        interval = interval_in_unit(requirement, self, alpha, benchmark.chance)
        notes: tuple[str, ...] = () if interval else (above_chance_note(benchmark.chance),)
        notes += own_settings_note(self.differences)
        interval = interval or NO_INTERVAL
        verdict, vacuous = decide_or_vacuous(requirement, interval, self.base.mean, benchmark.chance)
        notes = (vacuous_note(benchmark.chance), *notes) if vacuous else notes
        share, share_lower, share_upper = self.checkpoint.strict_share(self.checkpoint_unnoised, alpha, self.eta)
        return Judgement.of(
            requirement,
            interval,
            verdict,
            quantities={
                "base_smoothed_score": self.base.mean,
                "checkpoint_smoothed_score": self.checkpoint.mean,
                "retention": retention(self.base.mean, self.checkpoint.mean, benchmark.chance),
                "checkpoint_basin_drop": self.checkpoint_unnoised - self.checkpoint.mean,
                "strict_directions": share,
                "strict_directions_lower": share_lower,
                "strict_directions_upper": share_upper,
                "eta": self.eta,
            },
            vacuous=vacuous,
            notes=notes,
            claim=self._claim(benchmark, requirement, alpha, interval, verdict, vacuous),
            limits=(*SMOOTHED_LIMITS, sampler_premise(self.eta), DEPLOYMENT_LIMIT),
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
        means = f"mean {self.base.mean:.3f} at the base, {self.checkpoint.mean:.3f} here"
        under = f"under {self.law.describe()} ({self.n} paired draws)"
        if vacuous:
            return nothing_claimed(benchmark.name, requirement, benchmark.chance, f"{means}, {under}")
        bound = Deciding.of(requirement, verdict, interval).side
        if verdict is Verdict.UNDECIDED:
            return (
                f"Undecided whether {requirement.describe()} holds for the noise-averaged checkpoint on "
                f"{benchmark.name} {under}: {means}, {requirement.quantity} {bound}."
            )
        return (
            f"With {percent(alpha)} confidence over the draws, the noise-averaged {requirement.quantity} on "
            f"{benchmark.name} {under} is {bound} ({means}; {requirement.describe()} required)."
        )

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: Judgement
    ) -> Shown:
        """Return what a report says beside the judgement."""
        notes = judgement.notes
        if not judgement.vacuous:
            notes += near_chance_note(requirement, self.base_score(alpha), alpha, benchmark.chance)
        return Shown.judged(
            judgement,
            notes=notes,
            bound=Deciding.of(requirement, judgement.verdict, judgement.interval),
            facts=f"noise-averaged score {self.base.mean:.3f} at the base, {self.checkpoint.mean:.3f} here",
            n=self.n,
            of="draws",
            items="fixed",
            method="draws paired by seed, betting bounds",
        )

    @property
    def unnoised(self) -> None:
        """The base's own item scores: not kept."""
        return

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the draws at the base; those at the checkpoint share their seed."""
        return (
            RecordedRun.of("evidence", "smoothed", subject, self.law, self.n, self.seed, self.engine, self.base.scores),
        )

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record; ``whole``: its version stores all that is compared."""
        items, graded = subject.benchmark.items, subject.benchmark.graded
        lines = crosschecks.of_law("evidence.law", self.law, subject)
        lines += crosschecks.of_mean("evidence.base_unnoised", self.base_unnoised, items, graded)
        lines += crosschecks.of_mean("evidence.checkpoint_unnoised", self.checkpoint_unnoised, items, graded)
        if whole:
            lines += crosschecks.of_companions("evidence", self.differences, subject)
        return lines


def mean_of_draws(scores: Sequence[float], alpha: float, eta: float = 0.0) -> Interval:
    """Return the mean of scores over draws, with one-sided betting bounds, each at ``alpha``."""
    return Interval(
        value=sum(scores) / len(scores),
        lower=max(0.0, betting_lower(scores, alpha) - eta),
        upper=min(1.0, betting_upper(scores, alpha) + eta),
    )


def paired_drop(drops: Sequence[float], alpha: float, eta: float = 0.0) -> Interval:
    """Return the mean of drops paired by draw, with one-sided betting bounds, each at ``alpha``.

    Source: theory, "Paired draws"; Waudby-Smith & Ramdas (2010.09686). Order is seed order.
    """
    lower = paired_difference_lower(drops, alpha) - 2 * eta
    upper = 2 * eta - paired_difference_lower([-d for d in drops], alpha)
    return Interval(value=sum(drops) / len(drops), lower=max(-1.0, lower), upper=min(1.0, upper))


@dataclass(frozen=True)
class _PerfectDraws:
    """n paired draws that all score the same at base and checkpoint."""

    n: int
    perfect: float

    def drop(self, alpha: float) -> Interval:
        return paired_drop([0.0] * self.n, alpha)

    def base_score(self, alpha: float) -> Interval:
        return mean_of_draws([self.perfect] * self.n, alpha)

    def score(self, alpha: float) -> Interval:
        return mean_of_draws([self.perfect] * self.n, alpha)
