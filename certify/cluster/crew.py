"""The driver's side of a run on actors: who scores which draws, and what everyone is told.

Work is given out in small parts, each about a second long by the pace of the actor that takes it. What an actor held
that died goes to another, and a new actor takes its place. A part that is overdue when nothing else is left is given to
an idle actor too: a draw is a pure function of its number, so what comes first counts.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from certify.cluster.member import Batch, Ended, Given, Message, Reply, Started, Told, Waiting
from certify.errors import CertificateMismatch, CertifyWarning, InvalidInput, InvalidPlan
from certify.records import digest
from certify.text import shortened

PART = 1.0  # seconds of work that are given out at once
OVERDUE = 2.0  # times what a part should take, and TICK more: then an idle actor does it too
TICK = 0.1  # seconds between looks for overdue parts
START_WITHIN = 180.0  # seconds for the first actor


class Gone(NamedTuple):
    """An actor is no more; ``why`` in a few words."""

    why: str


class Line(Protocol):
    """How the driver reaches its actors, which it calls by numbers."""

    def recruit(self, number: int) -> None:
        """Have an actor started; it says :class:`Started`."""

    def send(self, number: int, reply: Reply | None) -> None:
        """Answer an actor; it says something again."""

    def next(self, timeout: float) -> tuple[int, Message | Gone] | None:
        """Return what an actor said, None if none did in so many seconds."""


@dataclass
class _Hand:
    """What the driver knows of an actor: where it is, what it waits for (None while it works), what it was given.

    ``part`` holds places of batches ``of`` one thing to be scored, ``pace`` the seconds that one of them took.
    """

    place: str = ""
    waits: str | None = None
    identity: Mapping[str, Any] | None = None
    of: str = ""
    part: tuple[int, ...] = ()
    since: float = 0.0
    pace: float | None = None


class Crew:
    """``size`` actors that work for one driver, from when there is something to share."""

    def __init__(self, line: Line, size: int) -> None:
        self.size = size
        self._line = line
        self._hands: dict[int, _Hand] = {}
        self._known: dict[str, tuple[Mapping[str, Any], Any]] = {}
        self._recruited, self._lost, self._begun = 0, 0, time.monotonic()

    def tells(self, identity: Mapping[str, Any], value: Any) -> None:
        """Keep what ``identity`` came to, for every actor that asks, now or later."""
        self._known[digest(identity)] = identity, value
        self._answer()

    def scored(self, identity: Mapping[str, Any], batches: Mapping[int, Batch]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield place and entries of every batch, as they come.

        Raises:
            InvalidInput: an actor is about something else than the driver: other weights, items, versions, device.
            InvalidPlan: no actor starts, or all die again and again.
        """
        key, work = digest(identity), _Work(batches)
        fresh: list[int] = []
        while True:
            self._fill_up()
            self._answer()
            self._refuse_others(key, identity)
            for number, hand in self._hands.items():
                if hand.waits != key:
                    continue
                if hand.of != key:
                    hand.of, hand.pace = key, None  # draws of one item and of all are no measure of each other
                if part := work.part(hand, self.size) or self._overdue(key, hand, work):
                    hand.part, hand.since = part, time.monotonic()
                    self._reply(number, Given(tuple((place, tuple(batches[place])) for place in part)))
            yield from ((place, work.found[place]) for place in fresh)
            if len(work.found) == len(batches):
                return
            fresh = self._received(key, work)

    def _fill_up(self) -> None:
        while len(self._hands) < self.size:
            if not any(hand.place for hand in self._hands.values()):
                self._begun = time.monotonic()  # nobody is left, or was there: a new one has time to start
            self._hands[self._recruited] = _Hand()
            self._line.recruit(self._recruited)
            self._recruited += 1

    def _answer(self) -> None:
        for number, hand in self._hands.items():
            if hand.waits in self._known:
                self._reply(number, Told(self._known[hand.waits][1]))

    def _reply(self, number: int, reply: Reply) -> None:
        self._hands[number].waits = None
        self._line.send(number, reply)

    def _overdue(self, key: str, idle: _Hand, work: _Work) -> tuple[int, ...]:
        """Return what is left of the part that is out for longest, if all who have it are overdue with it."""
        at_work = [hand for hand in self._hands.values() if hand.of == key and hand.part]
        pace = min([*(h.pace for h in at_work if h.pace), idle.pace or PART])
        late = [h for h in at_work if time.monotonic() - h.since > OVERDUE * pace * len(h.part) + TICK]
        in_time = {place for hand in at_work if hand not in late for place in hand.part}
        for hand in sorted(late, key=lambda each: each.since):
            if left := tuple(place for place in hand.part if place not in work.found and place not in in_time):
                return left
        return ()

    def _received(self, key: str, work: _Work) -> list[int]:
        """Wait for what an actor says, and return the places that were scored for the first time."""
        heard = self._line.next(TICK)
        if heard is None:
            if not any(hand.place for hand in self._hands.values()) and time.monotonic() - self._begun > START_WITHIN:
                raise InvalidPlan(
                    f"--ray: no actor has started in {START_WITHIN:g} s; the cluster has no room for one, or its "
                    "machines have no pytest-basin"
                )
            return []
        number, said = heard
        hand = self._hands.get(number, _Hand())
        match said:
            case Gone(why):
                self._replace(number, key, work, why)
            case Ended(code, line):
                raise _error(hand.place, code, line)
            case Started(place):
                hand.place = place
                self._line.send(number, None)
            case Waiting(identity, scored, warned):
                return self._scored_by(hand, identity, scored, warned, key, work)
        return []

    def _scored_by(
        self, hand: _Hand, identity: Mapping[str, Any], scored: Any, warned: Sequence[str], key: str, work: _Work
    ) -> list[int]:
        hand.waits, hand.identity = digest(identity), identity
        if scored:
            self._lost = 0
            hand.pace = (time.monotonic() - hand.since) / len(scored)
        mine, hand.part = hand.of == key, ()
        if not mine:
            return []  # of what others have finished
        for text in (text for text in dict.fromkeys(warned) if text not in work.warned):
            work.warned.add(text)
            warnings.warn(text, CertifyWarning, stacklevel=2)
        return [place for place, entries in scored if place in work.asked and work.is_new(place, entries)]

    def _replace(self, number: int, key: str, work: _Work, why: str) -> None:
        lost = self._hands.pop(number)
        held = {place for hand in self._hands.values() if hand.of == key for place in hand.part}
        if lost.of == key:
            work.left.extendleft(place for place in lost.part if place not in work.found and place not in held)
        self._lost += 1
        if self._lost > 2 * self.size:
            raise InvalidPlan(f"--ray: {self._lost} actors in a row died before they finished a draw; the last: {why}")
        warnings.warn(
            f"{lost.place or 'an actor that was starting'} is lost ({why}): its draws go to another actor",
            CertifyWarning,
            stacklevel=2,
        )

    def _refuse_others(self, key: str, identity: Mapping[str, Any]) -> None:
        """Refuse actors that are about to do what the driver does not: what they say they need is nowhere here."""
        for hand in self._hands.values():
            if hand.waits is None or hand.waits == key or hand.identity is None:
                continue
            known = [each for each, _ in self._known.values()]
            differing = [_differences("", hand.identity, each) for each in (identity, *known)]
            what = "; ".join(min(differing, key=len)[:3])
            raise InvalidInput(
                f"--ray: {hand.place} would score something else than the driver: {what}; every machine needs the same "
                "files, versions and kind of device"
            )


