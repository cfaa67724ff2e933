"""Smoothed evidence: the noise-averaged score at the checkpoint against the base's, with the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

from certify.bounds import betting_lower, betting_upper, paired_difference_lower
from certify.evidence.judgement import (
    NO_INTERVAL,
    Interval,
    Judgement,
    Requirement,
    Verdict,
    down,
    interval_in_unit,
    percent,
    pieces,
    up,
)
from certify.evidence.point import DEPLOYMENT_LIMIT, Scores, above_chance_note
from certify.records import BenchmarkIdentity, EngineIdentity, NoiseLaw, Record, Seed

SMOOTHED_LIMITS = (
    "It speaks of the noise-averaged model (or one freshly noised copy), not of the checkpoint served without noise.",
    "It speaks of exactly these benchmark items, not of the population behind them.",
)


class SmoothedEvidence(Record):
    """Benchmark scores of base and checkpoint under the same ``n`` draws of weight noise.

    ``base_score`` and ``checkpoint_score`` are the scores without noise, for Def. 4.1 and the share of
    directions that keep the capability.
    """

    kind: Literal["smoothed"] = "smoothed"
    law: NoiseLaw
    engine: EngineIdentity
    seed: Seed
    base: Scores
    checkpoint: Scores
    base_score: float
    checkpoint_score: float

    @model_validator(mode="after")
    def _paired(self) -> SmoothedEvidence:
        if len(self.base) != len(self.checkpoint):
            raise ValueError(f"paired draws must have equal number, got {len(self.base)} and {len(self.checkpoint)}")
        return self

    @property
    def n(self) -> int:
        """Number of draws."""
        return len(self.base)

    def drop(self, alpha: float) -> Interval:
        """Return E J(base + noise) - E J(checkpoint + noise) with one-sided bounds, each at ``alpha``.

        Guarantee: each bound fails with probability at most ``alpha`` over the draws; finite precision is
        paid with 2 eta.
        """
        return paired_drop(self.base, self.checkpoint, alpha, self.engine.eta(self.law))

    def base_mean(self, alpha: float) -> Interval:
        """Return E J(base + noise) with one-sided bounds, each at ``alpha``, over the draws."""
        eta = self.engine.eta(self.law)
        return Interval(
            value=sum(self.base) / self.n,
            lower=max(0.0, betting_lower(self.base, alpha) - eta),
            upper=min(1.0, betting_upper(self.base, alpha) + eta),
        )

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Judge the noise-averaged checkpoint against the noise-averaged base.

        Guarantee: with probability at least 1 - alpha over the noise draws, a certified requirement holds
        (and likewise a refuted one does not), for the fixed benchmark.
        """
        share = alpha / pieces(requirement)
        interval = interval_in_unit(requirement, self.drop(share), self.base_mean(share), benchmark.chance)
        notes = () if interval else (above_chance_note(benchmark.chance),)
        interval = interval or NO_INTERVAL
        verdict = requirement.decide(interval.lower, interval.upper)
        kept = sum(s >= self.checkpoint_score for s in self.checkpoint)
        smoothed_base = sum(self.base) / self.n
        return Judgement(
            verdict=verdict,
            unit=requirement.unit,
            value=interval.value,
            lower=interval.lower,
            upper=interval.upper,
            need=requirement.limit,
            quantities={
                "base_smoothed_score": smoothed_base,
                "checkpoint_smoothed_score": sum(self.checkpoint) / self.n,
                "checkpoint_basin_drop": self.checkpoint_score - sum(self.checkpoint) / self.n,
                "strict_directions": kept / self.n,
                "eta": self.engine.eta(self.law),
            },
            notes=notes,
            claim=self._claim(benchmark, requirement, alpha, interval, verdict),
            limits=(*SMOOTHED_LIMITS, DEPLOYMENT_LIMIT),
        )

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        interval: Interval,
        verdict: Verdict,
    ) -> str:
        means = f"{sum(self.base) / self.n:.3f} at the base, {sum(self.checkpoint) / self.n:.3f} here"
        under = f"under {self.law.describe()} ({self.n} paired draws)"
        if verdict is Verdict.UNDECIDED:
            return (
                f"Undecided whether the noise-averaged checkpoint keeps {benchmark.name} with "
                f"{requirement.describe()} {under}: mean {means}, {requirement.unit} between "
                f"{down(interval.lower)} and {up(interval.upper)}."
            )
        bound = (
            f"at most {up(interval.upper)}"
            if (verdict is Verdict.CERTIFIED) == (requirement.unit == "drop")
            else f"at least {down(interval.lower)}"
        )
        return (
            f"With {percent(alpha)} confidence over the draws, the noise-averaged {requirement.unit} on "
            f"{benchmark.name} {under} is {bound} (mean {means}; {requirement.describe()} required)."
        )


def paired_drop(base: Sequence[float], checkpoint: Sequence[float], alpha: float, eta: float = 0.0) -> Interval:
    """Return the mean drop of scores paired by draw, with one-sided betting bounds, each at ``alpha``.

    Source: theory §4.9, paired draws; Waudby-Smith & Ramdas (2010.09686). Order is seed order.
    """
    gain = [c - b for b, c in zip(base, checkpoint, strict=True)]
    lower = paired_difference_lower([-g for g in gain], alpha) - 2 * eta
    upper = 2 * eta - paired_difference_lower(gain, alpha)
    return Interval(value=-sum(gain) / len(gain), lower=max(-1.0, lower), upper=min(1.0, upper))
