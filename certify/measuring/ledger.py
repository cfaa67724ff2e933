"""Finished draws on disk: append-only, one file per process, so that a killed run resumes and ranks never collide.

A ledger is a folder named by the digest of everything that its scores depend on. Each process opens a file of its
own in it, writes a header and then one line for each finished draw: JSON behind its CRC-32, so that any flipped bit is
seen. A line that does not fit its checksum is no draw: it is warned of, and that draw is drawn again. A last line
without its end is what a crash cut off. The same draw twice with the same score is one draw; with different scores it
is an error.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certify.errors import CertificateMismatch, CertifyWarning, InvalidInput
from certify.measuring.sealed_lines import sealed, unsealed
from certify.parsing import read_bytes
from certify.records import canonical_json, digest
from certify.writing import write_whole, writing

Entry = tuple[float | None, float]  # score (None: no answer), share of items without an answer
SYNC_EVERY, SYNC_AFTER = 64, 5.0  # lines, seconds: what a power cut may cost


class Ledger:
    """The finished draws of one run. ``identity["draws"]``, where there is one, is how many the run has."""

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        self._identity = json.loads(canonical_json(identity))
        self.folder = root / digest(self._identity).removeprefix("sha256:")[:32]

    def read(self) -> dict[int, Entry]:
        """Return every finished draw that is whole; what is damaged is warned of and left out.

        Raises:
            CertificateMismatch: a file is of another run or holds a draw that this run has not, or one draw has two
                different scores.
        """
        found: dict[int, Entry] = {}
        for file in sorted(self.folder.glob("ledger.*.jsonl")):
            for number, (draw, entry) in self._entries(file):
                known = found.setdefault(draw, entry)
                if known != entry:
                    raise CertificateMismatch(
                        f"{file}:{number}: draw {draw} scored {entry[0]}, elsewhere in this ledger {known[0]}; the "
                        "machine does not repeat its own scores, so no draw of it is evidence"
                    )
        return found

    def _entries(self, file: Path) -> Iterator[tuple[int, tuple[int, Entry]]]:
        """Yield number of line, draw and entry of every whole line but the header."""
        lines = read_bytes(file, InvalidInput).split(b"\n")[:-1]  # what follows the last newline was cut off
        if not lines:
            return
        parsed = [unsealed(line) for line in lines]
        damaged = [number for number, value in enumerate(parsed, 1) if value is None]
        if 1 in damaged:
            _warn(f"{file}:1: the header is damaged: the draws of this file are drawn again")
            return
        if parsed[0] != self._identity:
            raise CertificateMismatch(f"{file}: is the ledger of another run: {self._differences(parsed[0])}")
        if damaged:
            _warn(f"{file}:{damaged[0]}: damaged ({len(damaged)} of {len(lines)} lines): these draws are drawn again")
        for number, value in enumerate(parsed[1:], 2):
            if value is not None:
                yield number, self._entry(value, f"{file}:{number}")

    def _entry(self, value: Any, where: str) -> tuple[int, Entry]:
        draws = self._identity.get("draws", math.inf)  # the points of a landscape have no last one
        match value:
            case [int(draw), (float() | None) as score, float(failed)] if 0 <= draw < draws:
                return draw, (score, failed)
        raise CertificateMismatch(f"{where}: is no draw of this run; delete the file and run again")

    def _differences(self, other: Any) -> str:
        if not isinstance(other, dict):
            return "no header"
        keys = sorted(k for k in self._identity.keys() | other.keys() if self._identity.get(k) != other.get(k))
        return ", ".join(keys)

    @contextmanager
    def writer(self, rank: int) -> Iterator[Callable[[int, Entry], None]]:
        """Yield a function that appends one finished draw to this process's own file."""
        path = self.folder / f"ledger.{rank}.{os.getpid()}.{secrets.token_hex(8)}.jsonl"  # no clock: clocks jump
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("xb", buffering=0)  # what a full disk refuses is not tried again when the file is closed
        with file:
            synced, pending = time.monotonic(), 0

            def write(value: Any) -> None:
                rest = memoryview(sealed(value) + b"\n")
                with writing(path):
                    while rest:
                        rest = rest[file.write(rest) :]

            def append(draw: int, entry: Entry) -> None:
                nonlocal synced, pending
                score, failed = entry
                write([draw, None if score is None else float(score), float(failed)])
                pending += 1
                if pending >= SYNC_EVERY or time.monotonic() - synced >= SYNC_AFTER:
                    os.fsync(file.fileno())
                    synced, pending = time.monotonic(), 0

            write(self._identity)
            try:
                yield append
            finally:
                with writing(path):
                    os.fsync(file.fileno())

    def kept(self, name: str) -> Any:
        """Return what :meth:`keep` kept under ``name``; None where there is nothing, or where it is damaged."""
        file = self.folder / name
        if not os.path.lexists(file):
            return None
        value = unsealed(read_bytes(file, InvalidInput).removesuffix(b"\n"))
        if value is None:
            _warn(f"{file}: damaged: it is made again")
        return value

    def keep(self, name: str, value: Any) -> None:
        """Keep ``value`` beside the draws, as a whole or not at all."""
        write_whole(self.folder / name, sealed(value).decode() + "\n")


def _warn(text: str) -> None:
    warnings.warn(text, CertifyWarning, stacklevel=2)
