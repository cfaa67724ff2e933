"""An actor's side of a run: it carries out the driver's command, and asks the driver wherever draws are shared.

So an actor opens the base, hashes and loads it, and proves its engine as a process of torchrun does. Where the driver
has draws scored, or settled something, it says what it is about to do, and scores what it is given until it is told
what all of that came to. It writes nothing.
"""

from __future__ import annotations

import io
import os
import platform
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from certify.errors import CertifyWarning

Batch = Sequence[int]
Scored = tuple[tuple[int, Sequence[Any]], ...]
"""Places of batches, each with the entries of its draws."""


class Started(NamedTuple):
    """An actor is there: ``place`` names its process and machine."""

    place: str


class Waiting(NamedTuple):
    """An actor waits to be told what ``identity`` came to, or given draws of it; it ``scored`` what it was given."""

    identity: Mapping[str, Any]
    scored: Scored = ()
    warned: tuple[str, ...] = ()


class Ended(NamedTuple):
    """An actor's command ended, with the last line that it said on stderr."""

    code: int
    line: str


class Told(NamedTuple):
    """What something came to."""

    value: Any


class Given(NamedTuple):
    """Batches to score, with their places."""

    batches: tuple[tuple[int, Batch], ...]


Message = Started | Waiting | Ended
Reply = Told | Given

_here: list[Member] = []


def member() -> Member | None:
    """Return the actor that this process is, if it is one."""
    return next(iter(_here), None)


class Member:
    """One actor. The driver calls :meth:`start` and :meth:`exchange`, the command calls :meth:`result`."""

    def __init__(self) -> None:
        self._heard: SimpleQueue[Reply] = SimpleQueue()
        self._said: SimpleQueue[Message] = SimpleQueue()

    def start(self, words: Sequence[str], folder: str) -> Started:
        """Begin the driver's command, in the folder where it was given."""
        _here.append(self)
        Thread(target=self._carry_out, args=(list(words), folder), daemon=True).start()
        return Started(f"process {os.getpid()} on {platform.node()}")

    def exchange(self, reply: Reply | None) -> Message:
        """Answer what the actor last said, and return what it says next."""
        if reply is not None:
            self._heard.put(reply)
        return self._said.get()

    def result(self, identity: Mapping[str, Any], score: Callable[[Batch], Sequence[Any]] | None = None) -> Any:
        """Return what the driver says that ``identity`` came to, scoring what it gives until then."""
        said = Waiting(identity)
        while True:
            self._said.put(said)
            reply = self._heard.get()
            if isinstance(reply, Told):
                return reply.value
            assert score is not None  # only draws are given out
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                scored = tuple((place, tuple(score(batch))) for place, batch in reply.batches)
            news = tuple(str(each.message) for each in caught if issubclass(each.category, CertifyWarning))
            said = Waiting(identity, scored, news)

    def _carry_out(self, words: list[str], folder: str) -> None:
        said, code = io.StringIO(), 0
        try:
            os.chdir(folder)
            sys.argv = ["certify", *words]
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                import_module("certify.__main__").main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except OSError as error:
            code = 2
            said.write(f"{folder}: {error.strerror}; actors work in the folder of the command, on every machine")
        except BaseException as error:  # the driver waits to hear of it, whatever it is
            code = 5
            said.write(f"\n{type(error).__name__}: {error}")
        line = (said.getvalue().strip().splitlines() or [""])[-1]
        self._said.put(Ended(code, line.removeprefix("certify: error: ")))
