"""What can be differentiated in place of a benchmark's 0/1 score: the likelihood of its right answers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.functional import cross_entropy

from certify.benchmarks import JsonlBenchmark, MultipleChoiceItem
from certify.benchmarks.batches import Continuation
from certify.benchmarks.scoring import LikelihoodScorer

if TYPE_CHECKING:
    from torch import nn

    from certify.benchmarks import Benchmark, Scorer

TOKENS_PER_BATCH = 8192
Gradient = dict[str, torch.Tensor]


class Surrogate(Protocol):
    """A loss that falls as the capability improves, and has a gradient."""

    name: str

    def parts(self, model: nn.Module) -> Iterator[torch.Tensor]:
        """Yield scalars, one for each batch, whose sum is the loss at the model's present weights."""
        ...


class _RightAnswers:
    """Negative log-likelihood of the right answers: nats for each answer, mean over items, teacher-forced."""

    name = "negative log-likelihood of the right answer, nats, mean over items"

    def __init__(self, answers: Sequence[Continuation], device: str) -> None:
        self._items = len(answers)
        self._batches = [_padded(group, device) for group in _groups(answers)]

    def parts(self, model: nn.Module) -> Iterator[torch.Tensor]:
        """Yield each batch's share of the mean."""
        keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        for ids, targets, first in self._batches:
            kept = {"logits_to_keep": ids.shape[1] - first} if keeps else {}
            logits = model(input_ids=ids, use_cache=False, **kept).logits
            scored = logits[:, logits.shape[1] - (ids.shape[1] - first) :].float()
            wanted = targets[:, first:].to(logits.device)
            yield cross_entropy(scored.flatten(0, 1), wanted.flatten(), reduction="sum") / self._items


def surrogate_of(benchmark: Benchmark, scorer: Scorer) -> Surrogate | None:
    """Return the likelihood of a benchmark's right answers; None where answers are not scored by likelihood."""
    if not (isinstance(benchmark, JsonlBenchmark) and isinstance(scorer, LikelihoodScorer)):
        return None
    right, seen = [], [0] * len(benchmark.items)
    for continuation in scorer.continuations:
        item = benchmark.items[continuation.item]
        if seen[continuation.item] == (item.answer if isinstance(item, MultipleChoiceItem) else 0):
            right.append(continuation)
        seen[continuation.item] += 1
    return _RightAnswers(right, scorer.device)


def loss_of(surrogate: Surrogate, model: nn.Module) -> float | None:
    """Return the loss at the model's present weights, or None where it is no finite number."""
    with torch.inference_mode():
        loss = math.fsum(float(part) for part in surrogate.parts(model))
    return loss if math.isfinite(loss) else None


def gradient_of(surrogate: Surrogate, model: nn.Module) -> tuple[float, Gradient]:
    """Return loss and gradient by tensor name; flags and gradients of the model stay as they were.

    Gradients are float32 (float64 for float64 weights), zero for weights that the loss does not use.
    """
    parameters = dict(model.named_parameters())
    flags = {name: p.requires_grad for name, p in parameters.items()}
    total: Gradient = {name: torch.zeros_like(p, dtype=_wide(p)) for name, p in parameters.items()}
    losses = []
    try:
        for p in parameters.values():
            p.requires_grad_(True)
        with torch.enable_grad():
            for part in surrogate.parts(model):
                losses.append(float(part.detach()))
                found = torch.autograd.grad(part, list(parameters.values()), allow_unused=True)
                for name, g in zip(parameters, found, strict=True):
                    if g is not None:
                        total[name] += g
    finally:
        for name, p in parameters.items():
            p.requires_grad_(flags[name])
    return math.fsum(losses), total


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _groups(answers: Sequence[Continuation]) -> Iterator[list[Continuation]]:
    """Continuations of similar length under a token budget."""
    group: list[Continuation] = []
    for answer in sorted(answers, key=lambda c: (len(c.ids), c.item)):
        if group and (len(group) + 1) * (len(answer.ids) - 1) > TOKENS_PER_BATCH:
            yield group
            group = []
        group.append(answer)
    if group:
        yield group


def _padded(group: Sequence[Continuation], device: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Right-padded inputs, next tokens (-100 where none is scored), and the first column that is scored."""
    width = max(len(c.ids) for c in group) - 1
    rows, targets = [], []
    for c in group:
        pad = width - len(c.ids) + 1
        rows.append([*c.ids[:-1], *[c.ids[-1]] * pad])  # causal models never look right, so any token may pad
        targets.append([-100] * (c.start - 1) + list(c.ids[c.start :]) + [-100] * pad)
    first = min(c.start for c in group) - 1
    return torch.tensor(rows, device=device), torch.tensor(targets, device=device), first
