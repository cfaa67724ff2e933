"""The mean of fixed numbers, read one by one in a random order and without replacement, until it is decided.

Source: Waudby-Smith and Ramdas, arXiv 2006.04347 and 2010.09686 (sampling without replacement); Stark, SHANGRLA, and
Waudby-Smith, Stark and Ramdas, RiLACS (audits of elections); Ville's inequality. docs/theory.md, "Audits".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from certify.statistics import ranges
from certify.statistics.betting import LARGEST_BET

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

PRIOR = 20
"""Numbers that the first bets take as seen, with mean 0 and second moment tau; valid whatever it is, and quick so."""
GRID = 2.0**30
"""Numbers are rounded up to multiples of 1/GRID, so that every sum of up to 2^22 of them is exact."""
SLACK = 2.0**-49
"""Taken off tau: more than the rounding of N tau, of its difference from a sum and of a quotient comes to together."""


def running_evidence(x: ArrayLike, most: ArrayLike, tau: float, weights: ArrayLike | None = None) -> FloatArray:
    """Return ln E_1 .. ln E_n against "the mean of all N numbers is at least tau", rounded down; inf: it cannot be.

    With ``weights``, of shape (N,) in the order of reading, it is the weighted mean, and the order must be one in which
    each of the numbers left comes next with a probability in proportion to its weight.

    x: shape (n,), the numbers read so far, in the order of reading; most: shape (N,), the largest that each can be, in
    the same order, those not yet read included. All in [-1, 1].

    Guarantee: if the mean is at least tau, some E_t reaches 1/alpha with probability at most alpha over the order,
    uniform over all orders. The numbers are fixed and may depend on each other in any way.

    E_t = prod_(s <= t) [1 + lambda_s (mu_s - x_s)], mu_s the least that the conditional mean of the s-th can then be,
    lambda_s known before it is read and at most 0.9/(m_s - mu_s), m_s the largest number that may be left. Where what
    is left cannot hold what tau needs, the mean is below tau for certain.

    Raises:
        InvalidInput: a number outside [-1, 1], or above the largest that it can be.
    """
    seen, ends = (np.ceil(ranges.scores(*each, low=-1.0) * GRID) / GRID for each in (("x", x), ("most", most)))
    n, size = len(seen), len(ends)
    ranges.require(n <= size and bool((seen <= ends[:n]).all()), "x", n, "must not exceed the largest it can be")
    w = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    ranges.require(w.shape == (size,) and bool((w > 0.0).all()), "weights", weights, "must be positive, one for each")
    held, left, weight = _before(w[:n] * seen), _from(w * ends)[: n + 1], _from(w)[: n + 1]
    # Sums of weighted numbers are not exact: each is of at most N terms, and off by at most 2^-53 N times all weight.
    slack = SLACK if weights is None else SLACK + size * 2.0**-50
    needed = weight[0] * tau - held - weight[0] * slack  # of those not read yet, at least
    t = np.arange(n)
    mu = needed[:-1] / weight[:-1]
    room = np.maximum.accumulate(ends[::-1])[::-1][:n] - mu
    steps = np.log1p(_bets(seen, mu, room, tau) * (mu - seen))
    # Sum and terms: t additions of at most their absolute sum, and log1p of an argument with three roundings, >= -0.9.
    error = (t + 5) * 2.0**-52 * (np.cumsum(np.abs(steps)) + 32)
    return np.where(needed[1:] > left[1:], np.inf, np.cumsum(steps) - error)


def _bets(seen: FloatArray, mu: FloatArray, room: FloatArray, tau: float) -> FloatArray:
    """lambda_1 .. lambda_n: the approximate growth-optimal bet of the mean and variance before each number."""
    count = np.arange(len(seen)) + PRIOR
    mean = _before(seen)[:-1] / count
    edge = mu - mean
    spread = (_before(seen**2)[:-1] + PRIOR * abs(tau)) / count - mean**2 + edge**2
    open_to = (edge > 0.0) & (room > 0.0) & (spread > 0.0)
    largest = LARGEST_BET / np.where(open_to, room, 1.0)
    return np.where(open_to, np.minimum(edge / np.where(open_to, spread, 1.0), largest), 0.0)


def _before(values: FloatArray) -> FloatArray:
    """Sums of the first 0 .. n values."""
    return np.concatenate(([0.0], np.cumsum(values)))


def _from(values: FloatArray) -> FloatArray:
    """Sums of all values from the first on, from the second on, .. of none."""
    return np.concatenate((np.cumsum(values[::-1])[::-1], [0.0]))
