"""The laws: exact properties, ends, and their meaning for real functions of Gaussian noise."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certify.errors import InvalidInput
from certify.statistics import laws

ROUNDING = 1e-12  # the outward step of claims; the special functions are better than that
probabilities = st.floats(1e-12, 1 - 1e-12)
distances = st.floats(0.0, 6.0)


@given(p=probabilities, q=probabilities, r=distances)
def test_lower_law_increases_in_p(p, q, r):
    """A higher base level is worth more at any distance."""
    low, high = sorted((p, q))
    assert laws.strong_lower(low, r) <= laws.strong_lower(high, r) * (1 + ROUNDING)


@given(p=probabilities, r=distances, s=distances)
def test_lower_law_decreases_in_r(p, r, s):
    """A farther checkpoint is worth less."""
    near, far = sorted((r, s))
    assert laws.strong_lower(p, far) <= laws.strong_lower(p, near) * (1 + ROUNDING)
    assert laws.strong_lower(p, far) <= p <= laws.strong_upper(p, far)


@given(p=st.floats(0.0, 1.0))
def test_law_is_the_identity_at_distance_zero(p):
    """At the base itself the law returns the base level, to the last bit."""
    assert laws.strong_lower(p, 0.0) == p == laws.strong_upper(p, 0.0)


@given(r=st.floats(0.0, 1e6))
def test_law_keeps_both_ends_at_finite_distance(r):
    """Levels 0 and 1 stay where they are."""
    assert laws.strong_lower(0.0, r) == laws.strong_upper(0.0, r) == 0.0
    assert laws.strong_lower(1.0, r) == laws.strong_upper(1.0, r) == 1.0


@pytest.mark.parametrize("p", [0.0, 1e-300, 0.5, 1.0])
def test_nothing_holds_at_infinite_distance(p):
    """Off the range of the noise even a base level of 1 says nothing."""
    assert laws.strong_lower(p, math.inf) == laws.weak_lower(p, math.inf) == 0.0
    assert laws.strong_upper(p, math.inf) == laws.weak_upper(p, math.inf) == 1.0
    assert laws.strong_lower_tail(p, math.inf) == 1.0


@given(p=probabilities, r=st.floats(0, 2), s=st.floats(0, 2))
def test_laws_form_a_semigroup(p, r, s):
    """Two steps of r and s are one step of r + s."""
    assert laws.strong_upper(laws.strong_upper(p, r), s) == pytest.approx(laws.strong_upper(p, r + s), abs=1e-9)
    assert laws.strong_lower(laws.strong_lower(p, r), s) == pytest.approx(
        laws.strong_lower(p, r + s), rel=1e-7, abs=1e-9
    )


@given(k=st.integers(1, 2**20 - 1), r=distances)
def test_upper_law_is_the_dual_of_the_lower(k, r):
    """u_r(p) = 1 - h_r(1 - p), where 1 - p is exact."""
    p = k / 2**20
    assert laws.strong_upper(p, r) == pytest.approx(1 - laws.strong_lower(1 - p, r), rel=1e-9, abs=1e-15)


@given(p=st.floats(1e-6, 1 - 1e-6), r=st.floats(0, 3))
def test_upper_law_inverts_the_lower(p, r):
    """The required base level is the inverse of the law, rounded up."""
    assert laws.strong_lower(laws.required_base_level(p, r), r) == pytest.approx(p, rel=1e-4)
    assert laws.required_base_level(p, r) >= laws.strong_upper(p, r)


@given(i=st.integers(0, 2**20), j=st.integers(0, 2**20), part=st.integers(0, 2**10), r=distances)
def test_lower_law_is_convex_in_p(i, j, part, r):
    """h_r(mixture) <= mixture of h_r: averaging items first never gives more than the layer cake."""
    p, q, share = i / 2**20, j / 2**20, part / 2**10  # their mixture is exact: near 1 the law magnifies rounding
    mixed = laws.strong_lower(share * p + (1 - share) * q, r)
    assert mixed <= share * laws.strong_lower(p, r) + (1 - share) * laws.strong_lower(q, r) + 1e-12


@given(p=st.floats(0, 1), r=distances)
@example(p=0.5, r=1e-9)
@example(p=0.3, r=1.0)
def test_weak_law_never_beats_the_strong(p, r):
    """The weak law is an assertion about the strong one, from both sides."""
    assert laws.weak_lower(p, r) <= laws.strong_lower(p, r) + 1e-15
    assert laws.weak_upper(p, r) >= laws.strong_upper(p, r) - 1e-15


@given(p=st.floats(0.001, 0.999), r=st.floats(0, 4))
def test_half_space_attains_the_law(p, r):
    """For the half-space of base level p the shifted level, integrated numerically, is the law itself."""
    x = np.linspace(-14.0, 14.0, 56_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    cumulative = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2) * (x[1] - x[0])))
    edge = np.interp(p, cumulative, x)  # {z <= edge} has level p at the base
    shifted = np.interp(edge - r, x, cumulative)  # and this level under N(r, 1)
    assert laws.strong_lower(p, r) == pytest.approx(shifted, abs=1e-6)


def _step_function(rng, cells):
    """A random step function of R^4 with values in [0, 1]: constant on the cells of some points."""
    centres, values = rng.normal(size=(cells, 4)) * 1.5, rng.random(cells) ** 2

    def f(z):
        nearest = np.argmin(((z[:, None, :] - centres) ** 2).sum(-1), axis=1)
        return values[nearest]

    return f


def _violations(law, functions, n=40_000):
    """How many of the functions contradict the law, each tested at level 1e-8.

    Base and shifted mean are averages of n independent terms in [0, 1]; by Hoeffding each is within
    sqrt(ln(2 / 1e-8) / (2 n)) of its expectation, up to probability 1e-8.
    """
    rng = np.random.default_rng(20_250_517)
    margin = math.sqrt(math.log(2e8) / (2 * n))
    found = 0
    for f, shift in functions:
        base = f(rng.normal(size=(n, 4))).mean()
        there = f(rng.normal(size=(n, 4)) + shift).mean()
        found += there + margin < law(max(0.0, base - margin), float(np.linalg.norm(shift)))
    return found


def test_random_step_functions_obey_the_law():
    """Thirty random step functions in four dimensions obey the law (false alarm below 1e-6 altogether)."""
    rng = np.random.default_rng(7)
    functions = [(_step_function(rng, 6), rng.normal(size=4) * rng.uniform(0.1, 0.8)) for _ in range(30)]
    assert _violations(laws.strong_lower, functions) == 0


def test_a_law_that_is_too_generous_is_rejected():
    """The same check rejects h at half the distance, on half-spaces that fall along the shift."""
    rng = np.random.default_rng(8)
    functions = []
    for _ in range(5):
        shift = rng.normal(size=4)
        functions.append((lambda z, shift=shift: (z @ shift <= 0.3).astype(float), shift))
    assert _violations(lambda p, r: laws.strong_lower(p, r / 2), functions) == 5
    assert _violations(laws.strong_lower, functions) == 0


# Reference: Phi(Phi^-1(tail) + r) in 60-digit arithmetic.
@pytest.mark.parametrize(
    ("tail", "r", "expected"),
    [
        (1e-300, 1.0, 7.657172064783087e-285),
        (1e-300, 3.0, 2.24047146488899e-254),
        (1e-100, 5.0, 7.615955141547018e-60),
        (1e-30, 0.25, 1.740007302654477e-29),
    ],
)
def test_tails_keep_their_digits_down_to_1e_300(tail, r, expected):
    """Tails far below the rounding of 1 - p are carried to twelve digits and more."""
    assert laws.strong_lower_tail(tail, r) == pytest.approx(expected, rel=1e-11)
    assert laws.strong_upper(tail, r) == laws.strong_lower_tail(tail, r)


@given(p=probabilities, floor=probabilities)
def test_radius_is_where_the_law_meets_the_floor(p, floor):
    """Within the radius the floor holds; R is negative exactly if the base itself falls short."""
    radius = laws.certified_radius(p, floor)
    if radius >= 0:
        assert laws.strong_lower(p, radius) >= floor * (1 - 1e-9)
        assert laws.strong_lower(p, radius + 0.01) < floor
    assert (radius < 0) or p >= floor


@pytest.mark.parametrize(
    ("p", "floor", "expected"),
    [(1.0, 0.5, math.inf), (0.0, 0.5, -math.inf), (0.5, 0.0, math.inf), (0.5, 1.0, -math.inf),
     (1.0, 1.0, math.inf), (0.0, 0.0, math.inf), (0.0, 1.0, -math.inf)],
)  # fmt: skip
def test_radius_has_a_named_value_at_every_end(p, floor, expected):
    """No end gives NaN."""
    assert laws.certified_radius(p, floor) == expected


def test_radius_of_a_level_at_its_own_floor_is_not_above_zero():
    """Cancellation never turns a bound equal to the floor into a radius."""
    p = np.linspace(0.01, 0.99, 99)
    assert np.all(laws.certified_radius(p, p) <= 0)


def test_required_base_level_has_named_ends():
    """Nothing is required for q = 0; nothing is enough at infinite distance."""
    assert laws.required_base_level(0.0, math.inf) == 0.0
    assert laws.required_base_level(1.0, 3.0) == 1.0
    assert laws.required_base_level(0.5, math.inf) == math.inf
    assert laws.required_base_level(0.5, 60.0) == 1.0


def test_numbers_give_floats_and_arrays_broadcast():
    """A number in, a float out; arrays broadcast like numpy's."""
    assert type(laws.strong_lower(0.9, 1)) is float
    assert laws.strong_lower(np.full((3, 1), 0.9), np.arange(4.0)).shape == (3, 4)
    assert laws.certified_radius([0.9, 0.8], 0.5).shape == (2,)


@pytest.mark.parametrize(
    "law", [laws.strong_lower, laws.strong_upper, laws.strong_lower_tail, laws.weak_lower, laws.weak_upper,
            laws.required_base_level],
)  # fmt: skip
@pytest.mark.parametrize(
    ("p", "r", "message"),
    [
        (1.5, 1.0, r"= 1.5: must lie in \[0, 1\]"),
        (math.nan, 1.0, r"= nan: must lie in \[0, 1\]"),
        (0.5, -1.0, "r = -1.0: must be at least 0"),
        (0.5, math.nan, "r = nan: must be at least 0"),
        ("often", 1.0, "'often': must be a number"),
    ],
)
def test_values_outside_the_range_are_refused_by_name(law, p, r, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        law(p, r)
