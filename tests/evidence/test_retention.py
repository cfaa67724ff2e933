"""Retention from paired items: exact coverage of the one implementation, by enumeration of all outcomes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln

from certify import statistics
from certify.evidence import Requirement
from certify.evidence.judgement import interval_in_unit
from certify.evidence.paired_items import PairedScores
from certify.evidence.point import PointEvidence
from certify.records import BenchmarkIdentity

M, CHANCE = 14, 0.25
CELLS = np.array([c for c in itertools.product(range(M + 1), repeat=3) if sum(c) <= M])  # lost, gained, both right
LEVELS = (0.0, 0.02, 0.1, 0.3, 0.6), (0.0, 0.02, 0.1, 0.3), (0.0, 0.3, 0.6, 0.95)
TRUTHS = [truth for truth in itertools.product(*LEVELS) if sum(truth) <= 1.0]
RETENTION = Requirement(unit="retention", limit=0.9)
BENCH = BenchmarkIdentity(name="graded", items=8, scoring="own", graded=True, chance=0.0, digest="sha256:" + "0" * 64,
                          tokens="sha256:" + "0" * 64)  # fmt: skip


def retention(lost, gained, both, m, chance, alpha):
    """What the judge computes from these counts: (lower, upper), or None."""
    wrong = m - lost - gained - both
    pairs = [(1.0, 0.0)] * lost + [(0.0, 1.0)] * gained + [(1.0, 1.0)] * both + [(0.0, 0.0)] * wrong
    base, checkpoint = zip(*pairs, strict=True)
    found = interval_in_unit(RETENTION, PairedScores(base=base, checkpoint=checkpoint), alpha, chance)
    return found and (found.lower, found.upper)


def probability(lost, gained, both):
    """Exact multinomial probability of each outcome."""
    p = np.array([lost, gained, both, max(0.0, 1 - lost - gained - both)])
    counts = np.column_stack([CELLS, M - CELLS.sum(1)])
    logs = np.where(counts == 0, 0.0, counts * np.log(np.maximum(p, 1e-300)))
    return np.exp(gammaln(M + 1) - gammaln(counts + 1).sum(1) + logs.sum(1))


def misses(function, alpha):
    """Worst probability over the truths that a retention bound is wrong, or given without a denominator."""
    answers = [function(int(a), int(b), int(c), M, CHANCE, alpha) for a, b, c in CELLS]
    given_ = np.array([answer is not None for answer in answers])
    lower = np.array([answer[0] if answer else -math.inf for answer in answers])
    upper = np.array([answer[1] if answer else math.inf for answer in answers])
    worst = [0.0, 0.0]
    for lost, gained, both in TRUTHS:
        p, base = probability(lost, gained, both), lost + both
        if base <= CHANCE:
            miss = [p @ given_] * 2
        else:
            truth = (base - lost + gained - CHANCE) / (base - CHANCE)
            miss = [p @ (lower > truth + 1e-9), p @ (upper < truth - 1e-9)]
        worst = [max(worst[0], miss[0]), max(worst[1], miss[1])]
    return worst


@pytest.mark.parametrize("alpha", [0.6, 0.3, 0.05])
def test_retention_bounds_miss_with_probability_at_most_alpha(alpha):
    """All outcomes of 14 items, truths with a base below chance included."""
    assert max(misses(retention, alpha)) <= alpha


def test_enumeration_rejects_a_base_taken_at_face_value():
    """Negative control: dividing by the observed base score misses too often."""

    def wrong(lost, gained, both, m, chance, alpha):
        base = (lost + both) / m - chance
        if base <= 0:
            return None
        drop = statistics.clopper_pearson_upper(lost, m, alpha) - gained / m
        return 1 - drop / base, math.inf

    assert misses(wrong, 0.05)[0] > 0.1


@given(st.data(), st.integers(1, 300), st.floats(0.001, 0.5), st.floats(0.0, 0.5))
def test_retention_bounds_surround_the_observed_retention(data, m, alpha, chance):
    """The observed ratio lies between the bounds, unless there is no denominator."""
    lost = data.draw(st.integers(0, m))
    gained = data.draw(st.integers(0, m - lost))
    both = data.draw(st.integers(0, m - lost - gained))
    found = retention(lost, gained, both, m, chance, alpha)
    if found is None:
        assert statistics.one_pass_lower(lost + both, m, alpha / 3) <= chance
        return
    observed = (both + gained - chance * m) / (lost + both - chance * m)
    assert found[0] <= observed + 1e-9
    assert found[1] >= observed - 1e-9
    assert found[0] <= 1.0


@pytest.mark.parametrize(("lost", "gained"), [(40, 3), (3, 40), (10, 9)])
def test_lost_gained_and_base_have_a_third_of_alpha_each(lost, gained):
    """The shares sum to alpha on either side, whichever end of the base's score is used."""
    m, both, third = 400, 250, 0.05 / 3
    drop_low = statistics.one_pass_lower(lost, m, third) - statistics.one_pass_upper(gained, m, third)
    drop_high = statistics.one_pass_upper(lost, m, third) - statistics.one_pass_lower(gained, m, third)
    low, high = statistics.one_pass_lower(lost + both, m, third), statistics.one_pass_upper(lost + both, m, third)
    lower = 1 - max(drop_high, 0) / (low - CHANCE)
    upper = 1 - drop_low / ((high if drop_low >= 0 else low) - CHANCE)
    assert retention(lost, gained, both, m, CHANCE, 0.05) == pytest.approx((lower, upper), abs=1e-9)


def test_an_unchanged_checkpoint_is_not_proved_to_retain_everything():
    """No item lost in 1000 still leaves room for a small drop."""
    lower, upper = retention(0, 0, 800, 1000, 0.25, 0.05)
    assert 0.98 < lower < 1.0 < upper < 1.02


def test_a_base_at_chance_has_no_retention():
    """Abstain, however well the checkpoint does."""
    assert retention(0, 60, 25, 100, 0.25, 0.05) is None


@pytest.mark.parametrize("items", ["population", "fixed"])
@pytest.mark.parametrize("unit", ["drop", "retention", "absence"])
def test_a_base_a_hair_above_chance_has_no_share_that_overflows(unit, items):
    """A graded base of 5e-324 above chance 0: quotients that overflow are no estimate and no bound, and no crash."""
    scores = PairedScores(graded=True, base=(5e-324,) * 8, checkpoint=(1.0,) * 8)
    evidence = PointEvidence(items=items, scores=scores)
    judged = evidence.judge(BENCH, Requirement(unit=unit, limit=0.5), 0.05)
    assert judged.quantities["retention"] is None
    assert all(x is None or math.isfinite(x) for x in (judged.value, judged.lower, judged.upper))
