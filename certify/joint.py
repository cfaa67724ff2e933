"""Several gates together: the p-value of one gate's requirement, and Holm's procedure over the gates that ran."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from certify.documents import Certificate, ScoresRecord, charged_alpha
from certify.evidence import AuditEvidence, Evidence, Requirement, SmoothedEvidence, Verdict
from certify.evidence.cover import CoverEvidence
from certify.records import BenchmarkIdentity
from certify.statistics import holm

LARGEST = 0.25
"""The one-pass bounds hold up to here; p-values above it are reported as 1."""
SMALLEST = 1e-9
"""p-values below it are reported as this."""
PRECISION = 1e-4
"""Relative width of the last bisection step, on the side of larger p."""
ALL_HOLD = "; that all of them hold is one statement, which needs no correction"
"""Behind a line by Holm's procedure, where every gate is certified alone and not all of them are jointly."""


def p_value(
    evidence: Evidence | CoverEvidence,
    benchmark: BenchmarkIdentity,
    requirement: Requirement,
    levels: Iterable[float] = (),
) -> float:
    """Return the smallest alpha at which this evidence certifies the requirement, rounded up; 1.0 if none up to 1/4.

    Guarantee: if the requirement does not hold, the value is at most a, for each a among ``levels``, with probability
    at most a over the evidence's randomness (draws, items). For every other a <= 1/4 likewise as far as certification
    is monotone in alpha: what is certified at some alpha is so at every larger one. Binomial bounds and the band are
    monotone; so is betting while none of its stakes is capped; the trinomial rule is nearly so (docs/theory.md,
    "Several gates").

    The judge itself is asked, at alphas between 1e-9 and 1/4 by bisection of ln alpha; certified at alpha if and
    only if the value is at most alpha, up to a relative 1e-4 on the safe side. It is then raised above each of
    ``levels`` at which the judge does not certify. An attempt after the first is asked at its share of alpha.
    """

    attempt = evidence.seed.attempt if isinstance(evidence, SmoothedEvidence | AuditEvidence | CoverEvidence) else 0

    def certified(alpha: float) -> bool:
        return evidence.judge(benchmark, requirement, charged_alpha(alpha, attempt)).verdict is Verdict.CERTIFIED

    if not certified(LARGEST):
        return 1.0
    short, enough = SMALLEST, LARGEST
    if certified(SMALLEST):
        enough = SMALLEST
    while enough > short * (1 + PRECISION):
        middle = math.sqrt(short * enough)
        short, enough = (short, middle) if certified(middle) else (middle, enough)
    for level in sorted(levels):
        if enough <= level and not certified(level):
            enough = math.nextafter(level, 1.0)
    return enough


def holm_levels(alpha: float, gates: int) -> list[float]:
    """Return what Holm's procedure over so many gates, or fewer, compares p-values with."""
    return [alpha / k for k in range(1, gates + 1)]


def holm_certified(certificates: Sequence[Certificate | ScoresRecord], alpha: float) -> tuple[bool, ...]:
    """Return which certificates' requirements hold jointly at ``alpha``, by Holm's procedure, in the given order.

    Guarantee: with probability at least 1 - alpha over the randomness of all evidence, no requirement that does
    not hold is among them, however the kinds of evidence depend on each other. ("Every gate passed" needs no
    such correction: a wrong conjunction needs one particular gate to be wrong.) Each gate's judge is asked at every
    level that Holm compares with, so that nothing rests on certification being monotone in alpha.
    """
    levels = holm_levels(alpha, len(certificates))
    return holm([p_value(c.evidence, c.benchmark, c.requirement, levels) for c in certificates], alpha)
