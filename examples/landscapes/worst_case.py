"""The worst case against the most case: one direction that ends the skill where random ones of its length keep it.

    python examples/landscapes/worst_case.py figures        # a minute on one core, most of it 1,000 random directions

An attack either succeeds or fails. This one succeeds, so the base has no robustness in every direction at its radius;
had it failed, nothing would be shown. What random noise certifies is an average over directions, and nothing else.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from certify.demo import DATA
from certify.landscape import Settings, Terrain, explore
from certify.landscape.directions import gaussian, norm_of
from certify.landscape.record import Sight, WorstCase
from certify.measuring import Base
from certify.noise.walk import Normals, Walk
from certify.report.figures import save
from certify.report.landscape_figures import landscape_figures

STREAM = "landscape/compared"  # directions of its own, none of which the slices show


@dataclass(frozen=True)
class Comparison:
    """The attack at its radius, and random directions of exactly its norm."""

    attack: Sight
    random: list[Sight]

    def __str__(self) -> str:
        """The comparison in one line."""
        losses = [math.inf if sight.nll is None else sight.nll for sight in self.random]
        scores = [sight.score for sight in self.random]
        return (
            f"attack: score {self.attack.score:.3f}, loss {self.attack.nll:.1f} nats; {len(scores)} random directions "
            f"of its norm: median score {np.median(scores):.3f}, lowest {min(scores):.3f}; median loss "
            f"{np.median(losses):.3f}, largest {max(losses):.3f}"
        )


def compared(base: Base, radius: float, count: int) -> list[Sight]:
    """Look at base + radius v for ``count`` random v, each scaled to norm sqrt(d) as the attack's is."""
    terrain = Terrain.of(base)
    root = math.sqrt(terrain.dimension)
    with Walk(terrain.model, Normals(terrain.sizes, terrain.seed.integer, STREAM)) as walk:
        lengths = (norm_of(gaussian(terrain, STREAM, i)) for i in range(count))
        return [terrain.look(walk.at((i, radius * root / length))) for i, length in enumerate(lengths)]


def main(folder: Path, settings: Settings | None = None, random: int = 1000) -> tuple[Comparison, list[Path]]:
    """Attack the base, hold the result against random directions, and draw it."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    landscape = explore(base, cases=("most", "worst"), settings=settings)
    (found,) = landscape.of_case("worst")
    record = found.curves[0].direction
    assert isinstance(record, WorstCase)
    attack = found.curves[0].sights[found.a.index(record.radius)]
    comparison = Comparison(attack, compared(base, record.radius, random))
    figure = landscape_figures(landscape)["worst-case"]
    return comparison, [landscape.to_json(folder / "worst-case.json"), *save(figure, folder, "worst-case")]


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    found, written = main(Path(sys.argv[1]))
    print(found)
    for path in written:
        print(path)
