"""The two kinds of items, and what a line of JSONL must hold to be one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from certify.records import Record, digest

Text = Annotated[str, Field(min_length=1)]


Label = str | int | None


class Labelled(Record):
    """What an item may say of itself beside what it asks; no part of its identity."""

    id: Label = None
    subject: Label = None
    cluster: Label = None


class MultipleChoiceItem(Labelled):
    """Right when the choice at index ``answer`` has strictly the highest log-likelihood after ``prompt``."""

    prompt: Text
    choices: Annotated[tuple[Text, ...], Field(min_length=2)]
    answer: Annotated[int, Field(ge=0, strict=True)]

    @model_validator(mode="after")
    def _answer_among_choices(self) -> MultipleChoiceItem:
        if self.answer >= len(self.choices):
            raise ValueError(
                f"answer {self.answer} is outside the {len(self.choices)} choices (0 to {len(self.choices) - 1})"
            )
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("two choices are equal, so no answer can be strictly best")
        return self


class ExactMatchItem(Labelled):
    """Right when greedy decoding after ``prompt`` begins with ``target``."""

    prompt: Text
    target: Text


Item = MultipleChoiceItem | ExactMatchItem


def item_digest(item: Item) -> str:
    """Return the identity of one item: the digest of the canonical JSON of what it asks."""
    return digest(item.model_dump(mode="json", exclude=set(Labelled.model_fields)))
