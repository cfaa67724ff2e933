"""Distance from pairs (one random item under each draw), and what an engine adds to a claim."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from certify.evidence import BasinLevel, DistanceEvidence, PositionEvidence, Requirement, SegmentPoint, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.engines import UNROUNDED_LIMIT
from certify.evidence.feasibility import infeasible, largest_distance, smallest_n
from certify.evidence.paired_items import PairedScores
from certify.evidence.position import Basin
from certify.evidence.smoothed import DrawScores, SmoothedEvidence
from certify.records import ActivationIdentity, BenchmarkIdentity, ExplicitIdentity, Seed, SubspaceNoise, WeightNoise
from certify.statistics import clopper_pearson_lower, clopper_pearson_upper, kl_inverse_lower

D = "sha256:" + "0" * 64
SEED = Seed(value="0" * 64)
EXPLICIT = ExplicitIdentity(device="cpu", tokens_per_batch=1)
LAW = WeightNoise(sigma={"w": 0.1}, sizes={"w": 100})
BENCH = BenchmarkIdentity(name="b", items=300, scoring="x", chance=0.25, digest=D, tokens=D)


def shown(guarded: int = 0) -> ActivationIdentity:
    return ActivationIdentity(device="cpu", tokens_per_batch=1, guard=2e-4, coupling=2e-6, guarded=guarded)


def draws(right: int, wrong: int, open_: int = 0, *, engine: Any = EXPLICIT, law: Any = LAW, **rest: Any) -> BaseDraws:
    scores = (1.0,) * right + (0.0,) * (wrong + open_)
    failed = (0.0,) * (right + wrong) + (1.0,) * open_ if open_ else ()
    taken = DrawScores(scores=scores, failed=failed)
    return BaseDraws(law=law, engine=engine, seed=SEED, design="pairs", alpha=0.05, draws=taken, base_score=1.0, **rest)


def evidence(taken: BaseDraws, delta: float = 0.0, **rest: Any) -> DistanceEvidence:
    there = Displacement(norms={"w": delta}, delta_norm=delta, dimension=100)
    return DistanceEvidence(draws=taken, displacement=there, **rest)


@pytest.mark.parametrize("r", [0.0, 0.3, 1.0, 3.0])
def test_the_bound_is_the_law_of_the_clopper_pearson_bound(r: float) -> None:
    """h_r(max(0, L - eta)), written out; the explicit engine pays eta, activation space its guard instead."""
    for engine in (EXPLICIT, shown()):
        found = evidence(draws(970, 30, engine=engine), delta=0.1 * r)
        level = clopper_pearson_lower(970, 1000, 0.05) - engine.eta(LAW)
        assert found.bound(0.05, 300) == pytest.approx(float(ndtr(ndtri(level) - found.r)), abs=1e-9)
        assert found.bound(0.05, 300) <= float(ndtr(ndtri(level) - found.r))
    assert EXPLICIT.eta(LAW) > 0 == shown().eta(LAW)


def test_covers_the_mean_at_its_alpha_and_a_bound_for_more_draws_does_not() -> None:
    """3000 runs of 60 pairs at a true mean of .9: misses within 5 %; one that pools 10 items a draw misses more.

    Budget 1e-6: a binomial(3000, .05) exceeds 212 with probability below 1e-6.
    """
    generator = np.random.default_rng(5)
    collapsed = generator.random((3000, 60)) < 0.1  # a tenth of all directions loses every item
    right = 60 - collapsed.sum(axis=1)
    missed = sum(evidence(draws(int(k), 60 - int(k))).bound(0.05, 300) > 0.9 for k in right)
    pooled = sum(clopper_pearson_lower(10 * int(k), 600, 0.05) > 0.9 for k in right)
    assert missed <= 212 < pooled


def test_right_through_every_requirement() -> None:
    """Drop, retention, absence; certified near the base, vacuous far away, never refuted."""
    good, far = draws(3000, 0), 1.0
    for requirement in (Requirement(), Requirement(unit="retention", limit=0.9)):
        assert evidence(good, 0.01).judge(BENCH, requirement, 0.05).verdict is Verdict.CERTIFIED
        judged = evidence(good, far).judge(BENCH, requirement, 0.05)
        assert judged.verdict is Verdict.UNDECIDED and judged.vacuous
    gone = evidence(draws(0, 3000), 0.01).judge(BENCH, Requirement(unit="absence", limit=0.1), 0.05)
    assert gone.verdict is Verdict.CERTIFIED
    assert gone.upper == pytest.approx(float(ndtr(ndtri(clopper_pearson_upper(0, 3000, 0.05)) + 0.1)), rel=1e-3)


def test_what_the_judgement_says() -> None:
    """Claim, notes and limits name the design; nothing is said of events or percentiles."""
    judged = evidence(draws(990, 10), 0.01).judge(BENCH, Requirement(), 0.05)
    assert "over 1000 draws at the base with one random item each" in judged.claim
    assert any(note.startswith("design pairs: one random item under each draw") for note in judged.notes)
    assert any("nothing is said about events or percentiles" in limit for limit in judged.limits)
    assert not any("activation" in limit for limit in judged.limits)


def test_open_decisions_count_against_the_claim_both_ways() -> None:
    """As wrong in a lower bound, as right in an upper one."""
    found = draws(900, 80, 20, engine=shown(20))
    assert found.band(0.05).mean_lower() == pytest.approx(clopper_pearson_lower(900, 1000, 0.05))
    assert found.mean_upper(0.05) == pytest.approx(clopper_pearson_upper(920, 1000, 0.05), abs=1e-9)
    assert found.mean_upper(0.05, failures_as_1=False) == found.mean_upper(0.05)


def test_a_claim_from_activation_space_states_function_and_premise() -> None:
    """The unrounded weights, the guard, what was left open: in the limits of distance and of position."""
    distance = evidence(draws(980, 0, 20, engine=shown(15)), 0.01).judge(BENCH, Requirement(), 0.05)
    level = BasinLevel(sigma=0.1, law=LAW, engine=shown(1), seed=SEED, scores=(1.0,) * 299 + (None,))
    basin = Basin(base=(1.0,) * 300, levels=(level,))
    there = Displacement(norms={"w": 0.1}, delta_norm=0.1, dimension=100)
    points = (SegmentPoint(fraction=1.0, scores=(1.0,) * 300),)
    position = PositionEvidence(basin=basin, points=points, displacement=there).judge(BENCH, Requirement(), 0.05)
    for judged, counted in ((distance, "15 of 1000 decisions"), (position, "1 of 300 decisions")):
        assert UNROUNDED_LIMIT in judged.limits
        assert any("below the guard of 0.0002 in every margin" in x and counted in x for x in judged.limits)


def test_a_width_from_open_answers_is_conservative_both_ways() -> None:
    """Certifying takes an open answer as lost, refuting takes it as right; without a guard both are one."""
    base, level = (1.0,) * 200 + (0.0,) * 100, (1.0,) * 150 + (None,) * 20 + (0.0,) * 130
    found = PairedScores(base=base, checkpoint=level).drop(0.05)
    as_wrong = PairedScores(base=base, checkpoint=tuple(s or 0.0 for s in level)).drop(0.05)
    as_right = PairedScores(base=base, checkpoint=tuple(1.0 if s is None else s for s in level)).drop(0.05)
    assert (found.lower, found.upper) == (as_right.lower, as_wrong.upper)
    assert as_right.lower < as_wrong.lower
    score = PairedScores(base=base, checkpoint=level).score(0.05)
    assert score.lower < 150 / 300 < 170 / 300 < score.upper


def test_population_pays_for_its_items() -> None:
    """Draws at alpha/2, items by Chernoff at alpha/2, then the law; below the bound for the fixed benchmark."""
    taken = draws(990, 10, engine=shown())
    found, fixed = evidence(taken, 0.01, items="population"), evidence(taken, 0.01)
    level = kl_inverse_lower(clopper_pearson_lower(990, 1000, 0.025), math.log(1 / 0.025) / 300)
    assert found.bound(0.05, 300) == pytest.approx(float(ndtr(ndtri(level) - 0.1)), abs=1e-6)
    assert found.bound(0.05, 300) < fixed.bound(0.05, 300)


def test_floors_and_reach_are_those_of_the_design() -> None:
    """Pairs need fewer perfect draws than the band, and reach a little farther; the table's numbers stand."""
    assert smallest_n("distance", Requirement(), 0.05, 0.0, design="pairs") == 59
    assert smallest_n("distance", Requirement(), 0.05, 0.0) == 101
    assert infeasible("distance", 58, Requirement(), 0.05, 0.0, "pairs") is not None
    pairs = largest_distance(1000, Requirement(), 0.05, 0.0, "pairs")
    assert pairs > largest_distance(1000, Requirement(), 0.05, 0.0)
    best = evidence(draws(1000, 0, engine=shown()))
    assert best.draws.ceiling(0.05, 0.5) == pytest.approx(float(ndtr(ndtri(0.05 ** (1 / 1000)) - 0.5)))


