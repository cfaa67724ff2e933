"""Distance evidence: what holds for *every* checkpoint this close to a base that was measured once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from certify.bounds import ScoreBand, ceiling, mean_upper, score_band
from certify.evidence.judgement import (
    NO_INTERVAL,
    Interval,
    Judgement,
    Requirement,
    Verdict,
    down,
    interval_in_unit,
    percent,
    up,
)
from certify.evidence.point import DEPLOYMENT_LIMIT, Scores, above_chance_note
from certify.evidence.smoothed import SMOOTHED_LIMITS
from certify.laws import mahalanobis
from certify.records import BenchmarkIdentity, EngineIdentity, NoiseLaw, NonNegative, Record, Seed, SubspaceNoise

DISTANCE_LIMITS = (
    "Nothing is proved outside the certified radius, in either direction, and random directions say nothing "
    "about the worst one.",
)


class BaseDraws(Record):
    """Benchmark scores of the base under ``n`` draws of one noise law, all items under every draw.

    ``alpha`` was declared before the draws and is the failure probability of the band over all checkpoints,
    distances and floors at once. ``base_score`` is the base's score without noise.
    """

    law: NoiseLaw
    engine: EngineIdentity
    seed: Seed
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)]
    scores: Scores
    base_score: Annotated[float, Field(ge=0.0, le=1.0)]

    @property
    def n(self) -> int:
        """Number of draws."""
        return len(self.scores)

    @property
    def eta(self) -> float:
        """Total variation between one implemented draw and the ideal Gaussian."""
        return self.engine.eta(self.law)

    def band(self, alpha: float) -> ScoreBand:
        """Return the lower survival band of the base's score at failure probability ``alpha``."""
        return score_band(self.scores, alpha, self.eta)


class Displacement(Record):
    """Where a checkpoint lies relative to the base, in the law's own coordinates.

    ``norms``: norm of the difference for each tensor (weight noise) or ``|a_i|`` for each coordinate of the
    subspace. ``differences`` names everything that differs in coordinates without noise: then r is infinite.
    ``delta_norm`` is the plain Euclidean norm over all weights, ``dimension`` their number.
    """

    norms: dict[str, NonNegative]
    differences: tuple[str, ...] = ()
    delta_norm: NonNegative
    dimension: Annotated[int, Field(gt=0)]


