"""Covers of real models: what a draw scores, resumed after a kill, shared, repeated, and forged in vain."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import pytest

from certify.benchmarks.scoring import LikelihoodScorer
from certify.checkpoints import load_model, open_checkpoint
from certify.checkpoints.family import Family, open_family
from certify.documents import CoverRecord, read_document
from certify.errors import CheckpointError, InvalidPlan
from certify.evidence import Requirement, Verdict
from certify.measuring import Base
from certify.measuring.cover import measure_cover, redrawn
from certify.measuring.run import Run
from certify.records import Axis, digest
from certify.verify import differences

BOX = (Axis(low=0.0, high=1.0, windows=2, width=0.5),)
LOOSE = Requirement(limit=0.3)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on all of its items, a copy that keeps them, and a wreck."""
    folder = tmp_path_factory.mktemp("covers")
    model = models.base_same_and_wreck(folder)
    models.write_jsonl(folder / "own.jsonl", models.own_answers(model, 50))
    return folder


def opened(where: Path) -> Base:
    return Base.open(where / "base", where / "own.jsonl")


def covered(where: Path, name: str = "wreck", draws: int = 60, run: Run | None = None, **more: Any) -> CoverRecord:
    base = opened(where)
    family = open_family("segment", where / name, base.checkpoint)
    record = measure_cover(base, family, BOX, draws=draws, requirement=LOOSE, run=run, **more)
    assert differences(record) == []
    return record


def test_each_draw_scores_its_item_on_the_model_of_its_point(where: Path) -> None:
    """Against models that are loaded from the tensors of the point, one after the other."""
    record, base = covered(where, draws=40), opened(where)
    evidence, family = record.evidence, open_family("segment", where / "wreck", base.checkpoint)
    model = load_model(base.checkpoint)
    parameters = dict(model.named_parameters())
    for (a,), item, score in zip(evidence.points.tolist(), evidence.items, evidence.scores, strict=True):
        for name in family.names:
            parameters[name].data.copy_(family.tensor(name, (a,)))
        assert base.scorer.score(model, [item]) == [score]
    assert len(set(evidence.scores)) == 2, "some are kept, some lost, or the test shows nothing"


def test_a_family_that_keeps_everything_is_certified_and_a_wreck_is_not(where: Path) -> None:
    """The wreck loses most of its upper half."""
    assert covered(where, "same").judgement.verdict is Verdict.CERTIFIED
    found = covered(where, draws=120).judgement
    assert found.verdict is Verdict.REFUTED and found.windows[1].verdict is Verdict.REFUTED


