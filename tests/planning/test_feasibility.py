"""Whether any outcome of the draws could meet a requirement."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify import statistics
from certify.errors import InvalidInput, InvalidPlan
from certify.statistics import Design, laws


@pytest.mark.parametrize("design", list(Design))
@given(n=st.integers(1, 200), need=st.floats(0.05, 0.9), r=st.floats(0, 1))
@settings(max_examples=15)
def test_the_draws_it_names_would_do(design, n, need, r):
    """With draws_needed perfect draws the requirement is met; with n it is met exactly if feasible."""
    answer = statistics.feasible(design, n, 0.05, need, r)
    assert answer.ceiling == statistics.best_bound(design, n, 0.05, r)
    assert answer.feasible == (answer.ceiling >= need)
    if answer.draws_needed is not None:
        assert statistics.best_bound(design, answer.draws_needed, 0.05, r) >= need
        assert answer.feasible == (answer.draws_needed == n)


def test_ceilings_are_the_estimators_on_perfect_data():
    """Each design runs its own estimator on ones."""
    n, alpha, r = 50, 0.05, 0.7
    base = statistics.clopper_pearson_lower(n, n, alpha)
    assert statistics.best_bound("pair", n, alpha, r) == pytest.approx(laws.strong_lower(base, r))
    assert statistics.best_bound("event", n, alpha, r) == statistics.best_bound("pair", n, alpha, r)
    assert statistics.best_bound("one-pass", n, alpha, r) == statistics.best_bound("pair", n, alpha, r)
    assert statistics.best_bound("table", n, alpha, r) == statistics.score_band(np.ones(n), alpha).mean_lower(r)
    betting = statistics.betting_lower(np.ones(n), alpha)
    assert statistics.best_bound("table-mean", n, alpha, r) == pytest.approx(laws.strong_lower(betting, r))


@pytest.mark.parametrize("design", list(Design))
def test_no_outcome_beats_the_ceiling(design):
    """Any data gives at most what perfect data gives."""
    x = np.random.default_rng(5).random(40) > 0.02
    ceiling = statistics.best_bound(design, 40, 0.05, 0.5)
    assert statistics.score_band(x, 0.05).mean_lower(0.5) <= statistics.best_bound("table", 40, 0.05, 0.5)
    base = statistics.clopper_pearson_lower(int(x.sum()), 40, 0.05)
    assert design in {Design.TABLE, Design.TABLE_MEAN} or laws.strong_lower(base, 0.5) <= ceiling


def test_eta_lowers_the_ceiling():
    """Imperfect noise is part of the plan."""
    for design in Design:
        assert statistics.best_bound(design, 50, 0.05, 0.5, eta=0.1) < statistics.best_bound(design, 50, 0.05, 0.5)


def test_infeasible_plan_is_refused_with_the_number_that_would_do():
    """The message names n, what it can reach, what is required, and the cure."""
    with pytest.raises(
        InvalidPlan, match=r"n = 100: even perfect draws give 0\.38.* but 0\.5 is required; n = 201 would do"
    ):
        statistics.require_feasible("pair", 100, 0.01, 0.5, 2.0)
    with pytest.raises(InvalidPlan, match="no n up to 1,000,000 does"):
        statistics.require_feasible("pair", 100, 0.01, 0.5, math.inf)
    statistics.require_feasible("pair", 201, 0.01, 0.5, 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.best_bound("pairs", 10, 0.05), "design = 'pairs': must be one of"),
        (lambda: statistics.best_bound("one-pass", 10, 0.3), "alpha = 0.3: must be at most 0.25"),
        (lambda: statistics.best_bound("table", 0, 0.05), "n = 0"),
        (lambda: statistics.feasible("pair", 10, 0.05, 1.0), "need = 1.0"),
        (lambda: statistics.best_bound("pair", 10, 0.05, eta=-1), "eta = -1"),
    ],
)
def test_impossible_requests_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule; no unknown design falls into another."""
    with pytest.raises(InvalidInput, match=message):
        call()
