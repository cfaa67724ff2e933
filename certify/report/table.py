"""One table: a row for each checkpoint, a column for each kind of evidence, a verdict in each cell."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from certify.certificate import Certificate
from certify.evidence import KINDS, Verdict
from certify.evidence.judgement import Judgement, down, up
from certify.evidence.position import level_text

STYLES = {Verdict.CERTIFIED: "bold green", Verdict.REFUTED: "bold red", Verdict.UNDECIDED: "bold yellow"}


def verdict_table(certificates: Sequence[Certificate], informational: Sequence[str] = ()) -> Table:
    """Return the table of ``certificates``; kinds named in ``informational`` are marked as not required."""
    kinds = [k for k in KINDS if any(c.evidence.kind == k for c in certificates)]
    table = Table(show_lines=True, header_style="bold")
    table.add_column("checkpoint")
    for kind in kinds:
        table.add_column(f"{kind} (for information)" if kind in informational else kind)
    for name in dict.fromkeys(c.checkpoint.name for c in certificates):
        own = {c.evidence.kind: c for c in certificates if c.checkpoint.name == name}
        table.add_row(name, *(cell(own[k].evidence.kind, own[k].judgement) if k in own else Text("") for k in kinds))
    return table


def cell(kind: str, judgement: Judgement) -> Text:
    """Return verdict and decisive number of one judgement, bounds rounded outwards."""
    text = Text(judgement.verdict.value.upper(), style=STYLES[judgement.verdict])
    text.append("\n" + headline(kind, judgement), style="default")
    return text


def headline(kind: str, judgement: Judgement) -> str:
    """Return the decisive number of one judgement in a few words."""
    q = judgement.quantities
    if judgement.vacuous and kind in ("point", "smoothed"):
        return "vacuous"
    if kind == "distance":
        r = q["r"]
        where = "r infinite" if r is None else f"r {up(r, 2)} sigma"
        return f"vacuous\n{where}" if judgement.vacuous else f"score >= {down(q['bound'])}\n{where}"
    if kind == "position":
        found = "vacuous" if judgement.vacuous else decisive(judgement)
        return f"{found}\nalpha* {up(q['alpha_star'], 4)}\nsigma* {level_text(q['sigma_star'])}"
    return decisive(judgement)


def decisive(judgement: Judgement) -> str:
    """Return the bound that the verdict rests on, or both where neither decides."""
    lower, upper = down(judgement.lower), up(judgement.upper)
    if judgement.verdict is Verdict.UNDECIDED:
        return f"{judgement.unit} {lower} to {upper}"
    at_most = (judgement.verdict is Verdict.CERTIFIED) == (judgement.unit == "drop")
    return f"{judgement.unit} <= {upper}" if at_most else f"{judgement.unit} >= {lower}"
