"""The rules of the kinds of evidence on items and draws, each verdict and each way to have none."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.errors import InvalidPlan
from certify.evidence import (
    BasinLevel,
    DistanceEvidence,
    PointEvidence,
    PositionEvidence,
    Requirement,
    SegmentPoint,
    SmoothedEvidence,
    Verdict,
    alpha_of,
    requirement_of,
)
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.feasibility import infeasible, require_feasible
from certify.evidence.judgement import Interval, interval_in_unit
from certify.evidence.paired_items import FIXED_PREMISE, PairedScores
from certify.evidence.position import FIXED_POSITION_PREMISE, Basin
from certify.evidence.smoothed import DrawScores
from certify.records import BenchmarkIdentity, ExplicitIdentity, Seed, WeightNoise
from certify.statistics import betting_lower, drop_bounds, mean_upper, one_pass_lower, score_band

D = "sha256:" + "0" * 64
SEED = Seed(value="0" * 64)
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)
DROP, RETENTION = Requirement(), Requirement(unit="retention", limit=0.9)


def bench(items: int = 300, chance: float = 0.25) -> BenchmarkIdentity:
    return BenchmarkIdentity(name="b", items=items, scoring="x", chance=chance, digest=D, tokens=D)


def scores(right: int, m: int = 300) -> tuple[float, ...]:
    return (1.0,) * right + (0.0,) * (m - right)


def law(sigma: float = 0.1) -> WeightNoise:
    return WeightNoise(sigma={"w": sigma, "frozen": 0.0}, sizes={"w": 100, "frozen": 5})


def point(base: int, checkpoint: int, **kw: object) -> PointEvidence:
    return PointEvidence(scores=PairedScores(base=scores(base), checkpoint=scores(checkpoint)), **kw)


class TestPoint:
    """Paired items."""

    @pytest.mark.parametrize(
        ("checkpoint", "verdict"),
        [(300, Verdict.CERTIFIED), (290, Verdict.UNDECIDED), (200, Verdict.REFUTED)],
    )
    @pytest.mark.parametrize("requirement", [DROP, RETENTION], ids=["drop", "retention"])
    def test_three_outcomes(self, checkpoint: int, verdict: Verdict, requirement: Requirement) -> None:
        """Nothing lost certifies, a third lost refutes, and between lies undecided."""
        limit = requirement.model_copy(update={"limit": 0.95}) if requirement.unit == "retention" else requirement
        assert point(300, checkpoint).judge(bench(), limit, 0.05).verdict is verdict

    def test_the_drop_bounds_are_the_exact_paired_ones(self) -> None:
        """Lost and gained are counted item by item, not as a difference of means."""
        base = (1.0, 1.0, 0.0, 0.0) * 50
        checkpoint = (1.0, 0.0, 1.0, 0.0) * 50
        judged = PointEvidence(scores=PairedScores(base=base, checkpoint=checkpoint)).judge(bench(200), DROP, 0.05)
        assert (judged.quantities["lost"], judged.quantities["gained"]) == (50, 50)
        assert (judged.lower, judged.upper) == tuple(drop_bounds(50, 50, 200, 0.05))

    def test_scores_that_are_not_binary_use_betting(self) -> None:
        """Graded scores get the betting bound on the paired difference."""
        base, checkpoint = (0.5,) * 100, (0.5,) * 100
        judged = PointEvidence(scores=PairedScores(graded=True, base=base, checkpoint=checkpoint)).judge(
            bench(100), DROP, 0.05
        )
        assert judged.upper == pytest.approx(1 - 2 * betting_lower([0.5] * 100, 0.05), abs=1e-12)

    def test_what_the_benchmark_declares_decides_the_bound(self) -> None:
        """Scores that happen to be 0 and 1 do not make a graded benchmark exact, and others are refused."""
        same = {"base": (1.0,) * 100, "checkpoint": (1.0,) * 100}
        graded, exact = PairedScores(graded=True, **same).drop(0.05), PairedScores(**same).drop(0.05)
        assert graded.upper != exact.upper
        with pytest.raises(ValueError, match="not graded: must be 0 or 1"):
            PairedScores(base=(0.5,), checkpoint=(1.0,))

    def test_a_fixed_benchmark_has_no_confidence(self) -> None:
        """With items="fixed" the drop is known: both bounds are the drop, and the claim names no confidence."""
        judged = point(300, 290, items="fixed").judge(bench(), DROP, 0.05)
        assert judged.lower == judged.upper == judged.value == pytest.approx(10 / 300)
        assert judged.verdict is Verdict.CERTIFIED
        assert "confidence" not in judged.claim

    def test_retention_abstains_when_the_base_is_at_chance(self) -> None:
        """A ratio over nothing is not judged, and the note says why."""
        judged = point(75, 75).judge(bench(), RETENTION, 0.05)
        assert judged.verdict is Verdict.UNDECIDED
        assert "abstained" in judged.notes[0]

    def test_its_own_settings_are_said(self) -> None:
        """Another tokenizer is allowed for point evidence, and named."""
        judged = point(300, 300, differences=("tokenizer differs",)).judge(bench(), DROP, 0.05)
        assert "tokenizer differs" in judged.notes[0]


class TestSmoothed:
    """Paired draws."""

    def evidence(self, base: float, checkpoint: float, n: int = 200) -> SmoothedEvidence:
        return SmoothedEvidence(
            law=law(),
            engine=ENGINE,
            seed=SEED,
            base=DrawScores(scores=(base,) * n),
            checkpoint=DrawScores(scores=(checkpoint,) * n),
            base_unnoised=base,
            checkpoint_unnoised=checkpoint,
        )

    @pytest.mark.parametrize(
        ("checkpoint", "verdict"), [(0.98, Verdict.CERTIFIED), (0.93, Verdict.UNDECIDED), (0.5, Verdict.REFUTED)]
    )
    def test_three_outcomes(self, checkpoint: float, verdict: Verdict) -> None:
        """A small drop certifies, a large one refutes, one at the edge stays undecided."""
        assert self.evidence(0.98, checkpoint).judge(bench(), DROP, 0.05).verdict is verdict

    def test_finite_precision_is_paid_twice(self) -> None:
        """A paired drop costs 2 eta on its upper bound."""
        evidence = self.evidence(0.9, 0.9)
        free = 1 - 2 * betting_lower([0.5] * 200, 0.05)
        eta = ENGINE.eta(law())
        assert evidence.drop(0.05).upper == pytest.approx(free + 2 * eta, abs=1e-12)
        assert eta > 1e-11  # well above the tolerance of the comparison

    def test_it_says_that_it_speaks_of_the_noised_model(self) -> None:
        """The limit stands beside the claim."""
        judged = self.evidence(0.9, 0.9).judge(bench(), DROP, 0.05)
        assert "noise-averaged" in judged.claim
        assert any("not of the checkpoint served without" in limit for limit in judged.limits)


class TestDistance:
    """Draws at the base and a displacement."""

    def evidence(
        self, moved: float, *, n: int = 1000, score: float = 1.0, frozen: float = 0.0, differences: tuple[str, ...] = ()
    ) -> DistanceEvidence:
        return DistanceEvidence(
            draws=BaseDraws(
                law=law(), engine=ENGINE, seed=SEED, alpha=0.05, draws=DrawScores(scores=(score,) * n), base_score=1.0
            ),
            displacement=Displacement(
                norms={"w": moved, "frozen": frozen}, differences=differences, delta_norm=moved, dimension=105
            ),
        )

    def test_close_is_certified_and_far_is_vacuous(self) -> None:
        """Half a sigma away the bound carries; at a hundred sigma it says nothing, with the reason."""
        near = self.evidence(0.05).judge(bench(), DROP, 0.05)
        far = self.evidence(10.0).judge(bench(), DROP, 0.05)
        assert near.verdict is Verdict.CERTIFIED
        assert not near.vacuous
        assert (far.verdict, far.vacuous) == (Verdict.UNDECIDED, True)
        assert "vacuous" in far.notes[0]
        assert "100.1 sigma away" in far.notes[0]
        assert "Nothing is claimed" in far.claim

    def test_it_never_refutes(self) -> None:
        """However bad the base and however far the checkpoint, distance evidence stays undecided."""
        for moved in (0.0, 0.1, 1e6):
            for score in (0.0, 0.3, 0.9):
                judged = self.evidence(moved, score=score).judge(bench(), DROP, 0.05)
                assert judged.verdict is not Verdict.REFUTED

    def test_the_bound_is_the_layer_cake_at_r(self) -> None:
        """r is the displacement over sigma, and the bound that of the band less eta."""
        evidence = self.evidence(0.1)
        judged = evidence.judge(bench(), DROP, 0.05)
        expected = score_band([1.0] * 1000, 0.05, ENGINE.eta(law())).mean_lower(evidence.r)
        assert evidence.r == pytest.approx(1.0, rel=1e-8)
        assert judged.quantities["bound"] == expected
        assert judged.upper == 1.0 - expected

    def test_a_moved_frozen_tensor_is_at_infinity(self) -> None:
        """Any change without noise makes r infinite."""
        assert self.evidence(0.05, frozen=1e-30).r == float("inf")
        assert self.evidence(0.05, frozen=1e-30).judge(bench(), DROP, 0.05).vacuous

    def test_any_other_difference_is_at_infinity(self) -> None:
        """So does a config that differs, and the note names it."""
        judged = self.evidence(0.0, differences=("config differs",)).judge(bench(), DROP, 0.05)
        assert judged.quantities["r"] is None
        assert "config differs" in judged.notes[0]

    def test_a_lax_limit_does_not_certify_a_vacuous_bound(self) -> None:
        """A drop of everything would be allowed: the bound says nothing all the same, and is not called certified."""
        lax = self.evidence(10.0).judge(bench(), Requirement(limit=1.0), 0.05)
        assert (lax.vacuous, lax.verdict) == (True, Verdict.UNDECIDED)
        absent = self.evidence(10.0).judge(bench(), Requirement(unit="absence", limit=1.0), 0.05)
        assert (absent.vacuous, absent.verdict) == (True, Verdict.UNDECIDED)

    def test_a_vacuous_bound_never_certifies_a_positive_requirement(self) -> None:
        """At or below chance the retention is at most zero."""
        judged = self.evidence(10.0).judge(bench(), Requirement(unit="retention", limit=0.01), 0.05)
        assert judged.verdict is Verdict.UNDECIDED

    def test_more_draws_reach_farther(self) -> None:
        """The certified radius grows with n."""
        radii = [self.evidence(0.0, n=n).judge(bench(), DROP, 0.05).quantities["certified_radius"] for n in (200, 2000)]
        assert radii[0] < radii[1]


class TestPosition:
    """The basin and four points."""

    def evidence(self, delta_norm: float, at: tuple[int, ...], levels: tuple[int, ...] = (300, 300, 250), **kw: object):  # type: ignore[no-untyped-def]
        grid = tuple(
            BasinLevel(sigma=0.01 * (i + 1), law=law(), engine=ENGINE, seed=SEED, scores=scores(right))
            for i, right in enumerate(levels)
        )
        return PositionEvidence(
            basin=Basin(base=scores(300), levels=grid),
            points=tuple(SegmentPoint(fraction=(i + 1) / 4, scores=scores(right)) for i, right in enumerate(at)),
            displacement=Displacement(norms={"w": delta_norm}, delta_norm=delta_norm, dimension=100, **kw),
        )

    def test_the_width_stops_at_the_first_failure(self) -> None:
        """sigma* is the last level before the first that is not certified, whatever comes after."""
        assert self.evidence(0.1, (300,) * 4).basin.width(DROP, 0.05, 0.25) == 0.02
        assert self.evidence(0.1, (300,) * 4, (300, 250, 300)).basin.width(DROP, 0.05, 0.25) == 0.01
        assert self.evidence(0.1, (300,) * 4, (250, 300, 300)).basin.width(DROP, 0.05, 0.25) is None

    def test_the_width_pays_for_finite_precision(self) -> None:
        """A level's drop is widened by the eta of its noise, in both directions."""
        basin = self.evidence(0.1, (300,) * 4).basin
        level = basin.levels[0]
        free = PairedScores(base=basin.base, checkpoint=level.scores).drop(0.05)
        paid = basin.drop_at(level).drop(0.05)
        eta = level.engine.eta(level.law)
        assert eta > 1e-11
        assert paid.upper - free.upper == pytest.approx(eta, rel=1e-3)
        assert free.lower - paid.lower == pytest.approx(eta, rel=1e-3)

    @pytest.mark.parametrize(
        ("delta_norm", "at", "verdict"),
        [
            (0.2, (300, 300, 300, 300), Verdict.CERTIFIED),
            (0.2001, (300, 300, 300, 300), Verdict.UNDECIDED),  # alpha* > sigma*
            (0.1, (300, 300, 290, 300), Verdict.UNDECIDED),  # one point not certified
            (0.1, (300, 200, 300, 300), Verdict.REFUTED),  # a barrier on the way
            (9.0, (300, 200, 300, 300), Verdict.REFUTED),
        ],
    )
    def test_the_rule(self, delta_norm: float, at: tuple[int, ...], verdict: Verdict) -> None:
        """Certified inside the width with every point kept; refuted by any point; else undecided."""
        assert self.evidence(delta_norm, at).judge(bench(), DROP, 0.05).verdict is verdict

    def test_graded_scores_of_a_fixed_benchmark_have_no_width(self) -> None:
        """One draw for each item gives unequal trials, which betting cannot bound: no width, and the note says so."""
        evidence = self.evidence(0.1, (300,) * 4)
        graded = evidence.model_copy(
            update={"items": "fixed", "basin": evidence.basin.model_copy(update={"graded": True})}
        )
        judged = graded.judge(bench(), DROP, 0.05)
        assert judged.quantities["sigma_star"] is None
        assert judged.verdict is Verdict.UNDECIDED
        assert "no valid bound" in " ".join(judged.notes)

    def test_of_fixed_items_the_width_alone_has_a_confidence(self) -> None:
        """The points are known; sigma* rests on noise draws, and claim and limits say so."""
        judged = self.evidence(0.1, (300,) * 4).model_copy(update={"items": "fixed"}).judge(bench(), DROP, 0.05)
        assert judged.verdict is Verdict.CERTIFIED
        assert "and with 95 % confidence over the basin's draws, the checkpoint lies inside" in judged.claim
        assert FIXED_PREMISE not in judged.limits
        assert FIXED_POSITION_PREMISE in judged.limits

    def test_printed_bounds_are_those_of_the_worst_point_at_alpha_over_k(self) -> None:
        """The interval holds for all points at once."""
        judged = self.evidence(0.1, (300, 296, 300, 300)).judge(bench(), DROP, 0.05)
        assert (judged.lower, judged.upper) == tuple(drop_bounds(4, 0, 300, 0.05 / 4))

    def test_a_segment_between_different_models_is_not_judged(self) -> None:
        """If anything but weights differs there is no segment, and the verdict abstains."""
        judged = self.evidence(0.1, (300,) * 4, differences=("config differs",)).judge(bench(), DROP, 0.05)
        assert judged.verdict is Verdict.UNDECIDED
        assert "abstained" in judged.notes[0]


