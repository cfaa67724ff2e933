"""Draw what the subspace sweep found: `python examples/subspace_figure.py --folder docs/figures`.

Six panels over k: what is learnt, the noise tolerated, the certified radius against sqrt(d/k), where the checkpoints
end, and the bound on the old skill. Reads the results of `examples/subspace_sweep.py` and computes nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from certify.evidence.judgement import down, up
from certify.report.figures import MARKERS, PALETTE, STYLE, save

ROOT = Path(__file__).parents[1]
RESULTS, FOLDER, NAME = ROOT / "benchmarks" / "results" / "subspaces.json", ROOT / "docs" / "figures", "subspaces"
KINDS = {
    ("seeded", ""): "seeded random directions",
    ("cores", "random"): "cores between random factors",
    ("cores", "svd"): "cores between singular vectors",
    ("span", ""): "spans of task vectors",
    ("weights", ""): "all weights",
}
FREE, BUDGETED = "free", "budgeted"
Row = Mapping[str, Any]


def subspace_figure(found: Mapping[str, Any]) -> Figure:
    """Return the figure of one sweep's results."""
    rows, design = found["rows"], found["design"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 7.4), layout="constrained")
        grid = figure.subplots(2, 3)
        old, new = found["benchmark"]["name"], found["new_skill"]["name"]
        score, sigma, radius, loss, distance, bound = grid.flat
        for run in (FREE, BUDGETED):
            _points(score, rows, lambda r: r["new_score"], run)
            _points(loss, rows, lambda r: r["new_loss"], run)
            _points(distance, rows, lambda r: r["r"], run)
            _points(bound, rows, lambda r: r["bound"], run)
        _points(sigma, rows, lambda r: r["sigma"])
        _points(radius, rows, lambda r: r["radius"] and r["radius"] * r["sigma"])
        _prediction(sigma, rows, lambda r: r["sigma"])
        _prediction(radius, rows, lambda r: r["radius"] and r["radius"] * r["sigma"])
        score.set(title=f"What is learnt: score on {new}", ylim=(-0.04, 1.04))
        loss.set(title=f"What is learnt: loss on {new}", ylabel="nats for each character")
        _level(loss, found["new_skill"]["base_loss"], "base")
        sigma.set(title="Noise tolerated: sigma of each coordinate", yscale="log")
        radius.set(title="Certified radius: length of a = R sigma", yscale="log")
        distance.set(title="r: where the checkpoint ends, in sigma", yscale="log")
        bound.set(title=f"Certified: E {old} under the noise", ylim=(-0.04, 1.04))
        _level(bound, found["benchmark"]["score"] - design["max_drop"], "required")
        for axes in grid.flat:
            axes.set(xscale="log", xlabel="k, coordinates with noise")
        handles, labels = radius.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle(_caption(found), fontsize=9)
        return figure


def _points(axes: Axes, rows: list[Row], value: Callable[[Any], float | None], run: str = "") -> None:
    """Every subspace as a marker of its kind, filled for free runs; seeds of one k joined by their median."""
    for i, (kind, label) in enumerate(KINDS.items()):
        mine = [r for r in rows if _kind(r) == kind]
        pairs = [(r["k"], value(r[run] if run else r)) for r in mine if not run or r[run]]
        pairs = [(k, y) for k, y in pairs if y is not None]
        if not pairs:
            continue
        colour, hollow = PALETTE[i], run == BUDGETED
        shape = {"ms": 8, "mfc": "none"} if hollow else {"ms": 5}  # a hollow marker shows what lies under it
        style = {"color": colour, "marker": MARKERS[i], "ls": "none", **shape}
        axes.plot(*zip(*pairs, strict=True), **style, label=label, zorder=3)
        if kind[0] in ("seeded", "cores"):
            ks = sorted({k for k, _ in pairs})
            medians = [float(np.median([y for k, y in pairs if k == each])) for each in ks]
            axes.plot(ks, medians, color=colour, lw=1, ls=":" if hollow else "-")


def _kind(row: Row) -> tuple[str, str]:
    return row["kind"], row["name"] if row["kind"] == "cores" else ""


def _level(axes: Axes, y: float, what: str) -> None:
    axes.axhline(y, color="grey", ls=":", lw=1)
    axes.text(0.99, y, f"{what} {y:.3g}", transform=axes.get_yaxis_transform(), ha="right", va="bottom", size=8)


def _prediction(axes: Axes, rows: list[Row], value: Callable[[Row], float | None]) -> None:
    """What all weights reach, times sqrt(d/k): equal noise norm."""
    for row in rows:
        if row["kind"] == "weights" and (at_d := value(row)):
            ks = np.array([1.0, row["k"]])
            axes.plot(ks, at_d * np.sqrt(row["k"] / ks), color="grey", ls="--", lw=1, zorder=1,
                      label="all weights times sqrt(d/k)")  # fmt: skip


def _caption(found: Mapping[str, Any]) -> str:
    design, rows = found["design"], found["rows"]
    seeds = len({r["seed"] for r in rows if r["kind"] == "seeded"})
    return (
        f"Demo base, {found['benchmark']['items']} items of {found['benchmark']['name']}. sigma: mean drop of "
        f"{design['pilot_draws']} pilot draws at most {design['tau'] / 2:g}. Bounds: {design['draws']} draws, all "
        f"items under each, alpha = {design['alpha']:g}. {design['steps']} steps of Adam.\n"
        f"Filled: free training; hollow: held inside the radius certified for a drop of {design['max_drop']:g}. Lines: "
        f"medians (seeds of random directions: {seeds}, of cores: 1)."
    )


def table(found: Mapping[str, Any]) -> list[str]:
    """Return the results as a Markdown table: medians over the seeds of one size."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in found["rows"]:
        label = f"span of {row['name']}" if row["kind"] == "span" else KINDS[_kind(row)]
        groups.setdefault((label, row["k"]), []).append(row)
    new = found["new_skill"]["name"]
    lines = [
        f"| subspace | k | sigma | R | R sigma | free: {new} | loss | r | bound | in budget: {new} | loss |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (label, k), group in groups.items():
        numbers = [
            _median([r["sigma"] for r in group], nearest, 3),
            _median([r["radius"] for r in group], down),
            _median([r["radius"] and r["radius"] * r["sigma"] for r in group], down),
            _median([r[FREE]["new_score"] for r in group]),
            _median([r[FREE]["new_loss"] for r in group]),
            _median([r[FREE]["r"] for r in group], up),
            _median([r[FREE]["bound"] for r in group], down),
            *(_median([r[BUDGETED] and r[BUDGETED][what] for r in group]) for what in ("new_score", "new_loss")),
        ]
        lines.append(f"| {label} | {k:,} | {' | '.join(numbers)} |")
    return lines


def nearest(x: float, digits: int) -> str:
    """What is no bound is rounded to nearest; bounds and radii go down, distances up."""
    return f"{x:.{digits}f}"


def _median(values: list[float | None], rounded: Callable[[float, int], str] = nearest, digits: int = 2) -> str:
    """The median, where every seed has a value."""
    known = [v for v in values if v is not None]
    return rounded(float(np.median(known)), digits) if len(known) == len(values) else "none"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--table", action="store_true", help="print the results as Markdown instead")
    given = parser.parse_args()
    found = json.loads(given.results.read_text(encoding="utf-8"))
    for each in table(found) if given.table else save(subspace_figure(found), given.folder, NAME):
        print(each)


if __name__ == "__main__":
    main()
