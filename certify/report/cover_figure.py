"""A cover as a figure: a curve for one coefficient, a map for two, windows coloured by what was shown there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from certify.evidence.cover import NAMES, WindowJudgement, bound_text, counts_text, point_text
from certify.evidence.judgement import Verdict, percent
from certify.report.figures import PALETTE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from certify.documents import CoverRecord

COLOURS = {Verdict.CERTIFIED: PALETTE[2], Verdict.REFUTED: PALETTE[1], Verdict.UNDECIDED: "#BBBBBB"}
HATCHES = {Verdict.CERTIFIED: "", Verdict.REFUTED: "xx", Verdict.UNDECIDED: ".."}  # what a printer without colour has


def cover_figure(record: CoverRecord) -> Figure:
    """Draw the mean over each window with its bounds (two coefficients: the bound alone), and the chosen point."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 6.2 if len(record.evidence.box) == 1 else 7.4), layout="constrained")
        axes = figure.add_subplot()
    (_curve if len(record.evidence.box) == 1 else _map)(axes, record)
    evidence, said = record.evidence, record.said
    axes.set_title(
        f"{evidence.family.title} on {record.benchmark.name}: {counts_text(said)}\n"
        f"{evidence.n} draws, {percent(record.failure_probability)} for all {len(said.windows)} windows on each side"
    )
    handles, labels = axes.get_legend_handles_labels()
    found = {window.verdict for window in said.windows}
    handles += [Patch(facecolor=COLOURS[v], hatch=HATCHES[v], edgecolor="white") for v in NAMES if v in found]
    labels += [f"window {NAMES[v]}" for v in NAMES if v in found]
    figure.legend(handles, labels, loc="outside lower left", fontsize=8.5, ncols=3, frameon=False)
    return figure


def _curve(axes: Axes, record: CoverRecord) -> None:
    (axis,), requirement = record.evidence.box, record.requirement
    for window in record.said.windows:
        bounds = window.bounds
        if bounds.lower is None or bounds.upper is None or bounds.value is None:
            continue
        ((low, high),) = window.place
        axes.add_patch(_box(window, low, bounds.lower, high - low, bounds.upper - bounds.lower))
        axes.plot([low, high], [bounds.value] * 2, color="black", lw=1.5)
    axes.axhline(requirement.limit, color="black", ls="--", lw=1, label=f"required: {requirement.describe()}")
    if record.evidence.chosen is not None:
        (chosen,) = record.evidence.chosen
        axes.axvline(chosen, color=PALETTE[0], lw=1.5, label=f"chosen: {point_text((chosen,))}")
    axes.autoscale_view()
    axes.set(
        xlabel=record.evidence.family.coefficients[0],
        ylabel=f"mean {requirement.quantity} over a window, with bounds",
        xlim=(axis.low, axis.high),
    )


def _map(axes: Axes, record: CoverRecord) -> None:
    """Show each window as a tile; where windows overlap, as a tile around its middle, which the label says."""
    box, requirement = record.evidence.box, record.requirement
    steps = [axis.places[1][0] - axis.low if axis.windows > 1 else axis.width for axis in box]
    for window in record.said.windows:
        middle = [(low + high) / 2 for low, high in window.place]
        corner = [m - step / 2 for m, step in zip(middle, steps, strict=True)]
        axes.add_patch(_box(window, corner[0], corner[1], steps[0], steps[1]))
        text = bound_text(window, requirement.at_most)
        axes.text(middle[0], middle[1], text, ha="center", va="center", fontsize=7.5,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
    if record.evidence.chosen is not None:
        chosen = record.evidence.chosen
        label = f"chosen: {point_text(chosen)}"
        axes.plot(*chosen, "*", color=PALETTE[0], mec="white", ms=16, clip_on=False, zorder=3, label=label)
    names = record.evidence.family.coefficients
    overlap = any(step < axis.width * (1 - 1e-9) for step, axis in zip(steps, box, strict=True))
    widths = " x ".join(f"{axis.width:.4g}" for axis in box)
    number = f"{'upper' if requirement.at_most else 'lower'} bound of the mean {requirement.quantity} over "
    number += f"the window of {widths} around it" if overlap else "it"
    axes.set(
        xlabel=f"{names[0]}\n\nin each tile: {number}\n({requirement.describe()} required)",
        ylabel=names[1],
        xlim=(box[0].low, box[0].high),
        ylim=(box[1].low, box[1].high),
        aspect="equal" if box[0] == box[1] else "auto",
    )


def _box(window: WindowJudgement, x: float, y: float, width: float, height: float) -> Rectangle:
    verdict = window.verdict
    return Rectangle((x, y), width, height, facecolor=COLOURS[verdict], alpha=0.6, edgecolor="white", lw=0.8,
                     hatch=HATCHES[verdict])  # fmt: skip
