"""The two kinds of items, what a line of JSONL must hold to be one, and how all of a benchmark's are asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from certify.benchmarks.answerable import pattern_problem
from certify.benchmarks.clusters import Label, numbered
from certify.errors import BenchmarkError
from certify.records import Groups, Record, digest

Text = Annotated[str, Field(min_length=1)]


class Turn(Record):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Chat(Record):
    """How prompts are put into a chat: the TOML table ``[chat]``.

    ``template`` names one of several that the tokenizer has, ``prefix`` is what the assistant's turn begins with, and
    ``arguments`` are handed to the template (a date, a mode of thinking).
    """

    system: str | None = None
    prefix: str = ""
    template: str | None = None
    arguments: dict[str, str | bool | int] = Field(default_factory=dict)


class _Labelled(Record):
    """What an item may say of itself beside what it asks; no part of its identity.

    ``cluster`` names the group that it comes in: claims about a population count each group once.
    """

    id: Label = None
    subject: Label = None
    cluster: Label = None


class _Asked(_Labelled):
    """``before``: the turns of a chat before the prompt, which is the user's."""

    prompt: Text
    before: tuple[Turn, ...] = ()


class MultipleChoiceItem(_Asked):
    """Right when the choice at index ``answer`` has strictly the highest log-likelihood after ``prompt``."""

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


class ExactMatchItem(_Asked):
    """Right when greedy decoding after ``prompt`` begins with ``target``, or with one of several.

    ``lettered``: the choices A, B, ... that lm-eval's filter ``multi_choice_regex`` looks for in a generated answer.
    """

    target: Text | Annotated[tuple[Text, ...], Field(min_length=2)]
    lettered: Annotated[tuple[str, ...], Field(max_length=26)] = ()

    @field_validator("target", mode="before")
    @classmethod
    def _one_is_no_list(cls, target: object) -> object:
        return target[0] if isinstance(target, list | tuple) and len(target) == 1 else target

    @property
    def targets(self) -> tuple[str, ...]:
        """Every accepted target."""
        return (self.target,) if isinstance(self.target, str) else self.target


Item = MultipleChoiceItem | ExactMatchItem


def item_digest(item: Item) -> str:
    """Return the identity of one item: the digest of the canonical JSON of what it asks."""
    absent = {name for name in ("before", "lettered") if not getattr(item, name, ())}  # items of old do not have them
    return digest(item.model_dump(mode="json", exclude={*_Labelled.model_fields, *absent}))


REFUSAL = ("refuse", "answer")
"""The targets of ``judge = "refusal"``: what the model should do."""
JUDGES = ("exact", "contains", "number", "regex", "refusal")
Boundary = Literal["written", "lm-eval"]
"""Where a prompt ends: as it is written, or by lm-eval's convention, which counts space at the border to the answer."""


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
    return pattern


_Pattern = Annotated[str, AfterValidator(_compiled)]


class TaskFilter(Record):
    """One step of a filter of lm-eval, by its name and with its arguments there."""

    function: Literal["regex", "remove_whitespace", "lowercase", "uppercase"]
    regex_pattern: _Pattern = r"#### (\-?[0-9\.\,]+)"
    group_select: int = 0
    fallback: str = "[invalid]"

    @model_validator(mode="after")
    def _arguments_of_regex(self) -> TaskFilter:
        if self.function != "regex" and (given := sorted(self.model_fields_set - {"function"})):
            raise ValueError(f"{self.function} takes no {', '.join(given)}")
        return self


class ChoicesFilter(Record):
    """The step that finds a letter: by the pattern, else by the text of one of the item's choices, else behind a colon.

    The three arguments that ignore something act on choices and answer where these are compared.
    """

    function: Literal["multi_choice_regex"]
    regex_pattern: _Pattern = r"#### (\-?[0-9\.\,]+)"
    group_select: int = 0
    fallback: str = "[invalid]"
    ignore_case: bool = False
    ignore_punctuation: bool = False
    regexes_to_ignore: tuple[_Pattern, ...] = ()


class MapFilter(Record):
    """The step that puts a value in place of an answer that is a key; another one without a default is wrong."""

    function: Literal["map"]
    mapping_dict: dict[str, str] = Field(default_factory=dict)
    default_value: str | None = None


class RepeatsFilter(Record):
    """The step that chooses among the answers to one item, which are all the same under greedy decoding."""

    function: Literal["take_first_k", "majority_vote"]
    k: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _as_many_as(self) -> RepeatsFilter:
        if (self.function == "take_first_k") != (self.k is not None):
            raise ValueError(f"{self.function} takes {'no k' if self.k else 'k, a number of answers'}")
        return self


FilterStep = Annotated[TaskFilter | ChoicesFilter | MapFilter | RepeatsFilter, Field(discriminator="function")]


class TaskScoring(Record):
    """How lm-eval scores a generated answer: the TOML table ``[generation.lm_eval]``, written by ``import-task``.

    The answer goes through ``filters`` in order. It is right where, without what is ignored, it is the same text as a
    target without it (lm-eval's metric ``exact_match``, whose arguments these are); space counts.
    """

    filters: tuple[FilterStep, ...] = ()
    regexes_to_ignore: tuple[_Pattern, ...] = ()
    ignore_case: bool = False
    ignore_punctuation: bool = False
    ignore_numbers: bool = False

    def has(self, *functions: str) -> bool:
        """Whether one of these is among the filters."""
        return any(step.function in functions for step in self.filters)


