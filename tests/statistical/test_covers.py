"""False statements of covers over many draws: over any window, over shares of points, over windows fixed beforehand.

Check and rejection as in test_coverage.py: with valid bounds so many false statements have probability below 1e-6. The
broken sibling chooses its window after a look and judges it by the bound of a window that was fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
from budget import check_coverage, power

from certify.evidence.cover import CoverEvidence
from certify.evidence.judgement import Requirement
from certify.records import Axis, BenchmarkIdentity, FamilyIdentity, Seed
from certify.statistics import clopper_pearson_upper

ALPHA, DRAWS, WINDOWS = 0.05, 200, 4
SIZES = pytest.mark.parametrize("repeats", [200, pytest.param(1_000, marks=pytest.mark.statistical)])
GRID = (np.arange(20_000) + 0.5) / 20_000
"""Points at which failure rates are known; their means over windows are exact to 1e-6 and less."""
BOX = (Axis(low=0.0, high=1.0, windows=WINDOWS, width=1 / WINDOWS),)
DIGEST = "sha256:" + "0" * 64
FAMILY = FamilyIdentity(kind="segment", name="end", coefficients=("a",), members=(("end", DIGEST),))
BENCHMARK = BenchmarkIdentity(name="own", items=1, scoring="made up", chance=0.0, digest=DIGEST, tokens=DIGEST)
SKILLS = {
    "the same everywhere": lambda a: np.full_like(a, 0.05),
    "breaks at the end": lambda a: np.clip(0.002 + 3.0 * np.maximum(a - 0.9, 0.0), 0.0, 1.0),
    "one narrow hole": lambda a: np.where((a > 0.4) & (a < 0.41), 1.0, 0.001),
    "half lost everywhere": lambda a: np.full_like(a, 0.5),
}
BROKEN = 0.25
"""False statements of the sibling, at least."""


def cover(skill: str, i: int) -> CoverEvidence:
    """One run of draws at its own seed; each point loses its one item with its own probability."""
    empty = CoverEvidence(family=FAMILY, box=BOX, seed=Seed(value=f"{i:064x}"), base=(1.0,), scores=(1.0,) * DRAWS)
    lost = np.random.default_rng(i).random(DRAWS) < SKILLS[skill](empty.points[:, 0])
    return empty.model_copy(update={"scores": tuple(np.where(lost, 0.0, 1.0).tolist())})


def mean_over(skill: str, low: float, high: float) -> float:
    inside = (low < GRID) & (high > GRID)
    return float(SKILLS[skill](GRID[inside]).mean())


def misses(repeats: int, skill: str) -> dict[str, int]:
    """How often each statement of a cover is false: bounds of fixed windows on either side, any window, the share."""
    rates = SKILLS[skill](GRID)
    sums = np.concatenate([[0.0], np.cumsum(rates)]) / len(GRID)
    size = len(GRID) // WINDOWS
    worst = float((sums[size:] - sums[:-size]).max()) * WINDOWS  # over every window of this size, wherever it lies
    true = [mean_over(skill, low, high) for low, high in BOX[0].places]
    counted = dict.fromkeys(("upper", "lower", "anywhere", "share"), 0)
    for i in range(repeats):
        evidence = cover(skill, i)
        said = evidence.judge(BENCHMARK, Requirement(limit=0.1), ALPHA)
        bounds = [window.bounds for window in said.windows]
        counted["upper"] += any(b.upper is not None and b.upper < t for b, t in zip(bounds, true, strict=True))
        counted["lower"] += any(b.lower is not None and b.lower > t for b, t in zip(bounds, true, strict=True))
        counted["anywhere"] += said.anywhere < worst
        assert said.share is not None
        counted["share"] += said.share < float((rates > 0.1).mean())
    return counted


@SIZES
@pytest.mark.parametrize("skill", SKILLS)
def test_statements_keep_alpha(repeats: int, skill: str) -> None:
    """Each statement at once for all windows, and each with its own alpha."""
    for count in misses(repeats, skill).values():
        check_coverage(count, repeats, ALPHA)


def seen_as_best(skill: str, i: int) -> bool:
    """Whether the cleanest window, chosen after a look, has a bound for a fixed one that is false."""
    evidence = cover(skill, i)
    points, lost = evidence.points[:, 0], np.array(evidence.scores) == 0.0
    found = []
    for low in np.linspace(0.0, 1.0 - 1 / WINDOWS, 57):
        inside = (points >= low) & (points <= low + 1 / WINDOWS)
        found.append((clopper_pearson_upper(int(lost[inside].sum()), int(inside.sum()), ALPHA), low))
    upper, low = min(found)
    return upper < mean_over(skill, low, low + 1 / WINDOWS)


@SIZES
def test_windows_chosen_after_a_look_are_rejected(repeats: int) -> None:
    """The negative control: without the bound over the box, or alpha shared, the best window is too good."""
    count = sum(seen_as_best("half lost everywhere", i) for i in range(repeats))
    assert count >= BROKEN * repeats
    assert power(repeats, ALPHA, BROKEN) >= 0.99
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, ALPHA)
