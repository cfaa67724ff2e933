"""Interval plots put things where the numbers are."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from gate_rows import row
from hypothesis import given
from hypothesis import strategies as st

from certify.report.intervals import AS_THE_BASE, WIDEST, axis_of, plot, ticks
from certify.report.rows import Row

UNITS = sorted(WIDEST)
NUMBERS = st.none() | st.floats(-5.0, 5.0)


def one(**fields: Any) -> Row:
    return Row(**row(**fields))


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows of one unit with any bounds, in order where both are there."""
    unit, found = draw(st.sampled_from(UNITS)), []
    for _ in range(draw(st.integers(1, 4))):
        lower, upper = sorted((draw(NUMBERS), draw(NUMBERS)), key=lambda x: -math.inf if x is None else x)
        need = draw(st.floats(0.0, 1.0))
        found.append(one(unit=unit, lower=lower, upper=upper, value=draw(NUMBERS), need=need))
    return found


@given(rows(), st.sampled_from([0.12, 0.3]))
def test_every_limit_and_the_base_are_on_the_axis(some: list[Row], margin: float) -> None:
    """And a bound is, or leaves through an arrow at the edge where it lies."""
    axis = axis_of(some, margin)
    for each in some:
        placed = plot(each, axis)
        assert axis.holds(each.need)
        assert each.unit not in AS_THE_BASE or axis.holds(AS_THE_BASE[each.unit])
        assert 0.0 <= placed.start <= placed.end <= 100.0
        assert placed.open_start == (each.lower is None or not axis.holds(each.lower))
        assert placed.open_end == (each.upper is None or not axis.holds(each.upper))
        if each.lower is None:
            assert placed.start == 0.0
        if each.upper is None:
            assert placed.end == 100.0


@given(rows())
def test_order_on_the_axis_is_order_of_the_numbers(some: list[Row]) -> None:
    """What lies left of the limit is drawn left of it."""
    axis = axis_of(some)
    for each in some:
        for x in (each.lower, each.upper, each.value):
            if x is not None and x <= each.need:
                assert axis.place(x) <= axis.place(each.need)


@given(st.floats(-10, 10), st.floats(1e-3, 20))
def test_ticks_are_few_round_numbers_inside(low: float, width: float) -> None:
    """At least one and at most six, evenly spaced, each a short decimal."""
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-9 <= x <= low + width + 1e-9 for x in found)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    assert len(steps) <= 1
    assert all(f"{step:.0e}"[0] in "125" for step in steps)


@pytest.mark.parametrize(
    ("fields", "meets_left"),
    [({"unit": "drop", "need": 0.05}, True), ({"unit": "absence", "need": 0.1}, True), ({}, False)],
)
def test_the_tinted_side_is_where_the_requirement_holds(fields: dict[str, Any], meets_left: bool) -> None:
    """Small drops and scores of what must be absent, large retentions."""
    placed = plot(one(**fields), axis_of([one(**fields)]))
    start, width = placed.meets
    assert (start == 0.0) == meets_left
    assert start + width == pytest.approx(placed.need if meets_left else 100.0)


def test_a_known_number_has_an_axis_too() -> None:
    """Bounds, estimate, limit and base in one place do not divide by nothing."""
    exact = one(unit="drop", value=0.0, lower=0.0, upper=0.0, need=0.0)
    placed = plot(exact, axis_of([exact]))
    assert placed.start == placed.end == placed.value == placed.need == 50.0


def test_the_plot_in_words() -> None:
    """What a screen reader says: estimate, bounds outwards, requirement, verdict."""
    described = plot(one(), axis_of([one()])).description
    estimated = "Retention at least 0.961, estimate of the retention 0.980"
    assert described == f"{estimated}; required retention at least 0.95; certified."
