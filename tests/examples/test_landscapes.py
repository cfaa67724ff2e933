"""Every script of examples/landscapes runs, at a reduced size, and writes its record and figures."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from certify.landscape import Settings, read_landscape

SCRIPTS = Path(__file__).parents[2] / "examples" / "landscapes"
SMALL = Settings(directions=2, span=0.3, points=3, refine=1, steps=3, restarts=1, side=2)
FIGURES = {
    "most_case": ("most-case",),
    "worst_case": ("worst-case",),
    "sft_case": ("sft-case",),
    "planes": ("plane-checkpoints", "plane-random"),
    "filter_normalised": ("filter-normalised",),
}


def script(name: str) -> Any:
    """The script's own ``main``."""
    torch.set_num_threads(1)
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))["main"]


def test_every_script_is_listed_here() -> None:
    """A new script is tested too."""
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_the_script_writes_its_record_and_figures(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SVG and PNG beside a record that reads back."""
    smaller: dict[str, Any] = {"worst_case": {"random": 2}, "sft_case": {"names": ("benign",)}}.get(name, {})
    found = script(name)(tmp_path, SMALL, **smaller)
    written = found[1] if name == "worst_case" else found
    expected = [tmp_path / f"{figure}.{kind}" for figure in FIGURES[name] for kind in ("json", "svg", "png")]
    assert written == expected
    assert all(path.stat().st_size > 1000 for path in written)
    for path in written[::3]:
        assert read_landscape(path).benchmark.name == "addition"
    if name == "most_case":
        assert capsys.readouterr().out.count("falls by more than 0.05 between") == SMALL.directions


@pytest.mark.statistical
def test_the_attack_beats_a_thousand_random_directions_of_equal_norm(tmp_path: Path) -> None:
    """By loss and by score, at the radius where the pilot finds random noise harmless; the page has the line."""
    comparison, _ = script("worst_case")(tmp_path)
    assert len(comparison.random) == 1000
    assert comparison.attack.nll > max(sight.nll for sight in comparison.random)
    assert comparison.attack.score < min(sight.score for sight in comparison.random)
    page = (SCRIPTS.parents[1] / "docs" / "landscape.md").read_text(encoding="utf-8")
    assert f"score {comparison.attack.score:.3f}" in page
