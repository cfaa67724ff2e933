"""Filter-normalised directions (Li et al. 2018), for comparison with tools that draw these.

    python examples/landscapes/filter_normalised.py figures        # ten seconds on one core

Each row of each matrix gets a random direction of its own length, so a is relative to the weights and has not the unit
of sigma. No noise law and no certificate speaks of such directions.
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
    """Look along five of them and draw what is found."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    landscape = explore(base, cases=("filter",), settings=settings)
    figure = landscape_figures(landscape)["filter-normalised"]
    return [landscape.to_json(folder / "filter-normalised.json"), *save(figure, folder, "filter-normalised")]


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    for path in main(Path(sys.argv[1])):
        print(path)
