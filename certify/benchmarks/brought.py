"""Items that another tool asked: named in a record, and not to be asked here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from certify.benchmarks.protocol import NO_LIMITS, ModelLimits
from certify.checkpoints import Checkpoint, load_tokenizer
from certify.errors import InvalidPlan
from certify.records import BenchmarkIdentity, digest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


class BroughtItems:
    """The items of a record whose scores were brought, as a benchmark on which distance alone can be judged.

    A checkpoint whose tokenizer means anything else than the base's counts as asked other items.
    """

    def __init__(self, identity: BenchmarkIdentity, base: Checkpoint) -> None:
        self._identity = identity
        self._meaning = _meaning(load_tokenizer(base))
        self.name, self.chance, self.digest = identity.name, identity.chance, identity.digest

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, device: str = "cpu", limits: ModelLimits = NO_LIMITS
    ) -> _Unasked:
        """Return the recorded identity; with token ids of its own for another tokenizer than the base's."""
        found = _meaning(tokenizer)
        own = {} if found == self._meaning else {"tokens": digest(found)}
        return _Unasked(self._identity.model_copy(update=own))


class _Unasked:
    """A scorer that has none of the items."""

    tokens_per_batch = 1

    def __init__(self, identity: BenchmarkIdentity) -> None:
        self.identity = identity

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        raise InvalidPlan(f"the items of {self.identity.name} were asked by another tool: name them with --benchmark")


def _meaning(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return what decides the token ids of a text."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    value = json.loads(core.to_str()) if core is not None else {"vocabulary": tokenizer.get_vocab()}
    asked = {name: part for name, part in value.items() if name not in ("truncation", "padding")}  # set by each call
    return {"tokenizer": asked, "template": getattr(tokenizer, "chat_template", None)}
