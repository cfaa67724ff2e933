"""The pilot: choose sigma and foresee the work, on draws that never enter a bound.

Pilot draws come from streams of their own ("pilot/..."), under seeds of their own, and their scores are
:class:`PilotDraws`, which no record of evidence accepts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from certify.errors import InvalidPlan
from certify.evidence import Requirement
from certify.evidence.distance import DrawDesign
from certify.measuring.base import Base
from certify.measuring.run import Track, silent
from certify.measuring.scores import item_scores, mean
from certify.noise import noised
from certify.records import WeightNoise

DRAWS = 8
HALVINGS = 12
GRID = (0.25, 0.5, 0.75, 1.0, 1.5)  # five points; sigma* is read off the last one certified
TIMED = 3  # draws that are timed, after one that warms up


@dataclass(frozen=True)
class PilotDraws:
    """Benchmark scores under pilot draws of one law: they choose, and prove nothing."""

    law: WeightNoise
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean score, failures as 0."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class Costs:
    """Seconds, timed at the base: one draw written, one item alone, and all items in batches."""

    draw: float
    item: float
    benchmark: float
    items: int

    def measure(self, laws: int, n: int, design: DrawDesign = "table") -> float:
        """Return the explicit engine's seconds of a measurement: the basin at five sigmas, and n draws of each law."""
        basin = len(GRID) * self.items * (self.draw + self.item)
        each = self.benchmark if design == "table" else self.item
        return self.benchmark + basin + laws * n * (self.draw + each)

    def choosing(self) -> float:
        """Return the most seconds that choosing sigma adds."""
        return HALVINGS * DRAWS * (self.draw + self.benchmark)

    def check(self, kind: str, n: int, points: int) -> float:
        """Return the seconds of one kind of evidence about one checkpoint, beside reading its weights.

        An audit scores ``n`` items, and the base's once, unless a measurement holds them.
        """
        if kind == "audit":
            return (1 + n / self.items) * self.benchmark
        if kind == "distance":
            return 0.0
        if kind == "smoothed":
            return 2 * self.benchmark + 2 * n * (self.draw + self.benchmark)
        return (2 if kind == "point" else points) * self.benchmark


def pilot_draws(base: Base, sigma: float, n: int = DRAWS, user_seed: int = 0) -> PilotDraws:
    """Return the base's scores under ``n`` pilot draws of noise of ``sigma`` on all weights."""
    law = base.weight_law(sigma)
    with noised(base.model, law, base.trials("pilot", law, n, user_seed).seed, pilot=True) as engine:
        return PilotDraws(law, tuple(mean(item_scores(engine.at(i), base.scorer)) for i in range(n)))


def pilot_sigma(base: Base, tau: float = 0.05, user_seed: int = 0, track: Track = silent) -> float:
    """Return the largest sigma, halving from the weights' own size, at which the mean drop is at most tau/2.

    Uses streams of its own, disjoint from every certifying draw; it chooses work and enters no claim.

    Raises:
        InvalidPlan: even the smallest sigma tried breaks the benchmark.
    """
    score, sigma = mean(base.scores), size_of_weights(base)
    for _ in track(range(HALVINGS), "pilot"):
        if score - pilot_draws(base, sigma, user_seed=user_seed).mean <= tau / 2:
            return sigma
        sigma /= 2
    raise InvalidPlan(f"no basin found: noise of sigma {2 * sigma:.2g} still costs more than {tau / 2:g} of the score")


def allowed_drop(base: Base, requirement: Requirement) -> float:
    """Return the drop that noise may cost, in score units, for the pilot to place sigmas by; 0.05 for an absence.

    Raises:
        InvalidPlan: the requirement allows this base no drop at all.
    """
    if requirement.unit == "absence":
        return Requirement().limit
    score, chance = mean(base.scores), base.benchmark.chance
    allowed = requirement.limit if requirement.unit == "drop" else (1.0 - requirement.limit) * (score - chance)
    if allowed <= 0.0:
        raise InvalidPlan(
            f"no pilot can choose sigma: {requirement.describe()} allows a base that scores {score:.3f} (chance "
            f"{chance:g}) no drop; name the sigmas yourself"
        )
    return allowed


def pilot_costs(base: Base, sigma: float | None = None) -> Costs:
    """Time a few pilot draws at the base, each without and with the benchmark; the scores are not looked at."""
    law = base.weight_law(faint_sigma(base) if sigma is None else sigma)
    scorer, seed = base.scorer, base.trials("pilot", law, TIMED).seed
    seconds: dict[str, list[float]] = {"draw": [], "item": [], "benchmark": []}
    with noised(base.model, law, seed, pilot=True) as engine:
        for i in range(TIMED + 1):
            start = time.perf_counter()
            model = engine.at(i)
            wait_for_device(base)
            written = time.perf_counter()
            scorer.score(model, [i % scorer.identity.items])
            alone = time.perf_counter()
            scorer.score(model)
            for part, spent in zip(
                seconds, (written - start, alone - written, time.perf_counter() - alone), strict=True
            ):
                seconds[part].append(spent)
    draw, item, benchmark = (sum(each[1:]) / TIMED for each in seconds.values())
    return Costs(draw, item, benchmark, scorer.identity.items)


def sigma_grid(sigma: float) -> tuple[float, ...]:
    """Return the five ascending sigmas around the pilot's choice that the basin is measured at."""
    return tuple(sigma * f for f in GRID)


def wait_for_device(base: Base) -> None:
    """Return when the device has done what it was asked, so that a timing is of the work and not of the asking."""
    import torch

    if base.device != "cpu" and torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            torch.cuda.synchronize(device)


def faint_sigma(base: Base) -> float:
    """Return a sigma that costs no capability, for pilots that only time."""
    return size_of_weights(base) * float(2**-HALVINGS)


def size_of_weights(base: Base) -> float:
    """Return the root mean square of all weights, to two digits."""
    own = base.checkpoint
    read = (own.read(name) for name in base.sizes) if base.layout is not None else base.model.parameters()
    squares = sum(float(p.double().square().sum()) for p in read)
    return float(f"{(squares / sum(base.sizes.values())) ** 0.5:.2g}")
