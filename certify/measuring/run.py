"""How draws are carried out: what shows progress, where finished ones are kept, which share is this process's."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from certify.cluster import Crew, Member
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
    ``crew``: the actors that score this driver's draws; in an actor, the actor.
    """

    track: Track = silent
    ledgers: Path | None = None
    filed: Path | None = None
    world: World = field(default_factory=World)
    longest_wait: float | None = None
    tell: Callable[[str], None] | None = None
    price_per_hour: float | None = None
    crew: Crew | Member | None = None

    @property
    def sharers(self) -> int:
        """How many score its draws."""
        return self.crew.size if isinstance(self.crew, Crew) else self.world.size

    @property
    def alone(self) -> bool:
        """Whether nobody shares its draws."""
        return self.crew is None and self.world.size == 1

    def same(
        self,
        identity: Mapping[str, Any],
        find: Callable[[], Any],
        score: Callable[[Sequence[int]], Sequence[Entry]] | None = None,
    ) -> Any:
        """Return what ``find`` finds; an actor is told what its driver found, and scores what it is given until then.

        ``identity`` says what it is, and is the same wherever it is the same.
        """
        if isinstance(self.crew, Member):
            return self.crew.result(identity, score)
        found = find()
        if self.crew is not None:
            self.crew.tells(identity, found)
        return found

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
        found: dict[int, Entry] = self.same(
            identity, lambda: self._carried_out(batches, score, label, identity), score
        )
        return found

    def _carried_out(
        self,
        batches: Sequence[Sequence[int]],
        score: Callable[[Sequence[int]], Sequence[Entry]],
        label: str,
        identity: Mapping[str, Any],
    ) -> dict[int, Entry]:
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
                    todo = {b: batches[b] for b in mine}
                    scored = self._scored(todo, score, identity)
                    for _, (b, entries) in zip(self.track(mine, label), scored, strict=True):
                        for i, entry in zip(batches[b], entries, strict=True):
                            if i not in done:
                                append(i, entry)
            self.world.wait()
            done = ledger.read()
        draws = [i for batch in batches for i in batch]
        missing = [i for i in draws if i not in done]
        if missing:
            raise InvalidPlan(f"{len(missing)} of {len(draws)} draws are missing ({label}); run the same command again")
        return {i: done[i] for i in draws}

    def _scored(
        self,
        batches: Mapping[int, Sequence[int]],
        score: Callable[[Sequence[int]], Sequence[Entry]],
        identity: Mapping[str, Any],
    ) -> Iterator[tuple[int, Sequence[Entry]]]:
        """Yield place and entries of each batch: in order where it is scored here, else as actors are done."""
        if isinstance(self.crew, Crew) and len(batches) > 1:
            yield from self.crew.scored(identity, batches)
        else:
            yield from ((place, score(batch)) for place, batch in batches.items())

    def settled(self, choose: Callable[[], Choice], kind: type[Choice], identity: Mapping[str, Any]) -> Choice:
        """Return what ``choose`` finds, or what it found when this run was begun: kept beside the finished draws.

        A choice that rests on timings must not change when a killed run resumes, nor differ between processes.
        """
        found = self.same(identity, lambda: self._chosen(choose, kind, identity).model_dump(mode="json"))
        return validated(kind, found, "what the driver chose")

    def _chosen(self, choose: Callable[[], Choice], kind: type[Choice], identity: Mapping[str, Any]) -> Choice:
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
        if isinstance(self.crew, Member):
            for block in blocks:
                found = self.crew.result(_block_of(identity, block), score)
                yield from (found[i] for i in block)
            return
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
                    parts = dict(enumerate(self._parts(mine)))
                    for part, entries in self._scored(parts, score, _block_of(identity, block)):
                        for i, entry in zip(parts[part], entries, strict=True):
                            if i not in done:
                                append(i, entry)
                                done[i] = entry
                if self.world.size > 1:
                    self.world.wait()
                    done = ledger.read()
                if missing := [i for i in block if i not in done]:
                    raise InvalidPlan(f"{len(missing)} of draws {block[0]} to {block[-1]} are missing; run again")
                if isinstance(self.crew, Crew):
                    self.crew.tells(_block_of(identity, block), {i: done[i] for i in block})
                yield from (done[i] for i in block)

    def _parts(self, block: Sequence[int]) -> list[Sequence[int]]:
        """Cut a block into what it is given out in: two parts for each actor."""
        size = -(-len(block) // (2 * self.sharers)) if isinstance(self.crew, Crew) else len(block)
        return [block[start : start + size] for start in range(0, len(block), size)]

    @contextmanager
    def _alone(self, ledger: Ledger) -> Iterator[None]:
        """Let one single-process run at a time work on a ledger: another waits, and then finds the draws done."""
        if self.world.size > 1:
            yield
            return
        ledger.folder.mkdir(parents=True, exist_ok=True)
        with held(ledger.folder / "lock", self.longest_wait):
            yield


def _block_of(identity: Mapping[str, Any], block: Sequence[int]) -> dict[str, Any]:
    return {**identity, "block": [*block]}
