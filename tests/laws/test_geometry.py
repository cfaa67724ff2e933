"""Distances in units of noise, and positions on the slice."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from certify.errors import InvalidInput
from certify.statistics import laws

length = st.floats(0, 1e3, allow_subnormal=False).filter(lambda x: x == 0 or x > 1e-150)  # squares stay normal
norms = st.lists(length, min_size=1, max_size=8)
sigmas = st.floats(1e-4, 10)


@given(norms, sigmas)
def test_equal_sigmas_give_the_plain_norm(delta, sigma):
    """With one sigma the distance is ||delta|| / sigma, never below it."""
    plain = math.hypot(*delta) / sigma
    assert plain * (1 - 1e-15) <= laws.mahalanobis(delta, sigma) <= plain * (1 + 1e-11)


@given(st.lists(st.tuples(length, sigmas), min_size=2, max_size=8), st.randoms())
def test_order_of_blocks_does_not_matter(blocks, random):
    """Permuted tensors have the same distance."""
    shuffled = random.sample(blocks, len(blocks))
    assert laws.mahalanobis(*zip(*blocks, strict=True)) == pytest.approx(
        laws.mahalanobis(*zip(*shuffled, strict=True)), rel=1e-14
    )


@given(st.lists(length, min_size=4, max_size=4), sigmas)
def test_splitting_a_tensor_does_not_matter(parts, sigma):
    """Two halves under one sigma count like the whole."""
    whole = [math.hypot(*parts[:2]), math.hypot(*parts[2:])]
    assert laws.mahalanobis(parts, [sigma] * 4) == pytest.approx(laws.mahalanobis(whole, [sigma] * 2), rel=1e-11)


@given(norms, sigmas, st.floats(1e-3, 1e3))
def test_scaling_weights_and_noise_together_does_not_matter(delta, sigma, c):
    """(c delta, c sigma) has the distance of (delta, sigma)."""
    scaled = laws.mahalanobis([c * x for x in delta], [c * sigma] * len(delta))
    assert scaled == pytest.approx(laws.mahalanobis(delta, [sigma] * len(delta)), rel=1e-11, abs=1e-200)


def test_unmoved_block_without_noise_counts_nothing():
    """0 / 0 contributes 0."""
    assert laws.mahalanobis([3.0, 0.0], [1.0, 0.0]) == pytest.approx(3.0)
    assert laws.mahalanobis([0.0], [0.0]) == 0.0
    assert laws.mahalanobis([], []) == 0.0


def test_moved_block_without_noise_is_infinitely_far():
    """x / 0 is infinite, as is an infinite norm."""
    assert laws.mahalanobis([3.0, 1e-300], [1.0, 0.0]) == math.inf
    assert laws.mahalanobis([math.inf], [1.0]) == math.inf


def test_distance_is_rounded_up():
    """The printed 3-4-5 triangle is a hair longer than 5."""
    assert 5.0 < laws.mahalanobis([3.0, 4.0], 1.0) < 5.0 + 1e-10


@pytest.mark.parametrize(
    ("delta", "sigma", "message"),
    [
        ([1.0, -1.0], [1.0, 1.0], "delta_norms = -1.0"),
        ([1.0, math.nan], [1.0, 1.0], "delta_norms = nan"),
        ([1.0], [-0.5], "sigmas = -0.5"),
        ([1.0, 2.0], [1.0], "must agree"),
        ([1.0], [math.inf], "must be finite"),
    ],
)
def test_impossible_blocks_are_refused_by_name(delta, sigma, message):
    """The message names the argument and the value."""
    with pytest.raises(InvalidInput, match=message):
        laws.mahalanobis(delta, sigma)


def test_slice_position_is_the_norm_per_weight():
    """alpha* = ||delta|| / sqrt(d)."""
    assert laws.slice_position(3.0, 9) == 1.0
    with pytest.raises(InvalidInput, match="d = 0"):
        laws.slice_position(3.0, 0)


@pytest.mark.parametrize("d", [1, 2, 3, 10, 299, 300, 301, 1000])
def test_mean_noise_norm_is_that_of_the_chi_distribution(d):
    """scipy's chi distribution has the same mean, on both sides of the change of method."""
    assert laws.mean_noise_norm(d) == pytest.approx(stats.chi.mean(d), rel=1e-10)


@pytest.mark.parametrize("d", [10**k for k in range(1, 13)])
def test_mean_noise_norm_stays_just_below_sqrt_d(d):
    """sqrt(d) (1 - 1/(4d)) < E ||z|| < sqrt(d), down to the rounding of the last digits."""
    ratio = laws.mean_noise_norm(d) / math.sqrt(d)
    assert 1 - 1 / (4 * d) - 1e-15 <= ratio <= 1.0
    assert np.isfinite(ratio)
