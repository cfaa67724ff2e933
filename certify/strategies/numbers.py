"""Counts, probabilities and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from certify.evidence.paired_items import ItemScores, PairedScores
from certify.evidence.smoothed import DrawScores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def counts(*, min_n: int = 1, max_n: int = 1000) -> st.SearchStrategy[tuple[int, int]]:
    """Return (k, n): k successes of n trials, 0 <= k <= n, both ends included."""
    return st.integers(min_n, max_n).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def alphas(*, min_alpha: float = 1e-6, max_alpha: float = 0.25) -> st.SearchStrategy[float]:
    """Return failure probabilities. One-pass bounds hold up to 1/4."""
    return st.sampled_from(
        [a for a in (0.05, 0.01, 0.1, 0.001) if min_alpha <= a <= max_alpha] or [max_alpha]
    ) | st.floats(min_alpha, max_alpha)


def confidences(*, min_confidence: float = 0.75, max_confidence: float = 1 - 1e-6) -> st.SearchStrategy[float]:
    """Return confidences, strictly between 0 and 1."""
    usual = [c for c in (0.95, 0.99, 0.9, 0.999) if min_confidence <= c <= max_confidence] or [max_confidence]
    return st.sampled_from(usual) | st.floats(min_confidence, max_confidence)


def score_tables(
    *, max_draws: int = 20, max_items: int = 20, graded: bool = False
) -> st.SearchStrategy[NDArray[np.float64]]:
    """Return tables of scores, shape (n_draws, n_items): 0 or 1, or anything between when ``graded``."""
    from hypothesis.extra import numpy as npst

    elements = st.floats(0.0, 1.0) if graded else st.sampled_from((0.0, 1.0))
    shapes = st.tuples(st.integers(1, max_draws), st.integers(1, max_items))
    return npst.arrays("float64", shapes, elements=elements)


def item_scores(
    *, min_items: int = 1, max_items: int = 50, graded: bool = False, missing: bool = False
) -> st.SearchStrategy[ItemScores]:
    """Return one score for each item: 0 or 1, or between when ``graded``; None without an answer when ``missing``."""
    score: st.SearchStrategy[float | None] = st.floats(0.0, 1.0) if graded else st.sampled_from((1.0, 0.0))
    if missing:
        score = score | st.none()
    return st.lists(score, min_size=min_items, max_size=max_items).map(tuple)


def paired_scores(
    *, min_items: int = 1, max_items: int = 50, graded: bool | None = None, missing: bool = True
) -> st.SearchStrategy[PairedScores]:
    """Return scores of the same items at a base and at a checkpoint; ``graded`` either way unless given."""

    def of(kind: bool, m: int) -> st.SearchStrategy[PairedScores]:
        one = item_scores(min_items=m, max_items=m, graded=kind, missing=missing)
        return st.builds(PairedScores, graded=st.just(kind), eta=st.just(0.0), base=one, checkpoint=one)

    kinds = st.booleans() if graded is None else st.just(graded)
    return st.tuples(kinds, st.integers(min_items, max_items)).flatmap(lambda two: of(*two))


def draw_scores(*, min_draws: int = 1, max_draws: int = 50, items: int = 20) -> st.SearchStrategy[DrawScores]:
    """Return mean scores over ``items`` right or wrong answers, one for each draw, with shares of failed items."""

    def of(pairs: list[tuple[int, int]]) -> DrawScores:
        right = tuple(k / items for k, _ in pairs)
        failed = tuple(f / items for _, f in pairs)
        return DrawScores(scores=right, failed=failed if any(failed) else ())

    wrong_or_failed = st.integers(0, items).flatmap(
        lambda k: st.tuples(st.just(items - k), st.just(0) | st.integers(0, k))
    )
    return st.lists(wrong_or_failed, min_size=min_draws, max_size=max_draws).map(of)
