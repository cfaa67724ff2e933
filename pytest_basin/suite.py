"""The gates that ran, taken together: one line by Holm's procedure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_basin.bound import CERTIFIED
from pytest_basin.options import Settings


def suite_alpha(settings: Settings) -> float:
    """Return the failure probability of the line on all gates: that of the option, whatever single gates ask."""
    from certify.evidence import alpha_of

    return alpha_of(settings.value("confidence"))


def holm_line(rows: Sequence[Mapping[str, Any]], alpha: float, not_run: Sequence[str] = ()) -> str:
    """Return how many of the gates that ran are certified jointly, and which did not run; nothing for a single gate.

    "Every gate passed" needs no correction; "these among the gates passed" does, and this is it. A gate that was
    judged by nobody is no test, so it is named and not counted.
    """
    from certify.joint import ALL_HOLD
    from certify.statistics import holm

    ran = [row for row in rows if not (row.get("error") and not row.get("n"))]
    values = [row["p"] for row in ran if row["p"] is not None]
    if len(ran) < 2 or len(values) < len(ran):
        return ""
    absent = [*(row["item"] for row in rows if row not in ran), *not_run]
    without = f"; not among them: {', '.join(absent)}" if absent else ""
    holds = sum(holm(values, alpha))
    alone = all(
        row.get("verdict") == CERTIFIED and not row.get("error") and row.get("alpha", alpha) <= alpha for row in ran
    )
    whole = ALL_HOLD if alone and holds < len(ran) else ""
    return f"Holm over {len(ran)} gates at {alpha:g}: {holds} certified jointly{whole}{without}"
