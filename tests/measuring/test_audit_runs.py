"""Audits of real checkpoints: in the order of the seed, resumed after a kill, against the whole benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import pytest
from world import World

from certify.benchmarks.scoring import LikelihoodScorer
from certify.checkpoints import open_checkpoint
from certify.demo import DATA
from certify.documents import Certificate
from certify.errors import CertifyWarning, InvalidPlan
from certify.evidence import AuditEvidence, Requirement, Verdict
from certify.evidence.paired_items import in_order
from certify.measuring import Base, check
from certify.measuring.replay import repeat, replay
from certify.measuring.run import Run
from certify.records import DrawnSeed
from certify.verify import differences

CHECKPOINTS = ("benign", "full", "adversarial", "subspace", "merge")
BENCHMARKS = ("addition", "subtraction", "reversal", "shift", "prose")


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a checkpoint that keeps everything, one that lost some, and a wreck."""
    folder = tmp_path_factory.mktemp("audits")
    model = models.base_same_and_wreck(folder)
    models.write_jsonl(folder / "own.jsonl", models.own_answers(model, 200))
    return folder


def audited(where: Path, name: str = "same", run: Run | None = None, seed: int = 0, **more: Any) -> Certificate:
    base = Base.open(where / "base", where / "own.jsonl")
    (found,) = check(base, where / name, kinds=("audit",), user_seed=seed, run=run, **more)
    assert differences(found) == []
    return found


def evidence(certificate: Certificate) -> AuditEvidence:
    assert isinstance(certificate.evidence, AuditEvidence)
    return certificate.evidence


def test_it_scores_few_items_in_the_order_of_its_seed(where: Path, asked: list[list[int] | None]) -> None:
    """The base once, then exactly as many items of the checkpoint as decide it, in the order that the record gives."""
    found = evidence(audited(where))
    whole, *blocks = asked
    scored = [item for block in blocks for item in block or ()]
    assert whole is None
    assert scored == in_order(list(range(200)), found.seed)[: found.n]
    assert found.n < 70
    assert scored != sorted(scored)


def test_a_bad_checkpoint_is_refuted_at_once(where: Path, asked: list[list[int] | None]) -> None:
    """After a few items; no more than one block is scored for it."""
    found = audited(where, "wreck")
    assert found.verdict == "refuted"
    assert evidence(found).n < 20
    assert [len(block) for block in asked if block is not None] == [32]


def test_a_killed_audit_resumes_to_the_same_record(
    where: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[int] | None]
) -> None:
    """Killed in its second block, it scores neither the base nor the first block again."""
    whole = audited(where)
    scores = LikelihoodScorer.score
    asked.clear()

    def dying(self: LikelihoodScorer, model: Any, items: Sequence[int] | None = None) -> list[float]:
        if len(asked) == 2:
            raise KeyboardInterrupt
        return scores(self, model, items)

    monkeypatch.setattr(LikelihoodScorer, "score", dying)
    run = Run(ledgers=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        audited(where, run=run)
    monkeypatch.setattr(LikelihoodScorer, "score", scores)
    asked.clear()
    assert audited(where, run=run) == whole
    assert [len(items or ()) for items in asked] == [evidence(whole).n - 32]
    asked.clear()
    assert audited(where, run=run) == whole
    assert asked == []


def test_a_stricter_limit_goes_on_in_the_same_order(
    where: Path, tmp_path: Path, asked: list[list[int] | None]
) -> None:
    """The order does not depend on what is asked, so whole blocks are not scored again, and it is no new attempt."""
    run = Run(ledgers=tmp_path)
    first = evidence(audited(where, run=run))
    asked.clear()
    second = evidence(audited(where, run=run, requirement=Requirement(limit=0.02)))
    assert second.seed == first.seed
    assert second.checkpoint[: first.n] == first.checkpoint
    assert None not in asked, "the base was scored again"
    assert sum(len(block or ()) for block in asked) < second.n


def test_a_measurement_holds_the_scores_of_the_base(world: World, asked: list[list[int] | None]) -> None:
    """Then the base is not scored at all."""
    base = Base.open(world.base, world.benchmark)
    (found,) = check(base, world.checkpoint, kinds=("audit",), measurement=world.measurement)
    assert found.evidence.unnoised == world.measurement.unnoised
    assert asked and None not in asked
    assert "model" not in base.__dict__


def test_another_seed_is_another_attempt(where: Path, tmp_path: Path) -> None:
    """Whoever rolls again pays, and the record says which seed it was, and how it came about."""
    run = Run(ledgers=tmp_path)
    first = audited(where, run=run)
    with pytest.warns(CertifyWarning, match="audit evidence on same is attempt 2: another seed was tried before"):
        second = audited(where, run=run, seed=DrawnSeed(77))
    assert second.failure_probability == pytest.approx(0.05 / 6)
    assert evidence(second).n > evidence(first).n
    assert evidence(second).seed_drawn and not evidence(first).seed_drawn
    assert "in the order of a seed drawn when the gate ran" in second.claim_text
    assert "user seed 77" in second.claim_text
    assert audited(where, run=run) == first


def test_it_speaks_of_no_population(where: Path) -> None:
    """Asked for one, it is refused before anything is scored."""
    with pytest.raises(InvalidPlan, match="audit evidence speaks of exactly these items, not of a population"):
        audited(where, items="population")


def test_it_is_repeated_item_by_item(where: Path) -> None:
    """The base on every item, the checkpoint on those that were scored; another checkpoint is found."""
    made, base = audited(where), Base.open(where / "base", where / "own.jsonl")
    assert replay(made, base, 5) == []
    n = evidence(made).n
    again = repeat(made, base, open_checkpoint(where / "same"), 5)
    assert again == ([], [f"the checkpoint on the {n} items that were scored"])
    lines, _ = repeat(made, base, open_checkpoint(where / "wreck"), 5)
    assert lines and lines[0].endswith("item scores of the checkpoint differ")


def test_the_share_of_two_processes_is_the_record_of_one(where: Path, tmp_path: Path) -> None:
    """A rank that finds the other's items done goes on from them."""
    whole = audited(where, run=Run(ledgers=tmp_path))
    alone = Run(ledgers=tmp_path)
    shared = replace(alone, world=replace(alone.world, size=2))
    assert audited(where, run=shared).evidence == whole.evidence


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_demo_is_judged_as_by_the_whole_benchmark(benchmark: str) -> None:
    """Each checkpoint on each benchmark at alpha = 1e-4: 25 verdicts, wrong with probability at most 0.0025 in all.

    In each unit that an exact verdict decides; where the audit read everything, its number is the exact one.
    """
    base = Base.open(DATA / "base", DATA / "benchmarks" / f"{benchmark}.jsonl")
    for name in CHECKPOINTS:
        found, exact = check(base, DATA / "checkpoints" / name, kinds=("audit", "point"), alpha=1e-4)
        known = exact.evidence.model_copy(update={"items": "fixed"}).judge(exact.benchmark, exact.requirement, 1e-4)
        assert found.judgement.verdict is known.verdict, name
        assert found.judgement.vacuous == known.vacuous
        if evidence(found).n == evidence(found).m:
            assert found.judgement.value == pytest.approx(known.value)
        assert known.verdict is not Verdict.UNDECIDED or known.vacuous
