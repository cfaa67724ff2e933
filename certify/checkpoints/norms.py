"""One Euclidean norm for distances, budgets and displacements: scaled where squares would not fit, rounded up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROUNDING = 1 + 1e-9  # norms are rounded up by more than any float64 summation error (theory §5)
SMALLEST = math.ulp(0.0)
SAFE = 1e-280, 1e280  # sums of squares in here lost nothing that counts to under- or overflow


def norm_up(parts: Iterable[torch.Tensor]) -> float:
    """Return the Euclidean norm of all ``parts`` together (float64, finite), never below the true one.

    It is 0 only if every element is 0, and infinite only if the true norm is beyond the largest float.
    """
    return total_up(_norm(part) for part in parts)


def total_up(norms: Iterable[float]) -> float:
    """Return the norm of a vector whose blocks have these norms, rounded up; 0 only if all are."""
    total = math.hypot(*norms)
    return math.nextafter(total * ROUNDING, math.inf) if total else 0.0


def _norm(part: torch.Tensor) -> float:
    plain = float(part.square().sum())
    if SAFE[0] < plain < SAFE[1]:
        return math.sqrt(plain)
    largest = float(part.abs().amax()) if part.numel() else 0.0
    if largest == 0.0 or math.isinf(largest):
        return largest
    exponent = math.frexp(largest)[1]
    # Two halves of the power of two: 2**1074 is beyond a float, and a subnormal times 2**537 twice is exact.
    half = exponent // 2
    scaled = part.mul(math.ldexp(1.0, -half)).mul_(math.ldexp(1.0, half - exponent))
    root = math.sqrt(float(scaled.square().sum()))
    try:
        return math.ldexp(root, exponent)
    except OverflowError:
        return math.inf
