"""Scores made elsewhere whose items come in groups: a table's column, a sample's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import Requirement
from certify.logs import Paired, pair, read_logs, together
from certify.verify import differences

LOGS = Path(__file__).parent / "of_lm_eval"


def table(path: Path, rows: list[tuple[object, ...]], header: str = "id,score,cluster") -> Path:
    """A table of scores, with the group of each."""
    path.write_text(header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def of(base: Path, checkpoint: Path) -> Paired:
    (logs,) = together(read_logs(base), read_logs(checkpoint))
    return pair(*logs)


def questions(lost: int = 0, per: int = 5, passages: int = 100) -> list[tuple[object, ...]]:
    """Five questions on each passage, of which so many are lost."""
    return [(f"q{i}", int(i >= lost), f"p{i // per}") for i in range(per * passages)]


def test_a_tables_clusters_are_the_units(tmp_path: Path) -> None:
    """Each passage counts once; the record verifies, and says so."""
    found = of(table(tmp_path / "a.csv", questions()), table(tmp_path / "b.csv", questions(lost=1)))
    record = found.judge(Requirement(), 0.05)
    assert record.benchmark.groups == tuple(i // 5 for i in range(500))
    assert record.evidence.scores.m == 500
    assert differences(record) == []
    assert "each of 100 groups counts once" in record.claim_text
    assert record.verdict == "certified"


def test_few_passages_of_many_questions_are_refused(tmp_path: Path) -> None:
    """500 items of ten passages are ten; exactly these items may still be judged."""
    found = of(table(tmp_path / "a.csv", questions(per=50, passages=10)),
               table(tmp_path / "b.csv", questions(1, per=50, passages=10)))  # fmt: skip
    with pytest.raises(InvalidPlan, match="cannot pass with 10 groups: 68 are needed"):
        found.judge(Requirement(), 0.05)
    assert found.judge(Requirement(), 0.05, "fixed").verdict == "certified"


@pytest.mark.parametrize("empty", ["", "nan", "None"])
def test_some_without_a_cluster_are_named(tmp_path: Path, empty: str) -> None:
    rows = [(name, score, empty if name == "q3" else group) for name, score, group in questions()]
    with pytest.raises(InvalidInput, match=r"a\.csv: 1 of 500 items have no cluster where others have one: q3; "):
        of(table(tmp_path / "a.csv", rows), table(tmp_path / "b.csv", [(n, 1 - int(n == "q9"), c) for n, _, c in rows]))


def test_another_grouping_at_the_checkpoint_is_refused(tmp_path: Path) -> None:
    """Another label, and none."""
    base = table(tmp_path / "a.csv", questions())
    moved = [(name, score, "p0" if name == "q7" else group) for name, score, group in questions(1)]
    with pytest.raises(InvalidInput, match=r"1 item of another cluster in the two: q7"):
        of(base, table(tmp_path / "b.csv", moved))
    with pytest.raises(InvalidInput, match=r"500 items of another cluster in the two: q0, q1"):
        of(base, table(tmp_path / "c.csv", [row[:2] for row in questions(1)], "id,score"))


def test_inspects_metadata_says_it(tmp_path: Path) -> None:
    """Samples whose metadata has ``cluster``."""

    def log(name: str, wrong: int) -> Path:
        samples: list[dict[str, Any]] = [
            {
                "id": i, "epoch": 1, "target": "x", "metadata": {"cluster": i // 2},
                "scores": {"match": {"value": "I" if i < wrong else "C"}},
            }
            for i in range(6)
        ]  # fmt: skip
        value = {"version": 2, "status": "success", "eval": {"task": "t", "model": name}, "samples": samples}
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(value), encoding="utf-8")
        return file

    assert of(log("base", 0), log("tuned", 1)).benchmark.groups == (0, 0, 1, 1, 2, 2)


def clustered(base: Path, checkpoint: Path, field: str) -> Paired:
    (logs,) = together(*(read_logs(path, field) for path in (base, checkpoint)))
    return pair(*logs, ["acc"])


def of_passages(folder: Path, which: str, passage: Any = lambda row: row // 20) -> Path:
    """A run of lm-eval's whose documents name a passage, as those of a task of one's own would."""
    folder = folder / which
    folder.mkdir()
    for file in (LOGS / which).iterdir():
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".jsonl":
            samples = [json.loads(line) for line in text.splitlines()]
            for row, sample in enumerate(samples):
                sample["doc"]["about"] = {} if passage(row) is None else {"passage": passage(row)}
            text = "".join(json.dumps(sample) + "\n" for sample in samples)
        (folder / file.name).write_text(text, encoding="utf-8")
    return folder


def test_a_field_of_lm_evals_documents_says_it(tmp_path: Path) -> None:
    """Named for both logs; without it each item stands for itself."""
    base, tuned = of_passages(tmp_path, "base"), of_passages(tmp_path, "benign")
    assert clustered(base, tuned, "about.passage").benchmark.groups == tuple(i // 20 for i in range(100))
    (logs,) = together(read_logs(base), read_logs(tuned))
    assert pair(*logs, ["acc"]).benchmark.groups is None


@pytest.mark.parametrize(
    ("passage", "message"),
    [
        (lambda row: None, r"the field 'about.passage', asked for as cluster, is in no item"),
        (lambda row: None if row == 7 else row // 20, r"1 of 100 items have no cluster where others have one: 7; "),
        (lambda row: [row], r"its field 'about.passage' is \[0\], and a cluster is named by text or a whole number"),
        (lambda row: True, r"is True, and a cluster is named by text or a whole number"),
    ],
)
def test_a_field_that_names_no_groups_is_refused(tmp_path: Path, passage: Any, message: str) -> None:
    """In none of the documents, in some, or not a name."""
    with pytest.raises(InvalidInput, match=message) as caught:
        clustered(of_passages(tmp_path, "base", passage), of_passages(tmp_path, "benign", passage), "about.passage")
    assert "\n" not in str(caught.value)


def test_another_column_of_a_table_says_it(tmp_path: Path) -> None:
    """In place of the column ``cluster``."""
    both = [table(tmp_path / f"{n}.csv", questions(lost=n), "id,score,passage") for n in (0, 1)]
    (logs,) = together(*(read_logs(path, "passage") for path in both))
    assert pair(*logs).benchmark.groups == tuple(i // 5 for i in range(500))


@pytest.mark.parametrize("beside", [True, False], ids=["specific", "doc"])
def test_a_field_of_lightevals_doc_says_it(tmp_path: Path, beside: bool) -> None:
    """Of the doc itself, or of what a task keeps beside it in ``specific``."""
    from certify.logs.lighteval_details import read_details

    kept = {"passage": "p1"}
    doc = {"query": "1+1=", "choices": ["1", "2"], "id": "0", **({"specific": kept} if beside else kept)}
    log = read_details(tmp_path / "details_ours|0_2026.parquet", "", [("row 1", {"doc": doc, "metric": {"acc": 1.0}})],
                       "passage")  # fmt: skip
    assert log.items["0"].cluster == "p1"
