"""What basin tests print: one context line after collection, tables at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_basin import store
from pytest_basin.baselines import CREATED, WRITTEN
from pytest_basin.filing import STALE
from pytest_basin.options import COMMAND_LINE
from pytest_basin.results import outcome
from pytest_basin.session import Session
from pytest_basin.suite import holm_line, suite_alpha

COLUMNS = ("item", "evidence", "bound", "required", "estimate", "n", "verdict", "time")
SINCE = ("since the baseline", "metric", "lost", "lower", "upper", "allowed", "verdict")

Row = Mapping[str, Any]


def context_lines(session: Session, verbosity: int) -> list[str]:
    """Return what will be gated, and with ``-v`` every value in effect with its origin."""
    settings = session.settings
    random = settings["seed"].origin == COMMAND_LINE and "random" in str(session.config.invocation_params.args)
    if session.disabled or (verbosity < 0 and not random):
        return []
    words = [word for word in ("base", "checkpoint", "seed") if settings.value(word) is not None]
    lines = ["basin: " + ", ".join(f"{word} {settings[word]}" for word in words)]
    if verbosity > 0:
        lines += [f"  {option.dest} = {s} ({s.origin})" for option, s in settings if s.value is not None]
    return lines


def summary_lines(rows: Sequence[Row], verbosity: int) -> list[str]:
    """Return a table and a count of verdicts; with ``-q`` the count alone.

    ``-v`` adds each claim and where its settings come from, ``-vv`` the tensors that moved most.
    """
    from certify.report.rows import read_rows

    lines = list[str]()
    if verbosity >= 0:
        lines += [*table(rows), *_since_table(rows), *(_near_chance(rows) if verbosity == 0 else ())]
    if verbosity > 0:
        for r in rows:
            lines += [f" {r['item']}: {r.get('error') or r['claim']}", f"   {r['settings']}"]
            (row,) = read_rows([r])
            lines += [f"   {note}" for note in (*r["notes"], row.settled_by) if note]
            if verbosity > 1 and row.moved:
                lines.append("   moved: " + ", ".join(f"{name} {share}" for name, _, share in row.moved))
    return [*lines, " " + totals(rows)]


def _near_chance(rows: Sequence[Row]) -> list[str]:
    """Return a line for each gate of a base that may know nothing, which a table of green verdicts would hide."""
    from certify.evidence.judgement import NEAR_CHANCE

    return [f" {r['item']}: {note}" for r in rows for note in r["notes"] if note.startswith(NEAR_CHANCE)]


def table(rows: Sequence[Row]) -> list[str]:
    """Return a line for each gate, with the bound that its verdict rests on."""
    from certify.report.rows import read_rows

    cells: list[Sequence[str]] = [COLUMNS]
    for row in read_rows(rows):
        n = row.trials if row.n else "-"
        numbers = [row.found, row.asked, row.estimate, n]
        took = "-" if row.seconds is None else f"{row.seconds:.1f} s"
        cells.append([row.item, row.evidence, *numbers, row.outcome.upper(), took])
    return aligned(cells)


def _since_table(rows: Sequence[Row]) -> list[str]:
    """Return what each gate lost since its baseline, where one was compared."""
    from certify.evidence.judgement import down, up

    cells = [list(SINCE)]
    for r in rows:
        for c in r["baselines"]:
            if not c["metric"]:
                continue
            value, margin = (
                "-" if x is None else f"{x:{form}}" for x, form in ((c["value"], ".3f"), (c["margin"], "g"))
            )
            bounds = [value, down(c["lower"]), up(c["upper"]), margin]
            cells.append([r["item"], c["metric"], *bounds, c["verdict"].upper() or "-"])
    notes = [f" {r['item']}: {c['note']}" for r in rows for c in r["baselines"] if c["note"]]
    return [*aligned(cells), *dict.fromkeys(notes)] if len(cells) > 1 else []


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [" " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def totals(rows: Sequence[Row]) -> str:
    """Return the number of gates with each verdict, and where certificates lie."""
    counts = Counter(outcome(r) for r in rows)
    names = {"error": "in error"}
    text = ", ".join(
        f"{counts[v]} {names.get(v, v)}" for v in ("certified", "refuted", "undecided", "error") if counts[v]
    )
    files = [Path(r["certificate"]) for r in rows if r["certificate"]]
    if files:
        text += f"; {len(files)} certificate{'s' * (len(files) > 1)} in {files[0].parent}"
    return text


def together_lines(session: Session, rows: Sequence[Row], missing: Mapping[str, Sequence[str]]) -> list[str]:
    """Return an answer for each of several checkpoints, what holds jointly, and where baselines were written."""
    not_run = [name for names in missing.values() for name in names]
    lines = [f" {line}" for line in (holm_line(rows, suite_alpha(session.settings), not_run),) if line]
    lines += [f" {line}" for line in _answers(rows, {"alpha": suite_alpha(session.settings), **missing})]
    lines += [f" {note}" for r in rows for note in r["notes"] if note.endswith(STALE)]
    for state in (WRITTEN, CREATED):
        files = [Path(c["file"]) for r in rows for c in r["baselines"] if c["state"] == state]
        for folder in dict.fromkeys(file.parent for file in files):
            count = sum(file.parent == folder for file in files)
            lines.append(f" {count} baseline{'s' * (count > 1)} {state} in {session.sources.shown(folder)}")
    return lines


def _answers(rows: Sequence[Row], about: Mapping[str, Any]) -> list[str]:
    from certify.report.release import headlines, rests_on
    from certify.report.rows import told_apart

    gates, context = told_apart(rows, about)
    found = headlines(gates, context)
    if len(found) < 2:
        return []
    lines = [f"{each.checkpoint}: {each.answer}. {each.because[:1].upper()}{each.because[1:]}." for each in found]
    return [*lines, *filter(None, [rests_on(found, context)])]


def resume_line(session: Session) -> str:
    """Say after Ctrl-C that nothing is lost."""
    if session.settings.value("resume") == "off":
        return f" {session.drawing} was interrupted; its draws were not kept (--basin-resume=off)"
    where = session.sources.shown(store.folder(session.settings))
    return f" {session.drawing} was interrupted: finished draws are kept in {where}, and the next run goes on from them"
