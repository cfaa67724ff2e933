"""Every script of examples/figures runs, at a reduced size, and writes its figures as SVG and PNG."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from certify.documents import read_document
from certify.verify import differences

SCRIPTS = Path(__file__).parents[2] / "examples" / "figures"
FIGURES = {
    "fig4_bounds": ({}, ("fig4a", "fig4b")),
    "token_distances": ({}, ("token-distances",)),
    "basin": ({"draws": 3, "grid": (0.02, 0.2)}, ("basin",)),
    "skills": ({"draws": 250, "grid": (0.01,)}, ("skills-base", "skills-full")),
    "certified_bound": ({"draws": 101, "grid": (0.06,)}, ("certified-bound",)),
    "width_over_checkpoints": ({"results": "optimizers"}, ("width-over-checkpoints",)),
    "width_over_sizes": ({"results": "scale"}, ("width-over-sizes", "width-over-sizes-relative")),
    "forgetting": ({"results": "optimizers"}, ("forgetting",)),
    "losses": ({"results": "losses"}, ("pretraining-loss", "forgetting-likelihood")),
}
OPTIMIZERS = [
    {
        "key": {"method": method, "seed": seed},
        "basins": [
            {"x": 250, "lower": 0.02, "upper": 0.04, "top": 0.16}, {"x": 500, "lower": 0, "upper": None, "top": 0.16},
        ],
        "steps": [0, 20, 40], "old": [0.9, 0.8, 0.1 * seed], "new": [0.0, 0.5, 0.9],
    }
    for method in ("AdamW", "GO") for seed in (1, 2)
]  # fmt: skip
SCALE = [
    {"size_of_weights": 0.1, "basin": {"x": 10**k, "lower": 0.01 * k, "upper": 0.02 * k, "top": 0.16}} for k in (3, 4)
]
LOSSES = [
    {
        "key": {"method": method, "seed": seed}, "losses": [[250, 1.5], [500, 1.0 + 0.1 * seed]],
        "basin": {"x": 500, "lower": 0.02 * seed, "upper": upper, "top": 0.16}, "steps": [0, 20],
        "old": [0.9, 0.1], "old_nll": [0.1, 2.0 * seed], "new": [0.0, 0.9], "new_nll": [9.0, 0.2],
    }
    for method, upper in (("AdamW", 0.08), ("GO", None)) for seed in (1, 2)
]  # fmt: skip
STUDIES = {"optimizers": OPTIMIZERS, "scale": SCALE, "losses": LOSSES}


def script(name: str) -> dict[str, Any]:
    """The names that a script defines."""
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))


def test_every_script_is_listed_here() -> None:
    """A new figure is tested too."""
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_the_script_draws_its_figures(name: str, tmp_path: Path) -> None:
    """At a reduced size, or from results of the studies' form."""
    arguments, figures = FIGURES[name]
    given: dict[str, Any] = dict(arguments)
    if "results" in given:
        given["results"] = tmp_path / "results.json"
        given["results"].write_text(json.dumps({"runs": STUDIES[str(arguments["results"])]}))
    written = script(name)["main"](tmp_path / "out", **given)
    for figure in figures:
        for kind in ("svg", "png"):
            assert tmp_path / "out" / f"{figure}.{kind}" in written
            assert (tmp_path / "out" / f"{figure}.{kind}").stat().st_size > 1000
    for record in (tmp_path / "out").glob("basin.json"):
        assert differences(read_document(record)) == []


@pytest.mark.parametrize("name", [n for n, (arguments, _) in FIGURES.items() if "results" in arguments])
def test_shipped_results_have_the_form_that_the_script_reads(name: str, tmp_path: Path) -> None:
    """Where the study's results are shipped, the script draws them as they are."""
    found = script(name)
    if not found["RESULTS"].exists():
        pytest.skip(f"{found['RESULTS'].name} is not shipped")
    assert found["main"](tmp_path)


def test_a_script_runs_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what it wrote."""
    monkeypatch.setattr(sys, "argv", ["fig4_bounds.py", str(tmp_path)])
    runpy.run_path(str(SCRIPTS / "fig4_bounds.py"), run_name="__main__")
    assert str(tmp_path / "fig4a.svg") in capsys.readouterr().out
