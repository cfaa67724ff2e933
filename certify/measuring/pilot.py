"""The pilot: choose sigma on draws that never enter a bound."""

from __future__ import annotations

from certify.errors import InvalidPlan
from certify.measuring.base import Base
from certify.measuring.scores import Track, all_items, mean, silent
from certify.noise import noised
from certify.records import derive_seed

DRAWS = 8
HALVINGS = 12
GRID = (0.25, 0.5, 0.75, 1.0, 1.5)  # five points; sigma* is read off the last one certified


def pilot_sigma(base: Base, tau: float = 0.05, user_seed: int = 0, track: Track = silent) -> float:
    """Return the largest sigma, halving from the weights' own size, at which the mean drop is at most tau/2.

    Uses streams of its own, disjoint from every certifying draw; it chooses work and enters no claim.

    Raises:
        InvalidPlan: even the smallest sigma tried breaks the benchmark.
    """
    score = mean(base.scores)
    squares = sum(float(p.double().square().sum()) for p in base.model.parameters())
    size = sum(p.numel() for p in base.model.parameters())
    sigma = float(f"{(squares / size) ** 0.5:.2g}")
    for _ in track(range(HALVINGS), "pilot"):
        law = base.weight_law(sigma)
        seed = derive_seed("pilot", law, base.scorer.identity, base.checkpoint.identity, n=DRAWS, user_seed=user_seed)
        with noised(base.model, law, seed, pilot=True) as engine:
            scores = all_items(engine, base.scorer, range(DRAWS), silent, "pilot")
        if score - scores.mean <= tau / 2:
            return sigma
        sigma /= 2
    raise InvalidPlan(f"no basin found: noise of sigma {2 * sigma:.2g} still costs more than {tau / 2:g} of the score")


def sigma_grid(sigma: float) -> tuple[float, ...]:
    """Return the five ascending sigmas around the pilot's choice that the basin is measured at."""
    return tuple(sigma * f for f in GRID)
