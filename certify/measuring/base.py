"""Measure a base once: its basin, and the draws that serve every checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.benchmarks import Benchmark, ModelLimits, Scorer, open_benchmark
from certify.certificate import Measurement
from certify.checkpoints import Checkpoint, load_model, load_tokenizer, open_checkpoint
from certify.checkpoints.model import AUTO
from certify.checkpoints.probes import rows_independent
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import Requirement
from certify.evidence.distance import BaseDraws, DrawDesign
from certify.evidence.feasibility import require_feasible
from certify.evidence.paired_items import ItemScores, kept
from certify.evidence.position import Basin, BasinLevel, GridOrigin
from certify.evidence.smoothed import DrawScores
from certify.measuring.environment import ONE_ROW, environment
from certify.measuring.run import Run
from certify.measuring.scores import all_items, item_scores, mean
from certify.measuring.trials import EXPLICIT, EngineChoice, Trials, carry_out_trials, random_items
from certify.noise import Subspace, noised, weight_noise
from certify.noise.law import check_sigma
from certify.records import (
    EngineIdentity,
    Environment,
    ExplicitIdentity,
    ModelIdentity,
    NoiseLaw,
    Seed,
    SubspaceNoise,
    WeightNoise,
    derive_seed,
    identity_key,
    items_key,
    order_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from certify.noise.activation import Question


@dataclass(frozen=True)
class Base:
    """A base checkpoint and a benchmark, opened together; the base's tokenizer encodes the items once."""

    checkpoint: Checkpoint
    benchmark: Benchmark
    device: str = "cpu"

    @classmethod
    def open(cls, base: str | Path, benchmark: str | Path | Benchmark, device: str = "cpu") -> Base:
        """Open a base folder and a benchmark (a JSONL file, or an object of your own)."""
        items: Benchmark = open_benchmark(benchmark) if isinstance(benchmark, str | Path) else benchmark
        return cls(open_checkpoint(base), items, checked_device(device))

    def on(self, benchmark: Benchmark) -> Base:
        """Return the same base, loaded once for both, with another benchmark."""
        other = Base(self.checkpoint, benchmark, self.device)
        other.__dict__["model"] = self.model  # where cached_property keeps it
        return other

    @cached_property
    def model(self) -> PreTrainedModel:
        """The base model, loaded once."""
        return load_model(self.checkpoint, self.device)

    @cached_property
    def scorer(self) -> Scorer:
        """The encoded benchmark."""
        return self.encode(self.checkpoint)

    def encode(self, checkpoint: Checkpoint) -> Scorer:
        """Return the benchmark as ``checkpoint``'s own tokenizer encodes it, where the model takes its input."""
        inputs = str(self.model.device) if self.device == AUTO else self.device
        limits = ModelLimits(positions=checkpoint.positions, vocabulary=checkpoint.vocabulary)
        return self.benchmark.encode(load_tokenizer(checkpoint), inputs, limits)

    @cached_property
    def scores(self) -> ItemScores:
        """The base's own score on every item."""
        return item_scores(self.model, self.scorer)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements of every parameter, tied ones once."""
        return {name: p.numel() for name, p in self.model.named_parameters()}

    @property
    def engine(self) -> ExplicitIdentity:
        """The engine that will put draws into this base; with a budget of one token each row is a batch of its own."""
        budget = self.scorer.tokens_per_batch if rows_independent(self.model) else 1
        return ExplicitIdentity(device=self.device, tokens_per_batch=budget)

    @property
    def environment(self) -> Environment:
        """What scores of this process may depend on beside weights and items; says so where rows are scored alone."""
        here = environment(self.device)
        alone = "model" in self.__dict__ and not rows_independent(self.model)
        return here.model_copy(update={"batching": ONE_ROW}) if alone else here

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The items as the activation engine asks them.

        Raises:
            ActivationRefused: answers that are generated, or scored by code that it does not know; rows that depend on
                their batch.
        """
        from certify.benchmarks.scoring import LikelihoodScorer
        from certify.noise.activation import ActivationRefused, questions

        if not rows_independent(self.model):
            raise ActivationRefused("scores of this model depend on the other rows of a batch")
        scorer = self.scorer
        if type(scorer) is not LikelihoodScorer:
            raise ActivationRefused(f"{scorer.identity.name} is scored by {type(scorer).__name__}, not by likelihood")
        items = scorer.benchmark
        return questions(items.items, scorer.continuations, items.length_normalised)

    def run_identity(
        self, seed: Seed, weights: ModelIdentity | None = None, engine: EngineIdentity | None = None
    ) -> dict[str, Any]:
        """Return everything that a draw's score depends on, beside its number; at the base, by the explicit engine."""
        return {
            "seed": seed.value,
            "weights": identity_key(weights or self.checkpoint.identity),
            "benchmark": items_key(self.scorer.identity),
            "engine": (engine or self.engine).model_dump(mode="json"),
            "environment": self.environment.model_dump(mode="json"),
        }

    def weight_law(self, sigma: float | Mapping[str, float]) -> WeightNoise:
        """Return the law with noise of ``sigma`` (for all tensors, or by name pattern)."""
        return weight_noise(self.sizes, sigma)


