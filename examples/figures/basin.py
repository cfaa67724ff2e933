"""The basin of the demo's base: its width from both ends, clean directions, and where three fine-tunes lie.

    python examples/figures/basin.py figures        # half a minute on one core

The adversarial fine-tune lies well within the width and has lost the skill: random directions are not all directions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from certify.demo import DATA
from certify.evidence import Requirement
from certify.measuring import Base, measure_width
from certify.report.basin_figure import basin_record_figure
from certify.report.figures import save

GRID = (0.02, 0.03, 0.045, 0.06, 0.075, 0.09)


def main(folder: Path, draws: int = 100, grid: tuple[float, ...] = GRID) -> list[Path]:
    """Measure, say how wide the basin is, and draw it."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    near = [DATA / "checkpoints" / name for name in ("benign", "full", "adversarial")]
    record = measure_width(base, grid, requirement=Requirement(limit=0.05), draws=draws, checkpoints=near)
    print(record.claim_text)
    return [record.to_json(folder / "basin.json"), *save(basin_record_figure(record), folder, "basin")]


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    for path in main(Path(sys.argv[1])):
        print(path)
