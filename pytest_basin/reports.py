"""Reports of the gates that ran, each ``TYPE[:DEST]``: written by one process, when all tests are done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_basin.session import Session
from pytest_basin.suite import holm_line, suite_alpha

TABLE = "term"
DESTINATIONS = {
    "json": "basin-report.json",
    "markdown": "basin-report.md",
    "markdown-append": "$GITHUB_STEP_SUMMARY",
    "html": "basin-report.html",
    "csv": "basin-report.csv",
    "hf-model-index": "basin-model-index.yaml",
    "cyclonedx": "basin-report.cdx.json",
}
PRINTED = "annotations"
"""What GitHub reads from the output of a step, unless a file is named."""


def asks_for_table(session: Session) -> bool:
    """Whether the table is to be printed even with ``-q``."""
    return TABLE in (session.settings.value("report") or ())


def write(
    session: Session, rows: Sequence[dict[str, Any]], missing: Mapping[str, Sequence[str]]
) -> tuple[list[str], int]:
    """Write every report that is asked for; return a line on each, and how many could not be written.

    ``missing`` names the tests of gates that crashed or were skipped.
    """
    from certify.errors import InvalidInput
    from certify.report.render import ReportType, render, write_report

    lines, failed = [], 0
    shown = session.sources.shown  # a report may leave this machine: paths are given as they would be typed
    rows = [{**row, "certificate": shown(row["certificate"]) if row["certificate"] else ""} for row in rows]
    for text in session.settings.value("report") or ():
        kind, _, given = text.partition(":")
        if kind == TABLE:
            continue
        about = {**context(session, rows, missing), **missing}
        if kind == PRINTED and not given:
            lines += render(ReportType(kind), rows, about).splitlines()
            continue
        place = destination(session, given or DESTINATIONS[kind])
        if place is None:
            lines.append(f" {kind} report not written: {given or DESTINATIONS[kind]} is not set")
            continue
        try:
            write_report(ReportType(kind), rows, about, place)
        except (OSError, InvalidInput) as error:
            failed += 1
            why = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{place}: ")
            lines.append(f" {kind} report NOT WRITTEN to {session.sources.shown(place)}: {why}")
        else:
            lines.append(f" {kind} report: {session.sources.shown(place)}")
    return lines, failed


def destination(session: Session, text: str) -> Path | None:
    """Return the file that a destination means: variables expanded, relative to where the option was given.

    None: a variable in it is not set, as that of a step summary outside its service.
    """
    expanded = os.path.expanduser(os.path.expandvars(text))
    if "$" in expanded:
        return None
    return session.settings["report"].folder / expanded


def context(
    session: Session, rows: Sequence[dict[str, Any]], missing: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return what a report says once: the models, the seed, the line on all gates together, and versions."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    settings = session.settings
    ran = any("scores" not in row["digests"] for row in rows)  # else logs of another tool were judged, without a model
    missed = [row["item"] for row in rows if any(c["verdict"] in ("refuted", "undecided") for c in row["baselines"])]
    return {
        "base": _judged(session, rows, "base"),
        "checkpoint": _judged(session, rows, "checkpoint"),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seed": settings.value("seed"),
        "alpha": suite_alpha(settings),
        "holm": holm_line(rows, suite_alpha(settings), [name for names in missing.values() for name in names]),
        "notes": [f"missed the baseline: {', '.join(missed)}"] if missed else [],
        "versions": {name: version(name) for name in ("pytest-basin", "pytest", *["torch"] * ran)},
    }


def _judged(session: Session, rows: Sequence[dict[str, Any]], word: str) -> str:
    """Return the models that were judged, whatever the settings say: a project's fixtures may have named others."""
    given = dict.fromkeys(row["given"][word] for row in rows if "given" in row)
    configured = str(session.settings[word]) if session.settings.value(word) else ""
    return ", ".join(map(session.sources.shown, given)) or configured
