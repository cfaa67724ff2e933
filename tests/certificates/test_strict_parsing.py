"""Files that nobody vouches for: each refused in one line, within bounds of time, whatever reads it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certify.documents import read_document
from certify.errors import CertifyError, InvalidInput
from certify.parsing import DEEPEST, LARGEST, LONGEST, parse_json
from certify.text import UNSEEN, refuse_unseen, visible

GOLDEN = Path(__file__).parents[1] / "golden"
CERTIFICATE = sorted(GOLDEN.rglob("*.point.json"))[0]
TEXT = CERTIFICATE.read_text(encoding="utf-8")

Damage = Callable[[str], str]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "a key twice": (lambda text: text.replace('"version": ', '"version": 1, "version": ', 1), "is there twice"),
    "NaN": (lambda text: text.replace('"alpha": 0.05', '"alpha": NaN', 1), "no finite number"),
    "infinity": (lambda text: text.replace('"alpha": 0.05', '"alpha": 1e400', 1), "no finite number"),
    "digits": (lambda text: text.replace('"alpha": 0.05', f'"alpha": {"9" * 4000}', 1), "no number of at most"),
    "text for a number": (lambda text: text.replace('"alpha": 0.05', '"alpha": "0.05"', 1), "alpha"),
    "true for a number": (lambda text: text.replace('"alpha": 0.05', '"alpha": true', 1), "alpha"),
    "true for a version": (lambda text: text.replace('"version": 1', '"version": true', 1), "version is True"),
    "depth": (lambda text: "[" * 100_000 + "]" * 100_000, f"nested deeper than {DEEPEST}"),
    "a long string": (lambda text: text.replace('"alpha"', f'"{"x" * (LONGEST + 1)}"', 1), "a string of 20,001"),
    "an escape": (lambda text: text.replace('"name": "', '"name": "\\u001b[31m', 1), "control character U+001B"),
    "a line separator": (lambda text: text.replace('"name": "', '"name": "\u2028', 1), "control character U+2028"),
    "half a character": (lambda text: text.replace('"name": "', '"name": "\\ud800', 1), "control character U+D800"),
    "a list": (lambda text: "[]", "schema is None"),
    "half a file": (lambda text: text[: len(text) // 2], "not readable JSON"),
    "nothing": (lambda text: "", "not readable JSON"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_refused_in_one_short_line(tmp_path: Path, damage: str) -> None:
    """File, what is wrong, the rule; in less than two seconds."""
    change, said = DAMAGES[damage]
    assert change(TEXT) != TEXT
    file = tmp_path / "certificate.json"
    file.write_text(change(TEXT), encoding="utf-8", errors="surrogatepass")
    start = time.perf_counter()
    with pytest.raises(CertifyError) as refusal:
        read_document(file)
    assert time.perf_counter() - start < 2.0
    text = str(refusal.value).replace(str(file), "FILE")
    assert text.startswith("FILE: ")
    assert said in text
    assert "\n" not in text
    assert len(text) < 300


def test_the_undamaged_file_is_read(tmp_path: Path) -> None:
    """The test above can fail: without its damage nothing is refused."""
    file = tmp_path / "certificate.json"
    file.write_text(TEXT, encoding="utf-8")
    assert read_document(file).digest == json.loads(TEXT)["digest"]


def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    """A FIFO would wait for ever, a folder is none, and a large file is not read to be refused."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large.json").touch()
    os.truncate(tmp_path / "large.json", LARGEST + 1)
    (tmp_path / "latin.json").write_bytes(b'{"schema": "\xe9"}')
    for name, said in (("fifo", "no ordinary file"), (".", "no ordinary file"), ("large.json", "larger than 64 MiB"),
                       ("gone", "no such file"), ("latin.json", "not readable as UTF-8 text: invalid")):  # fmt: skip
        with pytest.raises(CertifyError, match=said):
            read_document(tmp_path / name)


def test_every_control_character_is_refused_in_a_string() -> None:
    """Written as it is or escaped; ordinary text of any script is read."""
    for code in (0x00, 0x0A, 0x1B, 0x7F, 0x85, 0x9B, 0x2028, 0x202E, 0x2066, 0xDFFF):
        with pytest.raises(CertifyError, match=f"U\\+{code:04X}"):
            parse_json(f'["\\u{code:04x}"]', "it")
    assert parse_json('["näïve 模型 \\u00e9 \\ud83d\\ude00 \\\\u001b"]', "it") == ["näïve 模型 é 😀 \\u001b"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", "\\x3a:error::x"),
        ("  ::add-mask::x", "  \\x3a:add-mask::x"),
        ("a ##[error]b", "a #\\x23[error]b"),
        ("##vso[task.complete]", "#\\x23vso[task.complete]"),
        ("a\nb\x1b[2J\u202e", "a\\nb\\x1b[2J\\u202e"),
        ("a :: b, ## heading, naïve", "a :: b, ## heading, naïve"),
    ],
)
def test_nothing_hides_in_what_is_shown(text: str, shown: str) -> None:
    """Commands of build services and control characters are written out; other text stays."""
    assert visible(text) == shown
    assert UNSEEN.search(visible(text)) is None


def test_a_name_that_cannot_be_seen_is_refused() -> None:
    """Before it enters a record, which could then not be read."""
    with pytest.raises(InvalidInput, match=r"the checkpoint a\\x1bb: holds the control character U\+001B: rename it"):
        refuse_unseen("the checkpoint", "a\x1bb")


def test_a_law_without_the_size_of_a_tensor_is_refused(tmp_path: Path) -> None:
    """A record of any kind that holds a law: a damaged file, which is exit 4, and no error of certify itself."""
    tried = 0
    for file in GOLDEN.rglob("*.json"):
        value = json.loads(file.read_text(encoding="utf-8"))
        laws = list(_laws(value))
        for law in laws:
            law["sizes"].pop(next(iter(law["sizes"])))
        if laws:
            tried += 1
            (tmp_path / "damaged.json").write_text(json.dumps(value), encoding="utf-8")
            with pytest.raises(CertifyError, match="sizes: none is given for"):
                read_document(tmp_path / "damaged.json")
    assert tried > 3


def _laws(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and {"sigma", "sizes"} <= value.keys():
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _laws(each)
