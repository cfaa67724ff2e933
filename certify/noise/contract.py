"""The contract of a backend: what base + draw is, bit for bit, and how a backend is held to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from certify.errors import InvalidInput
from certify.noise.law import lattice_pitch
from certify.noise.philox import LANE, LANES, NormalStream, Sampler, noise_key

Write = Callable[[int], None]  # writes draw i
Move = Callable[[NDArray[np.float64]], None]  # writes the point at coordinates a


@dataclass(frozen=True)
class Noise:
    """What decides one tensor's noise, beside the number of the draw.

    ``strict``: pitch * rint(sigma z / pitch) in float64, added to float64(base), rounded to nearest float32, then
    to the storage dtype (float64 storage: no rounding after the sum). ``fast``: float32(sigma) * z, added in
    float32 (float64 for float64 storage), then rounded to the storage dtype.
    """

    key: tuple[int, int]
    tensor: int
    sigma: float
    pitch: float
    sampler: Sampler = "strict"

    @property
    def chunk(self) -> int:
        """Elements that share a run of Philox blocks."""
        return LANES[self.sampler] * LANE


@dataclass(frozen=True)
class Place:
    """One tensor's base and work storage: flat, contiguous, equal in size, dtype and device, or one and the same."""

    name: str
    base: torch.Tensor
    work: torch.Tensor


@dataclass(frozen=True)
class Run:
    """Neighbouring elements of one tensor's normals in one draw."""

    draw: int
    start: int
    count: int


class Backend(Protocol):
    """Prepares writers for tensors of one device."""

    name: str

    def noise(self, jobs: Sequence[tuple[Place, Noise]]) -> Write:
        """Return what writes base + noise of a draw into every work storage."""
        ...

    def combination(self, place: Place, directions: torch.Tensor) -> Move:
        """Return what writes base + sum_i a_i v_i; ``directions``: shape (k, size), float32 or float64.

        The sum runs over i in float64 and in index order, from zero, and is then added to the base.
        """
        ...

    def normals(self, out: torch.Tensor, runs: Sequence[Run], tensor: int, key: tuple[int, int]) -> None:
        """Fill row i of ``out``, float32 or float64, with run i's strict normals, rounded once, then zeros."""
        ...


_SIGMA, _SIZE = 0.01, 2 * 4096 + 1077  # several chunks of either sampler and a short one
_RUNS = (Run(3, 0, 5000), Run(2**32 - 1, 1000, 3077), Run(3, 2047, 0))  # ends and starts within chunks; nothing


def check_backend(backend: Backend, device: torch.device, dtype: torch.dtype, sampler: Sampler = "strict") -> None:
    """Hold ``backend`` on ``device`` against the numpy text, element by element, in one storage dtype.

    Takes the contract's own address (seed 7, stream E, draw 3, tensor 4), so that its known answers are among the
    elements; about a millisecond after compilation.

    Raises:
        InvalidInput: the first element that differs.
    """
    noise = Noise(noise_key(7, "E", sampler), 4, _SIGMA, lattice_pitch(_SIGMA, 12), sampler)
    z = NormalStream(7, "E", sampler).normals(3, 4, _SIZE)
    base = torch.linspace(-0.05, 0.05, _SIZE, dtype=torch.float64).to(dtype)
    expected = moved(base, z, noise)
    place = Place("check", base.to(device), torch.full_like(base, float("nan"), device=device))
    backend.noise([(place, noise)])(3)
    _compare(backend, place.work, expected, f"sampler {sampler}, {dtype}")
    if sampler == "strict" and dtype in (torch.float32, torch.float64):
        rows = torch.full((len(_RUNS), 5000), float("nan"), dtype=dtype, device=device)
        backend.normals(rows, _RUNS, 4, noise.key)
        plain = NormalStream(7, "E")
        true = [np.pad(plain.normals(run.draw, 4, run.count, run.start), (0, 5000 - run.count)) for run in _RUNS]
        _compare(backend, rows.view(-1), torch.from_numpy(np.concatenate(true)).to(dtype), f"normals alone, {dtype}")


def _compare(backend: Backend, got: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    wrong = (got.cpu() != expected).nonzero()
    if len(wrong):
        i = int(wrong[0])
        raise InvalidInput(
            f"backend {backend.name!r} on {got.device}, {what}: element {i} is {float(got[i])!r}, "
            f"the contract says {float(expected[i])!r}"
        )


def moved(base: torch.Tensor, z: NDArray[Any], noise: Noise) -> torch.Tensor:
    """Return base + noise for the normals ``z``, spelled out: the sentence that every backend implements."""
    wide = torch.float64 if base.dtype == torch.float64 else torch.float32
    if noise.sampler == "fast":
        return (base.to(wide) + torch.from_numpy(np.float32(noise.sigma) * z)).to(base.dtype)
    step = torch.from_numpy(np.rint(noise.sigma * z / noise.pitch) * noise.pitch)
    return (base.to(torch.float64) + step).to(wide).to(base.dtype)