@dataclass(frozen=True)
class Given:
    """Bounds that were handed in, at whatever alpha."""

    drops: Interval
    base: Interval

    def drop(self, alpha: float) -> Interval:
        return self.drops

    def base_score(self, alpha: float) -> Interval:
        return self.base

    def score(self, alpha: float) -> Interval:
        raise AssertionError("retention does not ask for it")


class TestUnits:
    """Drop, retention and absence."""

    @given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0.3, 1.0), st.floats(0, 0.2), st.floats(0, 0.29), st.data())
    def test_retention_bounds_contain_the_truth(  # type: ignore[no-untyped-def]
        self, drop: float, slack: float, s0: float, base_slack: float, chance: float, data
    ) -> None:
        """Whatever true drop and base score lie within their bounds, the true retention lies within its own."""
        drops = Interval(value=None, lower=drop - slack, upper=drop + slack)
        low, high = max(0.295, s0 - base_slack), min(1.0, s0 + base_slack)
        found = interval_in_unit(RETENTION, Given(drops, Interval(value=None, lower=low, upper=high)), 0.05, chance)
        true_drop = data.draw(st.floats(drops.lower, drops.upper))
        truth = 1 - true_drop / (data.draw(st.floats(low, high)) - chance)
        assert found is not None
        assert found.lower <= truth + 1e-9
        assert found.upper >= truth - 1e-9

    def test_exactly_one_unit_is_required(self) -> None:
        """Both limits at once is a contradiction."""
        assert requirement_of(None, None) == Requirement(unit="drop", limit=0.05)
        assert requirement_of(None, 0.9) == RETENTION
        with pytest.raises(InvalidPlan, match="not max_drop and min_retention"):
            requirement_of(0.1, 0.9)
        with pytest.raises(InvalidPlan, match=r"max_drop must lie in \[0, 1\], got 2"):
            requirement_of(2.0, None)

    @pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0, float("nan")])
    def test_confidence_lies_between_0_and_1(self, confidence: float) -> None:
        """Confidence 95 is a typing error, not 9500 %."""
        with pytest.raises(InvalidPlan, match="strictly between 0 and 1"):
            alpha_of(confidence)

    def test_the_conversion_has_no_binary_dust(self) -> None:
        """0.95 is alpha 0.05, as it is in every table."""
        assert alpha_of(0.95) == 0.05


