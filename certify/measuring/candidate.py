"""Gather the evidence about one checkpoint. Each kind asks for its own work and no more."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

from certify.benchmarks import Scorer
from certify.checkpoints import Checkpoint, difference, load_for_scoring
from certify.checkpoints.difference import companion_differences
from certify.checkpoints.files import COORDINATES
from certify.documents import GateRecord, Measurement
from certify.errors import ActivationRefused, CertifyWarning, CheckpointError, InvalidPlan
from certify.evidence import (
    AuditEvidence,
    DistanceEvidence,
    PointEvidence,
    PositionEvidence,
    Requirement,
    SegmentPoint,
    SmoothedEvidence,
)
from certify.evidence.displacement import Displacement
from certify.evidence.distance import best_rung
from certify.evidence.paired_items import Items, ItemScores, PairedScores, bounded_by
from certify.evidence.position import FRACTIONS
from certify.evidence.sequential import ScoreRequirement
from certify.evidence.trials import Subject, Trials
from certify.measuring.base import Base
from certify.measuring.costs import Load, foretell, noise_writing
from certify.measuring.environment import with_halves
from certify.measuring.item_trials import EXPLICIT, EngineChoice
from certify.measuring.ledger import Entry
from certify.measuring.run import Run
from certify.measuring.scores import all_items, checked, item_scores, mean
from certify.measuring.sequential import GateTrials, PlannedGate, run_gate, shown_trials, written_trials
from certify.noise import Subspace, noised
from certify.noise.subspace import displacement_in
from certify.noise.walk import Span, Walk, towards
from certify.records import (
    DrawnSeed,
    Environment,
    NoiseLaw,
    Seed,
    SubspaceNoise,
    WeightNoise,
    identity_key,
    items_key,
)

if TYPE_CHECKING:
    from torch import nn

    from certify.noise.activation import ActivationPairs
    from certify.statistics import GatePlan


class Candidate:
    """One checkpoint held against one base: loads its weights at most once, and only when asked."""

    def __init__(self, base: Base, checkpoint: Checkpoint) -> None:
        self.base, self.checkpoint = base, checkpoint
        self._loaded: list[nn.Module] = []
        self._seconds: list[float] = []
        self._scores: ItemScores | None = None

    def on(self, base: Base) -> Candidate:
        """Return the same checkpoint, loaded once for both, held against the base with another benchmark."""
        if base is self.base:
            return self
        other = Candidate(base, self.checkpoint)
        other._loaded, other._seconds = self._loaded, self._seconds
        if "_apart" in self.__dict__:
            other.__dict__["_apart"] = self._apart  # where cached_property keeps it
        return other

    @property
    def model(self) -> nn.Module:
        """The checkpoint's model."""
        if not self._loaded:
            start = perf_counter()
            served: Any = None if self.base.layout is None else self.base.model
            self._loaded.append(
                served.of(self.checkpoint) if served else load_for_scoring(self.checkpoint, self.base.device)
            )
            self._seconds.append(perf_counter() - start)
        return self._loaded[0]

    @property
    def loading(self) -> float:
        """Seconds that loading its weights and its base's took, as far as they were loaded."""
        return sum(self._seconds) + self.base.loading

    @property
    def environment(self) -> Environment:
        """What its scores may depend on; those of its base alone where it was not scored."""
        model = next(iter(self._loaded), self.base.loaded)
        return with_halves(self.base.environment_of(model), self._own_scorer if model else None)

    @property
    def subject(self) -> Subject:
        """What draws at it are of."""
        return Subject(self.base.scorer.identity, self.base.checkpoint.identity, self.checkpoint.identity)

    @property
    def scores(self) -> ItemScores:
        """The checkpoint's own score on every item."""
        if self._scores is None:
            self._scores = item_scores(self.model, self._own_scorer)
        return self._scores

    @cached_property
    def _own_scorer(self) -> Scorer:
        """The items as the checkpoint's own tokenizer encodes them; the base's scorer where that gives the same ids."""
        asked = self.checkpoint.has_tokenizer or self.checkpoint.virtual_tokens
        own = self.base.encode(self.checkpoint) if asked else self.base.scorer
        return self.base.scorer if own.identity.tokens == self.base.scorer.identity.tokens else own

    @property
    def _tokenizer_differs(self) -> bool:
        """Whether the benchmark's items reach the two models as other token ids, or answers are decoded otherwise."""
        return self._own_scorer.identity.tokens != self.base.scorer.identity.tokens

    @cached_property
    def differences(self) -> tuple[str, ...]:
        """What computes, differs from the base and is no weight: config, tokenizer, settings of generation."""
        generated = getattr(self.base.scorer, "generates", True)
        named = companion_differences(self.base.checkpoint, self.checkpoint, generated=generated)
        return (*named, *(["tokenizer differs: the items have other token ids"] if self._tokenizer_differs else []))

    def point(self, items: Items = "population") -> PointEvidence:
        """Score every item once at the checkpoint, paired with the base."""
        return PointEvidence(
            items=items,
            scores=PairedScores(
                **bounded_by(self.base.scorer.identity), base=self.base.scores, checkpoint=self.scores
            ),
            differences=self.differences,
        )

    def audit(
        self,
        requirement: Requirement,
        alpha: float,
        measurement: Measurement | None = None,
        *,
        user_seed: int = 0,
        attempt: int = 0,
        run: Run | None = None,
    ) -> AuditEvidence:
        """Score items in a random order, until it is decided at ``alpha`` whether the requirement holds on all of them.

        Each block of items is as long as a decision takes at least if they lose nothing. The record ends where it was
        decided; it does not depend on how often the run was killed, or how many processes shared it.
        """
        run, identity = run or Run(), self.base.scorer.identity
        trials = Trials("audit", self.subject, None, identity.items, user_seed, attempt)
        found = AuditEvidence(
            graded=identity.graded,
            seed=trials.seed,
            seed_drawn=isinstance(user_seed, DrawnSeed),
            until=requirement,
            base=measurement.unnoised if measurement else self.base.kept_scores(run),
            checkpoint=(),
            differences=self.differences,
            pool=identity.pool,
        )
        order = trials.items or ()
        key = {
            "design": "audit",
            "draws": len(order),
            "seed": trials.seed.value,
            "weights": identity_key(self.checkpoint.identity),
            "benchmark": items_key(self._own_scorer.identity),
            "environment": self.base.environment_of(self.model).model_dump(mode="json"),
        }
        end: int | None = found.decided_after(requirement, alpha, identity.chance)

        def blocks() -> Iterator[range]:
            nonlocal end
            while end is None:
                yield range(found.n, found.n + found.fewest_more(alpha, identity.chance))
                end = found.decided_after(requirement, alpha, identity.chance)

        def score(places: Sequence[int]) -> list[Entry]:
            return [(each, float(each is None)) for each in self.scores_of([order[i] for i in places])]

        with closing(run.in_turn(blocks(), score, key)) as entries:
            for _ in run.track(range(len(order)), trials.label):
                if (entry := next(entries, None)) is None:
                    break
                found = found.model_copy(update={"checkpoint": (*found.checkpoint, entry[0])})
        return found.model_copy(update={"checkpoint": found.checkpoint[:end]})

    def scores_of(self, items: Sequence[int]) -> tuple[float | None, ...]:
        """Return the checkpoint's own score on each of these items."""
        found = self._own_scorer.score(self.model, items) if items else []
        return checked(found, len(items), self._own_scorer.identity.graded)

    def position(self, measurement: Measurement, items: Items = "population") -> PositionEvidence:
        """Score every item at four points of the segment from the base to the checkpoint."""
        self._same_tokenizer("position")
        return PositionEvidence(
            items=items, basin=measurement.basin, points=self.segment(), displacement=self.displacement()
        )

    def segment(self) -> tuple[SegmentPoint, ...]:
        """Score every item at the points of the segment that the rule names, the checkpoint itself last."""
        if self.base.layout is not None:
            served: Any = self.base.model
            on_the_way = [served.towards(self.checkpoint, f) for f in FRACTIONS if f < 1.0]
            between = [item_scores(each, self.base.scorer) for each in on_the_way]
            return self._points(between)
        theirs = {name: p.data for name, p in self.model.named_parameters()}
        with Walk(self.base.model, Span(theirs, towards(theirs))) as walk:
            between = [item_scores(walk.at((f,)), self.base.scorer) for f in FRACTIONS if f < 1.0]
        return self._points(between)

    def _points(self, between: Sequence[ItemScores]) -> tuple[SegmentPoint, ...]:
        return tuple(
            SegmentPoint(fraction=f, scores=scores)
            for f, scores in zip(FRACTIONS, [*between, self.scores], strict=True)
        )

    def smoothed(
        self,
        law: NoiseLaw,
        n: int,
        *,
        subspace: Subspace | None = None,
        user_seed: int = 0,
        attempt: int = 0,
        run: Run | None = None,
    ) -> SmoothedEvidence:
        """Score all items under ``n`` draws at the base and, with the same seeds, at the checkpoint."""
        self._same_tokenizer("smoothed")
        _ = self._moved  # refuses another architecture or an inexact cast
        self._same_batching()
        base, scorer = self.base, self.base.scorer
        seed = Trials("smoothed", self.subject, law, n, user_seed, attempt).seed
        runs = []
        for model, weights in ((base.model, base.checkpoint.identity), (self.model, self.checkpoint.identity)):
            identity, label = base.run_identity(seed, weights), f"paired draws, {weights.name}"
            with noised(model, law, seed, subspace=subspace) as engine:
                runs.append(all_items(engine, scorer, range(n), run or Run(), label, identity))
        return SmoothedEvidence(
            law=law,
            engine=base.engine,
            seed=seed,
            base=runs[0],
            checkpoint=runs[1],
            base_unnoised=mean(base.scores),
            checkpoint_unnoised=mean(self.scores),
            differences=self.differences,
        )

    def sequential(
        self,
        law: NoiseLaw,
        requirement: ScoreRequirement,
        plan: GatePlan,
        *,
        engine: EngineChoice = EXPLICIT,
        subspace: Subspace | None = None,
        user_seed: int = 0,
        attempt: int = 0,
        run: Run | None = None,
    ) -> GateRecord:
        """Run a sequential gate on E J(checkpoint + noise): draw after draw, each with one random item.

        Raises:
            ActivationRefused: the activation engine was asked for by name, and is not exact here.
        """
        self._same_tokenizer("sequential")
        _ = self._moved  # refuses another architecture or an inexact cast
        self._same_batching()
        gate = PlannedGate(self.subject, law, requirement, plan, user_seed, attempt)
        with self._gate_trials(gate, engine, subspace) as trials:
            if run is not None and run.tell is not None:
                self._foretell(gate, trials, run, subspace)
            return run_gate(gate, trials, differences=self.differences, run=run)

    def _foretell(self, gate: PlannedGate, trials: GateTrials, run: Run, subspace: Subspace | None) -> None:
        load = Load(draws=gate.plan.cap, alone=gate.plan.cap, models=1, most=True)
        if trials.timed is None:
            foretell(self.base, run, load, writing=noise_writing(self.base, gate.law, subspace))
        else:
            foretell(self.base, run, load, seconds=gate.plan.cap * trials.timed(), engine=trials.engine.name)

    def _gate_trials(
        self, gate: PlannedGate, choice: EngineChoice, subspace: Subspace | None
    ) -> AbstractContextManager[GateTrials]:
        """Return what scores a gate's trials. A refusal spends no draw of it, so the explicit engine may take over."""
        if choice.engine == "activation":
            try:
                return nullcontext(shown_trials(gate, self._pairs(gate.law, gate.trials.seed, choice.tokens_per_batch)))
            except ActivationRefused as refusal:
                if choice.asked:
                    raise
                warnings.warn(f"{refusal}, which takes over", CertifyWarning, stacklevel=3)
        return written_trials(gate, self.model, self.base.scorer, self.base.engine, subspace)

    def _pairs(self, law: NoiseLaw, seed: Seed, tokens_per_batch: int) -> ActivationPairs:
        from certify.noise.activation import ActivationPairs

        if not isinstance(law, WeightNoise):
            raise ActivationRefused("noise in a subspace is written, not shown")
        return ActivationPairs(
            self.model, law, seed, self.base.questions, tokens_per_batch=tokens_per_batch,
            batching=self.base.batching(self.model),
        )  # fmt: skip

    def distance(
        self,
        measurement: Measurement,
        requirement: Requirement,
        alpha: float,
        subspaces: Sequence[Subspace] = (),
        items: Items = "fixed",
    ) -> DistanceEvidence:
        """Hold the checkpoint's displacement against the base's draws; reads weights, runs no model.

        The law is picked by what the checkpoint says of itself, before any outcome is looked at: one that carries
        coordinates is judged in the subspace they belong to, any other under noise on the weights. Of a ladder
        of laws the best for the requirement is taken (:func:`certify.evidence.distance.best_rung`), which their split
        alpha allows.
        """
        carries = (self.checkpoint.path / COORDINATES).is_file()
        kinds = {d.law.kind for d in measurement.draws}
        kind = "subspace" if "subspace" in kinds and (carries or "weights" not in kinds) else "weights"
        rungs = [
            DistanceEvidence(items=items, draws=draws, displacement=self.displacement(draws.law, subspaces))
            for draws in measurement.draws
            if draws.law.kind == kind
        ]
        return best_rung(rungs, measurement.benchmark, requirement, alpha)

    def displacement(self, law: NoiseLaw | None = None, subspaces: Sequence[Subspace] = ()) -> Displacement:
        """Return where the checkpoint lies, in the coordinates of ``law`` (those of the weights unless given).

        Raises:
            InvalidPlan: the law is of a subspace that is not among ``subspaces``.
        """
        if not isinstance(law, SubspaceNoise):
            return self._moved
        own = [s for s in subspaces if s.digest == law.basis]
        if not own:
            raise InvalidPlan(f"the measurement holds draws in the subspace {law.basis}: name its basis file")
        return self._complete(displacement_in(own[0], self.base.checkpoint, self.checkpoint, self._apart))

    @cached_property
    def _apart(self) -> Displacement:
        """How far each parameter moved; reads both sets of weights once, whatever the benchmark, and hashes them."""
        return difference(self.base.checkpoint, self.checkpoint, identify=True)

    @property
    def _moved(self) -> Displacement:
        return self._complete(self._apart)

    def _complete(self, displacement: Displacement) -> Displacement:
        """Add the differences that depend on the benchmark to those that the files alone decide."""
        named = dict.fromkeys((*displacement.differences, *self.differences))
        return displacement.model_copy(update={"differences": tuple(named)})

    def _same_tokenizer(self, kind: str) -> None:
        if self._tokenizer_differs:
            raise CheckpointError(
                f"{self.checkpoint.path}: its tokenizer differs from the base's, so {kind} evidence would feed it "
                "another model's token ids; use point evidence"
            )

    def _same_batching(self) -> None:
        """Refuse draws of two plans: what a model of one architecture allows, another may show to be inexact."""
        there, here = self.base.batching(self.base.model), self.base.batching(self.model)
        if there != here:
            raise CheckpointError(
                f"{self.checkpoint.path}: its rows would be batched otherwise than the base's ({here or 'row by row'}; "
                f"the base: {there or 'row by row'}), and draws of two plans are not mixed: use point evidence"
            )
