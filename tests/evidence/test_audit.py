"""The judge of audits: every verdict, every way to have none, what is exact, and what must not be believed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from point_certificates import BENCHMARK, identity

from certify.documents import Certificate
from certify.evidence import AuditEvidence, PointEvidence, Requirement, Verdict
from certify.evidence.feasibility import audited_items
from certify.evidence.paired_items import PairedScores, in_order, item_weights
from certify.evidence.trials import Subject, Trials
from certify.joint import p_value
from certify.records import BenchmarkIdentity, Environment, Part, identity_of_pool
from certify.verify import differences

BASE, CHECKPOINT = identity("base", "b"), identity("final", "1")
DROP, RETENTION = Requirement(), Requirement(unit="retention", limit=0.9)
ABSENCE = Requirement(unit="absence", limit=0.1)
ALPHA = 0.05
Scores = tuple[float | None, ...]


def bench(items: int, chance: float = 0.25, graded: bool = False) -> BenchmarkIdentity:
    return BENCHMARK.model_copy(update={"items": items, "chance": chance, "graded": graded})


def audit(
    base: Scores, checkpoint: Scores, until: Requirement = DROP, *, chance: float = 0.25, seed: int = 0,
    graded: bool = False, whole: bool = False, **more: Any,
) -> AuditEvidence:  # fmt: skip
    """An audit of these scores, in the file's order, as far as it has to go (or to the end)."""
    benchmark = bench(len(base), chance, graded)
    drawn = Trials("audit", Subject(benchmark, BASE, CHECKPOINT), None, len(base), seed).seed
    scored = tuple(in_order(list(checkpoint), drawn))
    found = AuditEvidence(graded=graded, seed=drawn, until=until, base=base, checkpoint=scored, **more)
    end = found.m if whole else found.decided_after(until, ALPHA, chance)
    return found.model_copy(update={"checkpoint": scored[:end]})


def certificate(evidence: AuditEvidence, chance: float = 0.25, alpha: float = ALPHA) -> Certificate:
    return Certificate.make(
        base=BASE, checkpoint=CHECKPOINT, benchmark=bench(evidence.m, chance, evidence.graded),
        requirement=evidence.until, alpha=alpha, evidence=evidence,
        environment=Environment(python="3.12", platform="Linux", packages={"torch": "2.13.0"}),
    )  # fmt: skip


def right(n: int, of: int) -> Scores:
    return (1.0,) * n + (0.0,) * (of - n)


@pytest.mark.parametrize(
    ("until", "base", "good", "bad"),
    [(DROP, 300, 299, 200), (RETENTION, 300, 299, 200), (ABSENCE, 300, 2, 120)],
    ids=["drop", "retention", "absence"],
)
def test_good_and_bad_are_told_apart_with_few_items(until: Requirement, base: int, good: int, bad: int) -> None:
    """Certified and refuted long before the end, with the limit as the bound and no estimate."""
    for n, verdict in ((good, Verdict.CERTIFIED), (bad, Verdict.REFUTED)):
        made = certificate(audit(right(base, 300), right(n, 300), until))
        judged = made.judgement
        assert judged.verdict is verdict
        assert made.evidence.n < 150
        assert judged.value is None
        bounds = [bound for bound in (judged.lower, judged.upper) if bound is not None]
        assert bounds == [pytest.approx(until.limit, rel=1e-15)]
        assert "confidence over the order of the items" in judged.claim
        assert "exactly these 300 items" in judged.claim
        assert differences(made) == []


@given(
    items=st.integers(1, 40), base=st.integers(0, 40), good=st.integers(0, 40), limit=st.integers(0, 20),
    unit=st.sampled_from(["drop", "retention", "absence"]), chance=st.sampled_from([0.0, 0.25, 0.5]),
)  # fmt: skip
@settings(max_examples=150)
def test_after_all_items_it_is_the_exact_verdict(
    items: int, base: int, good: int, limit: int, unit: Any, chance: float
) -> None:
    """That of point evidence on fixed items, but at a tie of retention, which rounding leaves undecided there."""
    requirement = Requirement(unit=unit, limit=limit / 20)
    old, new = right(min(base, items), items), right(min(good, items), items)
    ours = audit(old, new, requirement, chance=chance, whole=True).judge(bench(items, chance), requirement, ALPHA)
    point = PointEvidence(items="fixed", scores=PairedScores(base=old, checkpoint=new))
    theirs = point.judge(bench(items, chance), requirement, ALPHA)
    assert (ours.value is None) == (theirs.value is None)
    if theirs.value is not None and ours.value is not None:
        assert ours.value == pytest.approx(theirs.value, abs=1e-9)
        assert ours.lower == ours.value == ours.upper
    tie = unit == "retention" and theirs.value is not None and math.isclose(theirs.value, requirement.limit)
    assert ours.verdict is theirs.verdict or tie
    assert ours.vacuous == theirs.vacuous or tie


