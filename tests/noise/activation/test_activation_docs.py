"""The page on activation space runs, and has the numbers of its record."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "activation.md"


def test_examples_run_as_printed() -> None:
    """Every example gives the output beside it."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0 and tried >= 10


def test_the_table_has_the_numbers_of_the_record() -> None:
    """Times, ratios and memory are those that the benchmark wrote."""
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    record = json.loads((ROOT / "benchmarks" / "results" / "pairs.json").read_text(encoding="utf-8"))
    for result in record["results"]:
        ms = result["ms_per_pair"]
        times = " | ".join(f"{ms[name]:.3g}" for name in ("plain", "activation", "explicit", "deepcopy"))
        ratios = f"{ms['activation'] / ms['plain']:.2f} | {ms['explicit'] / ms['activation']:.2f}"
        assert f"| {result['model']} | {result['tokens']} | {result['batch']} | {times} | {ratios} |" in text
    for m in record["memory"]:
        line = f"weights {m['weights_mb']:.0f} MB: plain {m['plain_mb']:.0f} MB, activation {m['activation_mb']:.0f} MB"
        assert f"{m['model']}, {line}" in text
