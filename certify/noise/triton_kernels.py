"""The CUDA backend: Triton kernels, one program for each chunk, with the arithmetic of the contract.

Philox words come from ``tl.philox``; the transforms are spelled out here, since ``tl.randn`` clamps its uniforms at
1e-7 (5.68 sigma) and uses 31 bits. ``enable_fp_fusion=False`` keeps the compiler from fusing a multiplication with an
addition. Triton's interpreter, which the tests use, runs numpy operations one by one: it shows that the arithmetic is
the contract's, not that a compiler leaves it alone. For that, a test compiles the kernels for compute capability 9.0
and finds no fused instruction in the PTX (224 of them with fusion on), and the first use on a device compares the bits
of several chunks. What the driver makes of the PTX can only be seen on a GPU: a device whose bits differ is refused by
:func:`certify.noise.backend.check_backend`; ``benchmarks/gpu.py`` says on which they were equal.

Importing this module imports triton; nothing else in the package does.
"""

# Kernel arguments are Triton's own values, for which there are no types.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
import triton
import triton.language as tl

from certify.noise.contract import Move, Noise, Place, Run, Write
from certify.noise.tensor_ops import TensorBackend

LANE = tl.constexpr(1024)
ROUNDER = tl.constexpr(6755399441055744.0)  # 1.5 * 2^52: adding and subtracting it rounds |x| < 2^51 to nearest even
# Not specialised: draw 1 or 16 would compile a kernel of its own.
SCALARS = ["size", "draw", "tensor", "k0", "k1", "width"]
F = TypeVar("F", bound=Callable[..., Any])
_jit: Any = triton.jit


def _jitted(function: F) -> F:
    """triton.jit, with the function's type kept for checkers."""
    return cast(F, _jit(function, do_not_specialize=SCALARS))


