"""What a distance gate needs depends on how its measurement drew: pairs need fewer draws than tables."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from certify.evidence import Requirement
from pytest_basin.session import Session


@pytest.fixture
def problem() -> Callable[[str, int], str]:
    """Why a gate on a measurement of so many draws cannot pass."""

    def found(design: str, n: int) -> str:
        measurement = SimpleNamespace(draws=[SimpleNamespace(n=n, design=design)])
        session: Any = SimpleNamespace(
            settings=SimpleNamespace(value=lambda _: None),
            sources=SimpleNamespace(measurements={"d": [measurement]}),
            _infeasible={},
        )
        session.trials = lambda *a: Session.trials(session, *a)
        session.groups = lambda *a: None
        session.design = lambda *a: Session.design(session, *a)
        requirement = Requirement(limit=0.05)
        gate: Any = SimpleNamespace(
            evidence="distance", unit="drop", limit=0.05, confidence=0.95, requirement=requirement, alpha=0.05,
            family=None,
        )  # fmt: skip
        return Session.problem(session, gate, SimpleNamespace(digest="d", chance=0.0), 300)  # type: ignore[arg-type]

    return found


def test_a_measurement_of_pairs_is_held_to_its_own_floor(problem: Callable[[str, int], str]) -> None:
    """59 perfect pairs show 0.95 at 95 %; a band over as many table draws does not."""
    assert problem("pairs", 59) == ""
    assert "cannot pass with 58 draws" in problem("pairs", 58)
    assert "cannot pass with 59 draws" in problem("table", 59)
