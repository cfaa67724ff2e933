"""How wide a basin is: both ends of the width, in closed form and at their level, and what is said beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binom, chi2
from torch import nn

from certify.evidence import BasinLevel, PositionEvidence, Requirement, SegmentPoint, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.position import PILOT_LIMIT, Basin, level_text
from certify.evidence.smoothed import DrawScores
from certify.evidence.width import GEOMETRY, Place, WidthEvidence
from certify.noise import noised, weight_noise
from certify.records import BenchmarkIdentity, ExplicitIdentity, ModelIdentity, Seed, WeightNoise
from certify.statistics import clopper_pearson_interval, clopper_pearson_lower

D = "sha256:" + "0" * 64
SEED = Seed(value="0" * 64)
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)
DROP = Requirement()
ALPHA = 0.05
DIMENSION = 16


def law(sigma: float) -> WeightNoise:
    return WeightNoise(sigma={"theta": sigma}, sizes={"theta": DIMENSION})


def bench(items: int, chance: float = 0.0) -> BenchmarkIdentity:
    return BenchmarkIdentity(name="b", items=items, scoring="x", chance=chance, digest=D, tokens=D)


def basin(levels: Sequence[tuple[float, int]], m: int = 300) -> Basin:
    """A base that is right everywhere, and at each sigma loses so many of its m items."""
    return Basin(
        base=(1.0,) * m,
        levels=tuple(
            BasinLevel(sigma=s, law=law(s), engine=ENGINE, seed=SEED, scores=(0.0,) * lost + (1.0,) * (m - lost))
            for s, lost in levels
        ),
    )


def draws(sigma: float, scores: Sequence[float], base_score: float = 1.0) -> BaseDraws:
    return BaseDraws(
        law=law(sigma), engine=ENGINE, seed=SEED, alpha=ALPHA, draws=DrawScores(scores=tuple(scores)),
        base_score=base_score,
    )  # fmt: skip


class TestBothEnds:
    """sigma* from below, refuted_from from above."""

    @pytest.mark.parametrize(
        ("lost", "lower", "upper", "verdict"),
        [
            ((0, 0, 100, 200), 0.2, 0.3, Verdict.CERTIFIED),
            ((0, 15, 100, 200), 0.1, 0.3, Verdict.CERTIFIED),
            ((0, 0, 0, 0), 0.4, None, Verdict.CERTIFIED),
            ((0, 0, 15, 15), 0.2, None, Verdict.CERTIFIED),
            ((15, 0, 0, 100), None, 0.4, Verdict.UNDECIDED),
            ((100, 100, 100, 100), None, 0.1, Verdict.REFUTED),
            ((0, 100, 0, 100), 0.1, 0.4, Verdict.CERTIFIED),  # neither sequence jumps over a level
            ((100, 0, 0, 0), None, None, Verdict.REFUTED),
        ],
    )
    def test_each_sequence_stops_at_its_first_failure(
        self, lost: tuple[int, ...], lower: float | None, upper: float | None, verdict: Verdict
    ) -> None:
        """The width is read off unbroken runs from either end, never off single levels."""
        found = basin(list(zip((0.1, 0.2, 0.3, 0.4), lost, strict=True)))
        assert found.width(DROP, ALPHA, 0.0) == lower
        assert found.refuted_from(DROP, ALPHA, 0.0) == upper
        judged = WidthEvidence(basin=found).judge(bench(300), DROP, ALPHA)
        assert (judged.sigma_star, judged.refuted_from, judged.verdict) == (lower, upper, verdict)

    def test_the_counts_above_are_where_the_bounds_change_sides(self) -> None:
        """15 lost of 300 decide nothing, 0 certify, 100 refute: the cases above are what they say."""
        verdicts = [x.verdict for x in WidthEvidence(basin=basin([(0.1, 0), (0.2, 15), (0.3, 100)])).judge(
            bench(300), DROP, ALPHA).levels]  # fmt: skip
        assert verdicts == [Verdict.CERTIFIED, Verdict.UNDECIDED, Verdict.REFUTED]


class Threshold(nn.Module):
    """theta in R^16 at the origin; the quantity that items are right about."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(DIMENSION), requires_grad=False)

    def along(self) -> float:
        return float(self.theta.double().sum()) / DIMENSION**0.5

    def squared(self) -> float:
        return float(self.theta.double().square().sum())


def measured(right: Callable[[Threshold], bool], grid: Sequence[float], m: int) -> Basin:
    """The basin of a model that is right on each of m items alike, each item under a draw of its own."""
    levels = []
    for k, sigma in enumerate(grid):
        noise, seed = weight_noise({"theta": DIMENSION}, sigma), Seed(value=f"{k:064x}")
        with noised(Threshold(), noise, seed) as engine:
            scores = tuple(float(right(engine.at(j))) for j in range(m))
        levels.append(BasinLevel(sigma=sigma, law=noise, engine=ENGINE, seed=seed, scores=scores))
    return Basin(base=(1.0,) * m, levels=tuple(levels))