class DistanceEvidence(Record):
    """Draws at the base and the displacement of one checkpoint."""

    kind: Literal["distance"] = "distance"
    draws: BaseDraws
    displacement: Displacement

    @model_validator(mode="after")
    def _same_coordinates(self) -> DistanceEvidence:
        law, names = self.draws.law, set(self.displacement.norms)
        expected = {str(i) for i in range(law.dimension)} if isinstance(law, SubspaceNoise) else set(law.sigma)
        if not self.displacement.differences and names != expected:
            raise ValueError(f"displacement and noise law differ in coordinates: {sorted(names ^ expected)[:5]}")
        return self

    @property
    def r(self) -> float:
        """Distance of the checkpoint in units of noise, infinite if anything without noise differs."""
        if self.displacement.differences:
            return float("inf")
        law = self.draws.law
        sigma = {str(i): s for i, s in enumerate(law.sigma)} if isinstance(law, SubspaceNoise) else law.sigma
        names = sorted(sigma)
        return float(mahalanobis([self.displacement.norms[name] for name in names], [sigma[name] for name in names]))

    def judge(self, benchmark: BenchmarkIdentity, requirement: Requirement, alpha: float) -> Judgement:
        """Bound the noise-averaged score of this checkpoint from draws at the base alone.

        Guarantee: with probability at least 1 - alpha over the base's draws, for all checkpoints at once,
        E J(checkpoint + noise) >= bound(r). It certifies or leaves undecided; it never refutes.
        Source: theory §3.4 (layer cake), §3.6 (uniformity), §4.3 (band).
        """
        d = self.draws
        share = alpha if requirement.unit == "drop" else alpha / 2  # retention also bounds s0 from above
        band, r = d.band(share), self.r
        bound = 0.0 if r == float("inf") else float(band.mean_lower(r))
        interval, floor = self._in_unit(requirement, bound, share, benchmark.chance)
        verdict = requirement.decide(interval.lower, interval.upper)
        vacuous = bound <= benchmark.chance
        radius = None if floor is None else band.radius_for_mean(floor)
        notes = self._notes(benchmark, r, radius, vacuous, floor)
        return Judgement(
            verdict=verdict,
            unit=requirement.unit,
            value=interval.value,
            lower=interval.lower,
            upper=interval.upper,
            need=requirement.limit,
            quantities={
                "r": None if r == float("inf") else r,
                "delta_norm": self.displacement.delta_norm,
                "bound": bound,
                "ceiling": None if r == float("inf") else float(ceiling(d.n, share, r, d.eta)),
                "floor": floor,
                "certified_radius": radius,
                "budget_used": r / radius if radius and r < float("inf") else None,
                "base_score": d.base_score,
                "base_smoothed_score": sum(d.scores) / d.n,
                "eta": d.eta,
            },
            vacuous=vacuous,
            notes=notes,
            claim=self._claim(benchmark, requirement, alpha, bound, verdict, vacuous),
            limits=(*SMOOTHED_LIMITS, *DISTANCE_LIMITS, DEPLOYMENT_LIMIT),
        )

    def _in_unit(
        self, requirement: Requirement, bound: float, alpha: float, chance: float
    ) -> tuple[Interval, float | None]:
        """Return the interval in the requirement's unit and the floor that the noise-averaged score must reach.

        A drop is measured from J(base), known exactly; retention from E J(base + noise), bounded from above.
        """
        d = self.draws
        if requirement.unit == "drop":
            return Interval(value=None, lower=None, upper=d.base_score - bound), d.base_score - requirement.limit
        top = min(1.0, float(mean_upper(d.scores, alpha, eta=d.eta)))
        if d.band(alpha).mean_lower(0.0) <= chance:
            return NO_INTERVAL, None
        drop = Interval(value=None, lower=None, upper=top - bound)
        base = Interval(value=None, lower=top, upper=top)
        interval = interval_in_unit(requirement, drop, base, chance)
        return interval or NO_INTERVAL, chance + requirement.limit * (top - chance)

    def _notes(
        self,
        benchmark: BenchmarkIdentity,
        r: float,
        radius: float | None,
        vacuous: bool,
        floor: float | None,
    ) -> tuple[str, ...]:
        notes = []
        d = self.draws
        if self.displacement.differences:
            notes.append("r is infinite: " + "; ".join(self.displacement.differences))
        if vacuous:
            notes.append(f"vacuous: the bound is at or below chance ({benchmark.chance:g})" + self._why_vacuous(r))
        if floor is None:
            notes.append(above_chance_note(benchmark.chance))
        elif radius is None:
            notes.append(f"no radius: even at distance 0 the bound misses the required score {floor:.3f}")
        else:
            share = radius / d.law.dimension**0.5
            notes.append(
                f"certified radius {down(radius)} sigma = {share:.2g} of the typical length of the noise itself"
            )
        return tuple(notes)

    def _why_vacuous(self, r: float) -> str:
        k = self.draws.law.dimension
        if r == float("inf"):
            return ""
        return (
            f", since the checkpoint is {up(r, 1)} sigma away and noise on {k:,} coordinates speaks only of a "
            "few sigma; noise in a small subspace fixed beforehand, or point, position and smoothed evidence, "
            "can say more"
        )

    def _claim(
        self,
        benchmark: BenchmarkIdentity,
        requirement: Requirement,
        alpha: float,
        bound: float,
        verdict: Verdict,
        vacuous: bool,
    ) -> str:
        d = self.draws
        if vacuous:
            return (
                f"Nothing is claimed about {benchmark.name}: the distance bound {down(bound)} is vacuous "
                f"(chance {benchmark.chance:g}; {d.n} draws at the base)."
            )
        outcome = "enough for" if verdict is Verdict.CERTIFIED else "too little to decide"
        which = "every checkpoint of the subspace" if isinstance(d.law, SubspaceNoise) else "every checkpoint"
        return (
            f"With {percent(alpha)} confidence over {d.n} draws at the base, {which} within "
            f"{up(self.r)} sigma of it (this one included) scores at least {down(bound)} on {benchmark.name} on "
            f"average over {d.law.describe()}: {outcome} the requirement ({requirement.describe()})."
        )
