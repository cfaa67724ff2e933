"""A landscape in words: one row for each slice and plane, and what it does not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from certify.landscape.record import (
    Edge,
    Landscape,
    Plane,
    SftCase,
    Slice,
    WorstCase,
    attack_succeeded,
)
from certify.report.table import plain
from certify.text import visible

PLACE = 0.2  # where a random slice is put in words: the planned point nearest to this share of the span


def print_landscape(out: Console, landscape: Landscape) -> None:
    """Print the table, and below it what the landscape does not say."""
    out.print(landscape_table(landscape))
    for limit in landscape.limits:
        out.print(visible(limit), markup=False)


def landscape_table(landscape: Landscape) -> Table:
    """Return the table of a landscape: where each slice falls, and what stands out on it."""
    table = Table(show_lines=True, header_style="bold")
    for heading in ("looked", f"falls by more than {landscape.tau:g}", "found", "mean score"):
        table.add_column(heading)
    for found in landscape.slices:
        cells = (_looked(found), _falls(found, landscape.tau), "\n".join(_found(landscape, found)), _area(found))
        table.add_row(*map(plain, cells))
    for plane in landscape.planes:
        cells = (_plane(plane), "", _plane_found(plane), f"{plane.scores.mean():.3f}")
        table.add_row(*map(plain, cells))
    return table


def _looked(found: Slice) -> str:
    direction = found.curves[0].direction
    if isinstance(direction, SftCase):
        return f"towards {direction.checkpoint.name}"
    if isinstance(direction, WorstCase):
        return f"worst case found at a = {direction.radius:.3g}"
    kind = "random" if found.case == "most" else "filter-normalised"
    return f"{len(found.curves)} {kind} directions"


def _falls(found: Slice, tau: float) -> str:
    """Where the score falls on each side: between the last a that keeps it everywhere and the first after all fell."""
    pairs = found.edges(tau)
    sides = [("a < 0", [left for left, _ in pairs])] if found.a[0] < 0 else []
    sides.append(("a > 0", [right for _, right in pairs]))
    return "\n".join(f"{side}: {_bracket(edges)}" for side, edges in sides)


def _bracket(edges: Sequence[Edge]) -> str:
    inside = min((e.inside for e in edges), key=abs)
    fallen = [e.outside for e in edges if e.outside is not None]
    if not fallen:
        return "at no point looked at"
    if len(fallen) < len(edges):
        return f"in {len(fallen)} of {len(edges)} directions, beyond {inside:.4g}"
    return f"between {inside:.4g} and {max(fallen, key=abs):.4g}"


def _found(landscape: Landscape, found: Slice) -> Iterator[str]:
    direction = found.curves[0].direction
    if isinstance(direction, SftCase):
        place, score = direction.alpha_star, float(found.at(direction.alpha_star)[0])
        yield f"the checkpoint, at alpha* = {place:.4g}, scores {score:.3f} (base {found.base.score:.3f})"
    elif isinstance(direction, WorstCase):
        yield _attack(landscape, found, direction)
    else:
        a = min((a for a in found.planned if a > 0), key=lambda a: abs(a - PLACE * found.a[-1]))
        one, two = found.drop(a)
        yield f"at a = {a:.4g}: mean drop {one:.3f}, mean change either way {two:.3f}"
        if found.case == "most":
            kept, _ = found.strict_share(a)
            yield f"{kept} of {len(found.curves)} directions lose nothing there (a count, not a bound)"


def _attack(landscape: Landscape, found: Slice, direction: WorstCase) -> str:
    best = max((a.best for a in direction.ascents if a.best is not None), default=None)
    drop = found.base.score - float(found.at(direction.radius)[0])
    loss = "" if best is None else f", loss {best:.1f} nats"
    restarts = f"{len(direction.ascents)} restarts of {direction.steps} steps"
    if attack_succeeded(found, landscape.tau):
        return f"the attack succeeded: drop {drop:.3f} at its radius{loss} ({restarts})"
    return f"the attack failed: drop {drop:.3f} at its radius{loss} ({restarts}); this proves nothing"


def _area(found: Slice) -> str:
    areas = found.areas()
    return f"{areas.min():.3f} to {areas.max():.3f}" if len(areas) > 1 else f"{areas[0]:.3f}"


def _plane(plane: Plane) -> str:
    if plane.kind == "random":
        return "plane of two random directions"
    return "plane through " + " and ".join(mark.name for mark in plane.marks)


def _plane_found(plane: Plane) -> str:
    scores = plane.scores
    kept = int(np.count_nonzero(scores >= scores.max()))
    return (
        f"scores from {scores.min():.3f} to {scores.max():.3f}, highest at {kept} of {scores.size} points; "
        f"cosine of the two directions {plane.cosine:.3f}"
    )
