"""Planning: how many draws, which distance is within reach, and whether a requirement is feasible at all.

Everything here runs before the first certifying draw. Counts are exact, not approximations.
"""

from certify.planning.attempts import attempt_alpha
from certify.planning.feasibility import Design, Feasibility, best_bound, feasible, require_feasible
from certify.planning.sizes import (
    PowerPlan,
    draws_for_power,
    draws_with_failures,
    draws_zero_failures,
    ladder_radius_cost,
    largest_radius,
    quantile_rank,
    tolerated_ratio,
)

__all__ = [
    "Design",
    "Feasibility",
    "PowerPlan",
    "attempt_alpha",
    "best_bound",
    "draws_for_power",
    "draws_with_failures",
    "draws_zero_failures",
    "feasible",
    "ladder_radius_cost",
    "largest_radius",
    "quantile_rank",
    "require_feasible",
    "tolerated_ratio",
]
