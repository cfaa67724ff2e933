"""The plan of a sequential gate, Wald's boundaries, and their exact error and power.

Source: Wald (1945); docs/theory.md, "Gates".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from certify.statistics import ranges

_BOUNDARY_SLACK = 1e-9  # draws; keeps rounding of the logarithms from lowering a boundary by a whole draw


class Decision(StrEnum):
    """Where a gate stands. `PASSED` and `REFUTED` are proved; `FUTILE` and `CAPPED` mean undecided."""

    CONTINUE = "continue"
    PASSED = "passed"
    REFUTED = "refuted"
    FUTILE = "futile"
    CAPPED = "capped"


class SprtBoundaries(NamedTuple):
    """Success counts after n draws at which Wald's test stops."""

    pass_at_least: int
    futile_at_most: int


def sprt_boundaries(n: int, p0: float, p1: float, alpha: float, beta: float) -> SprtBoundaries:
    """Return the stopping counts of Wald's test of p <= p0 against p1 after n independent 0/1 draws.

    Guarantee: for every p <= p0, the probability of ever reaching `pass_at_least` (at any n) is at most alpha
    over the draws. `futile_at_most` carries no guarantee.

    pass_at_least > n and futile_at_most < 0 mean that n draws cannot stop that way. Raises InvalidInput
    unless n >= 1, 0 < p0 < p1 < 1, 0 < alpha, beta < 1.
    """
    size = ranges.count("n", n)
    plan = GatePlan(p0=p0, p1=p1, alpha=alpha, beta=beta, cap=size)
    return SprtBoundaries(plan.pass_at_least(size), plan.futile_at_most(size))


@dataclass(frozen=True)
class GatePlan:
    """One requirement, frozen before its draws: null p0, alternative p1, and when to stop.

    p0: required level, before finite precision: whoever decides adds or subtracts eta, as
    `certify.evidence.sequential.decide_at` does. p1 > p0: the level at which the gate should pass. alpha: failure
    probability of a pass. beta: boundary of the futility process. cap: most draws. alpha_refute:
    failure probability of a refutation, None for a gate that never refutes; with it the gate does not stop
    for futility, which would nearly always come first. Raises InvalidInput unless 0 < p0 < p1 < 1 and every
    probability lies in (0, 1).
    """

    p0: float
    p1: float
    alpha: float
    cap: int
    beta: float = 0.1
    alpha_refute: float | None = None

    def __post_init__(self) -> None:
        """Check all fields."""
        null, alternative = ranges.open_unit("p0", self.p0), ranges.open_unit("p1", self.p1)
        ranges.require(null < alternative, "p1", self.p1, f"must be above p0 = {self.p0!r}")
        ranges.failure_probability("alpha", self.alpha)
        ranges.failure_probability("beta", self.beta)
        ranges.count("cap", self.cap)
        if self.alpha_refute is not None:
            ranges.failure_probability("alpha_refute", self.alpha_refute)

    @property
    def p_refute(self) -> float:
        """The level a refutation bets on: as far below p0 as p1 is above it, at least p0 / 2."""
        return max(self.p0 - (self.p1 - self.p0), self.p0 / 2)

    def pass_at_least(self, n: int) -> int:
        """Return the least number of successes in n draws that passes."""
        up, down = _log_ratios(self.p1, self.p0)
        return math.ceil((math.log(1 / self.alpha) - n * down) / (up - down) + _BOUNDARY_SLACK)

    def futile_at_most(self, n: int) -> int:
        """Return the largest number of successes in n draws that is futile; -1 with alpha_refute."""
        if self.alpha_refute is not None:
            return -1
        up, down = _log_ratios(self.p1, self.p0)
        return math.floor((math.log(self.beta) - n * down) / (up - down))

    def refuted_at_most(self, n: int) -> int:
        """Return the largest number of successes in n draws that refutes; -1 without alpha_refute."""
        if self.alpha_refute is None:
            return -1
        up, down = _log_ratios(self.p_refute, self.p0)  # up < 0 < down
        return math.floor((n * down - math.log(1 / self.alpha_refute)) / (down - up) - _BOUNDARY_SLACK)

    def decide(self, n: int, successes: int) -> Decision:
        """Return the decision of Wald's test after n draws."""
        if successes >= self.pass_at_least(n):
            return Decision.PASSED
        if successes <= self.refuted_at_most(n):
            return Decision.REFUTED
        if successes <= self.futile_at_most(n):
            return Decision.FUTILE
        return Decision.CAPPED if n >= self.cap else Decision.CONTINUE

    @cached_property
    def type_one_error(self) -> float:
        """The probability of a pass at p = p0, of Wald's test with this cap; exact, at most alpha."""
        return self.outcome(self.p0).passed

    @cached_property
    def power(self) -> float:
        """The probability of a pass at p = p1, of Wald's test with this cap; exact."""
        return self.outcome(self.p1).passed

    def outcome(self, p: float) -> Outcome:
        """Return what Wald's test does at success probability p: exact, by dynamic programming over counts.

        p in [0, 1]. Takes cap steps of at most cap additions each. Raises InvalidInput otherwise.
        """
        success = ranges.unit("p", p)
        alive = np.zeros(self.cap + 1)
        alive[0] = 1.0
        passed = refuted = drawn = 0.0
        for n in range(1, self.cap + 1):
            drawn += float(alive.sum())
            alive[1:] = alive[1:] * (1.0 - success) + alive[:-1] * success
            alive[0] *= 1.0 - success
            top, refute = self.pass_at_least(n), self.refuted_at_most(n)
            passed += float(alive[max(top, 0) :].sum())
            refuted += float(alive[: max(refute + 1, 0)].sum())
            alive[max(top, 0) :] = 0.0
            alive[: max(refute, self.futile_at_most(n), -1) + 1] = 0.0
        return Outcome(passed, refuted, drawn)


class Outcome(NamedTuple):
    """Exact probabilities of the two proved ends of a gate, and its expected number of draws."""

    passed: float
    refuted: float
    expected_draws: float


def _log_ratios(alternative: float, null: float) -> tuple[float, float]:
    return math.log(alternative / null), math.log((1 - alternative) / (1 - null))
