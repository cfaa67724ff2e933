"""Actors without Ray: copies of the driver's process, which start in a moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Self

import torch

from certify.cluster import Member
from certify.cluster.crew import Gone

Lesson = Callable[[int], object]


class ForkedHub:
    """Takes the place of :class:`certify.cluster.Hub`; each actor first has ``lesson`` called with its number."""

    def __init__(self, size: int, words: Sequence[str], lesson: Lesson) -> None:
        self.size, self._words, self._lesson = size, words, lesson
        self._pids, self._lines = dict[int, int](), dict[int, Connection]()

    def __enter__(self) -> Self:
        torch.set_num_threads(1)  # a copy of a process has one
        return self

    def __exit__(self, *error: object) -> None:
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def recruit(self, number: int) -> None:
        ours, theirs = Pipe()
        if (pid := os.fork()) == 0:
            ours.close()
            self._act(number, theirs)
        theirs.close()
        self._pids[number], self._lines[number] = pid, ours

    def send(self, number: int, reply: Any) -> None:
        self._lines[number].send(reply)

    def next(self, timeout: float) -> Any:
        for ready in wait(list(self._lines.values()), timeout):
            number = next(n for n, line in self._lines.items() if line is ready)
            try:
                return number, ready.recv()
            except (EOFError, ConnectionResetError):
                del self._lines[number]
                os.waitpid(self._pids.pop(number), 0)
                return number, Gone("killed")
        return None

    def _act(self, number: int, line: Connection) -> None:
        try:
            self._lesson(number)
            member = Member()
            line.send(member.start(self._words, os.getcwd()))
            while True:
                line.send(member.exchange(line.recv()))
        finally:
            os._exit(0)


def by_forked_actors(lesson: Lesson = lambda number: None) -> Callable[[], None]:
    """Return what makes ``--ray`` take copies of its own process, called in that process first."""

    def patch() -> None:
        import certify.cluster as cluster

        def hub(address: str, actors: int | None, device: str, words: Sequence[str]) -> ForkedHub:
            return ForkedHub(actors or 2, words, lesson)

        cluster.Hub = hub  # type: ignore[assignment,misc]

    return patch
