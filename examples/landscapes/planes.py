"""Two planes through the demo's base: one through two fine-tunes, one along two random directions.

    python examples/landscapes/planes.py figures        # half a minute on one core

The gentle fine-tune lies on the plateau, the adversarial one beyond its edge, though it is nearer.
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
    """Look at both planes and draw them."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    written = []
    for names in (("benign", "adversarial"), ()):
        checkpoints = [DATA / "checkpoints" / name for name in names]
        landscape = explore(base, cases=("plane",), checkpoints=checkpoints, settings=settings)
        ((name, figure),) = landscape_figures(landscape).items()
        written += [landscape.to_json(folder / f"{name}.json"), *save(figure, folder, name)]
    return written


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    for path in main(Path(sys.argv[1])):
        print(path)
