"""One table: a row for each checkpoint (and benchmark), a column for each kind of evidence, a verdict in each cell."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from certify.evidence import KINDS, Verdict
from certify.report.rows import Row
from certify.text import visible

STYLES = {Verdict.CERTIFIED: "bold green", Verdict.REFUTED: "bold red", Verdict.UNDECIDED: "bold yellow"}


def verdict_table(rows: Sequence[Row]) -> Table:
    """Return the table of ``rows``; kinds that are only for information are marked as not required.

    Where they are of several benchmarks each has a row of its own for a checkpoint.
    """
    kinds = [k for k in KINDS if any(row.evidence == k for row in rows)]
    table = Table(show_lines=True, header_style="bold")
    table.add_column("checkpoint")
    for kind in kinds:
        aside = all(row.informational for row in rows if row.evidence == kind)
        table.add_column(f"{kind} (for information)" if aside else kind)
    several = len({row.benchmark for row in rows}) > 1
    names = [row.item if several else row.checkpoint for row in rows]
    for name in dict.fromkeys(names):
        own = {row.evidence: row for row, its in zip(rows, names, strict=True) if its == name}
        table.add_row(plain(name), *(cell(own[k]) if k in own else Text("") for k in kinds))
    return table


def plain(text: str) -> Text:
    """Return ``text`` as it stands: brackets are no style, and what cannot be seen is written out."""
    return Text("\n".join(visible(line) for line in text.split("\n")))


def cell(row: Row) -> Text:
    """Return the verdict, the bound that it rests on and where the checkpoint lies, bounds rounded outwards."""
    text = Text(row.verdict.value.upper(), style=STYLES[row.verdict])
    return text.append("".join(f"\n{visible(line)}" for line in row.cell), style="default")