BAD: dict[str, tuple[Any, str]] = {
    "graded pairs": (lambda: _draws(scores=(0.5,)), "must be 0 or 1"),
    "half failed": (lambda: _draws(scores=(0.0,), failed=(0.5,)), "must be 0 or 1"),
    "a table in activation space": (
        lambda: BaseDraws(
            law=LAW, engine=shown(), seed=SEED, alpha=0.05, draws=DrawScores(scores=(1.0,)), base_score=1.0
        ),
        "draws pairs under noise on weights, and nothing else",
    ),
    "a subspace in activation space": (
        lambda: draws(10, 0, engine=shown(), law=SubspaceNoise(sigma=(1.0,), basis=D)),
        "draws pairs under noise on weights, and nothing else",
    ),
    "more guarded than open": (lambda: draws(9, 0, 1, engine=shown(2)), "2 guarded decisions, but 1 left open"),
    "a level with more guarded than open": (lambda: _level(shown(1)), "1 guarded decisions, but 0 left open"),
    "two engines in one basin": (
        lambda: Basin(base=(1.0,), levels=(_level(EXPLICIT), _level(shown(), sigma=0.2))),
        r"one function, but were drawn by \['activation', 'explicit'\]",
    ),
    "a graded basin": (lambda: Basin(graded=True, base=(0.5,), levels=(_level(shown()),)), "cannot score a graded"),
    "paired draws in activation space": (
        lambda: SmoothedEvidence(
            law=LAW, engine=shown(), seed=SEED, base=DrawScores(scores=(1.0,)),
            checkpoint=DrawScores(scores=(1.0,)), base_unnoised=1.0, checkpoint_unnoised=1.0,
        ),
        "tag 'activation' .* does not match any of the expected tags: 'explicit', 'vllm'",
    ),
}  # fmt: skip


def _draws(**scores: Any) -> BaseDraws:
    return BaseDraws(
        law=LAW, engine=EXPLICIT, seed=SEED, design="pairs", alpha=0.05, draws=DrawScores(**scores), base_score=1.0
    )


def _level(engine: Any, sigma: float = 0.1) -> BasinLevel:
    return BasinLevel(sigma=sigma, law=LAW, engine=engine, seed=SEED, scores=(1.0,))


@pytest.mark.parametrize("name", BAD)
def test_records_that_contradict_their_engine_or_design_are_refused(name: str) -> None:
    """A file cannot claim what its engine does not serve, nor hide what was left open."""
    make, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        make()
