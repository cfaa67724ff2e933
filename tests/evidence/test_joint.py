"""p-values are the judge's own alphas, and Holm holds jointly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from test_verdicts import DROP, ENGINE, RETENTION, SEED, TestDistance, bench, law, point

from certify.evidence import PositionEvidence, Requirement, SegmentPoint, SmoothedEvidence, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.paired_items import PairedScores
from certify.evidence.point import PointEvidence
from certify.evidence.position import Basin, BasinLevel
from certify.evidence.smoothed import DrawScores
from certify.joint import LARGEST, PRECISION, SMALLEST, holm_certified, holm_levels, p_value
from certify.statistics import drop_bounds, holm, trinomial_drop_bounds

ABSENCE = Requirement(unit="absence", limit=0.1)
LEVELS = [SMALLEST, 1e-7, 1e-5, 1e-3, 0.004, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, LARGEST]


def consistent(evidence, benchmark, requirement) -> bool:  # type: ignore[no-untyped-def]
    """Certified at alpha if and only if p <= alpha, but for the width of the last step."""
    p = p_value(evidence, benchmark, requirement)
    for alpha in [*LEVELS, min(LARGEST, p), min(LARGEST, p / (1 + 2 * PRECISION))]:
        certified = evidence.judge(benchmark, requirement, alpha).verdict is Verdict.CERTIFIED
        assert not certified or p <= max(SMALLEST, alpha * (1 + 2 * PRECISION)), (p, alpha)
        assert certified or p > alpha, (p, alpha)
    return True


@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([DROP, RETENTION, ABSENCE]))
@settings(max_examples=40)
def test_point_is_certified_at_alpha_exactly_if_p_allows(base: int, checkpoint: int, requirement: Requirement) -> None:
    """Drop, retention and absence of paired items."""
    assert consistent(point(base, checkpoint), bench(), requirement)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2), st.sampled_from([DROP, RETENTION, ABSENCE]))
@settings(max_examples=25)
def test_smoothed_is_certified_at_alpha_exactly_if_p_allows(seed: int, lost: float, requirement: Requirement) -> None:
    """Betting on paired draws, also where stakes are capped."""
    rng = np.random.default_rng(seed)
    base = rng.beta(8, 1 if requirement.unit != "absence" else 200, 80)
    evidence = SmoothedEvidence(
        law=law(), engine=ENGINE, seed=SEED,
        base=DrawScores(scores=tuple(base)),
        checkpoint=DrawScores(scores=tuple(np.clip(base - lost * rng.random(80), 0, 1))),
        base_unnoised=1.0, checkpoint_unnoised=1.0,
    )  # fmt: skip
    assert consistent(evidence, bench(), requirement)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.05))
@settings(max_examples=25)
def test_graded_items_are_certified_at_alpha_exactly_if_p_allows(seed: int, lost: float) -> None:
    """Betting on items."""
    rng = np.random.default_rng(seed)
    base = rng.random(150)
    scores = PairedScores(graded=True, base=tuple(base), checkpoint=tuple(np.clip(base - lost * rng.random(150), 0, 1)))
    assert consistent(PointEvidence(scores=scores), bench(150), DROP)


@pytest.mark.parametrize("moved", [0.0, 0.05, 0.1, 10.0])
@pytest.mark.parametrize("requirement", [Requirement(limit=0.1), RETENTION])
def test_distance_is_certified_at_alpha_exactly_if_p_allows(moved: float, requirement: Requirement) -> None:
    """The band at every alpha; far away there is no alpha."""
    evidence = TestDistance().evidence(moved, n=200, score=0.99)
    assert consistent(evidence, bench(), requirement)
    assert moved < 1 or p_value(evidence, bench(), requirement) == 1.0


def test_position_is_certified_at_alpha_exactly_if_p_allows() -> None:
    """All listed points and the width of the basin."""
    scores = tuple((1.0,) * right + (0.0,) * (300 - right) for right in (300, 298, 296))
    evidence = PositionEvidence(
        basin=Basin(base=scores[0], levels=(BasinLevel(sigma=0.1, law=law(), engine=ENGINE, seed=SEED,
                                                       scores=scores[1]),)),
        points=tuple(SegmentPoint(fraction=(i + 1) / 3, scores=s) for i, s in enumerate(scores)),
        displacement=Displacement(norms={"w": 0.5}, delta_norm=0.5, dimension=100),
    )  # fmt: skip
    assert consistent(evidence, bench(), DROP)
    worst = p_value(PointEvidence(scores=PairedScores(base=scores[0], checkpoint=scores[2])), bench(), DROP)
    assert p_value(evidence, bench(), DROP) == pytest.approx(worst, rel=2 * PRECISION)


def test_the_p_value_lies_on_the_safe_side_of_the_exact_one() -> None:
    """Three items lost of 300: the exact alpha is where the drop's bound meets the limit."""
    p = p_value(point(300, 297), bench(), DROP)
    exact = 2 * binom.cdf(3, 300, 0.05)  # lost at alpha/2; nothing gained
    assert exact <= p <= exact * (1 + 2 * PRECISION)
    assert drop_bounds(3, 0, 300, p).upper <= 0.05 < drop_bounds(3, 0, 300, p / (1 + 2 * PRECISION)).upper


