"""Every script of examples/landscapes runs, at a reduced size, and writes its record and figures."""

from __future__ import annotations

import runpy
from dataclasses import replace
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
    "adversarial_and_worst": ("adversarial-and-worst", "plane-adversarial-worst"),
    "safety_curve": ("safety-curve",),
}
SAFETY = [f"safety-{name}.json" for name in ("harmful", "granted", "reversal")]


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
    smaller: dict[str, Any] = {
        "worst_case": {"random": 2}, "sft_case": {"names": ("benign",)}, "safety_curve": {"names": ("jailbroken",)}
    }.get(name, {})  # fmt: skip
    settings = replace(SMALL, refine=0, directions=1) if name == "safety_curve" else SMALL
    found = script(name)(tmp_path, settings, **smaller)
    said, written = found if isinstance(found, tuple) else ("", found)
    expected = [f"{figure}.{kind}" for figure in FIGURES[name] for kind in ("json", "svg", "png")]
    assert written == [tmp_path / file for file in ([*SAFETY, *expected[1:]] if name == "safety_curve" else expected)]
    assert all(path.stat().st_size > 1000 for path in written)
    seen = [read_landscape(path) for path in written if path.suffix == ".json"]
    if name == "safety_curve":
        assert [each.benchmark.name for each in seen] == ["harmful", "granted", "reversal"]
        drawn = {tuple(c.direction.seed.value for c in each.of_case("most")[0].curves) for each in seen}
        assert len(drawn) == 1  # all three along the same random directions
    else:
        assert {each.benchmark.name for each in seen} == {"addition"}
    if name == "adversarial_and_worst":
        _, plane = seen
        assert f"cosine of adversarial and worst-0: {plane.planes[0].cosine:.2f}" in said
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