class TritonBackend:
    """Writes with one kernel launch for each tensor."""

    name = "triton"

    def noise(self, jobs: Sequence[tuple[Place, Noise]]) -> Write:
        """Return the writer: tensors in order."""
        return partial(_write, [_launch(*job) for job in jobs])

    def combination(self, place: Place, directions: torch.Tensor) -> Move:
        """Return the writer of base + sum_i a_i v_i; memory-bound, so torch's operations serve it."""
        return TensorBackend().combination(place, directions)

    def normals(self, out: torch.Tensor, runs: Sequence[Run], tensor: int, key: tuple[int, int]) -> None:
        """Fill rows with one launch."""
        rows = torch.tensor([(run.draw, run.start, run.count) for run in runs], dtype=torch.int64, device=out.device)
        kernel: Any = strict_normals
        grid = (-(-out.shape[1] // LANE.value), len(runs))
        kernel[grid](out, rows, out.shape[1], tensor, *key, enable_fp_fusion=False)


def _launch(place: Place, noise: Noise) -> Write:
    """One tensor's launch as a function of the draw; its scales are on the device before the first."""
    base, work, size = place.base, place.work, place.base.numel()
    brain = base.dtype == torch.bfloat16
    if brain:  # as bits: the rounding is ours, the same on every version
        base, work = base.view(torch.int16), work.view(torch.int16)
    scales = torch.tensor([noise.sigma, 1.0 / noise.pitch, noise.pitch], dtype=torch.float64, device=base.device)
    kernel: Any = perturb_strict if noise.sampler == "strict" else perturb_fast
    grid = (-(-size // noise.chunk),)

    def launch(draw: int) -> None:
        kernel[grid](work, base, scales, size, draw, noise.tensor, *noise.key, brain, enable_fp_fusion=False)

    return launch


def _write(launches: Sequence[Write], draw: int) -> None:
    for launch in launches:
        launch(draw)


@_jitted
def words(block, draw, tensor, k0, k1):
    """Philox4x32-10 words of 1024 blocks."""
    c0, c1 = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    seed = (k1.to(tl.uint64) << 32) | k0.to(tl.uint64)
    return tl.philox(seed, c0, c1, c0 * 0 + draw.to(tl.uint32), c0 * 0 + tensor.to(tl.uint32))


@_jitted
def _log64(u):
    """Natural logarithm on (0, 1] (fdlibm e_log.c)."""
    h = u.to(tl.int64, bitcast=True) + 0x95F6200000000
    k = ((h >> 52) - 1023).to(tl.float64)
    f = ((h & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E00000000).to(tl.float64, bitcast=True) - 1.0
    hf = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    t2 = 2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)
    t2 = z * (6.666666666666735130e-01 + w * t2)
    return s * (hf + (t2 + t1)) + k * 1.90821492927058770002e-10 - hf + f + k * 6.93147180369123816490e-01


@_jitted
def _sin64(x):
    """Sine on [-pi/4, pi/4] (fdlibm k_sin.c)."""
    z = x * x
    w = z * z
    r = 8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * 2.75573137070700676789e-06)
    r = r + z * w * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    return x + z * x * (-1.66666666666666324348e-01 + z * r)


@_jitted
def _cos64(x):
    """Cosine on [-pi/4, pi/4] (fdlibm k_cos.c)."""
    z = x * x
    w = z * z
    r = z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05))
    tail = -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    r = r + w * w * tail
    v = 1.0 - 0.5 * z
    return v + (((1.0 - v) - 0.5 * z) + z * r)


@_jitted
def _turned(radius, c, s, quarter):
    """Radius times cosine and sine of an angle that lies ``quarter`` right angles further on."""
    odd = (quarter & 1) != 0
    first, second = tl.where(odd, s, c), tl.where(odd, c, s)
    first = tl.where(((quarter + 1) & 2) != 0, -first, first)
    second = tl.where((quarter & 2) != 0, -second, second)
    return radius * first, radius * second


@_jitted
def strict_pair(w0, w1, w2, w3):
    """Two float64 normals of four words (philox.strict_pair)."""
    a = (((w1.to(tl.uint64) << 32) | w0.to(tl.uint64)) >> 11).to(tl.int64)
    b = (((w3.to(tl.uint64) << 32) | w2.to(tl.uint64)) >> 11).to(tl.int64)
    radius = tl.sqrt(-2.0 * _log64((a.to(tl.float64) + 1.0) * 1.1102230246251565e-16))
    quarter = (b + 0x4000000000000) >> 51
    x = (b - (quarter << 51)).to(tl.float64) * 6.975736996017264e-16
    return _turned(radius, _cos64(x), _sin64(x), quarter)


@_jitted
def _log32(u):
    """Natural logarithm on (0, 1] in float32 (Cephes logf)."""
    bits = u.to(tl.int32, bitcast=True)
    e = ((bits >> 23) - 126).to(tl.float32)
    m = ((bits & 0x007FFFFF) | 0x3F000000).to(tl.float32, bitcast=True)
    small = m < 0.707106781186547524
    e = tl.where(small, e - 1.0, e)
    m = tl.where(small, m + m - 1.0, m - 1.0)
    z = m * m
    p = 7.0376836292e-2 * m - 1.1514610310e-1
    p = p * m + 1.1676998740e-1
    p = p * m - 1.2420140846e-1
    p = p * m + 1.4249322787e-1
    p = p * m - 1.6668057665e-1
    p = p * m + 2.0000714765e-1
    p = p * m - 2.4999993993e-1
    p = p * m + 3.3333331174e-1
    p = p * m * z
    p = p + e * -2.12194440e-4
    p = p - 0.5 * z
    return m + p + e * 0.693359375


@_jitted
def fast_pair(x, y):
    """Two float32 normals of two words (fast.fast_pair)."""
    radius = tl.sqrt_rn(-2.0 * _log32((x.to(tl.float32) + 0.5) * 2.3283064365386963e-10))
    t = y.to(tl.int32, bitcast=True).to(tl.float32) * 4.656612873077393e-10
    j = tl.floor(t * 2.0 + 0.5)
    r = (t - j * 0.5) * 3.14159265358979
    z = r * r
    s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r
    c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0
    return _turned(radius, c, s, j.to(tl.int32))


@_jitted
def load(base, at, size, brain: tl.constexpr):
    """Base values; bfloat16 comes as bits."""
    value = tl.load(base + at, mask=at < size, other=0)
    if brain:
        value = (value.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    return value


@_jitted
def store(work, at, size, value, brain: tl.constexpr):
    """Round to nearest float32, then to the storage dtype (float64 storage: as it is)."""
    if brain:
        bits = value.to(tl.float32).to(tl.uint32, bitcast=True)
        half = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        half = tl.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, half)
        tl.store(work + at, half.to(tl.int16), mask=at < size)
    elif work.dtype.element_ty == tl.float16:
        tl.store(work + at, value.to(tl.float32).to(tl.float16), mask=at < size)
    else:
        tl.store(work + at, value.to(work.dtype.element_ty), mask=at < size)


@_jitted
def _strict_lane(work, base, at, size, z, sigma, inverse, pitch, brain: tl.constexpr):
    """One lane: float64(base) + pitch * rint(sigma z / pitch). A zero keeps the sign that rint would give it."""
    steps = sigma * z * inverse
    whole = (steps + ROUNDER) - ROUNDER
    whole = tl.where(whole == 0.0, steps * 0.0, whole)
    store(work, at, size, load(base, at, size, brain).to(tl.float64) + whole * pitch, brain)


@_jitted
def _fast_lane(work, base, at, size, z, sigma, brain: tl.constexpr):
    """One lane: base + float32(sigma) * z, in float32 (float64 for float64 storage)."""
    value = load(base, at, size, brain)
    if work.dtype.element_ty == tl.float64:
        store(work, at, size, value + (sigma * z).to(tl.float64), brain)
    else:
        store(work, at, size, value.to(tl.float32) + sigma * z, brain)


@_jitted
def perturb_strict(work, base, scales, size, draw, tensor, k0, k1, brain: tl.constexpr):
    """One chunk of 2048 elements. ``scales``: float64 sigma, 1/pitch, pitch (a scalar argument would be float32)."""
    chunk = tl.program_id(0).to(tl.int64)
    w0, w1, w2, w3 = words(chunk * LANE + tl.arange(0, LANE), draw, tensor, k0, k1)
    first, second = strict_pair(w0, w1, w2, w3)
    sigma, inverse, pitch = tl.load(scales), tl.load(scales + 1), tl.load(scales + 2)
    at = chunk * (2 * LANE) + tl.arange(0, LANE)
    _strict_lane(work, base, at, size, first, sigma, inverse, pitch, brain)
    _strict_lane(work, base, at + LANE, size, second, sigma, inverse, pitch, brain)


@_jitted
def perturb_fast(work, base, scales, size, draw, tensor, k0, k1, brain: tl.constexpr):
    """One chunk of 4096 elements, four lanes."""
    chunk = tl.program_id(0).to(tl.int64)
    w0, w1, w2, w3 = words(chunk * LANE + tl.arange(0, LANE), draw, tensor, k0, k1)
    sigma = tl.load(scales).to(tl.float32)
    at = chunk * (4 * LANE) + tl.arange(0, LANE)
    first, second = fast_pair(w0, w1)
    _fast_lane(work, base, at, size, first, sigma, brain)
    _fast_lane(work, base, at + LANE, size, second, sigma, brain)
    first, second = fast_pair(w2, w3)
    _fast_lane(work, base, at + 2 * LANE, size, first, sigma, brain)
    _fast_lane(work, base, at + 3 * LANE, size, second, sigma, brain)


@_jitted
def strict_normals(out, runs, width, tensor, k0, k1):
    """1024 places of one row. ``runs``: int64 draw, first element and count of each row; zeros from its count on.

    A row may start anywhere in a chunk, so each place makes its pair and takes one of the two.
    """
    row = tl.program_id(1).to(tl.int64)
    draw, start, count = tl.load(runs + 3 * row), tl.load(runs + 3 * row + 1), tl.load(runs + 3 * row + 2)
    place = tl.program_id(0).to(tl.int64) * LANE + tl.arange(0, LANE)
    element = start + place
    lane = element & (2 * LANE - 1)
    w0, w1, w2, w3 = words((element - lane) // 2 + (lane & (LANE - 1)), draw, tensor, k0, k1)
    first, second = strict_pair(w0, w1, w2, w3)
    z = tl.where(lane < LANE, first, second)
    z = tl.where(place < count, z, 0.0)
    tl.store(out + row * width + place, z.to(out.dtype.element_ty), mask=place < width)
