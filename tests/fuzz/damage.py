"""What can be done to a file, from a seed: bytes, JSON in every coat that it wears, tables, archives, kinds of file."""

from __future__ import annotations

import base64
import contextlib
import copy
import csv
import io
import json
import os
import random
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from certify.errors import CertifyError
from certify.records import digest

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e-320, 1e308, 10**12, -(10**12), 2**63, "", " ", "x", "x" * 70_000,
    "\x00", "\x1b[31mred", "a\nb", "::error::x", "\ud800", "../../etc/passwd", "/dev/zero", [], {}, [[]], [None],
    {"": None}, ["a"] * 3000, {"a": {"a": {"a": {}}}}, "NaN", "1e400", "sha256:" + "0" * 64, "(a+)+$",
    "float8_e4m3fn", "llama", "gpt2",
]  # fmt: skip
RAW = ["NaN", "Infinity", "-Infinity", "1e400", "1" * 5000, "[" * 5000, "{", "}", '"', "\\", "\x00", "//", ",,", "'a'",
       "-", "01"]  # fmt: skip
TOKENS = b"\x00\xff\n\r{}[]\",:\\0123456789eE-+.truefalsn\xe2\x80\xa8"
WORDS = ["", "0", "-1", "1", "0.5", "nan", "inf", "1e400", "1e-400", "9" * 400, "x", "a\nb", "\udc80", "/", ".", "..",
         "/dev/null", "/dev/full", "x" * 5000, "hf://a/b", "hf://", "random", "auto", "cuda:7", "meta", "-", "--", "=",
         "[]", "0,0", "0.1,0.1", "1:2", "ü", "%s", "{}"]  # fmt: skip

Damage = Callable[[random.Random, bytes], bytes]


def damage_file(rng: random.Random, path: Path) -> None:
    """Damage one file in one way that fits it."""
    if rng.randrange(12) == 0:
        return damage_kind(rng, path)
    raw, mode = path.read_bytes(), path.stat().st_mode
    fitting = OF_NAMES.get(path.name) or OF_ENDINGS.get(path.suffix, damage_bytes)
    damage = fitting if rng.randrange(3) else damage_bytes
    path.unlink()  # the one here is a link to the world's
    path.write_bytes(damage(rng, raw))
    path.chmod(mode)
    return None


def damage_kind(rng: random.Random, path: Path) -> None:
    """Put something that is no ordinary file, or none, in its place."""
    path.unlink()
    choice = rng.randrange(6)
    if choice == 0:
        os.mkfifo(path)
    elif choice == 1:
        path.mkdir()
    elif choice == 2:
        path.symlink_to(path)
    elif choice == 3:
        path.symlink_to(rng.choice(("/dev/zero", "/dev/null", "nowhere")))
    elif choice == 4:
        path.write_bytes(b"")


def damage_bytes(rng: random.Random, raw: bytes) -> bytes:
    """Flip, cut, insert, repeat or mix bytes."""
    at = rng.randrange(len(raw) + 1)
    end = min(len(raw), at + rng.choice((1, 2, 8, 100, 5000)))
    choice = rng.randrange(7)
    if choice == 0 and raw:
        flipped = bytearray(raw)
        for _ in range(rng.choice((1, 1, 3, 20))):
            flipped[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if choice == 1:
        return raw[:at]
    if choice == 2:
        return raw[:at] + bytes(rng.choice(TOKENS) for _ in range(rng.choice((1, 3, 30)))) + raw[at:]
    if choice == 3:
        return raw[:at] + raw[end:]
    if choice == 4:
        return raw[:end] + raw[at:end] * rng.choice((1, 3, 50)) + raw[end:]
    if choice == 5:
        return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"")) + rng.choice((raw, b"", raw[:40]))
    return raw[:at] + rng.choice(RAW).encode() + raw[end:]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 4)):
            yield from places(value[i], (*path, i))


