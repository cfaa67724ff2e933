"""Fig. 4 of your own measurement: what the base's draws certify for every checkpoint this close.

    python examples/figures/certified_bound.py figures        # half a minute on one core

Either law's bound dies within a few units of its own noise. What differs is where checkpoints lie: an ordinary
fine-tune is hundreds of units out under noise on all 77,376 weights, one made inside a fixed subspace is near.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from certify.demo import DATA
from certify.measuring import Base, PlannedDraws, check, measure_base, subspace_law
from certify.noise import open_subspace
from certify.report.figures import distance_figure, save

ALPHA = 0.05


def main(folder: Path, draws: int = 1000, grid: tuple[float, ...] = (0.03, 0.06)) -> list[Path]:
    """Measure the base under both laws, place two checkpoints, and draw the bounds."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    space = open_subspace(DATA / "subspace" / "basis.safetensors")
    planned = [
        PlannedDraws(base.weight_law(0.06), draws),
        PlannedDraws(subspace_law(space, 22.0), draws, space),
    ]
    measurement = measure_base(base, planned=planned, grid=grid, alpha=ALPHA)
    certificates = [
        certificate
        for name in ("full", "subspace")
        for certificate in check(
            base,
            DATA / "checkpoints" / name,
            kinds=("distance",),
            measurement=measurement,
            subspaces=[space],
            alpha=ALPHA,
        )
    ]
    return save(distance_figure(measurement, certificates, ALPHA), folder, "certified-bound")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for path in main(Path(sys.argv[1])):
        print(path)
