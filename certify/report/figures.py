"""Figures of a measurement and its checkpoints: basin width, the fine-tuning segments, the distance bound.

matplotlib, SVG and PNG; the Okabe-Ito palette and a marker for each checkpoint, so that neither colour
vision nor a black-and-white printer loses anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from certify.evidence import DistanceEvidence, PositionEvidence, Requirement
from certify.evidence.paired_items import ItemScores, kept
from certify.evidence.position import level_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from certify.documents import Certificate, Measurement
    from certify.evidence.position import Basin

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
REACH = 5.0  # sigma; no number of draws that anyone takes certifies farther
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "pytest-basin",  # the same input gives the same file
}


def basin_figure(
    measurement: Measurement, certificates: Sequence[Certificate], requirement: Requirement, alpha: float
) -> Figure:
    """Score under noise against sigma, with bounds, sigma* and where each checkpoint lies (alpha*)."""
    figure, axes = new_axes()
    basin, chance = measurement.basin, measurement.benchmark.chance
    draw_basin(axes, basin, basin.width(requirement, alpha, chance), requirement, alpha)
    chance_line(axes, chance)
    for i, c in enumerate(c for c in certificates if isinstance(c.evidence, PositionEvidence)):
        evidence = c.evidence
        assert isinstance(evidence, PositionEvidence)
        final = evidence.points[-1].scores
        axes.plot(
            evidence.alpha_star,
            _mean_score(final),
            MARKERS[i % len(MARKERS)],
            color=PALETTE[i % len(PALETTE)],
            ms=8,
            ls="none",
            label=f"{c.checkpoint.name} without noise, at its alpha*",
        )
    axes.set(
        xlabel="sigma (noise on every weight), alpha* (checkpoints)",
        ylabel=f"score on {measurement.benchmark.name}",
        title=f"Basin of {measurement.base.name} ({measurement.base.parameters:,} weights, a draw for each of "
        f"{len(basin.base)} items)",
        xlim=(0, None),
        ylim=(0, 1.04),
    )
    legend_below(figure, axes)
    return figure


def draw_basin(axes: Axes, basin: Basin, width: float | None, requirement: Requirement, alpha: float) -> None:
    """Draw the score under noise against sigma with its bounds, the width sigma* and the allowed drop."""
    score = _mean_score(basin.base)
    sigmas = [level.sigma for level in basin.levels]
    drops = [basin.drop_at(level).drop(alpha) for level in basin.levels]
    means = np.array([score - (d.value or 0.0) for d in drops])
    low = np.array([score - (1.0 if d.upper is None else d.upper) for d in drops])
    high = np.minimum(1.0, [score - (-1.0 if d.lower is None else d.lower) for d in drops])
    axes.errorbar(
        sigmas,
        means,
        yerr=[means - low, np.maximum(high - means, 0)],
        fmt="o-",
        color="black",
        capsize=3,
        label=f"base under noise, {100 * (1 - alpha):g} % one-sided bounds",
    )
    if width is not None:
        axes.axvspan(0, width, color="#56B4E9", alpha=0.15, lw=0, label=f"certified width sigma* = {level_text(width)}")
    if requirement.unit == "drop":
        axes.axhline(
            score - requirement.limit, color="grey", ls="--", lw=1, label=f"allowed drop {requirement.limit:g}"
        )


def segment_figure(certificates: Sequence[Certificate], requirement: Requirement) -> Figure:
    """Drop along the segment from the base to each checkpoint, with the bounds that were judged."""
    figure, axes = new_axes()
    chosen = [c for c in certificates if isinstance(c.evidence, PositionEvidence)]
    for i, c in enumerate(chosen):
        evidence = c.evidence
        assert isinstance(evidence, PositionEvidence)
        share = c.alpha / len(evidence.points)
        basin = evidence.basin
        pairs = [basin.paired(p.scores) for p in evidence.points]
        drops = [pair.drop(share) for pair in pairs]
        values = np.array([0.0, *(d.value or 0.0 for d in drops)])
        low = np.array([0.0, *(-1.0 if d.lower is None else d.lower for d in drops)])
        high = np.array([0.0, *(1.0 if d.upper is None else d.upper for d in drops)])
        place = np.array([0.0, *(p.fraction for p in evidence.points)]) * evidence.alpha_star
        colour = PALETTE[i % len(PALETTE)]
        axes.errorbar(
            place,
            values,
            yerr=[values - low, high - values],
            marker=MARKERS[i % len(MARKERS)],
            color=colour,
            capsize=3,
            lw=1.5,
            elinewidth=0.8,
            label=f"{c.checkpoint.name}: {c.verdict}",
        )
    if requirement.unit == "drop":
        axes.axhline(requirement.limit, color="grey", ls="--", lw=1, label=f"allowed drop {requirement.limit:g}")
    items = len(chosen[0].evidence.basin.base) if chosen and isinstance(chosen[0].evidence, PositionEvidence) else 0
    axes.set(
        xlabel="distance from the base along the segment, ||delta||/sqrt(d)",
        ylabel="drop of the score",
        title=f"From the base to each checkpoint ({items} items, bounds for all listed points at once)",
        xlim=(0, None),
    )
    legend_below(figure, axes)
    return figure


def distance_figure(measurement: Measurement, certificates: Sequence[Certificate], alpha: float) -> Figure:
    """Certified noise-averaged score against distance, for each law, with every checkpoint that has one."""
    figure, axes = new_axes()
    chance = measurement.benchmark.chance
    found = [c for c in certificates if isinstance(c.evidence, DistanceEvidence)]
    grid = np.linspace(0, REACH, 201)
    for i, draws in enumerate(measurement.draws):
        axes.plot(
            grid,
            draws.band(alpha / draws.ladder).mean_lower(grid),
            color=PALETTE[i],
            ls=("-", "--", ":")[i % 3],
            label=f"{draws.law.describe()} ({draws.n} draws)",
        )
    chance_line(axes, chance)
    beyond = 0
    for i, c in enumerate(found):
        r = c.judgement.quantities["r"]
        far = r is None or r > REACH
        beyond += far
        axes.plot(
            REACH - 0.12 * (beyond - 1) if r is None or far else r,  # side by side at the edge
            c.judgement.quantities["bound"] or 0.0,
            ">" if far else MARKERS[i % len(MARKERS)],
            color=PALETTE[i % len(PALETTE)],
            ms=9,
            ls="none",
            clip_on=False,
            label=f"{c.checkpoint.name}, r = {'infinite' if r is None else format(r, '.3g')}"
            + (" (far to the right)" if far else ""),
        )
    axes.set(
        xlabel="distance r in units of the law's noise",
        ylabel="certified lower bound of the noise-averaged score",
        title=f"What holds for every checkpoint this close in the noised weights, {100 * (1 - alpha):g} % confidence",
        xlim=(0, REACH),
        ylim=(0, 1.04),
    )
    legend_below(figure, axes, columns=1)
    return figure


def _mean_score(scores: ItemScores) -> float:
    """Return the mean over items, failures as 0."""
    return sum(kept(scores)) / len(scores)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write the figure as SVG and PNG and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    with mpl.rc_context(STYLE):
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], dpi=150)
    return paths


def new_axes() -> tuple[Figure, Axes]:
    """Return an empty figure in the project's style, and its axes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 5.6), layout="constrained")
        return figure, figure.add_subplot()


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """Put the legend below the axes, where it hides no data."""
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower left", fontsize=8.5, ncols=columns, frameon=False
    )


def chance_line(axes: Axes, chance: float) -> None:
    """Draw the chance level in, if there is one."""
    if chance > 0:
        axes.axhline(chance, color="grey", ls=":", lw=1, label=f"chance {chance:g}")
