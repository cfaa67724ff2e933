"""Collection: hold markers and settings against the rules, and make one item per benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

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
    if "basin_bound" in metafunc.fixturenames:
        metafunc.parametrize("basin_bound", gates, ids=[gate.benchmark for gate in gates], indirect=True)


def _gates(metafunc: pytest.Metafunc, keywords: dict[str, Any], session: Session) -> list[Gate]:
    names: Iterable[str]
    if "basin_bound" not in metafunc.fixturenames:
        if metafunc.definition.get_closest_marker("basin") in metafunc.definition.own_markers:
            raise pytest.UsageError("the basin marker sets up basin_bound, which is none of this test's arguments")
        keywords, names = {"evidence": "position"}, session.benchmarks  # what `in basin` asks
    elif session.disabled:
        names = keywords.get("benchmarks") or session.benchmarks or ["disabled"]
    else:
        names = session.names(keywords)
    gates = [session.gate(keywords, name) for name in names]
    for gate in gates:
        if gate.benchmark in session.benchmarks and not session.disabled:
            _warn(metafunc, gate, session)
    return gates


def _warn(metafunc: pytest.Metafunc, gate: Gate, session: Session) -> None:
    benchmark = session.read(session.benchmarks[gate.benchmark])
    problem = session.problem(gate, benchmark, len(benchmark.items))
    if problem:
        metafunc.definition.warn(BasinWarning(f"{metafunc.definition.name}[{gate.benchmark}]: {problem}"))
