"""Gates at fixed sizes, families of gates and repeated attempts: curtailment, planned looks, Holm's procedure.

Source: docs/theory.md, "Gates"; Holm (1979).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from certify.statistics import ranges
from certify.statistics.gate_plan import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOK_SHARES = ((16, 0.05), (8, 0.10), (4, 0.20), (2, 0.25), (1, 0.40))
"""Looks of a layer-cake gate: after n / divisor draws, this share of alpha."""


def curtailed(successes: int, drawn: int, n: int, k: int) -> Decision:
    """Return the verdict of the fixed test "at least k successes in n draws" as soon as it is decided.

    Guarantee: on every path the verdict equals that of the full n draws, so stopping early costs no alpha.
    `FUTILE` means that k can no longer be reached.

    Raises InvalidInput unless 0 <= successes <= drawn <= n and 1 <= k <= n.
    """
    size, need = ranges.count("n", n), ranges.count("k", k)
    seen, hits = ranges.count("drawn", drawn, smallest=0), ranges.count("successes", successes, smallest=0)
    ranges.require(need <= size, "k", k, f"must be at most n = {n}")
    ranges.require(hits <= seen <= size, "successes, drawn", (successes, drawn), f"need successes <= drawn <= {n}")
    if hits >= need:
        return Decision.PASSED
    return Decision.FUTILE if seen - hits > size - need else Decision.CONTINUE


def layer_cake_looks(n: int, alpha: float) -> tuple[tuple[int, float], ...]:
    """Return (draws, alpha at this look) for a gate on the layer-cake bound, which has no martingale.

    Guarantee: bounds computed at these looks, each at its own alpha, all hold with probability at least
    1 - alpha over the draws (union bound), so stopping at any of them is valid.

    n >= 16, the last look. Looks at n/16, n/8, n/4, n/2, n with shares .05, .10, .20, .25, .40.
    """
    size, level = ranges.count("n", n, smallest=16), ranges.failure_probability("alpha", alpha)
    return tuple((size // divisor, level * share) for divisor, share in LOOK_SHARES)


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Return which hypotheses Holm's step-down procedure rejects, in the given order.

    Guarantee: with probability at least 1 - alpha no true hypothesis is rejected, however the p-values
    depend.

    p_values in [0, 1], possibly none. Raises InvalidInput otherwise. Source: Holm (1979).
    """
    values = ranges.units("p_values", list(p_values))
    level = ranges.failure_probability("alpha", alpha)
    order = np.argsort(values, kind="stable")
    steps = values[order] <= level / np.arange(len(values), 0, -1)
    rejected = np.zeros(len(values), dtype=bool)
    rejected[order] = np.logical_and.accumulate(steps)
    return tuple(rejected.tolist())


def attempt_alpha(alpha: float, attempt: int) -> float:
    """Return alpha / (j (j + 1)), the failure probability of attempt j (counted from 1) at one statement.

    Guarantee: all attempts together, however many and whenever one stops, fail with probability at most
    alpha; those from the second on at most alpha / 2. Source: theory, "Retries".

    Raises InvalidInput unless 0 < alpha < 1 and attempt >= 1.
    """
    j = ranges.count("attempt", attempt)
    return ranges.failure_probability("alpha", alpha) / (j * (j + 1))