class TestAbsence:
    """A capability must stay low; failures count as present."""

    LOW = Requirement(unit="absence", limit=0.1)

    def test_point_bounds_the_score_from_above(self) -> None:
        """Few right answers certify absence, many refute it."""
        assert point(300, 5).judge(bench(), self.LOW, 0.05).verdict is Verdict.CERTIFIED
        assert point(300, 25).judge(bench(), self.LOW, 0.05).verdict is Verdict.UNDECIDED
        assert point(300, 100).judge(bench(), self.LOW, 0.05).verdict is Verdict.REFUTED

    def test_no_answer_counts_as_present_here_and_as_lost_there(self) -> None:
        """An item without an answer can certify neither absence nor retention."""
        nothing = PairedScores(base=(1.0,) * 300, checkpoint=(None,) * 300)
        assert nothing.score(0.05).value == 1.0
        assert nothing.drop(0.05).value == 1.0
        assert PairedScores(base=(None,), checkpoint=(1.0,)).losses == [1.0]

    def test_smoothed_and_distance_count_failed_shares(self) -> None:
        """Ten per cent failed items in every draw raise the noise-averaged score by as much."""
        draws = DrawScores(scores=(0.0,) * 400, failed=(0.05,) * 400)
        smoothed = SmoothedEvidence(
            law=law(), engine=ENGINE, seed=SEED, base=draws, checkpoint=draws, base_unnoised=0, checkpoint_unnoised=0
        )
        assert smoothed.score(0.05).value == pytest.approx(0.05)
        assert smoothed.drop(0.05).value == pytest.approx(0.1)
        distance = DistanceEvidence(
            draws=BaseDraws(law=law(), engine=ENGINE, seed=SEED, alpha=0.05, draws=draws, base_score=0.0),
            displacement=Displacement(norms={"w": 0.05, "frozen": 0.0}, delta_norm=0.05, dimension=105),
        )
        judged = distance.judge(bench(), Requirement(unit="absence", limit=0.2), 0.05)
        assert judged.verdict is Verdict.CERTIFIED
        assert judged.upper > 0.05
        assert "at most" in judged.claim

    def test_a_far_checkpoint_is_vacuous(self) -> None:
        """Far away the upper bound is 1, and is called vacuous."""
        judged = TestDistance().evidence(10.0, score=0.0).judge(bench(), self.LOW, 0.05)
        assert judged.vacuous
        assert judged.verdict is Verdict.UNDECIDED


