"""Score generated answers: greedy decoding in batches, then comparison with the target.

For answers that are not one fixed text (a derivation that ends in a number): the model writes, the answer is cut out
of what it wrote. Items of one draw are decoded together, so the noise is put in place once for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from certify.benchmarks.items import ExactMatchItem
from certify.benchmarks.scoring import require_evaluation
from certify.errors import BenchmarkError
from certify.records import BenchmarkIdentity, digest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from certify.benchmarks.jsonl import Generation, JsonlBenchmark

ROWS_PER_BATCH = 64


class GenerationScorer:
    """An exact-match benchmark whose answers are decoded greedily, token by token."""

    tokens_per_batch = ROWS_PER_BATCH * 1024

    def __init__(
        self, benchmark: JsonlBenchmark, generation: Generation, tokenizer: PreTrainedTokenizerBase, device: str
    ) -> None:
        self._benchmark, self._generation, self._tokenizer, self._device = benchmark, generation, tokenizer, device
        self._prompts: list[list[int]] = [tokenizer(item.prompt)["input_ids"] for item in benchmark.items]
        for index, ids in enumerate(self._prompts):
            if not ids:
                raise BenchmarkError(f"{benchmark.name}, item {index + 1}: the prompt encodes to no tokens")
        self.identity = BenchmarkIdentity(
            name=benchmark.name,
            items=len(benchmark.items),
            scoring=f"generated answer, greedy, at most {generation.max_new_tokens} tokens",
            chance=benchmark.chance,
            digest=benchmark.digest,
            tokens=digest(self._prompts),
        )

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        """Return 1.0 for each item whose generated answer is its target, else 0.0, in order.

        A model whose logits are NaN writes something all the same: it counts as wrong, never as no answer.

        Raises:
            InvalidInput: the model is in training mode, or autocast is on.
        """
        require_evaluation(model, self._device)
        wanted = list(range(len(self._prompts)) if items is None else items)
        by_length = sorted(wanted, key=lambda i: (len(self._prompts[i]), i))
        answers: dict[int, str] = {}
        for start in range(0, len(by_length), ROWS_PER_BATCH):
            group = by_length[start : start + ROWS_PER_BATCH]
            answers.update(zip(group, self._decode(model, group), strict=True))
        return [float(self.answer(answers[i]) == self._target(i)) for i in wanted]

    def answer(self, text: str) -> str | None:
        """Cut the answer out of generated text: up to the stop, then the last match of the pattern."""
        g = self._generation
        text = text.split(g.stop)[0] if g.stop else text
        if g.pattern is None:
            return text.strip()
        found = re.findall(g.pattern, text)
        if not found:
            return None
        last = found[-1]
        return (last if isinstance(last, str) else last[0]).strip()

    def _target(self, item: int) -> str:
        entry = self._benchmark.items[item]
        assert isinstance(entry, ExactMatchItem)  # open_benchmark admits no others
        return entry.target.strip()

    def _decode(self, model: Any, group: Sequence[int]) -> list[str]:
        """Return what the model writes after each prompt; left-padded, so that all rows go on at the same column."""
        width = max(len(self._prompts[i]) for i in group)
        filler = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else 0
        rows = [[filler] * (width - len(self._prompts[i])) + self._prompts[i] for i in group]
        mask = [[0] * (width - len(self._prompts[i])) + [1] * len(self._prompts[i]) for i in group]
        with torch.inference_mode():
            written = model.generate(
                input_ids=torch.tensor(rows, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                do_sample=False,
                num_beams=1,
                max_new_tokens=self._generation.max_new_tokens,
                pad_token_id=filler,
            )
        return [str(self._tokenizer.decode(row[width:], skip_special_tokens=True)) for row in written]
