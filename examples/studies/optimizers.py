"""Does pre-training with noise widen the basin, and does a wide basin forget less? The paper's Fig. 5, small.

    python examples/studies/optimizers.py     # five seeds of four methods: about half an hour on one core

A model is pre-trained from nothing by AdamW, SAM, continuous dropout or GO, and its basin on the skill `reversal` is
measured after each quarter of the steps. Then AdamW teaches it `shift` without replay, and both skills are examined
on the way. What was run is kept in `results/optimizers.json`;
`examples/figures/width_over_checkpoints.py` and `forgetting.py` draw it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from methods import DROPOUT_SPREAD, GO_SIGMA, METHODS, SAM_RADIUS
from results import Json, carry_out
from school import NEW, OLD, School, command_line
from widths import ALPHA, GRID, TOLERANCE, measured

SEEDS = (11, 12, 13, 14, 15)


def study(path: Path, school: School, seeds: Sequence[int] = SEEDS, grid: Sequence[float] = GRID) -> Json:
    """Return the results; finished runs are kept at ``path``."""
    design = {
        "pretraining": f"{school.pretraining} steps on {OLD} and prose",
        "fine-tuning": f"{school.fine_tuning} steps of AdamW on {NEW} alone",
        "strengths": {"SAM radius": SAM_RADIUS, "dropout spread": DROPOUT_SPREAD, "GO sigma": GO_SIGMA},
        "basin": f"{school.items} items of {OLD}, a draw for each; drop at most {TOLERANCE} at alpha {ALPHA}",
        "grid": list(grid),
    }

    def run(method: str, seed: int) -> Json:
        basins = []
        for step, model in school.pretraining_of(method, seed):
            basins.append(measured(school.basin(model, grid), step))
        tuned = school.fine_tuned(model, seed)
        return {"basins": basins, **{key: tuned[key] for key in ("steps", "old", "new", "alpha_star")}}

    return carry_out(path, design, [{"method": m, "seed": s} for s in seeds for m in METHODS], run)


if __name__ == "__main__":
    command_line(study, "optimizers", __doc__)
