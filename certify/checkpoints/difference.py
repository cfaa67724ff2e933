"""The difference of two checkpoints, streamed tensor by tensor in float64."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from certify.checkpoints.bits import bits_of, not_finite, same_bits
from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.config import changes, counted
from certify.checkpoints.generation_settings import generation_meaning
from certify.checkpoints.norms import SMALLEST, norm_of, plain_norm, total_up
from certify.checkpoints.threads import in_threads
from certify.errors import CheckpointError
from certify.evidence.displacement import Displacement

if TYPE_CHECKING:
    import torch

CHUNK = 1 << 17  # elements at a time: hashed, they are still in the second-level cache when they are subtracted
COMPILED_FROM = 1 << 24  # weights; below it numba would take longer to import than the work
NUMPY = {"torch.float64": "f8", "torch.float32": "f4", "torch.float16": "f2", "torch.bfloat16": "u2"}
"""How numpy reads the bits of the dtypes that compute; bfloat16 it does not know."""


def difference(base: Checkpoint, checkpoint: Checkpoint, *, identify: bool = False) -> Displacement:
    """Return norms of checkpoint - base for each parameter, and everything else that differs and computes.

    Names are the model's own, whatever the files call them. Tied parameters count once. Norms are in weight units,
    rounded up, with the same bits on any number of threads (as many as torch is set to use). The checkpoint's values
    must be exact in the base's dtype. Settings of generation are not in it: whether they matter depends on the
    benchmark (:func:`companion_differences`).

    With ``identify``, tensors that have not been hashed are hashed while they are walked, and the identities of both
    read no file for them again. Peak memory: two parameters in their stored dtypes, and 200 MB for each thread beside
    what a conversion of the files needs.

    Raises:
        CheckpointError: other architecture, missing, extra or differently shaped tensors, NaN or Inf, or
            values that the base's dtype cannot hold exactly.
    """
    checkpoint = checkpoint.like(base)
    _same_model(base, checkpoint)
    differences = companion_differences(base, checkpoint)
    sizes = {n: base.bytes_of(n) + checkpoint.bytes_of(n) for n, p in base.parameters.items() if not p.buffer}
    dimension = sum(base.parameters[name].size for name in sizes)

    def norm(name: str) -> float:
        pair = _Pair.read(base, checkpoint, name)
        return pair.norm(identify=identify, compiled=dimension >= COMPILED_FROM)

    norms = in_threads(norm, sizes)
    for name in (n for n in base.parameters if n not in sizes):
        if not same_bits(base.read(name), checkpoint.read(name)):
            differences.append(f"buffer {name} differs")
    return Displacement(
        norms=norms,
        differences=tuple(differences),
        delta_norm=total_up(norms.values()),
        dimension=dimension,
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
    differing = [part for part in parts if part[1] != part[2]]
    named = [f"{part} differs: {'; '.join(changes(ours, theirs)[:3])}" for part, ours, theirs in differing]
    return [*named, *checkpoint.additions]


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


@dataclass(frozen=True)
class _Pair:
    """One parameter of both checkpoints, as the files hold it: walked once, in blocks that a cache holds."""

    name: str
    owners: tuple[Checkpoint, Checkpoint]
    ours: torch.Tensor
    theirs: torch.Tensor

    @classmethod
    def read(cls, base: Checkpoint, checkpoint: Checkpoint, name: str) -> _Pair:
        ours, theirs = base.read(name).reshape(-1), checkpoint.read(name).reshape(-1)
        if not (ours.is_floating_point() and theirs.is_floating_point()) or ours.element_size() < 2:
            raise CheckpointError(
                f"{base.path}: tensor {name!r} is stored as {ours.dtype}/{theirs.dtype}; only float32, bfloat16, "
                "float16 and float64 weights can be compared: dequantise first"
            )
        return cls(name, (base, checkpoint), ours, theirs)

    def norm(self, *, identify: bool, compiled: bool) -> float:
        """Return the norm of the change; the smallest float where zeros differ in sign alone."""
        hashes = [hashlib.sha256() if identify and self.name not in each.digests else None for each in self.owners]
        bits, parts = (bits_of(self.ours), bits_of(self.theirs)), []
        for start in range(0, self.ours.numel(), CHUNK):
            part = slice(start, start + CHUNK)
            for whole, values in zip(hashes, bits, strict=True):
                if whole is not None:
                    whole.update(values[part].data)
            plain = self._plain(bits[0][part], bits[1][part], compiled)
            parts.append(self._careful(self.ours[part], self.theirs[part]) if plain is None else plain)
        norm = total_up(parts)
        if math.isinf(norm):
            raise CheckpointError(
                f"{self.owners[1].path}: tensor {self.name!r} lies further from the base's than any float says"
            )
        for owner, whole in zip(self.owners, hashes, strict=True):
            if whole is not None:
                owner.digests[self.name] = whole.hexdigest()
        return norm or (0.0 if same_bits(self.ours, self.theirs.to(self.ours.dtype)) else SMALLEST)

    def _plain(self, x: NDArray[Any], y: NDArray[Any], compiled: bool) -> float | None:
        """Return the norm of a block's change where one sum of squares gives it: every number is finite then."""
        if self.ours.dtype != self.theirs.dtype:
            return None
        kind = NUMPY[str(self.ours.dtype)]
        x, y = x.view(kind), y.view(kind)
        if kind == "f2":
            x, y = x.astype(np.float32), y.astype(np.float32)  # exact
        return plain_norm(x, y, compiled=compiled)

    def _careful(self, a: torch.Tensor, b: torch.Tensor) -> float:
        """Return the norm of b - a: nothing moved, the squares leave a float's range, or a number must be refused."""
        import torch

        if same_bits(a, b) and not not_finite(a):
            return 0.0
        wide, moved = a.to(torch.float64), b.to(torch.float64)
        for owner, whole, part in zip(self.owners, (self.ours, self.theirs), (wide, moved), strict=True):
            if not_finite(part):
                owner.refuse_not_finite(self.name, not_finite(whole), whole.numel())
        if b.dtype != a.dtype and not torch.equal(moved.to(a.dtype).to(torch.float64), moved):
            raise CheckpointError(
                f"{self.owners[1].path}: tensor {self.name!r} is {b.dtype} and the base's dtype {a.dtype} cannot "
                "hold its values exactly; cast the checkpoint yourself and gate what you deploy"
            )
        return norm_of(moved - wide)
