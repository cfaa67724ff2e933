"""Covers: closed forms for few draws, all outcomes of small ones, units, windows, and what is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binom

from certify.evidence import Requirement, Verdict
from certify.evidence.cover import CoverEvidence, CoverJudgement
from certify.records import Axis, BenchmarkIdentity, FamilyIdentity, Seed
from certify.statistics import trinomial_drop_bounds

DIGEST = "sha256:" + "0" * 64
FAMILY = FamilyIdentity(kind="segment", name="end", coefficients=("a",), members=(("end", DIGEST),))
PLANE = FamilyIdentity(
    kind="merge", name="recipe.toml", coefficients=("a", "b"), members=(("recipe", DIGEST), ("base", DIGEST))
)
SEED = Seed(value="7" * 64)
HALVES = (Axis(low=0.0, high=1.0, windows=2, width=0.5),)


def benchmark(items: int, chance: float = 0.0, graded: bool = False) -> BenchmarkIdentity:
    return BenchmarkIdentity(
        name="own", items=items, scoring="exact match", graded=graded, chance=chance, digest=DIGEST, tokens=DIGEST
    )


def cover(scores: tuple[float | None, ...], base: tuple[float | None, ...] = (1.0,), **more: Any) -> CoverEvidence:
    return CoverEvidence(**{"family": FAMILY, "box": HALVES, "seed": SEED, "base": base, "scores": scores, **more})


def judged(evidence: CoverEvidence, requirement: Requirement | None = None, chance: float = 0.0) -> CoverJudgement:
    about = benchmark(len(evidence.base), chance, evidence.graded)
    return evidence.judge(about, requirement or Requirement(), 0.05)


def test_a_cover_that_loses_nothing_has_closed_forms() -> None:
    """U = 1 - alpha^(1/n) over the box; a half of it: 2 U; the share is U / tau; each window at alpha/2."""
    n = 400
    said = judged(cover((1.0,) * n))
    u = 1 - 0.05 ** (1 / n)
    assert said.verdict is Verdict.CERTIFIED
    assert said.failure == pytest.approx(u, rel=1e-9)
    assert said.anywhere == pytest.approx(2 * u, rel=1e-9)
    assert said.share == pytest.approx(u / 0.05, rel=1e-9)
    assert sum(window.draws for window in said.windows) == n
    for window in said.windows:
        upper = trinomial_drop_bounds(0, 0, window.draws, 0.025).upper
        assert window.bounds.upper == upper
        assert upper == pytest.approx(1 - 0.025 ** (1 / window.draws), rel=0.01)
    assert "every window of at least 14.923 % of the box, and at all but 14.923 % of its points" in said.claim


def test_windows_hold_the_draws_that_fell_inside() -> None:
    """All losses lie in the upper half: it is lost, the other kept, and the verdict is refuted."""
    points = cover((1.0,) * 600).points[:, 0]
    said = judged(cover(tuple(0.0 if a > 0.5 else 1.0 for a in points)))
    low, high = said.windows
    assert (low.lost, high.lost) == (0, high.draws)
    assert (low.verdict, high.verdict) == (Verdict.CERTIFIED, Verdict.REFUTED)
    assert said.verdict is Verdict.REFUTED
    assert said.lost == int((points > 0.5).sum())
    assert "the mean drop is not at most 0.05 over 1 of the 2 windows" in said.claim


def test_points_and_items_are_uniform_and_independent() -> None:
    """4,000 of each: means, variances and correlation within four standard errors, from one seed."""
    evidence = cover((1.0,) * 4000, base=(1.0,) * 10, box=(Axis(low=-1.0, high=3.0, windows=1, width=4.0),))
    points, items = (evidence.points[:, 0] + 1) / 4, np.array(evidence.items)
    assert points.min() >= 0.0 and points.max() < 1.0
    for u in (points, (items + np.random.default_rng(0).random(4000)) / 10):
        assert abs(u.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 4000)
        assert abs(u.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / 4000)
    assert abs(np.corrcoef(points, items)[0, 1]) < 4 / math.sqrt(4000)
    assert set(items) == set(range(10))


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_the_bound_over_the_box_keeps_alpha_by_all_outcomes(n: int) -> None:
    """Summed over all numbers of failures, at many failure rates: it lies below the rate with probability <= alpha."""
    bounds = [cover((0.0,) * k + (1.0,) * (n - k)).failure(Requirement(), 0.05) for k in range(n + 1)]
    for rate in np.linspace(0.001, 0.999, 200):
        assert sum(binom.pmf(k, n, rate) for k in range(n + 1) if bounds[k] < rate) <= 0.05


def test_windows_keep_alpha_by_all_outcomes() -> None:
    """Three draws, each kept or lost: over all points and scores some window is called kept falsely with P <= alpha.

    The lower half loses with probability p, the upper one with q; a draw falls into either with probability 1/2.
    """
    requirement, n, alpha = Requirement(limit=0.9), 3, 0.25
    places = tuple(place for axis in HALVES for place in axis.places)
    assert len(places) == 2
    for p, q in itertools.product((0.0, 0.5, 0.901, 0.95, 1.0), repeat=2):
        falsely = 0.0
        rates = (p, q)
        for halves in itertools.product((0, 1), repeat=n):
            for lost in itertools.product((0, 1), repeat=n):
                pairs = list(zip(halves, lost, strict=True))
                chance = math.prod(rates[h] if k else 1 - rates[h] for h, k in pairs)
                wrong = False
                for half, rate in enumerate(rates):
                    inside = [k for h, k in pairs if h == half]
                    if inside and rate > requirement.limit:
                        upper = trinomial_drop_bounds(sum(inside), 0, len(inside), alpha / 2).upper
                        wrong |= upper <= requirement.limit
                falsely += wrong * chance / 2**n
        assert falsely <= alpha, (p, q)


def test_a_drop_counts_what_the_base_had() -> None:
    """An item that the base misses cannot be lost; won, it is gained."""
    n = 300
    evidence = cover((1.0,) * n, base=(1.0, 0.0))
    said = judged(evidence)
    assert (said.lost, said.gained) == (0, sum(evidence.items))
    evidence = cover((0.0,) * n, base=(0.0, 0.0, 1.0))
    assert judged(evidence).lost == sum(i == 2 for i in evidence.items)


def test_each_unit_bounds_its_own_quantity() -> None:
    """Retention is the drop over s0 - c, known; absence is the score itself."""
    n, base = 500, (1.0, 1.0, 1.0, 0.0)
    evidence = cover((1.0,) * n, base=base)
    drop, kept = judged(evidence), judged(evidence, Requirement(unit="retention", limit=0.9), chance=0.25)
    for a, b in zip(drop.windows, kept.windows, strict=True):
        assert b.bounds.lower == pytest.approx(1 - a.bounds.upper / 0.5)
        assert b.bounds.upper == pytest.approx(1 - a.bounds.lower / 0.5)
    assert kept.share == pytest.approx(kept.failure / (0.1 * 0.5))
    absent = judged(cover((0.0,) * n, base=base), Requirement(unit="absence", limit=0.05))
    assert absent.verdict is Verdict.CERTIFIED
    assert absent.failure == pytest.approx(1 - 0.05 ** (1 / n))
    assert judged(cover((1.0,) * n, base=base), Requirement(unit="absence", limit=0.05)).verdict is Verdict.REFUTED


def test_nothing_is_claimed_where_chance_would_meet_it_or_nothing_can_be_retained() -> None:
    """Vacuous, or the base at chance: undecided, with a note, however many draws."""
    vacuous = judged(cover((1.0,) * 500, base=(1.0, 0.0)), Requirement(limit=0.3), chance=0.25)
    assert vacuous.vacuous and vacuous.verdict is Verdict.UNDECIDED
    assert vacuous.claim.startswith("Nothing is claimed about the segment from the base to end")
    nothing = judged(cover((1.0,) * 500, base=(1.0, 0.0)), Requirement(unit="retention", limit=0.5), chance=0.5)
    assert nothing.share is None and nothing.verdict is Verdict.UNDECIDED
    assert "nothing to retain" in nothing.claim


def test_a_missing_answer_counts_against_whatever_is_claimed() -> None:
    """Lost where it must be kept, present where it must be absent, and no refutation rests on it."""
    lost = judged(cover((None,) * 300))
    assert lost.lost == 300 and lost.failure == 1.0
    assert {window.verdict for window in lost.windows} == {Verdict.UNDECIDED}
    assert judged(cover((None,) * 300), Requirement(unit="absence", limit=0.5)).failure == 1.0


def test_graded_scores_are_bounded_by_betting() -> None:
    """Half a point lost at every draw: a drop of one half, between bounds; kept under a drop of .6, lost under .4."""
    evidence = cover((0.5,) * 600, graded=True)
    for limit, verdict in ((0.6, Verdict.CERTIFIED), (0.4, Verdict.REFUTED)):
        said = judged(evidence, Requirement(limit=limit))
        assert said.verdict is verdict
        assert 0.5 < said.failure < 0.6
        assert all(window.bounds.lower < 0.5 < window.bounds.upper for window in said.windows)


def test_windows_may_overlap_and_leave_no_gap() -> None:
    """Seven of a quarter each, half over their neighbours; the first and the last end with the range."""
    places = Axis(low=0.0, high=1.0, windows=7, width=0.25).places
    assert places[0] == (0.0, 0.25) and places[-1] == (0.75, 1.0)
    assert [low for low, _ in places] == pytest.approx([i / 8 for i in range(7)])
    plane = cover((1.0,) * 100, family=PLANE, box=(Axis(low=0.0, high=1.0, windows=7, width=0.25),) * 2)
    assert len(plane.places) == 49
    assert judged(plane).anywhere == pytest.approx(16 * judged(plane).failure)


@pytest.mark.parametrize(
    ("low", "high", "windows", "width", "said"),
    [
        (1.0, 0.0, 1, 1.0, "from a number to a larger one"),
        (0.0, 0.0, 1, 1.0, "from a number to a larger one"),
        (0.0, math.inf, 1, 1.0, "finite|larger"),
        (0.0, 1.0, 2, 0.4, "must cover the range"),
        (0.0, 1.0, 2, 1.5, "and lie in it"),
        (0.0, 1.0, 0, 1.0, "greater than 0"),
        (0.0, 1.0, 2000, 0.5, "less than or equal to 1000"),
    ],
)
def test_an_axis_that_makes_no_sense_is_refused(low: float, high: float, windows: int, width: float, said: str) -> None:
    """Ranges the wrong way round, windows with gaps, windows that do not fit."""
    with pytest.raises(ValidationError, match=said):
        Axis(low=low, high=high, windows=windows, width=width)


def test_a_record_whose_parts_do_not_fit_is_refused() -> None:
    """Another number of ranges or of chosen coefficients than the family has; more windows than anyone reads."""
    many = (Axis(low=0.0, high=1.0, windows=40, width=0.025),) * 2
    for more, said in (
        ({"box": HALVES * 2}, "as many ranges"),
        ({"chosen": (1.0, 1.0)}, "as many numbers of a choice"),
        ({"chosen": ()}, "as many numbers of a choice"),
        ({"family": PLANE, "box": many}, "1600 windows: at most 1000"),
        ({"scores": (0.5,)}, "must be 0 or 1"),
    ):
        with pytest.raises(ValidationError, match=said):
            cover(**{"scores": (1.0,), **more})
