"""Outward rounding: every rounding has a direction, and the direction has a name (docs/theory.md, numerics).

Claims are moved by a relative 1e-12, so that floating point never makes a lower bound larger than the number it
stands for. That is 19 times the largest error found in a Clopper-Pearson limit (5.2e-14, n up to 5,000) and 127
times that of the law of distance (`python benchmarks/rounding.py`, 1,000 and 2,000 seeded arguments against 60
digits): a measured margin, not a proof. Numbers for display are cut in decimal, on the exact value of the float.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, overload

import numpy as np

from certify.statistics import ranges

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

CLAIM_SLACK = 1e-12
"""Relative outward step of bounds, radii, retention, p-values, distances and eta."""


@overload
def round_down(x: float) -> float: ...
@overload
def round_down(x: ArrayLike) -> FloatArray: ...
def round_down(x: ArrayLike) -> float | FloatArray:
    """Return x moved towards minus infinity by a relative 1e-12; for lower bounds, radii, retention."""
    value = np.asarray(x, dtype=np.float64)
    return ranges.plain(np.where(np.isinf(value), value, value - CLAIM_SLACK * np.abs(_finite(value))))


@overload
def round_up(x: float) -> float: ...
@overload
def round_up(x: ArrayLike) -> FloatArray: ...
def round_up(x: ArrayLike) -> float | FloatArray:
    """Return x moved towards plus infinity by a relative 1e-12; for upper bounds, distances, p-values."""
    value = np.asarray(x, dtype=np.float64)
    return ranges.plain(np.where(np.isinf(value), value, value + CLAIM_SLACK * np.abs(_finite(value))))


def floor_to(x: float, digits: int) -> float:
    """Return the largest number with `digits` decimals that is not above x; for printing lower bounds.

    The exact binary value of x decides: `floor_to(0.29, 2)` is 0.28, because the float 0.29 is below 0.29.
    """
    return _cut(x, digits, ROUND_FLOOR)


def ceil_to(x: float, digits: int) -> float:
    """Return the smallest number with `digits` decimals that is not below x; for printing upper bounds."""
    return _cut(x, digits, ROUND_CEILING)


def _cut(x: float, digits: int, direction: str) -> float:
    ranges.require(not math.isnan(x), "x", x, "must be a number, not NaN")
    places = ranges.count("digits", digits, smallest=0)
    if math.isinf(x):
        return x
    exact = Context(prec=400 + places)  # a float has up to 309 digits before the point
    return float(Decimal(x).quantize(Decimal(1).scaleb(-places), rounding=direction, context=exact))


def _finite(value: FloatArray) -> FloatArray:
    return np.where(np.isinf(value), 0.0, value)
