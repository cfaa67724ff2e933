"""Score items by likelihood: in batches that compute once what items share, deterministic.

Both kinds of items need one teacher-forced pass. Greedy decoding yields a fixed target exactly when every
target token is strictly the most likely one given the true tokens before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from certify.benchmarks.answerable import refuse_alike, refuse_outside, refuse_repeated, refuse_unknown
from certify.benchmarks.batches import TOKENS_PER_BATCH, Batch, Batching, Continuation, node_logits
from certify.benchmarks.encoding import Encoder
from certify.benchmarks.items import ExactMatchItem, Items, MultipleChoiceItem
from certify.benchmarks.memory import in_parts
from certify.benchmarks.protocol import NO_LIMITS, ModelLimits
from certify.checkpoints.served import Served
from certify.errors import BenchmarkError, InvalidInput
from certify.records import BenchmarkIdentity, Way, digest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


class LikelihoodScorer:
    """A JSONL benchmark encoded by one tokenizer. Scores depend on the weights alone.

    Guarantee: each way of batching gives the log-likelihoods of one row for each continuation, up to rounding. Which
    one a model allows is tried on the model (:meth:`batching`); none cheaper than ``limits.batching`` is. A model whose
    rows depend on their batch is scored one row at a time.

    ``continuations`` lists what is scored: prompt and ending of each item, for multiple choice of each of its options.
    ``halved`` has the numbers of rows of batches that did not fit into memory.
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
        self._limits = limits
        self._found: WeakKeyDictionary[nn.Module, Batching] = WeakKeyDictionary()
        self._whole: dict[Batching, list[Batch]] = {}
        self.halved: list[int] = []
        self.identity = BenchmarkIdentity(
            name=benchmark.name,
            items=len(benchmark.items),
            scoring=_scoring_name(benchmark),
            graded=benchmark.perplexity is not None,
            chance=benchmark.chance,
            digest=benchmark.digest,
            groups=benchmark.groups,
            tokens=digest([[c.item, c.start, list(c.ids)] for c in self.continuations]),
        )

    def batching(self, model: nn.Module) -> Batching:
        """Return how this model is scored: the cheapest way that gives it the logits of continuations on their own.

        Asked once for each model, of the longest rows that the way would make of these items; weights that noise moves
        later do not change the answer's architecture.
        """
        if model not in self._found:
            asked = list(enumerate(self.continuations))
            limits = self._limits
            self._found[model] = Batching.of(model, asked, self.device, limits.vocabulary, limits.batching)
        return self._found[model]

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        """Return the score of each item (or each of ``items``), in order; NaN where the model gave no answer.

        1.0 or 0.0 for right and wrong; from 0 to 1 where the benchmark grades by perplexity.

        Raises:
            InvalidInput: the model is in training mode, or autocast is on.
        """
        require_evaluation(model, self.device)
        wanted = range(len(self.benchmark.items)) if items is None else items
        if isinstance(model, Served):
            served = self._asked_of(model, wanted)
            return [self._right(item, served) for item in wanted]
        totals = torch.zeros(len(self.continuations), dtype=torch.float64)
        batching = self.batching(model)
        with torch.inference_mode():
            for batch in self._batches(batching, items):
                self._run_in_parts(model, batch, batching, totals)
        return [self._right(item, totals) for item in wanted]

    def _asked_of(self, model: Served, items: Sequence[int]) -> torch.Tensor:
        """Return each continuation's total as :meth:`_run` adds it up, by vLLM's log-probabilities of prompts."""
        totals = torch.zeros(len(self.continuations), dtype=torch.float64)
        own = [i for item in dict.fromkeys(items) for i in self._of_item[item]]
        rows = [(self.continuations[i].ids, self.continuations[i].start) for i in own]
        for i, found in zip(own, model.log_likelihoods(rows, rivals=not self._by_likelihood), strict=True):
            for value, rival in found:
                right = math.nan if math.isnan(value + rival) else float(value > rival)  # a tie is wrong
                totals[i] += value if self._by_likelihood else right
        return totals

    @property
    def _by_likelihood(self) -> bool:
        return isinstance(self.benchmark.items[0], MultipleChoiceItem) or self.benchmark.perplexity is not None

    def _batches(self, batching: Batching, items: Sequence[int] | None = None) -> list[Batch]:
        if items is not None:
            return self._planned(batching, [i for item in dict.fromkeys(items) for i in self._of_item[item]])
        if batching not in self._whole:
            self._whole[batching] = self._planned(batching, range(len(self.continuations)))
        return self._whole[batching]

    def _planned(self, batching: Batching, group: Sequence[int]) -> list[Batch]:
        return batching.batches([(i, self.continuations[i]) for i in group], self.device)

    def _run_in_parts(self, model: nn.Module, batch: Batch, batching: Batching, totals: torch.Tensor) -> None:
        whole = batch.continuations

        def run(group: Sequence[int]) -> None:
            for part in [batch] if len(group) == len(whole) else self._planned(batching, group):
                self._run(model, part, batching.way, totals)

        for _ in in_parts(run, whole, self.halved):
            pass

    def _run(self, model: nn.Module, batch: Batch, way: Way, totals: torch.Tensor) -> None:
        """Add up each continuation's log-likelihood (multiple choice, perplexity) or its greedily right tokens.

        One float64 sum per continuation, token by token in order, whatever the batch; NaN stays NaN.
        """
        logits = node_logits(model, batch, way).float()
        at, target = batch.at.to(logits.device), batch.target.to(logits.device)
        own = logits[at, target]
        if self._by_likelihood:
            value = (own - logits.logsumexp(1)[at]).double()
        else:
            others = logits[at].scatter(1, target[:, None], -torch.inf).amax(1)
            value = torch.where((own + others).isnan(), torch.nan, (own > others).double()).double()  # a tie is wrong
        totals.index_add_(0, batch.owner.cpu(), value.cpu())

    def _right(self, item: int, totals: torch.Tensor) -> float:
        entry, own = self.benchmark.items[item], self._of_item[item]
        values = [float(totals[i]) for i in own]
        if any(math.isnan(v) for v in values):
            return math.nan
        lengths = [len(self.continuations[i].ids) - self.continuations[i].start for i in own]
        if self.benchmark.perplexity is not None:
            return self.benchmark.perplexity.score(-values[0] / lengths[0])
        if not isinstance(entry, MultipleChoiceItem):
            return float(any(value == length for value, length in zip(values, lengths, strict=True)))
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


