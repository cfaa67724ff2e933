"""The paper's Fig. 4: the strong law h_r(p) against the distance of a checkpoint, on the paper's own grids.

Both panels draw one function, ``strong_lower`` of :mod:`certify.statistics.laws`, at r = distance / sigma. They show
what the law gives for a base probability p that is known; with a confidence bound in its place, the bound inherits its
confidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from certify.evidence.judgement import percent
from certify.report.figures import MARKERS, PALETTE, legend_below, new_axes
from certify.statistics import draws_zero_failures
from certify.statistics.laws import strong_lower

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from certify.statistics.ranges import FloatArray

ALPHA = 0.01  # confidence of 99 %, at which the legend counts draws


@dataclass(frozen=True)
class LawCurves:
    """Lower bounds of a score after a move of the weights: one row for each curve.

    ``distance``: ||delta|| in weight units, shape (points,). ``bound``: h_r(p) at r = distance / sigma, shape
    (curves, points). ``p`` and ``sigma``: each curve's own.
    """

    title: str
    distance: FloatArray
    p: tuple[float, ...]
    sigma: tuple[float, ...]
    bound: FloatArray

    @classmethod
    def on(cls, title: str, exponents: float, curves: tuple[tuple[float, float], ...]) -> LawCurves:
        """Return the curves for (p, sigma) pairs at distances 2^e / 1000, e = 0 (0.25) ``exponents``."""
        distance = 2.0 ** np.arange(0.0, exponents + 0.125, 0.25) / 1000
        p, sigma = zip(*curves, strict=True)
        bound = np.stack([strong_lower(np.full_like(distance, each), distance / s) for each, s in curves])
        return cls(title, distance, p, sigma, bound)


def figure_4a() -> LawCurves:
    """Return Fig. 4a: sigma = 0.003, five base probabilities, distances 2^e / 1000 with e = 0 (0.25) 7."""
    pairs = tuple((p, 0.003) for p in (0.9, 0.99, 0.999, 0.9999, 0.99999))
    return LawCurves.on("Fig. 4a: five base probabilities, sigma = 0.003", 7.0, pairs)


def figure_4b() -> LawCurves:
    """Return Fig. 4b: p = 0.9, four sigmas, distances 2^e / 1000 with e = 0 (0.25) 15."""
    return LawCurves.on("Fig. 4b: four sigmas, p = 0.9", 15.0, tuple((0.9, s) for s in (0.003, 0.03, 0.3, 3.0)))


def law_figure(curves: LawCurves) -> Figure:
    """Draw the curves against distance on a logarithmic axis.

    Where the curves differ in p, the legend says how many draws it takes to show that p with 99 % confidence
    if every one of them succeeds.
    """
    figure, axes = new_axes()
    several = len(set(curves.p)) > 1
    for i, (p, sigma, bound) in enumerate(zip(curves.p, curves.sigma, curves.bound, strict=True)):
        draws = f"p = {p:g} (shown by {draws_zero_failures(p, 0.0, ALPHA):,} clean draws)"
        axes.plot(
            curves.distance,
            bound,
            color=PALETTE[i],
            marker=MARKERS[i],
            ms=4,
            markevery=4,
            lw=1.5,
            label=draws if several else f"sigma = {sigma:g}",
        )
    axes.set_xscale("log", base=2)
    ticks = curves.distance[:: 4 if len(curves.distance) < 40 else 12]
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.set(
        xlabel="distance ||delta|| of the checkpoint, in weight units",
        ylabel="lower bound of the noise-averaged score",
        title=f"{curves.title}{f'; draws: {percent(ALPHA)} confidence' if several else ''}",
        ylim=(-0.02, 1.04),
    )
    legend_below(figure, axes)
    return figure
