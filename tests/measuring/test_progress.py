"""Progress for callers: a function of their own, or a line; results are the same with and without."""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

import pytest
from world import World

from certify import Base, CertifyError, certify, check
from certify.measuring import progress


def smoothed(world: World, **more: Any) -> Any:
    """Smoothed evidence with 80 draws."""
    base = Base.open(world.base, world.benchmark)
    return next(check(base, world.checkpoint, kinds=("smoothed",), sigma=1e-6, draws=80, **more))


def test_a_function_is_told_of_every_draw(world: World) -> None:
    """Of each loop from none to all, in order; the certificate is that of a run in silence."""
    told: list[tuple[str, int, int]] = []
    found = smoothed(world, progress=lambda *a: told.append(a))
    loops = dict.fromkeys(label for label, _, _ in told)
    assert told == [(label, done, 80) for label in loops for done in range(81)]
    assert found.evidence == smoothed(world).evidence


def test_anything_else_is_refused(world: World) -> None:
    """In one line that says what is allowed, before anything is drawn."""
    for given in ("bar", True, 3):
        with pytest.raises(CertifyError, match=r'progress is "auto" or a function of \(label, done, total\), got '):
            smoothed(world, progress=given)


class Terminal(io.StringIO):
    """What a terminal is asked to write."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_a_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With rate and time left, written over itself, and gone when the loop ends, or is left early."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(progress._line(range(3), "smoothed\x1b[31m")) == [0, 1, 2]
    *lines, gone, last = terminal.getvalue().split("\r")[1:]
    assert [line.split(",")[0] for line in lines] == [f"smoothed\\x1b[31m: {n} of 3" for n in (1, 2, 3)]
    assert (gone.strip(), last) == ("", "")
    loop = progress._line(range(3), "audit")
    next(loop)
    loop.close()
    assert terminal.getvalue().endswith("\r\r")


def test_nothing_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file gets no line; a notebook, which is no terminal, gets it."""
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    assert list(progress._line(range(3), "smoothed")) == [0, 1, 2]
    assert log.getvalue() == ""
    shell: Any = ModuleType("IPython")
    shell.get_ipython = type("ZMQInteractiveShell", (), {})
    monkeypatch.setitem(sys.modules, "IPython", shell)
    list(progress._line(range(3), "smoothed"))
    assert "3 of 3" in log.getvalue()


def test_rate_and_time_left() -> None:
    """20 of 200 in ten seconds: two each second, and a minute and a half to go."""
    assert progress._said("pairs", 20, 200, 10.0) == "pairs: 20 of 200, 2.0/s, 0:01:30 left"
    assert progress._said("pairs", 1, 100_001, 1.0) == "pairs: 1 of 100001, 1.0/s, 27:46:40 left"


def test_the_library_in_one_call_takes_it(world: World) -> None:
    """`certify.certify` hands it on."""
    told: list[int] = []
    certify(
        world.base, world.checkpoint, world.benchmark, evidence="smoothed", sigma=1e-6, draws=80,
        progress=lambda label, done, total: told.append(done),
    )  # fmt: skip
    assert told[-1] == 80