@pytest.mark.parametrize(("limit", "lost"), [(0.29, 29), (0.07, 7), (0.05, 5), (0.3, 30)])
def test_ties_are_met_as_the_record_writes_them(limit: float, lost: int) -> None:
    """29 of 100 lost is a drop of at most 0.29, whatever float is nearest; graded scores are summed as decimals."""
    until = Requirement(limit=limit)
    exact = audit(right(100, 100), right(100 - lost, 100), until, whole=True)
    assert exact.judge(bench(100), until, ALPHA).verdict is Verdict.CERTIFIED
    more = audit(right(100, 100), right(99 - lost, 100), until, whole=True)
    assert more.judge(bench(100), until, ALPHA).verdict is Verdict.REFUTED
    graded = audit((0.8,) * 30, (round(0.8 - limit, 2),) * 30, until, graded=True, whole=True)
    assert graded.judge(bench(30, graded=True), until, ALPHA).verdict is Verdict.CERTIFIED


def test_retention_is_exact_at_its_tie() -> None:
    """Base 200 of 200, chance 1/2, 0.9 required: 190 keep just enough, 189 do not."""
    for n, verdict in ((190, Verdict.CERTIFIED), (189, Verdict.REFUTED)):
        judged = audit(right(200, 200), right(n, 200), RETENTION, chance=0.5, whole=True)
        assert judged.judge(bench(200, 0.5), RETENTION, ALPHA).verdict is verdict


def test_a_base_without_anything_to_retain_costs_nothing() -> None:
    """No item is scored, and it says why."""
    made = certificate(audit(right(25, 100), right(25, 100), RETENTION))
    assert (made.evidence.n, made.verdict) == (0, "undecided")
    assert made.judgement.notes[0].startswith("abstained: the base scores 0.25, not above chance 0.25")
    assert differences(made) == []


def test_what_chance_would_meet_is_vacuous() -> None:
    """It certifies nothing, and what it misses is refuted all the same."""
    for n, verdict in ((30, "undecided"), (0, "refuted")):
        made = certificate(audit(right(30, 100), right(n, 100), Requirement(limit=0.1)))
        assert (made.verdict, made.judgement.vacuous) == (verdict, verdict == "undecided")


def test_what_the_base_misses_cannot_be_lost() -> None:
    """60 right answers, of which 59 may be lost: with the second that is kept it is known, without any confidence."""
    base, until = right(60, 1000), Requirement(limit=0.059)
    made = audit(base, base, until, chance=0.0, whole=True)
    second = [place for place, score in enumerate(in_order(list(base), made.seed)) if score][1]
    missed, _ = made.evidence_against(until, 0.0)
    assert math.isfinite(missed[second - 1])
    assert missed[second] == math.inf


def test_missing_answers_count_against_either_claim() -> None:
    """At the checkpoint wrong for a certificate and right for a refutation; where they decide, nothing is claimed."""
    base = right(100, 100)
    few = audit(base, (None,) * 3 + right(97, 97), whole=True)
    assert few.judge(bench(100), DROP, ALPHA).verdict is Verdict.CERTIFIED
    many = audit(base, (None,) * 8 + right(92, 92), whole=True).judge(bench(100), DROP, ALPHA)
    assert (many.verdict, many.lower, many.upper) == (Verdict.UNDECIDED, 0.0, 0.08)
    made = certificate(audit(base, (None,) * 8 + right(92, 92)))
    assert "answers are missing" in made.claim_text
    missed = audit(right(50, 100), right(50, 50) + (None,) * 50, whole=True)  # none of them had anything to lose
    assert missed.judge(bench(100), DROP, ALPHA).upper == 0.0


def test_the_end_must_be_where_it_was_decided() -> None:
    """One item less is not decided yet, one more was decided before; neither verifies."""
    whole = audit(right(300, 300), right(298, 300), whole=True)
    end = whole.decided_after(DROP, ALPHA, 0.25)
    assert end is not None and 50 < end < 200
    for n, said in ((end - 1, "is not decided yet"), (end + 1, f"was decided after {end}"), (0, "is not decided yet")):
        made = certificate(whole.model_copy(update={"checkpoint": whole.checkpoint[:n]}))
        assert f"evidence.checkpoint: {n} items were scored, but drop at most 0.05 {said}" in differences(made)
    assert differences(certificate(whole.model_copy(update={"checkpoint": whole.checkpoint[:end]}))) == []


def test_another_order_is_found() -> None:
    """The order is recomputed from the seed, and the seed from what was measured."""
    found = audit(right(300, 300), right(290, 300))
    forged = found.model_copy(update={"seed": found.seed.model_copy(update={"value": "1" * 64})})
    assert any(line.startswith("evidence.seed: recorded 1111") for line in differences(certificate(forged)))
    lines = found.model_copy(update={"graded": True}).contradictions(Subject(bench(300), BASE, CHECKPOINT), ALPHA, True)
    assert "evidence: graded is True, the benchmark's is False" in lines
    with pytest.raises(ValueError, match="not graded: must be 0 or 1"):
        AuditEvidence(seed=found.seed, until=DROP, base=(0.5,), checkpoint=())
    with pytest.raises(ValueError, match="2 items of the checkpoint were scored, the base has 1"):
        AuditEvidence(seed=found.seed, until=DROP, base=(1.0,), checkpoint=(1.0, 1.0))


