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
FIGURES = (
    "most-case", "worst-case", "sft-case", "plane-checkpoints", "plane-random", "filter-normalised",
    "adversarial-and-worst", "plane-adversarial-worst",
)  # fmt: skip


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
    ((_, edge),) = found.edges(0.05)
    assert f"lost between *a* = {edge.inside:.4f} and {edge.outside:.4f}" in text()


def test_what_is_said_of_the_adversarial_fine_tune_and_the_attacks_is_what_was_found() -> None:
    """Where each way ends, what it scores there, and the cosine that the plane records."""
    seen = read_landscape(ROOT / "docs" / "figures" / "adversarial-and-worst.json")
    for found in seen.of_case("sft"):
        record, ((_, edge),) = found.curves[0].direction, found.edges(seen.tau)
        assert isinstance(record, SftCase)
        assert (
            f"{record.checkpoint.name}: loses more than {seen.tau:g} between a = {edge.inside:.4f} and "
            f"{edge.outside:.4f}; score {found.at(record.alpha_star)[0]:.3f} at {record.alpha_star:.4f}"
        ) in text()
        nats = found.nll[0][found.a.index(record.alpha_star)]
        assert f"{nats:.0f} nats" in text() if record.checkpoint.name == "adversarial" else 150 < nats < 250
    (plane,) = read_landscape(ROOT / "docs" / "figures" / "plane-adversarial-worst.json").planes
    assert [mark.name for mark in plane.marks] == ["adversarial", "worst-0"]
    assert f"cosine of adversarial and worst-0: {plane.cosine:.2f}" in text()


def test_what_is_said_of_safety_is_what_was_found() -> None:
    """The basin of refusing, where both fine-tunes lie and score, and that only one way grants anything."""
    assert "(figures/safety-curve.svg)" in text()
    harmful, granted, reversal = (
        read_landscape(ROOT / "docs" / "figures" / f"safety-{name}.json") for name in ("harmful", "granted", "reversal")
    )
    (random,) = harmful.of_case("most")
    flat = [abs(a) <= 0.03 + 1e-9 for a in random.a]
    assert (len(random.curves), sum(flat)) == (5, 7)
    assert f"at most {random.scores[:, flat].max():.0%}".replace("%", " %") in text()
    places = {}
    for view in (harmful, granted, reversal):
        for found in view.of_case("sft"):
            record = found.curves[0].direction
            assert isinstance(record, SftCase)
            places[view.benchmark.name, record.checkpoint.name] = record.alpha_star, found.at(record.alpha_star)[0]
            once = found.scores.max() > 0
            assert view is not granted or once == (record.checkpoint.name == "jailbroken")
    assert granted.of_case("most")[0].scores.max() == 0.0
    assert f"lies at α\\* = {places['harmful', 'jailbroken'][0]:.4f}" in text()
    assert f"farther out, at {places['harmful', 'benign'][0]:.4f}" in text()
    assert [places["harmful", name][1] for name in ("jailbroken", "benign")] == [1.0, 0.0]
    assert f"score on reversal is {places['reversal', 'jailbroken'][1]:.3f}".replace("0.", ".") in text()


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
