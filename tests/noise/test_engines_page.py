"""docs/engines.md runs, and quotes the record that is beside the benchmark."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "engines.md"
RECORD = ROOT / "benchmarks" / "results" / "noise-cpu.json"


def test_the_example_runs() -> None:
    """It gives the output beside it."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert (failed, tried >= 5) == (0, True)


def test_the_table_is_the_records() -> None:
    """Every row of the record stands in the table with its own numbers, and no other row does."""
    rows: dict[str, list[str]] = {}
    for row in json.loads(RECORD.read_text(encoding="utf-8"))["results"]:
        rows.setdefault(row["method"], [row["method"]]).append(f"{row['ns per parameter']:.2f}")
        if row["peak extra memory, x weights"] is not None:
            rows[row["method"]].append(f"{row['peak extra memory, x weights']:.2f}")
    expected = {"| " + " | ".join(cells) + " |" for cells in rows.values()}
    cells = r"\**\d+\.\d\d\** \|"
    table = set(re.findall(rf"^\| .* \| {cells} {cells} {cells}$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {line.replace("**", "") for line in table} == expected


def test_first_use_is_the_records() -> None:
    """So are the seconds that the first draw takes."""
    first = json.loads(RECORD.read_text(encoding="utf-8"))["first use, s"]
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"{first['empty kernel cache']:.1f} s with an empty cache, {first['full kernel cache']:.1f} s" in text


def test_the_gpu_table_is_the_records() -> None:
    """Time of a draw and its multiple of a copy, for every row of the record; and its bits were right."""
    record = json.loads(RECORD.with_name("gpu.json").read_text(encoding="utf-8"))
    assert record["bits"]["equal"] is True
    page = PAGE.read_text(encoding="utf-8")
    expected = {
        f"| {name} | {1e3 * row['seconds']:.2f} | {row['times_floor']:.2f} |" for name, row in record["draws"].items()
    }
    assert set(re.findall(r"^\| .* B, bf16, .* \|$", page, re.MULTILINE)) == expected
    assert f"{record['copy_bytes_per_second'] / 1e12:.2f} TB/s" in page
