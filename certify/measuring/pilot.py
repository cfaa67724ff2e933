"""The pilot: choose sigma and foresee the work, on draws that never enter a bound.

Pilot draws come from streams of their own ("pilot/..."), under seeds of their own, and their scores are
:class:`PilotDraws`, which no record of evidence accepts.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from certify.errors import ActivationRefused, InvalidPlan
from certify.evidence import Requirement
from certify.measuring.base import Base
from certify.measuring.run import Run
from certify.measuring.scores import item_scores, mean
from certify.noise import noised
from certify.records import Record, WeightNoise, identity_key, items_key

if TYPE_CHECKING:
    from certify.noise.activation import ActivationPairs

DRAWS = 8
HALVINGS = 12
TOKENS = 512  # of a batch in activation space: a sigma that destroys everything shows in the first
ROUNDING = 1e-12
GRID = (0.25, 0.5, 0.75, 1.0, 1.5)  # five points; sigma* is read off the last one certified


@dataclass(frozen=True)
class PilotDraws:
    """Benchmark scores under pilot draws of one law: they choose, and prove nothing."""

    law: WeightNoise
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean score, failures as 0."""
        return sum(self.scores) / len(self.scores)


def pilot_draws(base: Base, sigma: float, n: int = DRAWS, user_seed: int = 0) -> PilotDraws:
    """Return the base's scores under ``n`` pilot draws of noise of ``sigma`` on all weights."""
    law = base.weight_law(sigma)
    with noised(base.model, law, base.trials("pilot", law, n, user_seed).seed, pilot=True) as engine:
        return PilotDraws(law, tuple(mean(item_scores(engine.at(i), base.scorer)) for i in range(n)))


def pilot_sigma(base: Base, tau: float = 0.05, user_seed: int = 0, run: Run | None = None) -> float:
    """Return the largest sigma, halving from the weights' own size, at which the mean drop is at most tau/2.

    A sigma is left as soon as it has lost more than that if the draws to come lose nothing. Draws are one item each in
    activation space where that can be, else whole benchmarks. Uses streams of its own, disjoint from every certifying
    draw; it chooses work and enters no claim. The choice is kept with the finished draws of ``run``.

    Raises:
        InvalidPlan: even the smallest sigma tried breaks the benchmark.
    """
    run = run or Run()
    base.kept_scores(run)
    identity = {
        "choice": "sigma",
        "tau": tau,
        "user_seed": user_seed,
        "weights": identity_key(base.checkpoint.identity),
        "benchmark": items_key(base.scorer.identity),
        "environment": base.environment_of(None).model_dump(mode="json"),
    }
    found = run.settled(lambda: _Sigma(sigma=_largest_harmless(base, tau, user_seed, run)), _Sigma, identity).sigma
    if found is None:  # raised by every process, of which one has looked
        raise InvalidPlan(
            f"no basin found: noise of sigma {2 * faint_sigma(base):.2g} still costs more than {tau / 2:g} of the score"
        )
    return found


class _Sigma(Record):
    """What a pilot chose, kept beside the finished draws; None: no sigma was harmless."""

    sigma: Annotated[float, Field(gt=0.0)] | None


def _largest_harmless(base: Base, tau: float, user_seed: int, run: Run) -> float | None:
    sigma = size_of_weights(base)
    for _ in run.track(range(HALVINGS), "pilot"):
        if _harmless(_losses(base, sigma, user_seed), tau / 2):
            return sigma
        sigma /= 2
    return None


def _harmless(losses: Generator[tuple[float, int], None, None], allowed: float) -> bool:
    """Whether the mean loss is at most ``allowed``, as far as it takes to see that it is not."""
    lost = 0.0
    with closing(losses):  # the engine has its own storage back
        for loss, total in losses:
            lost += loss
            if lost > allowed * total + ROUNDING:
                return False
    return True


def _losses(base: Base, sigma: float, user_seed: int) -> Generator[tuple[float, int], None, None]:
    """Yield what pilot draws lose against the base, one after the other, and how many there are in all."""
    law, items = base.weight_law(sigma), len(base.scores)
    if (pairs := _shown(base, law, user_seed)) is None:
        with noised(base.model, law, base.trials("pilot", law, DRAWS, user_seed).seed, pilot=True) as engine:
            for i in range(DRAWS):
                yield mean(base.scores) - mean(item_scores(engine.at(i), base.scorer)), DRAWS
        return
    table = pairs.one_pass()
    for batch in pairs.plan(table):
        for item, (margin,) in zip(batch, pairs.margins(table, batch), strict=True):
            right = pairs.items[item].decide(margin, pairs.guard)
            yield (base.scores[item] or 0.0) - (right or 0.0), items


def _shown(base: Base, law: WeightNoise, user_seed: int) -> ActivationPairs | None:
    """Return what scores pilot draws of one item each in activation space, None where it refuses.

    It is not proven here: what it chooses is measured afterwards, by an engine that is.
    """
    from certify.noise.activation import TRUSTED, ActivationPairs

    try:
        items = base.questions
        seed = base.trials("pilot", law, len(items), user_seed).seed
        return ActivationPairs(
            base.model, law, seed, items, tokens_per_batch=TOKENS, pilot=True, proven=TRUSTED,
            batching=base.batching(base.model),
        )  # fmt: skip
    except ActivationRefused:
        return None


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


def sigma_grid(sigma: float) -> tuple[float, ...]:
    """Return the five ascending sigmas around the pilot's choice that the basin is measured at."""
    return tuple(sigma * f for f in GRID)


def faint_sigma(base: Base) -> float:
    """Return a sigma that costs no capability, for pilots that only time."""
    return size_of_weights(base) * float(2**-HALVINGS)


def size_of_weights(base: Base) -> float:
    """Return the root mean square of all weights, to two digits."""
    own = base.checkpoint
    read = (own.read(name) for name in base.sizes) if base.layout is not None else base.model.parameters()
    squares = sum(float(p.double().square().sum()) for p in read)
    return float(f"{(squares / sum(base.sizes.values())) ** 0.5:.2g}")
