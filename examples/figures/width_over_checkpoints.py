"""Basin width while models are trained, from the kept results of `examples/studies/optimizers.py`.

    python examples/figures/width_over_checkpoints.py figures [results.json]

For a base of your own: one ``Width.of(step, basin, requirement, alpha, chance)`` for each checkpoint, where ``basin``
comes from ``certify.measuring.base.measure_basin`` or from the record of ``certify basin`` (its ``evidence.basin``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from certify.report.figures import save
from certify.report.width_figures import Width, width_over_checkpoints

RESULTS = Path(__file__).parents[1] / "studies" / "results" / "optimizers.json"
ALPHA = 0.05  # at which the study's widths were measured


def main(folder: Path, results: Path = RESULTS) -> list[Path]:
    """Draw one mark for each base: certified up to it, refuted from the bar above it on."""
    widths: dict[str, list[Width]] = {}
    for run in json.loads(results.read_text(encoding="utf-8"))["runs"]:
        found = (Width(b["x"], b["lower"], b["upper"], b["top"]) for b in run["basins"])
        widths.setdefault(run["key"]["method"], []).extend(found)
    return save(width_over_checkpoints(widths, ALPHA), folder, "width-over-checkpoints")


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]), *map(Path, sys.argv[2:])):
        print(path)
