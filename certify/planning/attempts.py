"""Trying again is another test. Source: docs/theory.md, "Settings"."""

from __future__ import annotations

import math

from certify import ranges


def attempt_alpha(alpha: float, attempt: int) -> float:
    """Return alpha / 2^attempt, the failure probability of the attempt (counted from 1) at one statement.

    Guarantee: all attempts together, however many and whenever one stops, fail with probability at most
    alpha.

    Raises InvalidInput unless 0 < alpha < 1 and attempt >= 1.
    """
    return math.ldexp(ranges.failure_probability("alpha", alpha), -ranges.count("attempt", attempt))
