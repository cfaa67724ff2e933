"""The subspace sweep at a reduced size, its figure, and the page that shows its results."""

from __future__ import annotations

import doctest
import importlib.util
import json
import math
import re
import shlex
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest

from certify.checkpoints import difference, open_checkpoint
from certify.demo import DATA
from certify.statistics.rounding import floor_to

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "subspaces.md"
RESULTS = ROOT / "benchmarks" / "results" / "subspaces.json"
TINY = shlex.split("--ks 3 --ranks --spans scouts --seeds 1 --draws 40 --pilot-draws 3 --steps 3 --max-drop 0.5")


def script(name: str) -> ModuleType:
    """Import an example, as running it would."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    return script("subspace_sweep")


@pytest.fixture(scope="module")
def figure() -> ModuleType:
    return script("subspace_figure")


def run(sweep: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["subspace_sweep.py", *arguments])
    sweep.main()


@pytest.fixture(scope="module")
def results(sweep: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over all weights, one span and three random directions."""
    out = tmp_path_factory.mktemp("sweep") / "subspaces.json"
    with pytest.MonkeyPatch.context() as patch:
        run(sweep, patch, "--out", str(out), *TINY)
    return out


def test_every_subspace_is_studied(results: Path) -> None:
    """Each row holds what was tolerated, certified and learnt; r is |a|/sigma; a budget is held."""
    rows = {row["key"]: row for row in json.loads(results.read_text())["rows"]}
    assert {key: row["k"] for key, row in rows.items()} == {
        "weights seed 0": 77376,
        "span scouts 2 seed 0": 2,
        "seeded 3 seed 0": 3,
    }
    for row in rows.values():
        assert row["pilot_drop"] <= 0.025
        assert row["noise_norm"] == pytest.approx(row["sigma"] * math.sqrt(row["k"]))
        assert 0 <= row["free"]["bound"] <= row["mean_under_noise"] <= 1
        assert row["budgeted"]["r"] <= row["radius"] * (1 + 1e-9)
        assert row["budgeted"]["verdict"] == "certified"
    span = rows["span scouts 2 seed 0"]
    assert span["free"]["delta_norm"] == pytest.approx(span["free"]["r"] * span["sigma"], rel=1e-5)  # orthonormal


def test_a_finished_subspace_is_not_studied_again(
    sweep: ModuleType, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command goes on where it stopped, here at the end: same bytes, nothing printed."""
    before = results.read_bytes()
    run(sweep, monkeypatch, "--out", str(results), *TINY)
    assert results.read_bytes() == before
    assert capsys.readouterr().out == ""


def test_results_of_another_design_are_not_mixed(
    sweep: ModuleType, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows measured with other draws or steps stay in a file of their own."""
    with pytest.raises(SystemExit, match="holds another design"):
        run(sweep, monkeypatch, "--out", str(results), *TINY, "--steps", "4")


def test_the_figure_shows_every_kind(figure: ModuleType, results: Path, tmp_path: Path) -> None:
    """SVG and PNG; the legend names the kinds that were studied and the prediction."""
    drawn = figure.subspace_figure(json.loads(results.read_text()))
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels == ["seeded random directions", "spans of task vectors", "all weights", "all weights times sqrt(d/k)"]
    assert len(drawn.axes) == 6
    assert {path.suffix for path in figure.save(drawn, tmp_path, figure.NAME)} == {".svg", ".png"}


def test_the_prediction_is_the_law_of_equal_noise_norm(figure: ModuleType, results: Path) -> None:
    """The dashed line passes through what all weights reach, and falls as 1/sqrt(k)."""
    found = json.loads(results.read_text())
    drawn = figure.subspace_figure(found)
    (line,) = (line for line in drawn.axes[1].get_lines() if line.get_label() == "all weights times sqrt(d/k)")
    weights = next(row for row in found["rows"] if row["kind"] == "weights")
    (k0, k1), (y0, y1) = line.get_xdata(), line.get_ydata()
    assert (k1, y1) == (weights["k"], pytest.approx(weights["sigma"]))
    assert y0 / y1 == pytest.approx(math.sqrt(k1 / k0))


def test_the_page_shows_the_results_that_are_stored(figure: ModuleType) -> None:
    """Its table is what the script prints from the results, line by line."""
    table = figure.table(json.loads(RESULTS.read_text()))
    assert len(table) > 10
    assert "\n".join(table) in PAGE.read_text(encoding="utf-8")


def test_the_pages_sentences_hold_for_the_stored_results() -> None:
    """What is said about the line, the budget, the spans and the scores can be read off the results."""
    rows = json.loads(RESULTS.read_text())["rows"]
    drawn = [row for row in rows if row["kind"] == "seeded"]
    (weights,) = (row for row in rows if row["kind"] == "weights")

    def on_the_line(k: int) -> float:
        """Median radius as a share of sqrt(d/k) times that of all weights."""
        lengths = [row["radius"] * row["sigma"] for row in drawn if row["k"] == k]
        return statistics.median(lengths) / (weights["radius"] * weights["sigma"] * math.sqrt(weights["k"] / k))

    ks = sorted({row["k"] for row in drawn})
    assert all(abs(on_the_line(k) - 1) <= 0.06 for k in ks if k >= 32)
    assert round(on_the_line(2), 2) == 0.63
    few = [row["free"] for row in drawn if row["k"] <= 4]
    assert (min(r["bound"] for r in few), max(r["bound"] for r in few)) == pytest.approx((0.405, 0.805), abs=0.005)
    assert all(r["new_score"] == 0 for r in few)
    assert all(row["free"]["bound"] <= 0.02 for row in drawn if row["k"] >= 16)
    assert all(row["free"]["new_score"] <= 0.01 for row in drawn if row["k"] < 1000)
    last = [row["free"] for row in drawn if row["k"] == 1000]
    assert [round(r["new_score"], 2) for r in sorted(last, key=lambda r: r["new_score"])] == [0.11, 0.16, 0.84]
    assert all(r["r"] > 60 for r in last)
    held = [row["budgeted"] for row in rows if row["kind"] != "span"]
    assert all(6.35 <= r["new_loss"] < 6.85 and r["new_score"] == 0 for r in held)
    learnt = {row["name"]: row["budgeted"] for row in rows if row["kind"] == "span"}
    assert all(
        learnt[name]["new_score"] == 1.0 and learnt[name]["verdict"] == "certified" for name in ("benign", "scouts")
    )
    assert learnt["benign+full"]["new_score"] < 0.1
    benign = difference(open_checkpoint(DATA / "base"), open_checkpoint(DATA / "checkpoints" / "benign"))
    assert (floor_to(learnt["benign"]["delta_norm"], 1), round(benign.delta_norm, 1)) == (11.5, 11.7)


def test_the_stored_results_are_of_the_default_design(sweep: ModuleType) -> None:
    """Whoever runs the script as it stands repeats the study that is shown."""
    found = json.loads(RESULTS.read_text())
    assert found["design"] == sweep.asdict(sweep.Design())
    assert {row["key"] for row in found["rows"]} == {
        arm.key for arm in sweep.arms(sweep.KS, sweep.CORE_RANKS, sweep.SPANS, sweep.SEEDS)
    }


def test_the_examples_of_the_page_run_as_printed() -> None:
    """Every example gives the output beside it."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert tried >= 10


def test_the_pages_fences_follow_a_blank_line_and_its_files_exist() -> None:
    """A closing fence would be read as expected output; a link must lead somewhere."""
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert block.endswith("\n\n"), block
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
