"""Holm over the gates that ran: one line, and only where there are several."""

import pytest

from certify.joint import ALL_HOLD
from pytest_basin.suite import holm_line

pytest_plugins = ["pytester"]

GATES = """
import pytest

@pytest.mark.basin(max_drop={first})
def test_first(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(max_drop={second})
def test_second(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def test_two_gates(project):
    """Each with room to spare: both hold together."""
    result = project.run("same", test=GATES.format(first=0.2, second=0.1))
    result.stdout.fnmatch_lines([" 2 certified", " Holm over 2 gates at 0.05: 2 certified jointly"])


def test_together_is_harder_than_alone(project):
    """On 120 items a drop of at most 0.0275 is certified at 0.05, but not at the 0.025 that Holm asks of the first."""
    result = project.run("same", test=GATES.format(first=0.0275, second=0.001))
    result.stdout.fnmatch_lines([" 1 certified, 1 undecided", " Holm over 2 gates at 0.05: 0 certified jointly"])


def test_one_gate_needs_no_line(project):
    """Nor is a p-value worked out for it."""
    project.run("same").stdout.no_fnmatch_line("*Holm*")
    project.run("same", "-k", "first", test=GATES.format(first=0.2, second=0.1)).stdout.no_fnmatch_line("*Holm*")


def test_the_line_uses_the_suites_confidence(project):
    """Whatever single gates ask."""
    result = project.run("same", "--basin-confidence=0.9", test=GATES.format(first=0.2, second=0.1))
    result.stdout.fnmatch_lines([" Holm over 2 gates at 0.1: 2 certified jointly"])


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0.01, 0.03], "Holm over 2 gates at 0.05: 2 certified jointly"),
        ([0.03, 0.03], "Holm over 2 gates at 0.05: 0 certified jointly"),
        ([0.02, 0.9, 0.001], "Holm over 3 gates at 0.05: 2 certified jointly"),
        ([0.02], ""),
        ([0.02, None], ""),
    ],
)
def test_holm_by_hand(values, line):
    """Smallest p against alpha/m, next against alpha/(m - 1), until one misses."""
    assert holm_line([{"p": p} for p in values], 0.05) == line


def test_green_gates_that_do_not_hold_jointly_are_no_contradiction():
    """That all of them hold is another statement than which of them do."""
    green, line = {"p": 0.03, "verdict": "certified"}, "Holm over 2 gates at 0.05: 0 certified jointly"
    assert holm_line([green, green], 0.05) == line + ALL_HOLD
    for change in ({"error": "its test failed", "n": 100}, {"verdict": "undecided"}, {"alpha": 0.5}):
        assert holm_line([green, {**green, **change}], 0.05) == line
