"""Where along a slice to look: an even grid fixed beforehand, and points put where the curves fall.

Points are whole numbers k on a fine lattice, a = (k / steps) * unit, so that a halved interval has an exact middle and
a resumed run finds the very points that it had before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from certify.errors import InvalidInput
from certify.landscape.record import ROUNDING
from certify.statistics import ranges

if TYPE_CHECKING:
    from certify.landscape.record import Floats

FINEST = 1024  # how many lattice points an interval of the first grid has: it can be halved ten times
REACH = 1.5  # a slice to a checkpoint goes at least this many times as far


@dataclass(frozen=True)
class Grid:
    """``first``: the points k fixed beforehand, ascending, 0 among them. ``a = k / steps * unit``."""

    unit: float
    steps: int
    first: tuple[int, ...]

    def at(self, k: int) -> float:
        """Return the slice coordinate of point k; exactly ``unit`` at k = steps."""
        return k / self.steps * self.unit

    def nearest(self, a: float) -> int:
        """Return the lattice point nearest to ``a``."""
        return round(a / self.unit * self.steps)


def even(span: float, points: int, *, outward: bool = False) -> Grid:
    """Return ``points`` evenly spaced points of [-span, span]; with ``outward``, those at a >= 0.

    Raises:
        InvalidInput: a span that is not positive, or a number of points that is not odd and at least 3.
    """
    ranges.positive("span", span)
    if points < 3 or points % 2 == 0:
        raise InvalidInput(f"points = {points}: must be odd and at least 3, so that the base is one of them")
    half = (points - 1) // 2
    sides = range(0 if outward else -half, half + 1)
    return Grid(span, FINEST * half, tuple(FINEST * j for j in sides))


def through(mark: float, span: float, points: int) -> Grid:
    """Return about ``points`` points of [-reach, reach], reach = max(span, 1.5 mark), ``mark`` exactly among them.

    The quarters of the way to the mark are points too: position evidence looks at these.
    """
    even(span, points)  # for its checks
    reach = max(span, REACH * ranges.positive("mark", mark))
    spacing = 2 * reach / (points - 1)
    parts = max(1, round(mark / spacing))  # intervals between the base and the mark
    stride = 2 ** max(0, round(math.log2(spacing / mark)))  # or, if the mark is nearer: marks in one interval
    steps = FINEST * parts
    outermost = math.ceil(reach / mark * parts / stride - 1e-9)
    even_ones = {FINEST * stride * j for j in range(-outermost, outermost + 1)}
    return Grid(mark, steps, tuple(sorted(even_ones | {steps * j // 4 for j in range(1, 5)})))


def next_point(points: Sequence[int], curves: Floats, tau: float, turn: int) -> int | None:
    """Return where to look next, in turns: at an edge of the mean curve, then where the curves fall most.

    ``points``: ascending, 0 (the base) among them; ``curves``: shape (directions, points). Whole intervals are halved;
    None if nothing is left to halve. A pure function, so that a resumed run repeats its own choices.
    """
    at_edge = _edge_middle(points, curves.mean(axis=0), tau) if turn % 2 == 0 else None
    return _steepest_middle(points, curves) if at_edge is None else at_edge


def _edge_middle(points: Sequence[int], mean: Floats, tau: float) -> int | None:
    """Middle of the wider of the two intervals in which the mean curve, going outward, has fallen by more than tau."""
    origin, found = points.index(0), []
    for outward in (range(origin, len(points)), range(origin, -1, -1)):
        fallen = [i for i in outward if mean[origin] - mean[i] > tau + ROUNDING]
        if fallen:
            outside, inside = points[fallen[0]], points[fallen[0] - (1 if fallen[0] > origin else -1)]
            if abs(outside - inside) >= 2:
                found.append((-abs(outside - inside), -inside, (inside + outside) // 2))
    return min(found)[-1] if found else None


def _steepest_middle(points: Sequence[int], curves: Floats) -> int | None:
    """Middle of the interval with the largest mean change, up or down; of equal ones the one nearest to the base."""
    change = np.abs(np.diff(curves, axis=1)).mean(axis=0)
    found = [
        (-float(c), min(abs(left), abs(right)), (left + right) // 2)
        for c, left, right in zip(change, points, points[1:], strict=False)
        if c > 0 and right - left >= 2
    ]
    return min(found)[-1] if found else None
