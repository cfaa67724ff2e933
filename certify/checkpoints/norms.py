"""One Euclidean norm for distances, budgets and displacements: scaled where squares would not fit, rounded up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ROUNDING = 1 + 1e-9  # norms are rounded up by more than any float64 summation error (theory §5)
SMALLEST = math.ulp(0.0)
LANES = 512  # float64 sums that run side by side, so that one order of adding suits every width of vectors
SAFE = 1e-280, 1e280  # sums of squares in here lost nothing that counts to under- or overflow


def norm_up(parts: Iterable[torch.Tensor]) -> float:
    """Return the Euclidean norm of all ``parts`` together (float64, finite), never below the true one.

    It is 0 only if every element is 0, and infinite only if the true norm is beyond the largest float.
    """
    return total_up(norm_of(part) for part in parts)


def total_up(norms: Iterable[float]) -> float:
    """Return the norm of a vector whose blocks have these norms, rounded up; 0 only if all are."""
    total = math.hypot(*norms)
    return math.nextafter(total * ROUNDING, math.inf) if total else 0.0


def plain_norm(x: NDArray[Any], y: NDArray[Any], *, compiled: bool) -> float | None:
    """Return the norm of y - x, within 1e-12 of it; None where the sum of squares over- or underflows or is NaN.

    Both are flat, of float32 or float64, or the bits of bfloat16 as uint16. Squares are added to :data:`LANES` sums in
    turn, and these to one, so the result has the same bits ``compiled`` (which takes a second to import and compile,
    and then a tenth of the time) or not, and on every machine.
    """
    lanes = np.zeros(LANES)
    if compiled:
        from certify.checkpoints import squares

        (squares.add_brain if x.dtype == np.uint16 else squares.add)(x, y, lanes)
    else:
        _add(_widened(x), _widened(y), lanes)
    total = float(lanes.sum())
    return math.sqrt(total) if SAFE[0] < total < SAFE[1] else None


def _widened(x: NDArray[Any]) -> NDArray[Any]:
    return ((x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x).astype(np.float64)


def _add(x: NDArray[Any], y: NDArray[Any], lanes: NDArray[Any]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        square = (y - x) ** 2
    whole = square.size // LANES * LANES
    for row in square[:whole].reshape(-1, LANES):
        lanes += row
    lanes[: square.size - whole] += square[whole:]


def norm_of(part: torch.Tensor) -> float:
    """Return the norm of a float64 tensor, to nearest, whatever its magnitude."""
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
