"""Most-case slices: the score along random directions through the demo's base, with their spread.

    python examples/landscapes/most_case.py figures        # ten seconds on one core

Every direction keeps the skill up to about a = 0.08 and has lost it at 0.2. The basin has no floor of its own in the
likelihood, which worsens from the base on: a 0/1 score looks flat because it asks for more than it is told.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from certify.demo import DATA
from certify.landscape import Settings, explore
from certify.measuring import Base
from certify.report.figures import save
from certify.report.landscape_figures import landscape_figures


def main(folder: Path, settings: Settings | None = None) -> list[Path]:
    """Look along five random directions, say where the score falls, and draw it."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    landscape = explore(base, cases=("most",), settings=settings)
    (found,) = landscape.slices
    for i, (left, right) in enumerate(found.edges(landscape.tau)):
        places = ", ".join(
            f"{e.inside:.4g} and {'the end' if e.outside is None else f'{e.outside:.4g}'}" for e in (left, right)
        )
        print(f"direction {i} falls by more than {landscape.tau:g} between {places}")
    figure = landscape_figures(landscape)["most-case"]
    return [landscape.to_json(folder / "most-case.json"), *save(figure, folder, "most-case")]


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    for path in main(Path(sys.argv[1])):
        print(path)
