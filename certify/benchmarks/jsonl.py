"""Benchmarks as JSONL files: one item a line, settings in a TOML file of the same name beside it."""

from __future__ import annotations

import os
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from certify.benchmarks.items import Boundary, ExactMatchItem, Generation, Item, Items, MultipleChoiceItem, item_digest
from certify.benchmarks.protocol import NO_LIMITS, ModelLimits
from certify.errors import BenchmarkError, CertifyWarning
from certify.parsing import first_problem, plain_json, read_text
from certify.records import Record
from certify.text import refuse_unseen, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from certify.benchmarks.protocol import Scorer

KNOWN = {*MultipleChoiceItem.model_fields, *ExactMatchItem.model_fields}
LARGEST = 1 << 30
"""Bytes of a file of items; a million of a thousand characters."""
EXPECTED = 'expected {"prompt", "choices", "answer"} or {"prompt", "target"}'


class Settings(Record):
    """What ``<name>.toml`` may declare beside ``<name>.jsonl``."""

    description: str = ""
    chance: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    length_normalised: bool = False
    boundary: Boundary = "written"
    generation: Generation | None = None


class JsonlBenchmark(Items):
    """Items read from a JSONL file, with the scorer of their kind."""

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, device: str = "cpu", limits: ModelLimits = NO_LIMITS
    ) -> Scorer:
        """Encode every item once with ``tokenizer`` and plan the batches.

        Raises:
            BenchmarkError: items that cannot be answered, or not be told apart, with their numbers.
        """
        if self.generation is not None:
            from certify.benchmarks.generation import GenerationScorer

            return GenerationScorer(self, self.generation, tokenizer, device, limits)
        from certify.benchmarks.scoring import LikelihoodScorer

        return LikelihoodScorer(self, tokenizer, device, limits)


def open_benchmark(path: str | Path) -> JsonlBenchmark:
    """Read ``path`` (JSONL) and the TOML settings beside it, if any.

    Raises:
        BenchmarkError: a malformed line, with file, line number and what was expected; no items; two equal
            items; both kinds of items in one file.
    """
    file = Path(path)
    refuse_unseen("the benchmark", file.name)
    lines = read_text(file, BenchmarkError, LARGEST).split("\n")
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise BenchmarkError(f"{file}: holds no items; {EXPECTED} on each line")
    values = [_object(file, i, line) for i, line in numbered]
    _say_unknown(file, values)
    items = [_item(file, i, value) for (i, _), value in zip(numbered, values, strict=True)]
    _reject_mixture(file, numbered, items)
    _reject_duplicates(file, numbered, items)
    settings = _settings(file.with_suffix(".toml"))
    chance = _chance(items) if settings.chance is None else settings.chance
    if settings.generation and isinstance(items[0], MultipleChoiceItem):
        raise BenchmarkError(f"{file.with_suffix('.toml')}: [generation] is for items with a target, not with choices")
    return JsonlBenchmark(
        file.stem, tuple(items), chance, settings.length_normalised, settings.generation, settings.boundary
    )


def _object(file: Path, number: int, line: str) -> dict[str, Any]:
    where = f"{file}:{number}"
    try:
        value = plain_json(line.removesuffix("\r"))
    except ValueError as error:
        raise BenchmarkError(f"{where}: not JSON ({error}); {EXPECTED}") from None
    if not isinstance(value, dict):
        raise BenchmarkError(f"{where}: got a JSON {type(value).__name__}; {EXPECTED}")
    return value


def _say_unknown(file: Path, values: Sequence[dict[str, Any]]) -> None:
    """Say once which fields no item of this kind knows; they ask nothing."""
    unknown = sorted({key for value in values for key in value if key not in KNOWN})
    if unknown:
        named = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        warnings.warn(f"{file}: the fields {named} ask nothing and are ignored", CertifyWarning, stacklevel=3)


def _item(file: Path, number: int, value: dict[str, Any]) -> Item:
    where = f"{file}:{number}"
    kind = MultipleChoiceItem if "choices" in value else ExactMatchItem
    try:
        return kind.model_validate({k: v for k, v in value.items() if k in KNOWN})
    except ValidationError as error:
        raise BenchmarkError(f"{where}: {first_problem(error)}; {EXPECTED}") from None


def _reject_mixture(file: Path, numbered: Sequence[tuple[int, str]], items: Sequence[Item]) -> None:
    for (number, _), item in zip(numbered, items, strict=True):
        if type(item) is not type(items[0]):
            raise BenchmarkError(
                f"{file}:{number}: a {type(item).__name__} among {type(items[0]).__name__}s; put each kind into "
                "a file of its own"
            )


def _reject_duplicates(file: Path, numbered: Sequence[tuple[int, str]], items: Sequence[Item]) -> None:
    first: dict[str, int] = {}
    for (number, _), item in zip(numbered, items, strict=True):
        earlier = first.setdefault(item_digest(item), number)
        if earlier != number:
            raise BenchmarkError(f"{file}:{number}: the same item as line {earlier}; counting it twice would mislead")


def _settings(file: Path) -> Settings:
    if not os.path.lexists(file):
        return Settings()
    text = read_text(file, BenchmarkError)
    try:
        return Settings.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BenchmarkError(f"{file}: not readable TOML: {shortened(str(error))}") from None
    except ValidationError as error:
        raise BenchmarkError(f"{file}: {first_problem(error)}") from None


def _chance(items: Sequence[Item]) -> float:
    """Return 1/(mean number of choices), 0 for exact match (design: declared in TOML if another)."""
    counts = [len(item.choices) for item in items if isinstance(item, MultipleChoiceItem)]
    return len(counts) / sum(counts) if counts else 0.0
