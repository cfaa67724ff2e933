"""Plans of sequential gates: boundaries, exact error and power."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify import statistics
from certify.errors import InvalidInput
from certify.statistics import clopper_pearson_lower

pairs = st.tuples(st.floats(0.02, 0.97), st.floats(0.005, 0.5)).map(lambda t: (t[0], t[0] + t[1] * (0.99 - t[0])))


def likelihood_ratio(n, successes, p0, p1):
    """ln of the likelihood ratio after n draws."""
    return successes * math.log(p1 / p0) + (n - successes) * math.log((1 - p1) / (1 - p0))


@given(pairs, st.integers(1, 500), st.floats(1e-4, 0.3), st.floats(0.01, 0.5))
def test_boundaries_are_where_the_likelihood_ratio_crosses(levels, n, alpha, beta):
    """Passing needs ln(1/alpha), futility ln(beta), each to the draw."""
    p0, p1 = levels
    least, most = statistics.sprt_boundaries(n, p0, p1, alpha, beta)
    assert likelihood_ratio(n, least, p0, p1) >= math.log(1 / alpha)
    assert likelihood_ratio(n, least - 1, p0, p1) <= math.log(1 / alpha) + 1e-6
    assert likelihood_ratio(n, most, p0, p1) <= math.log(beta) + 1e-9
    assert likelihood_ratio(n, most + 1, p0, p1) > math.log(beta) - 1e-9
    assert most < least


@pytest.mark.parametrize(
    ("p0", "p1", "alpha", "beta", "cap"),
    [
        (0.8, 0.85, 0.01, 0.1, 1146),
        (0.8, 0.85, 0.05, 0.1, 600),
        (0.95, 0.98, 0.01, 0.1, 800),
        (0.5, 0.7, 0.2, 0.2, 200),
    ],
)
def test_type_one_error_is_at_most_alpha_for_every_level_up_to_p0(p0, p1, alpha, beta, cap):
    """By dynamic programming over all paths; increasing in p, so p0 is the worst."""
    plan = statistics.GatePlan(p0, p1, alpha, cap, beta)
    errors = [plan.outcome(p).passed for p in np.linspace(0, p0, 9)]
    assert plan.type_one_error == pytest.approx(errors[-1])
    assert max(errors) <= alpha
    assert errors == sorted(errors)


def test_the_published_example_has_its_level_power_and_speed():
    """At (.80, .85), alpha .01, cap 1.5 n_fix: level .0086, power .88, a third of n_fix draws at p0."""
    plan = statistics.GatePlan(0.8, 0.85, 0.01, 1146, 0.1)
    assert plan.type_one_error == pytest.approx(0.0086, abs=2e-4)
    assert plan.power == pytest.approx(0.88, abs=0.01)
    draws = [plan.outcome(p).expected_draws / 764 for p in (0.75, 0.80, 0.85, 0.90)]
    assert draws == pytest.approx([0.12, 0.34, 0.62, 0.24], abs=0.015)


def test_dynamic_programme_rejects_a_boundary_for_twice_alpha():
    """A plan that passes at 2 alpha has an exact error above alpha."""
    assert statistics.GatePlan(0.8, 0.85, 0.02, 1146, 0.1).type_one_error > 0.01 * 1.3


def peeking_error(p, alpha, n):
    """Exact probability that a Clopper-Pearson bound, looked at after every draw, ever exceeds p."""
    alive, wrong = np.array([1.0]), 0.0
    for size in range(1, n + 1):
        alive = np.convolve(alive, [1 - p, p])
        above = np.asarray(clopper_pearson_lower(np.arange(size + 1), size, alpha)) > p
        wrong, alive = wrong + alive[above].sum(), np.where(above, 0.0, alive)
    return wrong


def test_dynamic_programme_rejects_peeking():
    """A fixed-size bound looked at after every draw: .01 becomes .09 at p = .8."""
    assert peeking_error(0.8, 0.01, 1000) == pytest.approx(0.090, abs=0.002)


@given(pairs, st.floats(0.01, 0.3), st.integers(1, 10), st.booleans())
@settings(max_examples=40)
def test_outcome_equals_the_sum_over_all_paths(levels, alpha, cap, refutes):
    """The dynamic programme agrees with stepping through every sequence of draws."""
    p0, p1 = levels
    plan = statistics.GatePlan(p0, p1, alpha, cap, 0.3, alpha if refutes else None)
    passed = refuted = drawn = 0.0
    p = 0.7 * p0 + 0.2
    for path in itertools.product((0, 1), repeat=cap):
        gate = statistics.BernoulliGate(plan)
        for x in path:
            gate = gate.step(x)
            if gate.decision is not statistics.Decision.CONTINUE:
                break
        weight = p ** sum(path) * (1 - p) ** (cap - sum(path))
        passed += weight * (gate.decision is statistics.Decision.PASSED)
        refuted += weight * (gate.decision is statistics.Decision.REFUTED)
        drawn += weight * gate.drawn
    assert plan.outcome(p) == pytest.approx((passed, refuted, drawn), abs=1e-12)


def test_refutation_has_its_own_level():
    """From p0 upwards it refutes with probability at most alpha_refute; far below it does refute."""
    plan = statistics.GatePlan(0.8, 0.9, 0.05, 400, alpha_refute=0.02)
    assert max(plan.outcome(p).refuted for p in (0.8, 0.85, 0.9)) <= 0.02
    assert plan.outcome(0.6).refuted > 0.95
    assert statistics.GatePlan(0.8, 0.9, 0.05, 400).outcome(0.6).refuted == 0.0


def test_a_plan_that_refutes_does_not_stop_for_futility():
    """Futility would come first nearly always, and end as undecided what can be refuted."""
    plan = statistics.GatePlan(0.8, 0.9, 0.05, 400, alpha_refute=0.02)
    assert plan.futile_at_most(100) == -1
    assert statistics.GatePlan(0.8, 0.9, 0.05, 400).futile_at_most(100) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p0": 0.0}, "p0 = 0.0: must lie strictly between"),
        ({"p1": 0.8}, r"p1 = 0.8: must be above p0 = 0\.8"),
        ({"p1": 1.0}, "p1 = 1.0"),
        ({"alpha": 0.0}, "alpha = 0.0"),
        ({"beta": 1.0}, "beta = 1.0"),
        ({"cap": 0}, "cap = 0"),
        ({"alpha_refute": math.nan}, "alpha_refute = nan"),
    ],
)
def test_impossible_plans_are_refused_by_name(change, message):
    """The message has the argument, its value and the rule."""
    fields = {"p0": 0.8, "p1": 0.85, "alpha": 0.01, "cap": 100} | change
    with pytest.raises(InvalidInput, match=message):
        statistics.GatePlan(**fields)
