"""The one norm: never below the true one, 0 only for nothing, infinite only beyond the largest float."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import models
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from certify.checkpoints import difference, open_checkpoint
from certify.checkpoints.norms import ROUNDING, SMALLEST, norm_up
from certify.statistics.laws import mahalanobis

LARGEST = math.nextafter(math.inf, 0.0)


def holds(norm: float, values: list[float]) -> bool:
    """Whether ``norm`` is the exact norm of ``values``, rounded up by at most 3e-9 and three smallest floats."""
    square = sum(Fraction(v) ** 2 for v in values)
    if math.isinf(norm):
        return square > (Fraction(LARGEST) / Fraction(1 + 3e-9)) ** 2
    above = Fraction(norm) / Fraction(1 + 3e-9) - 3 * Fraction(SMALLEST)
    return Fraction(norm) ** 2 >= square and (above <= 0 or above**2 <= square)


@example([0.0, 1.24e-210])
@example([SMALLEST])
@example([SMALLEST] * 3 + [1e-300])
@example([LARGEST])
@example([LARGEST, LARGEST])
@example([1e308, -1e300, 0.0])
@example([3e-162, 4e-162])
@example([1e-160, 1e160])
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_it_is_the_exact_norm_rounded_up(values: list[float]) -> None:
    """Whatever the magnitudes, in one piece or in two."""
    whole = torch.tensor(values, dtype=torch.float64)
    for parts in ([whole], [whole[:2], whole[2:]]):
        norm = norm_up(parts)
        assert holds(norm, values)
        assert (norm == 0.0) == (not any(values))


def test_the_plain_formula_fails_these() -> None:
    """The negative control: a sum of squares loses the small and overflows on the large."""
    for values in ([1.24e-210], [1e200]):
        plain = math.sqrt(sum(v * v for v in values)) * ROUNDING
        assert not holds(plain, values) or math.isinf(plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("change", ["smallest", "sign of zero", "nothing"])
def test_a_difference_of_any_size_is_one(tmp_path: Path, dtype: torch.dtype, change: str) -> None:
    """Of the smallest size, or in the sign of a zero alone: on a frozen tensor r is infinite, elsewhere above 0."""
    name = "model.norm.weight"

    def cast(tensors: dict[str, torch.Tensor]) -> None:
        for key in tensors:
            tensors[key] = tensors[key].to(dtype)
        tensors[name][:] = 0.0

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        if change == "smallest":
            tensors[name][0] = torch.finfo(dtype).smallest_normal
        elif change == "sign of zero":
            tensors[name][0] = -0.0

    source = models.save_folder(tmp_path / "source", models.llama())
    base = models.variant(source, tmp_path / "base", cast)
    found = difference(open_checkpoint(base), open_checkpoint(models.variant(base, tmp_path / "x", edit)))
    moved = change != "nothing"
    assert (found.norms[name] > 0, found.delta_norm > 0) == (moved, moved)
    assert (mahalanobis([found.norms[name]], [0.0]) == math.inf) == moved
    assert (mahalanobis([found.norms[name]], [1e3]) > 0) == moved


@example(5e-324, 1e6)
@given(st.floats(0, 1e300), st.floats(1e-300, 1e300))
def test_a_distance_neither_vanishes_nor_shrinks(norm: float, sigma: float) -> None:
    """r is at least the exact quotient, and 0 only where the norm is."""
    r = mahalanobis([norm], [sigma])
    assert (r == 0.0) == (norm == 0.0)
    assert math.isinf(r) or Fraction(r) >= Fraction(norm) / Fraction(sigma)
