"""Items in groups: a population's groups count once each, by the mean of their items; fixed items are as they were."""

from __future__ import annotations

from typing import Any

import point_certificates
import pytest

from certify.comparison import compare
from certify.documents import Certificate
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import (
    BasinLevel,
    DistanceEvidence,
    PointEvidence,
    PositionEvidence,
    Requirement,
    SegmentPoint,
    Verdict,
)
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.feasibility import require_feasible, smallest_n
from certify.evidence.paired_items import PairedScores, bounded_by, in_order, kept, present
from certify.evidence.position import FRACTIONS, Basin
from certify.evidence.smoothed import DrawScores
from certify.evidence.trials import Subject
from certify.evidence.width import WidthEvidence
from certify.records import (
    BenchmarkIdentity,
    ExplicitIdentity,
    Seed,
    WeightNoise,
    items_key,
    order_of,
    units,
)
from certify.report.render import ReportType, render, row_of
from certify.statistics import paired_difference_lower
from certify.verify import differences

D, ALPHA = "sha256:" + "0" * 64, 0.05
SIZES = (1, 4, 2, 3) * 30
GROUPS = tuple(number for number, size in enumerate(SIZES) for _ in range(size))
M, G = len(GROUPS), len(SIZES)
BENCH = BenchmarkIdentity(name="passages", items=M, scoring="x", chance=0.0, digest=D, tokens=D, groups=GROUPS)
ALONE = BENCH.model_copy(update={"groups": None})
BASE = tuple(None if i == 7 else float(i % 17 != 3) for i in range(M))
CHECKPOINT = tuple(None if i == 11 else float(i % 13 != 5) for i in range(M))
LAW, ENGINE = WeightNoise(sigma={"w": 0.1}, sizes={"w": 1}), ExplicitIdentity(device="cpu", tokens_per_batch=1)
SEED = Seed(value="0" * 64)
UNITS = [Requirement(), Requirement(unit="retention", limit=0.9), Requirement(unit="absence", limit=0.1)]


def scores(benchmark: BenchmarkIdentity = BENCH, checkpoint: Any = CHECKPOINT) -> PairedScores:
    return PairedScores(**bounded_by(benchmark), base=BASE, checkpoint=checkpoint)


def means(values: list[float]) -> tuple[float, ...]:
    """The mean of each group, by hand."""
    of = [[value for value, number in zip(values, GROUPS, strict=True) if number == g] for g in range(G)]
    return tuple(sum(each) / len(each) for each in of)


def certificate(benchmark: BenchmarkIdentity = BENCH, items: Any = "population", **more: Any) -> Certificate:
    evidence = PointEvidence(items=items, scores=scores(benchmark))
    return point_certificates.certificate(0, **{"benchmark": benchmark, "evidence": evidence, **more})


def test_a_group_counts_once_by_the_mean_of_its_items() -> None:
    """Every bound is that of graded items, one for each group, with these means; a missing answer counts as ever."""
    found = scores()
    plain = PairedScores(
        graded=True, order=order_of(BENCH), base=means(kept(BASE)), checkpoint=means(present(CHECKPOINT))
    )
    least = plain.model_copy(update={"checkpoint": means(kept(CHECKPOINT))})
    assert found.score(ALPHA) == plain.score(ALPHA).model_copy(update={"lower": least.score(ALPHA).lower})
    assert found.base_score(ALPHA) == plain.base_score(ALPHA)
    lost, spared = means(found.losses), means(found.least_losses)
    assert min(lost) < 0 < max(lost)
    drop, order = found.drop(ALPHA), order_of(BENCH)
    assert drop.upper == -paired_difference_lower(in_order([-x for x in lost], order), ALPHA)
    assert drop.lower == paired_difference_lower(in_order(list(spared), order), ALPHA)
    assert drop.value == pytest.approx(sum(lost) / G)


def test_it_is_not_the_mean_over_items() -> None:
    """One item that is a group of its own counts as much as a group of nine."""
    groups = (0,) + (1,) * 9
    found = PairedScores(groups=groups, base=(1.0,) * 10, checkpoint=(0.0,) + (1.0,) * 9)
    assert found.means("population") == (1.0, 0.5)
    assert found.means("fixed") == (1.0, 0.9)


