"""Do larger models have wider basins? The same recipe at four sizes.

    python examples/studies/scale.py          # five seeds of four sizes: about ten minutes on one core

Every model has two layers and is pre-trained by AdamW on the same batches for the same number of steps. Width is shown
in absolute sigma and in units of the model's own weights (their root mean square): larger models have smaller weights,
and width is not invariant under a change of scale. What was run is kept in `results/scale.json`;
`examples/figures/width_over_sizes.py` draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results import Json, carry_out
from school import OLD, School, command_line
from widths import ALPHA, GRID, TOLERANCE, measured

SEEDS = (11, 12, 13, 14, 15)
HIDDEN = (16, 32, 64, 128)


def study(
    path: Path,
    school: School,
    seeds: Sequence[int] = SEEDS,
    hidden: Sequence[int] = HIDDEN,
    grid: Sequence[float] = GRID,
) -> Json:
    """Return the results; finished runs are kept at ``path``."""
    design = {
        "pretraining": f"{school.pretraining} steps of AdamW on {OLD} and prose",
        "basin": f"{school.items} items of {OLD}, a draw for each; drop at most {TOLERANCE} at alpha {ALPHA}",
        "grid": list(grid),
    }

    def run(hidden: int, seed: int) -> Json:
        *_, (_, model) = school.pretraining_of("AdamW", seed, hidden)
        parameters = sum(p.numel() for p in model.parameters())
        square = sum(float(p.detach().double().square().sum()) for p in model.parameters())
        basin = measured(school.basin(model, grid), parameters)
        return {"parameters": parameters, "size_of_weights": (square / parameters) ** 0.5, "basin": basin}

    return carry_out(path, design, [{"hidden": h, "seed": s} for s in seeds for h in hidden], run)


if __name__ == "__main__":
    command_line(study, "scale", __doc__)
