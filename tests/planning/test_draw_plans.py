"""Draws that choose and draws that prove are kept apart."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify import planning
from certify.errors import InvalidInput

PILOT = planning.Draws("pilot/math", (0.9, 0.8, 0.7))


@given(st.floats(1e-9, 0.5), st.integers(1, 60))
def test_attempts_share_one_alpha(alpha, attempts):
    """alpha/2 + alpha/4 + ... never reaches alpha."""
    shares = [planning.attempt_alpha(alpha, j) for j in range(1, attempts + 1)]
    assert shares[0] == alpha / 2
    assert math.fsum(shares) <= alpha
    assert shares == sorted(shares, reverse=True)


def test_plan_refuses_the_draws_that_chose_it():
    """Pilot draws are no evidence, whatever the plan."""
    plan = planning.freeze(PILOT, "math", 3, 0.05)
    assert plan.pilot == "pilot/math"
    with pytest.raises(InvalidInput, match="stream = 'pilot/math': pilot draws chose the settings"):
        plan.evidence(PILOT)
    with pytest.raises(InvalidInput, match="pilot draws"):
        plan.evidence(planning.Draws("pilot/other", (0.9, 0.8, 0.7)))


def test_plan_accepts_its_own_stream_once_complete():
    """Exactly n scores of exactly its stream."""
    plan = planning.freeze(PILOT, "math", 3, 0.05)
    assert plan.stream == "certify/math/1"
    assert plan.evidence(planning.Draws("certify/math/1", (1.0, 0.5, 0.0))) == (1.0, 0.5, 0.0)
    with pytest.raises(InvalidInput, match="number of scores = 2: must be n = 3"):
        plan.evidence(planning.Draws("certify/math/1", (1.0, 0.5)))


def test_each_statement_and_attempt_has_draws_of_its_own():
    """Draws of another plan or an earlier attempt are refused by name."""
    again = planning.DrawPlan("math", 1, 0.05, attempt=2)
    for stream in ("certify/math/1", "certify/code/2"):
        with pytest.raises(InvalidInput, match=f"stream = '{stream}': must be 'certify/math/2'"):
            again.evidence(planning.Draws(stream, (1.0,)))


def test_freezing_on_certifying_draws_is_refused():
    """Settings chosen on certifying draws would use them twice."""
    with pytest.raises(InvalidInput, match="pilot = 'certify/math/1': must begin with 'pilot/'"):
        planning.freeze(planning.Draws("certify/math/1", (1.0,)), "math", 3, 0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planning.Draws("draws/math", (1.0,)), "stream = 'draws/math': must begin with"),
        (lambda: planning.Draws("pilot/math", (1.5,)), "scores = 1.5"),
        (lambda: planning.Draws("pilot/math", ()), "shape of scores"),
        (lambda: planning.DrawPlan("", 10, 0.05), "name = ''"),
        (lambda: planning.DrawPlan("math", 0, 0.05), "n = 0"),
        (lambda: planning.DrawPlan("math", 10, 1.5), "alpha = 1.5"),
        (lambda: planning.DrawPlan("math", 10, 0.05, attempt=0), "attempt = 0"),
        (lambda: planning.attempt_alpha(0.05, 0), "attempt = 0: must be a whole number"),
    ],
)
def test_impossible_plans_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
