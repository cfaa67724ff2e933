"""Open a subspace, of whichever kind, from its file."""

from __future__ import annotations

from pathlib import Path

from certify.checkpoints import open_checkpoint
from certify.noise.subspace.cores import SIDES, Cores
from certify.noise.subspace.map import Subspace
from certify.noise.subspace.seeded import SeededDirections, read_recipe
from certify.noise.subspace.stored import StoredDirections


def open_subspace(path: str | Path) -> Subspace:
    """Open the file of a subspace: stored directions, core factors (safetensors), or seeded directions (JSON).

    Raises:
        CheckpointError: the file is unreadable, or of none of the three kinds.
    """
    if Path(path).suffix == ".json":
        return SeededDirections(read_recipe(Path(path)))
    file = open_checkpoint(path)
    cores = all(key.startswith(tuple(f"{side}." for side in SIDES)) for key in file.tensors)
    return Cores(file) if cores else StoredDirections(file)
