"""Figures of a landscape: slices with their spread, the attack, the way to each checkpoint, and planes.

Every figure shows raw scores with chance drawn in, and the likelihood beside them, since 0/1 scores look flat until
they fall. The paper's T stands in a panel of its own: it touches 0 and 1 on every curve, however little that falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from certify.landscape.record import SftCase, WorstCase, attack_succeeded, paper_transform
from certify.report.figures import MARKERS, PALETTE, STYLE, chance_line, legend_below, new_axes
from certify.report.width_figures import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

    from certify.landscape.record import Floats, Landscape, Plane, Slice

BLUE, ORANGE, BLACK = PALETTE[0], PALETTE[1], PALETTE[-1]
SIGMA_UNIT = "a, in the unit of sigma (distance from the base / √d)"
FLOOR = 1e-4  # nats: where the likelihood's logarithmic axis ends
STAR: dict[str, Any] = {"marker": "*", "ms": 15, "mec": "black", "ls": "none"}


def landscape_figures(landscape: Landscape) -> dict[str, Figure]:
    """Return every figure that the landscape has data for, by file name."""
    figures = {}
    for case, name in (("most", "most-case"), ("filter", "filter-normalised")):
        for found in landscape.of_case(case):  # type: ignore[arg-type]  # both are cases
            figures[name] = _spread_figure(landscape, found)
    if landscape.of_case("worst"):
        figures["worst-case"] = _worst_case_figure(landscape)
    if landscape.of_case("sft"):
        figures["sft-case"] = _sft_case_figure(landscape)
    for plane in landscape.planes:
        figures[f"plane-{plane.kind}"] = _plane_figure(landscape, plane)
    return figures


def skills_landscape_figure(landscapes: Sequence[Landscape]) -> Figure:
    """Draw what several skills keep along the same random directions, over one axis: median and range of each.

    The share of the base's score above chance, so that skills compare; of one at or below chance there is none to draw.
    """
    figure, axes = new_axes()
    for i, landscape in enumerate(landscapes):
        chance, (found, *_) = landscape.benchmark.chance, landscape.of_case("most")
        if (above := found.base.score - chance) <= 0:
            continue
        kept, style = (found.scores - chance) / above, look(i)
        axes.fill_between(found.a, kept.min(axis=0), kept.max(axis=0), color=style["color"], alpha=0.15, lw=0)
        axes.plot(found.a, np.median(kept, axis=0), lw=1.5, ms=3, label=landscape.benchmark.name, **style)
    first = landscapes[0]
    count = len(first.of_case("most")[0].curves)
    axes.set(xlabel=SIGMA_UNIT, ylabel="share of the base's score above chance")
    axes.set_title(f"{first.base.name}: the same {count} random directions, median and range (explored, not claimed)")
    legend_below(figure, axes)
    return figure


def _spread_figure(landscape: Landscape, found: Slice) -> Figure:
    """All directions of one case: score, the paper's T and likelihood against a; thin curves, median and range."""
    figure, panels = _panels(landscape, transform=True)
    _spread(panels[0], found.a, found.scores, BLUE, found.case)
    _levels(panels[0], landscape, found)
    transformed = [t for t in map(paper_transform, found.scores) if t is not None]
    if transformed:
        _spread(panels[1], found.a, np.array(transformed), BLUE)
    else:
        panels[1].text(0.5, 0.5, "constant curves have no T", transform=panels[1].transAxes, ha="center")
    _likelihood(panels[2:], found, BLUE)
    kind = "most-case" if found.case == "most" else "filter-normalised"
    unit = SIGMA_UNIT if found.case == "most" else "a, relative to the norms of the base's rows"
    _finish(figure, panels, f"{_around(landscape)}: {len(found.curves)} {kind} directions", unit)
    return figure


