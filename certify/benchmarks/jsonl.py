"""Benchmarks as files: one item a row, settings in a TOML file of the same name beside it."""

from __future__ import annotations

import os
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from certify.benchmarks.chat import rendered
from certify.benchmarks.fields import Fields, mapped
from certify.benchmarks.items import (
    Boundary,
    Chat,
    ExactMatchItem,
    Generation,
    Item,
    Items,
    MultipleChoiceItem,
    Perplexity,
    TaskSource,
    item_digest,
)
from certify.benchmarks.lm_eval_tasks import TASK, TaskItems, asked_task
from certify.benchmarks.protocol import NO_LIMITS, ModelLimits
from certify.benchmarks.rows import EXPECTED, Row, read_rows
from certify.errors import BenchmarkError, CertifyWarning
from certify.parsing import first_problem, read_text
from certify.records import Record
from certify.text import refuse_unseen, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from certify.benchmarks.protocol import Scorer

KNOWN = {"messages", *MultipleChoiceItem.model_fields, *ExactMatchItem.model_fields} - {"before"}
"""Fields of a row; an item's turns before its prompt are written as messages."""


class Settings(Record):
    """What ``<name>.toml`` may declare beside ``<name>.jsonl``."""

    description: str = ""
    chance: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    length_normalised: bool = False
    delimiter: str = ""
    boundary: Boundary = "written"
    task: TaskSource | None = None
    generation: Generation | None = None
    fields: Fields | None = None
    chat: Chat | None = None
    perplexity: Perplexity | None = None


class JsonlBenchmark(Items):
    """Items read from a file, with the scorer of their kind."""

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, device: str = "cpu", limits: ModelLimits = NO_LIMITS
    ) -> Scorer:
        """Encode every item once with ``tokenizer`` and plan the batches.

        Raises:
            BenchmarkError: items that cannot be answered, or not be told apart, with their numbers.
        """
        asked = rendered(self, tokenizer)
        if self.generation is not None:
            from certify.benchmarks.generation import GenerationScorer

            return GenerationScorer(asked, self.generation, tokenizer, device, limits)
        from certify.benchmarks.scoring import LikelihoodScorer

        return LikelihoodScorer(asked, tokenizer, device, limits)


def open_benchmark(path: str | Path) -> JsonlBenchmark:
    """Read ``path`` (JSONL, JSON, CSV, TSV, Parquet, a folder of datasets) and the TOML settings beside it, if any.

    ``lm-eval:TASK[@SHOTS]`` in its place is a task of lm-eval, whose items lm-eval makes now
    (:func:`certify.benchmarks.lm_eval_tasks.asked_task`).

    Raises:
        BenchmarkError: a malformed line, with file, line number and what was expected; no items; two equal
            items; both kinds of items in one file; items without a cluster among others that have one.
    """
    if str(path).startswith(TASK):
        return task_benchmark(asked_task(str(path)))
    file = Path(path)
    refuse_unseen("the benchmark", file.name)
    if not file.name:
        raise BenchmarkError(f"{str(path)!r}: no name of a benchmark; name the file, or the folder from outside")
    if file.suffix == ".toml":
        raise BenchmarkError(
            f"{file}: holds no items; a pool of benchmarks is judged by point and audit evidence (`certify check`, "
            "`certify audit`, pytest), and settings go with the file of their items"
        )
    settings = _settings(file.with_suffix(".toml"))
    rows = read_rows(file)
    if not rows:
        raise BenchmarkError(f"{file}: holds no items; {EXPECTED} on each line")
    if settings.fields is None:
        _say_unknown(file, rows)
    else:
        rows = mapped(settings.fields, rows)
    return _benchmark(file, file.stem, settings, rows)


def task_benchmark(task: TaskItems) -> JsonlBenchmark:
    """Return the benchmark of a task's items, as it will be read from the file that ``import-task`` writes.

    Raises:
        BenchmarkError: as for a file; ``task.source`` stands where a file's name would.
    """
    rows = [(f"{task.source}, item {number}", row) for number, row in enumerate(task.rows, 1)]
    return _benchmark(Path(task.source), task.name, _validated(Path(task.source), task.settings), rows)


def _benchmark(file: Path, name: str, settings: Settings, rows: Sequence[Row]) -> JsonlBenchmark:
    """Return the benchmark of these rows, all of which can be asked."""
    rows, chats = [(where, _turns(where, value)) for where, value in rows], any("messages" in row for _, row in rows)
    items = [_item(where, value) for where, value in rows]
    _reject_mixture(rows, items)
    _reject_duplicates(file, rows, items)
    chance = _chance(items) if settings.chance is None else settings.chance
    if settings.generation and isinstance(items[0], MultipleChoiceItem):
        raise BenchmarkError(f"{file.with_suffix('.toml')}: [generation] is for items with a target, not with choices")
    if settings.perplexity and (settings.generation or isinstance(items[0], MultipleChoiceItem)):
        what = "[generation]" if settings.generation else "choices"
        toml = file.with_suffix(".toml")
        raise BenchmarkError(f"{toml}: [perplexity] grades targets by their likelihood, without {what}")
    benchmark = JsonlBenchmark(
        name,
        tuple(items),
        chance,
        settings.length_normalised,
        settings.generation,
        settings.boundary,
        settings.chat or (Chat() if chats else None),
        settings.perplexity,
        settings.delimiter,
        settings.task,
    )
    _reject_delimiter(file, benchmark)
    _reject_unlettered(file, benchmark)
    _ = benchmark.groups  # refuses items without a cluster among others that have one
    return benchmark


