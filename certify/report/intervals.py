"""Where an interval plot puts things: an axis in the requirement's unit, positions in per cent of its width.

Positions are percentages and text keeps its size, so a plot is as readable on a telephone as on paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from certify.report.rows import Row, RowUnit

WIDEST: dict[RowUnit, tuple[float, float]] = {
    "drop": (-1.0, 1.0),
    "retention": (0.0, 1.5),
    "absence": (0.0, 1.0),
    "score": (0.0, 1.0),
}
"""What an axis may show; what lies farther out leaves through an arrow at its edge."""
AS_THE_BASE: dict[RowUnit, float] = {"drop": 0.0, "retention": 1.0}
"""The value of a checkpoint that scores like its base."""
ROOM_FOR_NUMBERS = 0.3
"""Share of the data's width that is left free on either side, where a number stands at the end of an interval."""
MARGIN = 0.12
"""The same without numbers."""
MOST_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """A linear scale from ``low`` to ``high`` with ticks at round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, x: float) -> float:
        """Return the position of ``x`` in per cent, kept on the axis."""
        share = (x - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def holds(self, x: float) -> bool:
        """Whether ``x`` lies on the axis."""
        return self.low <= x <= self.high


@dataclass(frozen=True)
class Plot:
    """One row on an axis: positions in per cent; an open or distant end is drawn as an arrow."""

    row: Row
    axis: Axis
    start: float
    end: float
    open_start: bool
    open_end: bool
    value: float | None
    need: float
    base: float | None

    @property
    def empty(self) -> bool:
        """Whether there is no bound to draw."""
        return self.row.lower is None and self.row.upper is None

    @property
    def meets(self) -> tuple[float, float]:
        """Start and width of the part of the axis where the requirement holds."""
        return (0.0, self.need) if self.row.at_most else (self.need, round(100 - self.need, 3))

    @property
    def description(self) -> str:
        """The plot in words, for those who do not see it."""
        row = self.row
        estimate = "" if row.value is None else f", estimate of the {row.quantity} {row.estimate}"
        return f"{row.found[0].upper()}{row.found[1:]}{estimate}; required {row.asked}; {row.verdict.value}."


def axis_of(rows: Sequence[Row], margin: float = MARGIN) -> Axis:
    """Return one axis for rows of one unit: every bound, estimate and limit, and the base's own place."""
    widest_low, widest_high = WIDEST[rows[0].unit]
    found = [x for row in rows for x in (row.value, row.lower, row.upper, row.need) if x is not None]
    if rows[0].unit in AS_THE_BASE:
        found.append(AS_THE_BASE[rows[0].unit])
    low = min(max(widest_low, x) for x in found)
    high = max(min(widest_high, x) for x in found)
    low, high = min(low, widest_high), max(high, widest_low)
    width = max(high - low, 0.02)
    low, high = low - margin * width, high + margin * width
    return Axis(low, high, ticks(low, high))


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Return at most 6 round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    power = Decimal(10) ** math.floor(math.log10((high - low) / MOST_TICKS))
    step = next(s for m in (1, 2, 5, 10, 20) if len(_multiples(s := m * power, low, high)) <= MOST_TICKS)
    return tuple(float(x) for x in _multiples(step, low, high))


def _multiples(step: Decimal, low: float, high: float) -> list[Decimal]:
    return [k * step for k in range(math.ceil(low / float(step)), math.floor(high / float(step)) + 1)]


def plot(row: Row, axis: Axis) -> Plot:
    """Place one row on an axis."""
    base = AS_THE_BASE.get(row.unit)
    open_start = row.lower is None or not axis.holds(row.lower)
    open_end = row.upper is None or not axis.holds(row.upper)
    return Plot(
        row=row,
        axis=axis,
        start=0.0 if row.lower is None else axis.place(row.lower),
        end=100.0 if row.upper is None else axis.place(row.upper),
        open_start=open_start,
        open_end=open_end,
        value=None if row.value is None or not axis.holds(row.value) else axis.place(row.value),
        need=axis.place(row.need),
        base=None if base is None else axis.place(base),
    )
