"""Turn draws into scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from certify.errors import BenchmarkError
from certify.evidence.paired_items import ItemScores, kept
from certify.evidence.smoothed import DrawScores
from certify.measuring.ledger import Entry
from certify.measuring.run import Run

if TYPE_CHECKING:
    from torch import nn

    from certify.benchmarks import Scorer
    from certify.noise import Engine


def item_scores(model: nn.Module, scorer: Scorer) -> ItemScores:
    """Return the score of every item at the model's present weights; None for an item without an answer."""
    return checked(scorer.score(model), scorer.identity.items, scorer.identity.graded)


def all_items(
    engine: Engine, scorer: Scorer, draws: Sequence[int], run: Run, label: str, identity: Mapping[str, Any]
) -> DrawScores:
    """Return the benchmark score (mean over all items) under each draw, in draw order (table design)."""
    m, graded = scorer.identity.items, scorer.identity.graded

    def score(draw: int) -> Entry:
        table = checked(scorer.score(engine.at(draw)), m, graded)
        return mean(table), sum(s is None for s in table) / m

    entries = run.carry_out(draws, score, label, {**identity, "design": "table", "draws": len(draws)})
    failed = tuple(f for _, f in entries)
    return DrawScores(scores=tuple(s or 0.0 for s, _ in entries), failed=failed if any(failed) else ())


def one_item_each(
    engine: Engine, scorer: Scorer, items: Sequence[int], run: Run, label: str, identity: Mapping[str, Any]
) -> ItemScores:
    """Return the score of item ``items[i]`` under draw i, in draw order."""

    def score(draw: int) -> Entry:
        return checked(scorer.score(engine.at(draw), [items[draw]]), 1, scorer.identity.graded)[0], 0.0

    return tuple(s for s, _ in run.carry_out(range(len(items)), score, label, {**identity, "draws": len(items)}))


def mean(scores: ItemScores) -> float:
    """Return the benchmark score: the mean over items, failures as 0."""
    return math.fsum(kept(scores)) / len(scores)


def checked(scores: Sequence[float], expected: int, graded: bool) -> ItemScores:
    """Return one score in [0, 1] (0 or 1 unless graded) for each item, and None for each NaN: no answer."""
    if len(scores) != expected:
        raise BenchmarkError(f"the benchmark returned {len(scores)} scores for {expected} items")
    outside = [s for s in scores if not (0.0 <= s <= 1.0 if graded else s in (0.0, 1.0)) and not math.isnan(s)]
    if outside:
        rule = "in [0, 1]" if graded else "0 or 1, since the benchmark is not graded"
        raise BenchmarkError(f"the benchmark returned the score {outside[0]}, which must be {rule}")
    return tuple(None if math.isnan(s) else float(s) for s in scores)
