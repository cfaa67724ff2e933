"""Walks: a model shown at base + displacement, at points of one's own choosing, as safely as under noise.

An engine's draws are numbered; a walk numbers the points it visits, so that the explicit engine carries it: the base
is never written, every point is written from it in one pass and rounded once, and everything is put back on exit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Literal, Protocol, Self, TypeVar

import torch

from certify.noise.contract import Place, Write
from certify.noise.explicit import ExplicitEngine
from certify.noise.perturbation import WeightPerturbation
from certify.records import WeightNoise

if TYPE_CHECKING:
    from torch import nn

SLAB = 1 << 20  # elements upcast at a time: the float64 sums stay small beside the weights
P = TypeVar("P")
Q = TypeVar("Q", contravariant=True)
Tensors = Mapping[str, torch.Tensor]
Vector = Callable[[str, int, torch.Tensor], torch.Tensor]
"""A vector in weight space, read in slabs: (tensor name, first element, float64 base there) -> float64 values."""


class Way(Protocol[Q]):
    """Which tensors move, and what writes the weights of a point."""

    names: tuple[str, ...]

    def writer(self, places: Sequence[Place]) -> Callable[[Q], None]:
        """Return what writes the weights at a point into the work storage of ``places``."""
        ...


class Walk(Generic[P]):
    """Shows a model at points of a way; use it as a context manager.

    Guarantee: that of :class:`ExplicitEngine`. ``at(point)`` is a pure function of base, way and point, and on leaving
    the block, by an error too, every parameter has its own storage with the bytes it came with.
    """

    def __init__(self, model: nn.Module, way: Way[P]) -> None:
        self._visits = _Visits(way)
        self._engine = ExplicitEngine(model, self._visits)

    def __enter__(self) -> Self:
        self._engine.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.__exit__(kind, error, trace)

    def at(self, point: P) -> nn.Module:
        """Return the model with the weights of ``point``, until the next call."""
        self._visits.points.append(point)
        return self._engine.at(len(self._visits.points) - 1)


class _Visits(Generic[P]):
    """The perturbation whose draw i is the i-th point visited."""

    def __init__(self, way: Way[P]) -> None:
        self.names, self._way = way.names, way
        self.points: list[P] = []

    def writer(self, places: Sequence[Place]) -> Write:
        write = self._way.writer(places)
        return lambda draw: write(self.points[draw])


class Normals:
    """Straight lines in random directions: the point ``(i, a)`` is base + a z_i, z_i ~ N(0, I), not normalised.

    These are the bits of the engine's draw i under noise of sigma a from the same seed and stream; with a negative
    they are those of base minus that noise. No direction is ever stored.
    """

    def __init__(self, sizes: Mapping[str, int], seed: int, stream: str, lattice_bits: int = 12) -> None:
        self.names = tuple(sorted(sizes))
        self._sizes, self._seed, self._stream, self._lattice_bits = dict(sizes), seed, stream, lattice_bits

    def writer(self, places: Sequence[Place]) -> Callable[[tuple[int, float]], None]:
        """Return the writer of base + a z_i."""

        def write(point: tuple[int, float]) -> None:
            draw, a = point
            if a == 0.0:
                for place in places:
                    place.work.copy_(place.base)
                return
            law = WeightNoise(sigma=dict.fromkeys(self._sizes, abs(a)), sizes=self._sizes)
            sign: Literal[1, -1] = 1 if a > 0 else -1
            noise = WeightPerturbation(law, self._seed, self._lattice_bits, self._stream, sign=sign)
            noise.writer(places)(draw)

        return write


class Span:
    """The span of given vectors: the point ``(a_0, a_1, ...)`` is base + sum_i a_i v_i.

    The sum runs in index order in float64, is added to the base in float64, and is rounded once: to nearest float32,
    then to the storage dtype.
    """

    def __init__(self, names: Iterable[str], *vectors: Vector) -> None:
        self.names, self._vectors = tuple(sorted(names)), vectors

    def writer(self, places: Sequence[Place]) -> Callable[[Sequence[float]], None]:
        """Return the writer of base + sum_i a_i v_i."""

        def write(point: Sequence[float]) -> None:
            for place in places:
                for start in range(0, place.base.numel(), SLAB):
                    base = place.base[start : start + SLAB].to(torch.float64)
                    total = torch.zeros_like(base)
                    for a, vector in zip(point, self._vectors, strict=True):
                        if a != 0.0:  # 0 * inf would be no number
                            total += a * vector(place.name, start, base)
                    total += base
                    wide = total if place.work.dtype == torch.float64 else total.to(torch.float32)
                    place.work[start : start + SLAB] = wide

        return write


def stored(tensors: Tensors) -> Vector:
    """Return the vector whose values are ``tensors``; a contiguous tensor may change between two points."""
    flat = {name: tensor.detach().reshape(-1) for name, tensor in tensors.items()}

    def part(name: str, start: int, base: torch.Tensor) -> torch.Tensor:
        return flat[name][start : start + len(base)].to(base)

    return part


def towards(tensors: Tensors) -> Vector:
    """Return the vector from the base to ``tensors``, taken slab by slab: nothing of the model's size is stored."""
    theirs = stored(tensors)

    def part(name: str, start: int, base: torch.Tensor) -> torch.Tensor:
        return theirs(name, start, base) - base

    return part
