"""Score generated answers: greedy decoding in batches, then comparison with the target.

For answers that are not one fixed text (a derivation that ends in a number): the model writes, the answer is cut out
of what it wrote. Items of one draw are decoded together, so the noise is put in place once for all of them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import regex
import torch

from certify.benchmarks.answerable import refuse_outside, refuse_repeated, refuse_unknown
from certify.benchmarks.encoding import Encoder
from certify.benchmarks.items import ExactMatchItem, Generation, Item, Items
from certify.benchmarks.memory import in_parts
from certify.benchmarks.protocol import NO_LIMITS, ModelLimits
from certify.benchmarks.scoring import Continuation, require_evaluation
from certify.checkpoints.probes import rows_independent
from certify.errors import BenchmarkError
from certify.records import BenchmarkIdentity, digest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


PATTERN_SECONDS = 2.0
"""For all matches in one answer: an ordinary pattern takes microseconds, some never end."""
ROWS_PER_BATCH = 64
NUMBER = re.compile(r"([-+]?)[$€£]?([0-9]{1,40}|[0-9]{1,3}(?:,[0-9]{3}){1,13})(\.[0-9]{0,40})?([eE][-+]?[0-9]{1,3})?")


class GenerationScorer:
    """An exact-match benchmark whose answers are decoded greedily, token by token."""

    tokens_per_batch = ROWS_PER_BATCH * 1024
    generates = True

    def __init__(
        self,
        benchmark: Items,
        generation: Generation,
        tokenizer: PreTrainedTokenizerBase,
        device: str,
        limits: ModelLimits = NO_LIMITS,
    ) -> None:
        self._benchmark, self._generation, self._tokenizer, self._device = benchmark, generation, tokenizer, device
        encoder = Encoder(benchmark.name, tokenizer, [item.prompt for item in benchmark.items])
        self._prompts = [self._prompt(encoder, i, item.prompt) for i, item in enumerate(benchmark.items)]
        self._targets = [self._accepted(encoder, i, item) for i, item in enumerate(benchmark.items)]
        for i, ids in enumerate(self._prompts):
            refuse_outside(encoder.where(i), ids, generation.max_new_tokens, limits)
        answers = zip(self._prompts, ([encoder.ending(i, item.prompt, t) for t in targets] for i, (item, targets) in
                      enumerate(zip(benchmark.items, self._targets, strict=True))), strict=True)  # fmt: skip
        refuse_repeated(benchmark.name, list(answers))
        self.identity = BenchmarkIdentity(
            name=benchmark.name,
            items=len(benchmark.items),
            scoring=f"generated answer, greedy, at most {generation.max_new_tokens} tokens{_how_it_judges(generation)}",
            chance=benchmark.chance,
            digest=benchmark.digest,
            tokens=digest([self._prompts, _how_it_decodes(tokenizer)]),
        )

    @property
    def continuations(self) -> tuple[Continuation, ...]:
        """The prompts, each without an ending, which is generated."""
        return tuple(Continuation(i, tuple(ids), len(ids), 0) for i, ids in enumerate(self._prompts))

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        """Return 1.0 for each item whose generated answer is its target, else 0.0, in order.

        A model whose logits are NaN writes something all the same: it counts as wrong, never as no answer.

        Raises:
            InvalidInput: the model is in training mode, or autocast is on.
        """
        require_evaluation(model, self._device)
        rows = ROWS_PER_BATCH if rows_independent(model) else 1
        wanted = list(range(len(self._prompts)) if items is None else items)
        by_length = sorted(wanted, key=lambda i: (len(self._prompts[i]), i))
        answers: dict[int, str] = {}
        for start in range(0, len(by_length), rows):
            group = by_length[start : start + rows]
            parts = in_parts(lambda part: dict(zip(part, self._decode(model, part), strict=True)), group)
            for part in parts:
                answers |= part
        return [float(right(self._generation, self.answer(answers[i]), self._targets[i])) for i in wanted]

    def answer(self, text: str) -> str | None:
        """Cut the answer out of a text: up to the stop, without special tokens, the last match of the pattern."""
        g = self._generation
        text = text.split(g.stop)[0] if g.stop else text
        for token in self._tokenizer.all_special_tokens:
            text = text.replace(token, "")
        if g.pattern is None:
            return text.strip()
        last = None
        try:
            for last in regex.finditer(g.pattern, text, timeout=PATTERN_SECONDS):  # noqa: B007  (the last is wanted)
                pass
        except TimeoutError:
            raise BenchmarkError(
                f"{self._benchmark.name}: the pattern {g.pattern!r} takes more than {PATTERN_SECONDS:g} s on an answer "
                f"of {len(text)} characters, since it tries ever more ways to match: put no repeat inside a repeat"
            ) from None
        return None if last is None else last[1 if last.re.groups else 0].strip()

    def _prompt(self, encoder: Encoder, index: int, prompt: str) -> list[int]:
        moved = self._benchmark.boundary == "lm-eval"
        return encoder.prompt(index, (prompt.rstrip() or prompt) if moved else prompt)

    def _accepted(self, encoder: Encoder, index: int, item: Item) -> tuple[str, ...]:
        """Return every text that an answer may be."""
        assert isinstance(item, ExactMatchItem)  # open_benchmark admits no others
        return tuple(dict.fromkeys(self._target(encoder, index, item.prompt, target) for target in item.targets))

    def _target(self, encoder: Encoder, index: int, prompt: str, written: str) -> str:
        """Return what an answer must be, or refuse a target that none can be."""
        target, where, stop = written.strip(), encoder.where(index), self._generation.stop
        special = next((t for t in self._tokenizer.all_special_tokens if t and t in target), None)
        if not target:
            raise BenchmarkError(f"{where}: the target {written!r} is blank: no answer is compared with it")
        if special is not None:
            raise BenchmarkError(f"{where}: the target holds the special token {special!r}, which no answer keeps")
        if stop and stop in written:
            raise BenchmarkError(f"{where}: the target {target!r} holds the stop {stop!r}, at which answers end")
        refuse_unknown(where, target, encoder.ending(index, prompt, target), encoder.unknown)
        if self._generation.judge == "number" and number(target) is None:
            raise BenchmarkError(f"{where}: the target {target!r} is no number, which judge = \"number\" compares")
        return target

    def _decode(self, model: Any, group: Sequence[int]) -> list[str]:
        """Return what the model writes after each prompt; left-padded, so that all rows go on at the same column."""
        width = max(len(self._prompts[i]) for i in group)
        filler = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else 0
        rows = [[filler] * (width - len(self._prompts[i])) + self._prompts[i] for i in group]
        mask = [[0] * (width - len(self._prompts[i])) + [1] * len(self._prompts[i]) for i in group]
        settings = copy.deepcopy(model.generation_config)
        settings.update(do_sample=False, num_beams=1, max_new_tokens=self._generation.max_new_tokens)
        settings.update(pad_token_id=filler, max_length=None)
        with torch.inference_mode():
            written = model.generate(
                input_ids=torch.tensor(rows, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                generation_config=settings,
            )
        return [self._text(row[width:].tolist(), settings.eos_token_id) for row in written]

    def _text(self, ids: list[int], ends: int | Sequence[int] | None) -> str:
        """Return the text up to the first token that ends it, other special tokens included: a stop may be one."""
        last = {ends} if isinstance(ends, int) else {*(ends or ())}
        end = next((place for place, i in enumerate(ids) if i in last), len(ids))
        return str(self._tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False))


def right(generation: Generation, answer: str | None, targets: Sequence[str]) -> bool:
    """Whether an answer that was cut out is one of the accepted targets, as the judge of ``generation`` sees it."""
    if answer is None:
        return False
    if generation.judge == "contains":
        return any(target in answer for target in targets)
    if generation.judge == "number":
        found, tolerance = number(answer), Fraction(str(generation.tolerance))
        wanted = [value for value in map(number, targets) if value is not None]
        return found is not None and any(abs(found - value) <= tolerance for value in wanted)
    return answer in targets


def number(text: str) -> Fraction | None:
    """Return the number that a text is, exactly; commas between thousands and a currency sign are no part of it."""
    found = NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    sign, whole, rest, exponent = found.groups(default="")
    return Fraction(f"{sign}{whole.replace(',', '')}{rest if rest != '.' else ''}{exponent}")


def _how_it_judges(generation: Generation) -> str:
    within = f", within {generation.tolerance:g}" if generation.tolerance else ""
    return {"exact": "", "contains": ", containing the target", "number": f", as a number{within}"}[generation.judge]


def _how_it_decodes(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest of how ids become text: of every id alone, after another one, and of which are special."""
    ids = range(len(tokenizer))
    alone = tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    after = tokenizer.batch_decode([[0, i] for i in ids], clean_up_tokenization_spaces=False)
    return digest([alone, after, sorted(tokenizer.all_special_ids)])
