"""From weights to certificate on models whose smoothed score is known in closed form.

A half-space model is right on item j exactly when <a, theta> >= b_j. Under noise N(0, sigma^2 I) on theta its
smoothed score is the mean over items of Phi((<a, theta> - b_j)/(sigma ||a||)), and moving theta by r sigma
against a turns each argument m_j into m_j - r: the strong law is attained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binom
from torch import nn

from certify.evidence import DistanceEvidence, SmoothedEvidence
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.smoothed import DrawScores
from certify.measuring.run import Run
from certify.measuring.scores import all_items, one_item_each
from certify.noise import noised, weight_noise
from certify.records import BenchmarkIdentity, ExplicitIdentity, Seed, WeightNoise
from certify.statistics import score_band

DIMENSION, SIGMA, ALPHA = 24, 0.25, 0.05
D = "sha256:" + "0" * 64
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)


class HalfSpace(nn.Module):
    """theta, with a fixed direction a of norm 1."""

    def __init__(self, theta: torch.Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta, requires_grad=False)

    def forward(self) -> torch.Tensor:
        return self.theta.double().sum() / DIMENSION**0.5


class Thresholds:
    """Items of one half-space each: right when <a, theta> >= b_j."""

    tokens_per_batch = 1

    def __init__(self, margins: Sequence[float]) -> None:
        self.offsets = [-m * SIGMA for m in margins]
        self.identity = BenchmarkIdentity(
            name="half-spaces", items=len(margins), scoring="threshold", chance=0.0, digest=D, tokens=D
        )

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        place = float(model())
        chosen = range(len(self.offsets)) if items is None else items
        return [float(place >= self.offsets[j]) for j in chosen]

    def truth(self, r: float) -> float:
        """E J at distance r against a."""
        return float(np.mean(ndtr(np.array([-b / SIGMA for b in self.offsets]) - r)))


MARGINS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)


def base_model() -> HalfSpace:
    return HalfSpace(torch.zeros(DIMENSION))


def law() -> WeightNoise:
    return weight_noise({"theta": DIMENSION}, SIGMA)


def seed(i: int) -> Seed:
    return Seed(value=f"{i:064x}")


def draw(model: nn.Module, scorer: Thresholds, i: int, n: int) -> tuple[float, ...]:
    """Scores through the real sampling path: Philox, lattice, explicit engine, rounding to float32."""
    with noised(model, law(), seed(i)) as engine:
        return all_items(engine, scorer, range(n), Run(), "", {}).scores


def distance_at(scores: tuple[float, ...], r: float, i: int = 0) -> DistanceEvidence:
    norm = r * SIGMA
    return DistanceEvidence(
        draws=BaseDraws(
            law=law(), engine=ENGINE, seed=seed(i), alpha=ALPHA, draws=DrawScores(scores=scores), base_score=1.0
        ),
        displacement=Displacement(norms={"theta": norm}, delta_norm=norm, dimension=DIMENSION),
    )


def test_the_sampled_mean_is_the_closed_form() -> None:
    """The mean of 2000 draws lies within 5.3 standard errors of Phi's mean (false-alarm budget 1e-7)."""
    scorer = Thresholds(MARGINS)
    scores = np.array(draw(base_model(), scorer, 1, 2000))
    assert abs(scores.mean() - scorer.truth(0.0)) <= 5.33 * scores.std() / 2000**0.5


def test_a_moved_model_scores_what_the_law_says() -> None:
    """Half a sigma against a, the sampled mean is the mean of Phi(m_j - 1/2): the strong law is attained."""
    scorer = Thresholds(MARGINS)
    moved = HalfSpace(torch.full((DIMENSION,), -0.5 * SIGMA / DIMENSION**0.5))
    scores = np.array(draw(moved, scorer, 2, 2000))
    assert abs(scores.mean() - scorer.truth(0.5)) <= 5.33 * scores.std() / 2000**0.5


def test_each_item_under_its_own_draw_has_the_same_mean() -> None:
    """The one-pass design estimates the same mean (500 items with one margin; budget 1e-7)."""
    scorer = Thresholds([1.0] * 500)
    with noised(base_model(), law(), seed(3)) as engine:
        scores = one_item_each(engine, scorer, range(500), Run(), "", {})
    p = float(ndtr(1.0))
    assert abs(np.mean(scores) - p) <= 5.33 * (p * (1 - p) / 500) ** 0.5


