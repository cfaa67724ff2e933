"""How rows were batched is part of the engine: draws of two plans are never mixed, old records keep theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import models
import pytest

from certify.benchmarks import batches, scoring
from certify.benchmarks.batches import Batching
from certify.checkpoints import open_checkpoint
from certify.documents import Measurement
from certify.errors import CheckpointError
from certify.measuring import Base, PlannedDraws, measure_base
from certify.measuring.candidate import Candidate
from certify.measuring.check import check
from certify.measuring.replay import replay
from certify.measuring.run import Run
from certify.records import ExplicitIdentity

SIGMA = 1e-3


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batching")
    models.save_folder(folder / "base", models.llama())
    models.variant(folder / "base", folder / "tuned", lambda tensors: tensors["model.norm.weight"].add_(1e-3))
    items = [
        {"prompt": f"1+2=3 4+5=9 {i // 10}{i % 10}+a=", "choices": ["1", "22", "a b"], "answer": i % 3}
        for i in range(80)
    ]
    models.write_jsonl(folder / "choices.jsonl", items)
    return folder


def opened(where: Path) -> Base:
    return Base.open(where / "base", where / "choices.jsonl")


def measured(base: Base, run: Run | None = None) -> Measurement:
    return measure_base(base, planned=[PlannedDraws(base.weight_law(SIGMA), 20)], grid=(SIGMA,), run=run)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The way of every batch that is scored; trials on the model are not counted."""
    seen, real = list[str](), scoring.node_logits

    def noting(model: Any, batch: Any, way: Any) -> Any:
        seen.append(way)
        return real(model, batch, way)

    monkeypatch.setattr(scoring, "node_logits", noting)
    return seen


def test_the_way_stands_in_the_engine_and_in_the_environment(where: Path) -> None:
    """Of a record made now; a record without the field was scored in rows, and keeps its digest."""
    base = opened(where)
    assert base.environment.batching == ""  # nothing was loaded, nothing scored
    record = measured(base)
    assert record.draws[0].engine.batching == record.environment.batching == "prefix tree"
    old = ExplicitIdentity.model_validate({"device": "cpu", "tokens_per_batch": 8192})
    assert old.batching == ""
    assert "batching" not in old.model_dump(exclude_unset=True)


def test_a_slow_way_is_named_with_its_reason(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the record's environment."""
    real = batches.batch_of
    monkeypatch.setattr(batches, "batch_of", lambda rows, device: real(rows, "none" if rows[0].branches else device))
    base = opened(where)
    reason = "distinct rows: LlamaForCausalLM cannot be called with a prefix tree (RuntimeError)"
    assert base.engine.batching == "distinct rows"
    assert base.environment.batching == reason
    assert base.scored_as(reason).cheapest == "distinct rows"


@pytest.mark.parametrize("way", ["", "distinct rows", "prefix tree"])
def test_a_replay_scores_as_the_record_was_scored(where: Path, ways: list[str], way: str) -> None:
    """Whatever this version would choose; the base itself and every kind of draw."""
    record = measured(opened(where).scored_as(way))
    assert record.environment.batching == record.draws[0].engine.batching == way
    assert set(ways) == {way}
    ways.clear()
    assert replay(record, opened(where), 3) == []
    assert set(ways) == {way}


def test_a_record_from_before_is_replayed_in_rows(where: Path, tmp_path: Path, ways: list[str]) -> None:
    """Its file has no such field anywhere."""
    text = json.loads(measured(opened(where).scored_as("")).to_json(tmp_path / "new.json").read_text())
    for part in (text["environment"], text["draws"][0]["engine"], text["basin"]["levels"][0]["engine"]):
        assert part.pop("batching") == ""
    old = Measurement.model_validate(text)
    ways.clear()
    assert replay(old, opened(where), 3) == []
    assert set(ways) == {""}


def test_draws_of_two_ways_never_share_a_ledger(where: Path, tmp_path: Path) -> None:
    """A run that was begun in rows and goes on with trees begins again."""
    first = measured(opened(where).scored_as(""), Run(ledgers=tmp_path))
    before = {folder.name for folder in tmp_path.iterdir()}
    second = measured(opened(where), Run(ledgers=tmp_path))
    after = {folder.name for folder in tmp_path.iterdir()}
    assert len(after) == 2 * len(before)
    assert first.draws[0].seed == second.draws[0].seed  # the same noise, and no draw taken over
    measured(opened(where), Run(ledgers=tmp_path))
    assert {folder.name for folder in tmp_path.iterdir()} == after


def test_a_checkpoint_that_shows_otherwise_gives_no_draws(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trial finds what the base's did not: no draws at both by two plans."""
    base = opened(where)
    candidate = Candidate(base, open_checkpoint(where / "tuned"))
    _ = base.engine
    monkeypatch.setattr(Batching, "refusal", lambda self, *_: "shown" if self.way == "prefix tree" else None)
    said = r"batched otherwise than the base's \(distinct rows: shown; the base: prefix tree\)"
    with pytest.raises(CheckpointError, match=said):
        candidate.smoothed(base.weight_law(SIGMA), 4)


def test_a_position_is_scored_as_its_basin_was(where: Path, ways: list[str]) -> None:
    """Its scores are paired with those of the measurement; other evidence in the same check is scored the new way."""
    base, record = opened(where), measured(opened(where).scored_as(""))
    ways.clear()
    position, point = check(base, where / "tuned", kinds=("position", "point"), measurement=record)
    assert (position.environment.batching, point.environment.batching) == ("", "prefix tree")
    assert set(ways) == {"", "prefix tree"}
