"""Directions through the base, and the lines along them.

Most-case directions are Gaussian draws, regenerated whenever they are needed and never stored; a checkpoint's
direction is read off its weights slab by slab; worst-case and filter-normalised ones are held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from certify.errors import InvalidInput
from certify.landscape.record import FilterNormalised, MostCase, SftCase
from certify.noise.backend import Place
from certify.noise.walk import Normals, Span, Way, stored, towards
from certify.statistics import ranges

if TYPE_CHECKING:
    from torch import nn

    from certify.landscape.record import Direction
    from certify.landscape.terrain import Terrain
    from certify.noise.walk import Tensors

P = TypeVar("P")
MOST, ATTACK, FILTER = "landscape/E", "landscape/attack", "landscape/filter"  # streams; none ends in a certificate


@dataclass(frozen=True)
class Lines(Generic[P]):
    """Straight lines through the base: ``point(i, a)`` is base + a v_i, v_i of norm about sqrt(d)."""

    directions: Sequence[Direction]
    way: Way[P]
    point: Callable[[int, float], P]
    name: str


def most_case(terrain: Terrain, count: int) -> Lines[tuple[int, float]]:
    """Return ``count`` directions v ~ N(0, I), not normalised: at a they are the engine's draws of sigma a."""
    records = [MostCase(seed=terrain.seed, stream=MOST, draw=i) for i in range(ranges.count("directions", count))]
    way = Normals(terrain.sizes, terrain.seed.integer, MOST)
    return Lines(records, way, lambda i, a: (i, a), f"most-case, {count} directions")


def sft_case(terrain: Terrain, checkpoint: nn.Module, record: SftCase) -> Lines[tuple[float, ...]]:
    """Return the direction from the base to a checkpoint; the checkpoint's own bits lie at a = alpha*."""
    theirs = {name: p.data for name, p in checkpoint.named_parameters()}
    way = Span(terrain.sizes, towards(theirs))
    return Lines([record], way, lambda i, a: (a / record.alpha_star,), f"to {record.checkpoint.name}")


def along(terrain: Terrain, vectors: Sequence[tuple[Direction, Tensors]], name: str) -> Lines[tuple[float, ...]]:
    """Return lines along vectors that are held in memory."""
    way = Span(terrain.sizes, *(stored(tensors) for _, tensors in vectors))
    count = len(vectors)
    return Lines([d for d, _ in vectors], way, lambda i, a: tuple(a * (j == i) for j in range(count)), name)


def filter_case(terrain: Terrain, count: int) -> Lines[tuple[float, ...]]:
    """Return ``count`` filter-normalised directions (Li et al. 2018), for comparison with older tools.

    Each row of each tensor of two or more dimensions is a Gaussian row scaled to the norm of the base's row;
    one-dimensional tensors do not move. a is then relative to the weights, not in the unit of sigma.

    Raises:
        InvalidInput: every weight of two or more dimensions is zero.
    """
    weights = dict(terrain.model.named_parameters())
    vectors: list[tuple[Direction, Tensors]] = []
    for i in range(count):
        drawn = {
            name: _row_normalised(z, weights[name]) if z.ndim > 1 else torch.zeros_like(z)
            for name, z in gaussian(terrain, FILTER, i).items()
        }
        if norm_of(drawn) == 0.0:
            raise InvalidInput("filter-normalised directions need weights of two or more dimensions that are not zero")
        vectors.append((FilterNormalised(seed=terrain.seed, stream=FILTER, draw=i, norm=norm_of(drawn)), drawn))
    return along(terrain, vectors, f"filter-normalised, {count} directions")


def gaussian(terrain: Terrain, stream: str, draw: int) -> dict[str, torch.Tensor]:
    """Return one draw of N(0, I) as tensors, float32, on the lattice of pitch 2^-12."""
    parameters = dict(terrain.model.named_parameters())
    drawn = {name: torch.zeros(p.shape, dtype=torch.float32, device=p.device) for name, p in parameters.items()}
    places = [Place(name, z.view(-1), z.view(-1)) for name, z in drawn.items()]
    Normals(terrain.sizes, terrain.seed.integer, stream).writer(places)((draw, 1.0))
    return drawn


def inner(u: Mapping[str, Any], v: Mapping[str, Any]) -> float:
    """Return the inner product of two vectors, summed in float64."""
    return math.fsum(float((u[name].double() * v[name].double()).sum()) for name in u)


def norm_of(vector: Tensors) -> float:
    """Return the norm of a vector."""
    return math.sqrt(inner(vector, vector))


def _row_normalised(z: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    rows, own = z.flatten(1).double(), weight.detach().flatten(1).double()
    scale = own.norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    scaled: torch.Tensor = (rows * scale).to(z.dtype).view_as(z)
    return scaled
