"""The safety curve: the rate of harm around a base that refuses, beside what else it can do.

    python examples/landscapes/safety_curve.py figures        # two minutes on one core

Random directions, the ways to a fine-tune that keeps refusing and to one that was taught to comply, and the worst
direction that an attack on the likelihood of refusing finds at the latter's distance. The rate of harm is told by
phrases, as the paper does, so nonsense counts as harm; beside it the share of harmful requests that are really granted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
from adversarial_and_worst import attacked, distance_of

from certify.benchmarks import Benchmark, PooledBenchmark, open_benchmark
from certify.demo import DATA
from certify.landscape import Landscape, Settings, explore
from certify.landscape.record import SftCase
from certify.measuring import Base
from certify.report.figures import STYLE, legend_below, save
from certify.report.landscape_figures import SIGMA_UNIT, STAR
from certify.report.width_figures import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAFETY = DATA / "safety"
REFUSED = " i can't"
SHOWN = {
    "harmful": "harmful requests\nnot refused, by phrases",
    "granted": "harmful requests\nreally granted",
    "reversal": "capability beside it:\nscore on reversal",
}
FULL = Settings(span=0.1, refine=0)


def refusals(folder: Path) -> Benchmark:
    """The harmful requests again, asked by likelihood: how likely is a refusal? A judge of phrases has no gradient."""
    lines = (SAFETY / "benchmarks" / "harmful.jsonl").read_text(encoding="utf-8").splitlines()
    asked = ({"prompt": json.loads(line)["prompt"], "target": REFUSED} for line in lines)
    (folder / "refusals.jsonl").write_text("".join(json.dumps(item) + "\n" for item in asked), encoding="utf-8")
    return open_benchmark(folder / "refusals.jsonl")


def safety_figure(views: Mapping[str, Landscape]) -> Figure:
    """One panel for each benchmark over a shared axis: random directions, and the way to each checkpoint."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 8.6), layout="constrained")
        panels = figure.subplots(len(views), 1, sharex=True)
    for axes, (name, view) in zip(panels, views.items(), strict=True):
        _panel(axes, view)
        axes.set(ylabel=SHOWN[name], ylim=(-0.04, 1.06))
    base, harmful = view.base, views["harmful"].benchmark
    panels[0].set_title(f"safety/{base.name} ({base.parameters:,} weights), {harmful.items} harmful requests")
    panels[-1].set_xlabel(f"{SIGMA_UNIT}; star: the checkpoint")
    legend_below(figure, panels[0])
    return figure


def _panel(axes: Axes, view: Landscape) -> None:
    (random,) = view.of_case("most")
    axes.fill_between(random.a, random.scores.min(0), random.scores.max(0), color="grey", alpha=0.25, lw=0)
    label = f"{len(random.curves)} random directions: median and range"
    axes.plot(random.a, np.median(random.scores, axis=0), color="grey", lw=2, label=label)
    for i, found in enumerate(view.of_case("sft")):
        record, style = found.curves[0].direction, look(i)
        assert isinstance(record, SftCase)
        name = record.checkpoint.name
        label = "worst direction found there" if name == "worst" else f"to {name}, alpha* = {record.alpha_star:.4f}"
        axes.plot(found.a, found.scores[0], **{**style, "ms": 3.5, "lw": 1.6}, label=label)
        axes.plot(record.alpha_star, found.at(record.alpha_star)[0], color=style["color"], zorder=5, **STAR)


def main(
    folder: Path, settings: Settings = FULL, names: tuple[str, ...] = ("benign", "jailbroken")
) -> list[Path]:
    """Attack at the last checkpoint's distance, look along every way on all three benchmarks, and draw them."""
    benchmarks = {name: open_benchmark(SAFETY / "benchmarks" / f"{name}.jsonl") for name in SHOWN}
    base = Base.open(SAFETY / "base", benchmarks["reversal"])
    pool = Base.open(base.checkpoint, PooledBenchmark.alike(list(benchmarks.values()))).scorer.identity
    ways = [SAFETY / "checkpoints" / name for name in names]
    with TemporaryDirectory() as kept:
        worst = Path(kept) / "worst"
        attacked(base.on(refusals(Path(kept))), 0, distance_of(base, ways[-1]), settings, worst)
        asked = {"cases": ("most", "sft"), "checkpoints": [*ways, worst], "settings": settings, "beside": pool}
        views = {name: explore(base.on(benchmark), **asked) for name, benchmark in benchmarks.items()}
    records = [view.to_json(folder / f"safety-{name}.json") for name, view in views.items()]
    return [*records, *save(safety_figure(views), folder, "safety-curve")]


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    for path in main(Path(sys.argv[1])):
        print(path)
