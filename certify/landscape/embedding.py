"""The input embedding of a checkpoint, read from its file in blocks of rows, and what replacing tokens amounts to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from certify.checkpoints import Checkpoint, load_tokenizer, open_checkpoint
from certify.checkpoints.parameters import tied_names
from certify.errors import CheckpointError, InvalidInput
from certify.statistics.rounding import round_up

if TYPE_CHECKING:
    from certify.statistics.ranges import FloatArray


@dataclass(frozen=True)
class Embedding:
    """One tensor of a checkpoint, shape (rows, width): row i embeds token i. Opened, not read."""

    checkpoint: Checkpoint
    tensor: str
    rows: int
    width: int

    def block(self, start: int, stop: int) -> FloatArray:
        """Return rows ``start`` to ``stop`` in float64, shape (stop - start, width); reads those rows only.

        Raises:
            CheckpointError: a row holds NaN or Inf.
        """
        import torch
        from safetensors import safe_open

        part: torch.Tensor
        if self.checkpoint.held is not None:
            part = self.checkpoint.held[self.tensor][start:stop]
        else:
            with safe_open(self.checkpoint.tensors[self.tensor].file, framework="pt") as file:
                part = file.get_slice(self.tensor)[start:stop]
        wide: FloatArray = part.to(torch.float64).numpy()
        if not np.isfinite(wide).all():
            raise CheckpointError(f"{self.checkpoint.path}: tensor {self.tensor!r} holds NaN or Inf")
        return wide

    def distance(self, first: int, second: int) -> float:
        """Return ||W e_first - W e_second||, from the float64 sum of squared differences."""
        return math.sqrt(float(np.square(self.block(first, first + 1) - self.block(second, second + 1)).sum()))

    @cached_property
    def texts(self) -> dict[int, str]:
        """The tokenizer's own name of each token id; empty where the folder brings no tokenizer."""
        if not self.checkpoint.has_tokenizer:
            return {}
        return {i: text for text, i in load_tokenizer(self.checkpoint).get_vocab().items() if i < self.rows}

    def replacing(self, items: Iterable[Sequence[int]], replaced: Mapping[int, int]) -> float:
        """Return ||Delta theta|| of the fixed move of the weights that replacing tokens amounts to, rounded up.

        ``items`` are the token ids that the model reads, ``replaced`` maps a token id to the one that takes its place
        wherever it occurs. ``laws.strong_lower(p, norm / sigma)`` of :mod:`certify.statistics` then bounds the
        noise-averaged score of the changed items, p that of the items as they are.

        Guarantee: with noise of one sigma on every row, the score of the changed items at theta + noise has the law of
        the score of the items as they are at theta + Delta theta + noise, if no token of ``replaced`` is generated and
        fed back. Proof: both read each row under noise of its own, and these rows have the same law jointly.
        Source: theory §2.4, sound version (i) of Thm 4.5, which as stated in the paper is false.

        Raises:
            InvalidInput: where it is not so: the embedding is tied to the output, two tokens become one, or a new token
                already stands in an item and stays there.
        """
        if not self.checkpoint.written:
            raise InvalidInput(
                f"{self.checkpoint.path}: without config.json nobody knows whether the embedding is tied"
            )
        if any(self.tensor in pair for pair in tied_names(self.checkpoint.blueprint).items()):
            raise InvalidInput(
                f"{self.tensor!r} is tied to the output layer: replacing tokens is no move of the weights"
            )
        moved = {old: new for old, new in replaced.items() if old != new}
        self._check(moved, items)
        return round_up(math.hypot(*(self.distance(old, new) for old, new in moved.items())))

    def _check(self, moved: Mapping[int, int], items: Iterable[Sequence[int]]) -> None:
        outside = [i for i in (*moved, *moved.values()) if not 0 <= i < self.rows]
        if outside:
            raise InvalidInput(f"token {outside[0]} is not in the embedding of {self.rows} rows")
        if len(set(moved.values())) < len(moved):
            raise InvalidInput("two tokens are replaced by the same one: they would share one noisy row")
        stays = set(moved.values()) - set(moved)
        for place, item in enumerate(items):
            shared = stays.intersection(item)
            if shared:
                raise InvalidInput(
                    f"item {place} already holds token {min(shared)}, which is to replace another one: both would "
                    "share one noisy row"
                )


def open_embedding(source: str | Path | Checkpoint, tensor: str | None = None) -> Embedding:
    """Open the input embedding of a checkpoint; ``tensor`` names it where config.json cannot tell.

    Raises:
        CheckpointError: no such tensor in the files, or it is not a matrix of floating-point rows.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    name = tensor or _input_embedding(checkpoint)
    if name not in checkpoint.tensors:
        matrices = [n for n, info in checkpoint.tensors.items() if len(info.shape) == 2]
        raise CheckpointError(
            f"{checkpoint.path}: no tensor {name!r}; name the embedding, e.g. one of {', '.join(sorted(matrices)[:5])}"
        )
    info = checkpoint.tensors[name]
    if len(info.shape) != 2 or not info.dtype.startswith(("F", "BF")) or info.dtype.startswith("F8"):
        raise CheckpointError(
            f"{checkpoint.path}: tensor {name!r} is {info.dtype} of shape {list(info.shape)}; an embedding has a "
            "floating-point row for each token"
        )
    return Embedding(checkpoint, name, *info.shape)


def _input_embedding(checkpoint: Checkpoint) -> str:
    """Return the name that the config's own model gives its input embedding."""
    if not checkpoint.written:
        raise CheckpointError(f"{checkpoint.path}: no config.json to find the embedding by: name the tensor")
    model = checkpoint.blueprint
    weight = model.get_input_embeddings().weight
    return next(name for name, p in model.named_parameters() if p is weight)