def _worst_case_figure(landscape: Landscape) -> Figure:
    """Each attack's direction, outward from the base, against random directions of the same norm."""
    slices = landscape.of_case("worst")
    figure, panels = _panels(landscape)
    for random in landscape.of_case("most"):
        _spread(panels[0], random.a, random.scores, BLUE, "most")
        _likelihood(panels[1:], random, BLUE)
    for i, found in enumerate(slices):
        record = found.curves[0].direction
        assert isinstance(record, WorstCase)
        style: Any = {"color": (ORANGE, PALETTE[3], PALETTE[2])[i % 3], "marker": MARKERS[1 + i % 5], "ms": 4}
        verdict = "succeeded" if attack_succeeded(found, landscape.tau) else "failed"
        label = f"worst found, attack at a = {record.radius:.3g} {verdict}"
        panels[0].plot(found.a, found.scores[0], lw=2, label=label, **style)
        for axes in panels[1:]:
            axes.plot(found.a, found.nll[0], lw=2, **style)
        for axes in panels:
            axes.axvline(record.radius, color=style["color"], ls="--", lw=1)
    _levels(panels[0], landscape, slices[0])
    _finish(figure, panels, f"{_around(landscape)}: an attack against random directions", SIGMA_UNIT)
    for axes in panels:
        axes.set_xlim(0, max(found.a[-1] for found in slices))
    return figure


def _sft_case_figure(landscape: Landscape) -> Figure:
    """The slice through each checkpoint, which lies at its alpha* (star), before the spread of random directions."""
    slices = landscape.of_case("sft")
    figure, panels = _panels(landscape)
    for random in landscape.of_case("most"):
        _spread(panels[0], random.a, random.scores, "grey", "most", thin=False)
        _likelihood(panels[1:], random, "grey", thin=False)
    for i, found in enumerate(slices):
        record = found.curves[0].direction
        assert isinstance(record, SftCase)
        colour, star = PALETTE[i % 6], found.a.index(record.alpha_star)
        label = f"to {record.checkpoint.name}, alpha* = {record.alpha_star:.4f}"
        panels[0].plot(found.a, found.scores[0], color=colour, lw=1.8, marker=MARKERS[i % 7], ms=3.5, label=label)
        panels[0].plot(record.alpha_star, found.scores[0][star], color=colour, zorder=5, **STAR)
        for axes in panels[1:]:
            axes.plot(found.a, found.nll[0], color=colour, lw=1.8, marker=MARKERS[i % 7], ms=3.5)
            axes.plot(record.alpha_star, max(found.nll[0][star], FLOOR), color=colour, zorder=5, **STAR)
    _levels(panels[0], landscape, slices[0])
    _finish(figure, panels, f"{_around(landscape)}: towards each checkpoint", f"{SIGMA_UNIT}; star: the checkpoint")
    return figure


def _plane_figure(landscape: Landscape, plane: Plane) -> Figure:
    """Contours of score and likelihood in a plane; the base is the star, checkpoints are named."""
    likelihood = np.isfinite(plane.nll).any()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4 if likelihood else 5.8, 4.8), layout="constrained")
        panels = figure.subplots(1, 2 if likelihood else 1, squeeze=False)[0]
        _contours(figure, panels[0], plane, plane.scores, "score", levels=np.linspace(0, 1, 11), cmap="cividis")
        if likelihood:
            shown = np.ma.masked_invalid(np.log10(np.maximum(plane.nll, FLOOR)))
            levels = np.arange(np.floor(shown.min()), np.ceil(shown.max()) + 0.1, 0.25)
            bar = _contours(figure, panels[1], plane, shown, "nats per answer", levels=levels, cmap="viridis_r")
            bar.set_ticks(levels[::4].tolist(), labels=[f"{10**level:g}" for level in levels[::4]])
    unit = "unit of sigma"
    names = ("v1", "v2")
    if plane.kind == "checkpoints":
        names = (f"towards {plane.marks[0].name}", f"towards {plane.marks[1].name}, at a right angle")
    for axes in panels:
        axes.set(xlabel=f"{names[0]} ({unit})", ylabel=f"{names[1]} ({unit})", aspect="equal")
    panels[0].set_title(f"score on {landscape.benchmark.name}")
    if likelihood:
        panels[1].set_title("negative log-likelihood of the right answer")
    chance = f"; chance {landscape.benchmark.chance:.3g}" if landscape.benchmark.chance else ""
    figure.suptitle(f"{_around(landscape)}: {_plane_in_words(plane)}{chance}", fontsize=11)
    return figure


