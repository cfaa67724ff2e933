"""False statements about the basins of several skills: widths from either end, and which lies inside which.

Check and rejection as in test_coverage.py: with valid bounds so many false statements have probability below 1e-6. One
broken sibling refines the grid without paying for it, the other asks several items under each draw and counts them as
independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from budget import check_coverage, power

from certify.evidence.judgement import Requirement
from certify.evidence.skills import SkillsEvidence, SkillsJudgement, SkillsLevel
from certify.evidence.trials import random_items
from certify.measuring.skills import placed
from certify.records import BenchmarkIdentity, ExplicitIdentity, Part, Seed, WeightNoise, identity_of_pool

DRAWS, REFINE, FLOOR = 400, 1, 0.5
GRID = (1.0, 2.0, 3.0, 4.0)
SIZES = pytest.mark.parametrize("repeats", [100, pytest.param(300, marks=pytest.mark.statistical)])
ITEMS = (1.0, 1.0, 1.0, 0.0)  # the last one can be gained
POOL = tuple(Part(name=n, items=4, weight=1.0, chance=0.0, digest="sha256:" + n[0] * 64) for n in ("a", "b"))
OF_POOL = {"name": "both", "scoring": "made up", "tokens": None, "pool": POOL, **identity_of_pool(POOL)}
BOTH = BenchmarkIdentity.model_validate(OF_POOL)
ONE = BenchmarkIdentity(name="a", items=4, scoring="made up", chance=0.0, digest=POOL[0].digest, tokens=None)
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)
ASKED = Requirement(unit="retention", limit=FLOOR)
HAIR = 1e-9
GAINED = 0.004
Truth = Callable[[float], float]
"""How likely an item that the base has right is lost, at each sigma."""


def just(retention: float) -> float:
    """Return how likely a loss must be for this retention: drop = .75 lost - .25 gained, over a score of .75."""
    return 1.0 - retention + GAINED / 3


def plateau(s: float) -> float:
    """Kept at the first sigma, missed by a hair from there on, gone at the last."""
    return 0.0 if s <= 1.0 else just(FLOOR - HAIR) if s < 4.0 else 1.0


def brink(s: float) -> float:
    """Kept well up to the second sigma, exactly as required below the last, gone there."""
    return 0.0 if s <= 2.0 else just(FLOOR + HAIR) if s < 4.0 else 1.0


def slope(s: float) -> float:
    """Lost little by little."""
    return min(1.0, 0.05 * s**2)


def level(s: float, truths: tuple[Truth, ...], i: int, refined: bool, repeat: int = 1) -> SkillsLevel:
    """Scores under draws of one sigma; each outcome stands ``repeat`` times."""
    seed = Seed(value=f"{i:032x}{int(s * 1e6):032x}")
    scores = []
    for k, truth in enumerate(truths):
        chosen = np.random.default_rng([i, int(s * 1e6), k])
        asked, lucky = random_items(seed, len(ITEMS), DRAWS, k), chosen.random(DRAWS // repeat).repeat(repeat)
        lost, gained = lucky < truth(s), lucky < GAINED
        right = np.array(ITEMS)[list(asked)] == 1.0
        scores.append(tuple(np.where(right, ~lost, gained).astype(float).tolist()))
    law = WeightNoise(sigma={"w": s}, sizes={"w": 10})
    return SkillsLevel(sigma=s, law=law, engine=ENGINE, seed=seed, refined=refined, scores=tuple(scores))


def measured(truths: tuple[Truth, ...], i: int, alpha: float, repeat: int = 1) -> SkillsJudgement:
    """What is said of one run of draws on the grid, and on its refinement."""
    benchmark, base = (ONE if len(truths) == 1 else BOTH), (ITEMS,) * len(truths)
    first = tuple(level(s, truths, i, False, repeat) for s in GRID)
    evidence = SkillsEvidence(refine=REFINE, base=base, levels=first)
    more = placed(evidence.judge(benchmark, ASKED, alpha), REFINE)
    levels = (*first, *(level(s, truths, i, True, repeat) for s in more))
    whole = SkillsEvidence(refine=REFINE, base=base, levels=tuple(sorted(levels, key=lambda x: x.sigma)))
    return whole.judge(benchmark, ASKED, alpha)


def false(said: SkillsJudgement, truths: tuple[Truth, ...]) -> set[str]:
    """Which statements are false: a width from below, from above, a pair."""
    sigmas = [x.sigma for x in said.skills[0].levels]
    widths, wrong = dict[str, float](), set[str]()
    for skill, truth in zip(said.skills, truths, strict=True):
        failing = [s for s in sigmas if truth(s) > just(FLOOR)]
        width = max([s for s in sigmas if s < min(failing, default=np.inf)], default=0.0)
        widths[skill.name] = width
        wrong |= {"below"} if (skill.sigma_star or 0.0) > width else set()
        wrong |= {"above"} if skill.refuted_from is not None and skill.refuted_from <= width else set()
    return wrong | {"inside" for pair in said.inside if widths[pair.inner] >= widths[pair.outer]}


@SIZES
@pytest.mark.parametrize(
    ("truths", "alpha"),
    [
        ((plateau, brink), 0.05),
        pytest.param((plateau, plateau), 0.5, marks=pytest.mark.statistical),
        pytest.param((plateau, brink), 0.5, marks=pytest.mark.statistical),
        pytest.param((brink, slope), 0.05, marks=pytest.mark.statistical),
    ],
)
def test_all_statements_hold_at_once(repeats: int, truths: tuple[Truth, ...], alpha: float) -> None:
    """Widths of both skills from both ends, on a refined grid, and every pair."""
    count = sum(bool(false(measured(truths, i, alpha), truths)) for i in range(repeats))
    check_coverage(count, repeats, alpha)


def wrong_widths(repeats: int, alpha: float, repeat: int = 1) -> int:
    return sum("below" in false(measured((plateau,), i, alpha, repeat), (plateau,)) for i in range(repeats))


@pytest.mark.statistical
def test_a_width_keeps_its_share_and_refining_without_paying_is_rejected() -> None:
    """One skill's sigma* has half of alpha, its grid refined or not; the sibling spends that half on each grid."""
    repeats, alpha = 1_000, 0.5
    check_coverage(wrong_widths(repeats, alpha), repeats, alpha / 2)
    broken = wrong_widths(repeats, 2 * alpha)
    assert power(repeats, alpha / 2, 0.36) >= 0.99
    with pytest.raises(AssertionError, match=f"{broken} misses in {repeats} repetitions"):
        check_coverage(broken, repeats, alpha / 2)


@SIZES
def test_items_of_one_draw_that_count_as_independent_are_rejected(repeats: int) -> None:
    """Ten outcomes of one draw are one outcome."""
    alpha = 0.05
    broken = wrong_widths(repeats, alpha, repeat=10)
    assert power(repeats, alpha / 2, 0.25) >= 0.99
    with pytest.raises(AssertionError, match=f"{broken} misses in {repeats} repetitions"):
        check_coverage(broken, repeats, alpha / 2)


def test_something_is_shown() -> None:
    """None of this is true for want of statements."""
    said = measured((plateau, brink), 0, 0.05)
    assert [skill.sigma_star for skill in said.skills] == [1.0, 2.0]
    assert said.skills[0].refuted_from is not None
    nested = [measured((slope, lambda s: 0.0), i, 0.05).inside for i in range(5)]
    assert all([(pair.inner, pair.outer) for pair in each] == [("a", "b")] for each in nested)
