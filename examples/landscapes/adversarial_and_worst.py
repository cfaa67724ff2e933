"""The adversarial fine-tune against the worst direction found at its distance: as narrow, and not the same way.

    python examples/landscapes/adversarial_and_worst.py figures        # two minutes on one core

An attack of two seeds searches the sphere on which the adversarial fine-tune lies. What it finds is written as a
checkpoint, so that a slice and a plane go through it as through any other.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from certify.checkpoints import difference, load_model, open_checkpoint
from certify.demo import DATA
from certify.landscape import Landscape, Settings, Terrain, explore
from certify.landscape.ascent import Vector, worst_case
from certify.landscape.directions import inner, norm_of
from certify.landscape.record import SftCase
from certify.measuring import Base
from certify.noise.walk import Span, Walk, stored
from certify.report.figures import save
from certify.report.landscape_figures import landscape_figures
from certify.statistics.laws import slice_position
from certify.training import save_checkpoint

SEEDS = (0, 1)
FULL = Settings(span=0.033)


def distance_of(base: Base, checkpoint: Path) -> float:
    """How far a checkpoint lies from the base, in the unit of sigma: its alpha*."""
    displacement = difference(base.checkpoint, open_checkpoint(checkpoint, base.checkpoint))
    return float(slice_position(displacement.delta_norm, displacement.dimension))


def attacked(base: Base, seed: int, radius: float, settings: Settings, folder: Path) -> Vector:
    """Write base + radius v for the worst v that the attack finds, and return v."""
    terrain = Terrain.of(base, seed)
    _, vector = worst_case(terrain, radius, steps=settings.steps, restarts=settings.restarts)
    with Walk(terrain.model, Span(terrain.sizes, stored(vector))) as walk:
        save_checkpoint(folder, base.checkpoint, walk.at((radius,)))
    return vector


def said(landscape: Landscape, directions: dict[str, Vector]) -> str:
    """Where each direction loses the skill, and the cosine of each pair, in lines."""
    lines = []
    for found in landscape.of_case("sft"):
        record, ((_, edge),) = found.curves[0].direction, found.edges(landscape.tau)
        assert isinstance(record, SftCase)
        lines.append(
            f"{record.checkpoint.name}: loses more than {landscape.tau:g} between a = {edge.inside:.4f} and "
            f"{edge.outside:.4f}; score {found.at(record.alpha_star)[0]:.3f} at {record.alpha_star:.4f}"
        )
    for one, two in combinations(directions, 2):
        u, v = directions[one], directions[two]
        lines.append(f"cosine of {one} and {two}: {inner(u, v) / norm_of(u) / norm_of(v):.2f}")
    return "\n".join(lines)


def main(folder: Path, settings: Settings = FULL) -> tuple[str, list[Path]]:
    """Attack twice at the fine-tune's distance, look along all three ways and through a plane of two, and draw it."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    adversarial = DATA / "checkpoints" / "adversarial"
    theirs = dict(load_model(open_checkpoint(adversarial, base.checkpoint), "cpu").named_parameters())
    moved = {name: theirs[name].data.double() - p.data.double() for name, p in base.model.named_parameters()}
    directions, ways, radius = {"adversarial": moved}, [adversarial], distance_of(base, adversarial)
    with TemporaryDirectory() as kept:
        for seed in SEEDS:
            ways.append(Path(kept) / f"worst-{seed}")
            directions[ways[-1].name] = attacked(base, seed, radius, settings, ways[-1])
        slices = explore(base, cases=("most", "sft"), checkpoints=ways, settings=settings)
        plane = explore(base, cases=("plane",), checkpoints=ways[:2], settings=replace(settings, refine=0))
    written = []
    for name, landscape in (("adversarial-and-worst", slices), ("plane-adversarial-worst", plane)):
        (figure,) = (f for case, f in landscape_figures(landscape).items() if case != "most-case")
        written += [landscape.to_json(folder / f"{name}.json"), *save(figure, folder, name)]
    return said(slices, directions), written


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    found, written = main(Path(sys.argv[1]))
    print(found)
    for path in written:
        print(path)
