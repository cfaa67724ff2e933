"""The torch backend: the contract's integer and float operations as tensor operations, for any device.

Slow (tens of ns per weight on a CPU) and simple: one operation per line of the contract, no fused multiply-add
between them. 64-bit products wrap modulo 2^64, which leaves their high and low words right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from certify.noise.contract import Move, Noise, Place, Run, Write
from certify.noise.philox import LANE, LANES, Sampler

SLAB = 1 << 20  # elements at a time: scratch of some 100 MB, whatever the tensor's size
_M0, _M1, _W0, _W1, _LOW = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, 0xFFFFFFFF
Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Two = tuple[torch.Tensor, torch.Tensor]
_LOGF = (-1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
         -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip


class TensorBackend:
    """Writes with torch alone; needs int64 and, for ``strict``, float64 on the device."""

    name = "torch"

    def noise(self, jobs: Sequence[tuple[Place, Noise]]) -> Write:
        """Return the writer: tensors in order, slab by slab."""
        return partial(_write, tuple(jobs))

    def combination(self, place: Place, directions: torch.Tensor) -> Move:
        """Return the writer of base + sum_i a_i v_i."""
        return partial(_combine, place, directions.to(place.base.device))

    def normals(self, out: torch.Tensor, runs: Sequence[Run], tensor: int, key: tuple[int, int]) -> None:
        """Fill rows, run by run."""
        size = LANES["strict"] * LANE
        for row, run in zip(out, runs, strict=True):
            chunks = torch.arange(run.start // size, -(-(run.start + run.count) // size), device=out.device)
            first = run.start % size
            row[: run.count] = normals(chunks, run.draw, tensor, key, "strict")[first : first + run.count]
            row[run.count :] = 0


def _write(jobs: Sequence[tuple[Place, Noise]], draw: int) -> None:
    for place, noise in jobs:
        for start in range(0, place.base.numel(), SLAB):
            base, work = place.base[start : start + SLAB], place.work[start : start + SLAB]
            chunks = torch.arange(start // noise.chunk, -(-(start + len(base)) // noise.chunk), device=base.device)
            z = normals(chunks, draw, noise.tensor, noise.key, noise.sampler)[: len(base)]
            work.copy_(_sum(base, z, noise))


def _sum(base: torch.Tensor, z: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Base + noise in the wide type; the caller's copy makes the last rounding."""
    wide = torch.float64 if base.dtype == torch.float64 else torch.float32
    if noise.sampler == "fast":
        step = torch.full_like(z, noise.sigma) * z
        return base.to(wide) + step.to(wide)
    steps = torch.round(z * noise.sigma / noise.pitch) * noise.pitch
    return (base.to(torch.float64) + steps).to(wide)


def _combine(place: Place, directions: torch.Tensor, coordinates: NDArray[np.float64]) -> None:
    for start in range(0, place.base.numel(), SLAB):
        base, work = place.base[start : start + SLAB], place.work[start : start + SLAB]
        total = torch.zeros(len(base), dtype=torch.float64, device=base.device)
        for coordinate, direction in zip(coordinates.tolist(), directions, strict=True):
            total = total + direction[start : start + SLAB].to(torch.float64) * coordinate
        total = base.to(torch.float64) + total
        work.copy_(total if work.dtype == torch.float64 else total.to(torch.float32))


def normals(chunks: torch.Tensor, draw: int, tensor: int, key: tuple[int, int], sampler: Sampler) -> torch.Tensor:
    """Return the normals of whole chunks, flat, in element order."""
    block = chunks[:, None] * LANE + torch.arange(LANE, device=chunks.device)
    w0, w1, w2, w3 = _philox(block, draw, tensor, key)
    lanes = strict_pair(w0, w1, w2, w3) if sampler == "strict" else (*fast_pair(w0, w1), *fast_pair(w2, w3))
    return torch.cat(lanes, dim=1).reshape(-1)


def _philox(block: torch.Tensor, draw: int, tensor: int, key: tuple[int, int]) -> Four:
    """Philox4x32-10 on 32-bit values held in int64 (``>>`` keeps the sign, the mask takes it off again)."""
    c0, c1 = block & _LOW, (block >> 32) & _LOW
    c2, c3 = torch.full_like(block, draw), torch.full_like(block, tensor)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c2 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, ((p0 >> 32) & _LOW) ^ c3 ^ k1
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def strict_pair(w0: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, w3: torch.Tensor) -> Two:
    """Two float64 normals of four words (philox.strict_pair)."""
    a, b = (w1 << 21) | (w0 >> 11), (w3 << 21) | (w2 >> 11)
    radius = _square_root(_log((a.to(torch.float64) + 1.0) * 2.0**-53) * -2.0)
    quarter = (b + (1 << 50)) >> 51
    x = (b - (quarter << 51)).to(torch.float64) * (6.283185307179586 * 2.0**-53)
    return _turned(radius, _cos(x), _sin(x), quarter)


