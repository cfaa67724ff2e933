"""Tensors compared and hashed by their bits: -0.0 is not 0.0, and a NaN equals itself."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

BLOCK = 1 << 20  # bytes at a time: what was hashed is still in the second-level cache when it is looked at


def same_bits(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two tensors agree in dtype, shape and every bit."""
    import torch

    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[ours.element_size()]
    return torch.equal(_flat(ours).view(whole), _flat(theirs).view(whole))


def examined(tensor: torch.Tensor) -> tuple[str, int]:
    """Return the SHA-256 of a tensor's bytes, and how many of its numbers are NaN or infinite, in one pass.

    A dtype that no model computes in has none of these.
    """
    bits, infinity = bits_of(tensor), _infinity(tensor)
    whole, wrong, step = hashlib.sha256(), 0, BLOCK // bits.itemsize
    for start in range(0, bits.size, step):
        part = bits[start : start + step]
        whole.update(part.data)
        wrong += _beyond(part, infinity) if infinity is not None else 0
    return whole.hexdigest(), wrong


def not_finite(tensor: torch.Tensor) -> int:
    """Return how many numbers of a tensor are NaN or infinite; 0 for a dtype that no model computes in."""
    infinity = _infinity(tensor)
    return 0 if infinity is None else _beyond(bits_of(tensor), infinity)


def bits_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Return the bits of a tensor's numbers, flat, as unsigned integers of their size; a view if it is contiguous."""
    import torch

    flat = _flat(tensor)
    unsigned = f"u{flat.element_size()}"
    return flat.view(torch.uint8).numpy().view(unsigned) if flat.numel() else np.empty(0, unsigned)


def _infinity(tensor: torch.Tensor) -> int | None:
    import torch

    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return None
    return int(bits_of(torch.tensor([math.inf], dtype=tensor.dtype))[0])


def _beyond(bits: NDArray[Any], infinity: int) -> int:
    """Count what is at or beyond infinity: the largest integers of either sign, so two maxima say whether any is."""
    sign = 1 << (8 * bits.itemsize - 1)
    if not bits.size or (bits.max() < infinity | sign and bits.view(f"i{bits.itemsize}").max() < infinity):
        return 0
    return int(((bits & bits.dtype.type(sign - 1)) >= infinity).sum())


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1)