def test_fixed_items_are_as_without_groups() -> None:
    """The judgement of exactly these items is the same, word for word; and so is what is shown of it."""
    grouped, alone = (
        (e.judge(b, Requirement(), ALPHA), e)
        for b, e in ((b, PointEvidence(items="fixed", scores=scores(b))) for b in (BENCH, ALONE))
    )
    assert grouped[0] == alone[0]
    assert grouped[1].shown(BENCH, Requirement(), ALPHA, grouped[0]).n == M


def test_without_groups_nothing_is_said_of_them() -> None:
    """Neither in the file nor in the digest: old records keep both, and new ones of single items are as before."""
    found = certificate(ALONE)
    assert '"groups"' not in found.to_text()
    assert "groups" not in found.model_dump()["benchmark"]
    assert '"groups"' in certificate().to_text()


def test_the_claim_and_the_row_say_it() -> None:
    found = certificate()
    assert differences(found) == []
    assert f"; each of {G} groups counts once, by the mean of its items" in found.claim_text
    assert "confidence over the groups of items, taken in an order drawn from a seed" in certificate(
        requirement=Requirement(limit=0.5)
    ).claim_text
    assert any(limit.startswith("The groups are taken to be an independent sample") for limit in found.judgement.limits)
    assert found.shown().method == f"items paired with the base, betting bounds over {G} groups"


