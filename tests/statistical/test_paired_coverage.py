"""Coverage of the exact paired bound by full enumeration, at more pairs than the quick tests take."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln, xlogy

from certify.statistics import trinomial_drop_bounds

pytestmark = pytest.mark.statistical
ALPHA = 0.05


def worst_miss(m: int, upper: object) -> float:
    """The largest probability of a bound below the truth: all outcomes, drops just above each bound, 35 q at each."""
    lost, gained = np.array([(a, b) for a in range(m + 1) for b in range(m + 1 - a)]).T
    ways = gammaln(m + 1) - gammaln(lost + 1) - gammaln(gained + 1) - gammaln(m - lost - gained + 1)
    bounds = np.array([upper(int(a), int(b)) for a, b in zip(lost, gained, strict=True)])  # type: ignore[operator]
    worst = 0.0
    for drop in np.unique(bounds[bounds < 1]) + 1e-9:
        low, high = max(0.0, -drop), (1.0 - drop) / 2
        q = np.concatenate([np.linspace(low, high, 25), low + np.geomspace(1e-4, 0.5, 10) * (high - low)])[:, None]
        same = np.maximum(1 - drop - 2 * q, 0.0)
        law = np.exp(ways + xlogy(lost, np.maximum(q + drop, 0)) + xlogy(gained, q) + xlogy(m - lost - gained, same))
        worst = max(worst, float(np.max(law @ (bounds < drop))))
    return worst


@pytest.mark.parametrize("m", [40, 60])
def test_the_exact_bound_is_wrong_with_probability_at_most_alpha(m: int) -> None:
    """Exact probabilities, so no false-alarm budget; and nearly all of alpha is used."""
    assert 0.98 * ALPHA < worst_miss(m, lambda a, b: trinomial_drop_bounds(a, b, m, ALPHA).upper) <= ALPHA


def test_a_twentieth_more_alpha_is_noticed() -> None:
    """Bounds at 0.0525 fail the test at 0.05."""
    assert worst_miss(40, lambda a, b: trinomial_drop_bounds(a, b, 40, 1.05 * ALPHA).upper) > ALPHA