class _Work:
    """Batches to be scored once: those that nobody has yet, and those that are done."""

    def __init__(self, batches: Mapping[int, Batch]) -> None:
        self.left, self.found, self.warned = deque(batches), dict[int, Sequence[Any]](), set[str]()
        self.asked = batches

    def part(self, hand: _Hand, size: int) -> tuple[int, ...]:
        """Take what an actor does in about a second, and less of it towards the end; one batch if its pace is new."""
        most = len(self.left) // (2 * size)
        count = 1 if hand.pace is None else min(most, int(PART / max(hand.pace, 1e-6)))
        return tuple(self.left.popleft() for _ in range(min(len(self.left), max(1, count))))

    def is_new(self, place: int, entries: Sequence[Any]) -> bool:
        """Keep what a batch was scored, unless another actor was first; whether it is the first."""
        return self.found.setdefault(place, entries) is entries


def _differences(where: str, there: Any, here: Any) -> list[str]:
    """Return each leaf that differs, by its path."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = dict.fromkeys((*there, *here))
        return [line for k in keys for line in _differences(f"{where} {k}".strip(), there.get(k), here.get(k))]
    if isinstance(there, list | tuple) and isinstance(here, list | tuple) and len(there) == len(here):
        return [line for pair in zip(there, here, strict=True) for line in _differences(where, *pair)]
    return [] if there == here else [f"{where} {shortened(str(there), 60)}, here {shortened(str(here), 60)}"]


def _error(place: str, code: int, line: str) -> Exception:
    """Return what an actor's command ended with, as an error of the driver's."""
    said = f"--ray: {place}: {line or 'ended before its work was done'}"
    if code == 5:
        return RuntimeError(said)
    return CertificateMismatch(said) if code == 4 else InvalidInput(said)
