"""Score generated answers: greedy decoding in batches, then comparison with the target.

For answers that are not one fixed text (a derivation that ends in a number): the model writes, the answer is cut out
of what it wrote. Items of one draw are decoded together, so the noise is put in place once for all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from certify.benchmarks.answerable import pattern_problem, refuse_outside, refuse_repeated, refuse_unknown
from certify.benchmarks.batches import Continuation
from certify.benchmarks.encoding import Encoder
from certify.benchmarks.items import REFUSAL, ExactMatchItem, Generation, Item, Items
from certify.benchmarks.judges import found, judge_of, number
from certify.benchmarks.lm_eval_scoring import compared, filtered, judge_by
from certify.benchmarks.memory import in_parts
from certify.benchmarks.protocol import NO_LIMITS, ModelLimits
from certify.benchmarks.scoring import require_evaluation
from certify.checkpoints.probes import rows_independent
from certify.checkpoints.served import Served
from certify.errors import BenchmarkError
from certify.records import BenchmarkIdentity, digest
from certify.text import shortened

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


ROWS_PER_BATCH = 64
SPELLED = ("exact", "contains", "number")
"""Judges whose targets an answer must spell."""


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
        self._judge = judge_of(generation) if generation.lm_eval is None else judge_by(generation.lm_eval)
        end = tuple(filter(None, [tokenizer.eos_token])) if generation.lm_eval else ()  # lm-eval adds it to its own
        self._stops = (*generation.stops, *end)
        encoder = Encoder(benchmark.name, tokenizer, [item.prompt for item in benchmark.items])
        self._prompts = [self._prompt(encoder, i, item.prompt) for i, item in enumerate(benchmark.items)]
        self._targets = [self._accepted(encoder, i, item) for i, item in enumerate(benchmark.items)]
        for i, ids in enumerate(self._prompts):
            refuse_outside(encoder.where(i), ids, generation.max_new_tokens, limits)
        accepted = [[self._told_apart(encoder, i, t) for t in targets] for i, targets in enumerate(self._targets)]
        refuse_repeated(benchmark.name, list(zip(self._prompts, accepted, strict=True)))
        self.identity = BenchmarkIdentity(
            name=benchmark.name,
            items=len(benchmark.items),
            scoring=f"generated answer, greedy, at most {generation.max_new_tokens} tokens{self._judge.words}",
            graded=self._judge.graded,
            chance=benchmark.chance,
            digest=benchmark.digest,
            groups=benchmark.groups,
            tokens=digest([self._prompts, _how_it_decodes(tokenizer), *end]),
        )
        self.halved: list[int] = []  # numbers of rows of batches that did not fit into memory

    @property
    def continuations(self) -> tuple[Continuation, ...]:
        """The prompts, each without an ending, which is generated."""
        return tuple(Continuation(i, tuple(ids), len(ids), 0) for i, ids in enumerate(self._prompts))

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        """Return what the judge says of each item's generated answer, in order: 1.0 for right and 0.0 for wrong.

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
            parts = in_parts(lambda part: dict(zip(part, self._decode(model, part), strict=True)), group, self.halved)
            for part in parts:
                answers |= part
        return [self._judged(i, self.answer(i, answers[i])) for i in wanted]

    def _judged(self, index: int, answer: str | None) -> float:
        """Return the score of an answer; none was cut out: wrong."""
        try:
            return 0.0 if answer is None else self._judge.score(
                answer, self._targets[index], self._benchmark.items[index]
            )
        except BenchmarkError as error:
            raise BenchmarkError(f"{self._benchmark.name}: item {index + 1}: {error}") from None

    def answer(self, index: int, text: str) -> str | None:
        """Cut an item's answer out of a text: up to the stops, without special tokens, the last match of the pattern.

        Under ``[generation.lm_eval]`` what its filters make of it, and the tokenizer's end of text is a stop as well.
        """
        for stop in self._stops:
            text = text.split(stop)[0]
        for token in self._tokenizer.all_special_tokens:
            text = text.replace(token, "")
        try:
            return self._cut(index, text)
        except BenchmarkError as error:
            raise BenchmarkError(f"{self._benchmark.name}: {error}") from None

    def _cut(self, index: int, text: str) -> str | None:
        g, last, item = self._generation, None, self._benchmark.items[index]
        if g.lm_eval is not None:
            return filtered(g.lm_eval, text, item.lettered if isinstance(item, ExactMatchItem) else ())
        if g.pattern is None:
            return text.strip()
        for last in found(g.pattern, text):  # noqa: B007  (the last is wanted)
            pass
        return None if last is None else last[1 if last.re.groups else 0].strip()

    def _prompt(self, encoder: Encoder, index: int, prompt: str) -> list[int]:
        moved = self._benchmark.boundary == "lm-eval"
        return encoder.prompt(index, (prompt.rstrip() or prompt) if moved else prompt)

    def _accepted(self, encoder: Encoder, index: int, item: Item) -> tuple[str, ...]:
        """Return every text that an answer may be."""
        assert isinstance(item, ExactMatchItem)  # open_benchmark admits no others
        return tuple(dict.fromkeys(self._target(encoder, index, item.prompt, target) for target in item.targets))

    def _told_apart(self, encoder: Encoder, index: int, target: str) -> list[int]:
        """Return what tells targets apart: their tokens; characters for lm-eval, where answers need not spell them."""
        if self._generation.lm_eval is not None:
            return [ord(character) for character in target]
        return encoder.ending(index, self._benchmark.items[index].prompt, target)

    def _target(self, encoder: Encoder, index: int, prompt: str, written: str) -> str:
        """Return what an answer must be, or refuse a target that none can be."""
        where, scoring = encoder.where(index), self._generation.lm_eval
        if scoring is not None:
            if not compared(scoring, written):
                raise BenchmarkError(
                    f"{where}: nothing is left of the target {shortened(repr(written))} without what exact_match "
                    "ignores, so an empty answer would be right"
                )
            return written
        target = written.strip()
        stop = next((each for each in self._generation.stops if each in written), None)
        special = next((t for t in self._tokenizer.all_special_tokens if t and t in target), None)
        if not target:
            raise BenchmarkError(f"{where}: the target {written!r} is blank: no answer is compared with it")
        if special is not None:
            raise BenchmarkError(f"{where}: the target holds the special token {special!r}, which no answer keeps")
        if stop is not None:
            raise BenchmarkError(f"{where}: the target {target!r} holds the stop {stop!r}, at which answers end")
        if self._generation.judge in SPELLED:  # otherwise a target says something about answers, and is none
            refuse_unknown(where, target, encoder.ending(index, prompt, target), encoder.unknown)
        if problem := _unfit(self._generation.judge, target):
            raise BenchmarkError(f"{where}: the target {target!r} {problem}")
        return target

    def _decode(self, model: Any, group: Sequence[int]) -> list[str]:
        """Return what the model writes after each prompt; left-padded, so that all rows go on at the same column."""
        if isinstance(model, Served):
            asked = [self._prompts[i] for i in group]
            answers = model.written(asked, self._generation.max_new_tokens)
            return [self._text(ids, model.generation_config.eos_token_id) for ids in answers]
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


def _unfit(judge: str, target: str) -> str | None:
    """Return why a judge could do nothing with a target, or None."""
    if judge == "number" and number(target) is None:
        return 'is no number, which judge = "number" compares'
    if judge == "refusal" and target not in REFUSAL:
        return f"is none of {', '.join(REFUSAL)}, which judge = \"refusal\" knows"
    if judge == "regex" and (problem := pattern_problem(target)):
        return f"is no pattern for judge = \"regex\": {problem}"
    return None


def _how_it_decodes(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest of how ids become text: of every id alone, after another one, and of which are special."""
    ids = range(len(tokenizer))
    alone = tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    after = tokenizer.batch_decode([[0, i] for i in ids], clean_up_tokenization_spaces=False)
    return digest([alone, after, sorted(tokenizer.all_special_ids)])
