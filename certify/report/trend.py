"""What became of each benchmark over many checkpoints, as one HTML page that needs neither script nor network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from certify.report.intervals import Axis, Plot, axis_of, plot, ticks
from certify.report.page import template
from certify.report.release import OF_NONE
from certify.report.rows import AnyContext, AnyRow, Row, told_apart

SCORES = (
    ("checkpoint_score", "base_score", "Score"),
    ("checkpoint_smoothed_score", "base_smoothed_score", "Noise-averaged score"),
)
"""What records call the score of a checkpoint and that of its base, where they hold both, and the page's word."""


@dataclass(frozen=True)
class _Point:
    """One gate: the number of its checkpoint, and where its column begins and ends and it stands, in per cent."""

    number: int
    left: float
    width: float
    middle: float
    row: Row
    plot: Plot


@dataclass(frozen=True)
class _Scores:
    """Scores of checkpoints and of their bases on one axis; each is (number, middle, checkpoint's, base's)."""

    title: str
    axis: Axis
    marks: tuple[tuple[int, float, float, float], ...]


@dataclass(frozen=True)
class _Series:
    """The gates of one benchmark by one kind of evidence in one unit, in the order of their checkpoints."""

    benchmark: str
    evidence: str
    axis: Axis
    points: tuple[_Point, ...]
    scores: _Scores | None
    notes: tuple[str, ...]

    @property
    def last(self) -> Row:
        """The gate of the last checkpoint."""
        return self.points[-1].row


def render_trend(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return a page with a figure for each benchmark and kind of evidence: bounds and scores, checkpoint by checkpoint.

    Checkpoints stand in the order in which their rows are given: no record says when it was made. A record that is
    given twice is shown once. Each bound holds at its own alpha for its own checkpoint; nothing is claimed of all.
    """
    found, about = told_apart(rows, context)
    judged = _each_once(row for row in found if row.evidence not in OF_NONE)
    aside = [row.item for row in found if row.evidence in OF_NONE]
    named = list(dict.fromkeys(_named(row) for row in judged))
    keys = dict.fromkeys((row.benchmark, row.evidence, row.unit) for row in judged)
    series = [_series([r for r in judged if (r.benchmark, r.evidence, r.unit) == key], named) for key in keys]
    return template("trend.html.j2").render(about=about, checkpoints=named, series=series, aside=aside)


def _named(row: Row) -> str:
    return row.checkpoint or "unnamed"


def _each_once(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without those of a record that came before; a copy of a file is no second gate."""
    seen: dict[str | int, Row] = {}
    for row in rows:
        seen.setdefault(row.record or id(row), row)
    return list(seen.values())


def _series(rows: Sequence[Row], named: Sequence[str]) -> _Series:
    axis = axis_of(rows)
    points = sorted(_points(rows, named, axis), key=lambda point: point.middle)
    bases = [_base(point.row) for point in points]
    changed = [str(now.number) for now, one, other in zip(points[1:], bases, bases[1:], strict=False) if one != other]
    notes = [
        f"The base is another one from number {' and from number '.join(changed)} on: each drop and retention is from "
        "its own base, and what lies between bases is not in the plot."
    ] if changed else []  # fmt: skip
    limits = {row.asked for row in rows}
    if len(limits) > 1:
        notes.append(f"The requirement was not always the same: {', '.join(sorted(limits))}.")
    first = rows[0]
    return _Series(first.benchmark, first.evidence, axis, tuple(points), _scores(points), tuple(notes))


def _base(row: Row) -> str:
    """Return what tells bases apart; of scores that were brought only the name, since each run has a log of its own."""
    return row.base if "scores" in row.digests else row.digests.get("base", row.base)


def _points(rows: Sequence[Row], named: Sequence[str], axis: Axis) -> Iterator[_Point]:
    """Place each row in the column of its checkpoint, several beside each other."""
    width = 100.0 / len(named)
    for index, name in enumerate(named):
        own = [row for row in rows if _named(row) == name]
        share = width / max(1, len(own))
        for place, row in enumerate(own):
            left = index * width + place * share
            yield _Point(index + 1, round(left, 3), round(share, 3), round(left + share / 2, 3), row, plot(row, axis))


def _scores(points: Sequence[_Point]) -> _Scores | None:
    """Return the scores that the records hold, None where they hold none (distance, audits, the segment's points)."""
    for own, base, title in SCORES:
        marks = [
            (point.number, point.middle, here, there)
            for point in points
            if (here := point.row.quantities.get(own)) is not None
            and (there := point.row.quantities.get(base)) is not None
        ]
        if marks:
            values = [x for _, _, *both in marks for x in both]
            margin = 0.1 * max(max(values) - min(values), 0.02)
            low, high = min(values) - margin, max(values) + margin
            return _Scores(title, Axis(low, high, ticks(low, high)), tuple(marks))
    return None