@dataclass(frozen=True)
class PlannedDraws:
    """One law of noise, how many draws of it to take at the base, and the design; all fixed before the first.

    ``design`` "table" scores all items under every draw, "pairs" one random item under each.
    """

    law: NoiseLaw
    n: int = 1000
    subspace: Subspace | None = None
    design: DrawDesign = "table"


def checked_device(device: str) -> str:
    """Return ``device`` if torch knows it and it is there (or it is ``auto``).

    Raises:
        InvalidInput: naming the device and what torch says.
    """
    import torch

    if device == AUTO:
        return device
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInput(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def subspace_law(subspace: Subspace, sigma: float) -> SubspaceNoise:
    """Return the law with noise of ``sigma`` on each coordinate of ``subspace``."""
    return SubspaceNoise(sigma=(check_sigma(sigma),) * subspace.k, basis=subspace.digest)


def measure_base(
    base: Base,
    *,
    planned: Sequence[PlannedDraws],
    grid: Sequence[float],
    grid_origin: GridOrigin = "given",
    alpha: float = 0.05,
    requirement: Requirement | None = None,
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
) -> Measurement:
    """Count what position and distance evidence need: the basin on ``grid``, and the ``planned`` draws.

    ``engine`` draws what serves a mean claim alone: the basin and planned pairs (:func:`choose_engine` finds the
    faster). Tables, laws in a subspace and what it refuses are drawn by the explicit engine.

    ``grid_origin`` is recorded: "pilot" where pilot draws on these items placed the grid.

    ``alpha`` is the failure probability that later distance claims are declared at. Several laws of one kind are
    a ladder: each of K is judged at alpha/K, so that the best may be picked afterwards. With ``requirement``
    given, an n that could certify it under no outcome is refused before the first draw.

    Raises:
        InvalidPlan: infeasible n, or pairs of a graded benchmark.
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
        ActivationRefused: the activation engine was asked for, and is not exact here.
    """
    check_plan(base, planned, grid, alpha, requirement)
    ladders = Counter(plan.law.kind for plan in planned)
    run = run or Run()
    basin = measure_basin(base, grid, origin=grid_origin, user_seed=user_seed, run=run, engine=engine)
    draws = tuple(draws_at_base(base, plan, alpha, ladders[plan.law.kind], user_seed, run, engine) for plan in planned)
    return Measurement.seal(
        base=base.checkpoint.identity,
        benchmark=base.scorer.identity,
        basin=basin,
        draws=draws,
        environment=base.environment,
    )


def check_plan(
    base: Base,
    planned: Sequence[PlannedDraws],
    grid: Sequence[float],
    alpha: float,
    requirement: Requirement | None = None,
) -> None:
    """Refuse what can be refused before anything is drawn.

    Raises:
        InvalidPlan: infeasible n, or pairs of a graded benchmark.
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
    """
    check_grid(grid)
    ladders = Counter(plan.law.kind for plan in planned)
    for plan in planned:
        if plan.design == "pairs":
            _check_pairs(base)
        if requirement is not None:
            share = alpha / ladders[plan.law.kind]
            require_feasible("distance", plan.n, requirement, share, base.benchmark.chance, plan.design)


def measure_basin(
    base: Base,
    grid: Sequence[float],
    *,
    origin: GridOrigin = "given",
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
) -> Basin:
    """Score the base without noise, and each item under a draw of its own at every sigma of an ascending grid.

    ``origin`` says who chose the grid; what pilot draws on the same items placed is recorded, and said in claims.

    Raises:
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
        ActivationRefused: the activation engine was asked for, and is not exact here.
    """
    check_grid(grid)
    trials = [one_pass_trials(base, sigma, user_seed) for sigma in grid]
    found = carry_out_trials(base, trials, engine, run or Run())
    levels = tuple(
        BasinLevel(sigma=sigma, law=t.law, engine=f.engine, seed=t.seed, scores=f.scores)
        for sigma, t, f in zip(grid, trials, found, strict=True)
    )
    identity = base.scorer.identity
    return Basin(graded=identity.graded, order=order_of(identity), grid=origin, base=base.scores, levels=levels)


def check_grid(grid: Sequence[float]) -> None:
    """Refuse a grid of sigmas that is empty, does not ascend, or holds one that is not positive and finite."""
    for sigma in grid:
        check_sigma(sigma)
    if not grid or list(grid) != sorted(set(grid)):
        raise InvalidInput(f"the sigma grid must hold at least one value and ascend, got {list(grid)}")


def one_pass_trials(base: Base, sigma: float, user_seed: int = 0) -> Trials:
    """Return the trials of one basin level: item j under draw j."""
    law, identity = base.weight_law(sigma), base.scorer.identity
    seed = derive_seed("basin", law, identity, base.checkpoint.identity, n=identity.items, user_seed=user_seed)
    return Trials("one-pass", law, seed, tuple(range(identity.items)), f"basin, sigma {sigma:g}")


def pair_trials(base: Base, plan: PlannedDraws, user_seed: int = 0) -> Trials:
    """Return the trials of planned pairs: a uniformly random item under each draw, both from the seed."""
    identity = base.scorer.identity
    seed = derive_seed("pairs", plan.law, identity, base.checkpoint.identity, n=plan.n, user_seed=user_seed)
    items = random_items(seed, identity.items, plan.n)
    return Trials("pairs", plan.law, seed, items, f"pairs at the base, {plan.law.kind}", plan.subspace)


def _check_pairs(base: Base) -> None:
    identity = base.scorer.identity
    if identity.graded:
        raise InvalidPlan(f"{identity.name} is graded: pairs need items that are right or wrong; take a table")


def draws_at_base(
    base: Base,
    plan: PlannedDraws,
    alpha: float,
    ladder: int,
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
) -> BaseDraws:
    """Score the base under each planned draw; ``alpha`` and ``ladder`` are declared with them."""
    run, taken = run or Run(), {"alpha": alpha, "ladder": ladder, "base_score": mean(base.scores)}
    if plan.design == "pairs":
        _check_pairs(base)
        trials = pair_trials(base, plan, user_seed)
        (tried,) = carry_out_trials(base, [trials], EXPLICIT if plan.subspace else engine, run)
        draws = DrawScores(scores=tuple(kept(tried.scores)), failed=_failed(tried.scores))
        return BaseDraws(law=plan.law, engine=tried.engine, seed=trials.seed, design="pairs", draws=draws, **taken)
    law, identity = plan.law, base.scorer.identity
    seed = derive_seed("distance", law, identity, base.checkpoint.identity, n=plan.n, user_seed=user_seed)
    with noised(base.model, law, seed, subspace=plan.subspace) as noise:
        label = f"draws at the base, {law.kind}"
        draws = all_items(noise, base.scorer, range(plan.n), run, label, base.run_identity(seed))
    return BaseDraws(law=law, engine=base.engine, seed=seed, draws=draws, **taken)


def _failed(scores: ItemScores) -> tuple[float, ...]:
    """Return 1 for each trial without an answer; nothing if there were none."""
    return tuple(float(s is None) for s in scores) if None in scores else ()