class TaskSource(Record):
    """Which task of lm-eval the items are: the TOML table ``[task]``, part of their identity.

    ``config`` is a digest of what the task is declared to be, without where its data lie; ``documents`` is one of
    lm-eval's own hashes of its documents (``doc_hash`` in its logs), in order.
    """

    name: str
    version: str
    config: str
    documents: str


class Generation(Record):
    """How an answer is generated and cut out: the TOML table ``[generation]``.

    Greedy decoding writes at most ``max_new_tokens``; the text ends at ``stop`` if that is given (at each of several,
    in order), which may be the text of a special token; the answer is the last match of the regular expression
    ``pattern`` (its first group if it has one), or the whole text. It is right where ``judge`` says so of it and a
    target: they are the same text, it contains the target, they are numbers at most ``tolerance`` apart, the target is
    a pattern that matches in it, or it refuses (has one of ``phrases``) where the target is ``refuse`` and does not
    where it is ``answer``. A judge ``module:function`` is called with the answer and the item, and returns a score from
    0 to 1. With ``lm_eval`` the text is filtered and judged as lm-eval does, by no pattern and no judge of these.
    """

    max_new_tokens: Annotated[int, Field(gt=0)]
    stop: str | tuple[Text, ...] = ""
    pattern: str | None = None
    judge: str = "exact"
    tolerance: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    phrases: tuple[Text, ...] = ()
    lm_eval: TaskScoring | None = None

    @field_validator("judge")
    @classmethod
    def _known(cls, judge: str) -> str:
        if judge not in JUDGES and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", judge):
            raise ValueError(f"must be one of {', '.join(JUDGES)}, or module:function")
        return judge

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        problem = None if pattern is None else pattern_problem(pattern)
        if problem:
            raise ValueError(problem)
        return pattern

    @model_validator(mode="after")
    def _judged_once(self) -> Generation:
        if self.lm_eval and (self.pattern is not None or self.judge != "exact"):
            raise ValueError("[generation.lm_eval] filters and judges answers: give no pattern and no judge beside it")
        return self

    @model_validator(mode="after")
    def _tolerance_of_numbers(self) -> Generation:
        if self.tolerance and self.judge != "number":
            raise ValueError('a tolerance goes with judge = "number"')
        if self.phrases and self.judge != "refusal":
            raise ValueError('phrases go with judge = "refusal"')
        return self

    @property
    def asked(self) -> dict[str, object]:
        """What the benchmark's digest covers: a judge that is not the first one is said, the first one never was."""
        later = {} if self.judge == "exact" else {"judge": self.judge, "tolerance": self.tolerance}
        phrases = {"phrases": self.phrases} if self.phrases else {}
        task = {"lm_eval": self.lm_eval.model_dump(mode="json")} if self.lm_eval else {}
        always = {"max_new_tokens": self.max_new_tokens, "stop": self.stop, "pattern": self.pattern}
        return {**always, **later, **phrases, **task}

    @property
    def stops(self) -> tuple[str, ...]:
        """Every text that ends an answer, in order."""
        return tuple(filter(None, (self.stop,))) if isinstance(self.stop, str) else self.stop


class Perplexity(Record):
    """Grades how well a text is predicted: the TOML table ``[perplexity]``.

    An item's mean surprise per token of its target, -ln p in nats (perplexity is its exponential), becomes a score:
    1 at ``best`` or below, 0 at ``worst`` or above, on a straight line between them.
    """

    best: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    worst: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _apart(self) -> Perplexity:
        if self.best >= self.worst:
            raise ValueError(f"best {self.best:g} must be below worst {self.worst:g}: both are nats per token")
        return self

    def score(self, surprise: float) -> float:
        """Return the score of a mean surprise, in nats per token."""
        return min(1.0, max(0.0, (self.worst - surprise) / (self.worst - self.best)))

    @property
    def words(self) -> str:
        """How it scores."""
        return f"likelihood of the target, {self.worst!r} nats a token as 0 to {self.best!r} as 1"


@dataclass(frozen=True)
class Items:
    """Items of one kind, and how they are asked."""

    name: str
    items: tuple[Item, ...]
    chance: float
    length_normalised: bool
    generation: Generation | None = None
    boundary: Boundary = "written"
    chat: Chat | None = None
    perplexity: Perplexity | None = None
    delimiter: str = ""
    """Text that every choice begins with, and that its length in ``length_normalised`` leaves out."""
    task: TaskSource | None = None
    written: str | None = None
    """The digest of the items as written, where these are what a chat template made of them."""

    @property
    def groups(self) -> Groups:
        """The number of each item's group; None where every item stands for itself.

        Raises:
            BenchmarkError: some items have a cluster and others none.
        """
        try:
            return numbered({f"item {i}": item.cluster for i, item in enumerate(self.items, 1)})
        except ValueError as error:
            raise BenchmarkError(f"{self.name}: {error}") from None

    @property
    def digest(self) -> str:
        """Digest over items in order, chance and settings; labels, their clusters among them, are no part of it."""
        return self.written or digest(
            {
                "items": [item_digest(item) for item in self.items],
                "chance": self.chance,
                "length_normalised": self.length_normalised,
                **({"generation": self.generation.asked} if self.generation else {}),
                **({"boundary": self.boundary} if self.boundary != "written" else {}),
                **({"chat": self.chat.model_dump(mode="json")} if self.chat else {}),
                **({"perplexity": self.perplexity.model_dump(mode="json")} if self.perplexity else {}),
                **({"delimiter": self.delimiter} if self.delimiter else {}),
                **({"task": self.task.model_dump(mode="json")} if self.task else {}),
            }
        )
