"""The comparison of two checkpoints, and its claim in one sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from certify.comparison.changes import change_in_retention, change_in_score
from certify.comparison.likeness import item_scores, refuse_unlike, remarks, remarks_on_draws, remarks_on_items
from certify.documents import Certificate
from certify.errors import InvalidInput
from certify.evidence import PointEvidence, PositionEvidence, SmoothedEvidence, Verdict
from certify.evidence.change import change_of_draws
from certify.evidence.judgement import NO_INTERVAL, Interval, down, percent, up
from certify.evidence.paired_items import (
    DEPLOYMENT_LIMIT,
    Items,
    PairedScores,
    groups_words,
    items_premise,
    kept,
    pool_premise,
    populations,
)
from certify.evidence.point import above_chance_note
from certify.evidence.smoothed import SMOOTHED_LIMITS

Metric = Literal["score", "retention"]
Sampled = Literal["items", "groups of items", "draws", ""]
CHOICE_LIMIT = (
    "Both checkpoints must have been made and chosen without these trials; picking the best of several by comparing "
    "them here is another test."
)


@dataclass(frozen=True)
class Comparison:
    """The change of a metric from one checkpoint to another, second minus first, with one-sided bounds.

    ``verdict`` is None when no margin was asked for; ``margin`` is the smallest change that is allowed (negative: a
    loss that does not matter). ``scores`` are the plain means, failures as 0; ``counted`` says what they rest on;
    ``random`` is "items", "groups of items", "draws", or empty where everything is known. ``lost`` and ``gained``
    count items.
    """

    names: tuple[str, str]
    evidence: str
    what: str
    where: str
    random: Sampled
    counted: str
    lost: int | None
    gained: int | None
    scores: tuple[float, float]
    metric: Metric
    change: Interval
    alpha: float
    margin: float | None
    verdict: Verdict | None
    notes: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def claim(self) -> str:
        """The claim in one sentence, bounds rounded outwards."""
        what = f"the change of the {self.what} from {self.names[0]} to {self.names[1]} on {self.where}"
        facts = self.counted + ("" if self.margin is None else f"; at least {self.margin:g} required")
        if self.change.lower is None:
            return f"Nothing is claimed about {what} ({facts})."
        if not self.random:
            return f"{what[0].upper()}{what[1:]} is {self._known} ({facts})."
        sure = f"With {percent(self.alpha)} confidence over the {self.random}, {what}"
        lower, upper = down(self.change.lower), up(self.change.upper)
        if self.verdict is Verdict.CERTIFIED:
            return f"{sure} is at least {lower} ({facts})."
        if self.verdict is Verdict.REFUTED:
            return f"{sure} is at most {upper} ({facts})."
        if self.verdict is Verdict.UNDECIDED:
            return (
                f"Undecided whether {what} is at least {self.margin:g} (between {lower} and {upper}; {self.counted})."
            )
        return f"{sure} is at least {lower}, and with the same confidence at most {upper} ({facts})."

    @property
    def _known(self) -> str:
        """The change itself, or where it lies when answers are missing."""
        lower, upper = self.change.lower, self.change.upper
        if lower is not None and upper is not None and math.isclose(lower, upper, rel_tol=1e-9):
            return f"{self.change.value:.3f}"
        return f"between {down(lower)} and {up(upper)}"


def compare(
    first: Certificate, second: Certificate, *, alpha: float, metric: Metric = "score", margin: float | None = None
) -> Comparison:
    """Compare two checkpoints by the scores that their certificates of one kind hold.

    ``score``: s2 - s1. ``retention``: (s2 - s1)/(s0 - c), s0 the base's score and c chance, with 2 alpha/3 for the
    difference and alpha/3 for s0. Point and position evidence are paired item by item; smoothed evidence compares the
    noise-averaged scores, each drawn beside the same base. An item without an answer counts for the lower bound as
    lost, for the upper one as gained: the bounds hold whatever it would have scored.

    Guarantee: each bound of the change fails with probability at most ``alpha`` over the items of a population
    (point, position) or over the draws of both (smoothed), so a wrong ``certified`` and a wrong ``refuted`` have at
    most that probability. With ``items="fixed"`` nothing is random and the change is known.

    Raises:
        InvalidInput: base, benchmark, kind of evidence or what the items stand for differ; for smoothed evidence
            also noise, engine, dtype, kernels, torch's major and minor version or the base's score without noise;
            the evidence is a distance, which holds no scores of the checkpoint; the margin is outside [-1, 1], alpha
            outside (0, 1/2].
    """
    if metric not in get_args(Metric):
        raise InvalidInput(f"metric {metric!r}: choose from {', '.join(get_args(Metric))}")
    if margin is not None and not -1.0 <= margin <= 1.0:
        raise InvalidInput(f"margin {margin}: must lie in [-1, 1]; -0.01 allows a loss of 0.01")
    refuse_unlike(first, second)
    share = alpha if metric == "score" else 2 * alpha / 3
    found = _of_draws(first, second, share, alpha / 3) or _of_items(first, second, share, alpha / 3)
    change: Interval | None = found.change
    if metric == "retention":
        change = change_in_retention(found.change, found.base, first.benchmark.chance)
    notes = () if change else (above_chance_note(first.benchmark.chance),)
    change = change or NO_INTERVAL
    return Comparison(
        names=_names(first, second),
        evidence=first.evidence.kind,
        what=f"noise-averaged {metric}" if found.random == "draws" else metric,
        where=found.where,
        random=found.random,
        counted=found.counted,
        lost=found.lost,
        gained=found.gained,
        scores=found.scores,
        metric=metric,
        change=change,
        alpha=alpha,
        margin=margin,
        verdict=None if margin is None else _decide(change, margin),
        notes=(*found.notes, *notes, *remarks(first, second)),
        limits=(*found.limits, CHOICE_LIMIT, DEPLOYMENT_LIMIT),
    )


@dataclass(frozen=True)
class _Found:
    """What one kind of evidence has to say: the change of the score, the base's score, and the words for them."""

    change: Interval
    base: Interval
    where: str
    random: Sampled
    counted: str
    scores: tuple[float, float]
    limits: tuple[str, ...]
    lost: int | None = None
    gained: int | None = None
    notes: tuple[str, ...] = ()


