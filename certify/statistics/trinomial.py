"""The exact bound for a drop in paired 0/1 scores: one bound for the difference, instead of one for each of its parts.

Lost and gained items of m independent pairs are trinomial (p lost, q gained), and the drop is D = p - q. Outcomes are
ordered beforehand by T = lost - gained + z sqrt(lost + gained + c), an approximate upper limit. The bound is the
largest D at which an outcome that is ordered no higher than the observed one still has probability above alpha for
some q (Buehler 1957; Lloyd and Moldovan 2007 for matched pairs), q within an interval that is paid for (Berger and Boos
1994). The supremum over q is bounded between the points at which it is computed, not read off a grid.

Source, with proofs: docs/theory.md, "Paired items, exactly".
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincc, gammaln, ndtri

from certify.errors import InvalidPlan
from certify.statistics import ranges
from certify.statistics.binomial import Interval, clopper_pearson_lower, clopper_pearson_upper
from certify.statistics.sizes import PowerPlan, critical_counts, draws_for_power

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

_ADDED = 2.35  # to lost + gained, in the standard error that sets steps
_SHARE_FOR_Q = 1e-4  # of alpha: what the interval of q may fail with
_CUT = 1e-10  # of alpha: probability of numbers of gained items that are left out of a sum, and added to it
_NUMERICAL = 1e-8  # relative error granted to a sum, 1,000 times the largest found (benchmarks/paired.py)
_MOST_POINTS = 20_000  # of q at one D: beyond, the D counts as not excluded, which errs on the safe side


def trinomial_drop_bounds(lost: int, gained: int, m: int, alpha: float) -> Interval:
    """Return (lower, upper) for the drop, base mean minus checkpoint mean, each one-sided at alpha.

    Guarantee: with probability at least 1 - alpha over m independent pairs of one law (an independent sample of
    items), drop <= upper; and with probability at least 1 - alpha, drop >= lower. (Both together: 1 - 2 alpha.)

    For pairs of unequal laws (a stratified sample, draws on fixed items) there is `drop_bounds`. Score units, in
    [-1, 1], multiples of a power of two. Raises InvalidInput unless counts are whole, lost + gained <= m,
    0 < alpha <= 1/2.
    """
    level = ranges.failure_probability("alpha", alpha, 0.5)
    items = ranges.count("m", m)
    worse, better = ranges.count("lost", lost, smallest=0), ranges.count("gained", gained, smallest=0)
    ranges.require(worse + better <= items, "lost + gained", worse + better, f"must be at most m = {m}")
    return Interval(0.0 - _upper(better, worse, items, level), _upper(worse, better, items, level))


def pairs_for_power(drop: ArrayLike, lost: float, alpha: float, power: float = 0.9, limit: int = 20_000) -> PowerPlan:
    """Return the numbers of pairs at which the upper bound is at most `drop` with the wanted power.

    Each pair is lost with probability `lost`, independently, and none is gained: the upper bound is then that of the
    lost items alone, an exact binomial test (for drops up to 1/2 the supremum lies at q = 0: found wherever it was
    tried, not proved; for larger ones the numbers may be a little too small). n_first, n_hold, errors, and `drop` as a
    number or an array as in `draws_for_power`; k counts items that are not lost. InvalidPlan as well if `lost` is less
    than a rounding step below the drop.
    """
    n = np.arange(1.0, ranges.count("limit", limit, smallest=2))
    level = ranges.failure_probability("alpha", alpha, 0.5) * (1.0 - _SHARE_FOR_Q) * (1.0 - _CUT) / (1.0 + _NUMERICAL)
    allowed = np.broadcast_to(ranges.units("drop", drop), n.shape)
    most = n - critical_counts(n, 1.0 - allowed, level)
    step = _step(np.maximum(most, 0.0), n)
    within = np.floor(allowed / step) * step
    if lost >= within[-1]:
        raise InvalidPlan(f"lost = {lost!r}: power {power} needs more than {limit} pairs")
    return draws_for_power(1.0 - within, 1.0 - ranges.unit("lost", lost), level, power, limit)


@functools.lru_cache(maxsize=4096)
def _upper(lost: int, gained: int, m: int, alpha: float) -> float:
    """The smallest multiple of a step from which on every drop is excluded."""
    outcomes = _Outcomes(lost, gained, m, alpha)
    error, step = float(_error(lost + gained, m)), float(_step(lost + gained, m))
    top = math.floor(1.0 / step)

    def excluded(steps: int) -> bool:
        return outcomes.excluded(steps * step)

    near = outcomes.near((lost - gained) / m - float(ndtri(alpha)) * error, error)
    enough, stride = min(math.ceil(near / step), top), 1
    while not excluded(enough):
        if enough == top:
            return 1.0
        enough, stride = min(enough + stride, top), 2 * stride
    short, stride = enough - 1, 1
    while excluded(short):
        short, stride = short - stride, 2 * stride
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if excluded(middle) else (middle, enough)
    return enough * step


def _error(moved: ArrayLike, m: ArrayLike) -> FloatArray:
    """A standard error of the drop where so many items of m are lost or gained."""
    return np.asarray(np.sqrt(np.asarray(moved) + _ADDED) / m, dtype=np.float64)


def _step(moved: ArrayLike, m: ArrayLike) -> FloatArray:
    """What bounds are multiples of: a power of two, 1/2048 to 1/4096 of a standard error."""
    return np.asarray(np.exp2(np.floor(np.log2(_error(moved, m)))) / 2048, dtype=np.float64)


class _Outcomes:
    """The outcomes that are ordered no higher than (lost, gained): beside g gained items, up to some number of lost."""

    def __init__(self, lost: int, gained: int, m: int, alpha: float) -> None:
        self.m, self.alpha = m, alpha * (1.0 - _SHARE_FOR_Q)
        share = alpha * _SHARE_FOR_Q / 2
        self.q = clopper_pearson_lower(gained, m, share), clopper_pearson_upper(gained, m, share)
        # The order's z is that of alpha, so that outcomes without gains keep their place; half an item and z^2/4 are
        # added to either count, as in an adjusted Wald interval.
        self.z = -float(ndtri(alpha))
        self.c = 1.0 + self.z**2 / 2
        self.limit = lost - gained + self.z * math.sqrt(lost + gained + self.c)

    def near(self, drop: float, error: float) -> float:
        """Return a drop near which they have probability alpha at the likeliest of a few q: a place to begin."""
        last, before = drop, drop + error / 8
        height = self._excess(before)
        for _ in range(8):
            here = self._excess(last)
            if abs(here) < 1e-4 or here == height:
                break
            before, height, last = last, here, last - here * (last - before) / (here - height)
            last = min(max(last, before - 2 * error, -1.0), before + 2 * error, 1.0)
        return last

    def _excess(self, drop: float) -> float:
        q = self._grid(drop)
        return float(np.log(np.max(self._probability(drop, q)) / self.alpha)) if q.size else -1.0

    def _grid(self, drop: float) -> FloatArray:
        """Return a few q from one end of its interval, as far as this drop allows it, to the other; or none."""
        low, high = self.q
        high = min(high, (1.0 - drop) / 2)
        low = max(low, min(-drop, high))
        if low > high:
            return np.empty(0)
        return np.clip(np.linspace(math.sqrt(low), math.sqrt(high), 17) ** 2, low, high)

    def excluded(self, drop: float) -> bool:
        """Whether every law with this drop or a larger one, and q in its interval, gives them at most alpha, proved."""
        q = self._grid(drop)
        p = self._probability(drop, q) if q.size else q
        while np.all(p <= self.alpha):
            room, bulge = self.alpha - np.maximum(p[:-1], p[1:]), self._bulge(drop, q)
            short = np.flatnonzero(bulge > room)
            if not short.size:
                return True
            parts = np.ceil(np.sqrt(bulge[short] / np.maximum(room[short], bulge[short] / 32**2))).astype(int)
            if q.size + np.sum(parts) > _MOST_POINTS:
                return False
            cuts = zip(q[short], q[short + 1], parts, strict=True)
            new = np.concatenate([np.linspace(a, b, k + 1)[1:-1] for a, b, k in cuts])
            q, p = np.append(q, new), np.append(p, self._probability(drop, new))
            order = np.argsort(q)
            q, p = q[order], p[order]
        return False

    def _bulge(self, drop: float, q: FloatArray) -> FloatArray:
        """Return how far the probability may rise between each q and the next, above the larger of the two."""
        pairs = self.m * (self.m - 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_one = 1.0 / np.maximum(q + drop, 0.0) + 1.0 / q + 4.0 / np.maximum(1.0 - drop - 2 * q, 0.0)
            smooth = math.sqrt(2 * pairs * self.alpha * (1.0 - self.alpha)) * np.maximum(of_one[:-1], of_one[1:])
        return np.asarray(np.diff(q) ** 2 / 8 * np.fmin(smooth, 8 * pairs), dtype=np.float64)

    def _probability(self, drop: float, q: FloatArray) -> FloatArray:
        """Return the probability of these outcomes at each q (ascending), no less than it is."""
        blocks = np.array_split(q, -(-q.size // 128))  # neighbours share a range of gained items
        return np.concatenate([self._block(drop, block) for block in blocks])

    def _block(self, drop: float, q: FloatArray) -> FloatArray:
        m, far = self.m, -math.log(_CUT * self.alpha / 2)
        first = max(0, math.floor(m * q[0] - math.sqrt(2 * m * q[0] * far)))  # Bernstein, below and above
        last = min(m, math.ceil(m * q[-1] + math.sqrt(2 * m * q[-1] * far) + 2 * far / 3))
        g = np.arange(first, last + 1.0)
        most = self._most_lost(g)
        g, most = g[most >= 0], most[most >= 0]
        if not g.size:
            return np.full_like(q, _CUT * self.alpha)
        rest = m - g
        most = np.minimum(most, rest)
        each = _binomial(g, np.full_like(g, m), q)
        lost = np.clip((q + drop) / np.maximum(1.0 - q, 1e-300), 0.0, 1.0)  # of the items that are not gained
        # One gained item more takes a trial away from the lost ones, and may admit one lost item more: both terms are
        # added, so nothing cancels.
        start = np.ones_like(q) if most[0] >= rest[0] else betaincc(most[0] + 1, rest[0] - most[0], lost)
        more, admits = lost[:, None] * _binomial(most[:-1], rest[1:], lost), np.flatnonzero(np.diff(most) > 0)
        more[:, admits] += _binomial(most[admits + 1], rest[admits + 1], lost)
        below = np.minimum(np.cumsum(np.column_stack([start, more]), axis=1), 1.0)
        total = np.sum(each * below, axis=1)
        return np.asarray(total * (1.0 + _NUMERICAL) + _CUT * self.alpha, dtype=np.float64)

    def _most_lost(self, gained: FloatArray) -> FloatArray:
        """Return the most lost items beside so many gained ones, below 0 for none; u = sqrt(lost + gained + c)."""
        square = self.z**2 + 4 * (self.limit + 2 * gained + self.c)
        u = (np.sqrt(np.maximum(square, 0.0)) - self.z) / 2
        return np.floor(u * u - gained - self.c + 1e-7)  # what rounding leaves open is in: more outcomes are safe


def _binomial(k: FloatArray, n: FloatArray, p: FloatArray) -> FloatArray:
    """P(Bin(n, p) = k) for every p (rows) and pair of k and n (columns); 0 for k > n."""
    inside = k <= n
    k, other = np.where(inside, k, 0.0), np.where(inside, n - k, n)
    ways = np.where(inside, gammaln(k + other + 1) - gammaln(k + 1) - gammaln(other + 1), -np.inf)
    yes, no = np.log(np.maximum(p, 1e-300)), np.log1p(-np.minimum(p, 1.0 - 1e-16))  # at 0 and 1 a hair too much
    return np.asarray(np.exp(ways + np.outer(yes, k) + np.outer(no, other)), dtype=np.float64)
