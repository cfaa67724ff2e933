"""The rule that bounds the drop of items that are right or wrong: named in the record, split where none is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from point_certificates import certificate

from certify.comparison.changes import change_in_score
from certify.documents import Certificate, read_document
from certify.evidence import PointEvidence, Requirement, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.paired_items import Items, PairedScores, Rule
from certify.evidence.position import FRACTIONS, Basin, BasinLevel, PositionEvidence, SegmentPoint
from certify.records import BenchmarkIdentity, ExplicitIdentity, Seed, WeightNoise, digest
from certify.statistics import drop_bounds, trinomial_drop_bounds
from certify.verify import differences

D = "sha256:" + "0" * 64
M, ALPHA, DROP = 160, 0.05, Requirement(limit=0.05)
BENCH = BenchmarkIdentity(name="b", items=M, scoring="x", chance=0.0, digest=D, tokens=D)
BASE = (1.0,) * 150 + (0.0,) * 10
LOST = (0.0,) * 3 + BASE[3:]
BOUNDS = {"split": drop_bounds, "trinomial": trinomial_drop_bounds}


@pytest.mark.parametrize("rule", BOUNDS)
def test_point_is_bounded_by_the_rule_of_its_record(rule: Rule) -> None:
    """Three of 160 lost: the trinomial rule certifies what the split one leaves undecided; the report says which."""
    evidence = PointEvidence(scores=PairedScores(rule=rule, base=BASE, checkpoint=LOST))
    judged = evidence.judge(BENCH, DROP, ALPHA)
    assert (judged.lower, judged.upper) == BOUNDS[rule](3, 0, M, ALPHA)
    assert judged.verdict is (Verdict.CERTIFIED if rule == "trinomial" else Verdict.UNDECIDED)
    words = {"split": "exact one-pass bounds", "trinomial": "exact trinomial bounds"}
    assert evidence.shown(BENCH, DROP, ALPHA, judged).method.endswith(words[rule])


def test_a_record_without_a_rule_is_split() -> None:
    """Files from before there was a choice keep their meaning."""
    assert PairedScores(base=BASE, checkpoint=LOST).rule == "split"
    assert PairedScores(base=BASE, checkpoint=LOST).drop(ALPHA).upper == drop_bounds(3, 0, M, ALPHA).upper


def position(items: Items, level: tuple[float, ...]) -> PositionEvidence:
    """A checkpoint at the base, in a basin of one level."""
    engine = ExplicitIdentity(device="cpu", tokens_per_batch=1)
    law = WeightNoise(sigma={"w": 0.1}, sizes={"w": 1})
    levels = (BasinLevel(sigma=0.1, law=law, engine=engine, seed=Seed(value="0" * 64), scores=level),)
    return PositionEvidence(
        items=items,
        basin=Basin(rule="trinomial", base=BASE, levels=levels),
        points=tuple(SegmentPoint(fraction=f, scores=BASE) for f in FRACTIONS),
        displacement=Displacement(norms={"w": 0.0}, delta_norm=0.0, dimension=1),
    )


def test_draws_on_fixed_items_are_split() -> None:
    """They are trials of unequal laws; with a population behind the items, each pair is one of the same law."""
    assert position("population", LOST).judge(BENCH, DROP, ALPHA).quantities["sigma_star"] == 0.1
    assert position("fixed", LOST).judge(BENCH, DROP, ALPHA).quantities["sigma_star"] is None
    assert position("fixed", BASE).judge(BENCH, DROP, ALPHA).quantities["sigma_star"] == 0.1


def test_position_and_its_levels_are_bounded_by_the_rule_of_the_basin() -> None:
    """Points of the segment and levels alike."""
    basin = position("population", LOST).basin
    assert basin.paired(LOST).drop(ALPHA).upper == trinomial_drop_bounds(3, 0, M, ALPHA).upper
    eta = basin.levels[0].engine.eta(basin.levels[0].law)
    assert basin.drop_at(basin.levels[0]).drop(ALPHA).upper == trinomial_drop_bounds(3, 0, M, ALPHA).upper + eta


def test_a_comparison_is_made_by_the_rule_of_new_records() -> None:
    """Whatever the rule of the two certificates that it takes its scores from."""
    before, after = (PairedScores(base=BASE, checkpoint=scores) for scores in (BASE, LOST))
    assert change_in_score(before, after, "population", ALPHA).lower == -trinomial_drop_bounds(3, 0, M, ALPHA).upper


def with_rule(tmp_path: Path, rule: str | None) -> Path:
    """A certificate's file whose rule was changed or taken out, its digest made to fit."""
    value = json.loads(certificate(6).to_text())
    scores = value["evidence"]["scores"]
    scores.pop("rule", None)
    if rule is not None:
        scores["rule"] = rule
    del value["digest"]
    file = tmp_path / "changed.json"
    file.write_text(json.dumps({**value, "digest": digest(value)}))
    return file


def test_another_rule_than_the_one_that_was_judged_by_is_found(tmp_path: Path) -> None:
    """The judgement is recomputed by the rule that the file names; one that is unknown is refused."""
    unchanged = read_document(with_rule(tmp_path, None))
    assert isinstance(unchanged, Certificate)
    assert differences(unchanged) == []
    assert any("judgement.upper" in line for line in differences(read_document(with_rule(tmp_path, "trinomial"))))
    with pytest.raises(Exception, match="rule"):
        read_document(with_rule(tmp_path, "exact"))
