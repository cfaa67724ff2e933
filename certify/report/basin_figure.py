"""A basin record as a figure: the score under noise, and the share of directions that lose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from certify.evidence.judgement import no_less_than, percent
from certify.report.figures import PALETTE, STYLE, chance_line, draw_basin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from certify.documents import BasinRecord


def basin_record_figure(record: BasinRecord) -> Figure:
    """Draw the score under noise against sigma with sigma* and every checkpoint's alpha*, as vertical lines.

    With whole-benchmark draws, a second panel shows the share of them that lose nothing, at each sigma.
    """
    with_draws = bool(record.evidence.draws)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 8.2 if with_draws else 5.6), layout="constrained")
        panels = figure.subplots(1 + with_draws, 1, sharex=True, squeeze=False)[:, 0]
    _scores(panels[0], record)
    if with_draws:
        _shares(panels[1], record)
    for axes in panels:
        _places(axes, record, labelled=axes is panels[0])
    panels[-1].set_xlabel(
        "sigma (noise on every weight)" + (", alpha* (checkpoints)" if record.judgement.places else "")
    )
    handles = [each for axes in panels for each in zip(*axes.get_legend_handles_labels(), strict=True)]
    figure.legend(*zip(*handles, strict=True), loc="outside lower left", fontsize=8.5, ncols=2, frameon=False)
    return figure


def _scores(axes: Axes, record: BasinRecord) -> None:
    j, basin = record.judgement, record.evidence.basin
    draw_basin(axes, basin, j.sigma_star, record.requirement, record.alpha)
    right = 1.06 * max([basin.levels[-1].sigma, *(place.alpha_star for place in j.places)])
    if j.refuted_from is not None:
        label = f"refuted from sigma = {no_less_than(j.refuted_from)} on"
        axes.axvspan(j.refuted_from, right, color="#D55E00", alpha=0.12, lw=0, label=label)
    chance_line(axes, record.benchmark.chance)
    axes.set(
        ylabel=f"score on {record.benchmark.name}",
        title=f"Basin of {record.base.name} ({record.base.parameters:,} weights, a draw for each of {len(basin.base)} "
        "items)",
        xlim=(0, right),
        ylim=(0, 1.04),
    )


def _shares(axes: Axes, record: BasinRecord) -> None:
    levels = [level for level in record.judgement.levels if level.strict is not None]
    shares = [level.strict.two_sided for level in levels if level.strict is not None]
    value = np.array([share.value for share in shares], dtype=float)
    low = np.array([share.lower for share in shares], dtype=float)
    high = np.array([share.upper for share in shares], dtype=float)
    axes.errorbar(
        [level.sigma for level in levels],
        value,
        yerr=[value - low, high - value],
        fmt="s--",
        color=PALETTE[0],
        capsize=3,
        label=f"whole benchmark, {record.evidence.draws[0].n} draws each, {percent(record.alpha)} two-sided",
    )
    axes.set(ylabel="directions that lose nothing", ylim=(-0.03, 1.04))


def _places(axes: Axes, record: BasinRecord, labelled: bool) -> None:
    for i, place in enumerate(record.judgement.places):
        axes.axvline(
            place.alpha_star,
            color=PALETTE[(i + 1) % len(PALETTE)],
            ls=(0, (1 + i, 2)),
            lw=1.5,
            label=f"alpha* of {place.name}" if labelled else None,
        )
