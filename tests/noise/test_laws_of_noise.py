"""Noise laws: which tensors get how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.errors import InvalidInput
from certify.noise import weight_noise
from certify.noise.law import lattice_pitch
from certify.records import SubspaceNoise

SIZES = {"a.weight": 10, "a.bias": 2, "b.weight": 30}


def test_one_sigma_is_for_every_tensor() -> None:
    """A number puts the same noise everywhere."""
    law = weight_noise(SIZES, 0.5)
    assert law.sigma == dict.fromkeys(SIZES, 0.5)
    assert law.dimension == 42
    assert law.noise_norm == pytest.approx(0.5 * 42**0.5)


def test_patterns_choose_tensors_and_freeze_the_rest() -> None:
    """The first matching pattern counts; what matches none is frozen."""
    law = weight_noise(SIZES, {"a.bias": 0.1, "a.*": 0.2})
    assert law.sigma == {"a.weight": 0.2, "a.bias": 0.1, "b.weight": 0.0}
    assert law.dimension == 12
    assert "1 tensors frozen" in law.describe()


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_sigma_that_is_no_standard_deviation_is_refused(sigma: float) -> None:
    """Zero, negative, NaN and infinite sigma are named in the error."""
    with pytest.raises(InvalidInput, match="sigma must be positive and finite, got"):
        weight_noise(SIZES, sigma)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    """A typing error in a pattern cannot silently freeze a tensor."""
    with pytest.raises(InvalidInput, match=r"'c\.\*' matches no tensor"):
        weight_noise(SIZES, {"c.*": 0.1})


def test_a_law_without_noise_is_refused() -> None:
    """All tensors at zero is no law."""
    with pytest.raises(InvalidInput, match="no tensor gets noise"):
        weight_noise(SIZES, {"*": 0.0})


def test_a_subspace_law_counts_its_coordinates() -> None:
    """k and the noise norm come from the coordinates."""
    law = SubspaceNoise(sigma=(3.0, 4.0), basis="sha256:" + "0" * 64)
    assert (law.dimension, law.noise_norm) == (2, 5.0)


@given(st.floats(1e-12, 1e6))
def test_the_lattice_is_a_power_of_two_just_below_sigma(sigma: float) -> None:
    """The pitch is 2^-12 of the power of two at or below sigma."""
    pitch = lattice_pitch(sigma, 12)
    assert pitch * 4096 <= sigma < pitch * 8192
