"""How rows that were not written for this project become items: the TOML table ``[fields]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import field_validator, model_validator

from certify.benchmarks.rows import Row
from certify.errors import BenchmarkError
from certify.records import Record
from certify.text import shortened

HOLE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
Templates = str | tuple[str, ...]
Reading = Literal["index", "number", "letter", "text"]


class Fields(Record):
    """Templates over the columns of a row.

    ``{column}`` is its text and ``{outer.inner}`` that of a field in a field; ``{column[]}`` in ``choices``, ``labels``
    or ``target`` makes one text for each element of a list; ``{{`` and ``}}`` are braces. ``answer_is`` says how an
    answer names its choice: by index from 0, number from 1, letter, or text; unless given, whichever of index,
    letter and text fits every row, and where two of them fit and differ the file is refused. With ``labels`` the
    answer is one of these.
    """

    prompt: str
    target: Templates | None = None
    choices: Templates | None = None
    labels: Templates | None = None
    answer: str | None = None
    answer_is: Reading | None = None
    id: str | None = None
    subject: str | None = None
    cluster: str | None = None

    @field_validator("prompt", "target", "choices", "labels", "answer", "id", "subject", "cluster")
    @classmethod
    def _braces_match(cls, given: Templates | None) -> Templates | None:
        for template in _several(given):
            if set(HOLE.sub("", template)) & set("{}"):
                raise ValueError(f"{template!r} has a brace without its other half; a brace itself is written twice")
        return given

    @model_validator(mode="after")
    def _one_kind(self) -> Fields:
        if (self.target is None) == (self.choices is None) or (self.choices is None) != (self.answer is None):
            raise ValueError("give prompt with target, or prompt with choices and answer")
        if self.choices is None and (self.labels or self.answer_is):
            raise ValueError("labels and answer_is go with choices")
        if self.labels and self.answer_is:
            raise ValueError("give one of labels and answer_is")
        return self


def mapped(fields: Fields, rows: Sequence[Row]) -> list[Row]:
    """Return ``rows`` as what :mod:`certify.benchmarks.items` reads.

    Raises:
        BenchmarkError: a column that is not there, a value that is no text, or an answer that names no choice.
    """
    found = [_labelled(fields, row) for row in rows]
    if fields.target is not None:
        for row, (_, item) in zip(rows, found, strict=True):
            item["target"] = list(dict.fromkeys(_texts(fields.target, row)))
        return found
    assert fields.choices is not None  # the validator admits nothing else
    choices = [_texts(fields.choices, row) for row in rows]
    for (_, item), texts, answer in zip(found, choices, _answers(fields, rows, choices), strict=True):
        item |= {"choices": texts, "answer": answer}
    return found


def _labelled(fields: Fields, row: Row) -> Row:
    labels = {name: getattr(fields, name) for name in ("id", "subject", "cluster")}
    said = {name: _text(template, row) for name, template in labels.items() if template is not None}
    return row[0], {"prompt": _text(fields.prompt, row), **said}


def _several(given: Templates | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given or ()


def _texts(given: Templates, row: Row) -> list[str]:
    """Return every text that templates give, those with ``[]`` one for each element."""
    return [text for template in _several(given) for text in _each(template, row)]


def _each(template: str, row: Row) -> list[str]:
    where, _ = row
    lists = {path: _value(path.removesuffix("[]"), row) for path in HOLE.findall(template) if path.endswith("[]")}
    for path, value in lists.items():
        if not isinstance(value, list):
            raise BenchmarkError(f"{where}: [fields] asks for each of {path!r}, which is a {type(value).__name__}")
    lengths = {len(value) for value in lists.values()}
    if len(lengths) > 1:
        raise BenchmarkError(f"{where}: the lists {', '.join(map(repr, lists))} of one template differ in length")
    if not lists:
        return [_text(template, row)]
    return [_text(template, row, {path: value[i] for path, value in lists.items()}) for i in range(lengths.pop())]


def _text(template: str, row: Row, elements: dict[str, Any] | None = None) -> str:
    def filled(hole: re.Match[str]) -> str:
        path = hole[1]
        if path is None:
            return hole[0][0]  # a brace
        if path.endswith("[]") and path not in (elements or {}):
            raise BenchmarkError(f"{row[0]}: [fields] asks for each of {path!r} where one text is needed")
        return _said(elements[path] if elements and path in elements else _value(path, row), path, row)

    return HOLE.sub(filled, template)


def _said(value: Any, path: str, row: Row) -> str:
    """Return a value's text: numbers and booleans as JSON writes them."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    raise BenchmarkError(f"{row[0]}: {path!r} is {shortened(repr(value))}, which is no text or number")


