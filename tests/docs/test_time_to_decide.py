"""The benchmark "time to decide one gate" runs, compares valid designs, and the page has the numbers of its record."""

from __future__ import annotations

import json
import math
import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from certify.statistics import GatePlan, clopper_pearson_lower

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "planning.md"
RECORD = ROOT / "benchmarks" / "results" / "decide.json"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The benchmark's functions."""
    return runpy.run_path(str(ROOT / "benchmarks" / "decide.py"))


def test_a_tiny_case_runs_through(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One round: a table, and a record with each design's draws and seconds, the machine and its load."""
    file = tmp_path / "decide.json"
    monkeypatch.setattr(sys, "argv", ["decide.py", "--cases", "tiny", "--rounds", "1", "--json", str(file)])
    script["main"]()
    record = json.loads(file.read_text())
    (result,) = record["results"]
    assert record["machine"]["threads"] == 1
    assert len(result["load"]) == 2
    assert result["gate"]["verdicts"] == ["certified"]
    assert (result["pairs"]["n"], result["pairs"]["timed_on"]) == (504, 20)
    assert (result["tables"]["n"], result["tables"]["timed_on"]) == (7456, 4)
    assert all(result[name]["seconds"][0] > 0 for name in ("gate", "pairs", "tables"))
    out = capsys.readouterr().out
    assert "504 draws, 1 items each, timed on 20" in out
    assert "7,456 draws, 20 items each, timed on 4" in out


def test_the_loops_are_valid_and_no_larger_than_they_must_be(script: dict[str, Any]) -> None:
    """Each n has the power at p1 and one draw less has not: Clopper-Pearson with k of n, and Hoeffding's bound."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for result in record["results"]:
        p0, p1, alpha, beta = result["p0"], result["p1"], result["alpha"], 1 - result["power"]
        n, k = result["pairs"]["n"], result["pairs"]["right_needed"]
        assert clopper_pearson_lower(k, n, alpha) >= p0 > clopper_pearson_lower(k - 1, n, alpha)
        for draws, enough in ((result["tables"]["n"], True), (result["tables"]["n"] - 1, False)):
            reach = math.sqrt(math.log(1 / alpha) / (2 * draws)) + math.sqrt(math.log(1 / beta) / (2 * draws))
            assert (p0 + reach <= p1) == enough
        plan = GatePlan(p0=p0, p1=p1, alpha=alpha, beta=0.1, cap=result["gate"]["cap"])
        assert plan.type_one_error <= alpha
        assert plan.power == pytest.approx(result["gate"]["power"]) and plan.power >= result["power"]
        assert set(result["gate"]["verdicts"]) == {"certified"}


def test_the_table_has_the_numbers_of_the_record(script: dict[str, Any]) -> None:
    """Draws, seconds and ratios in the page are those that the benchmark wrote."""
    text = PAGE.read_text(encoding="utf-8")
    for result in json.loads(RECORD.read_text(encoding="utf-8"))["results"]:
        assert row(result, script["ratios"](result)) in text


def row(result: dict[str, Any], ratio: dict[str, float]) -> str:
    """One line of the page's table."""
    gate, pairs, tables = (result[name] for name in ("gate", "pairs", "tables"))
    seconds = {name: statistics.median(result[name]["seconds"]) for name in ("gate", "pairs", "tables")}
    return (
        f"| {result['model']} | {max(result['tokens'])} | {result['checkpoint_score_under_noise']:.3f} | "
        f"{statistics.median(gate['draws']):g} | {seconds['gate']:.3g} | "
        f"{seconds['pairs']:.3g} ({pairs['timed_on']}) | {seconds['tables']:.3g} ({tables['timed_on']}) | "
        f"{ratio['pairs']:.1f} | {ratio['tables']:.0f} | {ratio['pairs at p1']:.1f} |"
    )
