"""Is a requirement within reach of any outcome? Asked before drawing. Source: docs/theory.md, "Planning"."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from certify.errors import InvalidPlan
from certify.statistics import ranges
from certify.statistics.band import ceiling
from certify.statistics.betting import betting_lower
from certify.statistics.binomial import clopper_pearson_lower, one_pass_lower
from certify.statistics.laws import strong_lower
from certify.statistics.rounding import round_down
from certify.statistics.sizes import smallest

if TYPE_CHECKING:
    from certify.statistics.band import Calibration


class Design(StrEnum):
    """How draws and items meet; it decides which bound is valid (docs/theory.md, "Designs")."""

    PAIR = "pair"
    ONE_PASS = "one-pass"
    EVENT = "event"
    TABLE = "table"
    TABLE_MEAN = "table-mean"


LARGEST_DESIGN = {
    Design.PAIR: 1_000_000,
    Design.ONE_PASS: 1_000_000,
    Design.EVENT: 1_000_000,
    Design.TABLE: 100_000,  # every draw runs all items
    Design.TABLE_MEAN: 100_000,
}
"""More draws than this are never proposed."""


def best_bound(
    design: Design | str,
    n: int,
    alpha: float,
    r: float = 0.0,
    eta: float = 0.0,
    calibration: Calibration = "exact",
) -> float:
    """Return the bound at distance r if every one of n draws is perfect: the design's own estimator on ones.

    calibration is that of the band, for design "table" only. Raises InvalidInput for an unknown design or
    values outside the estimator's range.
    """
    ranges.require(design in list(Design), "design", design, f"must be one of {[d.value for d in Design]}")
    loss = ranges.not_negative("eta", eta)
    if design == Design.TABLE:
        return ceiling(n, alpha, r, loss, calibration=calibration)
    if design == Design.TABLE_MEAN:
        base = betting_lower(np.ones(ranges.count("n", n)), alpha)
    elif design == Design.ONE_PASS:
        base = one_pass_lower(n, n, alpha)
    else:
        base = clopper_pearson_lower(n, n, alpha)
    return round_down(strong_lower(max(0.0, base - loss), r))


class Feasibility(NamedTuple):
    """Whether a requirement is within reach, the best bound of any outcome, and the n that would do."""

    feasible: bool
    ceiling: float
    draws_needed: int | None


def feasible(design: Design | str, n: int, alpha: float, need: float, r: float = 0.0, eta: float = 0.0) -> Feasibility:
    """Return whether n draws could meet `need` at distance r at all: the estimator run on perfect data.

    draws_needed is a number of draws that would do: n itself if feasible, otherwise the smallest up to 1 %
    (for design "table", where it rests on the quicker union-bound band, up to 10 %); None if no number up
    to LARGEST_DESIGN does. need: required probability or mean, in (0, 1). Raises InvalidInput otherwise.
    """
    target = ranges.open_unit("need", need)
    best = best_bound(design, n, alpha, r, eta)
    if best >= target:
        return Feasibility(True, best, n)

    def reaches(size: int) -> bool:
        return best_bound(design, size, alpha, r, eta, "bonferroni") >= target

    largest = max(n, LARGEST_DESIGN[Design(design)])
    return Feasibility(False, best, smallest(reaches, n, largest, spare=0.01))


def require_feasible(design: Design | str, n: int, alpha: float, need: float, r: float = 0.0, eta: float = 0.0) -> None:
    """Raise InvalidPlan, naming the n that would do, unless `feasible` says yes."""
    answer = feasible(design, n, alpha, need, r, eta)
    if answer.feasible:
        return
    cure = (
        f"n = {answer.draws_needed} would do"
        if answer.draws_needed
        else f"no n up to {LARGEST_DESIGN[Design(design)]:,} does"
    )
    raise InvalidPlan(
        f"n = {n}: even perfect draws give {answer.ceiling:.6g} at r = {r:g}, alpha = {alpha:g}, "
        f"but {need:g} is required; {cure}"
    )
