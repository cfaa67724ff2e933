"""How draws are carried out: what shows progress, where finished ones are kept, which share is this process's."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from certify.errors import InvalidPlan
from certify.locks import held
from certify.measuring.ledger import Entry, Ledger
from certify.measuring.world import World
from certify.parsing import validated
from certify.records import Record

Choice = TypeVar("Choice", bound=Record)
CHOICE = "choice.json"
Track = Callable[[Sequence[int], str], Iterable[int]]


def silent(indices: Sequence[int], label: str) -> Iterable[int]:
    """Show nothing."""
    return indices


@dataclass(frozen=True)
class Run:
    """``track`` wraps each loop over draws; ``ledgers`` is the folder of finished draws, None to keep none.

    ``filed`` is the folder that certificates go to, None where they go nowhere: earlier attempts are read there.
    ``longest_wait``: seconds to wait for another run of the same draws, None for as long as it takes.
    ``tell`` takes a line on what is about to be done, timed at the base first; None where nobody asks. Given to
    one process of several it is given to all, or they would not meet. ``price_per_hour``: what it counts money by.
    """

    track: Track = silent
    ledgers: Path | None = None
    filed: Path | None = None
    world: World = field(default_factory=World)
    longest_wait: float | None = None
    tell: Callable[[str], None] | None = None
    price_per_hour: float | None = None

    def carry_out(
        self, draws: Sequence[int], score: Callable[[int], Entry], label: str, identity: Mapping[str, Any]
    ) -> list[Entry]:
        """Return ``score(i)`` for every draw, in order; draws that a ledger holds are not repeated.

        ``identity`` is everything that a score depends on beside its draw. The result does not depend on how many
        processes share the work, or how often they were killed.

        Raises:
            InvalidPlan: several processes without a folder to meet in, or one of them did not finish its share.
        """
        found = self.carry_out_batches([[i] for i in draws], lambda batch: [score(batch[0])], label, identity)
        return [found[i] for i in draws]

    def carry_out_batches(
        self,
        batches: Sequence[Sequence[int]],
        score: Callable[[Sequence[int]], Sequence[Entry]],
        label: str,
        identity: Mapping[str, Any],
    ) -> dict[int, Entry]:
        """Return the entry of every draw of ``batches``, each batch scored at once, as :meth:`carry_out` does.

        A batch of which a ledger holds a part is scored again as a whole: its shape may move digits.
        """
        if self.ledgers is None:
            if self.world.size > 1:
                raise InvalidPlan("several processes need a folder for their finished draws")
            turns = self.track(range(len(batches)), label)
            return {i: entry for b in turns for i, entry in zip(batches[b], score(batches[b]), strict=True)}
        ledger = Ledger(self.ledgers, identity)
        with self._alone(ledger):
            done = ledger.read()
            mine = self.world.share([b for b, batch in enumerate(batches) if any(i not in done for i in batch)])
            if mine:
                with ledger.writer(self.world.rank) as append:
                    for b in self.track(mine, label):
                        for i, entry in zip(batches[b], score(batches[b]), strict=True):
                            if i not in done:
                                append(i, entry)
            self.world.wait()
            done = ledger.read()
        draws = [i for batch in batches for i in batch]
        missing = [i for i in draws if i not in done]
        if missing:
            raise InvalidPlan(f"{len(missing)} of {len(draws)} draws are missing ({label}); run the same command again")
        return {i: done[i] for i in draws}

    def settled(self, choose: Callable[[], Choice], kind: type[Choice], identity: Mapping[str, Any]) -> Choice:
        """Return what ``choose`` finds, or what it found when this run was begun: kept beside the finished draws.

        A choice that rests on timings must not change when a killed run resumes, nor differ between processes.
        """
        if self.ledgers is None:
            return choose()
        ledger = Ledger(self.ledgers, identity)
        with self._alone(ledger):
            if self.world.rank == 0 and ledger.kept(CHOICE) is None:
                ledger.keep(CHOICE, choose().model_dump(mode="json"))
            self.world.wait()
            return validated(kind, ledger.kept(CHOICE), str(ledger.folder / CHOICE))

    def in_turn(
        self,
        blocks: Iterable[Sequence[int]],
        score: Callable[[Sequence[int]], Sequence[Entry]],
        identity: Mapping[str, Any],
    ) -> Generator[Entry, None, None]:
        """Yield the entries of one block of draws after the other, in order, for as long as the caller asks.

        ``blocks`` is asked for a block only when all before it were yielded, so it may depend on them. Processes
        share each block and meet at its end. Ledgers are kept as by :meth:`carry_out_batches`.

        Raises:
            InvalidPlan: several processes without a folder to meet in, or one of them did not finish its share.
        """
        if self.ledgers is None:
            if self.world.size > 1:
                raise InvalidPlan("several processes need a folder for their finished draws")
            for block in blocks:
                yield from score(block)
            return
        ledger = Ledger(self.ledgers, identity)
        with self._alone(ledger), ExitStack() as writing:
            done, append = ledger.read(), None
            for block in blocks:
                mine = self.world.share(block)
                if any(i not in done for i in mine):
                    append = append or writing.enter_context(ledger.writer(self.world.rank))
                    for i, entry in zip(mine, score(mine), strict=True):
                        if i not in done:
                            append(i, entry)
                            done[i] = entry
                if self.world.size > 1:
                    self.world.wait()
                    done = ledger.read()
                if missing := [i for i in block if i not in done]:
                    raise InvalidPlan(f"{len(missing)} of draws {block[0]} to {block[-1]} are missing; run again")
                yield from (done[i] for i in block)

    @contextmanager
    def _alone(self, ledger: Ledger) -> Iterator[None]:
        """Let one single-process run at a time work on a ledger: another waits, and then finds the draws done."""
        if self.world.size > 1:
            yield
            return
        ledger.folder.mkdir(parents=True, exist_ok=True)
        with held(ledger.folder / "lock", self.longest_wait):
            yield