def test_a_killed_cover_loses_no_draw(where: Path, tmp_path: Path, asked: list[list[int] | None],
                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Killed after 25 draws, it scores the other 35 and ends with the same record; again, it scores nothing."""
    whole = covered(where)
    scores = LikelihoodScorer.score
    asked.clear()

    def dying(self: LikelihoodScorer, model: Any, items: Sequence[int] | None = None) -> list[float]:
        if len(asked) == 26:
            raise KeyboardInterrupt
        return scores(self, model, items)

    monkeypatch.setattr(LikelihoodScorer, "score", dying)
    with pytest.raises(KeyboardInterrupt):
        covered(where, run=Run(ledgers=tmp_path))
    monkeypatch.setattr(LikelihoodScorer, "score", scores)
    asked.clear()
    assert covered(where, run=Run(ledgers=tmp_path)) == whole
    assert [len(items or ()) for items in asked] == [1] * 35
    asked.clear()
    assert covered(where, run=Run(ledgers=tmp_path)) == whole
    assert asked == []


def test_the_share_of_two_processes_is_the_record_of_one(where: Path, tmp_path: Path) -> None:
    """A rank that finds the other's draws done goes on from them."""
    whole = covered(where, run=Run(ledgers=tmp_path))
    alone = Run(ledgers=tmp_path)
    assert covered(where, run=replace(alone, world=replace(alone.world, size=2))).evidence == whole.evidence


def test_other_windows_have_other_draws_and_are_another_attempt(where: Path, tmp_path: Path) -> None:
    """Whoever looks, and then moves windows, pays: nothing that was drawn before counts."""
    run, base = Run(ledgers=tmp_path), opened(where)
    first = covered(where, "same", run=run)
    family = open_family("segment", where / "same", base.checkpoint)
    moved = (Axis(low=0.0, high=1.0, windows=2, width=0.6),)
    second = measure_cover(base, family, moved, draws=60, requirement=LOOSE, run=run)
    assert second.evidence.seed.value != first.evidence.seed.value
    assert second.failure_probability == pytest.approx(0.05 / 6)
    assert "It is attempt 2 at this family" in second.claim_text
    assert covered(where, "same", run=run) == first
    filed = Run(filed=tmp_path / "filed")
    first.file_in(tmp_path / "filed")
    again = measure_cover(base, family, moved, draws=60, requirement=LOOSE, run=filed)
    assert again.evidence.seed.attempt == 1, "found in the folder of certificates alone"
    other = measure_cover(base, open_family("segment", where / "wreck", base.checkpoint), moved, draws=60,
                          requirement=LOOSE, run=run)  # fmt: skip
    assert other.evidence.seed.attempt == 0, "another family is another question"


def test_another_requirement_is_the_same_draws(where: Path) -> None:
    """Bounds do not depend on the limit, so nobody gains by asking for another."""
    first = covered(where)
    second = first.under(Requirement(limit=0.5))
    assert second.evidence == first.evidence and differences(second) == []
    assert [w.bounds for w in second.judgement.windows] == [w.bounds for w in first.judgement.windows]


def test_it_is_drawn_again(where: Path) -> None:
    """With the same scores; a forged score is found, and another family is refused."""
    record, base = covered(where), opened(where)
    family = open_family("segment", where / "wreck", base.checkpoint)
    assert redrawn(record, base, family, 60) == []
    flipped = tuple(1.0 - (score or 0.0) for score in record.evidence.scores)
    forged = record.model_copy(update={"evidence": record.evidence.model_copy(update={"scores": flipped})})
    assert len(redrawn(forged, base, family, 60)) == 60
    with pytest.raises(CheckpointError, match="is not the family that was covered"):
        redrawn(record, base, open_family("segment", where / "same", base.checkpoint), 1)


def move(value: dict[str, Any]) -> None:
    """The windows, chosen after a look."""
    value["evidence"]["box"][0].update(windows=3, width=0.4)


def widen(value: dict[str, Any]) -> None:
    """The range."""
    value["evidence"]["box"][0].update(high=2.0, width=1.0)


def swap(value: dict[str, Any]) -> None:
    """The family."""
    value["evidence"]["family"]["members"][0][1] = "sha256:" + "1" * 64


def shorten(value: dict[str, Any]) -> None:
    """The draws, after the good ones."""
    value["evidence"]["scores"] = value["evidence"]["scores"][:20]


def flip(value: dict[str, Any]) -> None:
    """One score, and nothing that follows from it."""
    value["evidence"]["scores"][-1] = 1.0 - value["evidence"]["scores"][-1]


def praise(value: dict[str, Any]) -> None:
    """The verdict of a window."""
    value["judgement"]["windows"][1]["verdict"] = "certified"


def fewer_items(value: dict[str, Any]) -> None:
    """The number of items."""
    value["benchmark"]["items"] -= 1


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (move, "evidence.seed: recorded"), (widen, "evidence.seed: recorded"), (swap, "evidence.seed: recorded"),
        (shorten, "evidence.seed: recorded"), (flip, "judgement."), (praise, "judgement.windows"),
        (fewer_items, "50 item scores, the benchmark has 49 items"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)  # fmt: skip
def test_a_forgery_with_a_fitting_digest_is_found(
    where: Path, tmp_path: Path, forge: Callable[[dict[str, Any]], None], said: str
) -> None:
    """Resealed, and named by recomputation; what is chosen after a look above all."""
    value = json.loads(covered(where).to_text())
    forge(value)
    body = {k: v for k, v in value.items() if k != "digest"}
    (tmp_path / "c.json").write_text(json.dumps({**body, "digest": digest(body)}))
    found = differences(read_document(tmp_path / "c.json"))
    assert any(said in line for line in found), found
    assert not any(line.startswith("digest") for line in found)


def test_draws_that_could_never_pass_are_refused_before_any(where: Path, asked: list[list[int] | None]) -> None:
    """59 at a window for a drop of .05 at alpha; at alpha/2, 72: 144 for both. No draw is scored."""
    base = opened(where)
    family = open_family("segment", where / "same", base.checkpoint)
    with pytest.raises(InvalidPlan, match=r"100 draws put about 50 into each of 2 windows.*takes 72 there.*take 144"):
        measure_cover(base, family, BOX, draws=100)
    assert [each for each in asked if each is not None] == []


def test_a_later_attempt_that_could_never_pass_is_refused_and_not_counted(where: Path, tmp_path: Path) -> None:
    """What suffices at alpha (72 at a window) does not at alpha/6 (107 there: 214 for both)."""
    base, run = opened(where), Run(ledgers=tmp_path)
    family = open_family("segment", where / "same", base.checkpoint)

    def attempt_of(draws: int) -> int:
        return measure_cover(base, family, BOX, draws=draws, run=run).evidence.seed.attempt

    assert attempt_of(150) == 0
    with pytest.raises(InvalidPlan, match=r"151 draws put about 76 into each of 2 windows.*takes 107 there.*take 214"):
        attempt_of(151)
    assert [attempt_of(150), attempt_of(214)] == [0, 1]


def test_a_family_that_is_asked_otherwise_is_refused(where: Path, tmp_path: Path) -> None:
    """Another tokenizer gives other token ids."""
    other = models.variant(where / "same", tmp_path / "other", lambda tensors: None)
    text = json.loads((other / "tokenizer.json").read_text())
    vocabulary = text["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(text))
    base = opened(where)
    family = open_family("segment", other, base.checkpoint)
    assert isinstance(family, Family)
    if base.encode(open_checkpoint(other)).identity.tokens == base.scorer.identity.tokens:
        pytest.fail("the items do not use the tokens that were swapped")
    with pytest.raises(CheckpointError, match="tokenizer differs: the items have other token ids"):
        measure_cover(base, family, BOX, draws=60, requirement=LOOSE)