def test_the_same_items_say_something_about_another_limit() -> None:
    """A laxer limit is certified by the same evidence, a stricter one is not decided; both records verify."""
    made = certificate(audit(right(300, 300), right(300, 300)))
    lax, strict = made.under(Requirement(limit=0.2)), made.under(Requirement(limit=0.01))
    assert (lax.verdict, strict.verdict) == ("certified", "undecided")
    assert differences(lax) == differences(strict) == []


def test_the_p_value_is_the_inverse_of_the_largest_evidence() -> None:
    """Just below alpha where it stopped; 1 where nothing was shown; as small as can be said where all is known."""
    found = audit(right(300, 300), right(299, 300))
    missed, _ = found.evidence_against(DROP, 0.25)
    assert p_value(found, bench(300), DROP) == pytest.approx(math.exp(-missed.max()), rel=1e-3)
    assert p_value(audit(right(300, 300), right(200, 300)), bench(300), DROP) == 1.0
    assert p_value(audit(right(300, 300), right(299, 300), whole=True), bench(300), DROP) == 1e-9


def test_which_seed_was_used_is_said() -> None:
    """In the claim and among the limits: known beforehand, or drawn when the gate ran."""
    known, drawn = (audit(right(300, 300), right(300, 300), seed_drawn=drawn) for drawn in (False, True))
    ours, theirs = certificate(known).judgement, certificate(drawn).judgement
    assert "in the order of a seed known beforehand" in ours.claim
    assert any("can choose one that passes" in x for x in ours.limits)
    assert "in the order of a seed drawn when the gate ran" in theirs.claim
    assert any("whoever ran it is trusted that it was" in x for x in theirs.limits)


@pytest.mark.parametrize("until", [DROP, RETENTION, ABSENCE], ids=lambda r: r.unit)
def test_the_planned_number_is_the_judges(until: Requirement) -> None:
    """If nothing is lost, the plan names the item after which it is decided, and a block is as long as that."""
    score = (until.perfect_score,) * 300
    made = audit(score, score, until)
    assert audited_items(until, ALPHA, 0.25, 300) == made.n
    start = made.model_copy(update={"checkpoint": ()})
    assert start.fewest_more(ALPHA, 0.25) == min(32, made.n)
    most = made.model_copy(update={"checkpoint": made.checkpoint[:-1]})
    assert most.fewest_more(ALPHA, 0.25) == 1


def test_a_plan_knows_what_is_refuted_and_what_losses_cost() -> None:
    """More lost than allowed is no plan for a pass; losses cost items, and more power costs more."""
    assert audited_items(DROP, ALPHA, 0.0, 300, lost=0.06) is None
    middle, most = (audited_items(DROP, ALPHA, 0.0, 300, lost=0.01, power=power) for power in (0.5, 0.9))
    assert middle is not None and most is not None
    assert 90 < middle < 110 < most <= 300


def test_graded_scores_are_audited() -> None:
    """A hundredth lost on each item is certified early, a fifth is refuted; a base below 1 narrows what can be lost."""
    base = tuple(0.5 + 0.001 * (i % 400) for i in range(400))
    for lost, verdict in ((0.01, "certified"), (0.2, "refuted")):
        made = certificate(audit(base, tuple(b - lost for b in base), graded=True, chance=0.0), chance=0.0)
        assert (made.verdict, made.evidence.n < 200) == (verdict, True)
        assert differences(made) == []


@pytest.mark.parametrize("pool", [None, (3.0, 1.0)], ids=["one benchmark", "a pool"])
def test_lost_and_gained_items_are_numbered_as_in_the_file(pool: tuple[float, float] | None) -> None:
    """Whatever order they were scored in, a pool's weighted one included."""
    parts = pool and tuple(
        Part(name=f"b{i}", items=10, weight=weight, chance=0.25, digest=f"sha256:{i:064x}")
        for i, weight in enumerate(pool)
    )
    benchmark = bench(20).model_copy(update={"pool": parts, **(identity_of_pool(parts) if parts else {})})
    drawn = Trials("audit", Subject(benchmark, BASE, CHECKPOINT), None, 20, 0).seed
    base = tuple(float(i != 6) for i in range(20))
    scored = in_order([float(i not in (3, 17)) for i in range(20)], drawn, item_weights(parts))
    found = AuditEvidence(graded=False, seed=drawn, until=DROP, base=base, checkpoint=tuple(scored), pool=parts)
    shown = certificate(found).model_copy(update={"benchmark": benchmark}).shown()
    assert (shown.items_lost, shown.items_gained) == ((4, 18), (7,))
