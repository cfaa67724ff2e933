"""Where slices are looked at: exact marks, whole halvings, and points that go where the scores fall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.errors import InvalidInput
from certify.landscape.grid import FINEST, even, next_point, through

TAU = 0.05


@given(st.floats(1e-6, 1e3), st.integers(1, 20))
def test_an_even_grid_holds_the_base_and_both_ends(span: float, half: int) -> None:
    """Evenly spaced, symmetric, the span itself at its end to the bit."""
    grid = even(span, 2 * half + 1)
    a = [grid.at(k) for k in grid.first]
    assert len(a) == 2 * half + 1
    assert (a[0], a[half], a[-1]) == (-span, 0.0, span)
    assert np.diff(a) == pytest.approx(span / half)
    assert [grid.at(k) for k in even(span, 2 * half + 1, outward=True).first] == a[half:]


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.integers(2, 20))
def test_the_mark_is_a_point_to_the_bit(mark: float, span: float, half: int) -> None:
    """A checkpoint's own place is looked at, wherever it lies, and the slice reaches beyond it and the span."""
    points = 2 * half + 1
    grid = through(mark, span, points)
    a = [grid.at(k) for k in grid.first]
    assert mark in a
    assert 0.0 in a
    assert a == sorted(a)
    assert a[-1] >= min(max(span, 1.5 * mark), 1e3) * (1 - 1e-9)
    assert len(a) <= 2 * points + 7
    assert {mark * f for f in (0.25, 0.5, 0.75)} <= set(a)
    stride = grid.first[1] - grid.first[0]
    even_ones = [k for k in grid.first if k % stride == 0]
    assert set(np.diff(even_ones)) == {stride}
    assert set(grid.first) - set(even_ones) <= {grid.steps * j // 4 for j in range(1, 5)}


@pytest.mark.parametrize("points", [0, 1, 2, 4, 20])
def test_a_grid_without_the_base_is_refused(points: int) -> None:
    with pytest.raises(InvalidInput, match="odd and at least 3"):
        even(1.0, points)


@pytest.mark.parametrize("span", [0.0, -1.0, float("nan"), float("inf")])
def test_a_span_that_is_no_length_is_refused(span: float) -> None:
    with pytest.raises(InvalidInput, match="span"):
        even(span, 5)


def refined(edge: float, turns: int) -> list[int]:
    """Points after refining a step at ``edge`` (in lattice points)."""
    points = list(even(1.0, 5).first)
    for turn in range(turns):
        curves = np.array([[float(k <= edge) for k in points]])
        middle = next_point(points, curves, TAU, turn)
        if middle is None:
            break
        points = sorted([*points, middle])
    return points


@given(st.floats(0, 2 * FINEST - 1.5))
def test_a_step_is_found_by_halving(edge: float) -> None:
    """After ten halvings the points on both sides of the step are neighbours on the lattice, and then it ends."""
    points = refined(edge, 30)
    assert len(points) == 5 + 10
    below = max(k for k in points if k <= edge)
    assert below + 1 in points


def test_a_constant_curve_is_left_alone() -> None:
    """Nothing falls, so nothing is refined."""
    assert next_point([-4, 0, 4], np.ones((3, 3)), TAU, 0) is None


def test_turns_alternate_between_the_edge_and_the_steepest_fall() -> None:
    """First where tau is crossed, then where most is lost."""
    points, curve = [0, 8, 16, 24, 32], np.array([[1.0, 0.97, 0.9, 0.3, 0.2]])
    assert next_point(points, curve, TAU, 0) == 12  # 0.97 -> 0.9 crosses 0.95
    assert next_point(points, curve, TAU, 1) == 20  # 0.9 -> 0.3 is the steepest


def test_the_wider_of_two_edges_is_halved_first() -> None:
    points, curve = [-8, -4, 0, 2, 4], np.array([[0.2, 0.5, 1.0, 1.0, 0.5]])
    assert next_point(points, curve, TAU, 0) == -2
    assert next_point([-8, -4, -2, 0, 8], np.array([[0.2, 0.5, 0.5, 1.0, 0.5]]), TAU, 0) == 4


def test_the_spread_decides_where_curves_differ() -> None:
    """Change is averaged over directions, gains and losses alike, so that no curve cancels another's."""
    points = [0, 8, 16]
    curves = np.array([[1.0, 1.0, 0.5], [0.5, 0.5, 1.0]])
    assert next_point(points, curves, TAU, 1) == 12
