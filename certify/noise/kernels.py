"""The fused kernels for the CPU: words, normals, lattice, sum, rounding and store in one pass, compiled by numba.

Bits are those of :mod:`certify.noise.philox`, which is the readable text of the same arithmetic; tests hold
the two together. Three settings carry that: ``fastmath=False`` (no reassociation, no fused multiply-add),
``error_model="numpy"`` (Python's division test blocks vectorisation: 8.3 against 2.4 ns per normal) and no call
to libm. All kernels of the noise live in this one file, because numba renews its cache by the file of the outermost
function.

Importing this module imports numba (0.4 s).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from certify.compiling import compiled, inlined

u16, u32, u64, i32, i64, f32, f64 = np.uint16, np.uint32, np.uint64, np.int32, np.int64, np.float32, np.float64

LANE = 1024
STRICT_CHUNK, FAST_CHUNK = 2 * LANE, 4 * LANE
BLOCK = 2048  # elements per pass of the subspace kernel: the float64 sums stay in the first-level cache
M0, M1, S11, S32 = u64(0xD2511F53), u64(0xCD9E8D57), u64(11), u64(32)
W0, W1 = u32(0x9E3779B9), u32(0xBB67AE85)


@compiled
def _words(t: NDArray[Any], first: int, draw: int, tensor: int, k0: int, k1: int, blocks: int) -> None:
    """Philox4x32-10 of ``blocks`` consecutive counters, one word to each row of ``t``."""
    for i in range(blocks):
        q = u64(first) + u64(i)
        c0, c1, c2, c3, a, b = u32(q), u32(q >> S32), u32(draw), u32(tensor), u32(k0), u32(k1)
        for _ in range(10):
            p0, p1 = M0 * u64(c0), M1 * u64(c2)
            n0, n2 = u32(p1 >> S32) ^ c1 ^ a, u32(p0 >> S32) ^ c3 ^ b
            c1, c3, c0, c2 = u32(p1), u32(p0), n0, n2
            a, b = u32(a + W0), u32(b + W1)
        t[0, i], t[1, i], t[2, i], t[3, i] = c0, c1, c2, c3


@inlined
def _log(u: np.float64) -> np.float64:
    """Natural logarithm on (0, 1] (fdlibm e_log.c)."""
    h = f64(u).view(i64) + i64((0x3FF00000 - 0x3FE6A09E) << 32)
    k = f64((h >> i64(52)) - i64(1023))
    f = i64((h & i64(0x000FFFFFFFFFFFFF)) + i64(0x3FE6A09E << 32)).view(f64) - 1.0
    hf, s = 0.5 * f * f, f / (2.0 + f)
    z = s * s
    w = z * z
    t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    t2 = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    return s * (hf + (t2 + t1)) + k * 1.90821492927058770002e-10 - hf + f + k * 6.93147180369123816490e-01


@inlined
def _sin(x: np.float64) -> np.float64:
    """Sine on [-pi/4, pi/4] (fdlibm k_sin.c)."""
    z = x * x
    w = z * z
    r = (
        8.33333333332248946124e-03
        + z * (-1.98412698298579493134e-04 + z * 2.75573137070700676789e-06)
        + z * w * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    )
    return x + z * x * (-1.66666666666666324348e-01 + z * r)


@inlined
def _cos(x: np.float64) -> np.float64:
    """Cosine on [-pi/4, pi/4] (fdlibm k_cos.c)."""
    z = x * x
    w = z * z
    r = z * (
        4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05)
    ) + w * w * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11))
    v = 1.0 - 0.5 * z
    return v + (((1.0 - v) - 0.5 * z) + z * r)


@inlined
def _strict_pair(w0: np.uint32, w1: np.uint32, w2: np.uint32, w3: np.uint32) -> tuple[np.float64, np.float64]:
    """Two float64 normals of four words (philox.strict_pair)."""
    a = i64(((u64(w1) << S32) | u64(w0)) >> S11)
    b = i64(((u64(w3) << S32) | u64(w2)) >> S11)
    radius = np.sqrt(-2.0 * _log(f64((f64(a) + 1.0) * f64(2.0**-53))))
    quarter = (b + i64(1 << 50)) >> i64(51)
    x = f64(b - (quarter << i64(51))) * (6.283185307179586 * 2.0**-53)
    sine, cosine = _sin(x), _cos(x)
    odd = (quarter & i64(1)) != 0
    c, s = sine if odd else cosine, cosine if odd else sine
    c = -c if ((quarter + i64(1)) & i64(2)) != 0 else c
    s = -s if (quarter & i64(2)) != 0 else s
    return radius * c, radius * s


@compiled
def _fast_pair(x: np.uint32, y: np.uint32) -> tuple[np.float32, np.float32]:
    """Two float32 normals of two words (fast.fast_pair)."""
    bits = f32((f32(x) + f32(0.5)) * f32(2.0**-32)).view(i32)
    e = f32((bits >> i32(23)) - i32(126))
    m = i32((bits & i32(0x007FFFFF)) | i32(0x3F000000)).view(f32)
    small = m < f32(0.707106781186547524)
    e = e - f32(1.0) if small else e
    m = m + m - f32(1.0) if small else m - f32(1.0)
    z = m * m
    p = f32(7.0376836292e-2) * m - f32(1.1514610310e-1)
    p = p * m + f32(1.1676998740e-1)
    p = p * m - f32(1.2420140846e-1)
    p = p * m + f32(1.4249322787e-1)
    p = p * m - f32(1.6668057665e-1)
    p = p * m + f32(2.0000714765e-1)
    p = p * m - f32(2.4999993993e-1)
    p = p * m + f32(3.3333331174e-1)
    p = p * m * z
    p = p + e * f32(-2.12194440e-4)
    p = p - f32(0.5) * z
    radius = np.sqrt(f32(-2.0) * (m + p + e * f32(0.693359375)))
    t = f32(i32(y)) * f32(2.0**-31)
    j = np.floor(t * f32(2.0) + f32(0.5))
    r = (t - j * f32(0.5)) * f32(3.14159265358979)
    quarter = i32(j)
    z = r * r
    s = ((f32(-1.9515295891e-4) * z + f32(8.3321608736e-3)) * z - f32(1.6666654611e-1)) * z * r + r
    c = (f32(2.443315711809948e-5) * z - f32(1.388731625493765e-3)) * z + f32(4.166664568298827e-2)
    c = c * z * z - f32(0.5) * z + f32(1.0)
    odd = (quarter & i32(1)) != 0
    first, second = s if odd else c, c if odd else s
    first = -first if ((quarter + i32(1)) & i32(2)) != 0 else first
    second = -second if (quarter & i32(2)) != 0 else second
    return radius * first, radius * second


@compiled
def strict_chunk(
    z: NDArray[Any], t: NDArray[Any], chunk: int, draw: int, tensor: int, k0: int, k1: int, n: int
) -> None:
    """Fill ``z`` with the first ``n`` normals of one chunk; of a short chunk only the blocks it needs are made."""
    blocks = min(n, LANE)
    _words(t, chunk * LANE, draw, tensor, k0, k1, blocks)
    for i in range(blocks):
        z[i], z[LANE + i] = _strict_pair(t[0, i], t[1, i], t[2, i], t[3, i])


@compiled
def _fast_chunk(z: NDArray[Any], t: NDArray[Any], chunk: int, draw: int, tensor: int, k0: int, k1: int, n: int) -> None:
    """Fill ``z`` with the first ``n`` float32 normals of one chunk of four lanes."""
    blocks = min(n, LANE)
    _words(t, chunk * LANE, draw, tensor, k0, k1, blocks)
    for i in range(blocks):
        z[i], z[LANE + i] = _fast_pair(t[0, i], t[1, i])
        z[2 * LANE + i], z[3 * LANE + i] = _fast_pair(t[2, i], t[3, i])


@inlined
def _to_bfloat16(x: np.float32) -> np.uint32:
    """Nearest-even, as torch converts; NaN becomes the quiet NaN (torch itself gives two different ones)."""
    bits = f32(x).view(u32)
    rounded = (bits + u32(0x7FFF) + ((bits >> u32(16)) & u32(1))) >> u32(16)
    return u32(0x7FC0) if x != x else u32(rounded)


@inlined
def _to_float16(x: np.float32) -> np.uint32:
    """Nearest-even with subnormals and overflow to infinity, in integers (after F. Giesen's float_to_half)."""
    bits = f32(x).view(u32)
    sign, size = u32(bits & u32(0x80000000)), u32(bits & u32(0x7FFFFFFF))
    normal = u32(size + u32(0xC8000FFF) + ((size >> u32(13)) & u32(1))) >> u32(13)  # exponent - 112, rounded
    # 0.5 lines the mantissa up, so that the float32 sum itself rounds to the subnormal grid of 2^-24.
    subnormal = u32(f32(size.view(f32) + f32(0.5)).view(u32) - u32(0x3F000000))
    half = u32(subnormal if size < u32(113 << 23) else normal)
    half = u32(u32(0x7C00) if size >= u32(143 << 23) else half)
    half = u32(u32(0x7E00) if size > u32(255 << 23) else half)
    return u32(half | (sign >> u32(16)))


@inlined
def _from_float16(h: np.uint16) -> np.float32:
    sign, size = u32(u32(h & u16(0x8000)) << u32(16)), u32(h & u16(0x7FFF))
    bits = u32((size << u32(13)) + u32(112 << 23))
    tiny = f32(u32(bits + u32(1 << 23)).view(f32) - f32(2.0**-14)).view(u32)
    bits = u32(u32(bits + u32(112 << 23)) if size >= u32(0x7C00) else bits)  # infinity and NaN
    bits = u32(tiny if size < u32(0x0400) else bits)
    return u32(bits | sign).view(f32)


@compiled
def widen(out: NDArray[Any], base: NDArray[Any], brain: bool) -> None:
    """Exact float32 of 16-bit floats held as uint16; ``brain``: bfloat16, else float16."""
    if brain:
        for i in range(base.size):
            out[i] = u32(u32(base[i]) << u32(16)).view(f32)
    else:
        for i in range(base.size):
            out[i] = _from_float16(base[i])


@compiled
def narrow(out: NDArray[Any], wide: NDArray[Any], brain: bool) -> None:
    """Nearest-even 16-bit floats, as uint16, of float32."""
    if brain:
        for i in range(out.size):
            out[i] = u16(_to_bfloat16(wide[i]))
    else:
        for i in range(out.size):
            out[i] = u16(_to_float16(wide[i]))


@compiled
def _add_strict(
    out: NDArray[Any], base: NDArray[Any], z: NDArray[Any], sigma: float, inverse: float, pitch: float
) -> None:
    """Float64 sum with noise on the lattice; the store rounds once. ``inverse`` is exact: the pitch is 2^k."""
    for i in range(out.size):
        out[i] = f64(base[i]) + np.rint(sigma * z[i] * inverse) * pitch


@compiled
def _add_fast(out: NDArray[Any], base: NDArray[Any], z: NDArray[Any], sigma: np.float32) -> None:
    """Float32 product, then a sum in the wider of float32 and the base's type."""
    for i in range(out.size):
        out[i] = base[i] + sigma * z[i]


@compiled
def perturb_strict(
    out: NDArray[Any], base: NDArray[Any], first: int, last: int, draw: int, tensor: int,
    k0: int, k1: int, sigma: float, inverse: float, pitch: float,
) -> None:  # fmt: skip
    """Chunks ``first`` to ``last`` of a float32 or float64 tensor: base + lattice noise, rounded once."""
    t, z = np.empty((4, LANE), u32), np.empty(STRICT_CHUNK, f64)
    for chunk in range(first, last):
        start = chunk * STRICT_CHUNK
        end = min(start + STRICT_CHUNK, out.size)
        strict_chunk(z, t, chunk, draw, tensor, k0, k1, end - start)
        _add_strict(out[start:end], base[start:end], z, sigma, inverse, pitch)


@compiled
def perturb_strict_half(
    out: NDArray[Any], base: NDArray[Any], first: int, last: int, draw: int, tensor: int,
    k0: int, k1: int, sigma: float, inverse: float, pitch: float, brain: bool,
) -> None:  # fmt: skip
    """The same for 16-bit storage, by way of float32: two roundings by contract, on every backend."""
    t, z, wide = np.empty((4, LANE), u32), np.empty(STRICT_CHUNK, f64), np.empty(STRICT_CHUNK, f32)
    for chunk in range(first, last):
        start = chunk * STRICT_CHUNK
        end = min(start + STRICT_CHUNK, out.size)
        strict_chunk(z, t, chunk, draw, tensor, k0, k1, end - start)
        w = wide[: end - start]
        widen(w, base[start:end], brain)
        _add_strict(w, w, z, sigma, inverse, pitch)
        narrow(out[start:end], w, brain)


@compiled
def perturb_fast(
    out: NDArray[Any], base: NDArray[Any], first: int, last: int, draw: int, tensor: int,
    k0: int, k1: int, sigma: np.float32,
) -> None:  # fmt: skip
    """Chunks of a float32 or float64 tensor: base + float32 noise, for exploration."""
    t, z = np.empty((4, LANE), u32), np.empty(FAST_CHUNK, f32)
    for chunk in range(first, last):
        start = chunk * FAST_CHUNK
        end = min(start + FAST_CHUNK, out.size)
        _fast_chunk(z, t, chunk, draw, tensor, k0, k1, end - start)
        _add_fast(out[start:end], base[start:end], z, sigma)


@compiled
def perturb_fast_half(
    out: NDArray[Any], base: NDArray[Any], first: int, last: int, draw: int, tensor: int,
    k0: int, k1: int, sigma: np.float32, brain: bool,
) -> None:  # fmt: skip
    """The same for 16-bit storage."""
    t, z, wide = np.empty((4, LANE), u32), np.empty(FAST_CHUNK, f32), np.empty(FAST_CHUNK, f32)
    for chunk in range(first, last):
        start = chunk * FAST_CHUNK
        end = min(start + FAST_CHUNK, out.size)
        _fast_chunk(z, t, chunk, draw, tensor, k0, k1, end - start)
        w = wide[: end - start]
        widen(w, base[start:end], brain)
        _add_fast(w, w, z, sigma)
        narrow(out[start:end], w, brain)


@compiled
def scaled_normals(out: NDArray[Any], first: int, chunk: int, tensor: int, k0: int, k1: int, scale: float) -> None:
    """Row i: float32(z * scale) of draw ``first`` + i, from chunk ``chunk`` of a tensor on (seeded directions)."""
    t, z = np.empty((4, LANE), u32), np.empty(STRICT_CHUNK, f64)
    for i in range(out.shape[0]):
        for start in range(0, out.shape[1], STRICT_CHUNK):
            row = out[i, start : min(start + STRICT_CHUNK, out.shape[1])]
            strict_chunk(z, t, chunk + start // STRICT_CHUNK, first + i, tensor, k0, k1, row.size)
            for e in range(row.size):
                row[e] = z[e] * scale


@compiled
def _combination(total: NDArray[Any], directions: NDArray[Any], coordinates: NDArray[Any], start: int) -> None:
    """sum_i c_i v_i in float64, in index order from zero (so that -0.0 never appears)."""
    total[:] = 0.0
    for i in range(coordinates.size):
        c, v = coordinates[i], directions[i][start : start + total.size]
        for e in range(total.size):
            total[e] = total[e] + c * f64(v[e])


@compiled
def combine(out: NDArray[Any], base: NDArray[Any], directions: NDArray[Any], coordinates: NDArray[Any]) -> None:
    """Write base + sum_i c_i v_i into a float32 or float64 tensor, rounded once; directions: shape (k, size)."""
    total = np.empty(BLOCK, f64)
    for start in range(0, out.size, BLOCK):
        end = min(start + BLOCK, out.size)
        s = total[: end - start]
        _combination(s, directions, coordinates, start)
        o, b = out[start:end], base[start:end]
        for e in range(s.size):
            o[e] = f64(b[e]) + s[e]


@compiled
def combine_half(
    out: NDArray[Any], base: NDArray[Any], directions: NDArray[Any], coordinates: NDArray[Any], brain: bool
) -> None:
    """The same for 16-bit storage, by way of float32."""
    total, wide = np.empty(BLOCK, f64), np.empty(BLOCK, f32)
    for start in range(0, out.size, BLOCK):
        end = min(start + BLOCK, out.size)
        s, w = total[: end - start], wide[: end - start]
        _combination(s, directions, coordinates, start)
        widen(w, base[start:end], brain)
        for e in range(s.size):
            w[e] = f64(w[e]) + s[e]
        narrow(out[start:end], w, brain)
