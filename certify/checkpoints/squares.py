"""Sums of squared differences, compiled: the loops of large tensors.

Importing this module imports numba; :mod:`certify.checkpoints.norms` does so where there is enough to add.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from certify.compiling import compiled

u32, f32, f64 = np.uint32, np.float32, np.float64


@compiled
def add(x: NDArray[Any], y: NDArray[Any], lanes: NDArray[Any]) -> None:
    """Add the square of y - x, element by element in float64, to the lane of each: its place modulo their number."""
    for start in range(0, x.size, lanes.size):
        a, b = x[start : start + lanes.size], y[start : start + lanes.size]  # else the loop stays scalar: 6.2 for .4 ns
        for i in range(a.size):
            d = f64(b[i]) - f64(a[i])
            lanes[i] += d * d


@compiled
def add_brain(x: NDArray[Any], y: NDArray[Any], lanes: NDArray[Any]) -> None:
    """Do the same for bfloat16, given as its bits."""
    for start in range(0, x.size, lanes.size):
        a, b = x[start : start + lanes.size], y[start : start + lanes.size]
        for i in range(a.size):
            d = f64(u32(u32(b[i]) << u32(16)).view(f32)) - f64(u32(u32(a[i]) << u32(16)).view(f32))
            lanes[i] += d * d
