"""Score items by likelihood: batched by length, right-padded, deterministic.

Both kinds of items need one teacher-forced pass. Greedy decoding yields a fixed target exactly when every
target token is strictly the most likely one given the true tokens before it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from certify.benchmarks.answerable import refuse_alike, refuse_outside, refuse_repeated, refuse_unknown
from certify.benchmarks.encoding import Encoder
from certify.benchmarks.items import ExactMatchItem, Items, MultipleChoiceItem
from certify.benchmarks.memory import in_parts
from certify.benchmarks.protocol import NO_LIMITS, ModelLimits
from certify.checkpoints.probes import rows_independent
from certify.errors import BenchmarkError, InvalidInput
from certify.records import BenchmarkIdentity, digest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


TOKENS_PER_BATCH = 8192


@dataclass(frozen=True)
class Continuation:
    """Token ids of one prompt followed by one continuation; ``start`` is the continuation's first token."""

    item: int
    ids: tuple[int, ...]
    start: int
    characters: int


@dataclass(frozen=True)
class _Batch:
    """Right-padded rows and the places whose next-token logits are scored.

    ``row``, ``column`` and ``target`` list the scored places; ``columns`` are the distinct columns among them and
    ``at`` each place's index therein; ``owner`` is each row's index among all continuations.
    """

    ids: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    columns: torch.Tensor
    at: torch.Tensor
    target: torch.Tensor
    owner: torch.Tensor


class LikelihoodScorer:
    """A JSONL benchmark encoded by one tokenizer. Scores depend on the weights alone.

    A model whose rows depend on their batch is scored one row at a time.

    ``continuations`` lists what is scored: prompt and ending of each item, for multiple choice of each of its options.
    """

    tokens_per_batch = TOKENS_PER_BATCH
    generates = False

    def __init__(
        self,
        benchmark: Items,
        tokenizer: PreTrainedTokenizerBase,
        device: str,
        limits: ModelLimits = NO_LIMITS,
    ) -> None:
        self.benchmark = benchmark
        self.device = device
        self.continuations = tuple(_encode(benchmark, tokenizer, limits))
        self._of_item: list[list[int]] = [[] for _ in benchmark.items]
        for index, continuation in enumerate(self.continuations):
            self._of_item[continuation.item].append(index)
        self._batches = self._plan(range(len(benchmark.items)), TOKENS_PER_BATCH)
        self.identity = BenchmarkIdentity(
            name=benchmark.name,
            items=len(benchmark.items),
            scoring=_scoring_name(benchmark),
            chance=benchmark.chance,
            digest=benchmark.digest,
            tokens=digest([[c.item, c.start, list(c.ids)] for c in self.continuations]),
        )

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        """Return 1.0 or 0.0 for each item (or each of ``items``), in order; NaN where the model gave no answer.

        Raises:
            InvalidInput: the model is in training mode, or autocast is on.
        """
        require_evaluation(model, self.device)
        together = rows_independent(model)
        whole = items is None and together
        batches = (
            self._batches
            if whole
            else self._plan(
                range(len(self.benchmark.items)) if items is None else items, TOKENS_PER_BATCH if together else 1
            )
        )
        wanted = range(len(self.benchmark.items)) if items is None else items
        totals = torch.zeros(len(self.continuations), dtype=torch.float64)
        with torch.inference_mode():
            for batch in batches:
                self._run_in_parts(model, batch, totals)
        return [self._right(item, totals) for item in wanted]

    def _plan(self, items: Sequence[int], budget: int) -> list[_Batch]:
        """Group continuations of similar length under a budget of tokens; the order is fixed by the items."""
        chosen = [i for item in items for i in self._of_item[item]]
        chosen.sort(key=lambda i: (len(self.continuations[i].ids), i))
        batches, group = [], list[int]()
        for i in chosen:
            width = len(self.continuations[i].ids) - 1
            if group and (len(group) + 1) * width > budget:
                batches.append(self._batch(group))
                group = []
            group.append(i)
        return [*batches, self._batch(group)] if group else batches

    def _batch(self, group: Sequence[int]) -> _Batch:
        width = max(len(self.continuations[i].ids) for i in group) - 1  # the last token is never an input
        rows, places = [], []
        for r, i in enumerate(group):
            c = self.continuations[i]
            # Causal models never look right, so any token may pad; repeating one needs no pad token.
            rows.append([*c.ids[:-1], *[c.ids[-1]] * (width - len(c.ids) + 1)])
            places += [(r, p - 1, c.ids[p]) for p in range(c.start, len(c.ids))]
        row, column, target = torch.tensor(places, device=self.device).unbind(1)
        columns, at = torch.unique(column, return_inverse=True)
        owner = torch.tensor(group, device=self.device)
        return _Batch(torch.tensor(rows, device=self.device), row, column, columns, at, target, owner)

    def _run_in_parts(self, model: nn.Module, batch: _Batch, totals: torch.Tensor) -> None:
        whole = batch.owner.tolist()

        def run(group: Sequence[int]) -> None:
            self._run(model, batch if len(group) == len(whole) else self._batch(group), totals)

        for _ in in_parts(run, whole):
            pass

    def _run(self, model: nn.Module, batch: _Batch, totals: torch.Tensor) -> None:
        """Add up each continuation's log-likelihood (multiple choice) or its greedily right tokens (exact match).

        One float64 sum per continuation, token by token in order, whatever the batch; NaN stays NaN.
        """
        logits = _scored_logits(model, batch).float()
        target = batch.target.to(logits.device)
        own = logits.gather(1, target[:, None]).squeeze(1)
        if isinstance(self.benchmark.items[0], MultipleChoiceItem):
            value = (own - logits.logsumexp(1)).double()
        else:
            others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
            value = torch.where((own + others).isnan(), torch.nan, (own > others).double()).double()  # a tie is wrong
        totals.index_add_(0, batch.owner[batch.row].cpu(), value.cpu())

    def _right(self, item: int, totals: torch.Tensor) -> float:
        entry, own = self.benchmark.items[item], self._of_item[item]
        values = [float(totals[i]) for i in own]
        if any(math.isnan(v) for v in values):
            return math.nan
        if not isinstance(entry, MultipleChoiceItem):
            only = self.continuations[own[0]]
            return float(values[0] == len(only.ids) - only.start)
        if self.benchmark.length_normalised:
            values = [v / self.continuations[i].characters for v, i in zip(values, own, strict=True)]
        best = values[entry.answer]
        return float(all(best > v for k, v in enumerate(values) if k != entry.answer))