def _say_unknown(file: Path, rows: Sequence[Row]) -> None:
    """Say once which fields no item of this kind knows; they ask nothing.

    Raises:
        BenchmarkError: the first row has such fields and no prompt: how they are asked must be said.
    """
    unknown = sorted({key for _, value in rows for key in value if key not in KNOWN})
    if unknown:
        named = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        where, first = rows[0]
        if not {"prompt", "messages"} & set(first):
            raise BenchmarkError(
                f"{where}: no prompt among its fields ({named}); {EXPECTED}, or say in {file.with_suffix('.toml')} "
                'what they are: [fields], prompt = "{FIELD}", target = "{FIELD}" (or choices and answer)'
            )
        warnings.warn(f"{file}: the fields {named} ask nothing and are ignored", CertifyWarning, stacklevel=3)


def _turns(where: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return an item whose ``messages`` are a prompt, the user's, and the turns before it."""
    if "messages" not in value:
        return {key: part for key, part in value.items() if key != "before"}
    messages = value["messages"]
    if "prompt" in value or not isinstance(messages, list) or not all(isinstance(turn, dict) for turn in messages):
        raise BenchmarkError(f'{where}: "messages" is a list of {{"role", "content"}}, with no prompt beside it')
    if not messages or messages[-1].get("role") != "user":
        raise BenchmarkError(f"{where}: the last of the messages must be the user's, which the model answers")
    rest = {key: part for key, part in value.items() if key not in ("messages", "before")}
    return {**rest, "prompt": messages[-1].get("content"), "before": messages[:-1]}


def _item(where: str, value: dict[str, Any]) -> Item:
    kind = MultipleChoiceItem if "choices" in value else ExactMatchItem
    try:
        return kind.model_validate({k: v for k, v in value.items() if k in (*KNOWN, "before")})
    except ValidationError as error:
        raise BenchmarkError(f"{where}: {first_problem(error)}; {EXPECTED}") from None


def _reject_mixture(rows: Sequence[Row], items: Sequence[Item]) -> None:
    for (where, _), item in zip(rows, items, strict=True):
        if type(item) is not type(items[0]):
            raise BenchmarkError(
                f"{where}: a {type(item).__name__} among {type(items[0]).__name__}s; put each kind into a file of its "
                "own"
            )


def _reject_duplicates(file: Path, rows: Sequence[Row], items: Sequence[Item]) -> None:
    first: dict[str, str] = {}
    for (where, _), item in zip(rows, items, strict=True):
        earlier = first.setdefault(item_digest(item), where)
        if earlier != where:
            at = earlier.removeprefix(f"{file}:")
            at = f"line {at}" if at.isdecimal() else at.strip()
            raise BenchmarkError(f"{where}: the same item as {at}; counting it twice would mislead")


def _reject_delimiter(file: Path, benchmark: JsonlBenchmark) -> None:
    """Refuse a delimiter that is not there to be left out of the length, or that would leave none."""
    delimiter = benchmark.delimiter
    if delimiter and not benchmark.length_normalised:
        toml = file.with_suffix(".toml")
        raise BenchmarkError(f"{toml}: a delimiter is left out of lengths, and goes with length_normalised")
    for number, item in enumerate(benchmark.items, 1):
        endings = item.choices if isinstance(item, MultipleChoiceItem) else ()
        if odd := [each for each in endings if not each.startswith(delimiter) or each == delimiter]:
            raise BenchmarkError(
                f"{file}: item {number}: the choice {shortened(repr(odd[0]))} does not begin with the delimiter "
                f"{delimiter!r}, with text behind it"
            )


def _reject_unlettered(file: Path, benchmark: JsonlBenchmark) -> None:
    """Refuse items without the choices that a filter looks for in an answer."""
    scoring = benchmark.generation.lm_eval if benchmark.generation else None
    if scoring is None or not scoring.has("multi_choice_regex"):
        return
    for number, item in enumerate(benchmark.items, 1):
        if not getattr(item, "lettered", ()):
            raise BenchmarkError(
                f'{file}: item {number}: the filter multi_choice_regex looks for its choices, give it "lettered": [...]'
            )


def _settings(file: Path) -> Settings:
    if not os.path.lexists(file):
        return Settings()
    text = read_text(file, BenchmarkError)
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a ValueError
        raise BenchmarkError(f"{file}: not readable TOML: {shortened(str(error))}") from None
    return _validated(file, given)


def _validated(file: Path, given: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise BenchmarkError(f"{file}: {first_problem(error)}") from None


def _chance(items: Sequence[Item]) -> float:
    """Return 1/(mean number of choices), 0 for exact match (design: declared in TOML if another)."""
    counts = [len(item.choices) for item in items if isinstance(item, MultipleChoiceItem)]
    return len(counts) / sum(counts) if counts else 0.0