def _of_draws(first: Certificate, second: Certificate, share: float, rest: float) -> _Found | None:
    before, after = first.evidence, second.evidence
    if not (isinstance(before, SmoothedEvidence) and isinstance(after, SmoothedEvidence)):
        return None
    return _Found(
        change=change_of_draws(before, after, share),
        base=after.base_score(rest),
        where=f"{first.benchmark.name} under {before.law.describe()}",
        random="draws",
        counted=f"{before.n} and {after.n} draws, each beside the base",
        scores=(before.checkpoint.mean, after.checkpoint.mean),
        limits=SMOOTHED_LIMITS,
        notes=remarks_on_draws(before, after, share),
    )


def _of_items(first: Certificate, second: Certificate, share: float, rest: float) -> _Found:
    assert isinstance(first.evidence, PointEvidence | PositionEvidence)
    before, after, items = item_scores(first), item_scores(second), first.evidence.items
    groups = None if items == "fixed" else before.groups
    name, pairs = first.benchmark.spelled, list(zip(kept(before.checkpoint), kept(after.checkpoint), strict=True))
    lost, gained = sum(b < a for a, b in pairs), sum(b > a for a, b in pairs)
    of = f"exactly these {before.m} items of" if items == "fixed" else f"{populations(before.pool)} behind"
    return _Found(
        change=change_in_score(before, after, items, share),
        base=_base_score(after, items, rest),
        where=f"{of} {name}",
        random="" if items == "fixed" else "items" if groups is None else "groups of items",
        counted=f"{lost} of {before.m} items lost, {gained} gained{groups_words(groups)}",
        scores=(before.means(items)[1], after.means(items)[1]),
        limits=(items_premise(items, groups), *pool_premise(before.pool)),
        lost=lost,
        gained=gained,
        notes=remarks_on_items(before, after),
    )


def _base_score(scores: PairedScores, items: Items, alpha: float) -> Interval:
    if items == "fixed":
        known, _ = scores.means(items)
        return Interval(value=known, lower=known, upper=known)
    return scores.base_score(alpha)


def _decide(change: Interval, margin: float) -> Verdict:
    if change.lower is not None and change.lower >= margin:
        return Verdict.CERTIFIED
    return Verdict.REFUTED if change.upper is not None and change.upper < margin else Verdict.UNDECIDED


def _names(first: Certificate, second: Certificate) -> tuple[str, str]:
    names = first.checkpoint.name, second.checkpoint.name
    return names if names[0] != names[1] else (f"{names[0]} (first)", f"{names[1]} (second)")
