"""The report as Markdown, for the step summaries of continuous integration, which are cut at 1 MiB."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from certify.evidence.judgement import NEAR_CHANCE
from certify.report.release import Headline, columns, headlines, rests_on, title, tone
from certify.report.rows import AnyContext, AnyRow, Context, Outcome, Row, in_words, overall, told_apart
from certify.text import visible

LIMIT = 1024 * 1024
"""Bytes that a step summary may have; GitHub drops a summary above it as a whole."""
SIGNS = {Outcome.CERTIFIED: "✅", Outcome.REFUTED: "❌", Outcome.UNDECIDED: "❔", Outcome.ERROR: "⛔"}
STALE = ".stale"
"""What notes on certificates of earlier runs end with."""
LISTED = 20
"""Items lost, and items gained, that a paragraph names."""
HEAD = "| verdict | gate | evidence | bound | required | estimate | counted |"
RULE = "|---|---|---|---|---|--:|---|"
SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&$])")
UNLINKED = {"@": "&#64;", "://": "&#58;//", "www.": "www&#46;"}
"""What would turn text into a mention or a link, and what to write instead."""

MOST_NAMED = 10
"""Gates that one line names."""


def render_markdown(rows: Iterable[AnyRow], context: AnyContext = None, limit: int = LIMIT) -> str:
    """Return the report as Markdown of at most ``limit`` bytes: a table, then a paragraph for each failing gate.

    What does not fit is left out whole, certified rows first, and the text says how much. Where not even its head
    fits there is no report: a step summary that is too long is dropped as a whole.
    """
    gates, about = told_apart(rows, context)
    failing = [row for row in gates if row.failing]
    head, foot = _head(gates, about), _foot(about)
    matrix = _matrix(headlines(gates, about), gates)
    if _size([*head, *matrix, *foot]) <= limit // 2:
        head += matrix
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
    first = headlines(gates, about)
    shown = tone(first) if first else verdict
    sign = "" if shown is None else f"{SIGNS[shown]} "
    lines = [f"## {sign}{escaped(about.title)}", ""]
    if first:
        answers = [f"{SIGNS[each.answer.outcome]} **{each.answer}** {_said(each)}" for each in first]
        many = [f"**{title(first)}**", "", *(f"- {line}" for line in answers), ""]
        lines += many if len(first) > 1 else [*answers, ""]
    lines += [escaped(in_words(gates, about)), "", *_near_chance(gates)]
    on_trust = dict.fromkeys(limit for row in gates for limit in row.on_trust)
    lines += [text for line in (rests_on(first, about), *map(escaped, on_trust)) if line for text in (line, "")]
    models = [
        f"{name}: {escaped(value)}" for name, value in (("checkpoint", about.checkpoint), ("base", about.base)) if value
    ]
    if models:
        lines += [", ".join(models), ""]
    return lines


def _said(headline: Headline) -> str:
    named = f"{escaped(headline.checkpoint)}: " if headline.checkpoint else ""
    return f"{named}{escaped(headline.because)}"


def _matrix(first: Sequence[Headline], gates: Sequence[Row]) -> list[str]:
    """Return a table of checkpoints and benchmarks, a verdict and its bound in each cell, where there are many."""
    kinds = [(benchmark, kind) for benchmark, kinds in columns(gates).items() for kind in kinds]
    if len(first) < 2 and len(kinds) < 2:
        return []
    heads = [f"{escaped(benchmark)} ({escaped(evidence)})" for benchmark, evidence in kinds]
    lines = [f"| checkpoint | {' | '.join(['answer', *heads])} |", "|---" * (len(kinds) + 2) + "|"]
    for each in first:
        cells = [_cell(each.cells(*kind)) for kind in kinds]
        answer = f"{SIGNS[each.answer.outcome]} {each.answer}"
        lines.append(f"| {' | '.join([escaped(each.checkpoint or 'the checkpoint'), answer, *cells])} |")
    return [*lines, ""]


def _cell(some: Sequence[Row]) -> str:
    """Return the worst of the gates in one cell; what is for information says so."""
    if not some:
        return ""
    row, more = some[0], f" (worst of {len(some)})" if len(some) > 1 else ""
    aside = ", for information" * row.informational
    since = f", baseline {row.against_baseline}" if row.against_baseline else ""
    return f"{SIGNS[row.outcome]} {row.outcome}{aside}{since} {escaped(row.cell[0])}{more}"


def _near_chance(gates: Sequence[Row]) -> list[str]:
    """Return a line on green gates of a base that may know nothing, which their rows in the table do not say."""
    green = (row for row in gates if not row.failing and any(note.startswith(NEAR_CHANCE) for note in row.notes))
    names = [code(row.item) for row in green]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"Note: {NEAR_CHANCE} in {', '.join(names[:MOST_NAMED])}{more}", ""] if names else []


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
    said = f"{row.error} {row.said}" if row.error else row.said
    lines = [f"**{escaped(row.item)}: {row.outcome.upper()}.** {escaped(said)}".rstrip()]
    aside = [note for note in row.notes if note.endswith(STALE)]
    lines += [f"Note: {escaped(note)}." for note in row.notes if note not in aside]
    lines += [f"To decide: {escaped(row.settled_by)}."] if row.settled_by else []
    lines += [f"Note: {len(aside)} certificates of earlier runs were set aside."] if aside else []
    for word, items in (("lost", row.items_lost), ("gained", row.items_gained)):
        if items:
            more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
            lines.append(f"Items {word}: {', '.join(map(str, items[:LISTED]))}{more}.")
            lines += [f"{i}: {escaped(visible(row.texts[i]))}" for i in items[:LISTED] if i in row.texts]
    lines += [f"Baseline: {escaped(baseline.problem)}." for baseline in row.baselines if baseline.problem]
    if row.layers:
        moved = ", ".join(f"{escaped(name)} {share}" for name, _, share in row.moved)
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
