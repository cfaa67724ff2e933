"""What finite precision costs: eta, the total variation between the noise that was drawn and the Gaussian.

If the joint law of one draw is within total variation eta of the Gaussian snapped to the sampler's lattice,
every base level p in a bound is replaced by max(0, p - eta) (an upper level by min(1, p + eta)). eta is paid
once for a bound, not once for each draw; a paired drop pays it twice. The constants of the samplers live in
this module only. Source: statement S8 of docs/theory.md, "Finite precision".
"""

from __future__ import annotations

import math

from scipy.special import ndtr

from certify.statistics import ranges
from certify.statistics.rounding import round_down, round_up

_CUT = 9.2  # the table sampler draws |z| <= 9.2; beyond lies 2 Phi(-9.2) = 3.6e-20
# Exact total variation of b-bit radial grids against the lattice of pitch 2^-j, at b = 20 (it falls in b),
# in units of 2^-53 per weight.
_GRANULARITY = {12: 9.0, 8: 1.5}


def eta_strict(d: int, lattice_bits: int = 12) -> float:
    """Return eta of the strict sampler: float64 Box-Muller, 53-bit uniforms, pitch 2^(floor(log2 sigma) - j).

    16 * 2^(j-52) sqrt(d) + C_j 2^-53 d with C_12 = 9, C_8 = 1.5; capped at 1, rounded up.

    Guarantee: none proved; a budget that a claim states as its assumption (relative error of one normal at
    most 16 * 2^-53, measured 3.9; the angle grid is neglected).

    d >= 1: number of noised weights. lattice_bits: j, 12 or 8. Raises InvalidInput otherwise. Source: S8.
    """
    size = ranges.count("d", d)
    ranges.require(lattice_bits in _GRANULARITY, "lattice_bits", lattice_bits, f"must be one of {sorted(_GRANULARITY)}")
    rounding = 16.0 * 2.0 ** (lattice_bits - 52) * math.sqrt(size)
    return min(1.0, round_up(rounding + _GRANULARITY[lattice_bits] * 2.0**-53 * size))


def eta_table(d: int, lattice_bits: int = 12) -> float:
    """Return eta of the table sampler: integer inverse CDF, 64-bit thresholds, |z| <= 9.2, pitch 2^-j.

    d ((2 floor(9.2 * 2^j) + 1) 2^-65 + 2 Phi(-9.2)); capped at 1, rounded up.

    Guarantee: the joint law of one draw of d normals is within total variation eta of the snapped Gaussian,
    given generator bits that are uniform and thresholds exact to 40 digits (proved).

    d >= 1: number of noised weights. lattice_bits: j, 1 to 40. Raises InvalidInput otherwise. Source: S8.
    """
    size, bits = ranges.count("d", d), ranges.count("lattice_bits", lattice_bits)
    ranges.require(bits <= 40, "lattice_bits", lattice_bits, "must be at most 40")
    each = (2 * math.floor(_CUT * 2.0**bits) + 1) * 2.0**-65 + 2.0 * float(ndtr(-_CUT))
    return min(1.0, round_up(size * each))


def tail_floor_truncated(d: int, uniform_bits: int) -> float:
    """Return a lower bound on the total variation of Box-Muller noise from b-bit uniforms, rounded down.

    1 - exp(-d P(|Z| > sqrt(2 b ln 2))): such a sampler never draws beyond that radius, the Gaussian does.
    Near 1 the sampler cannot carry any claim; near 0 it says nothing in favour of the sampler.

    d >= 1: number of noised weights. uniform_bits: b >= 1. Raises InvalidInput otherwise. Source: S8.
    """
    size, bits = ranges.count("d", d), ranges.count("uniform_bits", uniform_bits)
    beyond = 2.0 * float(ndtr(-math.sqrt(2.0 * bits * math.log(2.0))))
    return round_down(-math.expm1(-size * beyond))
