"""Gates at fixed sizes, and families of gates."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from certify import statistics
from certify.errors import InvalidInput
from certify.statistics import Decision


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 1), (6, 4), (8, 8), (10, 7)])
def test_curtailed_verdict_is_the_fixed_verdict_on_every_path(n, k):
    """Once decided, the verdict never changes and equals that of all n draws."""
    for path in itertools.product((0, 1), repeat=n):
        verdicts = [statistics.curtailed(sum(path[:i]), i, n, k) for i in range(n + 1)]
        final = Decision.PASSED if sum(path) >= k else Decision.FUTILE
        assert verdicts[-1] is final
        decided = [verdict for verdict in verdicts if verdict is not Decision.CONTINUE]
        assert set(decided) == {final}


def test_curtailment_stops_as_soon_as_possible():
    """CONTINUE means that both verdicts can still happen."""
    for drawn, hits in itertools.product(range(11), repeat=2):
        if hits <= drawn:
            left = 10 - drawn
            open_ = hits < 7 <= hits + left
            assert (statistics.curtailed(hits, drawn, 10, 7) is Decision.CONTINUE) == open_


@given(st.integers(16, 10**6), st.floats(1e-6, 0.5))
def test_looks_share_alpha_and_end_at_n(n, alpha):
    """Shares add up to alpha; looks increase."""
    looks = statistics.layer_cake_looks(n, alpha)
    assert math.fsum(share for _, share in looks) == pytest.approx(alpha, rel=1e-12)
    sizes = [size for size, _ in looks]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == n
    assert sizes[0] == n // 16


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 0.5))
@settings(max_examples=15)  # statsmodels takes 70 ms a call
def test_holm_agrees_with_statsmodels(p_values, alpha):
    """The same rejections, away from rounding at the boundary."""
    ordered = np.sort(p_values)
    if np.any(np.abs(ordered * np.arange(len(ordered), 0, -1) - alpha) < 1e-12):
        return
    assert list(statistics.holm(p_values, alpha)) == multipletests(p_values, alpha, method="holm")[0].tolist()


def test_holm_rejects_at_least_what_bonferroni_rejects():
    """And keeps the order of the input."""
    assert statistics.holm([0.04, 0.001, 0.02], 0.05) == (True, True, True)
    assert statistics.holm([0.04, 0.001, 0.03], 0.05) == (False, True, False)
    assert statistics.holm([], 0.05) == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.curtailed(5, 4, 10, 7), "need successes <= drawn <= 10"),
        (lambda: statistics.curtailed(5, 11, 10, 7), r"\(5, 11\): need successes"),
        (lambda: statistics.curtailed(0, 0, 10, 11), "k = 11: must be at most n = 10"),
        (lambda: statistics.layer_cake_looks(15, 0.05), "n = 15: must be a whole number of at least 16"),
        (lambda: statistics.holm([0.5, math.nan], 0.05), "p_values = nan"),
        (lambda: statistics.holm([0.5], 0.0), "alpha = 0.0"),
    ],
)
def test_impossible_inputs_are_refused_by_name(call, message):
    """The message has the argument, its value and the rule."""
    with pytest.raises(InvalidInput, match=message):
        call()
