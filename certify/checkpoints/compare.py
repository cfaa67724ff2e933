"""The difference of two checkpoints, streamed tensor by tensor in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from certify.checkpoints.folder import Checkpoint
from certify.errors import CheckpointError
from certify.evidence.distance import Displacement

if TYPE_CHECKING:
    import torch

CHUNK = 1 << 20  # elements upcast at a time: the float64 copies stay small beside the two tensors
ROUNDING = 1 + 1e-9  # norms are rounded up by more than any float64 summation error (theory §5)


def difference(base: Checkpoint, checkpoint: Checkpoint) -> Displacement:
    """Return norms of checkpoint - base for each tensor, and everything else that differs.

    Peak memory: two tensors in their stored dtypes. Tied tensors count once. Norms are in weight units,
    rounded up. The checkpoint's values must be exact in the base's dtype.

    Raises:
        CheckpointError: other architecture, missing, extra or differently shaped tensors, NaN or Inf, or
            values that the base's dtype cannot hold exactly.
    """
    _same_shapes(base, checkpoint)
    norms = {}
    for name in sorted(base.tensors):
        if name not in base.ties:
            norms[name] = _norm(base, checkpoint, name)
    return Displacement(
        norms=norms,
        differences=tuple(companion_differences(base, checkpoint)),
        delta_norm=math.sqrt(math.fsum(n * n for n in norms.values())) * ROUNDING,
        dimension=sum(base.tensors[n].size for n in norms),
    )


def companion_differences(base: Checkpoint, checkpoint: Checkpoint) -> list[str]:
    """Name what differs beside the weights: config, tokenizer, template, generation settings, ties.

    A part that the checkpoint does not bring is the base's.
    """
    ours, theirs = base.identity.companions, checkpoint.identity.companions
    out = [f"{part} differs" for part in sorted(theirs) if theirs[part] != ours.get(part)]
    return out + (["tied tensors differ"] if base.ties != checkpoint.ties else [])


def _same_shapes(base: Checkpoint, checkpoint: Checkpoint) -> None:
    for field in ("model_type", "architectures"):
        ours, theirs = base.config.get(field), checkpoint.config.get(field)
        if ours is not None and theirs is not None and ours != theirs:
            raise CheckpointError(
                f"{checkpoint.path}: another architecture than the base: {field} {theirs}, base {ours}"
            )
    # An alias that one file spells out and the other leaves to the config is the same tensor.
    ours_names, theirs_names = base.tensors.keys() - base.ties, checkpoint.tensors.keys() - checkpoint.ties
    missing, extra = sorted(ours_names - theirs_names), sorted(theirs_names - ours_names)
    if missing or extra:
        raise CheckpointError(
            f"{checkpoint.path}: tensors differ from the base {base.path}: missing {missing[:5]}, extra {extra[:5]}"
        )
    for name in sorted(ours_names):
        ours, theirs = base.tensors[name].shape, checkpoint.tensors[name].shape
        if ours != theirs:
            raise CheckpointError(f"{checkpoint.path}: tensor {name!r} has shape {theirs}, the base {ours}")


def _norm(base: Checkpoint, checkpoint: Checkpoint, name: str) -> float:
    import torch

    ours, theirs = base.read(name).reshape(-1), checkpoint.read(name).reshape(-1)
    if not (ours.is_floating_point() and theirs.is_floating_point()) or ours.element_size() < 2:
        raise CheckpointError(
            f"{base.path}: tensor {name!r} is stored as {ours.dtype}/{theirs.dtype}; only float32, bfloat16, float16 "
            "and float64 weights can be compared: dequantise first"
        )
    squares = []
    for start in range(0, ours.numel(), CHUNK):
        a = _exact(ours[start : start + CHUNK], base, name)
        b = _exact(theirs[start : start + CHUNK], checkpoint, name)
        if theirs.dtype != ours.dtype and not torch.equal(b.to(ours.dtype).to(torch.float64), b):
            raise CheckpointError(
                f"{checkpoint.path}: tensor {name!r} is {theirs.dtype} and the base's dtype {ours.dtype} cannot hold "
                "its values exactly; cast the checkpoint yourself and gate what you deploy"
            )
        squares.append(float(torch.sum((b - a).square())))
    return math.sqrt(math.fsum(squares)) * ROUNDING


def _exact(part: torch.Tensor, owner: Checkpoint, name: str) -> torch.Tensor:
    import torch

    wide = part.to(torch.float64)
    if not bool(torch.isfinite(wide).all()):
        raise CheckpointError(f"{owner.path}: tensor {name!r} holds NaN or Inf")
    return wide
