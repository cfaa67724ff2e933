"""The smallest n that planning names is where the judge of each kind begins to certify perfect outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from certify.evidence import (
    BasinLevel,
    DistanceEvidence,
    PointEvidence,
    PositionEvidence,
    Requirement,
    SegmentPoint,
    SmoothedEvidence,
    Verdict,
)
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.feasibility import smallest_n
from certify.evidence.paired_items import PairedScores
from certify.evidence.position import FRACTIONS, Basin
from certify.evidence.smoothed import DrawScores
from certify.evidence.width import WidthEvidence
from certify.records import BenchmarkIdentity, ExplicitIdentity, Seed, WeightNoise

ALPHA, CHANCE = 0.05, 0.25
LAW, ENGINE = WeightNoise(sigma={"w": 0.1}, sizes={"w": 1}), ExplicitIdentity(device="cpu", tokens_per_batch=1)
SEED, D = Seed(value="0" * 64), "sha256:" + "0" * 64
AT_BASE = Displacement(norms={"w": 0.0}, delta_norm=0.0, dimension=1)
UNITS = [Requirement(), Requirement(unit="retention", limit=0.9), Requirement(unit="absence", limit=0.1)]


def point(score: tuple[float, ...]) -> Any:
    return PointEvidence(scores=PairedScores(rule="trinomial", base=score, checkpoint=score))


def basin(score: tuple[float, ...]) -> Basin:
    level = BasinLevel(sigma=0.1, law=LAW, engine=ENGINE, seed=SEED, scores=score)
    return Basin(rule="trinomial", base=score, levels=(level,))


def position(score: tuple[float, ...]) -> Any:
    points = tuple(SegmentPoint(fraction=f, scores=score) for f in FRACTIONS)
    return PositionEvidence(basin=basin(score), points=points, displacement=AT_BASE)


def width(score: tuple[float, ...]) -> Any:
    return WidthEvidence(basin=basin(score))


def smoothed(score: tuple[float, ...]) -> Any:
    draws = DrawScores(scores=score)
    return SmoothedEvidence(
        law=LAW, engine=ENGINE, seed=SEED, base=draws, checkpoint=draws, base_unnoised=score[0],
        checkpoint_unnoised=score[0],
    )  # fmt: skip


def distance(score: tuple[float, ...]) -> Any:
    draws = BaseDraws(
        law=LAW, engine=ENGINE, seed=SEED, alpha=ALPHA, draws=DrawScores(scores=score), base_score=score[0]
    )
    return DistanceEvidence(draws=draws, displacement=AT_BASE)


MAKE: dict[str, Callable[[tuple[float, ...]], Any]] = {
    "point": point, "position": position, "smoothed": smoothed, "distance": distance, "basin": width,
}  # fmt: skip


def verdict(kind: str, n: int, requirement: Requirement) -> Verdict:
    """What the judge says of n perfect trials."""
    evidence = MAKE[kind]((requirement.perfect_score,) * n)
    items = 100 if kind in ("smoothed", "distance") else n
    benchmark = BenchmarkIdentity(name="b", items=items, scoring="x", chance=CHANCE, digest=D, tokens=D)
    found: Verdict = evidence.judge(benchmark, requirement, ALPHA).verdict
    return found


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("requirement", UNITS, ids=lambda r: r.unit)
def test_certified_at_the_floor_and_not_below(kind: str, requirement: Requirement) -> None:
    """With one trial less (distance, whose floor is found to 1 %: with 2 % less) perfect outcomes are not enough."""
    n = smallest_n(kind, requirement, ALPHA, CHANCE)
    assert n is not None
    assert verdict(kind, n, requirement) is Verdict.CERTIFIED
    less = n - max(1, n // 50) if kind == "distance" else n - 1
    assert verdict(kind, less, requirement) is not Verdict.CERTIFIED


def test_large_floors_of_items_are_exact() -> None:
    """Six thousand items: one less is too few, not sixty."""
    requirement = Requirement(limit=0.0005)
    n = smallest_n("point", requirement, ALPHA, CHANCE)
    assert n is not None
    assert n > 5900
    assert verdict("point", n, requirement) is Verdict.CERTIFIED
    assert verdict("point", n - 1, requirement) is not Verdict.CERTIFIED
