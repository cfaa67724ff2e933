"""Token distances as a figure (paper, Fig. 4c): the histogram, and the pairs below rho by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from certify.report.figures import PALETTE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from certify.landscape.tokens import TokenDistances, TokenPair

LISTED = 20


def token_figure(found: TokenDistances) -> Figure:
    """Draw the histogram of all pairwise distances with rho, and list the nearest pairs beside it."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 5.0), layout="constrained")
        axes, names = figure.subplots(1, 2, width_ratios=[5, 3])
    _histogram(axes, found)
    _list(names, found)
    figure.supxlabel(
        "Heuristic: a distance between tokens bounds no change of a score.", fontsize=8.5, x=0.01, ha="left"
    )
    return figure


def pair_text(pair: TokenPair) -> str:
    """Return a pair in one line: distance, then texts (escaped, since fonts know few of them) or ids."""
    first, second = (
        ascii(text) if text else f"token {i}" for text, i in zip(pair.texts, (pair.first, pair.second), strict=True)
    )
    return f"{pair.distance:.4f}  {first}  {second}"


def _histogram(axes: Axes, found: TokenDistances) -> None:
    counts, edges = np.array(found.counts), np.array(found.edges)
    last = int(np.flatnonzero(counts)[-1]) + 1
    axes.stairs(counts[:last], edges[: last + 1], fill=True, color=PALETTE[0], alpha=0.75)
    axes.axvline(
        found.rho, color=PALETTE[1], ls="--", lw=1.5, label=f"rho = {found.rho:g}: {found.below:,} pairs below"
    )
    axes.set_yscale("log")
    axes.set(
        xlabel="distance ||W e_i - W e_j||, in weight units",
        ylabel="pairs of tokens",
        title=f"{found.model}: {found.pairs:,} pairs of {found.tokens:,} tokens",
        xlim=(0, max(edges[last], 1.1 * found.rho)),
        ylim=(0.8, None),
    )
    axes.legend(fontsize=8.5, loc="upper left", frameon=False)


def _list(axes: Axes, found: TokenDistances) -> None:
    shown = found.nearest[:LISTED]
    lines = [pair_text(pair) for pair in shown]
    if found.below > len(shown):
        lines.append(f"and {found.below - len(shown):,} more")
    axes.set_axis_off()
    axes.set_title(f"at most {found.rho:g} apart" if lines else f"no pair is at most {found.rho:g} apart", loc="left")
    text = "\n".join(line if len(line) <= 44 else line[:43] + "…" for line in lines)
    axes.text(0, 0.98, text, va="top", family="monospace", fontsize=8.5, parse_math=False, transform=axes.transAxes)
