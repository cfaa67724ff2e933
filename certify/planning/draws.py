"""Draws that choose and draws that prove. Source: docs/theory.md, "Settings"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from certify import ranges
from certify.errors import InvalidInput


def attempt_alpha(alpha: float, attempt: int) -> float:
    """Return alpha / 2^attempt, the failure probability of the attempt (counted from 1) at one statement.

    Guarantee: all attempts together, however many and whenever one stops, fail with probability at most
    alpha.

    Raises InvalidInput unless 0 < alpha < 1 and attempt >= 1.
    """
    return math.ldexp(ranges.failure_probability("alpha", alpha), -ranges.count("attempt", attempt))


@dataclass(frozen=True)
class Draws:
    """Scores of draws with the name of the stream their seeds came from; `pilot/...` or `certify/...`."""

    stream: str
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse streams that are neither, and scores outside [0, 1]."""
        ranges.require(self.stream.startswith(("pilot/", "certify/")), "stream", self.stream,
                       "must begin with 'pilot/' or 'certify/'")  # fmt: skip
        ranges.scores("scores", self.scores)


@dataclass(frozen=True)
class DrawPlan:
    """What is fixed before the certifying draws. Settings come from a pilot, evidence never does.

    name: of the statement. n, alpha: size and failure probability. attempt: counted from 1; each attempt
    has its own stream and alpha / 2^attempt if there may be several. pilot: the stream the settings were
    chosen on, None if they were chosen without looking. Raises InvalidInput for a pilot that is not a pilot
    stream.
    """

    name: str
    n: int
    alpha: float
    attempt: int = 1
    pilot: str | None = None

    def __post_init__(self) -> None:
        """Check all fields."""
        ranges.require(bool(self.name), "name", self.name, "must not be empty")
        ranges.count("n", self.n)
        ranges.failure_probability("alpha", self.alpha)
        ranges.count("attempt", self.attempt)
        ranges.require(self.pilot is None or self.pilot.startswith("pilot/"), "pilot", self.pilot,
                       "must begin with 'pilot/'")  # fmt: skip

    @property
    def stream(self) -> str:
        """The stream whose draws are evidence for this plan, and for nothing else."""
        return f"certify/{self.name}/{self.attempt}"

    def evidence(self, draws: Draws) -> tuple[float, ...]:
        """Return the scores if they are this plan's evidence: its stream, all n of them.

        Raises InvalidInput for pilot draws, draws of another plan or attempt, and any other number of draws.
        """
        if draws.stream.startswith("pilot/"):
            raise InvalidInput(f"stream = {draws.stream!r}: pilot draws chose the settings and are no evidence")
        ranges.require(draws.stream == self.stream, "stream", draws.stream, f"must be {self.stream!r}")
        ranges.require(len(draws.scores) == self.n, "number of scores", len(draws.scores), f"must be n = {self.n}")
        return draws.scores


def freeze(pilot: Draws, name: str, n: int, alpha: float) -> DrawPlan:
    """Return the plan whose settings were chosen on these pilot draws; it refuses them as evidence.

    Raises InvalidInput if `pilot` is not a pilot stream.
    """
    return DrawPlan(name, n, alpha, pilot=pilot.stream)