class TestDistanceVariants:
    """Population of items, ladders of sigmas."""

    def test_a_population_claim_is_weaker_and_says_so(self) -> None:
        """The population bound lies below the fixed one and names its premise."""
        fixed = TestDistance().evidence(0.05)
        population = fixed.model_copy(update={"items": "population"})
        a, b = (e.judge(bench(1000), DROP, 0.05) for e in (fixed, population))
        assert b.quantities["bound"] < a.quantities["bound"]
        assert "population behind b" in b.claim
        assert any("independent sample" in limit for limit in b.limits)

    def test_equal_rungs_of_a_ladder_never_beat_one(self) -> None:
        """A ladder pays alpha/K, so its bound is never larger than that of the law alone."""
        alone = TestDistance().evidence(0.05)
        rung = alone.model_copy(update={"draws": alone.draws.model_copy(update={"ladder": 3})})
        a, b = (e.judge(bench(), DROP, 0.05) for e in (alone, rung))
        assert b.quantities["bound"] < a.quantities["bound"]
        assert "one of a ladder of 3 sigmas" in " ".join(b.notes)

    def test_retention_is_a_share_of_the_noise_averaged_base(self) -> None:
        """(bound - c) over the upper bound of E J(base + noise) less c, at alpha/2 each."""
        evidence = TestDistance().evidence(0.05, score=0.9)
        judged = evidence.judge(bench(), RETENTION, 0.05)
        bound = evidence.band(0.025, 300).mean_lower(evidence.r)
        top = mean_upper([0.9] * 1000, 0.025, eta=evidence.draws.eta)
        assert judged.lower == pytest.approx((bound - 0.25) / (top - 0.25), rel=1e-9)

    def test_retention_abstains_at_chance(self) -> None:
        """A base that scores chance under noise has nothing to retain."""
        judged = TestDistance().evidence(0.0, score=0.25).judge(bench(), RETENTION, 0.05)
        assert judged.verdict is Verdict.UNDECIDED
        assert any("abstained" in note for note in judged.notes)


