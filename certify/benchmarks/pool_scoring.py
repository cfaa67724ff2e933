"""Score a pool of benchmarks: the scorer of each asks its own items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from certify.benchmarks.batches import Batching
from certify.benchmarks.jsonl import JsonlBenchmark
from certify.benchmarks.protocol import ModelLimits, Scorer
from certify.benchmarks.scoring import LikelihoodScorer
from certify.records import WAYS, BenchmarkIdentity, Way, digest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


class PoolScorer:
    """The scorers of a pool's benchmarks, one after the other; they batch rows in one way, which records name."""

    def __init__(
        self,
        asked: BenchmarkIdentity,
        benchmarks: Sequence[JsonlBenchmark],
        tokenizer: PreTrainedTokenizerBase,
        device: str,
        limits: ModelLimits,
    ) -> None:
        self._benchmarks, self._tokenizer, self._device, self._limits = benchmarks, tokenizer, device, limits
        self._by_way: dict[Way, list[Scorer]] = {}
        scorers = self._encoded(limits.batching)
        found = [each.identity for each in scorers]
        self.tokens_per_batch = min(each.tokens_per_batch for each in scorers)
        self.generates = any(getattr(each, "generates", True) for each in scorers)
        self.identity = asked.model_copy(
            update={
                "scoring": "; ".join(dict.fromkeys(each.scoring for each in found)),
                "graded": any(each.graded for each in found),
                "tokens": digest([each.tokens for each in found]),
            }
        )

    @property
    def halved(self) -> list[int]:
        """Numbers of rows of batches that did not fit into memory."""
        scorers = (each for some in self._by_way.values() for each in some)
        return [rows for each in scorers for rows in getattr(each, "halved", ())]

    def batching(self, model: nn.Module) -> Batching | None:
        """Return how a model is scored, the same way for all benchmarks; None where all answers are generated."""
        return next((each.batching(model) for each in _by_likelihood(self._scorers(model))), None)

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        """Return the score of each item (or each of ``items``), in order; NaN where the model gave no answer."""
        wanted = range(self.identity.items) if items is None else items
        found, start = dict[int, float](), 0
        for scorer in self._scorers(model):
            own = [i - start for i in dict.fromkeys(wanted) if start <= i < start + scorer.identity.items]
            found |= {start + i: s for i, s in zip(own, scorer.score(model, own) if own else [], strict=True)}
            start += scorer.identity.items
        return [found[i] for i in wanted]

    def _scorers(self, model: nn.Module) -> list[Scorer]:
        """Return the scorers in the cheapest way that the model allows for the items of every benchmark."""
        way = self._limits.batching
        while True:
            scorers = self._encoded(way)
            ways = {each.batching(model).way for each in _by_likelihood(scorers)}
            if len(ways) < 2:
                return scorers
            way = max(ways, key=WAYS.index)

    def _encoded(self, way: Way) -> list[Scorer]:
        if way not in self._by_way:
            limits = replace(self._limits, batching=way)
            self._by_way[way] = [each.encode(self._tokenizer, self._device, limits) for each in self._benchmarks]
        return self._by_way[way]


def _by_likelihood(scorers: Sequence[Scorer]) -> Iterator[LikelihoodScorer]:
    return (each for each in scorers if isinstance(each, LikelihoodScorer))
