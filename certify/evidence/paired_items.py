"""Scores of the same items at the base and at one other set of weights, and what they prove about either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from certify.evidence.judgement import NO_INTERVAL, Interval, KnownScores, Requirement, interval_in_unit
from certify.records import (
    BenchmarkIdentity,
    Groups,
    NonNegative,
    Pool,
    Record,
    Seed,
    Unit,
    grouping,
    order_of,
    refuse_ungrouped,
    shares,
    units,
)
from certify.statistics import (
    betting_lower,
    betting_upper,
    drop_bounds,
    one_pass_lower,
    one_pass_upper,
    paired_difference_lower,
    round_down,
    round_up,
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
GROUPS_PREMISE = (
    "The groups are taken to be an independent sample of the population of groups, each with all its items and counted "
    "once whatever its size, and the checkpoint to have been made and chosen without them; gating again after feedback "
    "is another test."
)
POOL_PREMISE = (
    "What is bounded is the mean over the benchmarks by the weights that were declared: one of them may fall by more "
    "where others make up for it. Benchmarks and weights are taken to have been chosen before a look at their scores."
)
FIXED_PREMISE = "It speaks of exactly these items; it has no confidence because nothing is random."
DEPLOYMENT_LIMIT = "It holds for this benchmark, scoring, tokenizer, dtype and these kernels."


def items_premise(items: Items, groups: Groups, fixed: str = FIXED_PREMISE) -> str:
    """Say what the items stand for."""
    if items == "fixed":
        return fixed
    return POPULATION_PREMISE if groups is None else GROUPS_PREMISE


def kept(scores: ItemScores) -> list[float]:
    """Return the scores with every failure as 0."""
    return [0.0 if s is None else s for s in scores]


def present(scores: ItemScores) -> list[float]:
    """Return the scores with every failure as 1."""
    return [1.0 if s is None else s for s in scores]


def in_order(scores: list[T], order: Seed | None, weights: Sequence[float] | None = None) -> list[T]:
    """Return scores, or places, in the order that a seed draws, uniform over all orders; as they are without one.

    With ``weights`` each of those left comes next with a probability in proportion to its weight: in the order of
    independent exponential times with these rates.
    """
    if order is None:
        return scores
    source = np.random.Generator(np.random.PCG64(order.integer))
    if weights is None:
        return [scores[i] for i in source.permutation(len(scores))]
    times = source.standard_exponential(len(scores)) / np.asarray(weights)
    return [scores[i] for i in np.argsort(times, kind="stable")]


def sampled_words(groups: Groups, order: Seed | None) -> str:
    """Say in a claim what was sampled, and that a betting bound took it in an order of its own."""
    taken = "" if order is None else ", taken in an order drawn from a seed"
    return f"{'items' if groups is None else 'groups of items'}{taken}"


def populations(pool: Pool) -> str:
    """Say in a claim whose mean is bounded."""
    return "the population" if pool is None else "the populations"


def pool_premise(pool: Pool) -> tuple[str, ...]:
    """Say what the mean over several benchmarks leaves open."""
    return () if pool is None else (POOL_PREMISE,)


def item_weights(pool: Pool) -> list[float] | None:
    """Return the weight of each item of a pool in its mean, None without one."""
    if pool is None:
        return None
    each = ((float(share / part.items), part.items) for part, share in zip(pool, shares(pool), strict=True))
    return [weight for weight, items in each for _ in range(items)]


def refuse_unlike_pool(pool: Pool, items: int) -> None:
    """Refuse scores of another number of items than their pool has.

    Raises:
        ValueError: naming both numbers.
    """
    if pool is not None and (pooled := sum(part.items for part in pool)) != items:
        raise ValueError(f"{items} items, but the benchmarks of the pool have {pooled}")


def groups_words(groups: Groups) -> str:
    """Say in a claim what a mean is taken over, where that is not the items."""
    if groups is None:
        return ""
    return f"; each of {units(len(groups), groups)} groups counts once, by the mean of its items"


def rule_for(graded: bool) -> Rule:
    """Return the rule of new records; it is written into them, and those without one were split."""
    return "split" if graded else "trinomial"


def bounded_by(benchmark: BenchmarkIdentity) -> dict[str, Any]:
    """Return the fields of :class:`PairedScores` that new records of a benchmark have, whatever was scored."""
    graded, groups = benchmark.graded, benchmark.groups
    own = {"graded": graded, "order": order_of(benchmark), "rule": rule_for(graded), "groups": groups}
    return own if benchmark.pool is None else {**own, "pool": benchmark.pool}


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


def unlike_pool(benchmark: BenchmarkIdentity, where: str, pool: Pool) -> list[str]:
    """Return whether another mean was taken over benchmarks than the pool declares."""
    return [] if pool == benchmark.pool else [f"{where}.pool: is not the pool of the benchmark {benchmark.name}"]


def unlike_groups(benchmark: BenchmarkIdentity, where: str, groups: Groups) -> list[str]:
    """Return whether items were grouped otherwise than the benchmark says."""
    if groups == benchmark.groups:
        return []
    return [f"{where}.groups: recorded {grouping(groups)}, the benchmark has {grouping(benchmark.groups)}"]


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
    ``order`` is the seed of the order in which graded items, or groups, enter a betting bound (None: the file's own, as
    in version 1 of the files). ``rule`` is how the drop of scores that are not graded is bounded, in files without it
    "split". ``groups`` says which items come together: a population's mean is then one over groups, each of which
    counts once, by the mean of its items. ``pool``: the items are those of several benchmarks, one after the other, and
    every mean is the weighted mean of theirs.
    ``eta`` is the total variation between the noise under which the other weights were scored and the
    ideal Gaussian (0 without noise); it widens what is said of them.
    """

    graded: bool = False
    order: Seed | None = None
    rule: Rule = "split"
    eta: NonNegative = 0.0
    groups: Groups = None
    pool: Pool = None
    base: ItemScores
    checkpoint: ItemScores

    @model_validator(mode="after")
    def _paired(self) -> PairedScores:
        refuse_ungrouped(self.groups, len(self.base))
        refuse_unlike_pool(self.pool, len(self.base))
        if (groups := self.groups) is not None and any(groups[a] in groups[:a] for a in self._ends[:-1]):
            raise ValueError("groups: one has items of two benchmarks of the pool")
        if len(self.base) != len(self.checkpoint):
            raise ValueError(f"paired scores must have equal length, got {len(self.base)} and {len(self.checkpoint)}")
        refuse_grades((*self.base, *self.checkpoint), self.graded)
        return self

    @property
    def m(self) -> int:
        """Number of items."""
        return len(self.base)

    def method(self, items: Items) -> str:
        """Return how the scores are bounded, in words."""
        grouped = self.groups is not None and items == "population"
        over = f" over {units(self.m, self.groups)} groups" if grouped else ""
        if self.pool is not None:
            return f"items of {len(self.pool)} benchmarks paired with the base, betting bounds{over} in weighted rounds"
        if grouped:
            return f"items paired with the base, betting bounds{over}"
        exact = {"split": "exact one-pass", "trinomial": "exact trinomial"}[self.rule]
        return f"items paired with the base, {'betting' if self.graded else exact} bounds"

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

        Guarantee: each bound fails with probability at most ``alpha`` over an independent sample of items, or of
        groups; where 0/1 scores are split, also over a stratified one, and over draws on fixed items. Graded items and
        groups are taken in ``order``, which knows nothing of their scores.
        Source: theory, "Paired items" (split: lost and gained at alpha/2 each by the one-pass rule; trinomial: their
        difference at alpha; betting for graded scores) and "Items in groups".
        """
        most, least = self._by_unit(self.losses), self._by_unit(self.least_losses)
        if self._bet:
            lower = paired_difference_lower(self._shuffled(least), alpha, self._strata())
            upper = -paired_difference_lower(self._shuffled([-loss for loss in most]), alpha, self._strata())
        else:
            bounds = drop_bounds if self.rule == "split" else trinomial_drop_bounds
            lower = bounds(_lost(least), _gained(least), self.m, alpha).lower
            upper = bounds(_lost(most), _gained(most), self.m, alpha).upper
        return Interval(value=self.average(most), lower=lower - self.eta, upper=upper + self.eta)

    def means(self, items: Items) -> tuple[float, float]:
        """Return the mean scores of base and checkpoint, failures as 0: over groups where these are a population's."""
        plain = (kept(self.base), kept(self.checkpoint))
        of_base, of_checkpoint = plain if items == "fixed" else map(self._by_unit, plain)
        return self.average(of_base), self.average(of_checkpoint)

    def average(self, values: list[float]) -> float:
        """Return the mean of values of all items, or of all units; of a pool the weighted mean of its benchmarks'."""
        if self.pool is None:
            return sum(values) / len(values)
        ends = self._ends if len(values) == self.m else self._unit_ends
        means = [sum(values[a:b]) / (b - a) for a, b in zip((0, *ends), ends, strict=False)]
        return sum(float(share) * mean for share, mean in zip(shares(self.pool), means, strict=True))

    @property
    def _bet(self) -> bool:
        """Whether units have scores between right and wrong, or weights of their own, which counting does not bound."""
        return self.graded or self.groups is not None or self.pool is not None

    @property
    def _ends(self) -> list[int]:
        """Where the items of each benchmark end."""
        return list(accumulate(part.items for part in self.pool)) if self.pool else [self.m]

    @property
    def _unit_ends(self) -> list[int]:
        """Where the units of each benchmark end; groups are numbered as they come, so each has its own in a row."""
        return self._ends if self.groups is None else [max(self.groups[:end]) + 1 for end in self._ends]

    def _strata(self) -> list[tuple[int, float]]:
        """Return the number of units and the share of each benchmark of a pool."""
        if self.pool is None:
            return []
        ends = self._unit_ends
        sizes = [b - a for a, b in zip((0, *ends), ends, strict=False)]
        return [(size, float(share)) for size, share in zip(sizes, shares(self.pool), strict=True)]

    def _shuffled(self, values: list[float]) -> list[float]:
        """Return values of units in the order of the bets, those of each benchmark among themselves."""
        ends = self._unit_ends
        return [x for a, b in zip((0, *ends), ends, strict=False) for x in in_order(values[a:b], self.order)]

    def _by_unit(self, scores: list[float]) -> list[float]:
        """Return the mean of each group, in the order of their numbers; the scores themselves without groups."""
        if self.groups is None:
            return scores
        sizes = np.bincount(self.groups)
        means: list[float] = (np.bincount(self.groups, weights=scores) / sizes).tolist()
        return means

    def base_score(self, alpha: float) -> Interval:
        """Return the base's mean score, failures as 0, with one-sided bounds, each at ``alpha``."""
        return self._mean(self._by_unit(kept(self.base)), alpha)

    def score(self, alpha: float) -> Interval:
        """Return the checkpoint's mean score, failures as 1, with one-sided bounds, each at ``alpha``.

        A missing answer counts against either bound: as wrong in the lower one, as right in the upper one.
        """
        most, least = (self._mean(self._by_unit(known(self.checkpoint)), alpha) for known in (present, kept))
        assert least.lower is not None
        assert most.upper is not None
        return Interval(value=most.value, lower=least.lower - self.eta, upper=most.upper + self.eta)

    def _mean(self, scores: list[float], alpha: float) -> Interval:
        """Return a mean over units with bounds: one-pass for 0/1 scores, betting for others."""
        value = self.average(scores)
        if self._bet:
            bets = self._shuffled(scores), alpha, self._strata()
            return Interval(value=value, lower=betting_lower(*bets), upper=betting_upper(*bets))
        m, k = len(scores), round(sum(scores))
        return Interval(value=value, lower=one_pass_lower(k, m, alpha), upper=one_pass_upper(k, m, alpha))

    def interval(self, requirement: Requirement, alpha: float, chance: float, items: Items) -> Interval | None:
        """Return the bounds in the requirement's unit, or None where retention has no meaning.

        On a fixed benchmark with deterministic decoding everything is known exactly, but for items without an answer,
        and each item counts once, whatever its group.
        """
        if items == "population":
            return interval_in_unit(requirement, self, alpha, chance)
        most, right = self.average(self.losses), self.average(present(self.checkpoint))
        known = KnownScores(
            known_drop=Interval(value=most, lower=self.average(self.least_losses), upper=most),
            known_base=self.average(kept(self.base)),
            known_score=Interval(value=right, lower=self.average(kept(self.checkpoint)), upper=right),
        )
        return interval_in_unit(requirement, known, alpha, chance)

    def beside(self, base_score: float, requirement: Requirement, alpha: float, chance: float) -> Interval:
        """Return bounds in the requirement's unit where the base's score is known, and these are draws of its items.

        Each bound has the whole of ``alpha``. Without bounds where retention has no meaning.
        """
        if requirement.unit == "absence":
            return self.score(alpha)
        drop, above = self.drop(alpha), base_score - chance
        if requirement.unit == "drop":
            return drop
        if above <= 0 or drop.value is None or drop.lower is None or drop.upper is None:
            return NO_INTERVAL
        return Interval(
            value=1.0 - drop.value / above,
            lower=1.0 - round_up(drop.upper / above),
            upper=1.0 - round_down(drop.lower / above),
        )


def _lost(losses: list[float]) -> int:
    return sum(loss > 0 for loss in losses)


def _gained(losses: list[float]) -> int:
    return sum(loss < 0 for loss in losses)


def perfect_items(n: int, requirement: Requirement, alpha: float, chance: float) -> Interval | None:
    """Return the interval when each of ``n`` items shows what the requirement wants, at the base and the checkpoint."""
    return interval_in_unit(requirement, _PerfectItems(n, requirement.perfect_score), alpha, chance)


def perfect_pool(benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Interval | None:
    """Return the same of all items of a pool; no scores of theirs do better."""
    scores = (requirement.perfect_score,) * benchmark.items
    pairs = PairedScores(**bounded_by(benchmark), base=scores, checkpoint=scores)
    return interval_in_unit(requirement, pairs, alpha, benchmark.chance)


def perfect_groups(n: int, requirement: Requirement, alpha: float, chance: float) -> Interval | None:
    """Return the same of ``n`` groups, which are bounded by betting; no items in them do better."""
    scores = (requirement.perfect_score,) * n
    return interval_in_unit(requirement, PairedScores(graded=True, base=scores, checkpoint=scores), alpha, chance)


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
