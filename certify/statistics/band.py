"""The band: one confidence statement about the whole distribution of scores, and what follows from it.

n draws give scores J_i = J(base + eps_i), iid in [0, 1], one number per draw over all items. With
probability at least 1 - alpha, P(J(base + eps) >= x_(i_k)) >= g_k for all ranks i_k of a grid at once. On
that one event every bound of this module holds for all checkpoints, distances, floors and quantiles
together, also for ones chosen after looking at the draws. Source: docs/theory.md, "Rank-grid band" and
"Layer cake"; the layer cake follows Kumar et al., arXiv 2009.08061, percentiles Chiang et al., arXiv
2007.03730.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from scipy.special import betaincinv

from certify.statistics import ranges
from certify.statistics.laws import strong_lower
from certify.statistics.ranks import bonferroni_level, geometric_ranks, local_level
from certify.statistics.rounding import round_down, round_up

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

    Calibration = Literal["exact", "bonferroni"]

_FARTHEST = 64.0  # h_r(p) underflows to 0 at r = 64 for every float p < 1
_LOCAL_LEVELS = {"exact": local_level, "bonferroni": bonferroni_level}


@dataclass(frozen=True)
class ScoreBand:
    """Lower confidence bounds for the survival function of the base scores, at the ranks of a grid.

    Guarantee: with probability at least 1 - alpha over the base draws, P(J(base + eps) >= thresholds[k]) >=
    levels[k] for all k at once.

    ranks: increasing ranks i_k. thresholds: sorted scores x_(i_k). levels: g_k, decreasing, less eta already.
    n draws, failure probability alpha, precision loss eta. Build it with `score_band`.
    """

    ranks: tuple[int, ...]
    thresholds: tuple[float, ...]
    levels: tuple[float, ...]
    n: int
    alpha: float
    eta: float = 0.0

    @overload
    def mean_lower(self, r: float = 0.0) -> float: ...
    @overload
    def mean_lower(self, r: ArrayLike) -> FloatArray: ...
    def mean_lower(self, r: ArrayLike = 0.0) -> float | FloatArray:
        """Return the layer-cake bound sum_k (x_(i_k) - x_(i_(k-1))) h_r(g_k), for one distance or an array.

        Guarantee: on the band's event, E J(checkpoint + eps) >= the value for every checkpoint at distance r.

        r in [0, inf] in units of noise; 0 at inf. Raises InvalidInput otherwise.
        """
        distance = ranges.distances("r", r)
        layers = np.diff(np.array(self.thresholds), prepend=0.0)
        return round_down(strong_lower(np.array(self.levels), distance[..., None]) @ layers)

    def event_lower(self, floor: float, r: float = 0.0) -> float:
        """Return a lower bound for P(J(checkpoint + eps) >= floor); 0 if no rank reaches the floor.

        Guarantee: on the band's event it holds for all checkpoints at distance r and all floors at once.

        floor in [0, 1], r in [0, inf]. Raises InvalidInput otherwise.
        """
        reached = np.array(self.thresholds) >= ranges.unit("floor", floor)
        if not reached.any():
            return 0.0
        return round_down(strong_lower(self.levels[int(np.argmax(reached))], r))

    def percentile_lower(self, q: float, r: float = 0.0) -> float:
        """Return the largest certified score s with P(J(checkpoint + eps) >= s) >= q; 0 if there is none.

        Guarantee: on the band's event it holds for all checkpoints at distance r and all q at once.

        q in (0, 1), r in [0, inf]. q = 1/2 gives a bound for the median. Raises InvalidInput otherwise.
        """
        wanted = ranges.open_unit("q", q)
        enough = np.flatnonzero(round_down(strong_lower(np.array(self.levels), r)) >= wanted)
        return self.thresholds[int(enough[-1])] if enough.size else 0.0

    def radius_for_mean(self, floor: float) -> float | None:
        """Return the largest r with `mean_lower(r)` >= floor, its safe end; None if even r = 0 falls short.

        Guarantee: on the band's event, E J(checkpoint + eps) >= floor for every checkpoint at distance at
        most the value (finite), for all floors at once.

        floor in [0, 1]; inf for floor 0. Units of noise. Raises InvalidInput otherwise.
        """
        target = ranges.unit("floor", floor)
        if self.mean_lower(0.0) < target:
            return None
        if self.mean_lower(_FARTHEST) >= target:
            return math.inf
        safe, beyond = 0.0, _FARTHEST
        for _ in range(60):
            middle = (safe + beyond) / 2
            safe, beyond = (middle, beyond) if self.mean_lower(middle) >= target else (safe, middle)
        return safe


def score_band(
    scores: ArrayLike, alpha: float, eta: float = 0.0, base: float = 1.25, calibration: Calibration = "exact"
) -> ScoreBand:
    """Return the band of n iid scores.

    Guarantee: that of `ScoreBand`, over the n draws, if `base` was fixed before them and the noise is within
    total variation eta of the Gaussian.

    scores: shape (n,), in [0, 1], any order, ties allowed, failed draws scored 0. alpha: failure probability.
    eta >= 0 is subtracted from every level. calibration: "exact" (the largest common level, calibrated to
    alpha) or "bonferroni" (alpha / K: lower levels, nothing to calibrate). Raises InvalidInput otherwise.
    """
    ordered = np.sort(ranges.scores("scores", scores))
    grid, levels = _levels(len(ordered), alpha, eta, base, calibration)
    thresholds = ordered[np.array(grid) - 1]
    return ScoreBand(grid, tuple(thresholds.tolist()), tuple(levels.tolist()), len(ordered), float(alpha), float(eta))


@overload
def mean_upper(scores: ArrayLike, alpha: float, r: float = 0.0, eta: float = 0.0, base: float = 1.25) -> float: ...
@overload
def mean_upper(scores: ArrayLike, alpha: float, r: ArrayLike, eta: float = 0.0, base: float = 1.25) -> FloatArray: ...
def mean_upper(
    scores: ArrayLike, alpha: float, r: ArrayLike = 0.0, eta: float = 0.0, base: float = 1.25
) -> float | FloatArray:
    """Return an upper bound for E J(checkpoint + eps): 1 minus the layer cake of 1 - J.

    Guarantee: with probability at least 1 - alpha over the base draws, it holds for all checkpoints and all
    distances r at once. With a lower bound beside it, each takes alpha / 2.

    scores: shape (n,), in [0, 1]; a failed draw counts as 1 here. r in [0, inf]; 1 at inf. Raises
    InvalidInput otherwise.
    """
    losses = 1.0 - ranges.scores("scores", scores)
    lower = np.asarray(score_band(losses, alpha, eta, base).mean_lower(np.asarray(r, dtype=np.float64)))
    return ranges.plain(np.minimum(1.0, round_up(1.0 - lower)))


@overload
def ceiling(
    n: int, alpha: float, r: float, eta: float = 0.0, base: float = 1.25, calibration: Calibration = "exact"
) -> float: ...
@overload
def ceiling(
    n: int,
    alpha: float,
    r: ArrayLike,
    eta: float = 0.0,
    base: float = 1.25,
    calibration: Calibration = "exact",
) -> FloatArray: ...
def ceiling(
    n: int,
    alpha: float,
    r: ArrayLike,
    eta: float = 0.0,
    base: float = 1.25,
    calibration: Calibration = "exact",
) -> float | FloatArray:
    """Return h_r(g_1), the best bound for the mean that n draws could give: every score 1.

    A requirement above it is infeasible, and known to be so before any draw. Raises InvalidInput unless
    n >= 1, 0 < alpha < 1, r in [0, inf], eta >= 0, base > 1.
    """
    _, levels = _levels(n, alpha, eta, base, calibration)
    return round_down(strong_lower(levels[0], ranges.distances("r", r)))


def _levels(
    n: int, alpha: float, eta: float, base: float, calibration: Calibration
) -> tuple[tuple[int, ...], FloatArray]:
    ranges.require(calibration in _LOCAL_LEVELS, "calibration", calibration, f"must be one of {list(_LOCAL_LEVELS)}")
    loss = ranges.not_negative("eta", eta)
    grid = geometric_ranks(n, base)
    rank = np.array(grid, dtype=np.float64)
    exact = betaincinv(n - rank + 1.0, rank, _LOCAL_LEVELS[calibration](n, alpha, base))
    return grid, np.maximum(0.0, round_down(exact) - loss)
