"""Slices: scores along lines through the base, on a grid that refines itself where they fall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from certify.landscape.grid import next_point
from certify.landscape.record import Curve, Sight, Slice
from certify.measuring import Run
from certify.noise.walk import Walk

if TYPE_CHECKING:
    from torch import nn

    from certify.landscape.directions import Lines
    from certify.landscape.grid import Grid
    from certify.landscape.terrain import Terrain

P = TypeVar("P")
LINE = 1 << 60  # a point's number is line * LINE + k + LINE / 2
REFINE, TAU = 12, 0.05


def slice_along(
    terrain: Terrain, lines: Lines[P], grid: Grid, *, tau: float = TAU, refine: int = REFINE, run: Run | None = None
) -> Slice:
    """Look along every line at the points of ``grid``, then at ``refine`` more, one at a time, where scores fall.

    Every other one of these halves the interval in which the mean score has fallen by more than ``tau``. All lines
    share one grid, so that a spread over directions exists at every point. The base is looked at once. On return the
    model has its own storage and bits.
    """
    run = run or Run()
    count = len(lines.directions)
    what: dict[str, Any] = {
        "directions": [d.model_dump(mode="json") for d in lines.directions[:1]],  # line i is the i-th of its kind
        "unit": grid.unit,
        "steps": grid.steps,
    }
    base = terrain.look(terrain.model)
    seen: list[dict[int, Sight]] = [{0: base} for _ in range(count)]

    def visit(walk: Walk[P], points: list[int], label: str) -> None:
        numbers = [i * LINE + k + LINE // 2 for i in range(count) for k in points if k != 0]

        def show(number: int) -> nn.Module:
            i, k = divmod(number, LINE)
            return walk.at(lines.point(i, grid.at(k - LINE // 2)))

        for number, sight in zip(numbers, terrain.sights(run, numbers, show, label, what), strict=True):
            seen[number // LINE][number % LINE - LINE // 2] = sight

    with Walk(terrain.model, lines.way) as walk:
        visit(walk, list(grid.first), lines.name)
        for turn in range(refine):
            points = sorted(seen[0])
            curves = np.array([[sights[k].score for k in points] for sights in seen])
            middle = next_point(points, curves, tau, turn)
            if middle is None:
                break
            visit(walk, [middle], f"{lines.name}, refining")
    points = sorted(seen[0])
    return Slice(
        a=tuple(grid.at(k) for k in points),
        planned=tuple(grid.at(k) for k in grid.first),
        curves=tuple(
            Curve(direction=direction, sights=tuple(sights[k] for k in points))
            for direction, sights in zip(lines.directions, seen, strict=True)
        ),
    )
