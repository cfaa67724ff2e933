"""JSON that nobody vouches for: read within bounds of size, depth and length, each key once, finite numbers only.

Every refusal is one line: the file, what is wrong with it, and the rule.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from certify.errors import CertificateMismatch, CertifyError
from certify.text import UNSEEN, shortened

LARGEST = 64 << 20
"""Bytes of a file. A measurement of 100,000 graded items at five sigmas has about 15 MB."""
DEEPEST = 32
"""Brackets inside brackets; the records of this package have at most nine."""
LONGEST = 20_000
"""Characters of one string; the longest claim has a few hundred, the longest list of limits not two thousand."""
WIDEST = 40
"""Characters of one number; the shortest text of any float64 has at most 24."""

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([\[{])|([\]}])', re.DOTALL)

Model = TypeVar("Model", bound=BaseModel)


def read_json(file: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        CertifyError: it is missing, no ordinary file, larger than :data:`LARGEST`, no UTF-8, or not the JSON above.
    """
    try:
        if not file.exists():
            raise CertifyError(f"{file}: no such file")
        if not file.is_file():
            raise CertifyError(f"{file}: not readable JSON: it is no ordinary file")
        if file.stat().st_size > LARGEST:
            raise CertifyError(f"{file}: not readable JSON: larger than {LARGEST >> 20} MiB")
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CertifyError(f"{file}: not readable JSON: {error}") from None
    return parse_json(text, str(file))


def parse_json(text: str, where: str) -> Any:
    """Return what a text of JSON holds; ``where`` names it.

    Raises:
        CertifyError: not JSON, nested deeper than :data:`DEEPEST`, a key that is there twice, a number that is not
            finite or has more than :data:`WIDEST` characters, or a string that is too long or holds control characters.
    """
    try:
        _check_tokens(text)
        return plain_json(text)
    except ValueError as error:
        raise CertifyError(f"{where}: not readable JSON: {shortened(str(error))}") from None


def plain_json(text: str) -> Any:
    """Return what a text of JSON holds, whose strings may be any text: an item of a benchmark.

    Raises:
        ValueError: not JSON, nested too deep, a key that is there twice, or a number that is not finite or too long.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_each_key_once, parse_constant=_finite, parse_float=_finite, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def validated(kind: type[Model], value: Any, where: str) -> Model:
    """Return ``value`` as a record, each scalar of exactly its own type.

    Raises:
        CertificateMismatch: a field is missing, unknown, of another type or out of range; the first one is named.
    """
    try:
        return kind.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise CertificateMismatch(f"{where}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """Return pydantic's first complaint as one line: field, rule, value."""
    problem = error.errors(include_url=False)[0]
    field = shortened(".".join(str(part) for part in problem["loc"]))
    message = shortened(problem["msg"].removeprefix("Value error, "))
    if not field:
        return message
    if problem["type"] in ("missing", "extra_forbidden"):
        return f"{field}: {message}"
    return f"{field}: {message}, got {shortened(repr(problem['input']), 60)}"


def _check_tokens(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        string, opens, closes = token.groups()
        if opens or closes:
            depth += 1 if opens else -1
            if depth > DEEPEST:
                raise ValueError(f"nested deeper than {DEEPEST}")
            continue
        if len(string) > LONGEST:
            raise ValueError(f"a string of {len(string):,} characters, at most {LONGEST:,} are read")
        plain = json.loads(f'"{string}"', strict=False) if "\\" in string else string
        if found := UNSEEN.search(plain):
            raise ValueError(f"a string holds the control character U+{ord(found.group()):04X}")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return value


def _finite(text: str) -> float:
    if len(text) > WIDEST or not math.isfinite(float(text)):
        raise ValueError(f"{shortened(text, 30)} is no finite number of at most {WIDEST} characters")
    return float(text)


def _whole(text: str) -> int:
    if len(text) > WIDEST:
        raise ValueError(f"{shortened(text, 30)} is no number of at most {WIDEST} characters")
    return int(text)
