"""What is within reach before the first draw, against the judges that will decide."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from certify.errors import InvalidInput
from certify.evidence import Requirement, Verdict
from certify.evidence.distance import LARGEST_EXACT_BAND
from certify.evidence.feasibility import (
    infeasible,
    items_for_power,
    largest_distance,
    required_level,
    smallest_n,
    vacuous_from,
)
from certify.evidence.paired_items import PairedScores
from certify.statistics import ceiling
from certify.statistics.laws import strong_lower

UNITS = [Requirement(), Requirement(unit="retention", limit=0.9), Requirement(unit="absence", limit=0.1)]


def certified(requirement: Requirement, bad: int, m: int, alpha: float, chance: float) -> bool:
    """Whether the point judge certifies m items of which ``bad`` are lost (absence: still answered)."""
    absence = requirement.unit == "absence"
    base = (0.0 if absence else 1.0,) * m
    wrong, right = (1.0, 0.0) if absence else (0.0, 1.0)
    scores = PairedScores(rule="trinomial", base=base, checkpoint=(wrong,) * bad + (right,) * (m - bad))
    found = scores.interval(requirement, alpha, chance, "population")
    return found is not None and requirement.decide(found.lower, found.upper) is Verdict.CERTIFIED


@pytest.mark.parametrize("requirement", UNITS, ids=lambda r: r.unit)
@given(st.floats(0.005, 0.03), st.sampled_from([0.05, 0.01]), st.sampled_from([0.0, 0.25]))
@settings(max_examples=8)
def test_power_is_that_of_the_judge(requirement: Requirement, lost: float, alpha: float, chance: float) -> None:
    """At n_first and n_hold the judge certifies with the wanted probability: exact, by asking it for every count."""
    plan = items_for_power(requirement, alpha, chance, lost)
    assert plan is not None

    def power(m: int) -> float:
        most, least = -1, m + 1  # certified at the one, not at the other
        while least - most > 1:
            middle = (most + least) // 2
            most, least = (middle, least) if certified(requirement, middle, m, alpha, chance) else (most, middle)
        return float(binom.cdf(most, m, lost))

    assert power(plan.n_first) >= 0.9
    assert power(plan.n_first - 1) < 0.9
    assert power(plan.n_hold) >= 0.9
    assert plan.n_hold == plan.n_first or power(plan.n_hold - 1) < 0.9


def test_without_losses_power_is_the_floor() -> None:
    """If nothing is ever lost, the floor has power 1, and one item less has none."""
    for requirement in UNITS:
        plan = items_for_power(requirement, 0.05, 0.25, 0.0)
        assert plan is not None
        assert plan.n_hold == plan.n_first == smallest_n("point", requirement, 0.05, 0.25)


def test_power_that_no_number_of_items_has_is_not_invented() -> None:
    """A loss as large as what is allowed is refused, one just below it needs more items than are searched."""
    with pytest.raises(InvalidInput, match=r"lost = 0\.05: must be below what the requirement allows, 0\.05"):
        items_for_power(Requirement(), 0.05, 0.0, 0.05)
    assert items_for_power(Requirement(), 0.05, 0.0, 0.0499) is None


@pytest.mark.parametrize("kind", ["point", "position", "smoothed", "distance"])
@pytest.mark.parametrize("requirement", UNITS, ids=lambda r: r.unit)
def test_the_floor_is_just_enough(kind: str, requirement: Requirement) -> None:
    """With the floor a gate can pass, with one less it cannot (distance: with 1 % less)."""
    n = smallest_n(kind, requirement, 0.05, 0.25)
    assert n is not None
    less = n - max(1, n // 100) if kind == "distance" else n - 1
    assert infeasible(kind, n, requirement, 0.05, 0.25) is None
    assert f"with {less} " in (infeasible(kind, less, requirement, 0.05, 0.25) or "")


@pytest.mark.parametrize("requirement", UNITS, ids=lambda r: r.unit)
def test_the_largest_distance_is_where_perfect_draws_just_certify(requirement: Requirement) -> None:
    """At r the best bound reaches what is required, a hair farther it does not; likewise for chance."""
    share = 0.025 if requirement.unit == "retention" else 0.05
    r, level = largest_distance(1000, requirement, 0.05, 0.25), required_level(requirement, 0.25)
    assert strong_lower(ceiling(1000, share, 0.0), r) >= level * (1 - 1e-11)
    assert strong_lower(ceiling(1000, share, 0.0), r + 1e-6) < level
    edge = vacuous_from(1000, 0.05, 0.25)
    assert ceiling(1000, 0.05, edge + 1e-6) < 0.25 < ceiling(1000, 0.05, edge - 1e-6)


def test_many_draws_are_judged_without_calibrating_their_band() -> None:
    """A million draws take the union bound, at once; it is never more generous than the exact band."""
    start = time.perf_counter()
    assert infeasible("distance", 1_000_000, Requirement(), 0.05, 0.0) is None
    assert time.perf_counter() - start < 1.0  # exactly, it would take minutes
    for n in (100, 1000, 5000):
        assert np.less_equal(ceiling(n, 0.05, 0.0, calibration="bonferroni"), ceiling(n, 0.05, 0.0))
    assert LARGEST_EXACT_BAND < 1_000_000
