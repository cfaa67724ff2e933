"""The report as Markdown, for the step summaries of continuous integration, which are cut at 1 MiB."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from certify.report.rows import AnyContext, AnyRow, Context, Outcome, Row, in_words, overall, read_context, read_rows

LIMIT = 1024 * 1024
"""Bytes that a step summary may have; GitHub drops a summary above it as a whole."""
SIGNS = {Outcome.CERTIFIED: "✅", Outcome.REFUTED: "❌", Outcome.UNDECIDED: "❔", Outcome.ERROR: "⛔"}
HEAD = "| verdict | gate | evidence | bound | required | estimate | counted |"
RULE = "|---|---|---|---|---|--:|---|"
SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&$])")
UNLINKED = {"@": "&#64;", "://": "&#58;//", "www.": "www&#46;"}
"""What would turn text into a mention or a link, and what to write instead."""


def render_markdown(rows: Iterable[AnyRow], context: AnyContext = None, limit: int = LIMIT) -> str:
    """Return the report as Markdown of at most ``limit`` bytes: a table, then a paragraph for each failing gate.

    What does not fit is left out whole, certified rows first, and the text says how much. Where not even its head
    fits there is no report: a step summary that is too long is dropped as a whole.
    """
    gates, about = read_rows(rows), read_context(context)
    failing = [row for row in gates if row.failing]
    head, foot = _head(gates, about), _foot(about)
    room = limit - _size([*head, HEAD, RULE, "", *foot, _left_out(len(gates), len(gates)), ""])
    ordered = [*failing, *(row for row in gates if not row.failing)]
    lines = _fitting([_table_row(row) for row in ordered], room // 2 if failing else room)
    paragraphs = _fitting([_paragraph(row) + "\n" for row in failing], room - _size(lines))
    shown = set(map(id, ordered[: len(lines)]))
    table = [_table_row(row) for row in gates if id(row) in shown]
    cut = [_left_out(len(gates) - len(lines), len(failing) - len(paragraphs)), ""]
    complete = len(lines) == len(gates) and len(paragraphs) == len(failing)
    body = [*head, *([HEAD, RULE, *table, ""] if table else []), *paragraphs, *([] if complete else cut), *foot]
    text = "\n".join(body).rstrip("\n") + "\n"
    return text if _size([text]) - 1 <= limit else ""


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is: no emphasis, links, HTML, table cells, headings or mathematics."""
    plain = SPECIAL.sub(r"\\\1", " ".join(text.split()))
    for sign, instead in UNLINKED.items():
        plain = plain.replace(sign, instead)
    return plain


def code(text: str) -> str:
    """Return text as a code span that survives backticks and table cells."""
    plain = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{space}{plain}{space}{fence}"


def _head(gates: Sequence[Row], about: Context) -> list[str]:
    verdict = overall(gates, about)
    sign = "" if verdict is None else f"{SIGNS[verdict]} "
    lines = [f"## {sign}{escaped(about.title)}", "", f"**{escaped(in_words(gates, about))}**", ""]
    models = [
        f"{name} {escaped(value)}" for name, value in (("checkpoint", about.checkpoint), ("base", about.base)) if value
    ]
    if models:
        lines += [", ".join(models), ""]
    return lines


def _foot(about: Context) -> list[str]:
    facts = [escaped(about.holm)] if about.holm else []
    facts += [escaped(note) for note in about.notes]
    if about.seed is not None:
        facts.append(f"user seed {about.seed}")
    if about.date:
        facts.append(escaped(about.date))
    if about.versions:
        facts.append(", ".join(f"{escaped(name)} {escaped(version)}" for name, version in about.versions.items()))
    lines = ["Lower bounds are rounded down, upper bounds up; each bound is one-sided at the gate's own confidence."]
    return [*lines, "", " · ".join(facts), ""] if facts else [*lines, ""]


def _table_row(row: Row) -> str:
    verdict = f"{SIGNS[row.outcome]} {row.outcome}{' (vacuous)' if row.vacuous else ''}"
    if row.informational:
        verdict += ", for information"
    if row.against_baseline:
        verdict += f", {SIGNS[row.against_baseline]} baseline {row.against_baseline}"
    gate = [verdict, escaped(row.item), escaped(row.evidence)]
    numbers = [escaped(row.found), row.asked, row.estimate, escaped(row.trials)]
    return f"| {' | '.join([*gate, *numbers])} |"


def _paragraph(row: Row) -> str:
    said = f"{row.error} {row.claim}" if row.error else row.claim
    lines = [f"**{escaped(row.item)}: {row.outcome.upper()}.** {escaped(said)}".rstrip()]
    lines += [f"Note: {escaped(note)}." for note in row.notes]
    lines += [f"Baseline: {escaped(baseline.problem)}." for baseline in row.baselines if baseline.problem]
    if row.layers:
        moved = ", ".join(f"{escaped(name)} {100 * share:.0f} %" for name, share in row.layers)
        lines.append(f"Moved most: {moved}.")
    if row.certificate:
        lines.append(f"Certificate: {code(row.certificate)}.")
    if row.replay:
        lines.append(f"Replay: {code(row.replay)}")
    return "<br>".join(lines)


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    """Return as many of the first lines as fit in ``room`` bytes."""
    kept = []
    for line in lines:
        room -= _size([line])
        if room < 0:
            break
        kept.append(line)
    return kept


def _left_out(rows: int, paragraphs: int) -> str:
    return (
        f"**Cut to fit the size of a step summary:** {rows} table rows and {paragraphs} paragraphs of failing gates "
        "are left out; the JSON and HTML reports have all."
    )


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
