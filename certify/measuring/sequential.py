"""Sequential gates on real weights: fresh draws with one random item each, in draw order, until the gate decides.

Design "pair" (theory §4.1): trial i is item j_i, uniform over the benchmark, under noise draw i, both fresh. The
trials are then independent with one success probability, E J(checkpoint + noise), which Wald's test needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from certify.documents import GateRecord
from certify.errors import InvalidPlan
from certify.evidence.sequential import (
    RIGHT,
    SCORES,
    UNCLEAR,
    ScoreRequirement,
    SequentialEvidence,
    decide_at,
    least_to_pass,
)
from certify.evidence.trials import Subject, Trials
from certify.measuring.environment import environment
from certify.measuring.ledger import Entry
from certify.measuring.run import Run
from certify.measuring.scores import checked
from certify.noise import Subspace, noised
from certify.records import (
    ActivationIdentity,
    EngineIdentity,
    ExplicitIdentity,
    ModelIdentity,
    NoiseLaw,
    WrittenIdentity,
    identity_key,
    items_key,
)
from certify.statistics import Decision, GatePlan

if TYPE_CHECKING:
    from torch import nn

    from certify.benchmarks import Scorer
    from certify.noise.activation import ActivationPairs

OUTCOME = {score: outcome for outcome, score in SCORES.items()}
SMALLEST_BLOCK, LARGEST_BLOCK = 16, 64  # trials drawn together, doubling; those after the decision are wasted


@dataclass(frozen=True)
class PlannedGate:
    """A gate before its draws: whose score is tested, under which noise, against which number, by which plan.

    Raises:
        InvalidPlan: a graded benchmark (Wald's test needs 0/1 items), or a plan for another score than is required.
    """

    subject: Subject
    law: NoiseLaw
    requirement: ScoreRequirement
    plan: GatePlan
    user_seed: int = 0
    attempt: int = 0

    def __post_init__(self) -> None:
        """Check that this plan can test this requirement."""
        benchmark = self.subject.benchmark
        if benchmark.graded:
            raise InvalidPlan(f"{benchmark.name} is graded: a sequential gate needs items that are right or wrong")
        level = self.requirement.level(benchmark.chance)
        if self.plan.p0 != level:
            raise InvalidPlan(f"the plan tests a score of {self.plan.p0!r}, but {level!r} is required")

    @cached_property
    def trials(self) -> Trials:
        """Its draws and the item of each, up to the cap."""
        return Trials("sequential", self.subject, self.law, self.plan.cap, self.user_seed, self.attempt, self.plan)

    @property
    def checkpoint(self) -> ModelIdentity:
        """What is gated."""
        assert self.subject.checkpoint is not None
        return self.subject.checkpoint

    @cached_property
    def items(self) -> tuple[int, ...]:
        """The item of each trial."""
        return self.trials.items or ()


@dataclass(frozen=True)
class GateTrials:
    """What scores the trials of a gate, by their numbers: 1.0, 0.0 or None (unclear), and 1 where a guard hid it.

    ``timed`` returns the seconds of one, on pilot draws, where that is no matter of writing and scoring alone.
    """

    engine: EngineIdentity
    device: str
    score: Callable[[Sequence[int]], Sequence[Entry]]
    timed: Callable[[], float] | None = None


def run_gate(
    gate: PlannedGate, trials: GateTrials, *, differences: Sequence[str] = (), run: Run | None = None
) -> GateRecord:
    """Test "E J(checkpoint + noise) is at most plan.p0", draw after draw, and stop when it is decided.

    Guarantee: if E J(checkpoint + noise) <= plan.p0, the gate passes with probability at most plan.alpha over its
    draws and items; if it is at least plan.p0, the gate refutes with probability at most plan.alpha_refute.
    FUTILE and CAPPED leave it undecided and carry no guarantee. The statement is about the fixed benchmark.

    It holds under these conditions (theory §4.6). The plan was fixed before the draws. The checkpoint was made and
    chosen without them: the draws are a function of the user's seed and of base, checkpoint, law, benchmark and
    plan, so they are fresh for each checkpoint and serve no second one. One gate for each checkpoint: gating it
    again, with another plan or user seed, is another attempt and pays with its alpha
    (:func:`certify.statistics.attempt_alpha`).
    Finite precision: eta of the engine is added to p0 for a pass and taken off it for a refutation.

    Trials are looked at in draw order, each when all before it are there, so the record does not depend on how many
    are drawn together, by how many processes, or how often they were killed.

    Raises:
        InvalidInput: p1 is not above p0 + eta.
    """
    run, plan, eta = run or Run(), gate.plan, trials.engine.eta(gate.law)
    here = environment(trials.device)
    written = trials.engine if not isinstance(trials.engine, ActivationIdentity) else None
    if written is not None:
        plan_of_rows = written.batching if isinstance(written, ExplicitIdentity) else str(written)
        here = here.model_copy(update={"batching": plan_of_rows})
    decide_at(plan, eta, 1, 0)  # refuses a p1 that is not above p0 + eta before the first draw
    key: dict[str, Any] = {
        "design": "gate",
        "draws": plan.cap,
        "seed": gate.trials.seed.value,
        "weights": identity_key(gate.checkpoint),
        "benchmark": items_key(gate.subject.benchmark),
        "engine": trials.engine.model_dump(mode="json"),
        "environment": here.model_dump(mode="json"),
    }
    outcomes, guarded = "", 0

    def blocks() -> Iterator[range]:
        for size in _block_sizes(written is not None and run.alone):
            n = len(outcomes)
            yield range(n, n + min(size, least_to_pass(plan, eta, n, outcomes.count(RIGHT)), plan.cap - n))

    with closing(run.in_turn(blocks(), trials.score, key)) as entries:
        for _ in run.track(range(plan.cap), "sequential gate"):
            right, hidden = next(entries)
            outcomes, guarded = outcomes + OUTCOME[right], guarded + int(hidden)
            counts = len(outcomes), outcomes.count(RIGHT), outcomes.count(UNCLEAR)
            if decide_at(plan, eta, *counts) is not Decision.CONTINUE:
                break
    return GateRecord.make(
        base=gate.subject.base,
        checkpoint=gate.checkpoint,
        benchmark=gate.subject.benchmark,
        requirement=gate.requirement,
        evidence=SequentialEvidence(
            law=gate.law,
            engine=_with_guarded(trials.engine, guarded),
            seed=gate.trials.seed,
            plan=plan,
            outcomes=outcomes,
            differences=tuple(differences),
            keyed_by="plan",
        ),
        environment=here,
    )


@contextmanager
def written_trials(
    gate: PlannedGate, model: nn.Module, scorer: Scorer, engine: WrittenIdentity, subspace: Subspace | None = None
) -> Iterator[GateTrials]:
    """Yield what scores trials one by one, each under weights of ``model`` that the explicit engine wrote for it.

    An item without an answer is wrong, by definition of J.
    """
    with noised(model, gate.law, gate.trials.seed, subspace=subspace) as noise:

        def score(draws: Sequence[int]) -> list[Entry]:
            found = (checked(scorer.score(noise.at(i), [gate.items[i]]), 1, graded=False) for i in draws)
            return [(right or 0.0, 0.0) for (right,) in found]

        yield GateTrials(engine, engine.device, score)


def shown_trials(gate: PlannedGate, pairs: ActivationPairs) -> GateTrials:
    """Return what scores many trials in a batch, in activation space; a decision within the guard is unclear.

    An item without an answer (its margin is NaN, since the noised model's logits are) is wrong, by definition of J.
    """

    def score(draws: Sequence[int]) -> list[Entry]:
        table, found = [(i, (gate.items[i],)) for i in draws], dict[int, Entry]()
        for batch in pairs.plan(table):
            for entry, (margin,) in zip(batch, pairs.margins(table, batch), strict=True):
                question = pairs.items[gate.items[draws[entry]]]
                right = 0.0 if math.isnan(margin) else question.decide(margin, pairs.guard)
                found[entry] = right, float(right is None)
        return [found[entry] for entry in range(len(table))]

    return GateTrials(pairs.identity, pairs.identity.device, score, pairs.seconds_per_pair)


def _block_sizes(alone: bool) -> Iterator[int]:
    """Yield how many trials to draw together: one by one where together is no cheaper, else doubling to a limit."""
    size = 1 if alone else SMALLEST_BLOCK
    while True:
        yield size
        size = 1 if alone else min(2 * size, LARGEST_BLOCK)


def _with_guarded(engine: EngineIdentity, guarded: int) -> EngineIdentity:
    return engine.model_copy(update={"guarded": guarded}) if isinstance(engine, ActivationIdentity) else engine
