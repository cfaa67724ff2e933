"""What the rest of the library asks of a benchmark; bring your own by implementing these two protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from certify.records import WAYS, BenchmarkIdentity, Way

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModelLimits:
    """What a model can take: rows of its embedding and the longest sequence it has positions for; None: no limit.

    ``virtual_tokens`` of these positions are taken by what an adapter puts before every input.
    ``batching`` is the cheapest way of batching that a scorer may try: that of a record, where its draws are repeated.
    """

    positions: int | None = None
    vocabulary: int | None = None
    batching: Way = WAYS[0]
    virtual_tokens: int = 0


NO_LIMITS = ModelLimits()


@runtime_checkable
class Scorer(Protocol):
    """A benchmark whose items were encoded once, by the base's tokenizer; ready to score any weights.

    A scorer whose answers are generated may say so by ``generates = True``, one whose are not by ``generates = False``;
    of one that says nothing it is assumed, and settings of generation that differ count.
    """

    identity: BenchmarkIdentity
    tokens_per_batch: int

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        """Return one score in [0, 1] for each item (or each listed item), in item order.

        Deterministic: the same weights give the same scores. NaN stands for an item
        without an answer: it counts as 0 where something must be kept, as 1 where it must be absent.
        """
        ...


@runtime_checkable
class Benchmark(Protocol):
    """Frozen items."""

    @property
    def name(self) -> str:
        """What records and tables call it."""
        ...

    @property
    def chance(self) -> float:
        """Score without any knowledge."""
        ...

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over items and settings."""
        ...

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, device: str = "cpu", limits: ModelLimits = NO_LIMITS
    ) -> Scorer:
        """Encode every item once with ``tokenizer``, for a model with these ``limits``, and plan the batches.

        Raises:
            BenchmarkError: items that cannot be answered, or not be told apart.
        """
        ...
