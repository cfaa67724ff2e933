"""Several gates together: the p-value of one gate's requirement, and Holm's procedure over the gates that ran."""

from __future__ import annotations

import math
from collections.abc import Sequence

from certify.certificate import Certificate, ScoresRecord, charged_alpha
from certify.evidence import AuditEvidence, Evidence, Requirement, SmoothedEvidence, Verdict
from certify.records import BenchmarkIdentity
from certify.statistics import holm

LARGEST = 0.25
"""The one-pass bounds hold up to here; p-values above it are reported as 1."""
SMALLEST = 1e-9
"""p-values below it are reported as this."""
PRECISION = 1e-4
"""Relative width of the last bisection step, on the side of larger p."""


def p_value(evidence: Evidence, benchmark: BenchmarkIdentity, requirement: Requirement) -> float:
    """Return the smallest alpha at which this evidence certifies the requirement, rounded up; 1.0 if none up to 1/4.

    Guarantee: if the requirement does not hold, the value is at most a, for each a <= 1/4, with probability at
    most a over the evidence's randomness (draws, items), as far as certification is monotone in alpha: what is
    certified at some alpha is so at every larger one. Binomial bounds and the band are monotone; so is betting
    while none of its stakes is capped; the trinomial rule is nearly so (docs/theory.md, "Several gates").

    The judge itself is asked, at alphas between 1e-9 and 1/4 by bisection of ln alpha; certified at alpha if and
    only if the value is at most alpha, up to a relative 1e-4 on the safe side. An attempt after the first is asked at
    its share of alpha.
    """

    attempt = evidence.seed.attempt if isinstance(evidence, SmoothedEvidence | AuditEvidence) else 0

    def certified(alpha: float) -> bool:
        return evidence.judge(benchmark, requirement, charged_alpha(alpha, attempt)).verdict is Verdict.CERTIFIED

    if not certified(LARGEST):
        return 1.0
    if certified(SMALLEST):
        return SMALLEST
    short, enough = SMALLEST, LARGEST
    while enough > short * (1 + PRECISION):
        middle = math.sqrt(short * enough)
        short, enough = (short, middle) if certified(middle) else (middle, enough)
    return enough


def holm_certified(certificates: Sequence[Certificate | ScoresRecord], alpha: float) -> tuple[bool, ...]:
    """Return which certificates' requirements hold jointly at ``alpha``, by Holm's procedure, in the given order.

    Guarantee: with probability at least 1 - alpha over the randomness of all evidence, no requirement that does
    not hold is among them, however the kinds of evidence depend on each other. ("Every gate passed" needs no
    such correction: a wrong conjunction needs one particular gate to be wrong.)
    """
    return holm([p_value(c.evidence, c.benchmark, c.requirement) for c in certificates], alpha)
