"""The protocol of a subspace: what moves along its coordinates, how far, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from certify.checkpoints import Checkpoint
from certify.errors import CheckpointError

if TYPE_CHECKING:
    from certify.noise.contract import Backend, Move, Place
    from certify.noise.philox import Floats


class Subspace(ABC):
    """A linear map from k coordinates to weights, a -> base + V a, fixed before anything is drawn or trained.

    Guarantee: ``combine``, ``mover`` and ``materialise`` give the same bits, on every machine and with any number
    of threads: a float64 sum in an order that each kind states, added to the base in float64, rounded to nearest
    float32 and then to the storage dtype (float64 storage: not rounded again).
    """

    @property
    @abstractmethod
    def k(self) -> int:
        """Number of coordinates."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Digest of everything that decides the map: the identity that a noise law and a member name."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that move along some coordinate and their shapes, sorted by name."""

    @abstractmethod
    def combine(self, name: str, coordinates: Floats | Sequence[float]) -> torch.Tensor:
        """Return V a in one tensor: float64, flat."""

    @abstractmethod
    def mover(self, place: Place, backend: Backend) -> Move:
        """Return what writes base + V a into ``place.work``, on the device where it lies."""

    @abstractmethod
    def pull_back(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return V^T g, the slope along each coordinate of a loss with gradient g in one tensor (flat).

        Shape (k,), float64, on the gradient's device; summed in no stated order.
        """

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that move along some coordinate, sorted."""
        return tuple(self.shapes)

    def weights(self, base: Checkpoint, coordinates: Sequence[float]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every parameter and stored buffer of the base at ``coordinates``; tied ones once.

        Raises:
            CheckpointError: the base lacks a tensor that moves, or has it in another shape.
        """
        self.check_base(base)
        for name in base.parameters:
            weights = base.read(name)
            if name in self.shapes:
                total = weights.to(torch.float64) + self.combine(name, coordinates).reshape(weights.shape)
                weights = rounded(total, weights.dtype)
            yield name, weights

    def materialise(self, base: Checkpoint, coordinates: Sequence[float]) -> dict[str, torch.Tensor]:
        """Return the weights at ``coordinates``."""
        return dict(self.weights(base, coordinates))

    def check_base(self, base: Checkpoint) -> None:
        """Refuse a base that the map was not made for.

        Raises:
            CheckpointError: naming the tensor, its shape here and there.
        """
        for name, shape in self.shapes.items():
            found = base.parameters[name].shape if name in base.parameters else None
            if found != shape:
                has = "no such tensor" if found is None else f"shape {found}"
                raise CheckpointError(f"{base.path}: the subspace moves {name!r} of shape {shape}, the base has {has}")


def rounded(total: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a float64 sum in the storage dtype, by way of float32: the two roundings of the noise contract."""
    return (total if dtype == torch.float64 else total.to(torch.float32)).to(dtype)
