"""Is the requirement within reach of any outcome? Asked before the first draw (theory §4.10)."""

from __future__ import annotations

from dataclasses import dataclass

from certify.bounds import ceiling, mean_upper
from certify.errors import InvalidPlan
from certify.evidence.distance import at_most
from certify.evidence.judgement import Interval, Requirement, Verdict, interval_in_unit
from certify.evidence.paired_items import PairedScores
from certify.evidence.smoothed import mean_of_draws, paired_drop

LARGEST = 1 << 20  # beyond this many trials the answer is "more than a million"


def require_feasible(kind: str, n: int, requirement: Requirement, alpha: float, chance: float) -> None:
    """Refuse a gate that ``n`` trials could not certify even if nothing is lost.

    ``n`` counts items for point and position, draws for smoothed and distance. For distance the checkpoint
    is taken at r = 0 and the base at score 1; a farther one needs more.

    Raises:
        InvalidPlan: naming the n that would do.
    """
    problem = infeasible(kind, n, requirement, alpha, chance)
    if problem:
        raise InvalidPlan(problem)


def infeasible(kind: str, n: int, requirement: Requirement, alpha: float, chance: float) -> str | None:
    """Return why ``n`` trials cannot certify the requirement whatever they show, or None if they can."""
    if _can_certify(kind, n, requirement, alpha, chance):
        return None
    unit = "items" if kind in ("point", "position") else "draws"
    needed = n
    while needed < LARGEST and not _can_certify(kind, needed, requirement, alpha, chance):
        needed *= 2
    if needed >= LARGEST:
        advice = "more than a million are needed; relax the requirement"
    else:
        advice = f"{_smallest(kind, needed // 2, needed, requirement, alpha, chance)} are needed"
    return (
        f"{kind}: this gate cannot pass with {n} {unit}: {advice} if nothing is lost or gained "
        f"({requirement.describe()} at {100 * (1 - alpha):g} % confidence)"
    )


def _smallest(kind: str, low: int, high: int, requirement: Requirement, alpha: float, chance: float) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        if _can_certify(kind, middle, requirement, alpha, chance):
            high = middle
        else:
            low = middle
    return high


def _can_certify(kind: str, n: int, requirement: Requirement, alpha: float, chance: float) -> bool:
    interval = _best_outcome(kind, n, requirement, alpha, chance)
    return interval is not None and requirement.decide(interval.lower, interval.upper) is Verdict.CERTIFIED


def _best_outcome(kind: str, n: int, requirement: Requirement, alpha: float, chance: float) -> Interval | None:
    """Return the interval when every trial shows what the requirement wants, at the base and at the checkpoint."""
    score = 0.0 if requirement.unit == "absence" else 1.0
    if kind in ("point", "position"):
        scores = PairedScores(base=(score,) * n, checkpoint=(score,) * n)
        return scores.interval(requirement, alpha, chance, "population")
    if kind == "smoothed":
        return interval_in_unit(requirement, _PerfectDraws(n, score), alpha, chance)
    if requirement.unit == "absence":
        return at_most(mean_upper([score] * n, alpha))
    if requirement.unit == "drop":
        return at_most(1.0 - ceiling(n, alpha, 0.0))
    top = mean_upper([score] * n, alpha / 2)
    return Interval(value=None, lower=(ceiling(n, alpha / 2, 0.0) - chance) / (top - chance), upper=None)


@dataclass(frozen=True)
class _PerfectDraws:
    """n paired draws that all score the same at base and checkpoint."""

    n: int
    perfect: float

    def drop(self, alpha: float) -> Interval:
        return paired_drop([0.0] * self.n, alpha)

    def base_score(self, alpha: float) -> Interval:
        return mean_of_draws([self.perfect] * self.n, alpha)

    def score(self, alpha: float) -> Interval:
        return mean_of_draws([self.perfect] * self.n, alpha)
