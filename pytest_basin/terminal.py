"""What basin tests print: one context line after collection, one table at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_basin.session import Session

COLUMNS = ("evidence", "{unit}", "lower", "upper", "need", "n", "verdict", "time")


def context_lines(session: Session, verbosity: int) -> list[str]:
    """Return what will be gated, and with ``-v`` every value in effect with its origin."""
    if verbosity < 0 or session.disabled:
        return []
    settings = session.settings
    words = [word for word in ("base", "checkpoint", "seed") if settings.value(word) is not None]
    lines = ["basin: " + ", ".join(f"{word} {settings[word]}" for word in words)]
    if verbosity > 0:
        lines += [f"  {option.dest} = {s} ({s.origin})" for option, s in settings if s.value is not None]
    return lines


def summary_lines(results: Sequence[Mapping[str, Any]], verbosity: int) -> list[str]:
    """Return a table for each unit, a count of verdicts, and with ``-v`` each claim; with ``-q`` the count alone."""
    lines = []
    if verbosity >= 0:
        for unit in dict.fromkeys(r["unit"] for r in results):
            lines += table(unit, [r for r in results if r["unit"] == unit])
    if verbosity > 0:
        for r in results:
            lines += [f" {r['item']}: {r['claim']}", f"   {r['settings']}"]
    return [*lines, " " + totals(results)]


def table(unit: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return aligned rows: lower bounds rounded down, upper bounds up, estimates to nearest."""
    from certify.evidence.judgement import down, up

    rows = [["item", *(column.format(unit=unit) for column in COLUMNS)]]
    for r in results:
        value = "-" if r["value"] is None else f"{r['value']:.3f}"
        n = f"{r['n']} {r['of']}" if r["n"] else "-"
        bounds = [value, down(r["lower"]), up(r["upper"]), f"{r['need']:g}"]
        rows.append([r["item"], r["evidence"], *bounds, n, r["verdict"].upper(), f"{r['seconds']:.1f} s"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [" " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def totals(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of gates with each verdict, and where certificates lie."""
    counts = Counter(r["verdict"] for r in results)
    text = ", ".join(f"{counts[v]} {v}" for v in ("certified", "refuted", "undecided") if counts[v])
    files = [Path(r["certificate"]) for r in results if r["certificate"]]
    if files:
        text += f"; {len(files)} certificate{'s' * (len(files) > 1)} in {files[0].parent}"
    return text
