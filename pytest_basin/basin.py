"""The object behind the fixture ``basin``: the base's measured basin, on every configured benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_basin.bound import CERTIFIED, Bound
from pytest_basin.results import overall
from pytest_basin.session import Session
from pytest_basin.sources import how_to_give

if TYPE_CHECKING:
    from certify.benchmarks import Benchmark


class Basin:
    """``checkpoint in basin`` is true only when position evidence is certified on every configured benchmark.

    ``base`` and ``checkpoint`` are what the fixtures of those names gave: a folder, a file or a hub id.
    """

    def __init__(
        self, session: Session, base: str, checkpoint: str, benchmarks: Mapping[str, Path | Benchmark], device: str
    ) -> None:
        self.base, self.checkpoint = base, checkpoint
        self._session, self._benchmarks, self._device = session, benchmarks, device
        self._found: dict[tuple[int, str], list[Bound]] = {}

    def __contains__(self, checkpoint: object) -> bool:
        __tracebackhide__ = True
        return overall(bound.verdict for bound in self.bounds(checkpoint)) == CERTIFIED

    def __repr__(self) -> str:
        return f"<basin of {Path(self.base).name}>"

    def bounds(self, checkpoint: object) -> list[Bound]:
        """Return what position evidence says on each benchmark; measured once in each run of a test."""
        __tracebackhide__ = True
        from certify.checkpoints import Checkpoint

        if not isinstance(checkpoint, str | Path | Checkpoint):
            raise TypeError(
                "a basin holds checkpoints, each named by a str or Path, or opened by certify.open_checkpoint; got "
                f"{type(checkpoint).__name__}"
            )
        if not self._benchmarks:
            pytest.fail("no benchmark to gate on: " + how_to_give("benchmark", "FILE.jsonl"), pytrace=False)
        place = self._session.sources.named(checkpoint)
        key = (self._session.runs, place)
        if key not in self._found:
            self._found = {key: [self._bound(name, place) for name in self._benchmarks]}
        return self._found[key]

    def _bound(self, benchmark: str, checkpoint: str) -> Bound:
        __tracebackhide__ = True
        gate = self._session.position_gate(benchmark)
        name = f"{self._session.item_name}: {benchmark}"
        return self._session.measure(name, gate, self.base, checkpoint, self._benchmarks[benchmark], self._device)
