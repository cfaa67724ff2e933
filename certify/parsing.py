"""Files that nobody vouches for: ordinary ones of a bounded size, JSON within bounds of depth and length, keys once.

Every refusal is one line: the file, what is wrong with it, and the rule.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import stat
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
        CertifyError: as :func:`read_text`, or it is not the JSON of :func:`parse_json`.
    """
    return parse_json(read_text(file, CertifyError), str(file))


def read_text(file: Path, refusal: type[CertifyError], largest: int = LARGEST) -> str:
    """Return the UTF-8 text of an ordinary file (a mark of byte order is no text) of at most ``largest`` bytes.

    Raises:
        CertifyError: of the kind ``refusal``; it is missing, a folder, pipe or device, too large or no such text.
    """
    if size_of(file, refusal) > largest:
        raise refusal(f"{file}: not readable: larger than {largest >> 20} MiB")
    try:
        return read_bytes(file, refusal).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(f"{file}: not readable as UTF-8 text: {error.reason} at byte {error.start}") from None


def read_bytes(file: Path, refusal: type[CertifyError]) -> bytes:
    """Return what an ordinary file holds; raises what :func:`size_of` does."""
    size_of(file, refusal)
    try:
        return file.read_bytes()
    except OSError as error:
        raise refusal(f"{file}: not readable: {error.strerror}") from None


def size_of(file: Path, refusal: type[CertifyError]) -> int:
    """Return the bytes of an ordinary file: a pipe would keep its reader waiting, a device never end.

    Raises:
        CertifyError: of the kind ``refusal``; it is missing, a folder, pipe or device, or cannot be looked at.
    """
    try:
        found = file.stat()
    except FileNotFoundError:
        raise refusal(f"{file}: no such file{nearest(file)}") from None
    except OSError as error:
        raise refusal(f"{file}: not readable: {error.strerror}") from None
    except ValueError:  # a null character
        raise refusal(f"{str(file)!r}: no name of a file") from None
    if not stat.S_ISREG(found.st_mode):
        raise refusal(f"{file}: not readable: it is no ordinary file")
    return found.st_size


def nearest(path: Path) -> str:
    """Name what lies where ``path`` first leaves the file system and is spelled most like it; nothing if unreadable."""
    lost = next((p for p in [path, *path.parents] if p.parent.is_dir() and not p.exists()), None)
    if lost is None:
        return ""
    try:
        there = [found.name for found in lost.parent.iterdir()]
    except OSError:
        return ""
    if close := difflib.get_close_matches(lost.name, there, n=3):
        return f" (did you mean {' or '.join(str(lost.parent / name) for name in close)}?)"
    return f" ({lost.parent} holds nothing of that name)"


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
            text, object_pairs_hook=each_key_once, parse_constant=_finite, parse_float=_finite, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def validated(
    kind: type[Model], value: Any, where: str, refusal: type[CertifyError] = CertificateMismatch
) -> Model:
    """Return ``value`` as a record, each scalar of exactly its own type.

    Raises:
        CertifyError: of the kind ``refusal``; a field is missing, unknown, of another type or out of range; the first
            one is named.
    """
    try:
        return kind.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise refusal(f"{where}: {first_problem(error)}") from None


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


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict.

    Raises:
        ValueError: a key is there twice, so that two programs could read two things.
    """
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
