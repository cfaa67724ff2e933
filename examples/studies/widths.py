"""Basins of a study, reduced to the few numbers that its file keeps."""

from __future__ import annotations

from results import Json

from certify.evidence import Requirement
from certify.evidence.paired_items import kept
from certify.evidence.position import Basin
from certify.report.width_figures import Width

TOLERANCE, ALPHA = 0.05, 0.05
GRID = (0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16)


def measured(basin: Basin, x: float) -> Json:
    """Return the basin's width at ``x``, the base's score, and the mean score at each sigma."""
    width = Width.of(x, basin, Requirement(limit=TOLERANCE), ALPHA, chance=0.0)
    return {
        "x": x,
        "lower": width.lower,
        "upper": width.upper,
        "top": width.top,
        "score": _mean(basin.base),
        "under_noise": [_mean(level.scores) for level in basin.levels],
    }


def _mean(scores: tuple[float | None, ...]) -> float:
    return round(sum(kept(scores)) / len(scores), 6)
