"""Forgetting curves: the score on an old skill against the score on a new one while a model is fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from certify.errors import InvalidInput
from certify.report.figures import STYLE
from certify.report.width_figures import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ForgettingRun:
    """Scores of one fine-tuning run on the old skill and on the new one, at each of ascending ``steps``.

    Runs of one ``name`` are seeds of one recipe.

    Raises:
        InvalidInput: no steps, steps that do not ascend, or another number of scores than of steps.
    """

    name: str
    seed: int
    steps: tuple[int, ...]
    old: tuple[float, ...]
    new: tuple[float, ...]

    def __post_init__(self) -> None:
        ascending = bool(self.steps) and list(self.steps) == sorted(set(self.steps))
        if not ascending or not len(self.steps) == len(self.old) == len(self.new):
            raise InvalidInput(
                f"forgetting run {self.name!r}, seed {self.seed}: needs ascending steps and one old and one new score "
                f"for each, got steps {list(self.steps)}, {len(self.old)} old and {len(self.new)} new scores"
            )


def forgetting_figure(runs: Sequence[ForgettingRun], old: str = "old skill", new: str = "new skill") -> Figure:
    """Draw both scores over the steps and one against the other: median line, range over seeds as a band.

    In the third panel the line joins the medians of each step, from the first (no mark) to the last; each hollow mark
    is where one seed ended.

    Raises:
        InvalidInput: no runs, or runs of one name with different steps.
    """
    if not runs:
        raise InvalidInput("a forgetting figure needs at least one run")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        learnt, kept, plane = figure.subplots(1, 3)
    for i, name in enumerate(dict.fromkeys(run.name for run in runs)):
        _recipe([run for run in runs if run.name == name], i, learnt, kept, plane)
    whole = (-0.03, 1.05)
    learnt.set(xlabel="fine-tuning step", ylabel=f"score on {new}", title="learnt", ylim=whole)
    kept.set(xlabel="fine-tuning step", ylabel=f"score on {old}", title="kept", ylim=whole)
    plane.set(xlabel=f"score on {new}", ylabel=f"score on {old}", title="both", xlim=whole, ylim=whole)
    figure.legend(*learnt.get_legend_handles_labels(), loc="outside lower left", fontsize=8.5, ncols=2, frameon=False)
    return figure


def _recipe(group: Sequence[ForgettingRun], i: int, learnt: Axes, kept: Axes, plane: Axes) -> None:
    name, steps = group[0].name, group[0].steps
    if any(run.steps != steps for run in group):
        raise InvalidInput(f"forgetting runs named {name!r} have different steps; give each recipe its own name")
    old, new = np.array([run.old for run in group]), np.array([run.new for run in group])  # (seeds, steps)
    style = {**look(i), "ms": 4, "lw": 1.5}
    label = f"{name}: median and range of {len(group)} seeds" if len(group) > 1 else f"{name}: one seed"
    for axes, scores in ((learnt, new), (kept, old)):
        axes.fill_between(steps, scores.min(0), scores.max(0), color=style["color"], alpha=0.13, lw=0.8)
        axes.plot(steps, np.median(scores, axis=0), label=label, **style)
    plane.plot(np.median(new, axis=0), np.median(old, axis=0), **{**style, "marker": ""})
    plane.plot(new[:, -1], old[:, -1], color=style["color"], marker=style["marker"], ls="none", ms=7, mfc="none")
