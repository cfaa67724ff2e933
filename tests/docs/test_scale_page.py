"""docs/scale.md has the figures of its formula, and the formula those of the measured record."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The formula, and the jobs of the page."""
    return runpy.run_path(str(ROOT / "benchmarks" / "scale.py"))


def test_what_each_kind_of_evidence_takes_is_what_the_formula_gives(script: dict[str, Any]) -> None:
    """Line by line; at half the rate another table comes out."""
    machine, jobs = script["recorded_accelerator"](), script["JOBS"][2:]
    for line in script["evidence_table"](jobs, machine):
        assert line in PAGE
    slower = script["Machine"](machine.name, machine.bandwidth / 2, machine.normals / 2, machine.flops / 2)
    assert not any(line in PAGE for line in script["evidence_table"](jobs, slower)[2:])


def test_what_was_run_stands_as_it_was_measured() -> None:
    """The largest model so far: sizes, seconds and memory of the record."""
    record = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text(encoding="utf-8"))["large"]
    text = " ".join(PAGE.split())
    assert f"a random Llama of {record['parameters'] / 1e9:.2f} billion bf16 weights" in text
    assert f"in {record['opened_and_loaded_s']:.1f} s" in text
    assert f"({record['peak_memory_bytes'] / record['weights_bytes']:.2f} W on one H200)" in text
    rate = record["weights_bytes"] / record["opened_and_loaded_s"]
    assert f"at that rate 140 GB take {140e9 / rate:.0f} s" in text
