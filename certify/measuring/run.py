"""How draws are carried out: what shows progress, where finished ones are kept, which share is this process's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certify.errors import InvalidPlan
from certify.measuring.ledger import Entry, Ledger
from certify.measuring.world import World

Track = Callable[[Sequence[int], str], Iterable[int]]


def silent(indices: Sequence[int], label: str) -> Iterable[int]:
    """Show nothing."""
    return indices


@dataclass(frozen=True)
class Run:
    """``track`` wraps each loop over draws; ``ledgers`` is the folder of finished draws, None to keep none."""

    track: Track = silent
    ledgers: Path | None = None
    world: World = field(default_factory=World)

    def carry_out(
        self, draws: Sequence[int], score: Callable[[int], Entry], label: str, identity: Mapping[str, Any]
    ) -> list[Entry]:
        """Return ``score(i)`` for every draw, in order; draws that a ledger holds are not repeated.

        ``identity`` is everything that a score depends on beside its draw. The result does not depend on how many
        processes share the work, or how often they were killed.

        Raises:
            InvalidPlan: several processes without a folder to meet in, or one of them did not finish its share.
        """
        if self.ledgers is None:
            if self.world.size > 1:
                raise InvalidPlan("several processes need a folder for their finished draws")
            return [score(i) for i in self.track(draws, label)]
        ledger = Ledger(self.ledgers, identity)
        with self._alone(ledger):
            done = ledger.read()
            mine = self.world.share([i for i in draws if i not in done])
            if mine:
                with ledger.writer(self.world.rank) as append:
                    for i in self.track(mine, label):
                        append(i, score(i))
            self.world.wait()
            done = ledger.read()
        missing = [i for i in draws if i not in done]
        if missing:
            raise InvalidPlan(f"{len(missing)} of {len(draws)} draws are missing ({label}); run the same command again")
        return [done[i] for i in draws]

    @contextmanager
    def _alone(self, ledger: Ledger) -> Iterator[None]:
        """Let one single-process run at a time work on a ledger: another waits, and then finds the draws done."""
        if self.world.size > 1:
            yield
            return
        from filelock import FileLock

        ledger.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(ledger.folder / "lock"):
            yield