def _encode(
    benchmark: Items, tokenizer: PreTrainedTokenizerBase, limits: ModelLimits
) -> Iterator[Continuation]:
    """Yield what is scored, item by item; refuse what cannot be answered or told apart."""
    encoder, seen = Encoder(benchmark.name, tokenizer, [item.prompt for item in benchmark.items]), []
    for index, item in enumerate(benchmark.items):
        endings = item.choices if isinstance(item, MultipleChoiceItem) else item.targets
        where, made = encoder.where(index), dict[str, list[int]]()
        if benchmark.perplexity is not None and len(endings) > 1:
            raise BenchmarkError(f"{where}: has {len(endings)} targets; [perplexity] grades one text")
        prompt: list[int] = []
        for ending in endings:
            if benchmark.boundary == "lm-eval":
                prompt, ids = encoder.by_lm_eval(index, item.prompt, ending)
            else:
                prompt, ids = encoder.prompt(index, item.prompt), encoder.ending(index, item.prompt, ending)
            refuse_unknown(where, ending, ids, encoder.unknown)
            refuse_outside(where, [*prompt, *ids], 0, limits)
            made[ending] = ids
            yield Continuation(index, (*prompt, *ids), len(prompt), len(ending) - len(benchmark.delimiter))
        refuse_alike(where, made)
        seen.append((prompt, list(made.values())))
    refuse_repeated(benchmark.name, seen)


def _scoring_name(benchmark: Items) -> str:
    boundary = ", lm-eval boundary" if benchmark.boundary == "lm-eval" else ""
    if benchmark.perplexity is not None:
        return f"{benchmark.perplexity.words}{boundary}"
    if not isinstance(benchmark.items[0], MultipleChoiceItem):
        several = any(isinstance(item, ExactMatchItem) and len(item.targets) > 1 for item in benchmark.items)
        return f"exact match{', any of several targets' * several}, greedy, teacher-forced{boundary}"
    norm = ", per character" if benchmark.length_normalised else ""
    return f"multiple choice, log-likelihood{norm}{boundary}"
