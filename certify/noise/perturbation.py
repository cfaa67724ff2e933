"""What is added to the weights: the float64 noise of one draw, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from certify.noise.law import lattice_pitch
from certify.noise.philox import CHUNK, Floats, NormalStream
from certify.records import SubspaceNoise, WeightNoise

if TYPE_CHECKING:
    from certify.noise.subspace import Subspace

SLAB = 16  # chunks per call: scratch arrays of 128 KiB stay in cache and off the system's page mapper


class Perturbation(Protocol):
    """Names of the tensors that move, and what moves them in one draw."""

    names: tuple[str, ...]

    def parts(self, draw: int) -> Iterator[tuple[str, int, torch.Tensor]]:
        """Yield (tensor name, first element, float64 noise) in pieces that cover every moving tensor once."""
        ...


class WeightPerturbation:
    """Independent noise on weights: pitch * rint(sigma * z / pitch), element by element."""

    def __init__(self, law: WeightNoise, seed: int, lattice_bits: int, stream: str = "E") -> None:
        ordered = sorted(law.sigma)  # byte order of the names: a tensor's id is its rank
        self.names = tuple(name for name in ordered if law.sigma[name] > 0)
        self._stream = NormalStream(seed, stream)
        self._sizes = law.sizes
        rows = [
            (ordered.index(name), chunk, law.sigma[name], lattice_pitch(law.sigma[name], lattice_bits))
            for name in self.names
            for chunk in range(-(-law.sizes[name] // CHUNK))
        ]
        self._owner = [name for name in self.names for _ in range(-(-law.sizes[name] // CHUNK))]
        self._tensor = np.array([r[0] for r in rows], dtype=np.int64)
        self._chunk = np.array([r[1] for r in rows], dtype=np.int64)
        self._sigma = np.array([r[2] for r in rows])[:, None]
        self._pitch = np.array([r[3] for r in rows])[:, None]

    def parts(self, draw: int) -> Iterator[tuple[str, int, torch.Tensor]]:
        """Yield the noise in slabs of whole chunks, tensors in order."""
        for first in range(0, len(self._owner), SLAB):
            s = slice(first, first + SLAB)
            z = self._stream.chunks(draw, self._tensor[s], self._chunk[s])
            yield from self._split(first, np.rint(self._sigma[s] * z / self._pitch[s]) * self._pitch[s])

    def _split(self, first: int, noise: Floats) -> Iterator[tuple[str, int, torch.Tensor]]:
        """Cut a slab where one tensor ends and the next begins."""
        flat, row = torch.from_numpy(noise.reshape(-1)), 0
        while row < len(noise):
            name, start = self._owner[first + row], int(self._chunk[first + row]) * CHUNK
            rows = 1
            while row + rows < len(noise) and self._owner[first + row + rows] == name:
                rows += 1
            size = min(rows * CHUNK, self._sizes[name] - start)
            yield name, start, flat[row * CHUNK : row * CHUNK + size]
            row += rows


class SubspacePerturbation:
    """Noise on the coordinates of a subspace: sum_i c_i v_i with c_i = pitch * rint(sigma_i z_i / pitch)."""

    def __init__(self, law: SubspaceNoise, subspace: Subspace, seed: int, lattice_bits: int, stream: str = "S") -> None:
        self.names = subspace.names
        self._law, self._subspace = law, subspace
        self._stream = NormalStream(seed, stream)
        self._pitch = np.array([lattice_pitch(s, lattice_bits) for s in law.sigma])

    def coordinates(self, draw: int) -> Floats:
        """Return the noise on the k coordinates in one draw, shape (k,)."""
        z = self._stream.normals(draw, 0, len(self._law.sigma))
        out: Floats = np.rint(np.array(self._law.sigma) * z / self._pitch) * self._pitch
        return out

    def parts(self, draw: int) -> Iterator[tuple[str, int, torch.Tensor]]:
        """Yield each tensor's combination of directions, summed in index order."""
        coordinates = self.coordinates(draw)
        for name in self.names:
            yield name, 0, self._subspace.combine(name, coordinates)
