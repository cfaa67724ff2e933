"""What moves the weights: noise on every weight, or noise on the coordinates of a subspace."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from certify.errors import InvalidInput
from certify.noise.backend import backend_for
from certify.noise.contract import Backend, Move, Noise, Place, Write, check_backend
from certify.noise.law import lattice_pitch
from certify.noise.philox import NormalStream, Sampler, noise_key
from certify.records import SubspaceNoise, WeightNoise

if TYPE_CHECKING:
    from certify.noise.subspace import Subspace

EXPLORATION = ("pilot/", "landscape/", "training/")  # prefixes of streams that no certificate draws from
PITCHES = (2.0**-900, 2.0**900)  # where a pitch has an exact float64 inverse and products stay normal


class Perturbation(Protocol):
    """Names of the tensors that move, and what writes them."""

    names: tuple[str, ...]

    def writer(self, places: Sequence[Place]) -> Write:
        """Return what writes base + draw into the work storage of ``places`` (all or some of the names).

        Raises:
            InvalidInput: a tensor has another size than the law says.
        """
        ...


class WeightPerturbation:
    """Independent noise on weights, on the lattice: pitch * rint(sigma * z / pitch), element by element.

    ``sampler="fast"`` is for exploration: it needs a stream of its own, under one of the prefixes above.
    ``backend`` is the device's own unless one is given; either must pass the check of its bits first. ``sign=-1``
    gives base - noise: the same draw seen from the other side, as slices along a direction need it.
    """

    def __init__(
        self,
        law: WeightNoise,
        seed: int,
        lattice_bits: int,
        stream: str = "E",
        *,
        sampler: Sampler = "strict",
        backend: Backend | None = None,
        sign: Literal[1, -1] = 1,
    ) -> None:
        if sampler == "fast" and not stream.startswith(EXPLORATION):
            raise InvalidInput(
                f"the fast sampler has no eta, so stream {stream!r} of a certificate cannot use it: put one of "
                f"{', '.join(EXPLORATION)} before its name"
            )
        ordered = sorted(law.sigma)  # byte order of the names: a tensor's id is its rank
        self.names = tuple(name for name in ordered if law.sigma[name] > 0)
        self._sampler: Sampler = sampler
        self._backend = backend
        self._sizes, key = law.sizes, noise_key(seed, stream, sampler)
        self._noise = {
            name: Noise(
                key, ordered.index(name), sign * law.sigma[name], _pitch(law.sigma[name], lattice_bits), sampler
            )
            for name in self.names
        }

    def writer(self, places: Sequence[Place]) -> Write:
        """Return the fused writer: one call of the backend for each device and dtype."""
        groups = defaultdict(list)
        for place in places:
            _check_size(place, self._sizes[place.name])
            groups[place.work.device, place.work.dtype].append((place, self._noise[place.name]))
        writers = [_backend(self._backend, *group, self._sampler).noise(jobs) for group, jobs in groups.items()]
        return _in_turn(writers)


class SubspacePerturbation:
    """Noise on the coordinates of a subspace: its map at c with c_i = pitch * rint(sigma_i z_i / pitch)."""

    def __init__(
        self,
        law: SubspaceNoise,
        subspace: Subspace,
        seed: int,
        lattice_bits: int,
        stream: str = "S",
        *,
        backend: Backend | None = None,
    ) -> None:
        self.names, self._backend = subspace.names, backend
        self._law, self._subspace = law, subspace
        self._stream = NormalStream(seed, stream)
        self._pitch = np.array([_pitch(s, lattice_bits) for s in law.sigma])

    def coordinates(self, draw: int) -> NDArray[np.float64]:
        """Return the noise on the k coordinates in one draw, shape (k,)."""
        z = self._stream.normals(draw, 0, len(self._law.sigma))
        out: NDArray[np.float64] = np.rint(np.array(self._law.sigma) * z / self._pitch) * self._pitch
        return out

    def writer(self, places: Sequence[Place]) -> Write:
        """Return the writer: each tensor's base + what the subspace moves it by."""
        moves: list[Move] = []
        for place in places:
            _check_size(place, math.prod(self._subspace.shapes[place.name]))
            backend = _backend(self._backend, place.work.device, place.work.dtype, "strict")
            moves.append(self._subspace.mover(place, backend))

        def write(draw: int) -> None:
            coordinates = self.coordinates(draw)
            for move in moves:
                move(coordinates)

        return write


def _backend(given: Backend | None, device: torch.device, dtype: torch.dtype, sampler: Sampler) -> Backend:
    if given is None:
        return backend_for(device, dtype, sampler)
    check_backend(given, device, dtype, sampler)
    return given


def _in_turn(writers: Sequence[Write]) -> Write:
    def write(draw: int) -> None:
        for writer in writers:
            writer(draw)

    return write


def _pitch(sigma: float, lattice_bits: int) -> float:
    pitch = lattice_pitch(sigma, lattice_bits)
    if not PITCHES[0] <= pitch <= PITCHES[1]:
        raise InvalidInput(f"sigma {sigma} is outside what float64 noise can carry: its pitch must be within 2^±900")
    return pitch


def _check_size(place: Place, expected: int) -> None:
    if place.work.numel() != expected:
        raise InvalidInput(f"tensor {place.name!r} has {place.work.numel()} elements, the noise law says {expected}")