def _value(path: str, row: Row) -> Any:
    where, value = row
    if path in value:
        return value[path]
    found: Any = value
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            raise BenchmarkError(f"{where}: [fields] asks for {path!r}; there are {shortened(', '.join(value))}")
        found = found[part]
    return found


def _by_index(answer: Any, choices: Sequence[str]) -> int | None:
    number = int(answer) if isinstance(answer, int) or (isinstance(answer, str) and _DIGITS.fullmatch(answer)) else -1
    return number if 0 <= number < len(choices) else None


def _by_number(answer: Any, choices: Sequence[str]) -> int | None:
    index = _by_index(answer, ("", *choices))
    return index - 1 if index else None


def _by_letter(answer: Any, choices: Sequence[str]) -> int | None:
    letters = "abcdefghijklmnopqrstuvwxyz"[: len(choices)]
    index = letters.find(answer.strip().lower()) if isinstance(answer, str) and len(answer.strip()) == 1 else -1
    return index if index >= 0 else None


def _by_text(answer: Any, choices: Sequence[str]) -> int | None:
    same = [i for i, choice in enumerate(choices) if isinstance(answer, str) and choice.strip() == answer.strip()]
    return same[0] if len(same) == 1 else None


_DIGITS = re.compile(r"[0-9]{1,6}")
READINGS: dict[str, Callable[[Any, Sequence[str]], int | None]] = {
    "index": _by_index, "number": _by_number, "letter": _by_letter, "text": _by_text,
}  # fmt: skip
TRIED = ("index", "letter", "text")


def _answers(fields: Fields, rows: Sequence[Row], choices: Sequence[Sequence[str]]) -> list[int]:
    """Return the index of each row's answer, read in the one way that fits them all."""
    given = [_raw(fields.answer or "", row) for row in rows]
    among = choices if fields.labels is None else [_texts(fields.labels, row) for row in rows]
    if fields.labels is not None:
        _as_many(rows, choices, among)
        given = [answer if isinstance(answer, str) else repr(answer) for answer in given]
    tried = ("text",) if fields.labels is not None else (fields.answer_is,) if fields.answer_is else TRIED
    read = {kind: [READINGS[kind](*pair) for pair in zip(given, among, strict=True)] for kind in tried}
    whole = {kind: [i for i in found if i is not None] for kind, found in read.items() if None not in found}
    if not whole:
        least = max(read.values(), key=lambda found: found.index(None))
        at = least.index(None)
        named = "label" if fields.labels is not None else " or ".join(tried)
        raise BenchmarkError(
            f"{rows[at][0]}: the answer {shortened(repr(given[at]))} is no {named} of its {len(among[at])} choices"
        )
    (kind, first), *others = whole.items()
    for other, found in others:
        if found != first:
            at = next(i for i, pair in enumerate(zip(first, found, strict=True)) if pair[0] != pair[1])
            raise BenchmarkError(
                f"{rows[at][0]}: the answer {shortened(repr(given[at]))} names one choice by {kind} and another by "
                f'{other}: say in [fields] which, for instance answer_is = "{other}"'
            )
    return first


def _raw(template: str, row: Row) -> Any:
    """Return the value itself where the template is one column and no more."""
    hole = HOLE.fullmatch(template)
    return _value(hole[1], row) if hole and hole[1] else _text(template, row)


def _as_many(rows: Sequence[Row], choices: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> None:
    for (where, _), texts, named in zip(rows, choices, labels, strict=True):
        if len(texts) != len(named):
            raise BenchmarkError(f"{where}: {len(texts)} choices and {len(named)} labels")
