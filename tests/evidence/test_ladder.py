"""Of a ladder of laws the rung that serves the requirement is taken, and the claim names the bound it rests on."""

from __future__ import annotations

import pytest

from certify.documents import Measurement
from certify.evidence import BasinLevel, DistanceEvidence, Requirement, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws, best_rung
from certify.evidence.judgement import down, up
from certify.evidence.position import Basin
from certify.evidence.smoothed import DrawScores
from certify.records import (
    BenchmarkIdentity,
    Environment,
    ExplicitIdentity,
    ModelIdentity,
    Seed,
    WeightNoise,
)
from certify.training.radius import allowance

D = "sha256:" + "0" * 64
SEED = Seed(value="0" * 64)
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)
BENCH = BenchmarkIdentity(name="b", items=300, scoring="x", chance=0.0, digest=D, tokens=D)
KEEP, LOW = Requirement(unit="retention", limit=0.8), Requirement(unit="absence", limit=0.2)


def draws(sigma: float, score: float, ladder: int = 2, n: int = 1000, failed: float = 0.0) -> BaseDraws:
    law = WeightNoise(sigma={"w": sigma}, sizes={"w": 1})
    taken = DrawScores(scores=(score,) * n, failed=(failed,) * n if failed else ())
    return BaseDraws(law=law, engine=ENGINE, seed=SEED, alpha=0.05, ladder=ladder, draws=taken, base_score=1.0)


def at(rung: BaseDraws, length: float) -> DistanceEvidence:
    there = Displacement(norms={"w": length}, delta_norm=length, dimension=1)
    return DistanceEvidence(draws=rung, displacement=there)


RUNGS = (draws(2.0, 0.5), draws(1.9, 1.0))


def test_a_checkpoint_inside_the_allowance_is_certified_by_the_rung_taken() -> None:
    """The rung with the larger mean bound does not certify the retention there; the other does, and is taken."""
    level = BasinLevel(sigma=0.1, law=RUNGS[0].law, engine=ENGINE, seed=SEED, scores=(1.0,))
    measurement = Measurement.seal(
        base=ModelIdentity(name="base", weights=D, companions={}, parameters=1, dtypes=("F32",)),
        benchmark=BENCH,
        basin=Basin(base=(1.0,), levels=(level,)),
        draws=RUNGS,
        environment=Environment(python="3.12", platform="Linux", packages={}),
    )
    allowed = allowance(measurement, KEEP)
    rungs = [at(rung, allowed.length * (1 - 1e-6)) for rung in RUNGS]
    by_bound = max(rungs, key=lambda rung: rung.bound(0.025, 300))
    assert by_bound.judge(BENCH, KEEP, 0.05).verdict is Verdict.UNDECIDED
    taken = best_rung(rungs, BENCH, KEEP, 0.05)
    assert taken.judge(BENCH, KEEP, 0.05).verdict is Verdict.CERTIFIED
    assert taken.draws.law == allowed.law


def test_for_absence_the_rung_with_the_smallest_upper_bound_is_taken() -> None:
    """A rung that scores more bounds absence worse, though its lower bound is larger."""
    low, high = at(draws(1.0, 0.0), 0.1), at(draws(1.0, 0.15), 0.1)
    assert high.bound(0.025, 300) > low.bound(0.025, 300)
    assert best_rung([high, low], BENCH, LOW, 0.05) is low
    assert best_rung([low, high], BENCH, LOW, 0.05) is low


def test_a_drop_takes_the_best_bound_as_before() -> None:
    """On the fixed benchmark the largest bound is the smallest drop."""
    better = at(draws(2.0, 1.0), 0.5)
    assert best_rung([at(RUNGS[0], 0.5), better, at(RUNGS[1], 0.5)], BENCH, Requirement(), 0.05) is better


@pytest.mark.parametrize("items", ["fixed", "population"])
def test_the_claim_names_the_bound_that_the_verdict_rests_on(items: str) -> None:
    """Retention, and the drop of a population, rest on alpha/2 + alpha/2; the score's bound at alpha is not joined."""
    unit = KEEP if items == "fixed" else Requirement(limit=0.2)
    judged = at(draws(1.0, 0.97, ladder=1), 0.1).model_copy(update={"items": items}).judge(BENCH, unit, 0.05)
    assert judged.verdict is Verdict.CERTIFIED
    shown = down(judged.lower) if items == "fixed" else up(judged.upper)
    said = "keeps at least {} of the base's score above chance" if items == "fixed" else "at most {} below the base"
    assert said.format(shown) in judged.claim
    assert f"at least {down(judged.quantities['bound'])} on" not in judged.claim
    assert ("draws at the base and the items" in judged.claim) is (items == "population")


def test_the_claim_about_a_rung_that_was_picked_holds_at_the_alpha_declared() -> None:
    """The best of two at alpha/2 each is certain with 1 - alpha, not with 1 - alpha/2."""
    assert at(RUNGS[1], 0.1).judge(BENCH, KEEP, 0.05).claim.startswith("With 95 % confidence")


def test_of_equal_rungs_the_first_declared_is_taken() -> None:
    """A tie is broken by the order of the ladder, never by what was drawn: the same counts give the same file."""
    twins = [at(draws(2.0, 1.0, n=500), 0.0), at(draws(1.0, 1.0, n=500), 0.0)]
    for rungs in (twins, twins[::-1]):
        assert best_rung(rungs, BENCH, KEEP, 0.05) is rungs[0]
