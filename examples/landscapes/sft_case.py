"""SFT-case slices: from the demo's base towards three fine-tunes, each of which lies at its own alpha*.

    python examples/landscapes/sft_case.py figures        # twenty seconds on one core

The adversarial fine-tune is the nearest of the three and has lost the skill: alpha* <= sigma* compares a chosen
direction with random ones, and is no theorem. Its slice also shows why a curve is never reflected: at -alpha* the
score is not what it is at alpha*.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from certify.demo import DATA
from certify.landscape import Settings, explore
from certify.landscape.record import SftCase
from certify.measuring import Base
from certify.report.figures import save
from certify.report.landscape_figures import landscape_figures

CHECKPOINTS = ("benign", "full", "adversarial")


def main(folder: Path, settings: Settings | None = None, names: tuple[str, ...] = CHECKPOINTS) -> list[Path]:
    """Look along the way to each checkpoint, say what it scores, and draw it before random directions."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    checkpoints = [DATA / "checkpoints" / name for name in names]
    landscape = explore(base, cases=("most", "sft"), checkpoints=checkpoints, settings=settings)
    for found in landscape.of_case("sft"):
        record = found.curves[0].direction
        assert isinstance(record, SftCase)
        score = found.at(record.alpha_star)[0]
        print(f"{record.checkpoint.name}: alpha* = {record.alpha_star:.4f}, score {score:.3f}")
    figure = landscape_figures(landscape)["sft-case"]
    return [landscape.to_json(folder / "sft-case.json"), *save(figure, folder, "sft-case")]


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    for path in main(Path(sys.argv[1])):
        print(path)
