"""Collection: hold markers and settings against the rules, and make one item per benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pytest_basin import gpu
from pytest_basin.gates import BasinWarning, Gate
from pytest_basin.markers import asked
from pytest_basin.session import Session, session_of


def parametrise(metafunc: pytest.Metafunc) -> None:
    """Make one item per gate, and warn of each gate that cannot pass.

    Whatever is wrong with the marker or the settings is an error of the collected file, in one line.
    """
    from certify.errors import CertifyError

    test = metafunc.definition
    try:
        gates = _gates(metafunc, asked(test), session_of(metafunc.config))
    except (pytest.UsageError, CertifyError) as error:
        raise pytest.Collector.CollectError(f"{test.nodeid}: {error}") from None
    except BasinWarning as warning:  # warnings are errors here
        raise pytest.Collector.CollectError(str(warning)) from None
    for fixture in ("basin_bound", "basin_scores"):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, gates, ids=[gate.benchmark for gate in gates], indirect=True)


def _gates(metafunc: pytest.Metafunc, keywords: dict[str, Any], session: Session) -> list[Gate]:
    names: Iterable[str]
    if "basin_scores" in metafunc.fixturenames:
        return _gates_on_scores(metafunc, keywords, session)
    if "basin_bound" not in metafunc.fixturenames:
        if metafunc.definition.get_closest_marker("basin") in metafunc.definition.own_markers:
            raise pytest.UsageError("the basin marker sets up basin_bound, which is none of this test's arguments")
        gates = [session.position_gate(name) for name in session.sources.benchmarks]  # what `in basin` asks
        return _warned(metafunc, gates, session)
    if session.disabled:
        names = keywords.get("benchmarks") or session.sources.benchmarks or ["disabled"]
    else:
        names = session.sources.names(keywords, metafunc.definition)
    return _warned(metafunc, [session.gate(keywords, name) for name in names], session)


def _gates_on_scores(metafunc: pytest.Metafunc, keywords: dict[str, Any], session: Session) -> list[Gate]:
    """Return a gate for each task of the logs, or for those that the marker names."""
    if "basin_bound" in metafunc.fixturenames:
        raise pytest.UsageError("basin_bound and basin_scores make items of their own: use one in each test")
    if session.disabled:
        return [session.gate(keywords, "disabled")]
    tasks = session.sources.scores
    if unknown := [name for name in keywords.get("benchmarks", ()) if name not in tasks]:
        named, held = ", ".join(unknown), ", ".join(tasks)
        raise pytest.UsageError(f"basin marker: no task is called {named}; the logs hold {held}")
    gates = [session.gate(keywords, name) for name in keywords.get("benchmarks") or tasks]
    if other := [gate.evidence for gate in gates if gate.evidence != "point"]:
        raise pytest.UsageError(f"scores made elsewhere give point evidence, not {other[0]}")
    for gate in gates:
        benchmark = tasks[gate.benchmark].benchmark
        if problem := session.problem(gate, benchmark, benchmark.items):
            metafunc.definition.warn(BasinWarning(f"{metafunc.definition.name}[{gate.benchmark}]: {problem}"))
    return gates


def _warned(metafunc: pytest.Metafunc, gates: list[Gate], session: Session) -> list[Gate]:
    """Warn of gates that cannot pass, and once of workers that would share a GPU; return the gates."""
    if session.disabled:
        return gates
    for gate in gates:
        benchmark = session.sources.file(gate.benchmark)
        if benchmark is not None and (problem := session.problem(gate, benchmark, len(benchmark.items))):
            metafunc.definition.warn(BasinWarning(f"{metafunc.definition.name}[{gate.benchmark}]: {problem}"))
    if not session.hinted and gpu.shared(session.config, session.settings.value("device")):
        session.hinted = True
        metafunc.definition.warn(BasinWarning(gpu.HINT))
    return gates
