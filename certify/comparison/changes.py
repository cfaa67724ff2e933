"""Bounds of a change: of the score of paired items, and of the share of the base's capability that it makes up."""

from __future__ import annotations

from certify.evidence.judgement import Interval, finite
from certify.evidence.paired_items import Items, ItemScores, PairedScores, rule_for
from certify.statistics.rounding import round_down, round_up


def change_in_score(first: PairedScores, second: PairedScores, items: Items, alpha: float) -> Interval:
    """Return the mean score of the second checkpoint minus that of the first, with bounds.

    They hold whatever missing answers would have scored.

    Guarantee: each bound fails with probability at most ``alpha`` over the items, or their groups; fixed items are
    known.
    Source: theory, "Paired items", with the first checkpoint in place of the base.
    """
    before, after = first.checkpoint, second.checkpoint
    own = {name: getattr(first, name) for name in ("graded", "order", "groups", "pool")}
    rule = rule_for(first.graded)
    worst = PairedScores(base=_filled(before, 1.0), checkpoint=_filled(after, 0.0), rule=rule, **own)
    best = PairedScores(base=_filled(before, 0.0), checkpoint=_filled(after, 1.0), rule=rule, **own)
    value = second.means(items)[1] - first.means(items)[1]
    if items == "fixed":
        return Interval(value=value, lower=-worst.average(worst.losses), upper=-best.average(best.losses))
    most, least = worst.drop(alpha).upper, best.drop(alpha).lower
    assert most is not None
    assert least is not None
    return Interval(value=value, lower=-most, upper=-least)


def _filled(scores: ItemScores, score: float) -> ItemScores:
    return tuple(score if s is None else s for s in scores)


def change_in_retention(change: Interval, base: Interval, chance: float) -> Interval | None:
    """Return change/(s0 - c), or None unless the base is shown to score above chance.

    A loss weighs most at the smallest base score, a gain least at the largest; the sign of the true change decides
    which of the two can spoil a bound, so that one share of alpha covers both.

    Guarantee: each bound fails with probability at most the sum of the shares of ``change`` and ``base``; for a base at
    or below chance, the result is None with probability at least 1 - the share of ``base``.
    """
    if base.lower is None or base.upper is None or base.value is None or base.lower <= chance:
        return None
    assert change.value is not None
    assert change.lower is not None
    assert change.upper is not None
    least, most = base.lower - chance, base.upper - chance
    return Interval(
        value=finite(change.value / (base.value - chance)),
        lower=finite(round_down(change.lower / (least if change.lower <= 0 else most))),
        upper=finite(round_up(change.upper / (most if change.upper <= 0 else least))),
    )
