"""Laws that carry a probability from the noised base to a noised checkpoint at distance r.

Setting: f maps weights to [0, 1], eps ~ N(0, Sigma) with Sigma fixed before drawing, p = E f(base + eps),
r = ||Sigma^(-1/2) (checkpoint - base)||. The laws are exact statements about p; confidence enters only
through the bound that is put in for p. All functions take numbers or arrays that broadcast, and return a
float for numbers and an array for arrays. NaN is refused. r = inf stands for a checkpoint that is not
reached by the noise at all (or differs in more than weights): nothing holds there, whatever p is.

Source: Chen et al., arXiv 2505.17646, Theorems 4.2 and 4.3; Cohen et al., arXiv 1902.02918; Salman et al.,
arXiv 1906.04584. Proofs: docs/theory.md, "Laws".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, overload

import numpy as np
from scipy.special import gammaln, ndtr, ndtri

from certify.statistics import ranges
from certify.statistics.rounding import CLAIM_SLACK, round_up

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from certify.statistics.ranges import FloatArray

_WEAK_SLOPE = 1.0 / math.sqrt(2.0 * math.pi)  # max of the normal density: |d h_r(p) / dr| <= 1/sqrt(2 pi)


@overload
def strong_lower(p: float, r: float) -> float: ...
@overload
def strong_lower(p: ArrayLike, r: ArrayLike) -> FloatArray: ...
def strong_lower(p: ArrayLike, r: ArrayLike) -> float | FloatArray:
    """Return h_r(p) = Phi(Phi^-1(p) - r), the strong law.

    Guarantee: E f(checkpoint + eps) >= h_r(p) for every measurable f with E f(base + eps) >= p; attained by
    half-spaces. With a lower confidence bound for p the statement inherits that bound's probability.

    p: base probability in [0, 1]. r: distance in units of noise, in [0, inf]. h_inf = 0, h_r(0) = 0 and
    h_r(1) = 1 for finite r. Raises InvalidInput outside these ranges. Source: Thm 4.3.
    """
    base, shift = ranges.units("p", p), ranges.distances("r", r)
    return ranges.plain(np.where(np.isinf(shift), 0.0, _shifted(base, -_finite(shift))))


@overload
def strong_upper(p: float, r: float) -> float: ...
@overload
def strong_upper(p: ArrayLike, r: ArrayLike) -> FloatArray: ...
def strong_upper(p: ArrayLike, r: ArrayLike) -> float | FloatArray:
    """Return u_r(p) = Phi(Phi^-1(p) + r) = 1 - h_r(1 - p), the strong law from above.

    Guarantee: E f(checkpoint + eps) <= u_r(p) for every measurable f with E f(base + eps) <= p.

    p in [0, 1], r in [0, inf]; u_inf = 1. Raises InvalidInput outside. Source: Thm 4.3 for 1 - f.
    """
    base, shift = ranges.units("p", p), ranges.distances("r", r)
    return ranges.plain(np.where(np.isinf(shift), 1.0, _shifted(base, _finite(shift))))


@overload
def strong_lower_tail(tail: float, r: float) -> float: ...
@overload
def strong_lower_tail(tail: ArrayLike, r: ArrayLike) -> FloatArray: ...
def strong_lower_tail(tail: ArrayLike, r: ArrayLike) -> float | FloatArray:
    """Return 1 - h_r(1 - tail) without cancellation, for tails down to 1e-300.

    Guarantee: E [1 - f(checkpoint + eps)] <= the value for every f with E [1 - f(base + eps)] <= tail.

    tail: 1 - p in [0, 1]. r in [0, inf]; the value at inf is 1. Raises InvalidInput outside. Source: Thm 4.3.
    """
    rest, shift = ranges.units("tail", tail), ranges.distances("r", r)
    return ranges.plain(np.where(np.isinf(shift), 1.0, _shifted(rest, _finite(shift))))


@overload
def weak_lower(p: float, r: float) -> float: ...
@overload
def weak_lower(p: ArrayLike, r: ArrayLike) -> FloatArray: ...
def weak_lower(p: ArrayLike, r: ArrayLike) -> float | FloatArray:
    """Return max(0, p - r / sqrt(2 pi)), the weak law; never above `strong_lower`, kept as a check on it.

    Guarantee: E f(checkpoint + eps) >= the value for every measurable f with E f(base + eps) >= p.

    p in [0, 1], r in [0, inf]. Raises InvalidInput outside. Source: Thm 4.2.
    """
    return ranges.plain(np.maximum(0.0, ranges.units("p", p) - _WEAK_SLOPE * ranges.distances("r", r)))


@overload
def weak_upper(p: float, r: float) -> float: ...
@overload
def weak_upper(p: ArrayLike, r: ArrayLike) -> FloatArray: ...
def weak_upper(p: ArrayLike, r: ArrayLike) -> float | FloatArray:
    """Return min(1, p + r / sqrt(2 pi)), the weak law from above; never below `strong_upper`.

    Guarantee: E f(checkpoint + eps) <= the value for every measurable f with E f(base + eps) <= p.

    p in [0, 1], r in [0, inf]. Raises InvalidInput outside. Source: Thm 4.2 for 1 - f.
    """
    return ranges.plain(np.minimum(1.0, ranges.units("p", p) + _WEAK_SLOPE * ranges.distances("r", r)))


@overload
def certified_radius(p_lower: float, floor: float) -> float: ...
@overload
def certified_radius(p_lower: ArrayLike, floor: ArrayLike) -> FloatArray: ...
def certified_radius(p_lower: ArrayLike, floor: ArrayLike) -> float | FloatArray:
    """Return R = Phi^-1(p_lower) - Phi^-1(floor), in units of sigma, rounded down.

    Guarantee: E f(checkpoint + eps) >= floor for every checkpoint at distance r <= R (finite r), with the
    probability with which p_lower holds, over the base draws, for all such checkpoints at once.

    R < 0 means abstain: the floor is not certified even at the base. R = inf if floor = 0 or p_lower = 1;
    otherwise -inf if p_lower = 0 or floor = 1. Never NaN. For an event take its bound for p_lower and the
    required probability for floor. Raises InvalidInput outside [0, 1]. Source: Thm 4.3 solved for r.
    """
    p, t = ranges.units("p_lower", p_lower), ranges.units("floor", floor)
    everything, nothing = (t == 0.0) | (p == 1.0), (p == 0.0) | (t == 1.0)
    x = ndtri(np.where(everything | nothing, 0.5, p))
    y = ndtri(np.where(everything | nothing, 0.5, t))
    # The difference cancels when p is near t, so the outward step is relative to the terms, not to R.
    inside = x - y - CLAIM_SLACK * (np.abs(x) + np.abs(y))
    return ranges.plain(np.where(everything, math.inf, np.where(nothing, -math.inf, inside)))


@overload
def required_base_level(q: float, r: float) -> float: ...
@overload
def required_base_level(q: ArrayLike, r: ArrayLike) -> FloatArray: ...
def required_base_level(q: ArrayLike, r: ArrayLike) -> float | FloatArray:
    """Return Phi(Phi^-1(q) + r): what must hold at the base so that q holds at distance r, rounded up.

    Guarantee: if E f(base + eps) >= the value then E f(checkpoint + eps) >= q at distance r.

    q in [0, 1], r in [0, inf]. At most 1 for finite r; inf for r = inf and q > 0, since no base level is
    enough there. Raises InvalidInput outside these ranges. Source: Thm 4.3 solved for p.
    """
    level, shift = ranges.units("q", q), ranges.distances("r", r)
    needed = np.minimum(1.0, round_up(_shifted(level, _finite(shift))))
    return ranges.plain(np.where(np.isinf(shift) & (level > 0.0), math.inf, needed))


def mahalanobis(delta_norms: ArrayLike, sigmas: ArrayLike) -> float:
    """Return r = sqrt(sum_w (||delta_w|| / sigma_w)^2) over blocks of weights, rounded up.

    delta_norms: Euclidean norm of the difference in each block, shape (w,). sigmas: standard deviation of
    one weight's noise in each block, shape (w,) or a number. A block with sigma 0 adds nothing if its
    difference is 0 and makes r = inf otherwise. Rounding covers this function's own arithmetic (1e-12);
    a norm computed by streaming has to be rounded up by the caller that summed it. Tensors tied in both
    models count once. Raises InvalidInput for negative or NaN entries, or shapes that do not agree.
    Source: anisotropic form of Thm 4.3.
    """
    norms, scale = ranges.distances("delta_norms", delta_norms), ranges.distances("sigmas", sigmas)
    ranges.require(norms.ndim <= 1 and scale.shape in ((), norms.shape), "shapes of delta_norms and sigmas",
                   (norms.shape, scale.shape), "must agree, one entry for each block")  # fmt: skip
    ranges.require(bool(np.all(np.isfinite(scale))), "sigmas", scale.tolist(), "must be finite")
    norms, scale = np.atleast_1d(norms), np.broadcast_to(scale, np.atleast_1d(norms).shape)
    moved = norms > 0.0
    if np.any(moved & (scale == 0.0)):
        return math.inf
    with np.errstate(over="ignore", under="ignore"):
        shares = np.nextafter(norms[moved] / scale[moved], np.inf)  # a quotient below the smallest float is not 0
    return round_up(math.hypot(*shares))


def slice_position(delta_norm: float, d: int) -> float:
    """Return alpha* = ||delta|| / sqrt(d), the checkpoint's coordinate on the SFT slice, in units of sigma.

    delta_norm >= 0 in weight units, d >= 1 the number of weights. It compares a chosen direction with
    random ones: geometry, not a guarantee. Raises InvalidInput outside. Source: section 3 of the paper.
    """
    return ranges.not_negative("delta_norm", delta_norm) / math.sqrt(ranges.count("d", d))


def mean_noise_norm(d: int) -> float:
    """Return E ||N(0, I_d)|| = sqrt(2) Gamma((d+1)/2) / Gamma(d/2), close to sqrt(d) (1 - 1/(4d)).

    d >= 1, the number of noised weights. Raises InvalidInput otherwise. Relative error below 1e-11.
    """
    size = ranges.count("d", d)
    if size < 300:
        return float(math.sqrt(2.0) * np.exp(gammaln((size + 1) / 2) - gammaln(size / 2)))
    # Differences of gammaln lose all digits near 1e10; the series of Gamma(x + 1/2)/Gamma(x) does not.
    series = 1 - 1 / (4 * size) + 1 / (32 * size**2) + 5 / (128 * size**3) - 21 / (2048 * size**4)
    return math.sqrt(size) * series


def _shifted(p: FloatArray, by: FloatArray) -> FloatArray:
    """Phi(Phi^-1(p) + by) for finite `by`; p in {0, 1} and by = 0 leave p as it is."""
    inner = np.where((p == 0.0) | (p == 1.0), 0.5, p)
    moved = ndtr(ndtri(inner) + by)
    # Rounding of the round trip must not carry a tiny shift to the wrong side of p.
    outward = np.where(by < 0.0, np.minimum(moved, p), np.maximum(moved, p))
    return np.where((p == 0.0) | (p == 1.0) | (by == 0.0), p, outward)


def _finite(r: FloatArray) -> FloatArray:
    return np.where(np.isinf(r), 0.0, r)
