"""Basin width over training checkpoints and over model sizes, from one small plain record for each base.

A :class:`Width` holds plain numbers, so a study can keep its widths in a JSON file of its own and draw them later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.transforms import ScaledTranslation, Transform

from certify.errors import InvalidInput
from certify.evidence.judgement import percent
from certify.report.figures import MARKERS, PALETTE, legend_below, new_axes
from certify.statistics import ranges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from certify.evidence import Requirement
    from certify.evidence.position import Basin

DODGE = 7.0  # points between the marks of several bases at one x, where there is room
WIDE, BORDER = 440.0, 24.0  # points: about the width of the axes, and what is left free of marks at its ends
UP = r"$\uparrow$"
LINES = ("-", "--", "-.", ":")
SIGMA = "sigma (noise on every weight)"


@dataclass(frozen=True)
class Width:
    """The width of one basin, at the place ``x`` of a figure: at least ``lower`` and below ``upper``.

    ``lower`` is sigma*, 0 if no sigma of the grid is certified. ``upper`` is the sigma from which on all of the grid
    are refuted, None if its largest, ``top``, is not. Both speak of the points of the grid only, so the interval is
    never narrower than one step of it. Sigmas of what lies between are neither certified nor refuted.
    """

    x: float
    lower: float
    upper: float | None
    top: float

    def __post_init__(self) -> None:
        ranges.not_negative("lower", self.lower)
        ranges.require(self.top >= self.lower, "top", self.top, f"must be at least lower = {self.lower!r}")
        fits = self.upper is None or self.lower < self.upper <= self.top
        ranges.require(fits, "upper", self.upper, f"must lie above lower = {self.lower!r} and up to top = {self.top!r}")

    @classmethod
    def of(cls, x: float, basin: Basin, requirement: Requirement, alpha: float, chance: float) -> Width:
        """Return the width of a measured basin; nothing is known of it if the requirement is vacuous.

        Guarantee: with probability at least 1 - alpha the width on the grid is at least ``lower``, and with
        probability at least 1 - alpha it is below ``upper``; both at once with probability at least 1 - 2 alpha.
        Source: theory §2.3; fixed sequences from either end of the grid.
        """
        lower = basin.width(requirement, alpha, chance) or 0.0
        return cls(x, lower, basin.refuted_from(requirement, alpha, chance), basin.levels[-1].sigma)

    def in_units_of(self, size: float) -> Width:
        """Return the width divided by ``size``, such as the root mean square of the base's own weights."""
        unit = ranges.positive("size", size)
        return Width(self.x, self.lower / unit, None if self.upper is None else self.upper / unit, self.top / unit)


def width_over_checkpoints(series: Mapping[str, Sequence[Width]], alpha: float, ylabel: str = SIGMA) -> Figure:
    """Draw basin width against the training step: a colour for each name in ``series``, a mark for each base.

    Raises:
        InvalidInput: there is no width to draw.
    """
    return _widths(series, alpha, "training step", ylabel, "linear")


def width_over_sizes(series: Mapping[str, Sequence[Width]], alpha: float, ylabel: str = SIGMA) -> Figure:
    """Draw basin width against the number of parameters, on a logarithmic axis.

    Width is not invariant under reparametrisation, and weights of larger models are often smaller: also show
    widths in units of the weights (:meth:`Width.in_units_of`) before reading growth into this figure.

    Raises:
        InvalidInput: there is no width to draw, or one at a number of parameters that is not positive.
    """
    for width in (w for widths in series.values() for w in widths):
        ranges.positive("x", width.x)
    return _widths(series, alpha, "parameters", ylabel, "log")


def _widths(
    series: Mapping[str, Sequence[Width]], alpha: float, xlabel: str, ylabel: str, scale: Literal["linear", "log"]
) -> Figure:
    groups: dict[float, list[tuple[int, Width]]] = {}
    for i, widths in enumerate(series.values()):
        for width in widths:
            groups.setdefault(width.x, []).append((i, width))
    if not groups:
        raise InvalidInput("a width figure needs at least one width")
    figure, axes = new_axes()
    axes.set_xscale(scale)
    step = _spread_out(axes, sorted(groups), max(map(len, groups.values())))
    for group in groups.values():
        for place, (i, width) in enumerate(group):
            shift = ScaledTranslation((place - (len(group) - 1) / 2) * step / 72, 0, figure.dpi_scale_trans)
            _mark(axes, width, look(i), axes.transData + shift, size=min(6.0, step))
    for i, (name, widths) in enumerate(series.items()):
        _line(axes, name, widths, i)
    highest = max(w.top if w.upper is None else w.upper for group in groups.values() for _, w in group)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.03 * highest, 1.06 * highest))
    axes.set_title(f"Basin width, {percent(alpha)} confidence at each end")
    for marker, meaning in (("_", "refuted from here on"), (UP, "largest sigma tried, not refuted")):
        axes.plot([], [], color="grey", marker=marker, ms=8, ls="none", label=meaning)
    axes.plot([], [], color="grey", marker="o", mfc="white", ls="none", label="no sigma certified")
    legend_below(figure, axes)
    return figure


def _spread_out(axes: Axes, xs: Sequence[float], crowd: int) -> float:
    """Set the limits of x so that ``crowd`` marks beside each other fit at every x; return their distance in points.

    A crowd takes at most four fifths of the room between neighbours.
    """
    places = np.log10(xs) if axes.get_xscale() == "log" else np.array(xs)
    span = float(places[-1] - places[0]) or 1.0
    gap = 0.8 * (float(np.diff(places).min()) if len(xs) > 1 else span) / span
    room = min(DODGE * (crowd - 1), gap * (WIDE - BORDER) / (1 + gap))
    margin = span * (room + BORDER) / 2 / (WIDE - BORDER - room)
    left, right = float(places[0]) - margin, float(places[-1]) + margin
    axes.set_xlim(*((10**left, 10**right) if axes.get_xscale() == "log" else (left, right)))
    return room / (crowd - 1) if crowd > 1 else DODGE


def _mark(axes: Axes, width: Width, style: dict[str, Any], place: Transform, size: float) -> None:
    """Draw one interval; hollow if nothing is certified, open to the top if nothing is refuted."""
    open_above = width.upper is None
    end = width.top if width.upper is None else width.upper
    line = {"color": style["color"], "transform": place}
    axes.plot([width.x, width.x], [width.lower, end], ls=":" if open_above else "-", lw=1, **line)
    axes.plot(width.x, end, marker=UP if open_above else "_", ms=8 if open_above else 1.4 * size, **line)
    axes.plot(width.x, width.lower, marker=style["marker"], ms=size, mfc=None if width.lower else "white", **line)


def _line(axes: Axes, name: str, widths: Sequence[Width], i: int) -> None:
    """Join sigma* along x, through the median where several bases share one x."""
    xs = sorted({w.x for w in widths})
    at_each = [[w.lower for w in widths if w.x == x] for x in xs]
    several = max(map(len, at_each))
    label = f"{name}: certified up to here" + (f" (line: median of {several})" if several > 1 else "")
    style = {**look(i), "lw": 1.2, "alpha": 0.7, "markevery": []}
    axes.plot(xs, [float(np.median(lowers)) for lowers in at_each], **style)
    axes.plot([], [], **look(i), label=label)


def look(i: int) -> dict[str, Any]:
    """Return colour, marker and line style of the i-th series, told apart without colour."""
    return {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)], "ls": LINES[i % len(LINES)]}
