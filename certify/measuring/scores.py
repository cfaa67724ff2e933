"""Turn draws into scores. ``track`` wraps each loop, so that a caller can show progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from certify.errors import BenchmarkError
from certify.evidence.paired_items import ItemScores, kept
from certify.evidence.smoothed import DrawScores

if TYPE_CHECKING:
    from torch import nn

    from certify.benchmarks import Scorer
    from certify.noise import Engine

Track = Callable[[range, str], Iterable[int]]


def silent(indices: range, label: str) -> Iterable[int]:
    """Show nothing."""
    return indices


def item_scores(model: nn.Module, scorer: Scorer) -> ItemScores:
    """Return the score of every item at the model's present weights; None for an item without an answer."""
    return checked(scorer.score(model), scorer.identity.items, scorer.identity.graded)


def all_items(engine: Engine, scorer: Scorer, draws: range, track: Track, label: str) -> DrawScores:
    """Return the benchmark score (mean over all items) under each draw, in draw order (table design)."""
    m, graded = scorer.identity.items, scorer.identity.graded
    tables = [checked(scorer.score(engine.at(i)), m, graded) for i in track(draws, label)]
    failed = tuple(sum(s is None for s in table) / m for table in tables)
    return DrawScores(
        scores=tuple(math.fsum(kept(table)) / m for table in tables), failed=failed if any(failed) else ()
    )


def one_pass(engine: Engine, scorer: Scorer, track: Track, label: str) -> ItemScores:
    """Return the score of each item j under its own draw j (one-pass design)."""
    items, graded = range(scorer.identity.items), scorer.identity.graded
    return tuple(checked(scorer.score(engine.at(j), [j]), 1, graded)[0] for j in track(items, label))


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
