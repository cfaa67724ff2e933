"""A requirement that a model at chance would meet certifies nothing, whichever evidence is asked."""

from __future__ import annotations

import math

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
from certify.evidence.paired_items import PairedScores
from certify.evidence.position import Basin
from certify.evidence.smoothed import DrawScores
from certify.evidence.width import WidthEvidence
from certify.joint import p_value
from certify.records import BenchmarkIdentity, ExplicitIdentity, Seed, WeightNoise
from certify.report.width_figures import Width
from certify.statistics import drop_bounds

D = "sha256:" + "0" * 64
SEED = Seed(value="0" * 64)
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)
BENCH = BenchmarkIdentity(name="b", items=300, scoring="x", chance=0.25, digest=D, tokens=D)
DROP, TIGHT = Requirement(), Requirement(limit=0.02)
NOTE = "vacuous: a model that knows nothing (chance 0.25) would meet the requirement"
CLAIM = "Nothing is claimed about b: a model that knows nothing (chance 0.25) would meet the requirement"


def law(sigma: float) -> WeightNoise:
    return WeightNoise(sigma={"w": sigma}, sizes={"w": 100})


def items(right: int) -> tuple[float, ...]:
    return (1.0,) * right + (0.0,) * (300 - right)


def weak_basin(base: int = 84, level: int = 84) -> Basin:
    levels = (BasinLevel(sigma=s, law=law(s), engine=ENGINE, seed=SEED, scores=items(level)) for s in (0.01, 0.02))
    return Basin(base=items(base), levels=tuple(levels))


def position(basin: Basin, right: int) -> PositionEvidence:
    return PositionEvidence(
        basin=basin,
        points=(SegmentPoint(fraction=1.0, scores=items(right)),),
        displacement=Displacement(norms={"w": 0.1}, delta_norm=0.1, dimension=100),
    )


def point(base: int, checkpoint: int, **more: object) -> PointEvidence:
    return PointEvidence(scores=PairedScores(base=items(base), checkpoint=items(checkpoint)), **more)  # type: ignore[arg-type]


def smoothed(base: float, checkpoint: float) -> SmoothedEvidence:
    drawn = (DrawScores(scores=(x,) * 400) for x in (base, checkpoint))
    return SmoothedEvidence(
        law=law(9.0), engine=ENGINE, seed=SEED, base=next(drawn), checkpoint=next(drawn), base_unnoised=1.0,
        checkpoint_unnoised=1.0,
    )  # fmt: skip


WEAK = {
    "point": point(84, 84),
    "point, fixed": point(84, 84, items="fixed"),
    "position": position(weak_basin(), 84),
    "smoothed": smoothed(0.28, 0.28),
}


@pytest.mark.parametrize("kind", WEAK)
def test_a_base_near_chance_that_loses_nothing_is_not_certified(kind: str) -> None:
    """Base .28, chance .25, drop of .05: undecided with the reason in note and claim; a drop of .02 is certified."""
    judged = WEAK[kind].judge(BENCH, DROP, 0.05)
    assert (judged.verdict, judged.vacuous, judged.notes[0]) == (Verdict.UNDECIDED, True, NOTE)
    assert judged.claim.startswith(CLAIM)
    tight = WEAK[kind].judge(BENCH, TIGHT, 0.05)
    assert (tight.verdict, tight.vacuous) == (Verdict.CERTIFIED, False)
    assert p_value(WEAK[kind], BENCH, DROP) == 1.0


@pytest.mark.parametrize("kind", WEAK)
def test_what_is_lax_in_another_unit(kind: str) -> None:
    """A retention of nothing, and an absence of nothing."""
    for requirement in (Requirement(unit="retention", limit=0.0), Requirement(unit="absence", limit=1.0)):
        judged = WEAK[kind].judge(BENCH, requirement, 0.05)
        assert (judged.verdict, judged.vacuous) == (Verdict.UNDECIDED, True)


def test_noise_that_ruins_the_base_certifies_no_checkpoint() -> None:
    """A sigma so large that both score chance shows no drop, and nothing else."""
    judged = smoothed(0.25, 0.25).judge(BENCH, DROP, 0.05)
    assert judged.upper is not None and judged.upper < DROP.limit
    assert (judged.verdict, judged.vacuous) == (Verdict.UNDECIDED, True)


def test_a_refutation_stands() -> None:
    """What misses even a requirement that chance would meet is refuted, and the claim says so."""
    for evidence in (point(84, 0), position(weak_basin(), 0), smoothed(0.28, 0.0)):
        judged = evidence.judge(BENCH, DROP, 0.05)
        assert (judged.verdict, judged.vacuous) == (Verdict.REFUTED, False)
        assert "confidence" in judged.claim


def test_a_width_and_its_figure_follow_the_same_rule() -> None:
    """The basin record, position evidence, and the interval of a figure: no end is known; of a tight limit both are."""
    basin = weak_basin()
    judged = WidthEvidence(basin=basin).judge(BENCH, DROP, 0.05)
    assert (judged.verdict, judged.sigma_star, judged.vacuous) == (Verdict.UNDECIDED, None, True)
    assert basin.width(DROP, 0.05, 0.25) is None
    assert weak_basin(level=0).refuted_from(DROP, 0.05, 0.25) is None
    assert Width.of(1, basin, DROP, 0.05, 0.25) == Width(1, 0.0, None, 0.02)
    assert Width.of(1, basin, TIGHT, 0.05, 0.25) == Width(1, 0.02, None, 0.02)


def distance(r: float, base: float = 0.9, n: int = 3000) -> DistanceEvidence:
    right = round(base * n)
    return DistanceEvidence(
        draws=BaseDraws(
            law=law(1.0), engine=ENGINE, seed=SEED, alpha=0.05, base_score=base, design="pairs",
            draws=DrawScores(scores=(1.0,) * right + (0.0,) * (n - right)),
        ),
        displacement=Displacement(norms={"w": r}, delta_norm=r, dimension=100),
    )  # fmt: skip


@pytest.mark.parametrize("limit", [0.05, 0.4, 0.65, 0.8])
def test_the_certified_radius_is_where_certification_ends(limit: float) -> None:
    """Also where the required score lies below chance: there the bound turns vacuous before it misses the limit."""
    requirement = Requirement(limit=limit)
    radius = distance(0.0).judge(BENCH, requirement, 0.05).quantities["certified_radius"]
    assert radius is not None and math.isfinite(radius)
    inside, outside = (distance(radius * f).judge(BENCH, requirement, 0.05) for f in (1 - 1e-6, 1 + 1e-6))
    assert (inside.verdict, outside.verdict) == (Verdict.CERTIFIED, Verdict.UNDECIDED)
    assert outside.vacuous is (limit >= 0.65)


def test_the_drop_bound_alone_would_have_certified() -> None:
    """The negative control: the numbers above are such that only the rule stops them."""
    assert drop_bounds(0, 0, 300, 0.05).upper < TIGHT.limit < DROP.limit