@pytest.mark.parametrize("kind", [ReportType.json, ReportType.markdown, ReportType.html])
def test_every_report_says_it(kind: ReportType) -> None:
    assert f"each of {G} groups counts once, by the mean of its items" in render(kind, [row_of(certificate())])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((0,) * (M - 1), f"{M - 1} numbers for {M} items"),
        ((1,) + (0,) * (M - 1), "1 comes where 0 is next"),
        ((-1,) + (0,) * (M - 1), "-1 comes where 0 is next"),
        (tuple(range(M)), "groups of one item each are no groups"),
    ],
)
def test_groups_are_written_in_one_way(groups: tuple[int, ...], message: str) -> None:
    """In the benchmark, in paired scores and in a basin."""
    level = BasinLevel(sigma=0.1, law=LAW, engine=ENGINE, seed=SEED, scores=BASE)
    for make in (
        lambda: BenchmarkIdentity(**{**BENCH.model_dump(), "groups": groups}),
        lambda: PairedScores(groups=groups, base=BASE, checkpoint=CHECKPOINT),
        lambda: Basin(groups=groups, base=BASE, levels=(level,)),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_nobody_regroups_afterwards() -> None:
    """Scores grouped otherwise than the benchmark says are contradicted, and so are an order of one's own, and none."""
    other = tuple(i // 2 for i in range(M))
    for changed in (other, None):
        forged = certificate(evidence=PointEvidence(scores=scores().model_copy(update={"groups": changed})))
        assert [line for line in differences(forged) if line.startswith("evidence.scores.groups: recorded")]
    forged = certificate(evidence=PointEvidence(scores=scores().model_copy(update={"order": SEED})))
    assert [line for line in differences(forged) if line.startswith("evidence.scores.order")]
    early = forged.model_copy(update={"version": 1})
    assert [line for line in differences(early) if line.startswith("evidence.scores.order")]


def test_grouping_otherwise_gives_no_other_seed() -> None:
    """Orders, draws and the count of attempts follow from what is asked alone."""
    other = BENCH.model_copy(update={"groups": tuple(i // 2 for i in range(M))})
    assert order_of(other) == order_of(BENCH)
    assert items_key(other) == items_key(BENCH) == items_key(ALONE)
    assert order_of(ALONE) is None


def evidence_of(kind: str, score: float, groups: tuple[int, ...]) -> Any:
    """Perfect evidence of one kind on items in groups."""
    m = len(groups)
    own = {"order": SEED, "rule": "trinomial", "groups": groups}
    if kind == "point":
        return PointEvidence(scores=PairedScores(**own, base=(score,) * m, checkpoint=(score,) * m))
    level = BasinLevel(sigma=0.1, law=LAW, engine=ENGINE, seed=SEED, scores=(score,) * m)
    basin = Basin(**own, base=(score,) * m, levels=(level,))
    if kind == "basin":
        return WidthEvidence(basin=basin)
    points = tuple(SegmentPoint(fraction=f, scores=(score,) * m) for f in FRACTIONS)
    return PositionEvidence(
        basin=basin, points=points, displacement=Displacement(norms={"w": 0.0}, delta_norm=0.0, dimension=1)
    )


@pytest.mark.parametrize("kind", ["point", "position", "basin"])
@pytest.mark.parametrize("requirement", UNITS, ids=lambda r: r.unit)
def test_the_floor_counts_groups_and_is_the_judges(kind: str, requirement: Requirement) -> None:
    """Ten items in each group help nothing: so many groups certify perfect outcomes, one less does not."""
    floor = smallest_n(kind, requirement, ALPHA, 0.0, grouped=True)
    assert floor is not None
    for n, expected in ((floor, Verdict.CERTIFIED), (floor - 1, Verdict.UNDECIDED)):
        groups = tuple(i // 10 for i in range(10 * n))
        bench = BenchmarkIdentity(
            name="b", items=10 * n, scoring="x", chance=0.0, digest=D, tokens=D, groups=groups
        )  # fmt: skip
        judged = evidence_of(kind, requirement.perfect_score, groups).judge(bench, requirement, ALPHA)
        assert judged.verdict is expected
        if n < floor:
            with pytest.raises(InvalidPlan, match=f"cannot pass with {n} groups: {floor} are needed"):
                require_feasible(kind, 10 * n, requirement, ALPHA, 0.0, groups=groups)


def test_one_group_proves_nothing() -> None:
    with pytest.raises(InvalidPlan, match="cannot pass with 1 groups: 68 are needed"):
        require_feasible("point", 1000, Requirement(), ALPHA, 0.0, groups=(0,) * 1000)


def test_position_and_basin_say_it() -> None:
    """With ten items to a group; on fixed items position says nothing of groups and counts each item."""
    groups = tuple(i // 10 for i in range(1000))
    bench = BenchmarkIdentity(name="b", items=1000, scoring="x", chance=0.0, digest=D, tokens=D, groups=groups)
    said = "each of 100 groups counts once"
    for kind in ("position", "basin"):
        assert said in evidence_of(kind, 1.0, groups).judge(bench, Requirement(), ALPHA).claim
    fixed = evidence_of("position", 1.0, groups).model_copy(update={"items": "fixed"})
    judged = fixed.judge(bench, Requirement(), ALPHA)
    assert "group" not in judged.claim
    assert judged.verdict is Verdict.CERTIFIED
    level = fixed.basin.drop_at(fixed.basin.levels[0], "fixed")
    assert (level.groups, level.rule) == (None, "split")
    other = bench.model_copy(update={"groups": None})
    for kind in ("position", "basin"):
        found = evidence_of(kind, 1.0, groups).basin.contradictions("basin", Subject(other, point_certificates.identity(
            "base", "b")), False)  # fmt: skip
        assert any("basin.groups: recorded 100 groups of 1000 items" in line for line in found)


def test_distance_for_a_population_of_groups_is_contradicted() -> None:
    """Its draws hold means over items, from which none over groups follows."""
    draws = BaseDraws(
        law=LAW, engine=ENGINE, seed=SEED, alpha=ALPHA, draws=DrawScores(scores=(1.0,) * 300), base_score=1.0
    )  # fmt: skip
    at_base = Displacement(norms={"w": 0.0}, delta_norm=0.0, dimension=1)
    base, checkpoint = (point_certificates.identity(name, name[0]) for name in ("base", "checkpoint"))
    for items, expected in (("population", 1), ("fixed", 0)):
        evidence = DistanceEvidence(items=items, draws=draws, displacement=at_base)
        lines = evidence.contradictions(Subject(BENCH, base, checkpoint), ALPHA, False)
        assert len([line for line in lines if line.startswith("evidence.items: population")]) == expected


def test_comparison_counts_groups_and_refuses_two_groupings() -> None:
    first, second = certificate(), certificate(evidence=PointEvidence(scores=scores(checkpoint=BASE)))
    found = compare(first, second, alpha=ALPHA)
    assert f"each of {units(M, GROUPS)} groups counts once" in found.claim
    assert "confidence over the groups of items" in found.claim
    of_first, of_second = (sum(means(kept(x))) / G for x in (CHECKPOINT, BASE))
    assert found.scores == pytest.approx((of_first, of_second))
    assert found.change.value == pytest.approx(of_second - of_first)
    with pytest.raises(InvalidInput, match=r"they differ in items: 120 groups of 300 items .* and no groups"):
        compare(first, certificate(ALONE), alpha=ALPHA)
