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


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1)
