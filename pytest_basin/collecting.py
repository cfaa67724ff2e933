"""Collection: hold markers and settings against the rules, and make one item per benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from pytest_basin import gpu
from pytest_basin.gates import BasinWarning, Gate
from pytest_basin.hooks import activate
from pytest_basin.markers import asked
from pytest_basin.session import Session, session_of


def parametrise(metafunc: pytest.Metafunc) -> None:
    """Make one item per gate and checkpoint.

    Where there are several checkpoints, or a marker names them, ids end in the checkpoint's name. They are parameters
    of ``basin_checkpoint`` (of scores made elsewhere, ``basin_scores_of``), a fixture of the session: so pytest runs
    the gates of one checkpoint after each other.

    Whatever is wrong with the marker or the settings is an error of the collected file, in one line.
    """
    from certify.errors import CertifyError

    test = metafunc.definition
    try:
        session, keywords = session_of(metafunc.config), asked(test)
        gates = _gates(metafunc, keywords, session)
        checkpoints = _checkpoints(metafunc, keywords, session)
    except (pytest.UsageError, CertifyError) as error:
        with suppress(pytest.UsageError):  # of settings that make no session
            activate(metafunc.config)  # whose reports name what was not collected
        raise pytest.Collector.CollectError(f"{test.nodeid}: {error}") from None
    for fixture in ("basin_bound", "basin_scores"):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, gates, ids=[gate.benchmark for gate in gates], indirect=True)
    if checkpoints:
        metafunc.parametrize(_named_by(metafunc)[0], list(checkpoints.values()), ids=list(checkpoints), indirect=True)


def _named_by(metafunc: pytest.Metafunc) -> tuple[str, str]:
    """Return the fixture and the setting that name the checkpoints of a test."""
    brought = "basin_scores" in metafunc.fixturenames
    return ("basin_scores_of", "scores-of") if brought else ("basin_checkpoint", "checkpoint")


def _checkpoints(metafunc: pytest.Metafunc, keywords: dict[str, Any], session: Session) -> dict[str, str]:
    """Return the checkpoints that items are made of, by name; none where the only one needs no name."""
    marked, (fixture, word) = "checkpoints" in keywords, _named_by(metafunc)
    if fixture not in metafunc.fixturenames:
        if marked:
            raise pytest.UsageError("basin marker: checkpoints are models, and this test takes none")
        return {}
    found = session.sources.checkpoints(keywords, word)
    if not marked and len(found) < 2:
        return {}
    fixtures = metafunc._arg2fixturedefs[fixture]
    if len(fixtures) > 1 and fixture not in fixtures[-1].argnames:
        raise pytest.UsageError(
            f"checkpoints {', '.join(found)} are asked for, and the fixture {fixture} is overridden with one of "
            "its own: give it up, or the others"
        )
    return found


def _gates(metafunc: pytest.Metafunc, keywords: dict[str, Any], session: Session) -> list[Gate]:
    names: Iterable[str]
    if "basin_scores" in metafunc.fixturenames:
        return _gates_on_scores(metafunc, keywords, session)
    if "basin_bound" not in metafunc.fixturenames:
        if metafunc.definition.get_closest_marker("basin") in metafunc.definition.own_markers:
            raise pytest.UsageError("the basin marker sets up basin_bound, which is none of this test's arguments")
        names = session.sources.benchmarks if "basin" in metafunc.fixturenames else ()
        return [session.position_gate(name) for name in names]  # what `in basin` asks
    if session.disabled:
        names = keywords.get("benchmarks") or session.sources.benchmarks or ["disabled"]
    else:
        names = session.sources.names(keywords, metafunc.definition)
    return [session.gate(keywords, name) for name in names]


def _gates_on_scores(metafunc: pytest.Metafunc, keywords: dict[str, Any], session: Session) -> list[Gate]:
    """Return a gate for each task of the logs, or for those that the marker names."""
    if "basin_bound" in metafunc.fixturenames:
        raise pytest.UsageError("basin_bound and basin_scores make items of their own: use one in each test")
    if session.disabled:
        return [session.gate(keywords, "disabled")]
    tasks = session.sources.tasks(list(session.sources.checkpoints(keywords, "scores-of").values()))
    if unknown := [name for name in keywords.get("benchmarks", ()) if name not in tasks]:
        named, held = ", ".join(unknown), ", ".join(tasks)
        raise pytest.UsageError(f"basin marker: no task is called {named}; the logs hold {held}")
    gates = [session.gate(keywords, name) for name in keywords.get("benchmarks") or tasks]
    if other := [gate.evidence for gate in gates if gate.evidence != "point"]:
        raise pytest.UsageError(f"scores made elsewhere give point evidence, not {other[0]}")
    return gates


def announce(session: Session, items: Sequence[pytest.Item]) -> dict[pytest.Item, str]:
    """Warn of each gate that is going to run and cannot pass, and once of workers that would share a GPU.

    Returns the items that cannot be judged, each with the reason. What was deselected is not spoken of.
    """
    from certify.errors import CertifyError

    refused: dict[pytest.Item, str] = {}
    for item in items if not session.disabled else ():
        try:
            if lacking := next(_lacking(session, item), ""):
                refused[item] = lacking
                continue
            for problem in _problems(session, item):
                item.warn(BasinWarning(problem))
        except (CertifyError, pytest.UsageError, BasinWarning) as error:  # warnings may be errors here
            refused[item] = str(error)
    if not session.disabled and gpu.shared(session.config, session.settings.value("device")):
        items[0].warn(BasinWarning(gpu.HINT))
    return refused


def _problems(session: Session, item: pytest.Item) -> Iterator[str]:
    """Yield why each gate of an item cannot pass with its items or draws."""
    for gate in session.gates(item):
        if "basin_scores" in getattr(item, "fixturenames", ()):
            benchmark: Any = session.paired(gate, item).benchmark
            number = benchmark.items
        else:
            benchmark = session.sources.file(gate.benchmark)
            number = 0 if benchmark is None else len(benchmark.items)
        if benchmark is not None and (problem := session.problem(gate, benchmark, number)):
            yield f"{getattr(item, 'originalname', None) or item.name}[{gate.benchmark}]: {problem}"


def _lacking(session: Session, item: pytest.Item) -> Iterator[str]:
    """Yield what an item's gate cannot be judged without and nobody gave; of benchmarks that are known files."""
    info = getattr(item, "_fixtureinfo", None)
    own = len(info.name2fixturedefs.get("basin_benchmarks", ())) > 1 if info else False  # a fixture of the project's
    for gate in session.gates(item):
        path = session.sources.benchmarks.get(gate.benchmark)
        if gate.origins.get("evidence") == "in basin" or own or path is None:
            continue
        measured = session.sources.measurements.get(session.sources.read(path).digest, []) if gate.measured else []
        yield from filter(None, [session.lacking(gate, measured, str(session.settings.value("base") or "BASE"), path)])
