"""Benchmark files: what they may hold, and the error when they do not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import models
import pytest

from certify.benchmarks import open_benchmark
from certify.errors import BenchmarkError

CHOICE = {"prompt": "1+1=", "choices": ["2", "3"], "answer": 0}
EXACT = {"prompt": "1+1=", "target": "2"}


def bench(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "b.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_kind_and_chance_follow_from_the_items(tmp_path: Path) -> None:
    """Multiple choice has chance 1/(mean number of choices), exact match 0."""
    four = {"prompt": "2+2=", "choices": ["1", "2", "3", "4"], "answer": 3}
    assert open_benchmark(bench(tmp_path, CHOICE, four)).chance == pytest.approx(1 / 3)
    assert open_benchmark(bench(tmp_path, EXACT)).chance == 0.0


def test_settings_lie_beside_the_file(tmp_path: Path) -> None:
    """A TOML file of the same name declares chance."""
    path = bench(tmp_path, EXACT)
    path.with_suffix(".toml").write_text('chance = 0.1\ndescription = "sums"\n')
    assert open_benchmark(path).chance == 0.1


def test_the_digest_covers_items_and_settings(tmp_path: Path) -> None:
    """Any change of an item, their order or the chance is another benchmark; the file's name is not."""
    other = {"prompt": "1+2=", "target": "3"}
    path = bench(tmp_path, EXACT, other)
    first = open_benchmark(path).digest
    assert open_benchmark(path.rename(tmp_path / "renamed.jsonl")).digest == first
    assert open_benchmark(bench(tmp_path, other, EXACT)).digest != first
    path = bench(tmp_path, EXACT, other)
    path.with_suffix(".toml").write_text("chance = 0.1")
    assert open_benchmark(path).digest != first


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"b\.jsonl: holds no items; expected"),
        (["", "   "], "holds no items"),
        ([EXACT, "{"], r"b\.jsonl:2: not JSON"),
        ([[1, 2]], r"b\.jsonl:1: got a JSON list; expected"),
        ([{"prompt": "x"}], r"b\.jsonl:1: target: Field required"),
        ([{"prompt": "", "target": "2"}], r":1: prompt: String should have at least 1 character, got ''"),
        (['{"prompt": "1+1=", "target": "2", "target": "3"}'], r":1: not JSON \(the key 'target' is there twice\)"),
        (['{"prompt": "1+1=", "target": "2", "id": NaN}'], r":1: not JSON \(NaN is no finite number"),
        (["[" * 100_000], r":1: not JSON \("),
        ([{**EXACT, "id": 1.5}], r":1: id"),
        ([{**CHOICE, "answer": 2}], r":1: answer 2 is outside the 2 choices \(0 to 1\)"),
        ([{**CHOICE, "answer": -1}], r":1: answer: .* greater than or equal to 0, got -1"),
        ([{**CHOICE, "answer": "0"}], r":1: answer: .* valid integer, got '0'"),
        ([{**CHOICE, "choices": ["2"]}], r":1: choices: .* at least 2 items"),
        ([{**CHOICE, "choices": ["2", "2"]}], "two choices are equal"),
        ([CHOICE, EXACT], r"b\.jsonl:2: a ExactMatchItem among MultipleChoiceItems"),
        ([EXACT, {"prompt": "9", "target": "9"}, EXACT], r"b\.jsonl:3: the same item as line 1"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path: Path, lines: list[object], message: str) -> None:
    """File, line, field, value and what was expected."""
    with pytest.raises(BenchmarkError, match=message):
        open_benchmark(bench(tmp_path, *lines))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """No traceback of the file system."""
    with pytest.raises(BenchmarkError, match=r"none\.jsonl: no such file"):
        open_benchmark(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "text", ["chance = 1.0", "chance = -0.1", 'colour = "red"', "chance =", f"chance = {'9' * 5000}"]
)
def test_bad_settings_are_named(tmp_path: Path, text: str) -> None:
    """The TOML file's errors name the TOML file."""
    path = bench(tmp_path, EXACT)
    path.with_suffix(".toml").write_text(text)
    with pytest.raises(BenchmarkError, match=r"b\.toml"):
        open_benchmark(path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Items or settings in another encoding, a folder, a pipe, or more than could be items."""
    path = bench(tmp_path, EXACT)
    path.with_suffix(".toml").write_bytes(b'description = "\xff"')
    with pytest.raises(BenchmarkError, match=r"b\.toml: not readable as UTF-8 text: invalid start byte at byte 15"):
        open_benchmark(path)
    path.with_suffix(".toml").unlink()
    path.write_bytes(json.dumps(EXACT).encode("utf-16"))
    with pytest.raises(BenchmarkError, match=r"b\.jsonl: not readable as UTF-8 text: invalid start byte at byte 0"):
        open_benchmark(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BenchmarkError, match=r"b\.jsonl: not readable: it is no ordinary file"):
        open_benchmark(path)
    with pytest.raises(BenchmarkError, match="not readable: it is no ordinary file"):
        open_benchmark(tmp_path)
    path.unlink()
    with path.open("wb") as f:
        f.truncate((1 << 30) + 1)  # holes: it takes no room
    with pytest.raises(BenchmarkError, match=r"b\.jsonl: not readable: larger than 1024 MiB"):
        open_benchmark(path)


def test_models_helper_writes_what_is_read(tmp_path: Path) -> None:
    """The tests' own items are benchmarks."""
    path = models.write_jsonl(tmp_path / "own.jsonl", models.own_answers(models.llama(), 3))
    assert len(open_benchmark(path).items) == 3
