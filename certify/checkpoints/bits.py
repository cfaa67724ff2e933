"""Tensors compared and hashed by their bits: -0.0 is not 0.0, and a NaN equals itself."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def same_bits(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two tensors agree in dtype, shape and every bit."""
    import torch

    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[ours.element_size()]
    return torch.equal(_flat(ours).view(whole), _flat(theirs).view(whole))


def bits_digest(tensor: torch.Tensor) -> str:
    """Return the SHA-256 of a tensor's bytes."""
    import torch

    return hashlib.sha256(_flat(tensor).view(torch.uint8).numpy().data).hexdigest()


def not_finite(tensor: torch.Tensor) -> int:
    """Return how many numbers of a tensor are NaN or infinite; 0 for a dtype that no model computes in."""
    import torch

    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return 0
    wide = torch.float32 if tensor.element_size() == 2 else None  # in which a sum of them does not overflow
    if bool(torch.isfinite(tensor.sum(dtype=wide))):
        return 0  # one pass over memory: what is not finite would have made the sum so
    return int((~torch.isfinite(tensor)).sum())


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1)