def require_evaluation(model: nn.Module, device: str) -> None:
    """Refuse a model that would not compute the certified function: dropout, or layers in a dtype of their own.

    Raises:
        InvalidInput: naming the module, or the device's autocast.
    """
    training = next((name or type(module).__name__ for name, module in model.named_modules() if module.training), None)
    if training is not None:
        raise InvalidInput(f"{training} is in training mode, so scores would depend on dropout: call model.eval()")
    kind = torch.device(device).type
    if torch.is_autocast_enabled(kind):
        raise InvalidInput(f"autocast is on for {kind}, so layers would compute in a dtype of their own: leave it")


def _scored_logits(model: nn.Module, batch: _Batch) -> torch.Tensor:
    """Return next-token logits at the scored places only, shape (places, vocabulary)."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        logits = model(input_ids=batch.ids, logits_to_keep=batch.columns, use_cache=False).logits
        column = batch.at
    else:
        logits, column = model(input_ids=batch.ids, use_cache=False).logits, batch.column
    scored: torch.Tensor = logits[batch.row.to(logits.device), column.to(logits.device)]
    return scored


def _encode(
    benchmark: Items, tokenizer: PreTrainedTokenizerBase, limits: ModelLimits
) -> Iterator[Continuation]:
    """Yield what is scored, item by item; refuse what cannot be answered or told apart."""
    encoder, seen = Encoder(benchmark.name, tokenizer, [item.prompt for item in benchmark.items]), []
    for index, item in enumerate(benchmark.items):
        endings = item.choices if isinstance(item, MultipleChoiceItem) else item.targets
        where, made = encoder.where(index), dict[str, list[int]]()
        if isinstance(item, ExactMatchItem) and len(endings) > 1:
            raise BenchmarkError(
                f"{where}: accepts {len(endings)} targets, which answers that are generated are compared with: declare "
                "[generation] in the TOML file beside the items, or keep one target"
            )
        prompt: list[int] = []
        for ending in endings:
            if benchmark.boundary == "lm-eval":
                prompt, ids = encoder.by_lm_eval(index, item.prompt, ending)
            else:
                prompt, ids = encoder.prompt(index, item.prompt), encoder.ending(index, item.prompt, ending)
            refuse_unknown(where, ending, ids, encoder.unknown)
            refuse_outside(where, [*prompt, *ids], 0, limits)
            made[ending] = ids
            yield Continuation(index, (*prompt, *ids), len(prompt), len(ending))
        refuse_alike(where, made)
        seen.append((prompt, list(made.values())))
    refuse_repeated(benchmark.name, seen)


def _scoring_name(benchmark: Items) -> str:
    boundary = ", lm-eval boundary" if benchmark.boundary == "lm-eval" else ""
    if not isinstance(benchmark.items[0], MultipleChoiceItem):
        return f"exact match, greedy, teacher-forced{boundary}"
    norm = ", per character" if benchmark.length_normalised else ""
    return f"multiple choice, log-likelihood{norm}{boundary}"
