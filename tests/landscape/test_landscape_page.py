"""docs/landscape.md runs, and quotes the records that are beside it."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import pytest

from certify.landscape import read_landscape
from certify.landscape.record import SftCase

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "landscape.md"
BENCHMARK = ROOT / "benchmarks" / "results" / "landscape.json"
FIGURES = ("most-case", "worst-case", "sft-case", "plane-checkpoints", "plane-random", "filter-normalised")


def text() -> str:
    return " ".join(PAGE.read_text(encoding="utf-8").split())


def test_the_examples_run_as_printed() -> None:
    """They give the output beside them."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert (failed, tried >= 15) == (0, True)


def test_closing_fences_follow_a_blank_line() -> None:
    """Otherwise the fence would be read as expected output."""
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        assert block.endswith("\n\n"), block


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_there_with_its_record(name: str) -> None:
    """And the record is whole."""
    assert f"(figures/{name}.svg)" in text()
    assert (ROOT / "docs" / "figures" / f"{name}.svg").is_file()
    assert read_landscape(ROOT / "docs" / "figures" / f"{name}.json").benchmark.items == 300


def test_what_is_said_of_the_checkpoints_is_what_was_found() -> None:
    """alpha* and scores, from the record beside the figure."""
    for found in read_landscape(ROOT / "docs" / "figures" / "sft-case.json").of_case("sft"):
        record = found.curves[0].direction
        assert isinstance(record, SftCase)
        assert f"{record.alpha_star:.4f}" in text()
        score = found.at(record.alpha_star)[0]
        assert score == 1.0 or f"score is {score:.3f}".replace("0.", ".") in text()


def test_what_is_said_of_the_attack_is_what_was_found() -> None:
    """Its radius, and its score there."""
    (found,) = read_landscape(ROOT / "docs" / "figures" / "worst-case.json").of_case("worst")
    record = found.curves[0].direction
    assert record.kind == "worst"
    assert f"*a* = {record.radius:.3g}" in text()
    assert f"attack: score {found.at(record.radius)[0]:.3f}" in text()
    assert f"{len(record.ascents)} random starts, {record.steps} steps each" in text()


def test_the_timings_are_the_benchmark_s() -> None:
    """Processor seconds and ratios of the shipped record; both ratios are at least 1."""
    record = json.loads(BENCHMARK.read_text(encoding="utf-8"))
    for name, each in record["timings"].items():
        seconds = [each[who]["processor"] for who in ("ours", "loss-landscapes")]
        ratio = each["ratio"]["processor"]
        assert f"| {name} | {seconds[0]:.2f} s | {seconds[1]:.2f} s | {ratio:.2f} |" in text()
        assert ratio >= 1.0
    assert f"{record['repeats']} rounds" in text()


def test_the_differences_are_the_benchmark_s() -> None:
    """Each claim about the other package was found by running it."""
    found = json.loads(BENCHMARK.read_text(encoding="utf-8"))["differences"]
    smallest, largest = found["smallest and largest entry of a direction"]
    assert 0.0 <= smallest < 0.01 < 0.99 < largest <= 1.0
    assert f"cosine of {found['cosine of two directions']:.2f}" in text()
    assert found["a bias's direction is the bias itself, made positive"] is True
    assert "ZeroDivisionError" in found["zero biases"]
    assert found["the base is among the points"] is False
    assert found["model moved afterwards, relative"] > 0.9
    assert found["requires_grad afterwards"] is False
    near, _, far = found["end of the line, relative, for distance 0.1, 1, 10"]
    assert (round(near), round(far, 2)) == (10, 0.1)
    drift = found["weights that end elsewhere in 20 steps than in 1, float32, bfloat16"]
    assert f"{drift[0]:.0%}".replace("%", " %") in text()
    assert f"({drift[1]:.0%}".replace("%", " %") in text()
    assert found["draws from the global generator"] is True
