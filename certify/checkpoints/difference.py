"""The difference of two checkpoints, streamed tensor by tensor in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from certify.checkpoints.bits import same_bits
from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.config import changes, counted
from certify.checkpoints.generation_settings import generation_meaning
from certify.checkpoints.norms import SMALLEST, norm_up, total_up
from certify.errors import CheckpointError
from certify.evidence.displacement import Displacement

if TYPE_CHECKING:
    import torch

CHUNK = 1 << 20  # elements upcast at a time: the float64 copies stay small beside the two tensors


def difference(base: Checkpoint, checkpoint: Checkpoint) -> Displacement:
    """Return norms of checkpoint - base for each parameter, and everything else that differs and computes.

    Names are the model's own, whatever the files call them. Peak memory: two parameters in their stored dtypes, and
    what a conversion of the files needs. Tied parameters count once. Norms are in weight units, rounded up. The
    checkpoint's values must be exact in the base's dtype. Settings of generation are not in it: whether they matter
    depends on the benchmark (:func:`companion_differences`).

    Raises:
        CheckpointError: other architecture, missing, extra or differently shaped tensors, NaN or Inf, or
            values that the base's dtype cannot hold exactly.
    """
    checkpoint = checkpoint.like(base)
    _same_model(base, checkpoint)
    norms, differences = {}, companion_differences(base, checkpoint)
    for name, parameter in base.parameters.items():
        if not parameter.buffer:
            norms[name] = _norm(base, checkpoint, name)
        elif not same_bits(base.read(name), checkpoint.read(name)):
            differences.append(f"buffer {name} differs")
    return Displacement(
        norms=norms,
        differences=tuple(differences),
        delta_norm=total_up(norms.values()),
        dimension=sum(base.parameters[n].size for n in norms),
    )


def companion_differences(base: Checkpoint, checkpoint: Checkpoint, *, generated: bool = False) -> list[str]:
    """Name what computes and differs beside the weights: the config, and settings of generation where they matter.

    A single file brings none of them and takes the base's.
    """
    if not (base.written and checkpoint.written):
        return []
    parts = [("config", counted(base.config), counted(checkpoint.config))]
    if generated:
        ours, theirs = generation_meaning(base.generation), generation_meaning(checkpoint.generation)
        parts.append(("generation settings", ours, theirs))
    return [f"{part} differs: {'; '.join(changes(ours, theirs)[:3])}" for part, ours, theirs in parts if ours != theirs]


def spelling_differences(base: Checkpoint, checkpoint: Checkpoint) -> list[str]:
    """Name what the files beside the weights spell differently, whether or not it computes; shown on request."""
    lines = [f"config.json: {change}" for change in changes(base.written, checkpoint.written)]
    own, theirs = base.written_generation or {}, checkpoint.written_generation or {}
    lines += [f"generation_config.json: {change}" for change in changes(own, theirs)]
    ours, others = base.spelling, checkpoint.spelling
    listed = ("config.json", "generation_config.json")
    files = [name for name in sorted({*ours, *others}) if name not in listed and ours.get(name) != others.get(name)]
    return lines + [f"{name}: {_presence(ours.get(name), others.get(name))}" for name in files]


def _presence(ours: str | None, theirs: str | None) -> str:
    if ours is None or theirs is None:
        return "only the checkpoint has it" if ours is None else "only the base has it"
    return "other bytes"


def _same_model(base: Checkpoint, checkpoint: Checkpoint) -> None:
    if base.written and base.config.model_type != checkpoint.config.model_type:
        raise CheckpointError(
            f"{checkpoint.path}: another architecture than the base: model_type {checkpoint.config.model_type}, base "
            f"{base.config.model_type}"
        )
    ours, theirs = base.parameters, checkpoint.parameters
    missing, extra = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if missing or extra:
        raise CheckpointError(
            f"{checkpoint.path}: tensors differ from the base {base.path}: missing {missing[:5]}, extra {extra[:5]}"
        )
    for name, parameter in ours.items():
        if parameter.shape != theirs[name].shape:
            raise CheckpointError(
                f"{checkpoint.path}: tensor {name!r} has shape {theirs[name].shape}, the base {parameter.shape}"
            )


def _norm(base: Checkpoint, checkpoint: Checkpoint, name: str) -> float:
    """Return the norm of one parameter's change; the smallest float where zeros differ in sign alone."""
    import torch

    ours, theirs = base.read(name).reshape(-1), checkpoint.read(name).reshape(-1)
    if not (ours.is_floating_point() and theirs.is_floating_point()) or ours.element_size() < 2:
        raise CheckpointError(
            f"{base.path}: tensor {name!r} is stored as {ours.dtype}/{theirs.dtype}; only float32, bfloat16, float16 "
            "and float64 weights can be compared: dequantise first"
        )
    if same_bits(ours, theirs):
        _require_finite(ours, base, name)
        return 0.0

    def moved() -> Iterator[torch.Tensor]:
        for start in range(0, ours.numel(), CHUNK):
            a = _exact(ours[start : start + CHUNK], base, name)
            b = _exact(theirs[start : start + CHUNK], checkpoint, name)
            if theirs.dtype != ours.dtype and not torch.equal(b.to(ours.dtype).to(torch.float64), b):
                raise CheckpointError(
                    f"{checkpoint.path}: tensor {name!r} is {theirs.dtype} and the base's dtype {ours.dtype} cannot "
                    "hold its values exactly; cast the checkpoint yourself and gate what you deploy"
                )
            yield b - a

    norm = norm_up(moved())
    if math.isinf(norm):
        raise CheckpointError(f"{checkpoint.path}: tensor {name!r} lies further from the base's than any float says")
    return norm or (0.0 if same_bits(ours, theirs.to(ours.dtype)) else SMALLEST)


def _exact(part: torch.Tensor, owner: Checkpoint, name: str) -> torch.Tensor:
    import torch

    wide = part.to(torch.float64)
    _require_finite(wide, owner, name)
    return wide


def _require_finite(values: torch.Tensor, owner: Checkpoint, name: str) -> None:
    if not bool(values.isfinite().all()):
        raise CheckpointError(f"{owner.path}: tensor {name!r} holds NaN or Inf")
