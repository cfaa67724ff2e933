"""Sequential gates on real weights: one fresh draw with one random item at a time, until the gate decides.

Design "pair" (theory §4.1): trial i is item j_i, uniform over the benchmark, under noise draw i, both fresh. The
trials are then independent with one success probability, E J(checkpoint + noise), which Wald's test needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, model_validator

from certify.errors import InvalidPlan
from certify.gates import Decision, GatePlan
from certify.measuring.run import Track, silent
from certify.measuring.scores import checked
from certify.noise import Subspace, noised
from certify.records import (
    BenchmarkIdentity,
    EngineIdentity,
    ModelIdentity,
    NoiseLaw,
    Record,
    Seed,
    derive_seed,
)

if TYPE_CHECKING:
    from torch import nn

    from certify.benchmarks import Scorer
    from certify.noise import Engine


class SequentialRecord(Record):
    """What a gate saw and decided; the decision is recomputed from the outcomes whenever a record is read.

    ``plan.p0`` is the required score before finite precision. ``outcomes`` holds one digit for each draw, 1 for a
    right answer; an item without an answer is 0.
    """

    base: ModelIdentity
    checkpoint: ModelIdentity
    benchmark: BenchmarkIdentity
    law: NoiseLaw
    engine: EngineIdentity
    seed: Seed
    plan: GatePlan
    outcomes: Annotated[str, Field(pattern=r"^[01]+$")]
    decision: Decision

    @model_validator(mode="after")
    def _decided_by_its_outcomes(self) -> SequentialRecord:
        found = decide(self.plan, self.engine.eta(self.law), self.outcomes)
        if found is not self.decision or found is Decision.CONTINUE:
            raise ValueError(f"decision: recorded {self.decision.value}, the outcomes give {found.value}")
        expected = _seed(self.law, self.benchmark, self.base, self.checkpoint, self.plan, self.seed.user_seed)
        if self.seed != expected:
            raise ValueError("seed: the recorded identities and plan give another one")
        return self


def run_gate(
    model: nn.Module,
    scorer: Scorer,
    law: NoiseLaw,
    plan: GatePlan,
    *,
    base: ModelIdentity,
    checkpoint: ModelIdentity,
    engine: EngineIdentity,
    subspace: Subspace | None = None,
    user_seed: int = 0,
    track: Track = silent,
) -> SequentialRecord:
    """Test "E J(checkpoint + noise) is at most plan.p0" on ``model``, the checkpoint, and stop when it is decided.

    Guarantee: if E J(checkpoint + noise) <= plan.p0, the gate passes with probability at most plan.alpha over its
    draws and items; if it is at least plan.p0, the gate refutes with probability at most plan.alpha_refute.
    FUTILE and CAPPED leave it undecided and carry no guarantee. The statement is about the fixed benchmark.

    It holds under these conditions (theory §4.6). The plan was fixed before the draws. The checkpoint was made and
    chosen without them: the draws are a function of the user's seed and of base, checkpoint, law, benchmark and
    cap, so they are fresh for each checkpoint and serve no second one. One gate for each checkpoint: gating it
    again, with another plan or user seed, is another test and pays with its alpha (planning.attempt_alpha).
    Finite precision: eta of the engine is added to p0 for a pass and taken off it for a refutation.

    Raises:
        InvalidPlan: a graded benchmark (Wald's test needs 0/1 items).
        InvalidInput: p1 is not above p0 + eta.
    """
    identity = scorer.identity
    if identity.graded:
        raise InvalidPlan(f"{identity.name} is graded: a sequential gate needs items that are right or wrong")
    eta = engine.eta(law)
    decide_at(plan, eta, 1, 0)  # refuses a p1 that is not above p0 + eta before the first draw
    seed = _seed(law, identity, base, checkpoint, plan, user_seed)
    outcomes, decision = "", Decision.CONTINUE
    with noised(model, law, seed, subspace=subspace) as noise:
        for right in pair_trials(noise, scorer, seed, plan.cap, track):
            outcomes += "1" if right else "0"
            decision = decide_at(plan, eta, len(outcomes), outcomes.count("1"))
            if decision is not Decision.CONTINUE:
                break
    return SequentialRecord(
        base=base,
        checkpoint=checkpoint,
        benchmark=identity,
        law=law,
        engine=engine,
        seed=seed,
        plan=plan,
        outcomes=outcomes,
        decision=decision,
    )


def pair_trials(engine: Engine, scorer: Scorer, seed: Seed, n: int, track: Track = silent) -> Iterator[bool]:
    """Yield whether item j_i is right under draw i, for i < n; j_i uniform, from a generator keyed by the seed."""
    items = np.random.Generator(np.random.PCG64(seed.integer)).integers(scorer.identity.items, size=n)
    for i in track(range(n), "sequential gate"):
        (score,) = checked(scorer.score(engine.at(i), [int(items[i])]), 1, graded=False)
        yield score == 1.0


def decide(plan: GatePlan, eta: float, outcomes: str) -> Decision:
    """Return what the gate decides on these outcomes, draw by draw.

    Raises:
        InvalidPlan: it had decided before the last of them.
    """
    right = 0
    for n, outcome in enumerate(outcomes, 1):
        right += outcome == "1"
        decision = decide_at(plan, eta, n, right)
        if decision is not Decision.CONTINUE and n < len(outcomes):
            raise InvalidPlan(f"the gate was decided ({decision.value}) after {n} of {len(outcomes)} outcomes")
    return decide_at(plan, eta, len(outcomes), right)


def decide_at(plan: GatePlan, eta: float, n: int, right: int) -> Decision:
    """Return the decision after n draws: a pass against p0 + eta, a refutation against p0 - eta."""
    if right <= replace(plan, p0=plan.p0 - eta).refuted_at_most(n):
        return Decision.REFUTED
    decision = replace(plan, p0=plan.p0 + eta).decide(n, right)
    if decision is Decision.REFUTED:  # against p0 + eta only
        return Decision.CAPPED if n >= plan.cap else Decision.CONTINUE
    return decision


def _seed(
    law: NoiseLaw,
    benchmark: BenchmarkIdentity,
    base: ModelIdentity,
    checkpoint: ModelIdentity,
    plan: GatePlan,
    user_seed: int,
) -> Seed:
    return derive_seed("sequential", law, benchmark, base, checkpoint=checkpoint, n=plan.cap, user_seed=user_seed)