def test_extremes() -> None:
    """No evidence has p = 1; overwhelming evidence has the smallest that is reported."""
    assert p_value(point(300, 100), bench(), DROP) == 1.0
    assert p_value(point(300, 300), bench(), Requirement(limit=0.5)) == SMALLEST


@dataclass
class Stub:
    """A certificate as far as Holm looks."""

    evidence: object
    requirement: Requirement = field(default_factory=Requirement)
    benchmark: object = field(default_factory=bench)


def test_holm_is_stricter_than_each_gate_alone_and_looser_than_bonferroni() -> None:
    """Two gates at p > alpha/2 do not hold jointly, though each holds alone; beside a sure one, one of them does."""
    close, sure = Stub(point(300, 293)), Stub(point(300, 300))
    p = p_value(close.evidence, close.benchmark, close.requirement)
    alpha = 1.5 * p
    assert holm_certified([close], alpha) == (True,)
    assert holm_certified([close, close], alpha) == (False, False)
    assert holm_certified([close, sure], alpha) == (True, True)  # Bonferroni would ask the close one for alpha/2
    assert holm_certified([], alpha) == ()


REPEATS = pytest.mark.parametrize("repeats", [300, pytest.param(4000, marks=pytest.mark.statistical)])


@REPEATS
def test_holm_keeps_its_level_and_uncorrected_gates_do_not(repeats: int) -> None:
    """Six gates at alpha = .2 whose scores equal the limit: all claims are false (budget 1e-6 for any of them)."""
    from certify.statistics import holm

    rng, known = np.random.default_rng(11), {}
    jointly = alone = 0
    for _ in range(repeats):
        right = rng.binomial(200, ABSENCE.limit, 6).tolist()
        for k in right:
            if k not in known:
                scores = PairedScores(base=(1.0,) * 200, checkpoint=(1.0,) * k + (0.0,) * (200 - k))
                known[k] = p_value(PointEvidence(scores=scores), bench(200), ABSENCE)
        jointly += any(holm([known[k] for k in right], 0.2))
        alone += any(known[k] <= 0.2 for k in right)
    most = binom.isf(1e-6, repeats, 0.2)
    assert jointly <= most
    assert alone > most  # negative control: each gate at its own alpha, and any of them believed


class Gappy:
    """A judge that is not monotone: certified from 0.01 on, but not at 0.024 to 0.026."""

    def judge(self, benchmark, requirement, alpha: float):  # type: ignore[no-untyped-def]
        good = alpha >= 0.01 and not 0.024 <= alpha <= 0.026
        return SimpleNamespace(verdict=Verdict.CERTIFIED if good else Verdict.UNDECIDED)


def test_holm_rests_on_its_own_levels_alone() -> None:
    """Over two gates 0.025 is asked, where this judge does not certify: bisection alone would have passed it."""
    alone = p_value(Gappy(), bench(20), DROP)  # type: ignore[arg-type]
    assert alone == pytest.approx(0.01, rel=1e-3)
    raised = p_value(Gappy(), bench(20), DROP, holm_levels(0.05, 2))  # type: ignore[arg-type]
    assert 0.025 < raised <= math.nextafter(0.025, 1.0)
    assert holm([alone, 1.0], 0.05) == (True, False)
    assert holm([raised, 1.0], 0.05) == (False, False)
    gates = [SimpleNamespace(evidence=Gappy(), benchmark=bench(20), requirement=DROP)] * 2
    assert holm_certified(gates, 0.05) == (False, False)  # type: ignore[arg-type]


def test_a_trinomial_bound_that_rises_with_alpha_passes_no_level_it_fails() -> None:
    """The known place: 0 lost and 1 gained of 571, at limits around its bounds near alpha = .0054."""
    scores = PairedScores(rule="trinomial", base=(0.0, *(1.0,) * 570), checkpoint=(1.0,) * 571)
    evidence = PointEvidence(scores=scores)
    levels = [float(a) for a in np.linspace(0.0050, 0.0058, 9)]
    for limit in (trinomial_drop_bounds(0, 1, 571, a).upper for a in levels):
        asked = Requirement(limit=limit)
        p = p_value(evidence, bench(571), asked, levels)
        for level in levels:
            certified = evidence.judge(bench(571), asked, level).verdict is Verdict.CERTIFIED
            assert certified or p > level
