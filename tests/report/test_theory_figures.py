"""The paper's Fig. 4 on its exact grids, against the reference values and against the definition."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from certify.report.figures import save
from certify.report.theory_figures import _LawCurves, figure_4a, figure_4b, law_figure

VECTORS = json.loads((Path(__file__).parents[1] / "theory_vectors.json").read_text(encoding="utf-8"))["vectors"]
PANELS = {"figure4a": figure_4a, "figure4b": figure_4b}
VALUES = [v for v in VECTORS if v["function"] in PANELS]


def test_the_grids_are_the_papers() -> None:
    """a: sigma .003, five p, e = 0 (.25) 7; b: p .9, four sigmas, e = 0 (.25) 15; distances 2^e / 1000, exactly."""
    a, b = figure_4a(), figure_4b()
    assert a.distance.tolist() == [2 ** (k / 4) / 1000 for k in range(29)]
    assert b.distance.tolist() == [2 ** (k / 4) / 1000 for k in range(61)]
    assert (a.p, a.sigma) == ((0.9, 0.99, 0.999, 0.9999, 0.99999), (0.003,) * 5)
    assert (b.p, b.sigma) == ((0.9,) * 4, (0.003, 0.03, 0.3, 3.0))
    assert (a.bound.shape, b.bound.shape) == ((5, 29), (4, 61))


def column(curves: _LawCurves, r: float) -> list[float]:
    """The panel's values at the grid point r."""
    (place,) = np.flatnonzero(np.abs(curves.distance - r) <= 1e-15)
    return list(curves.bound[:, place])


@pytest.mark.parametrize("vector", VALUES, ids=[v["id"] for v in VALUES])
def test_values_are_the_reference_values(vector: dict[str, object]) -> None:
    """F1 to F8 lie on the grids and agree to 1e-12."""
    inputs, expected = vector["inputs"], vector["expected"]
    assert isinstance(inputs, dict)
    got = column(PANELS[str(vector["function"])](), inputs["r"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_the_comparison_has_eight_entries_and_can_fail() -> None:
    """No entry is missing, and a shift of one grid point is noticed."""
    assert [v["id"] for v in VALUES] == [f"F{i}" for i in range(1, 9)]
    curves = figure_4a()
    assert np.max(np.abs(curves.bound[:, 0] - curves.bound[:, 1])) > 1e-3


@pytest.mark.parametrize("curves", [figure_4a(), figure_4b()], ids=["4a", "4b"])
def test_every_point_is_the_strong_law(curves: _LawCurves) -> None:
    """Phi(Phi^-1(p) - distance / sigma) at every point, by the standard library's normal law."""
    normal = NormalDist()
    for p, sigma, row in zip(curves.p, curves.sigma, curves.bound, strict=True):
        x = normal.inv_cdf(p)
        expected = [0.5 * math.erfc((r / sigma - x) / math.sqrt(2)) for r in curves.distance]
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-300)
        assert np.all(np.diff(row) <= 0)


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        (figure_4a(), ("p = 0.99999 (shown by 460,515 clean draws)", "p = 0.9 (shown by 44 clean draws)", "99 %")),
        (figure_4b(), ("sigma = 0.003", "sigma = 3", "p = 0.9")),
    ],
    ids=["4a", "4b"],
)
def test_the_figure_names_its_curves(curves: _LawCurves, words: tuple[str, ...], tmp_path: Path) -> None:
    """Every curve is named in the figure itself, and the same curves give the same file."""
    svg, png = save(law_figure(curves), tmp_path / "a", "law")
    again, _ = save(law_figure(curves), tmp_path / "b", "law")
    text = svg.read_text()
    for word in words:
        assert word in text, word
    assert png.stat().st_size > 1000
    assert svg.read_bytes() == again.read_bytes()
