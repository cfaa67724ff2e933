"""Gates that take one draw at a time."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify import statistics
from certify.errors import InvalidInput
from certify.statistics import Decision

PLAN = statistics.GatePlan(0.6, 0.8, 0.05, cap=12, alpha_refute=0.05)


def unstopped(plan, path):
    """Capital of the three e-processes after a path, stopping rules ignored: decisions set far away."""
    far = statistics.GatePlan(plan.p0, plan.p1, 1e-200, 10**6, 1e-200, 1e-200)
    gate = statistics.ScoreGate(far)
    for x in path:
        gate = gate.step(float(x))
    return gate


def test_state_is_that_of_the_formula():
    """Mean, variance and the three capitals after five scores, written out as theory does."""
    scores, plan = [0.9, 1.0, 0.3, 0.8, 1.0], statistics.GatePlan(0.6, 0.8, 1e-9, 100, 1e-9, 1e-9)
    gate, mean, variance, logs = statistics.ScoreGate(plan), 0.5, 0.25, [0.0, 0.0, 0.0]
    for n, x in enumerate(scores, 1):
        for i, (y, m, null) in enumerate([(x, mean, 0.6), (1 - x, 1 - mean, 0.2), (1 - x, 1 - mean, 0.4)]):
            ahead = m - null
            logs[i] += math.log1p(min(max(ahead / (variance + ahead**2), 0.0), 0.9 / null) * (y - null))
        mean = (0.5 + sum(scores[:n])) / (n + 1)
        variance = (variance * n + (x - mean) ** 2) / (n + 1)
        gate = gate.step(x)
    assert (gate.drawn, gate.mean, gate.variance) == (5, pytest.approx(mean), pytest.approx(variance))
    assert [gate.log_capital, gate.log_futility, gate.log_refutation] == pytest.approx(logs)


@pytest.mark.parametrize("p0", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [1, 4, 10])
def test_capital_has_mean_at_most_one_for_every_mean_up_to_p0(p0, n):
    """E E_n <= 1, by enumeration of all 0/1 paths, for p at and below p0; exactly 1 at p0."""
    plan = statistics.GatePlan(p0, p0 + 0.04, 0.05, n)
    paths = np.array(list(itertools.product((0, 1), repeat=n)))
    capital = np.exp([unstopped(plan, path).log_capital for path in paths])
    for p in np.linspace(0.05, p0, 5):
        weight = p ** paths.sum(1) * (1 - p) ** (n - paths.sum(1))
        assert weight @ capital <= 1 + 1e-12
    assert weight @ capital == pytest.approx(1.0)


@pytest.mark.parametrize("n", [5])
def test_capital_has_mean_at_most_one_for_three_valued_scores(n):
    """The same with scores in {0, .6, 1} and several laws of one mean."""
    values, plan = np.array([0.0, 0.6, 1.0]), statistics.GatePlan(0.7, 0.8, 0.05, n)
    paths = np.array(list(itertools.product(range(3), repeat=n)))
    capital = np.exp([unstopped(plan, values[path]).log_capital for path in paths])
    for middle in (0.0, 0.3, 0.7):
        p = np.array([0.0, middle, 0.7 - 0.6 * middle])
        p[0] = 1 - p.sum()
        assert p @ values == pytest.approx(0.7)
        assert p[paths].prod(1) @ capital == pytest.approx(1.0)


def test_refuting_capital_has_mean_at_most_one_for_every_mean_from_p0():
    """The reflected process, for p at and above p0; the futility process for p at and above p1."""
    plan = statistics.GatePlan(0.6, 0.8, 0.05, 10)
    paths = np.array(list(itertools.product((0, 1), repeat=8)))
    gates_ = [unstopped(plan, path) for path in paths]
    refuting = np.exp([gate.log_refutation for gate in gates_])
    futile = np.exp([gate.log_futility for gate in gates_])
    for p in (0.6, 0.75, 0.9):
        weight = p ** paths.sum(1) * (1 - p) ** (8 - paths.sum(1))
        assert weight @ refuting <= 1 + 1e-12
    for p in (0.8, 0.9):
        weight = p ** paths.sum(1) * (1 - p) ** (8 - paths.sum(1))
        assert weight @ futile <= 1 + 1e-12


def test_enumeration_rejects_bets_that_see_their_own_score():
    """A process that updates its mean before betting has expected capital above 1."""

    def peeking(path, p0):
        total, log_capital = 0.5, 0.0
        for i, x in enumerate(path, start=1):
            total += x
            ahead = total / (i + 1) - p0  # includes x
            bet = min(max(ahead / (0.25 + ahead**2), 0.0), 0.9 / p0)
            log_capital += math.log1p(bet * (x - p0))
        return math.exp(log_capital)

    paths = np.array(list(itertools.product((0, 1), repeat=8)))
    weight = 0.6 ** paths.sum(1) * 0.4 ** (8 - paths.sum(1))
    assert weight @ [peeking(path, 0.6) for path in paths] > 1.2


def pass_probability(gate, values, p, n):
    """Exact probability that a gate ever passes, over iid draws from values with probabilities p."""
    if gate.decision is not Decision.CONTINUE:
        return float(gate.decision is Decision.PASSED)
    if n == 0:
        return 0.0
    return sum(w * pass_probability(gate.step(v), values, p, n - 1) for v, w in zip(values, p, strict=True) if w)


@pytest.mark.parametrize("gate", [statistics.BernoulliGate, statistics.ScoreGate])
def test_gate_passes_with_probability_at_most_alpha_under_the_null(gate):
    """All paths of twelve 0/1 draws at p = p0, alpha = .2."""
    plan = statistics.GatePlan(0.6, 0.8, 0.2, cap=12)
    assert 0 < pass_probability(gate(plan), (0, 1), (0.4, 0.6), 12) <= 0.2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.05, 0.9))
@settings(max_examples=60)
def test_capital_follows_the_formula(x, p0):
    """Against a direct transcription with cumulative sums."""
    x = np.array(x)
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    mean, variance = np.append(0.5, mean[:-1]), np.append(0.25, variance[:-1])
    ahead = mean - p0
    bets = np.clip(ahead / (variance + ahead**2), 0, 0.9 / p0)
    gate = unstopped(statistics.GatePlan(p0, 0.5 + p0 / 2, 0.05, 100), x)
    assert gate.log_capital == pytest.approx(np.log1p(bets * (x - p0)).sum(), abs=1e-9)
    assert gate.drawn == len(x)


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_step_leaves_the_gate_before_it_unchanged(path):
    """Gates are values: the earlier one can be stepped again, with the same result."""
    gate = statistics.BernoulliGate(PLAN)
    for x in path:
        if gate.decision is not Decision.CONTINUE:
            break
        after = gate.step(x)
        assert gate.step(x) == after
        assert after.drawn == gate.drawn + 1
        gate = after


@pytest.mark.parametrize("start", [statistics.BernoulliGate(PLAN), statistics.ScoreGate(PLAN)])
def test_gate_that_has_ended_takes_no_more_draws(start):
    """Going on after the verdict would be a second test on the same draws."""
    gate = start
    while gate.decision is Decision.CONTINUE:
        gate = gate.step(0)
    with pytest.raises(InvalidInput, match=r"drawn = \d+: the gate has ended \(refuted\)"):
        gate.step(1)


def test_gate_reaches_its_cap_as_undecided():
    """Alternating draws near p0 decide nothing."""
    gate = statistics.ScoreGate(statistics.GatePlan(0.5, 0.6, 0.01, cap=6, beta=0.01))
    for x in (1, 0, 1, 0, 1, 0):
        gate = gate.step(x)
    assert gate.decision is Decision.CAPPED


def test_futility_ends_as_undecided():
    """Draws far below p1 end the gate early, without a refutation."""
    gate = statistics.ScoreGate(statistics.GatePlan(0.8, 0.9, 0.01, cap=1000))
    while gate.decision is Decision.CONTINUE:
        gate = gate.step(0.5)
    assert gate.decision is Decision.FUTILE
    assert gate.drawn < 50


def test_p_value_is_the_inverse_of_the_peak():
    """1 before any evidence, and at most alpha once the gate has passed."""
    gate = statistics.ScoreGate(statistics.GatePlan(0.5, 0.9, 0.01, cap=100))
    assert gate.p_value == 1.0
    while gate.decision is Decision.CONTINUE:
        gate = gate.step(0.95)
    assert gate.decision is Decision.PASSED
    assert gate.p_value <= 0.01


@pytest.mark.parametrize(
    ("gate", "draw", "message"),
    [
        (statistics.BernoulliGate(PLAN), 0.5, "success = 0.5: must be 0 or 1"),
        (statistics.BernoulliGate(PLAN), math.nan, "success = nan"),
        (statistics.ScoreGate(PLAN), 1.5, r"score = 1.5: must lie in \[0, 1\]"),
        (statistics.ScoreGate(PLAN), math.nan, "score = nan"),
    ],
)
def test_impossible_draws_are_refused_by_name(gate, draw, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        gate.step(draw)
