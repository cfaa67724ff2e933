"""The change of the noise-averaged score from one checkpoint to another, each drawn beside the same base.

The seeds of smoothed evidence depend on the checkpoint, so the draws of two checkpoints are not paired with each other.
Each is paired with the base, whose noise-averaged score is the same in both and cancels: it is one number only where
base, law of noise and engine are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from certify.errors import InvalidInput
from certify.evidence.judgement import Interval
from certify.evidence.smoothed import SmoothedEvidence, paired_drop
from certify.statistics.rounding import round_down, round_up


def change_of_draws(first: SmoothedEvidence, second: SmoothedEvidence, alpha: float) -> Interval:
    """Return E J(second + noise) - E J(first + noise) with one-sided bounds; both must be of one base and benchmark.

    Whether they are, and whether their machines score alike, only their certificates tell
    (:func:`certify.comparison.compare` looks).

    Each bound is the difference of the two drops from the base, each bounded at ``alpha``/2. An item without an
    answer counts for the lower bound as right at the first and wrong at the second, for the upper one the other way.

    Guarantee: each bound fails with probability at most ``alpha`` over the draws of both, for the fixed benchmark.
    Source: theory, "Betting" (paired draws), and a union bound.

    Raises:
        InvalidInput: law of noise, engine or the base's score without noise differ, so the base does not cancel.
    """
    if unlike := base_differs(first, second):
        raise InvalidInput("the base does not cancel: " + "; ".join(f"{x} differs: {a} and {b}" for x, a, b in unlike))
    lowest = _difference(first, first.checkpoint.with_failures_as_1, second, second.checkpoint.scores, alpha)
    highest = _difference(first, first.checkpoint.scores, second, second.checkpoint.with_failures_as_1, alpha)
    value = (second.checkpoint.mean - second.base.mean) - (first.checkpoint.mean - first.base.mean)
    return Interval(value=value, lower=lowest.lower, upper=highest.upper)


def base_differs(first: SmoothedEvidence, second: SmoothedEvidence) -> list[tuple[str, str, str]]:
    """Return what makes E J(base + noise) another number in each: what it is, and both values in words."""
    noise = [("noise", first.law.describe(), second.law.describe())] * (first.law != second.law)
    others = {
        "engine": (_engine(first), _engine(second)),
        "base's score without noise": (str(first.base_unnoised), str(second.base_unnoised)),
    }
    return noise + [(name, a, b) for name, (a, b) in others.items() if a != b]


def _engine(evidence: SmoothedEvidence) -> str:
    """Return every setting of the engine, and of its device the kind: which of two alike cards ran changes nothing."""
    kind = evidence.engine.device.partition(":")[0]
    settings = evidence.engine.model_copy(update={"device": kind}).model_dump()
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _difference(
    first: SmoothedEvidence, before: Sequence[float], second: SmoothedEvidence, after: Sequence[float], alpha: float
) -> Interval:
    """Return the drop of ``before`` from the base minus that of ``after``: the change of the score."""
    early, late = _drop(first, before, alpha / 2), _drop(second, after, alpha / 2)
    assert early.lower is not None  # draws bound both sides
    assert early.upper is not None
    assert late.lower is not None
    assert late.upper is not None
    return Interval(value=None, lower=round_down(early.lower - late.upper), upper=round_up(early.upper - late.lower))


def _drop(evidence: SmoothedEvidence, scores: Sequence[float], alpha: float) -> Interval:
    drops = [base - score for base, score in zip(evidence.base.scores, scores, strict=True)]
    return paired_drop(drops, alpha, evidence.eta)
