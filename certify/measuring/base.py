"""Measure a base once: its basin, and the draws that serve every checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.benchmarks import Benchmark, Scorer, open_benchmark
from certify.certificate import Measurement
from certify.checkpoints import Checkpoint, load_model, load_tokenizer, open_checkpoint
from certify.checkpoints.model import AUTO
from certify.errors import InvalidInput
from certify.evidence import Requirement
from certify.evidence.distance import BaseDraws
from certify.evidence.feasibility import require_feasible
from certify.evidence.paired_items import ItemScores
from certify.evidence.position import Basin, BasinLevel
from certify.measuring.environment import environment
from certify.measuring.run import Run
from certify.measuring.scores import all_items, item_scores, mean, one_pass
from certify.noise import Subspace, noised, weight_noise
from certify.noise.law import check_sigma
from certify.records import (
    EngineIdentity,
    ModelIdentity,
    NoiseLaw,
    Seed,
    SubspaceNoise,
    WeightNoise,
    derive_seed,
    identity_key,
    items_key,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
        return self.benchmark.encode(load_tokenizer(checkpoint), inputs)

    @cached_property
    def scores(self) -> ItemScores:
        """The base's own score on every item."""
        return item_scores(self.model, self.scorer)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements of every parameter, tied ones once."""
        return {name: p.numel() for name, p in self.model.named_parameters()}

    @property
    def engine(self) -> EngineIdentity:
        """The engine that will put draws into this base."""
        return EngineIdentity(device=self.device, tokens_per_batch=self.scorer.tokens_per_batch)

    def run_identity(self, seed: Seed, weights: ModelIdentity | None = None) -> dict[str, Any]:
        """Return everything that the score of a draw at ``weights`` (the base's) depends on, beside its number."""
        return {
            "seed": seed.value,
            "weights": identity_key(weights or self.checkpoint.identity),
            "benchmark": items_key(self.scorer.identity),
            "engine": self.engine.model_dump(mode="json"),
            "environment": environment().model_dump(mode="json"),
        }

    def weight_law(self, sigma: float | Mapping[str, float]) -> WeightNoise:
        """Return the law with noise of ``sigma`` (for all tensors, or by name pattern)."""
        return weight_noise(self.sizes, sigma)


@dataclass(frozen=True)
class PlannedDraws:
    """One law of noise and how many draws of it to take at the base, all fixed before the first."""

    law: NoiseLaw
    n: int = 1000
    subspace: Subspace | None = None


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
    alpha: float = 0.05,
    requirement: Requirement | None = None,
    user_seed: int = 0,
    run: Run | None = None,
) -> Measurement:
    """Count what position and distance evidence need: the basin on ``grid``, and the ``planned`` draws.

    ``alpha`` is the failure probability that later distance claims are declared at. Several laws of one kind are
    a ladder: each of K is judged at alpha/K, so that the best may be picked afterwards. With ``requirement``
    given, an n that could certify it under no outcome is refused before the first draw.

    Raises:
        InvalidPlan: infeasible n.
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
    """
    _check_grid(grid)
    ladders = Counter(plan.law.kind for plan in planned)
    if requirement is not None:
        for plan in planned:
            share = alpha / ladders[plan.law.kind]
            require_feasible("distance", plan.n, requirement, share, base.benchmark.chance)
    run = run or Run()
    levels = tuple(_level(base, sigma, user_seed, run) for sigma in grid)
    draws = tuple(_draws(base, plan, alpha, ladders[plan.law.kind], user_seed, run) for plan in planned)
    return Measurement.seal(
        base=base.checkpoint.identity,
        benchmark=base.scorer.identity,
        basin=Basin(graded=base.scorer.identity.graded, base=base.scores, levels=levels),
        draws=draws,
        environment=environment(),
    )


def _check_grid(grid: Sequence[float]) -> None:
    for sigma in grid:
        check_sigma(sigma)
    if not grid or list(grid) != sorted(set(grid)):
        raise InvalidInput(f"the sigma grid must hold at least one value and ascend, got {list(grid)}")


def _level(base: Base, sigma: float, user_seed: int, run: Run) -> BasinLevel:
    law = base.weight_law(sigma)
    identity = base.scorer.identity
    seed = derive_seed("basin", law, identity, base.checkpoint.identity, n=identity.items, user_seed=user_seed)
    with noised(base.model, law, seed) as engine:
        scores = one_pass(engine, base.scorer, run, f"basin, sigma {sigma:g}", base.run_identity(seed))
    return BasinLevel(sigma=sigma, law=law, engine=base.engine, seed=seed, scores=scores)


def _draws(base: Base, plan: PlannedDraws, alpha: float, ladder: int, user_seed: int, run: Run) -> BaseDraws:
    law, identity = plan.law, base.scorer.identity
    seed = derive_seed("distance", law, identity, base.checkpoint.identity, n=plan.n, user_seed=user_seed)
    with noised(base.model, law, seed, subspace=plan.subspace) as engine:
        scores = all_items(
            engine, base.scorer, range(plan.n), run, f"draws at the base, {law.kind}", base.run_identity(seed)
        )
    return BaseDraws(
        law=law,
        engine=base.engine,
        seed=seed,
        alpha=alpha,
        ladder=ladder,
        draws=scores,
        base_score=mean(base.scores),
    )
