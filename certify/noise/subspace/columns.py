"""Subspaces whose map is a sum over k directions, wherever these come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from certify.noise.contract import Backend, Move, Place
from certify.noise.subspace.map import Subspace

if TYPE_CHECKING:
    from certify.noise.philox import Floats


@dataclass(frozen=True)
class Block:
    """A run of one tensor's elements: which directions move it, ascending, and their values there.

    ``rows``: shape (len(indices), elements), float32 or float64, contiguous.
    """

    start: int
    indices: NDArray[np.int64]
    rows: torch.Tensor

    def of(self, flat: torch.Tensor) -> torch.Tensor:
        """Return this run of a flat tensor."""
        return flat[self.start : self.start + self.rows.shape[1]]


class Directions(Subspace):
    """base + sum_i a_i v_i: the sum in float64, in index order from zero."""

    @abstractmethod
    def blocks(self, name: str) -> Iterator[Block]:
        """Yield the directions of one tensor, run after run."""

    @property
    @abstractmethod
    def resident(self) -> bool:
        """Whether the directions stay in memory; otherwise every use makes them again, run by run."""

    def combine(self, name: str, coordinates: Floats | Sequence[float]) -> torch.Tensor:
        """Return sum_i a_i v_i of one tensor: float64, flat."""
        return torch.cat([_sum(block, coordinates) for block in self.blocks(name)])

    def mover(self, place: Place, backend: Backend) -> Move:
        """Return the backend's fused writer, run by run."""

        def moves() -> Iterator[tuple[Move, NDArray[np.int64]]]:
            for block in self.blocks(place.name):
                part = Place(place.name, block.of(place.base), block.of(place.work))
                yield backend.combination(part, block.rows), block.indices

        kept = list(moves()) if self.resident else None

        def move(coordinates: NDArray[np.float64]) -> None:
            for write, indices in moves() if kept is None else kept:
                write(coordinates[indices])

        return move

    def pull_back(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return the inner product of ``gradient`` with each direction in one tensor, shape (k,), float64."""
        out = torch.zeros(self.k, dtype=torch.float64, device=gradient.device)
        for block in self.blocks(name):
            rows = block.rows.to(gradient.device)
            out[block.indices] += (rows @ block.of(gradient).to(rows.dtype)).to(torch.float64)
        return out


def _sum(block: Block, coordinates: Floats | Sequence[float]) -> torch.Tensor:
    total = torch.zeros(block.rows.shape[1], dtype=torch.float64)
    for i, row in zip(block.indices, block.rows, strict=True):
        total = total + float(coordinates[i]) * row.to(torch.float64)
    return total
