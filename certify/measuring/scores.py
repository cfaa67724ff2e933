"""Turn draws into scores. ``track`` wraps each loop, so that a caller can show progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from certify.errors import BenchmarkError

if TYPE_CHECKING:
    from torch import nn

    from certify.benchmarks import Scorer
    from certify.noise import Engine

Track = Callable[[range, str], Iterable[int]]


def silent(indices: range, label: str) -> Iterable[int]:
    """Show nothing."""
    return indices


def item_scores(model: nn.Module, scorer: Scorer) -> tuple[float, ...]:
    """Return the score of every item at the model's present weights."""
    return checked(scorer.score(model), scorer.identity.items)


def all_items(engine: Engine, scorer: Scorer, draws: range, track: Track, label: str) -> tuple[float, ...]:
    """Return the benchmark score (mean over all items) under each draw, in draw order (table design)."""
    m = scorer.identity.items
    return tuple(math.fsum(checked(scorer.score(engine.at(i)), m)) / m for i in track(draws, label))


def one_pass(engine: Engine, scorer: Scorer, track: Track, label: str) -> tuple[float, ...]:
    """Return the score of each item j under its own draw j (one-pass design)."""
    items = range(scorer.identity.items)
    return tuple(checked(scorer.score(engine.at(j), [j]), 1)[0] for j in track(items, label))


def checked(scores: list[float], expected: int) -> tuple[float, ...]:
    """Return the scores if there is one for each item and each lies in [0, 1]; NaN, no answer, counts 0."""
    if len(scores) != expected:
        raise BenchmarkError(f"the benchmark returned {len(scores)} scores for {expected} items")
    kept = tuple(0.0 if math.isnan(s) else float(s) for s in scores)
    outside = [s for s in kept if not 0.0 <= s <= 1.0]
    if outside:
        raise BenchmarkError(f"the benchmark returned a score outside [0, 1]: {outside[0]}")
    return kept
