"""Planes: base and checkpoints lie where they should, and every point is the model it says."""

from __future__ import annotations

import hills
import numpy as np
import pytest
import torch

from certify.errors import InvalidInput
from certify.landscape.directions import MOST, gaussian
from certify.landscape.planes import checkpoint_plane, random_plane
from certify.landscape.record import SftCase
from certify.landscape.terrain import Terrain


def checkpoint(**places: float) -> tuple[hills.Weights, SftCase]:
    """A checkpoint displaced by ``places`` along the first weights u[0], u[1] ..., and its record."""
    model = hills.Weights()
    for name, value in places.items():
        model.u.data[int(name[1:])] = value
    norm = float(hills.flat(model).norm())
    _, record = hills.moved(norm)
    return model, record


def watched() -> tuple[Terrain, list[torch.Tensor]]:
    """A bowl that keeps the first two weights of every point it is looked at."""
    terrain, seen = hills.bowl(), []
    score = terrain.scorer._score  # type: ignore[attr-defined]
    object.__setattr__(terrain.scorer, "_score", lambda x: seen.append(x[:2].clone()) or score(x))
    return terrain, seen


def test_the_checkpoints_lie_at_their_marks() -> None:
    """The first on the first axis, at its alpha*; the second at the distances along and across it."""
    one, two = checkpoint(u0=64.0), checkpoint(u0=32.0, u1=48.0)
    plane = checkpoint_plane(hills.bowl(), [one, two], side=3)
    (a, b), (cosine) = plane.marks, plane.cosine
    assert (a.x, a.y) == pytest.approx((1.0, 0.0))
    assert (b.x, b.y) == pytest.approx((0.5, 0.75))
    assert cosine == pytest.approx(32 / (32**2 + 48**2) ** 0.5)


def test_every_point_is_base_plus_x_e1_plus_y_e2() -> None:
    """Axes are orthogonal and in the unit of sigma, though the displacements are neither."""
    terrain, seen = watched()
    plane = checkpoint_plane(terrain, [checkpoint(u0=64.0), checkpoint(u0=32.0, u1=48.0)], side=4)
    expected = [[64.0 * x, 64.0 * y] for y in plane.y for x in plane.x]
    assert torch.stack(seen).numpy() == pytest.approx(np.array(expected), abs=1e-9)
    widths = plane.x[-1] - plane.x[0], plane.y[-1] - plane.y[0]
    assert widths[0] == pytest.approx(widths[1])
    assert min(plane.x) < 0 < 1 < max(plane.x)


def test_scores_are_those_of_the_bowl() -> None:
    plane = checkpoint_plane(hills.bowl(), [checkpoint(u0=64.0), checkpoint(u1=64.0)], side=5)
    expected = [[hills.half_way((x * x + y * y) ** 0.5) for x in plane.x] for y in plane.y]
    assert plane.scores == pytest.approx(np.array(expected), abs=1e-9)
    assert plane.nll.shape == (5, 5)


@pytest.mark.parametrize("other", [{"u0": -10.0}, {"u0": 64.0}])
def test_checkpoints_on_one_line_span_no_plane(other: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="one line"):
        checkpoint_plane(hills.bowl(), [checkpoint(u0=64.0), checkpoint(**other)])


def test_a_plane_needs_two_checkpoints() -> None:
    with pytest.raises(InvalidInput, match="got 1"):
        checkpoint_plane(hills.bowl(), [checkpoint(u0=64.0)])


def test_a_random_plane_has_the_first_two_most_case_directions_for_axes() -> None:
    """As drawn: neither normalised nor orthogonal, and the cosine says how far from it."""
    terrain, seen = watched()
    plane = random_plane(terrain, 0.5, side=3)
    z = [gaussian(terrain, MOST, i) for i in range(2)]
    expected = [[x * float(z[0]["u"][i]) + y * float(z[1]["u"][i]) for i in range(2)] for y in plane.y for x in plane.x]
    assert torch.stack(seen).numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert 0 < abs(plane.cosine) < 5.33 / hills.ROOT  # of two independent draws: normal, standard deviation 1/sqrt(d)
    assert plane.x == (-0.5, 0.0, 0.5)


def test_the_model_is_put_back() -> None:
    terrain = hills.bowl(torch.float32)
    before = hills.bits(terrain.model)
    random_plane(terrain, 0.5, side=2)
    assert hills.bits(terrain.model) == before
