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
        times = " | ".join(f"{t:.3g}" if t < 1000 else f"{t:.0f}" for t in ms.values())
        pairs = (("activation", "plain"), ("explicit fast", "activation"), ("deepcopy", "explicit fast"))
        ratios = " | ".join(f"{ms[slow] / ms[fast]:.2f}" for slow, fast in pairs)
        assert f"| {result['model']} | {result['tokens']} | {result['batch']} | {times} | {ratios} |" in text
    for m in record["memory"]:
        extra = " | ".join(f"{value:.0f}" for value in m["extra_mb"].values())
        assert f"| {m['model']} | {m['weights_mb']:.0f} | {extra} |" in text
