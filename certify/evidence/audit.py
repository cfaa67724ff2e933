"""Audit evidence: items of one fixed benchmark, scored one by one in a random order until the requirement is decided.

The base's scores are known beforehand, so what is random is the order alone. Source: docs/theory.md, "Audits".
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import model_validator

from certify.evidence import crosschecks
from certify.evidence.judgement import (
    NO_INTERVAL,
    Deciding,
    Interval,
    Judgement,
    KnownScores,
    Requirement,
    Shown,
    Verdict,
    decide_or_vacuous,
    exactly,
    finite,
    interval_in_unit,
    nothing_claimed,
    percent,
    vacuous_note,
)
from certify.evidence.paired_items import (
    DEPLOYMENT_LIMIT,
    FIXED_PREMISE,
    Items,
    ItemScores,
    in_order,
    item_weights,
    kept,
    pool_premise,
    present,
    refuse_grades,
    refuse_unlike_pool,
    unlike_benchmark,
    unlike_pool,
)
from certify.evidence.point import own_settings_note
from certify.evidence.trials import RecordedRun, Subject, Trials
from certify.records import BenchmarkIdentity, Pool, Record, Seed, Unit, shares
from certify.statistics import round_up
from certify.statistics.audits import running_evidence

if TYPE_CHECKING:
    from certify.statistics.ranges import FloatArray

T = TypeVar("T")
LARGEST_BLOCK = 32  # items scored together at most; those after a refutation are wasted
POINTS = 200  # of the running evidence that a report shows
ORDER_PREMISE = "It speaks of exactly these items. What is random is the order in which they were scored."
GIVEN_SEED = (
    "The order follows from the checkpoint and a seed that was known: whoever computes it before choosing the "
    "checkpoint can choose one that passes. The seed random is drawn when the gate runs."
)
DRAWN_SEED = (
    "The record says that the seed of the order was drawn when the gate ran; whoever ran it is trusted that it was, "
    "and that this was the only time."
)


class AuditEvidence(Record):
    """Scores of a fixed benchmark's items in the order of an audit, as far as it went.

    ``base`` holds the score of every item, in the file's order. ``checkpoint`` holds those that were scored, in the
    order that ``seed`` draws, which ended where ``until`` was decided at the certificate's alpha. ``seed_drawn``: the
    user seed was drawn at random when the gate ran. ``differences`` names what differs beside the weights. ``pool``:
    the items are those of several benchmarks, one after the other, judged by the weighted mean; the order takes each
    of those left with a probability in proportion to its share of that.
    """

    counts: ClassVar[Literal["items", "draws"]] = "items"
    """What its n counts."""
    speaks_of: ClassVar[str] = "exactly these items, scored in a random order until it is decided"
    items: ClassVar[Items] = "fixed"

    kind: Literal["audit"] = "audit"
    graded: bool = False
    seed: Seed
    seed_drawn: bool = False
    until: Requirement
    base: ItemScores
    checkpoint: tuple[Unit | None, ...]
    differences: tuple[str, ...] = ()
    pool: Pool = None

    @model_validator(mode="after")
    def _fits(self) -> AuditEvidence:
        if len(self.checkpoint) > len(self.base):
            raise ValueError(f"{len(self.checkpoint)} items of the checkpoint were scored, the base has {self.m}")
        refuse_unlike_pool(self.pool, self.m)
        refuse_grades((*self.base, *self.checkpoint), self.graded)
        return self

    @classmethod
    def best_outcome(
        cls, n: int, requirement: Requirement, alpha: float, chance: float, design: str
    ) -> Interval | None:
        """Return the interval when all of ``n`` items lose nothing: what was read to the end is known."""
        known = KnownScores(exactly(0.0), requirement.perfect_score, exactly(requirement.perfect_score))
        return interval_in_unit(requirement, known, alpha, chance)

    @property
    def m(self) -> int:
        """Number of items of the benchmark."""
        return len(self.base)

    @property
    def n(self) -> int:
        """Number of items that were scored."""
        return len(self.checkpoint)

    @property
    def unanswered(self) -> float:
        """The share of answers that are missing, of both models."""
        return (self.base.count(None) + self.checkpoint.count(None)) / (self.m + self.n)

    @property
    def base_score(self) -> float:
        """The base's score, items without an answer as 0."""
        return float(self._mean(kept(self.base)))

    def evidence_against(self, requirement: Requirement, chance: float) -> tuple[FloatArray, FloatArray]:
        """Return ln E_1 .. ln E_n against "it is missed", whose limit certifies, and against "it is met"; inf: known.

        An item without an answer counts in the first as lost and in the second as gained, as far as it can be: a base
        that misses an item has none to lose.
        """
        tau = self._allowed(requirement, chance)
        if tau is None or not self.n:
            return np.empty(0), np.empty(0)
        most, least, ends, starts = self._losses(requirement)
        each = item_weights(self.pool)
        weights = None if each is None else self._in_order(each)
        missed = running_evidence(most, ends, float(tau), weights)
        return missed, running_evidence(-least, -starts, -float(tau), weights)

    def decided_after(self, requirement: Requirement, alpha: float, chance: float) -> int | None:
        """Return the number of items after which it is decided, None while it is not. 0: the base has none to keep."""
        if self._allowed(requirement, chance) is None:
            return 0
        reached = [_first(capital, alpha) for capital in self.evidence_against(requirement, chance)]
        found = [n for n in reached if n is not None]
        return min(found) if found else self.m if self.n == self.m else None

    def fewest_more(self, alpha: float, chance: float) -> int:
        """Return how many further items can decide at the earliest if they lose nothing; LARGEST_BLOCK at most."""
        more = min(LARGEST_BLOCK, self.m - self.n)
        ahead = self._in_order(present(self.base))[self.n : self.n + more]
        if self.until.unit == "absence":
            ahead = [0.0] * more
        best = self.model_copy(update={"checkpoint": (*self.checkpoint, *ahead)})
        return (best.decided_after(self.until, alpha, chance) or self.n + more) - self.n

    def _allowed(self, requirement: Requirement, chance: float) -> Fraction | None:
        """Return the drop (absence: the score) that is allowed, exactly; None: a retention of nothing."""
        limit = _exact(requirement.limit)
        if requirement.unit != "retention":
            return limit
        above = self._mean(kept(self.base)) - _exact(chance)
        return (1 - limit) * above if above > 0 else None

    def _losses(self, requirement: Requirement) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return what each scored item lost at most and at least, and the ends of what every item can lose, in order.

        For an absence, of which nothing is lost, the checkpoint's score instead.
        """
        high, low = (np.array(present(self.checkpoint)), np.array(kept(self.checkpoint)))
        if requirement.unit == "absence":
            return high, low, np.ones(self.m), np.zeros(self.m)
        ends = np.array(self._in_order(present(self.base)))
        starts = np.array(self._in_order(kept(self.base))) - 1.0
        return ends[: self.n] - low, starts[: self.n] + 1.0 - high, ends, starts

    def interval(self, requirement: Requirement, alpha: float, chance: float) -> Interval:
        """Return what is known in the requirement's unit: the limit on the side that was decided; all after all items.

        Guarantee: a limit on the wrong side has probability at most ``alpha`` over the order, for each side.
        """
        if self._allowed(requirement, chance) is None:
            return NO_INTERVAL
        if self.n == self.m:
            return self._known(requirement, chance)
        met, missed = (_first(capital, alpha) for capital in self.evidence_against(requirement, chance))
        if met is None and missed is None:
            return NO_INTERVAL
        certified = missed is None or (met is not None and met <= missed)
        if certified == requirement.at_most:
            return Interval(value=None, lower=None, upper=_at(requirement, certified))
        return Interval(value=None, lower=_at(requirement, certified), upper=None)

    def _known(self, requirement: Requirement, chance: float) -> Interval:
        """Return the quantity itself, computed in fractions of the recorded decimals and rounded to nearest once."""
        if requirement.unit == "absence":
            found = [self._mean(scores, read=True) for scores in (kept(self.checkpoint), present(self.checkpoint))]
        else:
            high, low = present(self.checkpoint), kept(self.checkpoint)
            found = [
                self._mean(kept(self.base)) - self._mean(high, read=True),
                self._mean(present(self.base)) - self._mean(low, read=True),
            ]
        value = found[0] if requirement.unit == "absence" else found[1]  # failures as in `PairedScores`
        if requirement.unit == "retention":
            above = self._mean(kept(self.base)) - _exact(chance)
            value, found = 1 - value / above, sorted(1 - drop / above for drop in found)
        return Interval(value=float(value), lower=float(found[0]), upper=float(found[1]))

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Judge the checkpoint's score on exactly these items.

        Guarantee: if the requirement does not hold on them, ``certified`` has probability at most alpha over the order
        of the items; if it holds, ``refuted`` likewise. After all items nothing is random. A requirement that a model
        at chance would meet is vacuous and certifies nothing.
        """
        chance = benchmark.chance
        interval = self.interval(requirement, alpha, chance)
        abstains = self._allowed(requirement, chance) is None
        notes: tuple[str, ...] = (_nothing_to_keep(self.base_score, chance),) if abstains else ()
        notes += own_settings_note(self.differences)
        verdict, vacuous = decide_or_vacuous(requirement, interval, self.base_score, chance)
        notes = (vacuous_note(chance), *notes) if vacuous else notes
        ends = [float(capital[-1]) if self.n and len(capital) else 0.0
                for capital in self.evidence_against(requirement, chance)]  # fmt: skip
        return Judgement.of(
            requirement,
            interval,
            verdict,
            quantities={
                "audited": float(self.n),
                "lost": float(self.lost),
                "gained": float(self.gained),
                "base_score": self.base_score,
                "log_evidence_met": finite(ends[0]),
                "log_evidence_missed": finite(ends[1]),
                "log_evidence_needed": goal(alpha),
            },
            vacuous=vacuous,
            notes=notes,
            claim=self._claim(benchmark, requirement, alpha, interval, verdict, vacuous),
            limits=(
                ORDER_PREMISE if self.n < self.m else FIXED_PREMISE,
                *([] if self.n == self.m else [DRAWN_SEED if self.seed_drawn else GIVEN_SEED]),
                *pool_premise(self.pool),
                DEPLOYMENT_LIMIT,
            ),
        )

    @property
    def order(self) -> list[int]:
        """The places of all items, in the order of the audit."""
        return self._in_order(list(range(self.m)))

    def _in_order(self, values: list[T]) -> list[T]:
        return in_order(values, self.seed, item_weights(self.pool))

    def _mean(self, scores: list[float], read: bool = False) -> Fraction:
        """Return the mean of a score for each item, as decimals say them: in the file's order, or as they were read."""
        if self.pool is None:
            return _total(scores) / self.m
        if read:
            scores = [score for _, score in sorted(zip(self.order, scores, strict=True))]
        ends = list(accumulate(part.items for part in self.pool))
        totals = [_total(scores[a:b]) / (b - a) for a, b in zip((0, *ends), ends, strict=False)]
        return sum((share * mean for share, mean in zip(shares(self.pool), totals, strict=True)), Fraction(0))

    @property
    def lost(self) -> int:
        """Items among those scored that scored lower than at the base, at most."""
        return int((self._losses(Requirement())[0] > 0).sum())

    @property
    def gained(self) -> int:
        """Items among those scored that scored higher than at the base, at least."""
        return int((self._losses(Requirement())[0] < 0).sum())

    @property
    def found(self) -> str:
        """What was counted, in words."""
        read = f"all {self.m} items" if self.n == self.m else f"{self.n} of {self.m} items"
        right = kept(self.checkpoint)  # those read are of all benchmarks by their weights
        mean = self._mean(right, read=True) if self.n == self.m else _total(right) / max(self.n, 1)
        score = f", score {float(mean):.3f}" if self.n else ""
        return f"{read} scored: {self.lost} lost, {self.gained} gained{score}"

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        interval: Interval,
        verdict: Verdict,
        vacuous: bool,
    ) -> str:
        what, asked = f"exactly these {self.m} items of {benchmark.spelled}", requirement.describe()
        if vacuous:
            return nothing_claimed(benchmark.name, requirement, benchmark.chance, self.found)
        if self.n == self.m:
            return f"On {what}: {self.found} ({asked} required)."
        seed = "drawn when the gate ran" if self.seed_drawn else "known beforehand"
        drawn = f"{self.found}, in the order of a seed {seed}"
        if verdict is Verdict.UNDECIDED:
            return f"Undecided whether {asked} holds for the checkpoint on {what}: {drawn}."
        bound = self._deciding(requirement, verdict, interval).side
        return (
            f"With {percent(alpha)} confidence over the order of the items, the checkpoint's {requirement.quantity} on "
            f"{what} is {bound} ({drawn}; {asked} required)."
        )

    def _deciding(self, requirement: Requirement, verdict: Verdict, interval: Interval) -> Deciding:
        found = Deciding.of(requirement, verdict, interval)
        return found.model_copy(update={"strict": self.n < self.m and verdict is not Verdict.UNDECIDED})

    def shown(
        self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float, judgement: Judgement
    ) -> Shown:
        """Return what a report says beside the judgement, the running evidence of both sides included."""
        capitals = self.evidence_against(requirement, benchmark.chance)
        losses, numbers = self._losses(Requirement())[0], [place + 1 for place in self.order]
        changes = sorted(zip(numbers[: self.n], losses.tolist(), strict=True))
        places = sorted({round(k * (self.n - 1) / (POINTS - 1)) for k in range(POINTS)}) if len(capitals[0]) else []
        return Shown.judged(
            judgement,
            bound=self._deciding(requirement, judgement.verdict, judgement.interval),
            facts=f"{self.found}; score {self.base_score:.3f} at the base, chance {benchmark.chance:.3g}",
            n=self.n,
            of="items",
            items="fixed",
            items_lost=tuple(i for i, loss in changes if loss > 0),
            items_gained=tuple(i for i, loss in changes if loss < 0),
            method=f"items in {'weighted ' * bool(self.pool)}random order without replacement, betting both ways",
            running=tuple((i + 1, *(_shown(float(capital[i])) for capital in capitals)) for i in places),
        )

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores."""
        return self.base

    def runs(self, subject: Subject) -> tuple[RecordedRun, ...]:
        """Return the order of the items as a run without noise, at the checkpoint."""
        trials = Trials("audit", subject, None, subject.benchmark.items, self.seed.user_seed, self.seed.attempt)
        return (RecordedRun("evidence", trials, self.seed, None, self.checkpoint),)

    def contradictions(self, subject: Subject, alpha: float, whole: bool) -> list[str]:
        """Return what disagrees with the rest of the record, an end that was not where it was decided above all."""
        lines = unlike_benchmark(subject.benchmark, [self.m], self.graded)
        lines += unlike_pool(subject.benchmark, "evidence", self.pool)
        lines += crosschecks.of_companions("evidence", self.differences, subject)
        end = self.decided_after(self.until, alpha, subject.benchmark.chance)
        if end != self.n:
            when = "is not decided yet" if end is None else f"was decided after {end}"
            lines.append(f"evidence.checkpoint: {self.n} items were scored, but {self.until.describe()} {when}")
        return lines


def goal(alpha: float) -> float:
    """Return ln(1/alpha), which the evidence must reach, rounded up."""
    return float(round_up(math.log(1.0 / alpha)))


def _nothing_to_keep(base_score: float, chance: float) -> str:
    """Say why retention was not judged."""
    return f"abstained: the base scores {base_score:.4g}, not above chance {chance:g}, so it has nothing to retain"


def _first(capital: FloatArray, alpha: float) -> int | None:
    """Return after how many items the evidence has reached 1/alpha."""
    reached = np.flatnonzero(capital >= goal(alpha))
    return int(reached[0]) + 1 if len(reached) else None


def _at(requirement: Requirement, certified: bool) -> float:
    """Return the next float beyond the limit, on the side where the quantity was shown to lie."""
    return math.nextafter(requirement.limit, -math.inf if certified == requirement.at_most else math.inf)


def _exact(x: float) -> Fraction:
    """Return the number that a record's decimals say."""
    return Fraction(repr(float(x)))


def _total(scores: list[float]) -> Fraction:
    """Return the sum of scores as the record's decimals say them."""
    return sum((_exact(score) * times for score, times in Counter(scores).items()), Fraction(0))


def _shown(capital: float) -> float | None:
    return round(capital, 4) if math.isfinite(capital) else None