def _square_root(x: torch.Tensor) -> torch.Tensor:
    """Correctly rounded float64 square root of x >= 0.

    torch's own is not, on CPUs: MKL's vector routine missed the nearest float64 in 1.2 % of 10^7 cases, the nearest
    float32 in 16 %. The residual x - s^2 is taken exactly (Dekker's product) and compared with half a step of s.
    In float32 a float64 root rounded once more is exact, since no root lies that close to a midpoint.
    """
    s = torch.sqrt(x)
    scaled = s * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - s)
    low = s - high
    square = s * s
    residual = (x - square) - (((high * high - square) + high * low * 2.0) + low * low)
    above, below = torch.nextafter(s, torch.full_like(s, torch.inf)), torch.nextafter(s, torch.zeros_like(s))
    s_or_above = torch.where(residual > s * (above - s), above, s)
    return torch.where((residual < 0.0) & (residual <= -s * (s - below)), below, s_or_above)


def _turned(radius: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, quarter: torch.Tensor) -> Two:
    """Radius times cosine and sine of an angle that lies ``quarter`` right angles further on."""
    odd = (quarter & 1) != 0
    c, s = torch.where(odd, sine, cosine), torch.where(odd, cosine, sine)
    c = torch.where(((quarter + 1) & 2) != 0, -c, c)
    s = torch.where((quarter & 2) != 0, -s, s)
    return radius * c, radius * s


def _log(u: torch.Tensor) -> torch.Tensor:
    h = u.view(torch.int64) + ((0x3FF00000 - 0x3FE6A09E) << 32)
    k = ((h >> 52) - 1023).to(torch.float64)
    f = ((h & 0x000FFFFFFFFFFFFF) + (0x3FE6A09E << 32)).view(torch.float64) - 1.0
    hf, s = f * 0.5 * f, f / (f + 2.0)
    z = s * s
    w = z * z
    t1 = w * (w * (w * 1.531383769920937332e-01 + 2.222219843214978396e-01) + 3.999999999940941908e-01)
    t2 = w * (w * 1.479819860511658591e-01 + 1.818357216161805012e-01) + 2.857142874366239149e-01
    t2 = z * (w * t2 + 6.666666666666735130e-01)
    return s * (hf + (t2 + t1)) + k * 1.90821492927058770002e-10 - hf + f + k * 6.93147180369123816490e-01


def _sin(x: torch.Tensor) -> torch.Tensor:
    z = x * x
    w = z * z
    r = z * (z * 2.75573137070700676789e-06 + -1.98412698298579493134e-04) + 8.33333333332248946124e-03
    r = r + z * w * (z * 1.58969099521155010221e-10 + -2.50507602534068634195e-08)
    return x + z * x * (z * r + -1.66666666666666324348e-01)


def _cos(x: torch.Tensor) -> torch.Tensor:
    z = x * x
    w = z * z
    r = z * (z * (z * 2.48015872894767294178e-05 + -1.38888888888741095749e-03) + 4.16666666666666019037e-02)
    tail = z * (z * -1.13596475577881948265e-11 + 2.08757232129817482790e-09) + -2.75573143513906633035e-07
    r = r + w * w * tail
    half = z * 0.5
    v = 1.0 - half
    return v + (((1.0 - v) - half) + z * r)


def fast_pair(x: torch.Tensor, y: torch.Tensor) -> Two:
    """Two float32 normals of two words (fast.fast_pair)."""
    radius = _square_root((_logf((x.to(torch.float32) + 0.5) * 2.0**-32) * -2.0).to(torch.float64)).to(torch.float32)
    signed = y - ((y >> 31) << 32)
    t = signed.to(torch.float32) * 2.0**-31
    j = torch.floor(t * 2.0 + 0.5)
    r = (t - j * 0.5) * 3.14159265358979
    z = r * r
    s = ((z * -1.9515295891e-4 + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r
    c = ((z * 2.443315711809948e-5 - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - z * 0.5 + 1.0
    return _turned(radius, c, s, j.to(torch.int64))


def _logf(u: torch.Tensor) -> torch.Tensor:
    bits = u.view(torch.int32)
    e = ((bits >> 23) - 126).to(torch.float32)
    m = ((bits & 0x007FFFFF) | 0x3F000000).view(torch.float32)
    small = m < 0.707106781186547524
    e = torch.where(small, e - 1.0, e)
    m = torch.where(small, m + m - 1.0, m - 1.0)
    z = m * m
    p = torch.full_like(m, 7.0376836292e-2)
    for c in _LOGF:
        p = p * m + c
    p = p * m * z
    p = p + e * -2.12194440e-4
    p = p - z * 0.5
    return m + p + e * 0.693359375