def _plane_in_words(plane: Plane) -> str:
    what = "two random directions" if plane.kind == "random" else "the plane through two checkpoints"
    return f"{what} (cosine {plane.cosine:.2f}), {len(plane.x)} x {len(plane.y)} points"


def _contours(figure: Figure, axes: Axes, plane: Plane, values: Floats, label: str, **style: Any) -> Colorbar:
    drawn = axes.contourf(plane.x, plane.y, values, **style)
    axes.contour(plane.x, plane.y, values, levels=style["levels"][1:-1], colors="black", linewidths=0.3, linestyles="-")
    axes.plot(0, 0, color="white", label="base", **STAR)
    axes.annotate("base", (0, 0), xytext=(7, 7), textcoords="offset points", **_boxed())
    for i, mark in enumerate(plane.marks):
        axes.plot(mark.x, mark.y, MARKERS[1 + i], color="white", mec="black", ms=8, ls="none")
        axes.annotate(mark.name, (mark.x, mark.y), xytext=(7, 7), textcoords="offset points", **_boxed())
    return figure.colorbar(drawn, ax=axes, label=label, shrink=0.9)


def _boxed() -> dict[str, Any]:
    return {"fontsize": 8.5, "bbox": {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.8}}


def _panels(landscape: Landscape, *, transform: bool = False) -> tuple[Figure, Sequence[Axes]]:
    """Panels one above the other: score, the paper's T if wanted, likelihood if there is any."""
    likelihood = landscape.surrogate is not None
    heights = [2.0, *([0.9] if transform else []), *([1.1] if likelihood else [])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 2.0 + 1.55 * sum(heights)), layout="constrained")
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    panels[0].set(ylabel=f"score on {landscape.benchmark.name}", ylim=(-0.02, 1.04))
    if transform:
        panels[1].set(ylabel="paper's T\n(0 best, 1 worst)", ylim=(-0.06, 1.06))
    if likelihood:
        panels[-1].set(ylabel="negative log-\nlikelihood, nats", yscale="log")
    return figure, list(panels)


def _spread(
    axes: Axes, a: Sequence[float], curves: Floats, colour: str, case: str | None = None, thin: bool = True
) -> None:
    """Range as a band, every curve thin, the median thick."""
    several = len(curves) > 1
    name = {"most": "random directions", "filter": "filter-normalised directions"}.get(case or "")
    if several:
        axes.fill_between(
            a, curves.min(0), curves.max(0), color=colour, alpha=0.18, lw=0, label=name and f"{name}: range"
        )
    for curve in curves if several and thin else ():
        axes.plot(a, curve, color=colour, lw=0.6, alpha=0.6)
    axes.plot(a, np.median(curves, 0), color=colour, lw=2, label=name and f"{name}: median of {len(curves)}")


def _likelihood(panels: Sequence[Axes], found: Slice, colour: str, thin: bool = True) -> None:
    for axes in panels:
        _spread(axes, found.a, np.maximum(found.nll, FLOOR), colour, thin=thin)


def _levels(axes: Axes, landscape: Landscape, found: Slice) -> None:
    """The allowed drop below the base's score, and chance."""
    floor = found.base.score - landscape.tau
    axes.axhline(floor, color=BLACK, ls="--", lw=0.8, label=f"base's score less {landscape.tau:g}")
    chance_line(axes, landscape.benchmark.chance)


def _finish(figure: Figure, panels: Sequence[Axes], title: str, unit: str) -> None:
    panels[0].set_title(title)
    panels[-1].set_xlabel(unit)
    legend_below(figure, panels[0])


def _around(landscape: Landscape) -> str:
    base, benchmark = landscape.base, landscape.benchmark
    return f"{base.name} ({base.parameters:,} weights), {benchmark.items} items"
