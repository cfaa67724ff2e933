"""Planes through the base: scores on a grid of two directions, or through the base and two checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from certify.errors import InvalidInput
from certify.landscape.directions import MOST, gaussian, inner
from certify.landscape.record import Mark, MostCase, Plane
from certify.measuring import Run
from certify.noise.walk import Span, Vector, Walk, stored, towards

if TYPE_CHECKING:
    import torch
    from torch import nn

    from certify.landscape.record import SftCase, Sight
    from certify.landscape.terrain import Terrain

SIDE = 15  # points along each axis
MARGIN = 0.35  # how far a plane through checkpoints goes beyond them, as a share of their larger extent
Coefficients = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class _Axes:
    """Two vectors, and the coefficients of a point (x, y) on them."""

    vectors: tuple[Vector, Vector]
    coefficients: Coefficients


def random_plane(terrain: Terrain, span: float, *, side: int = SIDE, run: Run | None = None) -> Plane:
    """Look at the plane of the first two most-case directions, as drawn: not normalised, not made orthogonal.

    In many dimensions two draws are nearly orthogonal anyway; the record holds their cosine.
    """
    drawn = [gaussian(terrain, MOST, i) for i in range(2)]
    lengths = [inner(v, v) for v in drawn]
    records = tuple(MostCase(seed=terrain.seed, stream=MOST, draw=i) for i in range(2))
    axis = _axis(-span, span, side)
    axes = _Axes((stored(drawn[0]), stored(drawn[1])), lambda x, y: (x, y))
    sights = _look(terrain, axes, axis, axis, [r.model_dump(mode="json") for r in records], "random plane", run)
    cosine = inner(*drawn) / math.sqrt(lengths[0] * lengths[1])
    return Plane(kind="random", directions=(records[0], records[1]), cosine=cosine, x=axis, y=axis, sights=sights)


def checkpoint_plane(
    terrain: Terrain,
    checkpoints: Sequence[tuple[nn.Module, SftCase]],
    *,
    side: int = SIDE,
    run: Run | None = None,
) -> Plane:
    """Look at the plane through the base and two checkpoints, in orthogonal axes whose unit is that of sigma.

    Raises:
        InvalidInput: not two checkpoints, or both on one line through the base.
    """
    if len(checkpoints) != 2:
        raise InvalidInput(f"a plane through the base needs two checkpoints, got {len(checkpoints)}")
    base = {name: p.data for name, p in terrain.model.named_parameters()}
    theirs = [{name: p.data for name, p in model.named_parameters()} for model, _ in checkpoints]
    gram = _gram(base, theirs)
    axes, marks, cosine = _orthogonal(theirs, gram, math.sqrt(terrain.dimension))
    records = tuple(record for _, record in checkpoints)
    named = tuple(Mark(name=r.checkpoint.name, x=x, y=y) for r, (x, y) in zip(records, marks, strict=True))
    x, y = (_axis(low, high, side) for low, high in _square(marks))
    sights = _look(
        terrain, axes, x, y, [r.model_dump(mode="json") for r in records], "plane through checkpoints", run
    )  # fmt: skip
    directions = (records[0], records[1])
    return Plane(kind="checkpoints", directions=directions, cosine=cosine, x=x, y=y, sights=sights, marks=named)


def _gram(base: dict[str, torch.Tensor], theirs: Sequence[dict[str, torch.Tensor]]) -> tuple[float, float, float]:
    """Inner products <d1, d1>, <d1, d2>, <d2, d2> of the displacements, tensor by tensor in float64."""
    sums: tuple[list[float], ...] = ([], [], [])
    for name, own in base.items():
        one, two = ((t[name].to(own.device).double() - own.double()).flatten() for t in theirs)
        for total, pair in zip(sums, ((one, one), (one, two), (two, two)), strict=True):
            total.append(float(pair[0] @ pair[1]))
    return math.fsum(sums[0]), math.fsum(sums[1]), math.fsum(sums[2])


def _orthogonal(
    theirs: Sequence[dict[str, torch.Tensor]], gram: tuple[float, float, float], root: float
) -> tuple[_Axes, list[tuple[float, float]], float]:
    """Gram-Schmidt: the axes, the two checkpoints' places on them, and the cosine of their displacements."""
    first, mixed, second = gram
    rest = second - mixed * mixed / first if first > 0 else 0.0  # squared norm of d2 less its part along d1
    if not rest > 1e-12 * second:
        raise InvalidInput("the two checkpoints lie on one line through the base, so they span no plane")
    one, two, share = math.sqrt(first), math.sqrt(rest), mixed / first

    def coefficients(x: float, y: float) -> tuple[float, float]:
        return x * root / one - share * y * root / two, y * root / two

    marks = [(one / root, 0.0), (mixed / one / root, two / root)]
    axes = _Axes((towards(theirs[0]), towards(theirs[1])), coefficients)
    return axes, marks, mixed / math.sqrt(first * second)


def _square(marks: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Ranges of x and y, equally long, that hold the base and the checkpoints with a margin."""
    ranges = [(min(0.0, *places), max(0.0, *places)) for places in zip(*marks, strict=True)]
    half = (0.5 + MARGIN) * max(high - low for low, high in ranges)
    return [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in ranges]


def _axis(low: float, high: float, side: int) -> tuple[float, ...]:
    if side < 2:
        raise InvalidInput(f"side = {side}: a plane needs at least 2 points along each axis")
    return tuple(float(v) for v in np.linspace(low, high, side))


def _look(
    terrain: Terrain,
    axes: _Axes,
    x: Sequence[float],
    y: Sequence[float],
    directions: list[dict[str, object]],
    label: str,
    run: Run | None,
) -> tuple[Sight, ...]:
    what = {"directions": directions, "x": list(x), "y": list(y)}
    with Walk(terrain.model, Span(terrain.sizes, *axes.vectors)) as walk:

        def show(number: int) -> nn.Module:
            row, column = divmod(number, len(x))
            return walk.at(axes.coefficients(x[column], y[row]))

        return tuple(terrain.sights(run or Run(), range(len(x) * len(y)), show, label, what))
