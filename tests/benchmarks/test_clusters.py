"""Items that say their cluster: numbered as they come, all or none, and no part of what is asked."""

from __future__ import annotations

from pathlib import Path

import models
import pytest

from certify.benchmarks import JsonlBenchmark, open_benchmark
from certify.benchmarks.clusters import numbered
from certify.errors import BenchmarkError

TOK = models.tokenizer()


def bench(folder: Path, clusters: list[object], toml: str = "") -> JsonlBenchmark:
    """Items of one kind, the label of each its own; ``...`` writes none."""
    (folder / "b.toml").write_text(toml)
    rows = [
        {"prompt": f"{i}+1=", "target": f" {i + 1}", **({} if label is ... else {"cluster": label})}
        for i, label in enumerate(clusters)
    ]
    return open_benchmark(models.write_jsonl(folder / "b.jsonl", rows))


def test_groups_are_numbered_as_they_first_appear(tmp_path: Path) -> None:
    """Whatever the labels are called, and wherever in the file a group's items stand; a number is its text."""
    assert bench(tmp_path, ["b", "a", "b", "c", "a"]).groups == (0, 1, 0, 2, 1)
    assert bench(tmp_path, [7, "x", "7", " x ", 7]).groups == (0, 1, 0, 1, 0)


@pytest.mark.parametrize("labels", [[..., ..., ...], [None, None, None], ["", " ", None], ["a", "b", "c"], [1, 2, 3]])
def test_items_that_stand_for_themselves_have_no_groups(tmp_path: Path, labels: list[object]) -> None:
    assert bench(tmp_path, labels).groups is None


@pytest.mark.parametrize("without", [..., None, "", "  "])
def test_some_with_a_cluster_and_some_without_is_an_error(tmp_path: Path, without: object) -> None:
    with pytest.raises(BenchmarkError, match=r"^b: 2 of 4 items have no cluster where others have one: item 2, item 4"):
        bench(tmp_path, ["a", without, "a", without])


def test_many_without_one_are_counted() -> None:
    labels = {f"item {i}": "a" if i == 0 else None for i in range(100)}
    with pytest.raises(ValueError, match=r"99 of 100 items have no cluster .* item 10 and 89 more"):
        numbered(labels)


def test_they_are_recorded_and_nothing_else_changes(tmp_path: Path) -> None:
    """Identity of the items, tokens and digest are those without clusters: only the groups are new."""
    alone, grouped = (bench(tmp_path, labels).encode(TOK).identity for labels in ([...] * 3, ["a", "a", "b"]))
    assert grouped.groups == (0, 0, 1)
    assert alone.groups is None
    assert grouped.model_copy(update={"groups": None}) == alone


def test_generated_answers_have_them_too(tmp_path: Path) -> None:
    found = bench(tmp_path, ["a", "a", "b"], "[generation]\nmax_new_tokens = 3\n")
    assert found.encode(TOK).identity.groups == (0, 0, 1)


def test_a_column_becomes_the_cluster(tmp_path: Path) -> None:
    """As of SQuAD's passages: the TOML table says which."""
    file = tmp_path / "b.csv"
    file.write_text("q,a,passage\n1+1=,2,p\n1+2=,3,p\n1+3=,4,r\n")
    (tmp_path / "b.toml").write_text('[fields]\nprompt = "{q}"\ntarget = " {a}"\ncluster = "{passage}"\n')
    assert open_benchmark(file).groups == (0, 0, 1)
