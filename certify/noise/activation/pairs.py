"""Mean claims in activation space: 0/1 scores of (draw, item) pairs, many draws in one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from certify.errors import ActivationRefused, InvalidInput
from certify.evidence.engines import guard_premise
from certify.noise.activation.engine import ActivationEngine
from certify.noise.activation.oracle import Exactness, examine
from certify.noise.activation.questions import ONE_EACH, Question, Sheet, margins, rows_of, sheet
from certify.noise.activation.refusals import head_of
from certify.records import ActivationIdentity

if TYPE_CHECKING:
    from certify.benchmarks.batches import Batching
    from certify.records import Seed, WeightNoise

TOKENS_PER_BATCH = 8192
LOGITS_PER_BATCH = 1 << 26  # 256 MB in float32, and as much again for each of noise and normals
LOGITS_ON_A_PROCESSOR = 1 << 24  # where a larger batch is no faster
GUARD_FLOOR = 1e-4
GUARD_FACTOR = 100.0  # of the coupling error: the worst over two draws stands in for the worst over all
GUARDED_SHARE = 0.01

Table = Sequence[tuple[int, Sequence[int]]]


@dataclass(frozen=True)
class _PairScores:
    """Scores of pairs in the order of their table.

    ``scores``: 1.0, 0.0, or None where the model gave no answer or the margin was within the guard; None counts
    as a failure in lower bounds and as a success in upper ones. ``guard`` is the smallest margin that counts.
    """

    scores: tuple[float | None, ...]
    margins: tuple[float, ...]
    guard: float
    guarded: int
    exactness: Exactness

    @property
    def guarded_share(self) -> float:
        """Share of the pairs whose margin was within the guard."""
        return self.guarded / len(self.scores)

    def require_clear(self) -> None:
        """Refuse more than 1 % of decisions within the guard.

        To be asked of pilot draws. Asked of a claim's own draws, with other draws in their place after a refusal, it
        would make two attempts at one claim, which fail with up to twice its alpha. There, guarded decisions count
        against the claim, however many they are.

        Raises:
            ActivationRefused: naming the share and the guard.
        """
        if self.guarded_share > GUARDED_SHARE:
            raise ActivationRefused(
                f"{self.guarded} of {len(self.scores)} decisions ({self.guarded_share:.1%}, limit "
                f"{GUARDED_SHARE:.0%}) lie within the margin guard of {self.guard:.1e}"
            )

    def describe(self) -> str:
        """Say what was assumed about floating point, in the words of a certificate."""
        return guard_premise(self.guard, self.exactness.coupling, self.guarded, len(self.scores))


@dataclass(frozen=True)
class Audit:
    """The largest difference of a scored logit from the ordinary model's, and the largest that is rounding."""

    difference: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is rounding; NaN is not."""
        return self.difference <= self.limit


class ActivationPairs:
    """Scores pairs on one model, after proving the engine exact on it with two of its items.

    Guarantee: entry j of ``score([(i, [j]), ...])`` is the score of item j at base + sigma * eps_i with iid
    N(0, I) eps_i, except where the score is None; up to the stated float error. All items of one draw must be
    scored in one call: a draw is spent once. ``proven``: what an earlier proof of the same found, which is then not
    done again. ``batching``: how continuations of an item become rows; it decides which row of noise a token is shown,
    so two of them are other draws of one law.

    Raises:
        ActivationRefused: the model has a part that the engine cannot do, or the oracle found it inexact.
    """

    def __init__(
        self,
        model: nn.Module,
        law: WeightNoise,
        seed: Seed,
        items: Sequence[Question],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        pilot: bool = False,
        proven: Exactness | None = None,
        batching: Batching | None = None,
    ) -> None:
        self._engine = ActivationEngine(model, law, seed.integer, "pilot/" if pilot else "")
        self._trial = ActivationEngine(model, law, seed.integer, "pilot/oracle/")
        self.items, self._tokens_per_batch = tuple(items), tokens_per_batch
        self._batching = batching or ONE_EACH
        self._shapes: dict[tuple[int, ...], tuple[int, int, int]] = {}
        self._device = next(model.parameters()).device
        head = head_of(model)
        self._vocabulary = head.get_parameter("weight").shape[0] if head is not None else 1
        self.exactness = self._prove() if proven is None else proven
        self.guard = max(GUARD_FLOOR, GUARD_FACTOR * self.exactness.coupling)

    def one_pass(self) -> list[tuple[int, tuple[int]]]:
        """Return the table of the one-pass design: item j under draw j."""
        return [(j, (j,)) for j in range(len(self.items))]

    @property
    def identity(self) -> ActivationIdentity:
        """What a record says of this engine, before any decision."""
        return ActivationIdentity(
            device=str(self._device),
            tokens_per_batch=self._tokens_per_batch,
            guard=self.guard,
            coupling=self.exactness.coupling,
            batching=self._batching.way,
        )

    def score(self, table: Table) -> _PairScores:
        """Score every pair of ``table``, which lists each draw once, with its items.

        Raises:
            InvalidInput: a draw is listed twice, or without items.
        """
        _check(table, len(self.items))
        found: dict[int, list[float]] = {}
        for batch in self.plan(table):
            found.update(zip(batch, self.margins(table, batch), strict=True))
        return self.judged([(j, m) for e, (_, own) in enumerate(table) for j, m in zip(own, found[e], strict=True)])

    def judged(self, pairs: Sequence[tuple[int, float]]) -> _PairScores:
        """Turn items and their margins into scores."""
        asked = [(self.items[item], margin) for item, margin in pairs]
        scores = tuple(question.decide(margin, self.guard) for question, margin in asked)
        guarded = sum(question.is_guarded(margin, self.guard) for question, margin in asked)
        return _PairScores(scores, tuple(margin for _, margin in asked), self.guard, guarded, self.exactness)

    def margins(self, table: Table, entries: Sequence[int]) -> list[list[float]]:
        """Return the margins of every item of these entries of ``table``, scored in one batch."""
        return self._margins(self._engine, table, entries)

    def seconds_per_pair(self, count: int = 16) -> float:
        """Time one batch of so many pairs, their items spread evenly, on the oracle's stream: no claim's draws."""
        table = [(2 + i, (i * len(self.items) // count,)) for i in range(count)]
        start = time.perf_counter()
        self._margins(self._trial, table, range(count))
        return (time.perf_counter() - start) / count

    def _margins(self, engine: ActivationEngine, table: Table, entries: Sequence[int]) -> list[list[float]]:
        asked = self._sheet(table, entries)
        with engine:
            values = iter(margins(asked, engine.logits(asked.layout, **asked.inputs)))
        return [[next(values) for _ in table[entry][1]] for entry in entries]

    def plan(self, table: Table, tokens_per_batch: int | None = None) -> list[list[int]]:
        """Group the table's entries into batches, by length, under a budget of padded tokens and of logits.

        The order depends on lengths alone, so it is fixed before any draw.
        """
        budget = tokens_per_batch or self._tokens_per_batch
        limit = LOGITS_ON_A_PROCESSOR if self._device.type == "cpu" else LOGITS_PER_BATCH
        shape = [self._shape(own) for _, own in table]
        batches, group = list[list[int]](), list[int]()
        rows = places = 0
        for entry in sorted(range(len(table)), key=lambda e: (shape[e][1], e)):
            more, width, scored = shape[entry]
            tokens, logits = (rows + more) * width, (places + scored) * self._vocabulary
            if group and (tokens > budget or logits > limit):
                batches.append(group)
                group, rows, places = [], 0, 0
            group.append(entry)
            rows, places = rows + more, places + scored
        return [*batches, group] if group else batches

    def padded(self, table: Table, entries: Sequence[int]) -> int:
        """Return how many tokens these entries are in one batch, padding included."""
        shapes = [self._shape(table[entry][1]) for entry in entries]
        return sum(rows for rows, _, _ in shapes) * max(width for _, width, _ in shapes)

    def audit(self, table: Table, k: int) -> Audit:
        """Run k of the table's draws again as ordinary models with completed weights, one at a time.

        The limit is 1e-5, and for logits beyond 1 as much relative to the largest. Entries are spread evenly over the
        table.
        """
        _check(table, len(self.items))
        if not 0 < k <= len(table):
            raise InvalidInput(f"k must be in 1 to {len(table)}, the number of draws, got {k}")
        found = [self._examine(self._engine, table, [i * len(table) // k]) for i in range(k)]
        worst = max(found, key=lambda e: float("inf") if e.coupling != e.coupling else e.coupling / e.limit)
        return Audit(worst.coupling, worst.limit)

    def _shape(self, own: Sequence[int]) -> tuple[int, int, int]:
        """Rows, width and places of one draw's items that are scored."""
        if (key := tuple(own)) not in self._shapes:
            rows = rows_of([self.items[j] for j in own], self._batching)
            places = sum(len(row.asked) for row in rows)
            self._shapes[key] = len(rows), max(len(row.tokens) for row in rows), places
        return self._shapes[key]

    def _branches(self, item: int) -> bool:
        return any(row.branches for row in rows_of([self.items[item]], self._batching))

    def _sheet(self, table: Table, entries: Sequence[int]) -> Sheet:
        groups = [[self.items[j] for j in table[entry][1]] for entry in entries]
        draws = [table[entry][0] for entry in entries]
        return sheet(self._engine.model, draws, groups, self._device, self._batching)

    def _examine(self, engine: ActivationEngine, table: Table, entries: Sequence[int]) -> Exactness:
        asked = self._sheet(table, entries)
        return examine(engine, asked.layout, **asked.inputs)

    def _prove(self) -> Exactness:
        """Examine the shortest and the longest item in one batch: padding, and both kinds of factor if they occur.

        And the widest one whose rows branch, where there is one and neither of these is.
        """
        if not self.items:
            raise InvalidInput("there are no items to score")
        by_width = sorted(range(len(self.items)), key=lambda j: (self._shape((j,))[1], j))
        chosen = [by_width[0], by_width[-1]]
        if not any(map(self._branches, chosen)):
            chosen += [j for j in reversed(by_width) if self._branches(j)][:1]
        table = [(draw, (j,)) for draw, j in enumerate(chosen)]
        exactness = self._examine(self._trial, table, range(len(table)))
        if not exactness.exact:
            raise ActivationRefused(f"the oracle rejects this model: {exactness.describe()}")
        return exactness


def _check(table: Table, items: int) -> None:
    draws = [draw for draw, _ in table]
    if not table or len(set(draws)) != len(draws):
        raise InvalidInput("a table lists each draw once, with all of its items: a draw is spent at once")
    for draw, own in table:
        if not 0 <= draw < 1 << 32:
            raise InvalidInput(f"a draw must be in [0, 2^32), got {draw}")
        if not own or any(not 0 <= j < items for j in own):
            raise InvalidInput(f"draw {draw} needs items in 0 to {items - 1}, got {list(own)[:3]}")