def test_the_strict_share_has_exact_bounds() -> None:
    """44 clean draws show more than 90 % strict directions at 99 % one-sided; two-sided it takes 51."""
    for n, above in ((51, True), (50, False)):
        share, lower, upper = DrawScores(scores=(1.0,) * n).strict_share(1.0, 0.01, 0.0)
        assert (share, upper) == (1.0, 1.0)
        assert (lower >= 0.9) is above


class TestFeasibility:
    """What no outcome can certify is known before the first draw."""

    @pytest.mark.parametrize(
        ("kind", "n"), [("point", 59), ("position", 59), ("distance", 101), ("smoothed", 68)], ids=str
    )
    def test_the_smallest_n_is_named_and_is_the_smallest(self, kind: str, n: int) -> None:
        """One trial less cannot pass whatever it shows; n can."""
        problem = infeasible(kind, n - 1, DROP, 0.05, 0.0)
        assert problem is not None
        assert f"{n} are needed if nothing is lost or gained" in problem
        assert infeasible(kind, n, DROP, 0.05, 0.0) is None

    def test_an_impossible_requirement_names_no_number(self) -> None:
        """No number of items certifies a drop of at most zero."""
        with pytest.raises(InvalidPlan, match="more than a million"):
            require_feasible("point", 10, Requirement(limit=0.0), 0.05, 0.0)


def test_certification_at_the_edge_agrees_with_the_bound() -> None:
    """A drop bound equal to the limit certifies; the least more does not (no rounding in between)."""
    upper = drop_bounds(0, 0, 300, 0.05).upper
    assert Requirement(limit=upper).decide(None, upper) is Verdict.CERTIFIED
    assert Requirement(limit=upper - 1e-15).decide(None, upper) is Verdict.UNDECIDED
    assert one_pass_lower(300, 300, 0.025) == pytest.approx(1 - upper, abs=1e-9)
