"""Range checks: each returns its value in canonical form or raises `InvalidInput` (name, value, rule)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from certify.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Raise `InvalidInput` naming the argument, its value and the rule, unless the rule holds."""
    if not holds:
        raise InvalidInput(f"{name} = {value!r}: {rule}")


def failure_probability(name: str, value: float, largest: float = 1.0) -> float:
    """A failure probability: 0 < value < 1, and value <= largest."""
    number = _number(name, value)
    require(0.0 < number < 1.0, name, value, "must lie strictly between 0 and 1 (it is a failure probability)")
    require(number <= largest, name, value, f"must be at most {largest:g}")
    return number


def open_unit(name: str, value: float) -> float:
    """A number strictly between 0 and 1."""
    number = _number(name, value)
    require(0.0 < number < 1.0, name, value, "must lie strictly between 0 and 1")
    return number


def unit(name: str, value: float) -> float:
    """A number in [0, 1]."""
    number = _number(name, value)
    require(0.0 <= number <= 1.0, name, value, "must lie in [0, 1]")
    return number


def positive(name: str, value: float) -> float:
    """A finite number above 0."""
    number = _number(name, value)
    require(0.0 < number < math.inf, name, value, "must be a finite number above 0")
    return number


def not_negative(name: str, value: float) -> float:
    """A finite number that is at least 0."""
    number = _number(name, value)
    require(0.0 <= number < math.inf, name, value, "must be a finite number of at least 0")
    return number


def count(name: str, value: int, smallest: int = 1) -> int:
    """A whole number that is at least `smallest`."""
    number = _number(name, value)
    require(number >= smallest and number == math.floor(number) and number < 2**63, name, value,
            f"must be a whole number of at least {smallest}")  # fmt: skip
    return int(value)


def units(name: str, value: ArrayLike) -> FloatArray:
    """An array of numbers in [0, 1], any shape."""
    return _array(name, value, 0.0, 1.0, "must lie in [0, 1]")


def distances(name: str, value: ArrayLike) -> FloatArray:
    """An array of numbers in [0, inf], any shape."""
    return _array(name, value, 0.0, math.inf, "must be at least 0 (inf is allowed, NaN is not)")


def counts(name: str, value: ArrayLike, smallest: int = 0) -> FloatArray:
    """An array of whole numbers that are at least `smallest`, as float64."""
    array = _array(name, value, smallest, 2.0**53, f"must be a whole number of at least {smallest}")
    fractional = array != np.floor(array)
    if fractional.any():
        raise InvalidInput(f"{name} = {float(array[fractional].flat[0])!r}: must be a whole number")
    return array


def scores(name: str, value: ArrayLike, low: float = 0.0, high: float = 1.0) -> FloatArray:
    """One finite score per draw: shape (n,), n >= 1, each in [low, high]."""
    array = _array(name, value, low, high, f"every entry must lie in [{low:g}, {high:g}]")
    require(array.ndim == 1 and array.size >= 1, f"shape of {name}", array.shape, "must be (n,) with n >= 1")
    return array


def plain(array: FloatArray | np.float64) -> float | FloatArray:
    """A float for a zero-dimensional result, the array otherwise."""
    return float(array) if np.ndim(array) == 0 else np.asarray(array, dtype=np.float64)


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # any object: the failure is the message
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} = {value!r}: must be a number") from None
    require(number == number, name, value, "must be a number, not NaN")
    return number


def _array(name: str, value: ArrayLike, low: float, high: float, rule: str) -> FloatArray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} = {value!r}: must be a number or an array of numbers") from None
    outside = ~((array >= low) & (array <= high))  # NaN is outside
    if outside.any():
        raise InvalidInput(f"{name} = {float(array[outside].flat[0])!r}: {rule}")
    return array
