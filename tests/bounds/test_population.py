"""From the fixed benchmark to the population: exact coverage over the items."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import rel_entr

from certify import statistics
from certify.errors import InvalidInput


@given(st.floats(0, 1), st.floats(1e-6, 5))
def test_kl_inverse_stays_within_its_budget(x, c):
    """Below x, and on the safe side: at the value, kl has reached c."""
    y = statistics.kl_inverse_lower(x, c)
    assert 0 <= y <= x
    if y > 0:
        assert rel_entr(x, y) + rel_entr(1 - x, 1 - y) >= c * (1 - 1e-9) - 1e-15


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-6, 2))
def test_kl_inverse_increases_in_the_mean(x, y, c):
    """A better sample proves no less."""
    low, high = sorted((x, y))
    assert statistics.kl_inverse_lower(low, c) <= statistics.kl_inverse_lower(high, c) + 1e-12


def test_kl_inverse_has_closed_ends():
    """x = 1: exp(-c); x = 0: 0; no budget: x."""
    assert statistics.kl_inverse_lower(1.0, 0.3) == pytest.approx(math.exp(-0.3))
    assert statistics.kl_inverse_lower(0.0, 0.3) == 0.0
    assert statistics.kl_inverse_lower(0.7, 0.0) == pytest.approx(0.7)
    assert statistics.kl_inverse_lower(np.array([0.2, 0.9]), 0.1).shape == (2,)


def items_miss(bound, m):
    """Worst probability over p that the bound from m iid 0/1 items exceeds p, exactly."""
    values = np.array([bound(k / m) for k in range(m + 1)])
    return max(float(stats.binom.pmf(np.arange(m + 1), m, p) @ (values > p)) for p in np.linspace(0.01, 0.99, 99))


@pytest.mark.parametrize("m", [5, 50, 400])
@pytest.mark.parametrize("alpha", [0.2, 0.01])
def test_item_step_misses_with_probability_at_most_alpha(m, alpha):
    """A fixed score that is known exactly, carried to the population of items."""
    assert items_miss(lambda mean: statistics.two_level_lower(mean, alpha, m), m) <= alpha


def test_enumeration_rejects_a_fixed_benchmark_read_as_a_population():
    """Without the item step the miss is near one half."""
    assert items_miss(lambda mean: mean - 1e-9, 400) > 0.4


def crossed_miss(bound, n, m):
    """Worst probability that the bound exceeds E, for tables a_i b_j with coins a_i and b_j, exactly."""
    a, b = np.arange(n + 1), np.arange(m + 1)
    values = np.array([[bound(x / n * y / m) for y in b] for x in a])
    worst = 0.0
    for p in (0.5, 0.8, 0.95, 1.0):
        for q in (0.5, 0.8, 0.95, 1.0):
            weight = np.outer(stats.binom.pmf(a, n, p), stats.binom.pmf(b, m, q))
            worst = max(worst, float(weight[values > p * q + 1e-12].sum()))
    return worst


@pytest.mark.parametrize(("n", "m"), [(1, 1), (20, 20), (12, 40), (40, 12)])
def test_crossed_bound_misses_with_probability_at_most_alpha(n, m):
    """Draws crossed with items, both random."""
    assert crossed_miss(lambda mean: statistics.crossed_lower(mean, n, m, 0.05), n, m) <= 0.05


def test_enumeration_rejects_counting_all_cells_as_independent():
    """ln(1/alpha) / (n m) would be right for n m independent cells, and misses far more often."""
    assert crossed_miss(lambda mean: statistics.kl_inverse_lower(mean, math.log(20) / 400), 20, 20) > 0.2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 1000))
@settings(max_examples=40)
def test_population_band_is_below_the_band_of_the_fixed_benchmark(x, m):
    """Generalising to unseen items costs; the failure probabilities add up."""
    population, fixed = statistics.population_band(x, m, 0.03, 0.02), statistics.score_band(x, 0.03)
    assert population.mean_lower(0.5) <= fixed.mean_lower(0.5)
    assert population.alpha == 0.05
    assert population.n == len(x)


def test_population_band_approaches_the_fixed_one_with_many_items():
    """A million items are nearly the population."""
    x = [0.9] * 50
    population = statistics.population_band(x, 10**9, 0.03, 0.02).mean_lower(0.0)
    assert population == pytest.approx(statistics.score_band(x, 0.03).mean_lower(0.0), abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.kl_inverse_lower(1.5, 0.1), "x = 1.5"),
        (lambda: statistics.kl_inverse_lower(0.5, -0.1), "c = -0.1"),
        (lambda: statistics.kl_inverse_lower(0.5, math.inf), "c = inf"),
        (lambda: statistics.two_level_lower(0.5, 0.0, 10), "alpha_items = 0.0"),
        (lambda: statistics.crossed_lower(0.5, 0, 10, 0.05), "n = 0"),
        (
            lambda: statistics.population_band([0.5], 10, 0.6, 0.5),
            r"alpha_draws \+ alpha_items = 1.1: must be below 1",
        ),
    ],
)
def test_impossible_inputs_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
