"""Forgetting curves, from the kept results of `examples/studies/optimizers.py`: what is learnt against what is kept.

python examples/figures/forgetting.py figures [results.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from certify.report.figures import save
from certify.report.forgetting_figure import ForgettingRun, forgetting_figure

RESULTS = Path(__file__).parents[1] / "studies" / "results" / "optimizers.json"


def main(folder: Path, results: Path = RESULTS) -> list[Path]:
    """Draw the median and the range over seeds of each way of pre-training."""
    runs = [
        ForgettingRun(
            run["key"]["method"], run["key"]["seed"], tuple(run["steps"]), tuple(run["old"]), tuple(run["new"])
        )
        for run in json.loads(results.read_text(encoding="utf-8"))["runs"]
    ]
    return save(forgetting_figure(runs, "reversal", "shift"), folder, "forgetting")


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]), *map(Path, sys.argv[2:])):
        print(path)
