"""Standard normals as a pure function of (seed, stream, draw, tensor, element).

This is the text to read: numpy, one operation at a time. The backends (:mod:`certify.noise.backend`) compute the
same bits faster, and are refused where they do not.

The ``strict`` sampler: Philox4x32-10 (Salmon et al., SC 2011) keyed by a 256-bit seed, 53-bit uniforms,
Box-Muller in float64 with its own logarithm, sine and cosine (fdlibm's polynomials), so that every IEEE
machine gives the same bits. Nothing here uses libm, a fused multiply-add or a global generator.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from certify.errors import InvalidInput
from certify.noise import fast

LANE = 1024  # Philox blocks per chunk
CHUNK = 2 * LANE  # elements per chunk: each block gives a cosine (first lane) and a sine (second lane)
Sampler = Literal["strict", "fast"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
LANES: dict[Sampler, int] = {"strict": 2, "fast": fast.LANES}

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

# First normals of seed 7, stream E, draw 3, tensor 4, at elements 0, 1, 1024 and 2048 (the noise contract).
KNOWN_ANSWERS = {
    0: "0x1.86744199a4400p-4",
    1: "0x1.1f161db31fb4bp+0",
    1024: "-0x1.1b2af77f50eb5p+0",
    2048: "0x1.50ebbfb1a637dp-2",
}


def noise_key(seed: int, stream: str, sampler: Sampler = "strict") -> tuple[int, int]:
    """Return the 64-bit Philox key of a 256-bit seed and a stream name, as two 32-bit words.

    Raises:
        InvalidInput: the seed is not in [0, 2^256), or the sampler is not known.
    """
    if sampler not in SAMPLERS:
        raise InvalidInput(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if not 0 <= seed < 1 << 256:
        raise InvalidInput(f"seed must be in [0, 2^256), got {seed}")
    parts = (b"pytest-basin noise 1", sampler.encode(), stream.encode(), seed.to_bytes(32, "little"))
    key = hashlib.sha256(b"\0".join(parts)).digest()
    return int.from_bytes(key[:4], "little"), int.from_bytes(key[4:8], "little")


def philox(c0: Words, c1: Words, c2: Words, c3: Words, key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Return Philox4x32-10 of counters held as 32-bit values in uint64 arrays."""
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c2 = (p1 >> _32) ^ c1 ^ np.uint64(k0), (p0 >> _32) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def strict_pair(w0: Words, w1: Words, w2: Words, w3: Words) -> tuple[Floats, Floats]:
    """Turn four words into two normals: u = (a+1) 2^-53 for the radius, angle 2 pi b 2^-53 reduced exactly."""
    a = (((w1 << _32) | w0) >> np.uint64(11)).view(np.int64)
    b = (((w3 << _32) | w2) >> np.uint64(11)).view(np.int64)
    radius = np.sqrt(-2.0 * _log((a.astype(np.float64) + 1.0) * 2.0**-53))
    quarter = (b + (1 << 50)) >> 51
    x = (b - (quarter << 51)).astype(np.float64) * (6.283185307179586 * 2.0**-53)
    sine, cosine = _sin(x), _cos(x)
    odd = (quarter & 1).astype(bool)
    c, s = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
    c = np.where(((quarter + 1) & 2) != 0, -c, c)
    s = np.where((quarter & 2) != 0, -s, s)
    return radius * c, radius * s


def _log(u: Floats) -> Floats:
    """Natural logarithm on (0, 1] (fdlibm e_log.c)."""
    h = u.view(np.int64) + ((0x3FF00000 - 0x3FE6A09E) << 32)
    k = ((h >> 52) - 1023).astype(np.float64)
    f = ((h & 0x000FFFFFFFFFFFFF) + (0x3FE6A09E << 32)).view(np.float64) - 1.0
    hf, s = 0.5 * f * f, f / (2.0 + f)
    z = s * s
    w = z * z
    t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    t2 = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    out: Floats = s * (hf + (t2 + t1)) + k * 1.90821492927058770002e-10 - hf + f + k * 6.93147180369123816490e-01
    return out


def _sin(x: Floats) -> Floats:
    """Sine on [-pi/4, pi/4] (fdlibm k_sin.c)."""
    z = x * x
    w = z * z
    r = (
        8.33333333332248946124e-03
        + z * (-1.98412698298579493134e-04 + z * 2.75573137070700676789e-06)
        + z * w * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    )
    out: Floats = x + z * x * (-1.66666666666666324348e-01 + z * r)
    return out


def _cos(x: Floats) -> Floats:
    """Cosine on [-pi/4, pi/4] (fdlibm k_cos.c)."""
    z = x * x
    w = z * z
    r = z * (
        4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05)
    ) + w * w * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11))
    v = 1.0 - 0.5 * z
    out: Floats = v + (((1.0 - v) - 0.5 * z) + z * r)
    return out


class NormalStream:
    """The normals of one seed, stream and sampler; the same bits in any batch, process or order.

    Streams: ``E`` noise on weights, ``S`` on subspace coordinates; ``pilot/``, ``landscape/`` or
    ``training/`` before a name outside certification; ``V`` and ``cores`` make a subspace's random directions and
    factors, from a seed of its own. Samplers: ``strict``, float64, for everything that ends in a
    certificate; ``fast``, float32, for exploration only (:mod:`certify.noise.fast` says why).
    """

    def __init__(self, seed: int, stream: str, sampler: Sampler = "strict") -> None:
        self.key = noise_key(seed, stream, sampler)
        self._sampler = sampler
        self.chunk = LANES[sampler] * LANE

    def chunks(self, draw: int, tensor: NDArray[np.int64], chunk: NDArray[np.int64]) -> NDArray[Any]:
        """Return the normals of whole chunks, one row each: chunk ``chunk[i]`` of ``tensor[i]``.

        Shape (len(chunk), 2048) and float64 with ``strict``, (len(chunk), 4096) and float32 with ``fast``.
        """
        block = (chunk[:, None] * LANE + np.arange(LANE)).astype(np.uint64)
        zero = np.zeros_like(block)
        w0, w1, w2, w3 = philox(
            block & _LOW,
            block >> _32,
            zero + np.uint64(draw),
            zero + tensor.astype(np.uint64)[:, None],
            self.key,
        )
        if self._sampler == "strict":
            return np.concatenate(strict_pair(w0, w1, w2, w3), axis=1)
        return np.concatenate([*fast.fast_pair(w0, w1), *fast.fast_pair(w2, w3)], axis=1)

    def normals(self, draw: int, tensor: int, size: int, start: int = 0) -> NDArray[Any]:
        """Return elements ``start`` to ``start + size`` of one tensor's normals for one draw, shape (size,)."""
        first, last = start // self.chunk, (start + size - 1) // self.chunk
        chunk = np.arange(first, last + 1)
        z = self.chunks(draw, np.full_like(chunk, tensor), chunk).reshape(-1)
        return z[start - first * self.chunk :][:size]


@cache
def check_known_answers(sampler: Sampler = "strict") -> None:
    """Refuse to draw on a machine whose arithmetic differs from the contract's known answers.

    Raises:
        InvalidInput: naming the element, what came out and what should have.
    """
    for element, expected in (KNOWN_ANSWERS if sampler == "strict" else fast.KNOWN_ANSWERS).items():
        got = float(NormalStream(7, "E", sampler).normals(3, 4, 1, element)[0])
        if got != float.fromhex(expected):
            raise InvalidInput(f"{sampler} sampler: element {element} is {got.hex()}, the contract says {expected}")
