"""A base, a checkpoint and items in groups, through the command line and the library."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import models
import pytest

from certify.__main__ import main
from certify.documents import Certificate, read_document
from certify.errors import CertificateMismatch, InvalidPlan
from certify.evidence import PointEvidence, PositionEvidence
from certify.measuring import Base, PlannedDraws, check, measure_base
from certify.verify import differences

Run = Callable[..., tuple[int, str]]
PER = 2


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a checkpoint close by, and 160 items: alone, in 80 pairs, and in ten groups."""
    folder = tmp_path_factory.mktemp("groups")
    model = models.llama()
    models.save_folder(folder / "base", model)
    models.variant(folder / "base", folder / "near", lambda t: t["model.norm.weight"].add_(1e-5))
    items = models.own_answers(model, 160)
    for name, size in (("alone", 1), ("pairs", PER), ("tens", 16)):
        labelled = [{**item, "cluster": f"passage {i // size}"} for i, item in enumerate(items)]
        models.write_jsonl(folder / f"{name}.jsonl", labelled)
    models.write_jsonl(folder / "plain.jsonl", items)
    return folder


@pytest.fixture
def run(where: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in the folder; return its exit code and all that it said."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(where)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["certify", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return int(stop.value.code or 0), " ".join((streams.out + streams.err).split())

    return run


def opened(where: Path, name: str) -> Base:
    return Base.open(where / "base", where / f"{name}.jsonl")


def test_point_evidence_counts_groups(where: Path) -> None:
    """80 pairs certify what 160 items do, with the wider bound of 80; a cluster for each item changes nothing."""
    grouped, alone, plain = (
        next(iter(check(opened(where, name), where / "near"))) for name in ("pairs", "alone", "plain")
    )
    assert isinstance(grouped.evidence, PointEvidence)
    assert grouped.evidence.scores.groups == tuple(i // PER for i in range(160)) == grouped.benchmark.groups
    assert differences(grouped) == []
    assert "each of 80 groups counts once" in grouped.claim_text
    assert grouped.verdict == "certified"
    assert grouped.benchmark.digest == plain.benchmark.digest
    assert plain.judgement.upper < grouped.judgement.upper  # type: ignore[operator]
    named = {"name": "alone"}
    assert alone.benchmark == plain.benchmark.model_copy(update=named)
    assert alone.evidence == plain.evidence


def test_position_and_what_rests_on_a_measurement(where: Path) -> None:
    """The basin holds the groups; a measurement of the same items in other groups serves no check."""
    base = opened(where, "pairs")
    planned = [PlannedDraws(base.weight_law(1e-6), 2)]
    measurement = measure_base(base, planned=planned, grid=[1e-6])
    assert differences(measurement) == []
    (found,) = check(base, where / "near", kinds=("position",), measurement=measurement)
    assert isinstance(found.evidence, PositionEvidence)
    assert found.evidence.basin.groups == base.scorer.identity.groups
    assert differences(found) == []
    assert "each of 80 groups counts once" in found.claim_text
    with pytest.raises(CertificateMismatch, match=r"another grouping of the items \(groups: 80 groups .* no groups"):
        next(check(opened(where, "plain"), where / "near", kinds=("position",), measurement=measurement))
    with pytest.raises(InvalidPlan, match="those of pairs come in 80 groups: take point or position evidence"):
        next(check(base, where / "near", kinds=("distance",), measurement=measurement, items="population"))


def test_few_groups_of_many_items_are_refused(where: Path) -> None:
    """Unless the statement is about exactly these items."""
    with pytest.raises(InvalidPlan, match="point: this gate cannot pass with 10 groups: 68 are needed"):
        next(check(opened(where, "tens"), where / "near"))
    (found,) = check(opened(where, "tens"), where / "near", items="fixed")
    assert found.verdict == "certified"
    assert "group" not in found.claim_text


def test_plan_counts_groups(run: Run) -> None:
    code, said = run("plan", "--benchmark", "pairs.jsonl", "--evidence", "point,audit", "--true-lost", "0.01")
    assert code == 0
    assert "68 groups" in said
    assert "depends on" in said
    assert "items │ 160" in said  # an audit speaks of exactly these
    assert "groups │ 80" in said
    assert "exact binomial" not in said
    code, said = run("plan", "--benchmark", "tens.jsonl", "--evidence", "point")
    assert code == 2
    assert "cannot pass with 10 groups: 68 are needed" in said


def test_verify_holds_groups_against_the_named_items(where: Path, tmp_path: Path, run: Run) -> None:
    """Other groups are a contradiction; a record that knows none, of items that have some, is told so."""
    pairs, plain = tmp_path / "pairs.json", tmp_path / "plain.json"
    for file, name in ((pairs, "pairs"), (plain, "plain")):
        (found,) = check(opened(where, name), where / "near")
        found.to_json(file)
    assert run("verify", str(pairs), "--benchmark", "pairs.jsonl")[0] == 0
    code, said = run("verify", str(pairs), "--benchmark", "tens.jsonl")
    assert code == 4
    assert "benchmark.groups: tens.jsonl has 10 groups of 160 items" in said
    code, said = run("verify", str(plain), "--benchmark", "pairs.jsonl")
    assert code == 0
    assert "The named items come in groups, which this record does not know" in said
    assert "The named items" not in run("verify", str(plain), "--benchmark", "plain.jsonl")[1]
    assert "The named items" not in run("verify", str(pairs), "--benchmark", "pairs.jsonl")[1]


def test_a_regrouped_file_does_not_verify(where: Path, tmp_path: Path) -> None:
    """Who deals the items to other groups, in both places of the record, gets another bound than it states."""
    (found,) = check(opened(where, "pairs"), where / "near")
    value = json.loads(found.to_text())
    value["benchmark"]["groups"] = value["evidence"]["scores"]["groups"] = [0, 0, *range(1, 159)]
    (tmp_path / "forged.json").write_text(json.dumps(value), encoding="utf-8")
    forged = read_document(tmp_path / "forged.json")
    assert isinstance(forged, Certificate)
    lines = differences(forged)
    assert any(line.startswith("judgement.upper") for line in lines)
    assert any(line.startswith("digest") for line in lines)
