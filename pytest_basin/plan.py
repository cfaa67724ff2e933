"""``--basin-plan``: what each gate needs and costs, before anything is drawn. Imports no torch."""

from __future__ import annotations

import pytest

from pytest_basin.gates import Gate
from pytest_basin.hooks import activate
from pytest_basin.markers import uses_basin
from pytest_basin.session import Session, short_name
from pytest_basin.terminal import aligned

COLUMNS = (
    "item",
    "evidence",
    "need",
    "confidence",
    "given",
    "needed if nothing is lost",
    "may lose",
    "answers to score",
)


def show(session: pytest.Session) -> None:
    """Print the plan of every collected gate."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return
    terminal.write_sep("-", "basin plan")
    for line in lines(activate(session.config), list(filter(uses_basin, session.items))):
        terminal.write_line(line)


def lines(session: Session, items: list[pytest.Item]) -> list[str]:
    """Return a table with a row for each gate, and what the columns mean."""
    rows = [row(session, item, gate) for item in items for gate in session.gates(item)]
    if not rows:
        return [" no gate was collected"]
    return [
        *aligned([list(COLUMNS), *rows]),
        " may lose: most items lost, none gained, with which a base that answers all is still certified",
        " answers to score: at the checkpoint, and once for all gates as many as there are items at the base",
    ]


def row(session: Session, item: pytest.Item, gate: Gate) -> list[str]:
    """Return what one gate asks, has, needs, allows and costs; a dash for what is known only when it runs."""
    from certify.evidence.cover import fewest_draws
    from certify.evidence.feasibility import audited_items, counted, smallest_n
    from certify.evidence.judgement import percent
    from certify.records import units

    benchmark = session.sources.file(gate.benchmark)
    items = len(benchmark.items) if benchmark else None
    chance = benchmark.chance if benchmark else 0.0
    design = session.design(gate, benchmark) if benchmark else "table"
    groups = session.groups(gate, benchmark) if benchmark else None
    grouped, pooled = groups is not None, hasattr(benchmark, "identity")
    floor: int | None
    if gate.family is not None:
        _, floor = fewest_draws(gate.family.box, gate.requirement, gate.alpha, chance)
    elif gate.evidence == "audit":
        floor = audited_items(gate.requirement, gate.alpha, chance, items) if items else None
    else:
        floor = smallest_n(gate.evidence, gate.requirement, gate.alpha, chance, design=design, grouped=grouped)
    n = session.trials(gate, benchmark, items)[0] if benchmark and items else None
    of = "draws" if gate.family is not None else counted(gate.evidence, grouped)
    return [
        short_name(item) + (f": {gate.benchmark}" if "basin_bound" not in item.fixturenames else ""),  # type: ignore[attr-defined]
        gate.evidence,
        gate.requirement.describe(),
        percent(gate.alpha),
        "-" if n is None else f"{units(n, groups)} {of}",
        "-" if pooled else _needed(gate, floor, of),
        "-" if grouped or pooled else _may_lose(gate, items, chance),
        cost(gate, items),
    ]


def _needed(gate: Gate, floor: int | None, of: str) -> str:
    """Return what passes if nothing is lost; an audit's own number depends on how many items there are."""
    if floor is None:
        return "-" if gate.evidence == "audit" else "more than a million"
    return f"{floor} {of}"


def _may_lose(gate: Gate, items: int | None, chance: float) -> str:
    """Return with how many lost items a gate on items is still certified; position allows it at each of its points."""
    from certify.evidence.judgement import Verdict
    from certify.evidence.paired_items import PairedScores

    if items is None or gate.evidence not in ("point", "position", "audit") or gate.unit == "absence":
        return "-"

    def certified(lost: int) -> bool:
        scores = PairedScores(
            rule="trinomial", base=(1.0,) * items, checkpoint=(0.0,) * lost + (1.0,) * (items - lost)
        )
        found = scores.interval(
            gate.requirement, gate.alpha, chance, "fixed" if gate.evidence == "audit" else "population"
        )
        return found is not None and gate.requirement.decide(found.lower, found.upper) is Verdict.CERTIFIED

    if not certified(0):
        return "cannot pass"
    least, most = 0, items  # certified at the one, not at the other
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if certified(middle) else (least, middle)
    return f"{least} of {items}"


def cost(gate: Gate, items: int | None) -> str:
    """Return how many answers one gate scores."""
    from certify.evidence.position import FRACTIONS

    if gate.evidence == "distance":
        return "none: reads weights"
    if items is None:
        return "-"
    if gate.evidence == "smoothed":
        return f"2 x {gate.draws} x {items}"
    if gate.evidence == "cover":
        return f"{gate.draws}"
    most = "at most " if gate.evidence == "audit" else ""
    return f"{most}{len(FRACTIONS) if gate.evidence == 'position' else 1} x {items}"
