"""Members: checkpoints that are exactly values of the map, and carry the coordinates that prove it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from certify.checkpoints import Checkpoint, difference, open_checkpoint
from certify.checkpoints.files import COORDINATES, SINGLE
from certify.errors import CheckpointError
from certify.evidence.displacement import Displacement
from certify.noise.subspace.map import Subspace
from certify.parsing import parse_json
from certify.records import canonical_json
from certify.text import shortened
from certify.writing import whole

OWNERS = "pytest-basin"  # one metadata key: safetensors writes several in random order


def save_member(folder: Path, base: Checkpoint, subspace: Subspace, coordinates: Sequence[float]) -> Checkpoint:
    """Write the checkpoint at ``coordinates``: the base's companion files, its weights, its coordinates."""
    from safetensors.torch import save_file

    weights = subspace.materialise(base, coordinates)
    base.copy_companions(folder)
    with whole(folder / SINGLE) as aside:
        save_file(weights, aside, metadata={"format": "pt"})
    owners = canonical_json({"basis": subspace.digest, "base": base.identity.weights})
    with whole(folder / COORDINATES) as aside:
        save_file(
            {"coordinates": torch.tensor(coordinates, dtype=torch.float64)}, aside, metadata={OWNERS: owners}
        )
    return open_checkpoint(folder)


def displacement_in(
    subspace: Subspace, base: Checkpoint, checkpoint: Checkpoint, weights: Displacement | None = None
) -> Displacement:
    """Return the checkpoint's coordinates, or why it is no member of the subspace (r is infinite then).

    ``weights`` is the :func:`certify.checkpoints.difference` of both, if it is known.
    """
    weights = weights or difference(base, checkpoint)
    coordinates, reason = _membership(subspace, base, checkpoint)
    return Displacement(
        norms={str(i): abs(a) for i, a in enumerate(coordinates)},
        differences=(*weights.differences, *([reason] if reason else [])),
        delta_norm=weights.delta_norm,
        dimension=weights.dimension,
    )


def _membership(subspace: Subspace, base: Checkpoint, checkpoint: Checkpoint) -> tuple[list[float], str | None]:
    """Return the checkpoint's coordinates and None, or why it is not known to be a member.

    Exact: its weights are computed again from its coordinates, and every bit is compared.
    """
    file = checkpoint.path / COORDINATES
    if not file.is_file():
        return [], f"the checkpoint carries no {COORDINATES}, so it is not known to lie in the subspace"
    stored, owners = _read_coordinates(file)
    expected = {"basis": subspace.digest, "base": base.identity.weights}
    for part, ours in expected.items():
        if owners.get(part) != ours:
            return [], f"its coordinates were made for another {part} ({owners.get(part)}, here {ours})"
    if len(stored) != subspace.k:
        return [], f"it has {len(stored)} coordinates, the subspace {subspace.k}"
    for name, tensor in subspace.weights(base, stored):
        theirs = checkpoint.read(name)
        if tensor.dtype != theirs.dtype or not torch.equal(_bits(tensor), _bits(theirs)):
            return [], f"tensor {name!r} differs from what its coordinates give"
    return stored, None


def _read_coordinates(file: Path) -> tuple[list[float], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as f:
            values = f.get_tensor("coordinates")
            owners = parse_json((f.metadata() or {}).get(OWNERS, "{}"), f"{file}: {OWNERS}")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not readable coordinates: {shortened(str(error))}") from None
    if not isinstance(owners, dict):
        raise CheckpointError(f"{file}: {OWNERS} must be a JSON object of basis and base")
    if values.dtype != torch.float64 or values.ndim != 1 or not all(map(math.isfinite, values.tolist())):
        raise CheckpointError(f"{file}: 'coordinates' must be finite float64 of shape (k,)")
    return values.tolist(), owners


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
