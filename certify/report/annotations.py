"""The failing gates as workflow commands, which GitHub shows beside the files of a change."""

from __future__ import annotations

from collections.abc import Iterable

from certify.report.release import headlines
from certify.report.rows import AnyContext, AnyRow, Outcome, Row, told_apart, worst_first
from certify.text import shortened, visible

MOST = 10
"""Annotations of one kind that GitHub shows for a step; more are dropped in silence."""


def render_annotations(rows: Iterable[AnyRow], context: AnyContext = None) -> str:
    """Return a line ``::error ...`` for each failing gate, at most ten of them, and nothing where all is well.

    What others wrote cannot end a line or begin a command: every character that could is written out.
    """
    found, about = told_apart(rows, context)
    answers = {id(head.gate): head.answer for head in headlines(found, about)}
    failing = [row for row in worst_first(found) if row.failing]
    lines = [_line(row, answers.get(id(row), "")) for row in failing]
    tests = [f"{test}: its gates were not judged, since its process died" for test in about.crashed]
    tests += [f"{test}: could not be collected, so its gates were not judged" for test in about.refused]
    lines += [f"::error title=Not enough data::{_message(text)}" for text in tests]
    if len(lines) > MOST:
        rest = len(lines) - MOST + 1
        lines[MOST - 1 :] = [f"::error title=basin::{rest} more gates are not certified; the report has all"]
    return "".join(f"{line}\n" for line in lines)


def _line(row: Row, answer: str) -> str:
    outcome = row.against_baseline if row.outcome is Outcome.CERTIFIED else row.outcome
    named = f"{answer}, {row.item}: {outcome}" if answer else f"{row.item}: {outcome}"
    file = row.nodeid.partition("::")[0]
    where = f"file={_property(file)}," if file else ""
    return f"::error {where}title={_property(named)}::{_message(row.error or row.claim or f'{row.found}; {row.asked}')}"


def _message(text: str) -> str:
    return visible(shortened(text, 500)).replace("%", "%25")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
