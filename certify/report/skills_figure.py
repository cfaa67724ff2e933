"""The basins of several skills as one figure: what each keeps over one axis of sigma, and how wide it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from certify.evidence.judgement import percent
from certify.report.figures import PALETTE, STYLE
from certify.report.width_figures import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from certify.documents import SkillsRecord


def skills_figure(record: SkillsRecord) -> Figure:
    """Draw each skill's curve with its bounds; below, a bar up to sigma*, and a thin line to where it is refuted."""
    said = record.said
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 5.2 + 0.35 * len(said.skills)), layout="constrained")
        curves, bars = figure.subplots(2, 1, sharex=True, height_ratios=[4, 0.5 + 0.4 * len(said.skills)])
    _curves(curves, record)
    _bars(bars, record)
    nested = "; ".join(f"{pair.inner} inside {pair.outer}" for pair in said.inside) or "no pair shown to be nested"
    if len(said.skills) == 1:
        nested = ""
    curves.set_title(
        f"{record.base.name} under the same {record.evidence.n} draws at each sigma\n"
        f"widths at {percent(record.failure_probability)} all at once, error bars each alone"
    )
    bars.set_xlabel("sigma (noise on every weight)" + (f"\n{_wrapped(nested)}" if nested else ""))
    figure.legend(*curves.get_legend_handles_labels(), loc="outside lower left", fontsize=8.5, ncols=3, frameon=False)
    return figure


def _curves(axes: Axes, record: SkillsRecord) -> None:
    requirement = record.requirement
    for i, skill in enumerate(record.said.skills):
        known = [level for level in skill.levels if level.bounds.value is not None]
        value, low, high = (
            np.array([getattr(level.bounds, name) for level in known], dtype=float)
            for name in ("value", "lower", "upper")
        )
        sigmas = [level.sigma for level in known]
        axes.errorbar(sigmas, value, yerr=[value - low, high - value], capsize=2, lw=1.4, ms=4, label=skill.name,
                      **look(i))  # fmt: skip
    axes.axhline(requirement.limit, color="black", ls="--", lw=1, label=f"required: {requirement.describe()}")
    axes.set(ylabel=f"mean {requirement.quantity}", xlim=(0, 1.04 * record.evidence.levels[-1].sigma))


def _bars(axes: Axes, record: SkillsRecord) -> None:
    skills, top = record.said.skills, record.evidence.levels[-1].sigma
    for i, skill in enumerate(skills):
        colour, width = PALETTE[i % len(PALETTE)], skill.sigma_star or 0.0
        axes.barh(i, width, height=0.55, color=colour, alpha=0.75)
        end = top if skill.refuted_from is None else skill.refuted_from
        axes.plot([width, end], [i, i], color=colour, lw=1.2, ls=":" if skill.refuted_from is None else "-")
        if skill.refuted_from is not None:
            axes.plot(end, i, "|", color=colour, ms=12, mew=2)
    axes.set_yticks(range(len(skills)), [skill.name for skill in skills])
    axes.set(ylim=(len(skills) - 0.5, -0.5), title="certified (bar), neither (line), refuted (from the stroke on)")
    axes.title.set_fontsize(9)


def _wrapped(text: str, width: int = 95) -> str:
    """Break the list of pairs between pairs."""
    lines = [""]
    for part in text.split("; "):
        joined = f"{lines[-1]}; {part}" if lines[-1] else part
        lines = [*lines[:-1], joined] if len(joined) <= width else [*lines, part]
    return "\n".join(lines)
