"""The gates that ran, taken together: one line by Holm's procedure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_basin.options import Settings


def suite_alpha(settings: Settings) -> float:
    """Return the failure probability of the line on all gates: that of the option, whatever single gates ask."""
    from certify.evidence import alpha_of

    return alpha_of(settings.value("confidence"))


def holm_line(rows: Sequence[Mapping[str, Any]], alpha: float) -> str:
    """Return how many gates are certified jointly, or nothing for a single gate.

    "Every gate passed" needs no correction; "these among the gates passed" does, and this is it.
    """
    from certify.statistics import holm

    values = [row["p"] for row in rows if row["p"] is not None]
    if len(rows) < 2 or len(values) < len(rows):
        return ""
    return f"Holm over {len(rows)} gates at {alpha:g}: {sum(holm(values, alpha))} certified jointly"
