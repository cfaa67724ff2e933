"""Actors of a Ray cluster, reached through a process of its own: ``python -m certify.cluster.broker``.

Ray speaks on both streams, takes minutes to give up on an address, and ends a process whose cluster is gone. None of
that should happen to the process that keeps the draws.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from certify.cluster.crew import Gone
from certify.cluster.member import Message, Reply
from certify.errors import InvalidInput, InvalidPlan
from certify.text import shortened

LOCAL = "local"
ANSWER_WITHIN, READY_WITHIN, END_WITHIN = 5.0, 60.0, 60.0  # seconds
STARTED_WITHIN = 180.0  # likewise, of a cluster that is started here


class Hub:
    """A cluster, until the block is left; then its actors are gone, and with ``local`` all of Ray that was started.

    Raises:
        InvalidInput: no Ray here, nothing at the address, or a cluster that does not answer as one.
    """

    def __init__(self, address: str, actors: int | None, device: str, words: Sequence[str]) -> None:
        if find_spec("ray") is None:
            raise InvalidInput("ray is not installed: pip install 'pytest-basin[ray]'")
        self._address, self._words, self._device, self._actors = address, list(words), device, actors
        if address != LOCAL:
            _knock(address)

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "certify.cluster.broker", str(theirs.fileno())]
            self._broker = subprocess.Popen(
                command, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which then says what is to be ended
            )  # fmt: skip
        self._line = Connection(ours.detach())
        try:
            self._tell((self._address, self._actors, self._words, os.getcwd()))
            self.size, self._gpus = self._ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def recruit(self, number: int) -> None:
        """Have an actor started."""
        self._tell((number, self._gpus))

    def send(self, number: int, reply: Reply | None) -> None:
        """Answer an actor."""
        self._tell((number, reply))

    def next(self, timeout: float) -> tuple[int, Message | Gone] | None:
        """Return what an actor said."""
        found: tuple[int, Message | Gone] | None = self._heard(timeout)
        return found

    def _ready(self) -> tuple[int, float]:
        """Return how many actors there will be, and how many accelerators each has to itself."""
        within = STARTED_WITHIN if self._address == LOCAL else READY_WITHIN
        found = self._heard(within)
        if not isinstance(found, dict):
            said = f"did not answer in {within:g} s" if found is None else str(found)
            raise InvalidInput(f"--ray {self._address}: no cluster of Ray: {shortened(said, 200)}")
        cpus, gpus, actors = int(found.get("CPU", 1)), int(found.get("GPU", 0)), self._actors
        if self._device == "cpu":
            return actors or max(1, cpus), 0
        if gpus < (actors or 1):
            raise InvalidPlan(f"--ray {self._address}: the cluster has {gpus} accelerators for {actors or 1} actors")
        if self._device == "auto":
            return actors or 1, gpus // (actors or 1)
        return actors or gpus, 1

    def _tell(self, said: Any) -> None:
        try:
            self._line.send(said)
        except OSError:
            raise self._gone() from None

    def _heard(self, timeout: float) -> Any:
        until = time.monotonic() + timeout
        while not self._line.poll(min(1.0, max(0.0, until - time.monotonic()))):  # in steps: Ctrl-C is seen at once
            if time.monotonic() >= until:
                return None
        try:
            return self._line.recv()
        except (EOFError, OSError):
            raise self._gone() from None

    def _gone(self) -> InvalidInput:
        return InvalidInput(f"--ray {self._address}: the cluster is gone; finished draws are kept")

    def _end(self) -> None:
        self._line.close()  # at which the broker ends its actors and itself
        try:
            self._broker.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._broker.kill()


def _knock(address: str) -> None:
    """Refuse an address at which nothing answers."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or "/" in host:
        raise InvalidInput(f"--ray {shortened(address, 60)}: must be local, or HOST:PORT of the head of a cluster")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise InvalidInput(
            f"--ray {address}: nothing answers there ({getattr(error, 'strerror', None) or error}); `ray start --head` "
            "says its address"
        ) from None
