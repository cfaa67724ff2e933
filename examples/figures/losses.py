"""Loss beside width, and forgetting in likelihood, from the kept results of `examples/studies/losses.py`.

python examples/figures/losses.py figures [results.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from certify.evidence.judgement import percent
from certify.report.figures import STYLE, save
from certify.report.width_figures import SIGMA, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parents[1] / "studies" / "results" / "losses.json"
ALPHA = 0.05  # at which the study's widths were measured
Json = dict[str, Any]


def main(folder: Path, results: Path = RESULTS) -> list[Path]:
    """Draw both figures: medians and ranges over seeds."""
    groups: dict[str, list[Json]] = {}
    for run in json.loads(results.read_text(encoding="utf-8"))["runs"]:
        groups.setdefault(run["key"]["method"], []).append(run)
    return [
        *save(pretraining_figure(groups), folder, "pretraining-loss"),
        *save(likelihood_figure(groups), folder, "forgetting-likelihood"),
    ]


def pretraining_figure(groups: dict[str, list[Json]]) -> Figure:
    """The loss over pre-training, and where each seed ended: its loss against its basin's width."""
    figure, (over, beside) = _panels(2)
    for i, (name, runs) in enumerate(groups.items()):
        steps = [step for step, _ in runs[0]["losses"]]
        _band(over, name, i, steps, [[loss for _, loss in run["losses"]] for run in runs])
        style = {**look(i), "ls": "none"}
        for run in runs:
            basin, loss = run["basin"], run["losses"][-1][1]
            end = basin["top"] if basin["upper"] is None else basin["upper"]
            beside.plot([basin["lower"], end], [loss, loss], color=style["color"], lw=1)
            beside.plot(end, loss, color=style["color"], marker="|", ms=9)
            beside.plot(basin["lower"], loss, **{**style, "ms": 6})
    over.set(xlabel="pre-training step", ylabel="loss on unseen items, nats per token", title="loss, without noise")
    beside.set(xlabel=SIGMA, ylabel="loss after the last step, nats per token", xlim=(0, None))
    beside.set_title(f"width: certified to the mark, refuted\nfrom the bar, each {percent(ALPHA)} confidence")
    return _labelled(figure, over)


def likelihood_figure(groups: dict[str, list[Json]]) -> Figure:
    """What is kept of the old skill while a new one is learnt: by score, by likelihood, and both likelihoods."""
    figure, (score, old, plane) = _panels(3)
    for i, (name, runs) in enumerate(groups.items()):
        steps = runs[0]["steps"]
        _band(score, name, i, steps, [run["old"] for run in runs])
        _band(old, name, i, steps, [run["old_nll"] for run in runs])
        learnt, kept = (np.median([run[key] for run in runs], axis=0) for key in ("new_nll", "old_nll"))
        plane.plot(learnt, kept, **{**look(i), "lw": 1.5, "marker": ""})
        for run in runs:
            style = look(i)
            plane.plot(run["new_nll"][-1], run["old_nll"][-1], style["marker"], color=style["color"], mfc="none", ms=7)
    nats = "negative log-likelihood\nof the right answer, nats"
    score.set(xlabel="fine-tuning step", ylabel="score on reversal", ylim=(-0.03, 1.05))
    score.set_title("reversal kept, by score")
    old.set(xlabel="fine-tuning step", ylabel=nats, title="reversal kept, by likelihood", yscale="log")
    plane.set(xlabel="shift, nats (learnt to the right)", ylabel="reversal, nats", title="both likelihoods")
    plane.set(xscale="log", yscale="log")
    plane.invert_xaxis()
    return _labelled(figure, score)


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.7 * count + 1.0, 4.4), layout="constrained")
        return figure, list(figure.subplots(1, count))


def _band(axes: Axes, name: str, i: int, steps: Sequence[int], curves: Sequence[Sequence[float]]) -> None:
    """The median over seeds, and their range."""
    found, style = np.array(curves), {**look(i), "ms": 4, "lw": 1.5}
    axes.fill_between(steps, found.min(0), found.max(0), color=style["color"], alpha=0.13, lw=0.8)
    axes.plot(steps, np.median(found, axis=0), label=f"{name}: median and range of {len(found)} seeds", **style)


def _labelled(figure: Figure, axes: Axes) -> Figure:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", fontsize=8.5, ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]), *map(Path, sys.argv[2:])):
        print(path)