def damage_value(rng: random.Random, value: Any) -> Any:
    """Replace, delete, double or add one thing of a JSON value; sometimes two."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        path = rng.choice([*places(value)])
        if not path:
            value = copy.deepcopy(rng.choice((value, *VALUES)))  # damaged further, it would be another value next time
            continue
        parent = value
        for step in path[:-1]:
            parent = parent[step]
        how = rng.randrange(5)
        if how == 0:
            del parent[path[-1]]
        elif how == 1 and isinstance(parent, dict):
            key = rng.choice(("x", "", "\x1b", path[-1] + "_", "transformers_weights", "quantization_config"))
            parent[key] = copy.deepcopy(rng.choice(VALUES))
        else:
            parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
        if not isinstance(value, dict | list):
            break
    return value


def damage_json(rng: random.Random, raw: bytes) -> bytes:
    """Damage a JSON value; now and then a key is there twice. Half of the records are sealed anew, as forgers do."""
    try:
        value = json.loads(raw)
    except ValueError:  # a line behind its checksum, as finished draws are
        return damage_bytes(rng, raw)
    value = damage_value(rng, value)
    if isinstance(value, dict) and "digest" in value and rng.randrange(2):
        _seal(value)
    text = json.dumps(value)
    if rng.randrange(10) == 0 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + ", " + text[1:]
    return text.encode(errors="surrogatepass")


def _seal(value: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError, CertifyError):  # half a character has no digest
        value["digest"] = digest({name: each for name, each in value.items() if name != "digest"})


def damage_lines(rng: random.Random, raw: bytes) -> bytes:
    """Damage one line of JSON as JSON."""
    lines = raw.split(b"\n")
    i = rng.randrange(len(lines) - 1)
    lines[i] = damage_json(rng, lines[i])
    return b"\n".join(lines)


def damage_toml(rng: random.Random, raw: bytes) -> bytes:
    """Damage the values of a TOML file."""
    return written_toml(damage_value(rng, tomllib.loads(raw.decode()))).encode(errors="surrogatepass")


def written_toml(value: Any) -> str:
    """Return a value as TOML, tables inline; what is no table stands there as it is, and is none."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return "".join(f"{json.dumps(name)} = {_inline(each)}\n" for name, each in value.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_inline(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


def damage_yaml(rng: random.Random, raw: bytes) -> bytes:
    """Damage the values of a YAML file; JSON is YAML."""
    value = damage_value(rng, yaml.safe_load(raw))
    return json.dumps(value).encode(errors="surrogatepass")


def damage_csv(rng: random.Random, raw: bytes) -> bytes:
    """Put an odd word into a cell, or a row more or less."""
    rows = list(csv.reader(io.StringIO(raw.decode())))
    row = rng.randrange(len(rows))
    choice = rng.randrange(6)
    if choice == 0:
        rows.insert(row, list(rows[row]))
    elif choice == 1:
        del rows[row]
    elif choice == 2:
        rows[row].append(rng.choice(WORDS))
    else:
        rows[row][rng.randrange(len(rows[row]))] = rng.choice(WORDS)
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


def damage_safetensors(rng: random.Random, raw: bytes) -> bytes:
    """Change the header as JSON, its length, or the numbers behind it."""
    size = int.from_bytes(raw[:8], "little")
    choice = rng.randrange(4)
    if choice == 0:
        return damage_bytes(rng, raw)
    if choice == 1:
        return rng.choice((0, 1, size + 1, 2**31, 2**63, 2**64 - 1)).to_bytes(8, "little") + raw[8:]
    if choice == 2:
        at = rng.randrange(8 + size, len(raw) - 8)
        return raw[:at] + rng.choice((b"\xff\xff\xff\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\xff")) + raw[at + 4 :]
    header = damage_json(rng, raw[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + raw[8 + size :]


def damage_archive(rng: random.Random, raw: bytes) -> bytes:
    """Damage one of the JSON files in a ZIP archive, its name, or how it is stored."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    choice = rng.randrange(4)
    if choice == 0:
        members[rng.choice(("", "x" * 60_000, "../" + name, name.upper()))] = members.pop(name)
    else:
        members[name] = (damage_json if choice > 1 else damage_bytes)(rng, members[name])
    file, how = io.BytesIO(), rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(file, "w", how) as archive:
        for each, content in members.items():
            archive.writestr(zipfile.ZipInfo(each), content)
    return file.getvalue()


def damage_envelope(rng: random.Random, raw: bytes) -> bytes:
    """Damage an envelope as JSON, or the statement in it, signed anew by the key's own holder."""
    if rng.randrange(2):
        return damage_json(rng, raw)
    from hostile_world import signed

    envelope = json.loads(raw)
    payload = (damage_json if rng.randrange(4) else damage_bytes)(rng, base64.b64decode(envelope["payload"]))
    return signed(payload, rng.choice((envelope["payloadType"], "", "text/plain", "\u2028")))


OF_ENDINGS: dict[str, Damage] = {
    ".json": damage_json, ".safetensors": damage_safetensors, ".jsonl": damage_lines, ".toml": damage_toml,
    ".yaml": damage_yaml, ".csv": damage_csv, ".eval": damage_archive,
}  # fmt: skip
OF_NAMES: dict[str, Damage] = {"envelope.json": damage_envelope}
