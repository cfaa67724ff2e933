"""Subspaces fixed beforehand: the map a -> base + sum_i a_i v_i, and checkpoints that are exactly its values.

``basis.safetensors`` holds the directions as ``direction.<i>.<tensor name>`` (a tensor without an entry does
not move along that direction). A checkpoint made inside the subspace carries
``basin_coordinates.safetensors`` with its float64 coordinates; membership is checked by re-materialising the
weights and comparing bits (theory §3.7).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from certify.checkpoints import Checkpoint, difference, open_checkpoint
from certify.checkpoints.folder import SINGLE
from certify.errors import CheckpointError
from certify.evidence.distance import Displacement
from certify.records import canonical_json

if TYPE_CHECKING:
    from certify.noise.philox import Floats

COORDINATES = "basin_coordinates.safetensors"
OWNERS = "pytest-basin"  # one metadata key: safetensors writes several in random order


@dataclass(frozen=True)
class Subspace:
    """k directions in weight space, read from a basis file."""

    file: Checkpoint
    k: int

    @property
    def digest(self) -> str:
        """Digest over the directions' names, dtypes, shapes and bytes."""
        return self.file.identity.weights

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The tensors that move along some direction, sorted."""
        return tuple(sorted({key.split(".", 2)[2] for key in self.file.tensors}))

    @cached_property
    def _directions(self) -> dict[str, tuple[tuple[int, ...], torch.Tensor]]:
        found: dict[str, dict[int, str]] = {name: {} for name in self.names}
        for key in self.file.tensors:
            _, index, name = key.split(".", 2)
            found[name][int(index)] = key
        return {name: (tuple(sorted(keys)), self._rows(keys)) for name, keys in found.items()}

    def _rows(self, keys: Mapping[int, str]) -> torch.Tensor:
        """One tensor's directions in index order; float32 where it holds them exactly: the kernel reads k of them."""
        rows = [self.file.read(keys[i]).reshape(-1) for i in sorted(keys)]
        exact = (torch.float32, torch.bfloat16, torch.float16)
        wide = torch.float32 if all(row.dtype in exact for row in rows) else torch.float64
        return torch.stack([row.to(wide) for row in rows])

    def directions(self, name: str) -> tuple[tuple[int, ...], torch.Tensor]:
        """Return which directions move one tensor, ascending, and those directions, shape (count, elements)."""
        return self._directions[name]

    def combine(self, name: str, coordinates: Floats | Sequence[float]) -> torch.Tensor:
        """Return sum_i a_i v_i of one tensor: float64, flat, summed in index order."""
        indices, rows = self._directions[name]
        total = torch.zeros(rows.shape[1], dtype=torch.float64)
        for i, row in zip(indices, rows, strict=True):
            total = total + float(coordinates[i]) * row.to(torch.float64)
        return total

    def materialise(self, base: Checkpoint, coordinates: Sequence[float]) -> dict[str, torch.Tensor]:
        """Return the weights at ``coordinates``: base + sum_i a_i v_i in float64, rounded once to the base's dtype."""
        out = {}
        for name in base.tensors:
            weights = base.read(name)
            if name in self._directions:
                moved = weights.to(torch.float64) + self.combine(name, coordinates).reshape(weights.shape)
                weights = (moved if weights.dtype == torch.float64 else moved.to(torch.float32)).to(weights.dtype)
            out[name] = weights
        return out

    def displacement(self, base: Checkpoint, checkpoint: Checkpoint) -> Displacement:
        """Return the checkpoint's coordinates, or why it is no member of the subspace (r is infinite then)."""
        weights = difference(base, checkpoint)
        coordinates, reason = self._membership(base, checkpoint)
        return Displacement(
            norms={str(i): abs(a) for i, a in enumerate(coordinates)},
            differences=(*weights.differences, *([reason] if reason else [])),
            delta_norm=weights.delta_norm,
            dimension=weights.dimension,
        )

    def _membership(self, base: Checkpoint, checkpoint: Checkpoint) -> tuple[list[float], str | None]:
        file = checkpoint.path / COORDINATES
        if not file.is_file():
            return [], f"the checkpoint carries no {COORDINATES}, so it is not known to lie in the subspace"
        stored, owners = _read_coordinates(file)
        expected = {"basis": self.digest, "base": base.identity.weights}
        for part, ours in expected.items():
            if owners.get(part) != ours:
                return [], f"its coordinates were made for another {part} ({owners.get(part)}, here {ours})"
        if len(stored) != self.k:
            return [], f"it has {len(stored)} coordinates, the subspace {self.k}"
        for name, tensor in self.materialise(base, stored).items():
            theirs = checkpoint.read(name)
            if tensor.dtype != theirs.dtype or not torch.equal(_bits(tensor), _bits(theirs)):
                return [], f"tensor {name!r} differs from what its coordinates give"
        return stored, None


def open_subspace(path: str | Path) -> Subspace:
    """Open a basis file.

    Raises:
        CheckpointError: the file is unreadable, or its tensors are not ``direction.<0 ... k-1>.<name>``.
    """
    file = open_checkpoint(path)
    indices = set()
    for key in file.tensors:
        parts = key.split(".", 2)
        if len(parts) < 3 or parts[0] != "direction" or not parts[1].isdigit():
            raise CheckpointError(f"{path}: tensor {key!r} is not named direction.<i>.<tensor>; not a basis file")
        indices.add(int(parts[1]))
    if indices != set(range(len(indices))):
        raise CheckpointError(f"{path}: directions must be numbered 0 to {len(indices) - 1}, got {sorted(indices)}")
    return Subspace(file, len(indices))


def save_basis(path: Path, directions: Sequence[Mapping[str, torch.Tensor]]) -> Subspace:
    """Write directions (tensor name to tensor, each a vector v_i) as a basis file and open it."""
    from safetensors.torch import save_file

    tensors = {f"direction.{i}.{n}": t.contiguous() for i, v in enumerate(directions) for n, t in v.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    path.chmod(0o644)  # safetensors writes owner-only files
    return open_subspace(path)


def save_member(folder: Path, base: Checkpoint, subspace: Subspace, coordinates: Sequence[float]) -> Checkpoint:
    """Write the checkpoint at ``coordinates``: the base's companion files, its weights, its coordinates."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for file in base.path.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    save_file(subspace.materialise(base, coordinates), folder / SINGLE, metadata={"format": "pt"})
    save_file(
        {"coordinates": torch.tensor(coordinates, dtype=torch.float64)},
        folder / COORDINATES,
        metadata={OWNERS: canonical_json({"basis": subspace.digest, "base": base.identity.weights})},
    )
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes owner-only files
    return open_checkpoint(folder)


def _read_coordinates(file: Path) -> tuple[list[float], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as f:
            values = f.get_tensor("coordinates")
            owners = json.loads((f.metadata() or {}).get(OWNERS, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not readable coordinates: {error}") from error
    if values.dtype != torch.float64 or values.ndim != 1 or not all(map(math.isfinite, values.tolist())):
        raise CheckpointError(f"{file}: 'coordinates' must be finite float64 of shape (k,)")
    return values.tolist(), owners


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
