"""Prompts and endings as token ids: what is written is what is asked.

A prompt's ids are the tokenizer's own for the text as it stands: what it puts before every text once (BOS), nothing of
what it puts after one (EOS). An ending's ids continue them: nothing moves across the border, so a model that decodes
greedily after the prompt can write exactly these. The text of a special token means that token, wherever it is written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from certify.errors import BenchmarkError, panicked
from certify.text import shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANCHORS = ("\n", ".", "a", "0", ")", "=")
"""Texts in front of an ending that keep a tokenizer from putting a space of its own there."""

INVISIBLE = {"Cc", "Cf", "Mn", "Zs", "Zl", "Zp"}
"""Unicode categories that tokenizers may drop or fold without changing what is asked."""


class Encoder:
    """The texts of one benchmark as one tokenizer encodes them; errors name benchmark and item."""

    def __init__(self, benchmark: str, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
        self._benchmark, self._tokenizer = benchmark, tokenizer
        self.unknown = _unknown(tokenizer)
        self._before = self._put_before([*prompts[:8], "a", "0"])

    def where(self, item: int) -> str:
        """Return how errors call an item."""
        return f"{self._benchmark}, item {item + 1}"

    def prompt(self, item: int, text: str) -> list[int]:
        """Return the ids that a model is prompted with.

        Raises:
            BenchmarkError: no tokens, or characters that the vocabulary does not have.
        """
        ids = self._with_start(self._checked(item, text))
        if not ids:
            raise BenchmarkError(
                f"{self.where(item)}: the prompt {text!r} encodes to no tokens, so nothing predicts the answer"
            )
        return ids

    def ending(self, item: int, prompt: str, ending: str) -> list[int]:
        """Return the ids of ``ending`` after ``prompt``: from both as one text where that leaves the prompt's alone.

        Else those of the ending on its own, in the spelling that reads as written after the prompt.

        Raises:
            BenchmarkError: no tokens, or characters that the vocabulary does not have.
        """
        alone = self._checked(item, ending)
        own, both = self._ids(prompt), self._ids(prompt + ending)
        if both[: len(own)] == own:
            ids = both[len(own) :]
        else:
            wanted = self._text(own) + ending
            spelled = (c for c in (alone, *self._anchored(ending)) if self._text([*own, *c]) == wanted)
            ids = next(spelled, alone)  # where decoding loses case or spaces nothing reads as written
        return self._not_empty(item, ending, ids)

    def by_lm_eval(self, item: int, prompt: str, ending: str) -> tuple[list[int], list[int]]:
        """Return prompt and ending by lm-eval's convention: space at the border belongs to the ending.

        Both are encoded as one text, which is split after as many tokens as the prompt has.
        """
        stripped = prompt.rstrip() or prompt
        before = self.prompt(item, stripped)
        whole = self._with_start(self._checked(item, prompt + ending))
        return before, self._not_empty(item, ending, whole[len(before) :])

    def _not_empty(self, item: int, ending: str, ids: list[int]) -> list[int]:
        if not ids:
            raise BenchmarkError(f"{self.where(item)}: {ending!r} encodes to no tokens of its own after its prompt")
        return ids

    def _with_start(self, plain: list[int]) -> list[int]:
        """Put what the tokenizer puts before every text there once: a prompt may begin with it as written."""
        return plain if self._before and plain[: len(self._before)] == self._before else [*self._before, *plain]

    def _ids(self, text: str, *, special: bool = False) -> list[int]:
        try:
            given: Any = self._tokenizer(text, add_special_tokens=special, verbose=False)
        except BaseException as error:
            if panicked(error):
                raise ValueError(str(error)) from None
            raise
        return [int(i) for i in given["input_ids"]]

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode([*ids], skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _anchored(self, ending: str) -> list[list[int]]:
        """Return the ids of an ending inside a text, where no tokenizer puts a space of its own before it."""
        found = []
        for anchor in ANCHORS:
            try:
                own, both = self._ids(anchor), self._ids(anchor + ending)
            except Exception:  # a vocabulary without the anchor: tokenizers raise Exception itself
                continue
            if own and both[: len(own)] == own:
                found.append(both[len(own) :])
        return found

    def _put_before(self, samples: Sequence[str]) -> list[int]:
        """Return what the tokenizer by itself puts before a text."""
        for text in reversed(samples):
            try:
                plain, full = self._ids(text), self._ids(text, special=True)
            except Exception:  # a vocabulary without this text; the item itself will be named
                continue
            places = [i for i in range(len(full) - len(plain) + 1) if full[i : i + len(plain)] == plain]
            if plain and places:
                return full[: places[-1]]
        return []

    def _checked(self, item: int, text: str) -> list[int]:
        """Return the ids of a text alone, all of whose characters reach the model."""
        try:
            ids = self._ids(text)
        except Exception as error:  # tokenizers raise Exception itself
            raise BenchmarkError(
                f"{self.where(item)}: the tokenizer cannot encode {shortened(repr(text))}: {shortened(str(error))}; "
                "correct the item, or how it is asked (in the TOML file beside it)"
            ) from None
        if self.unknown not in ids:
            read = set(_folded(self._text(ids)))
            lost = next((c for c in dict.fromkeys(text) if not set(_folded(c)) <= read), None)
            if lost is not None:
                raise BenchmarkError(
                    f"{self.where(item)}: the tokenizer has no token for {lost!r} in {shortened(repr(text))} and drops "
                    "it, so something else would be asked; correct the item"
                )
        return ids


def _folded(text: str) -> str:
    """Return the visible characters of a text without what tokenizers may fold: case, accents, compatibility forms."""
    return "".join(
        c for c in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.category(c) not in INVISIBLE
    )


def _unknown(tokenizer: Any) -> int | None:
    """Return the id that stands for what the vocabulary lacks, also where only the inner model declares it."""
    if tokenizer.unk_token_id is not None:
        return int(tokenizer.unk_token_id)
    inner = getattr(tokenizer.backend_tokenizer.model, "unk_token", None) if tokenizer.is_fast else None
    found = tokenizer.backend_tokenizer.token_to_id(inner) if inner else None
    return None if found is None else int(found)
