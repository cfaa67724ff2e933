"""The normals of a batch of draws: vectors and rows from stream E, projected noise from stream A."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from certify.noise.backend import backend_for
from certify.noise.contract import Run
from certify.noise.philox import noise_key


class GroupNormals:
    """Strict normals for one draw per group, rounded once to the dtype that the model computes in, made on its device.

    Vectors (biases, gains) and embedding rows are the very values that the explicit engine adds, before its
    lattice: they come from stream ``E``. Projected noise has no counterpart there and a stream ``A`` of its own.
    """

    def __init__(self, seed: int, prefix: str, draws: Sequence[int], like: torch.Tensor) -> None:
        self._weights, self._projected = noise_key(seed, prefix + "E"), noise_key(seed, prefix + "A")
        self.draws, self._like = tuple(draws), like
        self._backend = backend_for(like.device, like.dtype)

    def vectors(self, tensor: int, size: int) -> torch.Tensor:
        """Return a whole small tensor for each group, shape (groups, size)."""
        return self._filled(size, [Run(draw, 0, size) for draw in self.draws], tensor, self._weights)

    def projected(self, tensor: int, ranks: Sequence[int], width: int) -> torch.Tensor:
        """Return G for each group, shape (groups, max rank, width): element row * width + column, zeros below."""
        runs = [Run(draw, 0, rank * width) for draw, rank in zip(self.draws, ranks, strict=True)]
        most = max(ranks)
        return self._filled(most * width, runs, tensor, self._projected).view(len(ranks), most, width)

    def rows(self, group: int, tensor: int, ids: Sequence[int], width: int) -> torch.Tensor:
        """Return the noise of embedding rows ``ids``, shape (len(ids), width)."""
        return self._filled(width, [Run(self.draws[group], i * width, width) for i in ids], tensor, self._weights)

    def _filled(self, width: int, runs: Sequence[Run], tensor: int, key: tuple[int, int]) -> torch.Tensor:
        out = torch.empty(len(runs), width, dtype=self._like.dtype, device=self._like.device)
        self._backend.normals(out, runs, tensor, key)
        return out
