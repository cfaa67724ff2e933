"""Items without an answer count against whatever is claimed: they certify nothing, and refute nothing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from point_certificates import certificate

from certify.evidence import PointEvidence, PositionEvidence, Requirement, SegmentPoint, SmoothedEvidence, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.paired_items import Items, PairedScores
from certify.evidence.position import Basin, BasinLevel
from certify.evidence.smoothed import DrawScores
from certify.records import BenchmarkIdentity, ExplicitIdentity, Seed, WeightNoise

D = "sha256:" + "0" * 64
SEED = Seed(value="0" * 64)
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)
LAW = WeightNoise(sigma={"w": 0.1}, sizes={"w": 100})
BENCH = BenchmarkIdentity(name="b", items=100, scoring="x", chance=0.0, digest=D, tokens=D)
OPEN_BASE: tuple[float | None, ...] = (None,) * 20 + (1.0,) * 80
RIGHT = (1.0,) * 100
UNITS = [Requirement(), Requirement(unit="retention", limit=0.95)]


@pytest.mark.parametrize("requirement", UNITS, ids=lambda r: r.unit)
@pytest.mark.parametrize("items", ["population", "fixed"])
def test_a_checkpoint_that_answers_more_than_its_base_is_not_refuted(requirement: Requirement, items: Items) -> None:
    """20 of the base's 100 items had no answer, the checkpoint is right on all: nothing shows a drop."""
    found = PointEvidence(items=items, scores=PairedScores(base=OPEN_BASE, checkpoint=RIGHT))
    assert found.judge(BENCH, requirement, 0.05).verdict is Verdict.UNDECIDED
    unanswered = PointEvidence(items=items, scores=PairedScores(base=RIGHT, checkpoint=OPEN_BASE))
    assert unanswered.judge(BENCH, requirement, 0.05).verdict is Verdict.UNDECIDED
    wrong = PointEvidence(items=items, scores=PairedScores(base=RIGHT, checkpoint=(0.0,) * 20 + (1.0,) * 80))
    assert wrong.judge(BENCH, requirement, 0.05).verdict is Verdict.REFUTED  # the numbers would refute


@pytest.mark.parametrize("items", ["population", "fixed"])
def test_missing_answers_alone_refute_no_absence(items: Items) -> None:
    """All answers that are there are wrong, as asked: nothing shows a score, and enough that are right do."""
    absent = Requirement(unit="absence", limit=0.05)
    silent = PointEvidence(items=items, scores=PairedScores(base=(0.0,) * 100, checkpoint=(None,) * 20 + (0.0,) * 80))
    found = silent.judge(BENCH, absent, 0.05)
    assert (found.verdict, found.lower) == (Verdict.UNDECIDED, 0.0)
    assert found.upper is not None and found.upper >= 0.2  # each may have been right
    speaks = PointEvidence(items=items, scores=PairedScores(base=(0.0,) * 100, checkpoint=(1.0,) * 20 + (0.0,) * 80))
    assert speaks.judge(BENCH, absent, 0.05).verdict is Verdict.REFUTED


@pytest.mark.parametrize("graded", [False, True])
def test_the_bounds_contain_those_of_every_way_to_answer(graded: bool) -> None:
    """Each end of the drop is that of the worst completion for it, and none reaches beyond."""
    base, checkpoint = (None, 1.0, 0.0, None) + (1.0,) * 30, (1.0, None, None, None) + (1.0,) * 25 + (0.0,) * 5
    found = PairedScores(graded=graded, base=base, checkpoint=checkpoint).drop(0.05)
    lowers, uppers = [], []
    for first, second, third, fourth, fifth in itertools.product((0.0, 1.0), repeat=5):
        filled = PairedScores(
            graded=graded, base=(first, 1.0, 0.0, second, *base[4:]),
            checkpoint=(1.0, third, fourth, fifth, *checkpoint[4:]),
        ).drop(0.05)  # fmt: skip
        lowers.append(filled.lower)
        uppers.append(filled.upper)
    assert found.lower is not None and found.upper is not None
    assert found.lower == pytest.approx(min(lowers), abs=1e-12)
    assert found.upper >= max(uppers)


@pytest.mark.parametrize(("missing", "warned"), [(0, False), (1, False), (2, False), (3, True), (60, True)])
def test_missing_answers_are_said(missing: int, warned: bool) -> None:
    """In the notes always, in the claim itself above one in a hundred."""
    scores = PairedScores(base=RIGHT, checkpoint=(None,) * missing + (1.0,) * (100 - missing))
    judged = certificate(0, benchmark=BENCH, evidence=PointEvidence(scores=scores)).judgement
    said = f"{missing / 2:.2f} % of the answers are missing"
    assert any(note == f"{said}; each counts against the claim" for note in judged.notes) == (missing > 0)
    assert (f"Warning: {said}." in judged.claim) == warned
    full, gaps = DrawScores(scores=(1.0,) * 10), DrawScores(scores=(0.9,) * 10, failed=(0.1,) * 10)
    assert smoothed(full, gaps).unanswered == pytest.approx(0.05)


def smoothed(base: DrawScores, checkpoint: DrawScores) -> SmoothedEvidence:
    return SmoothedEvidence(
        law=LAW, engine=ENGINE, seed=SEED, base=base, checkpoint=checkpoint, base_unnoised=0.8, checkpoint_unnoised=1.0
    )


@pytest.mark.parametrize("requirement", UNITS, ids=lambda r: r.unit)
def test_smoothed_refutes_by_no_missing_answer(requirement: Requirement) -> None:
    """A fifth of the items without an answer in every draw, on either side, shows no drop; as wrong it would."""
    full = DrawScores(scores=(1.0,) * 200)
    gaps = DrawScores(scores=(0.8,) * 200, failed=(0.2,) * 200)
    for base, checkpoint in ((gaps, full), (full, gaps), (gaps, gaps)):
        assert smoothed(base, checkpoint).judge(BENCH, requirement, 0.05).verdict is not Verdict.REFUTED
    assert smoothed(full, gaps).judge(BENCH, requirement, 0.05).verdict is Verdict.UNDECIDED
    lost = DrawScores(scores=(0.8,) * 200)
    assert smoothed(full, lost).judge(BENCH, requirement, 0.05).verdict is Verdict.REFUTED
    assert (smoothed(full, gaps).drop(0.05).upper or 0.0) >= (smoothed(full, lost).drop(0.05).upper or 0.0)


def test_a_basin_is_not_refuted_by_missing_answers() -> None:
    """Neither its levels nor the points of a segment."""
    level = BasinLevel(sigma=0.1, law=LAW, engine=ENGINE, seed=SEED, scores=RIGHT)
    basin = Basin(base=OPEN_BASE, levels=(level,))
    assert basin.refuted_from(Requirement(), 0.05, 0.0) is None
    moved: Any = Displacement(norms={"w": 0.1}, delta_norm=0.1, dimension=100)
    evidence = PositionEvidence(
        basin=basin, points=(SegmentPoint(fraction=1.0, scores=RIGHT),), displacement=moved
    )  # fmt: skip
    assert evidence.judge(BENCH, Requirement(), 0.05).verdict is Verdict.UNDECIDED
