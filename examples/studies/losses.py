"""What 0/1 scores do not show: the loss of pre-training beside the width it ends with, and forgetting in likelihood.

    python examples/studies/losses.py     # three seeds of two methods: about six minutes on one core

The same recipes and seeds as `optimizers.py`, for AdamW and GO. The loss is looked at without noise, on items that
training never sees, and the basin is measured once, after the last step. Then AdamW teaches `shift`, and both skills
are examined by score and by likelihood. What was run is kept in `results/losses.json`;
`examples/figures/losses.py` draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from methods import GO_SIGMA
from results import Json, carry_out
from school import NEW, OLD, School, command_line
from widths import ALPHA, GRID, TOLERANCE, measured

SEEDS = (11, 12, 13)
COMPARED = ("AdamW", "GO")
LOOKS = 20


def study(
    path: Path, school: School, seeds: Sequence[int] = SEEDS, grid: Sequence[float] = GRID, looks: int = LOOKS
) -> Json:
    """Return the results; finished runs are kept at ``path``."""
    design = {
        "pretraining": f"{school.pretraining} steps on {OLD} and prose",
        "loss": "nats for each token at the weights themselves, unseen items of both lessons",
        "fine-tuning": f"{school.fine_tuning} steps of AdamW on {NEW} alone",
        "likelihood": "negative log-likelihood of the right answer, nats, mean over items",
        "strengths": {"GO sigma": GO_SIGMA},
        "basin": f"{school.items} items of {OLD}, a draw for each; drop at most {TOLERANCE} at alpha {ALPHA}",
        "grid": list(grid),
    }

    def run(method: str, seed: int) -> Json:
        losses = []
        for step, model in school.pretraining_of(method, seed, looks=looks):
            losses.append([step, round(school.loss(model), 6)])
        return {"losses": losses, "basin": measured(school.basin(model, grid), step), **school.fine_tuned(model, seed)}

    return carry_out(path, design, [{"method": m, "seed": s} for s in seeds for m in COMPARED], run)


if __name__ == "__main__":
    command_line(study, "losses", __doc__)