GRID = (0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


@pytest.mark.parametrize(
    ("right", "score"),
    [
        (lambda model: model.along() >= -0.75, lambda sigma: ndtr(0.75 / sigma)),
        (lambda model: model.squared() <= 5.0, lambda sigma: chi2.cdf(5.0 / sigma**2, DIMENSION)),
    ],
    ids=["half-space", "quadratic"],
)
def test_the_true_width_lies_between_both_ends(
    right: Callable[[Threshold], bool], score: Callable[[float], float]
) -> None:
    """Through the real engine, on landscapes whose noised score is known; and the interval is not everything."""
    found = measured(right, GRID, 1000)
    truth = max(sigma for sigma in GRID if 1 - score(sigma) <= DROP.limit)
    lower, upper = found.width(DROP, ALPHA, 0.0), found.refuted_from(DROP, ALPHA, 0.0)
    assert lower is not None and upper is not None
    assert lower <= truth < upper
    assert GRID.index(upper) - GRID.index(lower) <= 2
    for level in found.levels:  # what was drawn has the law that was meant: five standard errors
        p = score(level.sigma)
        assert abs(sum(s or 0.0 for s in level.scores) - 1000 * p) <= 5 * (1000 * p * (1 - p)) ** 0.5 + 1


# True drops: the third level meets the limit .05 exactly, the fourth misses it by a hair. A width of 4 or more, or a
# refutation at level 3 or less, is then wrong; each is meant to happen with probability at most alpha.
TRUE_DROPS, HELD, ITEMS, REPEATS = (0.002, 0.01, 0.05, 0.0501, 0.3), 3, 200, 400
CRITICAL = int(binom.isf(1e-6, REPEATS, ALPHA)) + 1  # 45; false alarm below 1e-6


def wrong_claims(decide: Callable[[Basin], tuple[float | None, float | None]]) -> tuple[int, int]:
    """How often sigma* is too large and how often refuted_from is too small, in 400 repetitions."""
    rng, too_wide, too_narrow = np.random.default_rng(20250516), 0, 0
    for _ in range(REPEATS):
        lost = rng.binomial(ITEMS, TRUE_DROPS)
        lower, upper = decide(basin([(float(k + 1), int(n)) for k, n in enumerate(lost)], ITEMS))
        too_wide += lower is not None and lower > HELD
        too_narrow += upper is not None and upper <= HELD
    return too_wide, too_narrow


def test_each_end_is_wrong_no_more_often_than_alpha() -> None:
    """No correction for the number of levels is needed at either end."""
    wide, narrow = wrong_claims(lambda b: (b.width(DROP, ALPHA, 0.0), b.refuted_from(DROP, ALPHA, 0.0)))
    assert wide < CRITICAL, f"{wide} of {REPEATS} widths too large at alpha {ALPHA}; {CRITICAL} are refused"
    assert narrow < CRITICAL, f"{narrow} of {REPEATS} refutations too early at alpha {ALPHA}; {CRITICAL} are refused"


def test_reading_off_plain_means_would_be_noticed() -> None:
    """The same check refuses a width read off means without bounds."""

    def by_means(b: Basin) -> tuple[float | None, float | None]:
        kept = [b.drop_at(level).drop(ALPHA).value <= DROP.limit for level in b.levels]  # type: ignore[operator]
        held = next((k for k, good in enumerate(kept) if not good), len(kept))
        return b.levels[held - 1].sigma if held else None, b.levels[held].sigma if held < len(kept) else None

    assert min(wrong_claims(by_means)) >= CRITICAL


class TestShares:
    """Whole-benchmark draws: directions that lose nothing, and the change that gains cannot cancel."""

    evidence = WidthEvidence(
        basin=basin([(0.1, 0), (0.2, 100)], 300),
        draws=(draws(0.1, [1.0] * 44), draws(0.2, [1.0] * 10 + [0.5] * 34)),
    )

    def test_the_share_is_clopper_pearson_over_draws_on_one_side_and_on_both(self) -> None:
        """44 clean draws show more than 90 % at 99 % on one side; both sides at once take 51."""
        first, second = (x.strict for x in self.evidence.judge(bench(300), DROP, 0.01).levels)
        assert first is not None and second is not None
        assert (first.clean, first.draws, second.clean) == (44, 44, 10)
        eta = ENGINE.eta(law(0.1))
        assert first.lower == clopper_pearson_lower(44, 44, 0.01) - eta
        assert first.lower > 0.9 > (first.two_sided.lower or 0.0)
        both = clopper_pearson_interval(10, 44, 0.01)
        assert (second.two_sided.lower, second.two_sided.upper) == (both.lower - eta, both.upper + eta)
        more = WidthEvidence(basin=basin([(0.1, 0)]), draws=(draws(0.1, [1.0] * 51),))
        share = more.judge(bench(300), DROP, 0.01).levels[0].strict
        assert share is not None and (share.two_sided.lower or 0.0) > 0.9

    def test_gains_do_not_cancel_losses_in_the_change(self) -> None:
        """A base at .5 that scores 0 or 1 under noise changes by .5 in every draw, though its mean stays."""
        found = basin([(0.1, 0)], 300).model_copy(update={"base": (1.0, 0.0) * 150})
        evidence = WidthEvidence(basin=found, draws=(draws(0.1, (0.0, 1.0) * 100, 0.5),))
        change = evidence.judge(bench(300), DROP, ALPHA).levels[0].change
        assert change is not None and change.value == 0.5
        assert change.lower is not None and change.lower > 0.4

    def test_draws_must_be_of_the_levels_and_of_whole_benchmarks(self) -> None:
        """Another law, another base score, or one item a draw is refused by the record."""
        found = basin([(0.1, 0)])
        with pytest.raises(ValueError, match="laws of the basin's levels"):
            WidthEvidence(basin=found, draws=(draws(0.2, [1.0]),))
        with pytest.raises(ValueError, match=r"name the base score 0\.5, the items 1\.0"):
            WidthEvidence(basin=found, draws=(draws(0.1, [1.0], 0.5),))
        pairs = draws(0.1, [1.0]).model_copy(update={"design": "pairs"})
        with pytest.raises(ValueError, match="all items under every draw"):
            WidthEvidence(basin=found, draws=(pairs,))


class TestWords:
    """What is claimed, noted, and left out."""

    def test_the_claim_names_both_ends_and_the_confidence(self) -> None:
        """One sentence for each end; two-sided bounds are wider than one-sided ones."""
        judged = WidthEvidence(basin=basin([(0.1, 0), (0.2, 100)])).judge(bench(300), DROP, ALPHA)
        assert judged.claim == (
            "With 95 % confidence over the draws and items, the mean drop on the population behind b under Gaussian "
            "noise on 16 weights is at most 0.05 at every sigma of the grid up to sigma* = 0.1 (1 of 2). With 95 % "
            "confidence over the draws and items, the width on the grid is below 0.2."
        )
        for level in judged.levels:
            assert level.two_sided.lower < level.bounds.lower < level.bounds.upper < level.two_sided.upper  # type: ignore[operator]

    def test_no_width_is_printed_above_itself(self) -> None:
        """Six digits, rounded towards what the statement can carry: sigma* down, the refuted end up."""
        lower, upper = 9.1796875e-05, 0.00010000000000000286
        judged = WidthEvidence(basin=basin([(lower, 0), (upper, 100)])).judge(bench(300), DROP, ALPHA)
        assert (judged.sigma_star, judged.refuted_from) == (lower, upper)
        assert "sigma* = 9.17968e-05 (1 of 2)" in judged.claim
        assert "is below 0.000100001." in judged.claim
        assert (level_text(lower), level_text(0.02), level_text(0.29), level_text(None)) == (
            "9.17968e-05", "0.02", "0.29", "none",
        )  # fmt: skip

    def test_a_grid_that_a_pilot_placed_is_said(self) -> None:
        """In the limits of the width and of position evidence; a grid that was given needs no word."""
        given = basin([(0.1, 0)])
        placed = given.model_copy(update={"grid": "pilot"})
        moved = Displacement(norms={"theta": 0.1}, delta_norm=0.1, dimension=DIMENSION)
        for found, said in ((given, False), (placed, True)):
            point = SegmentPoint(fraction=1.0, scores=(1.0,) * 300)
            evidence = PositionEvidence(basin=found, points=(point,), displacement=moved)
            assert (PILOT_LIMIT in WidthEvidence(basin=found).judge(bench(300), DROP, ALPHA).limits) is said
            assert (PILOT_LIMIT in evidence.judge(bench(300), DROP, ALPHA).limits) is said

    @pytest.mark.parametrize(
        ("requirement", "chance"),
        [(Requirement(limit=0.75), 0.25), (Requirement(unit="retention", limit=0.0), 0.25)],
        ids=["drop", "retention"],
    )
    def test_a_limit_that_chance_would_meet_certifies_nothing(self, requirement: Requirement, chance: float) -> None:
        """However flat the basin is, nothing is claimed, and the note says vacuous."""
        judged = WidthEvidence(basin=basin([(0.1, 0)])).judge(bench(300, chance), requirement, ALPHA)
        assert (judged.verdict, judged.vacuous, judged.sigma_star) == (Verdict.UNDECIDED, True, None)
        assert "vacuous" in judged.notes[0]

    def test_a_checkpoint_has_a_place_and_no_verdict(self) -> None:
        """alpha* is compared with sigma*, called geometry, and void where more than weights differs."""
        identity = ModelIdentity(name="tuned", weights=D, companions={}, parameters=16, dtypes=("F32",))
        moved = Displacement(norms={"theta": 0.36}, delta_norm=0.36, dimension=DIMENSION)
        places = tuple(
            Place(checkpoint=identity, displacement=moved.model_copy(update=update))
            for update in ({}, {"delta_norm": 0.44}, {"differences": ("config differs",)})
        )
        judged = WidthEvidence(basin=basin([(0.1, 0), (0.2, 100)]), places=places).judge(bench(300), DROP, ALPHA)
        assert [round(p.alpha_star, 12) for p in judged.places] == [0.09, 0.11, 0.09]
        assert [p.within for p in judged.places] == [True, False, False]
        assert GEOMETRY in judged.limits
        assert "tuned differs in more than weights, so alpha* says nothing: config differs" in judged.notes
