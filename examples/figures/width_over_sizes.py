"""Basin width over model sizes, in sigma and in units of the weights, from the results of `examples/studies/scale.py`.

    python examples/figures/width_over_sizes.py figures [results.json]

Width is not invariant under a change of scale, and larger models have smaller weights: look at both figures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from certify.report.figures import save
from certify.report.width_figures import Width, width_over_sizes

RESULTS = Path(__file__).parents[1] / "studies" / "results" / "scale.json"
ALPHA = 0.05  # at which the study's widths were measured


def main(folder: Path, results: Path = RESULTS) -> list[Path]:
    """Draw both figures."""
    runs = json.loads(results.read_text(encoding="utf-8"))["runs"]
    basins = [(run["basin"], run["size_of_weights"]) for run in runs]
    absolute = [Width(b["x"], b["lower"], b["upper"], b["top"]) for b, _ in basins]
    relative = [width.in_units_of(size) for width, (_, size) in zip(absolute, basins, strict=True)]
    unit = "sigma / root mean square of the weights"
    return [
        *save(width_over_sizes({"AdamW": absolute}, ALPHA), folder, "width-over-sizes"),
        *save(width_over_sizes({"AdamW": relative}, ALPHA, unit), folder, "width-over-sizes-relative"),
    ]


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]), *map(Path, sys.argv[2:])):
        print(path)
