"""Watching what a scorer is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from certify.benchmarks.scoring import LikelihoodScorer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[int] | None]:
    """What every call of the scorer asks: its items, None for all."""
    calls: list[list[int] | None] = []
    score = LikelihoodScorer.score

    def counting(self: LikelihoodScorer, model: Any, items: Sequence[int] | None = None) -> list[float]:
        calls.append(None if items is None else list(items))
        return score(self, model, items)

    monkeypatch.setattr(LikelihoodScorer, "score", counting)
    return calls
