"""Items asked in a chat: each prompt becomes the text that the tokenizer's chat template makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from certify.benchmarks.items import Chat, Item, Items
from certify.errors import BenchmarkError
from certify.text import shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TODAY = "strftime_now"
"""What a template calls to write today's date. It is given a text of that name, which cannot be called."""


def rendered(benchmark: Items, tokenizer: PreTrainedTokenizerBase) -> Items:
    """Return the items with the prompts that a chat model reads; as they are where they are not asked in a chat.

    The system prompt and the turns before it come first, the prompt is the user's last turn, and the answer begins
    after what opens the assistant's turn and ``prefix``. The digest stays that of the items as written.

    Raises:
        BenchmarkError: the tokenizer has no such template, it refuses an item, or what it writes changes every day.
    """
    chat = benchmark.chat
    if chat is None:
        return benchmark
    _refuse_template(benchmark.name, chat, tokenizer)
    made = [
        item.model_copy(update={"prompt": _prompt(f"{benchmark.name}, item {i}", chat, item, tokenizer), "before": ()})
        for i, item in enumerate(benchmark.items, 1)
    ]
    return replace(benchmark, items=tuple(made), written=benchmark.digest)


def _refuse_template(name: str, chat: Chat, tokenizer: PreTrainedTokenizerBase) -> None:
    known: Any = tokenizer.chat_template  # a name that is not known would be taken for a template itself
    if chat.template is not None and not (isinstance(known, dict) and chat.template in known):
        there = ", ".join(map(repr, known)) if isinstance(known, dict) else "one without a name" if known else "none"
        raise BenchmarkError(f"{name}: the tokenizer has no chat template {chat.template!r}; it has {there}")
    try:
        tokenizer.get_chat_template(chat.template)
    except ValueError as error:
        raise BenchmarkError(
            f"{name}: asked in a chat, and the tokenizer has no chat template: {shortened(str(error))}"
        ) from None


def _prompt(where: str, chat: Chat, item: Item, tokenizer: PreTrainedTokenizerBase) -> str:
    system = [{"role": "system", "content": chat.system}] if chat.system is not None else []
    turns = [{"role": turn.role, "content": turn.content} for turn in item.before]
    if system and turns and turns[0]["role"] == "system":
        raise BenchmarkError(f"{where}: has a system prompt of its own, and [chat] gives another: keep one")
    asked: list[dict[str, Any]] = [*system, *turns, {"role": "user", "content": item.prompt}]
    try:
        template: Any = tokenizer.apply_chat_template
        text = template(
            asked, chat_template=chat.template, tokenize=False, add_generation_prompt=True, strftime_now=TODAY,
            **chat.arguments,
        )  # fmt: skip
    except Exception as error:  # a template may raise whatever it likes
        if isinstance(error, TypeError) and "'str' object is not callable" in str(error):
            raise BenchmarkError(
                f"{where}: the chat template writes today's date, so every day would ask something else: fix it in "
                'the template, or where it takes one with arguments = { date_string = "26 Jul 2024" } in [chat]'
            ) from None
        raise BenchmarkError(f"{where}: the chat template refuses it: {shortened(str(error))}") from None
    return f"{text}{chat.prefix}"
