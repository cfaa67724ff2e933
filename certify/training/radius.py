"""How far a fine-tune may go: the radius that a measurement of the base certifies."""

from __future__ import annotations

from dataclasses import dataclass

from certify.checkpoints import Checkpoint
from certify.documents import Measurement
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import DistanceEvidence, Requirement, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.noise import Subspace
from certify.records import BenchmarkIdentity, ModelIdentity, NoiseLaw, SubspaceNoise, WeightNoise, identity_key

FARTHEST = 40.0  # sigma: no number of draws certifies anything there


@dataclass(frozen=True)
class Allowance:
    """How far a checkpoint of ``base`` may go: ``radius`` in units of the noise of ``law``.

    Certified there: ``requirement`` on ``benchmark``.
    """

    base: ModelIdentity
    benchmark: BenchmarkIdentity
    law: NoiseLaw
    radius: float
    requirement: Requirement

    @property
    def length(self) -> float:
        """The radius in the law's own coordinates (weights, or a subspace's), where one sigma serves them all."""
        return float(self.radius * self.law.noise_norm / self.law.dimension**0.5)

    def refuse_other(self, base: Checkpoint) -> None:
        """Raise InvalidInput unless ``base`` is the one that was measured: around another one nothing is certified."""
        if identity_key(base.identity) != identity_key(self.base):
            raise InvalidInput(
                f"{base.path} is not the base of this allowance, which was measured at {self.base.name} (weights "
                f"{self.base.weights}) on {self.benchmark.name}; here: weights {base.identity.weights}. The same "
                "weights with another config or tokenizer are another base, too. Measure this one"
            )


def allowance(
    measurement: Measurement,
    requirement: Requirement | None = None,
    *,
    subspace: Subspace | None = None,
) -> Allowance:
    """Return the largest distance at which ``measurement`` certifies ``requirement`` (a drop of at most 0.05).

    Looks at the draws in ``subspace`` if one is given, else at those with noise on the weights; of several sigmas at
    the one that lets the checkpoint move furthest.

    Guarantee: with probability at least 1 - alpha (the alpha that was declared with the draws) over the draws at the
    base, every checkpoint within the radius meets the requirement on average over the noise, on exactly the
    benchmark's items, whatever it was trained on. The radius is for ``items="fixed"``: a claim about the population
    behind the items is judged by another band and may be undecided there.

    Raises:
        InvalidPlan: the measurement holds no such draws, or does not certify the base itself.

    Source: theory, "Radius" and "Uniformity".
    """
    wanted, basis = requirement or Requirement(), subspace.digest if subspace else None
    rungs = [d for d in measurement.draws if (d.law.basis if isinstance(d.law, SubspaceNoise) else None) == basis]
    if not rungs:
        where = f"in the subspace {basis}" if basis else "with noise on the weights"
        raise InvalidPlan(f"the measurement holds no draws {where}: measure the base under that law first")
    base, benchmark = measurement.base, measurement.benchmark
    found = [Allowance(base, benchmark, d.law, _radius(measurement, d, wanted), wanted) for d in rungs]
    best = max(found, key=lambda a: a.length)
    if best.radius == 0.0:
        raise InvalidPlan(
            f"no budget: not even the base is certified for {wanted.describe()} at alpha {rungs[0].alpha:g} "
            f"with {rungs[0].n} draws; take more draws, a smaller sigma or a laxer requirement"
        )
    return best


def _radius(measurement: Measurement, draws: BaseDraws, requirement: Requirement) -> float:
    """Bisect for the last distance whose verdict is certified, its safe end; 0 if there is none."""
    law = draws.law
    sigmas = law.sigma if isinstance(law, WeightNoise) else {str(i): s for i, s in enumerate(law.sigma)}
    moved = next(name for name, sigma in sigmas.items() if sigma > 0)

    def certified(r: float) -> bool:
        norms = {**dict.fromkeys(sigmas, 0.0), moved: r * sigmas[moved]}
        there = Displacement(norms=norms, delta_norm=r * sigmas[moved], dimension=law.dimension)
        judgement = DistanceEvidence(draws=draws, displacement=there).judge(
            measurement.benchmark, requirement, draws.alpha
        )
        return judgement.verdict is Verdict.CERTIFIED

    safe, beyond = 0.0, FARTHEST
    for _ in range(60):
        middle = (safe + beyond) / 2
        safe, beyond = (middle, beyond) if certified(middle) else (safe, middle)
    return safe
