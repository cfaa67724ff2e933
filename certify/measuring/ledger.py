"""Finished draws on disk: append-only, one file per process, so that a killed run resumes and ranks never collide.

A ledger is a folder named by the digest of everything that its scores depend on. Each process opens a file of its
own in it, writes a header line and then one line for each finished draw. A last line that a crash cut off is
ignored; anything else that does not parse is an error. The same draw twice with the same score is one draw; with
different scores it is an error.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certify.errors import CertificateMismatch
from certify.records import canonical_json, digest

Entry = tuple[float | None, float]  # score (None: no answer), share of items without an answer
SYNC_EVERY, SYNC_AFTER = 64, 5.0  # lines, seconds: what a power cut may cost


class Ledger:
    """The finished draws of one run."""

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        self._identity = json.loads(canonical_json(identity))
        self.folder = root / digest(self._identity).removeprefix("sha256:")[:32]

    def read(self) -> dict[int, Entry]:
        """Return every finished draw.

        Raises:
            CertificateMismatch: a line other than a file's last does not parse, a header is of another run, or
                one draw has two different scores.
        """
        found: dict[int, Entry] = {}
        for file in sorted(self.folder.glob("ledger.*.jsonl")):
            for number, (draw, entry) in enumerate(self._entries(file), 2):
                known = found.setdefault(draw, entry)
                if known != entry:
                    raise CertificateMismatch(
                        f"{file}:{number}: draw {draw} scored {entry[0]}, elsewhere in this ledger {known[0]}; the "
                        "machine does not repeat its own scores, so no draw of it is evidence"
                    )
        return found

    def _entries(self, file: Path) -> Iterator[tuple[int, Entry]]:
        whole = file.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last newline was cut off
        parsed = [self._parse(file, i, line) for i, line in enumerate(whole, 1)]
        if not parsed:
            return
        if parsed[0] != self._identity:
            raise CertificateMismatch(f"{file}: is the ledger of another run: {self._differences(parsed[0])}")
        for value in parsed[1:]:
            draw, score, failed = value
            yield int(draw), (score, failed)

    def _parse(self, file: Path, number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except ValueError:
            raise CertificateMismatch(f"{file}:{number}: damaged; delete the file and run again") from None

    def _differences(self, other: Any) -> str:
        if not isinstance(other, dict):
            return "no header"
        keys = sorted(k for k in self._identity.keys() | other.keys() if self._identity.get(k) != other.get(k))
        return ", ".join(keys)

    @contextmanager
    def writer(self, rank: int) -> Iterator[Callable[[int, Entry], None]]:
        """Yield a function that appends one finished draw to this process's own file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"ledger.{rank}.{os.getpid()}.{time.time_ns()}.jsonl"
        with path.open("xb") as file:
            synced, pending = time.monotonic(), 0

            def write(value: Any) -> None:
                file.write((canonical_json(value) + "\n").encode())
                file.flush()

            def append(draw: int, entry: Entry) -> None:
                nonlocal synced, pending
                write([draw, *entry])
                pending += 1
                if pending >= SYNC_EVERY or time.monotonic() - synced >= SYNC_AFTER:
                    os.fsync(file.fileno())
                    synced, pending = time.monotonic(), 0

            write(self._identity)
            try:
                yield append
            finally:
                os.fsync(file.fileno())
