"""Scores of the same items at the base and at one other set of weights, and what they prove about either."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from certify.evidence.judgement import Interval, KnownScores, Requirement, interval_in_unit
from certify.records import BenchmarkIdentity, NonNegative, Record, Seed, Unit, order_of
from certify.statistics import (
    betting_lower,
    betting_upper,
    drop_bounds,
    one_pass_lower,
    one_pass_upper,
    paired_difference_lower,
    trinomial_drop_bounds,
)

T = TypeVar("T")
Items = Literal["population", "fixed"]
Rule = Literal["split", "trinomial"]
"""How the drop of 0/1 scores is bounded: lost and gained items apart, or their difference as one."""
# None is an item without an answer (crash, NaN): 0 where something must be kept, 1 where it must be absent.
ItemScores = Annotated[tuple[Unit | None, ...], Field(min_length=1)]

POPULATION_PREMISE = (
    "The items are taken to be an independent sample of the population of interest, and the checkpoint to "
    "have been made and chosen without them; gating again after feedback is another test."
)
FIXED_PREMISE = "It speaks of exactly these items; it has no confidence because nothing is random."
DEPLOYMENT_LIMIT = "It holds for this benchmark, scoring, tokenizer, dtype and these kernels."


def items_premise(items: Items) -> str:
    """Say what the items stand for."""
    return POPULATION_PREMISE if items == "population" else FIXED_PREMISE


def kept(scores: ItemScores) -> list[float]:
    """Return the scores with every failure as 0."""
    return [0.0 if s is None else s for s in scores]


def present(scores: ItemScores) -> list[float]:
    """Return the scores with every failure as 1."""
    return [1.0 if s is None else s for s in scores]


def in_order(scores: list[T], order: Seed | None) -> list[T]:
    """Return scores, or places, in the order that a seed draws, uniform over all orders; as they are without one."""
    if order is None:
        return scores
    places = np.random.Generator(np.random.PCG64(order.integer)).permutation(len(scores))
    return [scores[i] for i in places]


def order_words(graded: bool, order: Seed | None) -> str:
    """Say in a claim in which order graded items were taken; nothing for items that are right or wrong."""
    return ", taken in an order drawn from a seed" if graded and order is not None else ""


def rule_for(graded: bool) -> Rule:
    """Return the rule of new records; it is written into them, and those without one were split."""
    return "split" if graded else "trinomial"


def paired_method(graded: bool, rule: Rule) -> str:
    """Return how paired items are bounded, in words."""
    exact = {"split": "exact one-pass", "trinomial": "exact trinomial"}[rule]
    return f"items paired with the base, {'betting' if graded else exact} bounds"


def unlike_benchmark(benchmark: BenchmarkIdentity, counts: Iterable[int], graded: bool) -> list[str]:
    """Return what item scores of these numbers contradict of the benchmark they are said to be of."""
    lines = (
        [] if graded == benchmark.graded else [f"evidence: graded is {graded}, the benchmark's is {benchmark.graded}"]
    )
    wrong = [count for count in counts if count != benchmark.items]
    return lines + [f"evidence: {count} item scores, the benchmark has {benchmark.items} items" for count in wrong]


def unlike_order(benchmark: BenchmarkIdentity, where: str, order: Seed | None) -> list[str]:
    """Return whether graded items were taken in another order than the benchmark fixes."""
    expected = order_of(benchmark)
    if order == expected:
        return []
    return [f"{where}.order: recorded {_short(order)}, the benchmark gives {_short(expected)}"]


def _short(order: Seed | None) -> str:
    return "none" if order is None else f"{order.value[:16]}..."


def share_missing(*scores: ItemScores) -> float:
    """Return the share of scores without an answer: NaN, a crash, or left open by the activation engine."""
    return sum(each.count(None) for each in scores) / sum(map(len, scores))


def refuse_grades(scores: ItemScores, graded: bool) -> None:
    """Refuse a score between right and wrong on a benchmark that is not graded.

    Raises:
        ValueError: naming the first.
    """
    odd = [s for s in scores if s not in (0.0, 1.0, None)]
    if odd and not graded:
        raise ValueError(f"score {odd[0]} of a benchmark that is not graded: must be 0 or 1")


class PairedScores(Record):
    """Scores of the same items, in the same order, at the base and at one other set of weights.

    ``graded`` is a property of the benchmark, not of the scores that happened to come out: it decides the bound.
    ``order`` is the seed of the order in which graded items enter a betting bound (None: the file's own, as in version
    1 of the files). ``rule`` is how the drop of scores that are not graded is bounded, in files without it "split".
    ``eta`` is the total variation between the noise under which the other weights were scored and the
    ideal Gaussian (0 without noise); it widens what is said of them.
    """

    graded: bool = False
    order: Seed | None = None
    rule: Rule = "split"
    eta: NonNegative = 0.0
    base: ItemScores
    checkpoint: ItemScores

    @model_validator(mode="after")
    def _paired(self) -> PairedScores:
        if len(self.base) != len(self.checkpoint):
            raise ValueError(f"paired scores must have equal length, got {len(self.base)} and {len(self.checkpoint)}")
        refuse_grades((*self.base, *self.checkpoint), self.graded)
        return self

    @property
    def m(self) -> int:
        """Number of items."""
        return len(self.base)

    @property
    def method(self) -> str:
        """How the scores are bounded, in words."""
        return paired_method(self.graded, self.rule)

    @property
    def losses(self) -> list[float]:
        """Base score minus checkpoint score of each item, at most; a failure on either side counts as a full loss."""
        pairs = zip(self.base, self.checkpoint, strict=True)
        return [1.0 if b is None or c is None else b - c for b, c in pairs]

    @property
    def least_losses(self) -> list[float]:
        """The same at least: a failure counts as wrong at the base and as right at the checkpoint."""
        return [b - c for b, c in zip(kept(self.base), present(self.checkpoint), strict=True)]

    @property
    def lost(self) -> int:
        """Items that scored lower than at the base, failures included."""
        return _lost(self.losses)

    @property
    def gained(self) -> int:
        """Items that scored higher than at the base."""
        return _gained(self.losses)

    def drop(self, alpha: float) -> Interval:
        """Return the drop of the mean score with one-sided bounds, each at ``alpha``.

        An item without an answer counts for the upper bound as lost, for the lower one the other way: as wrong at the
        base and right at the checkpoint.

        Guarantee: each bound fails with probability at most ``alpha`` over an independent sample of items; where 0/1
        scores are split, also over a stratified one, and over draws on fixed items. Graded items are taken in
        ``order``, which knows nothing of their scores.
        Source: theory, "Paired items" (split: lost and gained at alpha/2 each by the one-pass rule; trinomial: their
        difference at alpha; betting for graded scores).
        """
        most, least = self.losses, self.least_losses
        if self.graded:
            lower = paired_difference_lower(in_order(least, self.order), alpha)
            upper = -paired_difference_lower(in_order([-loss for loss in most], self.order), alpha)
        else:
            bounds = drop_bounds if self.rule == "split" else trinomial_drop_bounds
            lower = bounds(_lost(least), _gained(least), self.m, alpha).lower
            upper = bounds(_lost(most), _gained(most), self.m, alpha).upper
        return Interval(value=sum(most) / self.m, lower=lower - self.eta, upper=upper + self.eta)

    def base_score(self, alpha: float) -> Interval:
        """Return the base's mean score, failures as 0, with one-sided bounds, each at ``alpha``."""
        return _mean(in_order(kept(self.base), self.order), alpha, self.graded)

    def score(self, alpha: float) -> Interval:
        """Return the checkpoint's mean score, failures as 1, with one-sided bounds, each at ``alpha``."""
        found = _mean(in_order(present(self.checkpoint), self.order), alpha, self.graded)
        assert found.lower is not None
        assert found.upper is not None
        return Interval(value=found.value, lower=found.lower - self.eta, upper=found.upper + self.eta)

    def interval(self, requirement: Requirement, alpha: float, chance: float, items: Items) -> Interval | None:
        """Return the bounds in the requirement's unit, or None where retention has no meaning.

        On a fixed benchmark with deterministic decoding everything is known exactly, but for items without an answer.
        """
        if items == "population":
            return interval_in_unit(requirement, self, alpha, chance)
        most = sum(self.losses) / self.m
        known = KnownScores(
            known_drop=Interval(value=most, lower=sum(self.least_losses) / self.m, upper=most),
            known_base=sum(kept(self.base)) / self.m,
            known_score=sum(present(self.checkpoint)) / self.m,
        )
        return interval_in_unit(requirement, known, alpha, chance)


