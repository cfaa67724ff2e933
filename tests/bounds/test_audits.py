"""Running evidence about fixed numbers: against exact arithmetic, and by every order of small populations."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.errors import InvalidInput
from certify.statistics.audits import GRID, PRIOR, running_evidence
from certify.statistics.betting import LARGEST_BET

GRADES = (-1.0, -0.5, -0.25, 0.0, 0.3, 0.75, 1.0)


def exactly(x: list[float], most: list[float], tau: float) -> list[float]:
    """ln E_t by the formula, number by number, with sums in fractions and no safety margins."""
    size, capital, out = len(most), 0.0, []
    for t, value in enumerate(x):
        before = [Fraction(each) for each in x[:t]]
        mu = float((size * Fraction(tau) - sum(before)) / (size - t))
        mean, square = float(sum(before)) / (t + PRIOR), float(sum(b * b for b in before)) + PRIOR * abs(tau)
        edge, room = mu - mean, max(most[t:]) - mu
        spread = square / (t + PRIOR) - mean**2 + edge**2
        bet = min(edge / spread, LARGEST_BET / room) if edge > 0 and room > 0 and spread > 0 else 0.0
        capital += math.log1p(bet * (mu - value))
        rest = size * Fraction(tau) - sum(before) - Fraction(value)
        out.append(math.inf if rest > sum(map(Fraction, most[t + 1 :])) else capital)
    return out


@given(
    st.lists(st.sampled_from(GRADES), min_size=1, max_size=60), st.integers(1, 60), st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([*range(-90, 0, 7), *range(1, 90, 4)]),
)  # fmt: skip
def test_it_is_the_formula_rounded_down(x: list[float], n: int, spare: float, hundredths: int) -> None:
    """Never above exact arithmetic beyond its own last digits, and hardly below, for numbers of its grid."""
    most, tau = [min(1.0, value + spare) for value in x], hundredths / 100
    x, most = ((np.ceil(np.array(each) * GRID) / GRID).tolist() for each in (x, most))
    for ours, theirs in zip(running_evidence(x[:n], most, tau), exactly(x[:n], most, tau), strict=True):
        if math.isfinite(ours) and math.isfinite(theirs):
            assert theirs - 1e-9 * (1 + abs(theirs)) <= ours <= theirs + 1e-12 * (1 + abs(theirs))
        else:
            assert theirs >= ours, "it never says known where something may be left"


def peaks(x: list[float], most: list[float], tau: float) -> list[float]:
    """The largest evidence before the last number is read, in each order."""
    orders = itertools.permutations(range(len(x)))
    return [max(running_evidence([x[i] for i in o[:-1]], [most[i] for i in o], tau)) for o in orders]


@pytest.mark.parametrize(
    "x",
    [
        (1, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, -1), (1, 1, 1, 0, -1, -1), (0.75, 0.3, 0, 0, 0, -0.25), (1, 1, 1, 1, 1, 0),
        (0.3, 0.3, 0.3, 0.3, 0.3, 0.3),
    ],
    ids=str,
)  # fmt: skip
def test_by_every_order_it_is_rarely_wrong(x: tuple[float, ...]) -> None:
    """All 720 orders, the mean exactly tau: no simulation, no tolerance. The ends narrow as a known base's do."""
    for most in ([1.0] * 6, [max(0.0, value) for value in x]):
        found = np.exp(peaks(list(x), most, float(np.mean(x))))
        for alpha in (0.1, 0.3, 0.5):
            assert np.mean(found >= 1 / alpha) <= alpha


def test_a_bet_that_knows_the_number_is_noticed() -> None:
    """The test above can fail: ends that rule out what is there make evidence of nothing."""
    x = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    with pytest.raises(InvalidInput, match="must not exceed the largest it can be"):
        running_evidence(x, [0.5] * 6, 0.3)
    sorted_file = running_evidence(sorted(x), [1.0] * 6, float(np.mean(x)))
    assert (sorted_file[:-1] >= math.log(1 / 0.5)).any(), "in a sorted file's order it certifies what is not so"


def test_what_is_left_cannot_hold_what_is_needed() -> None:
    """Known for certain: more than the base's own right answers cannot be lost."""
    zeros = [0.0] * 10
    assert running_evidence(zeros, [1.0] * 3 + [0.0] * 7, 0.2)[1:].tolist() == [math.inf] * 9
    assert math.isinf(running_evidence([0.0] * 96, [1.0] * 100, 0.05)[-1])
    assert math.isfinite(running_evidence([0.0] * 10, [1.0] * 100, 0.05)[-1])


def test_more_items_that_lose_nothing_are_more_evidence() -> None:
    """And a number between the grid's is read as the next one above."""
    found = running_evidence([0.0] * 50, [1.0] * 300, 0.05)
    assert (np.diff(found) > 0).all()
    above = running_evidence([1e-12], [1.0] * 300, 0.05)[0]
    assert above < running_evidence([0.0], [1.0] * 300, 0.05)[0]


@pytest.mark.parametrize(
    ("size", "lost", "gained", "median"), [(2355, 2, 0, 64), (8000, 40, 8, 65), (300, 3, 0, 99)]
)
def test_items_needed(size: int, lost: int, gained: int, median: int) -> None:
    """Medians over 200 orders, drop of at most 0.05 at alpha = .05: the figures of docs/theory.md."""
    x = np.repeat([1.0, -1.0, 0.0], [lost, gained, size - lost - gained])
    ends = []
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(x)
        reached = np.flatnonzero(running_evidence(order, np.where(order < 0, 0.0, 1.0), 0.05) >= math.log(20))
        ends.append(reached[0] + 1 if len(reached) else size)
    assert np.median(ends) <= median + 1