REPEATS, DRAWS, DISTANCES = 120, 60, (0.0, 0.25, 0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def runs() -> list[tuple[float, ...]]:
    """Independent measurements of the same base."""
    scorer = Thresholds(MARGINS)
    return [draw(base_model(), scorer, 1000 + i, DRAWS) for i in range(REPEATS)]


# Misses among 120 measurements are Bin(120, <= 0.05). P(Bin(120, .05) >= 21) = 3.6e-7 < 1e-6: more than 20 misses
# reject the bound. A bound that misses with probability .5 passes with P(Bin(120, .5) <= 20) = 2e-14.
MOST = int(binom.isf(1e-6, REPEATS, ALPHA))


def misses(runs: list[tuple[float, ...]], bound) -> int:  # type: ignore[no-untyped-def]
    """Measurements whose bound exceeds the truth at any distance, chosen after looking."""
    scorer = Thresholds(MARGINS)
    return sum(any(bound(scores, r) > scorer.truth(r) for r in DISTANCES) for scores in runs)


def test_certificates_hold_at_every_distance_at_once(runs: list[tuple[float, ...]]) -> None:
    """The distance bound exceeds the closed-form truth no more often than alpha allows, over all r at once."""
    found = misses(runs, lambda s, r: distance_at(s, r).judge(Thresholds(MARGINS).identity, _drop(), ALPHA)
                   .quantities["bound"])  # fmt: skip
    assert found <= MOST, f"n={REPEATS} k={found} alpha={ALPHA} allowed={MOST}"


def test_a_broken_bound_is_caught(runs: list[tuple[float, ...]]) -> None:
    """Negative control: the law applied to the plain mean, without a confidence bound, fails the same test."""

    def broken(scores: tuple[float, ...], r: float) -> float:
        ordered = np.sort(scores)
        survival = 1 - np.arange(len(ordered)) / len(ordered)
        from certify.statistics.laws import strong_lower

        return float(np.diff(ordered, prepend=0.0) @ strong_lower(np.minimum(survival, 1 - 1e-12), r))

    assert misses(runs, broken) > MOST


def test_a_bound_at_half_the_distance_is_caught(runs: list[tuple[float, ...]]) -> None:
    """Negative control: taking r for half of what it is fails the same test."""
    assert misses(runs, lambda s, r: score_band(s, ALPHA).mean_lower(r / 2)) > MOST


def test_smoothed_evidence_covers_the_true_drop() -> None:
    """Over 120 pairs of runs with common draws, the drop's upper bound misses no more often than allowed."""
    scorer = Thresholds(MARGINS)
    moved = HalfSpace(torch.full((DIMENSION,), -0.5 * SIGMA / DIMENSION**0.5))
    truth = scorer.truth(0.0) - scorer.truth(0.5)
    low = high = 0
    for i in range(REPEATS):
        pair = [draw(model, scorer, 5000 + i, DRAWS) for model in (base_model(), moved)]
        evidence = SmoothedEvidence(
            law=law(),
            engine=ENGINE,
            seed=seed(i),
            base=DrawScores(scores=pair[0]),
            checkpoint=DrawScores(scores=pair[1]),
            base_unnoised=1,
            checkpoint_unnoised=1,
        )
        interval = evidence.drop(ALPHA)
        low += interval.lower > truth
        high += interval.upper < truth
    assert low <= MOST
    assert high <= MOST


def test_common_draws_make_the_difference_sharp() -> None:
    """Paired draws have far less variance than independent ones; the same seeds are what makes them pairs."""
    scorer = Thresholds(MARGINS)
    moved = HalfSpace(torch.full((DIMENSION,), -0.5 * SIGMA / DIMENSION**0.5))
    base, same, other = (np.array(draw(m, scorer, i, 400)) for m, i in ((base_model(), 7), (moved, 7), (moved, 8)))
    assert np.var(base - same) < 0.5 * np.var(base - other)


def _drop():  # type: ignore[no-untyped-def]
    from certify.evidence import Requirement

    return Requirement()