def _lost(losses: list[float]) -> int:
    return sum(loss > 0 for loss in losses)


def _gained(losses: list[float]) -> int:
    return sum(loss < 0 for loss in losses)


def _mean(scores: list[float], alpha: float, graded: bool) -> Interval:
    """Return a mean over items with bounds: one-pass for 0/1 scores, betting for others."""
    m, value = len(scores), sum(scores) / len(scores)
    if graded:
        return Interval(value=value, lower=betting_lower(scores, alpha), upper=betting_upper(scores, alpha))
    k = round(sum(scores))
    return Interval(value=value, lower=one_pass_lower(k, m, alpha), upper=one_pass_upper(k, m, alpha))


def perfect_items(n: int, requirement: Requirement, alpha: float, chance: float) -> Interval | None:
    """Return the interval when each of ``n`` items shows what the requirement wants, at the base and the checkpoint."""
    return interval_in_unit(requirement, _PerfectItems(n, requirement.perfect_score), alpha, chance)


@dataclass(frozen=True)
class _PerfectItems:
    """n items that score the same at base and checkpoint, all of them ``perfect``."""

    n: int
    perfect: float

    def drop(self, alpha: float) -> Interval:
        lower, upper = trinomial_drop_bounds(0, 0, self.n, alpha)
        return Interval(value=0.0, lower=lower, upper=upper)

    def base_score(self, alpha: float) -> Interval:
        k = round(self.n * self.perfect)
        lower, upper = one_pass_lower(k, self.n, alpha), one_pass_upper(k, self.n, alpha)
        return Interval(value=self.perfect, lower=lower, upper=upper)

    def score(self, alpha: float) -> Interval:
        return self.base_score(alpha)
