"""Gates that take one draw at a time: Wald's test for 0/1 draws, an e-process for scores.

Source: Wald (1945); Waudby-Smith and Ramdas, arXiv 2010.09686; Ville's inequality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from certify.errors import InvalidInput
from certify.statistics import ranges
from certify.statistics.betting import LARGEST_BET
from certify.statistics.gate_plan import Decision
from certify.statistics.rounding import round_up

if TYPE_CHECKING:
    from certify.statistics.gate_plan import GatePlan


@dataclass(frozen=True)
class BernoulliGate:
    """Wald's test, one 0/1 draw at a time; `step` returns the next gate and leaves this one as it is.

    Guarantee: if every draw is independent with success probability at most p0, the gate ever passes with
    probability at most alpha over the draws; if at least p0, it ever refutes with probability at most
    alpha_refute.
    """

    plan: GatePlan
    drawn: int = 0
    successes: int = 0

    @property
    def decision(self) -> Decision:
        """Where the gate stands after the draws so far."""
        return self.plan.decide(self.drawn, self.successes) if self.drawn else Decision.CONTINUE

    def step(self, success: bool | int) -> BernoulliGate:
        """Return the gate after one more draw. Raises InvalidInput unless it is 0 or 1, or after the end."""
        ranges.require(success in (0, 1), "success", success, "must be 0 or 1")
        _require_running(self.decision, self.drawn)
        return replace(self, drawn=self.drawn + 1, successes=self.successes + int(success))


@dataclass(frozen=True)
class ScoreGate:
    """An e-process for scores in [0, 1], one draw at a time; `step` returns the next gate.

    log_capital is ln E_n for "mean <= p0", log_futility ln E_n of the reflected process for "mean >= p1",
    log_refutation that for "mean >= p0".

    Guarantee: if every draw has conditional mean at most p0, the gate ever passes with probability at most
    alpha over the draws; if at least p0, it ever refutes with probability at most alpha_refute.
    """

    plan: GatePlan
    drawn: int = 0
    mean: float = 0.5  # regularised, as in betting: prior mean 1/2 and variance 1/4 count as one draw
    variance: float = 0.25
    log_capital: float = 0.0
    log_futility: float = 0.0
    log_refutation: float = 0.0
    log_peak: float = 0.0

    @property
    def decision(self) -> Decision:
        """Where the gate stands after the draws so far."""
        if self.log_capital >= _goal(self.plan.alpha):
            return Decision.PASSED
        if self.plan.alpha_refute is None:
            if self.log_futility >= _goal(self.plan.beta):
                return Decision.FUTILE
        elif self.log_refutation >= _goal(self.plan.alpha_refute):
            return Decision.REFUTED
        return Decision.CAPPED if self.drawn >= self.plan.cap else Decision.CONTINUE

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value of "mean <= p0": 1 / max_n E_n, at most 1, rounded up."""
        return min(1.0, round_up(math.exp(-self.log_peak)))

    def step(self, score: float) -> ScoreGate:
        """Return the gate after one more score. Raises InvalidInput outside [0, 1], or after the end."""
        x = ranges.unit("score", score)
        _require_running(self.decision, self.drawn)
        n, p0, p1 = self.drawn + 1, self.plan.p0, self.plan.p1
        capital = self.log_capital + self._gain(x, self.mean, p0)
        mean = (self.mean * n + x) / (n + 1)
        return replace(
            self,
            drawn=n,
            mean=mean,
            variance=(self.variance * n + (x - mean) ** 2) / (n + 1),
            log_capital=capital,
            log_futility=self.log_futility + self._gain(1 - x, 1 - self.mean, 1 - p1),
            log_refutation=self.log_refutation + self._gain(1 - x, 1 - self.mean, 1 - p0),
            log_peak=max(self.log_peak, capital),
        )

    def _gain(self, x: float, mean: float, null: float) -> float:
        """ln(1 + lambda (x - null)) with lambda = clip(d / (v + d^2), 0, 0.9 / null), d = mean - null."""
        ahead = mean - null
        bet = min(max(ahead / (self.variance + ahead * ahead), 0.0), LARGEST_BET / null)
        return math.log1p(bet * (x - null))


def _goal(alpha: float) -> float:
    return math.log(1.0 / alpha) + 1e-9  # the slack covers rounding in sums of up to 10^6 logarithms


def _require_running(decision: Decision, drawn: int) -> None:
    if decision is not Decision.CONTINUE:
        raise InvalidInput(f"drawn = {drawn}: the gate has ended ({decision}); start a new one, at its own alpha")
