"""A base checkpoint and a benchmark, opened together: what everything is measured against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from certify.benchmarks import Benchmark, ModelLimits, Scorer, open_benchmark
from certify.checkpoints import Checkpoint, load_model, load_tokenizer, open_checkpoint
from certify.checkpoints.model import AUTO
from certify.checkpoints.probes import rows_independent
from certify.errors import ActivationRefused, InvalidInput, InvalidPlan
from certify.evidence.paired_items import ItemScores
from certify.evidence.trials import Purpose, Subject, Trials
from certify.measuring.environment import ONE_ROW, environment, with_halves
from certify.measuring.ledger import Entry
from certify.measuring.run import Run
from certify.measuring.scores import item_scores
from certify.noise import weight_noise
from certify.records import (
    WAYS,
    EngineIdentity,
    Environment,
    ExplicitIdentity,
    ModelIdentity,
    NoiseLaw,
    Seed,
    VllmIdentity,
    Way,
    WeightNoise,
    identity_key,
    items_key,
)

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from certify.benchmarks.batches import Batching
    from certify.checkpoints.served import Layout
    from certify.noise.activation import Question


@dataclass(frozen=True)
class Base:
    """A base checkpoint and a benchmark, opened together; the base's tokenizer encodes the items once."""

    checkpoint: Checkpoint
    benchmark: Benchmark
    device: str = "cpu"
    cheapest: Way = WAYS[0]
    layout: Layout | None = None
    vllm: str = ""

    @classmethod
    def open(
        cls,
        base: str | Path | Checkpoint,
        benchmark: str | Path | Benchmark,
        device: str = "cpu",
        layout: Layout | None = None,
    ) -> Base:
        """Open a base and a benchmark (a JSONL file, or an object of your own); with ``layout`` vLLM serves the base.

        Raises:
            InvalidInput: a device that is not there, or no vLLM.
            CheckpointError: a base that vLLM cannot be started on.
        """
        items: Benchmark = open_benchmark(benchmark) if isinstance(benchmark, str | Path) else benchmark
        opened = base if isinstance(base, Checkpoint) else open_checkpoint(base)
        if layout is None:
            return cls(opened, items, _checked_device(device))
        from certify.checkpoints.served import require_servable, vllm_here

        version, kind = vllm_here(layout, device)
        require_servable(opened, layout, kind)
        return cls(opened, items, kind, layout=layout, vllm=version)

    def on(self, benchmark: Benchmark) -> Base:
        """Return the same base, loaded once for both, with another benchmark."""
        return self._sharing(replace(self, benchmark=benchmark))

    def scored_as(self, recorded: str) -> Base:
        """Return the same base with the scorer of a record, whose environment or engine says ``recorded``.

        Raises:
            InvalidPlan: one of the two was scored by a vLLM that is not the other's.
        """
        here = "" if self.layout is None else str(self.engine)
        if recorded != here and "vLLM" in (recorded[:4], here[:4]):
            by = [each if each.startswith("vLLM") else "transformers" for each in (recorded, here)]
            raise InvalidPlan(
                f"the record's scores were made by {by[0]}, and here scores are made by {by[1]}: scores of two engines "
                "are not paired; use the engine of the record, or measure again"
            )
        way = next(each for each in WAYS if recorded.startswith(each))
        return self if way == self.cheapest else self._sharing(replace(self, cheapest=way))

    def with_scores(self, scores: ItemScores, recorded: str) -> Base:
        """Return the same base, its own scores known: an environment that says ``recorded`` made them."""
        alike = self.scored_as(recorded)
        known = self._sharing(replace(alike))
        known.__dict__.update(scorer=alike.scorer, scores=scores)  # where cached_property keeps them
        return known

    @property
    def known(self) -> bool:
        """Whether its own scores are at hand."""
        return "scores" in self.__dict__

    def _sharing(self, other: Base) -> Base:
        other.__dict__["_loader"] = self  # a frozen record keeps it where cached_property keeps its values
        return other

    @property
    def _origin(self) -> Base:
        """The one that loads the model for all that were made of it."""
        loader: Base | None = self.__dict__.get("_loader")
        return self if loader is None else loader._origin

    @cached_property
    def model(self) -> PreTrainedModel:
        """The base model, loaded once for all benchmarks and ways of scoring."""
        if self._origin is not self:
            return self._origin.model
        start = perf_counter()
        loaded = load_model(self.checkpoint, self.device) if self.layout is None else self._served(self.layout)
        self.__dict__["_loading"] = perf_counter() - start  # a frozen record keeps it where cached_property would
        return loaded

    def _served(self, layout: Layout) -> PreTrainedModel:
        from certify.checkpoints.served import serve

        served: Any = serve(self.checkpoint, layout)  # scorers and engines know it
        model: PreTrainedModel = served
        return model

    @property
    def loading(self) -> float:
        """Seconds that loading the model took; 0 before it was loaded."""
        return float(self._origin.__dict__.get("_loading", 0.0))

    @property
    def loaded(self) -> PreTrainedModel | None:
        """The base model if anything has asked for it."""
        return self._origin.__dict__.get("model")

    @cached_property
    def scorer(self) -> Scorer:
        """The encoded benchmark."""
        return self.encode(self.checkpoint)

    def encode(self, checkpoint: Checkpoint) -> Scorer:
        """Return the benchmark as ``checkpoint``'s own tokenizer encodes it, where the model takes its input."""
        inputs = str(self.model.device) if self.device == AUTO else self.device
        limits = ModelLimits(
            positions=checkpoint.positions, vocabulary=checkpoint.vocabulary, batching=self.cheapest,
            virtual_tokens=checkpoint.virtual_tokens,
        )  # fmt: skip
        return self.benchmark.encode(load_tokenizer(checkpoint), inputs, limits)

    @cached_property
    def scores(self) -> ItemScores:
        """The base's own score on every item."""
        return item_scores(self.model, self.scorer)

    def kept_scores(self, run: Run) -> ItemScores:
        """Return the base's own scores as :attr:`scores`, scored once for all runs that keep them in one folder."""
        if not self.known:
            items = range(self.scorer.identity.items)
            identity = {
                "design": "unnoised", "draws": len(items), "weights": identity_key(self.checkpoint.identity),
                "benchmark": items_key(self.scorer.identity),
                "environment": self.environment_of(None).model_dump(mode="json"),  # known before it is loaded
            }  # fmt: skip
            if self.cheapest != WAYS[0]:
                identity["batching"] = self.cheapest  # answers of two ways are never mixed

            def score(_: Sequence[int]) -> list[Entry]:
                return [(each, float(each is None)) for each in item_scores(self.model, self.scorer)]

            entries = run.carry_out_batches([items], score, "base without noise", identity)
            self.__dict__["scores"] = tuple(entries[i][0] for i in items)  # where cached_property keeps it
        return self.scores

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements of every parameter, tied ones once."""
        if self.layout is not None:
            return {name: p.size for name, p in self.checkpoint.parameters.items() if not p.buffer}
        return {name: p.numel() for name, p in self.model.named_parameters()}

    @property
    def engine(self) -> ExplicitIdentity | VllmIdentity:
        """The engine that will put draws into this base; with a budget of one token each row is a batch of its own."""
        if self.layout is not None:
            return self._vllm_engine(self.layout)
        if batching := self.batching(self.model):
            return ExplicitIdentity(device=self.device, tokens_per_batch=batching.tokens, batching=batching.way)
        budget = self.scorer.tokens_per_batch if rows_independent(self.model) else 1
        return ExplicitIdentity(device=self.device, tokens_per_batch=budget)

    def _vllm_engine(self, layout: Layout) -> VllmIdentity:
        generates = getattr(self.scorer, "generates", True)
        mixed = generates and self.scorer.identity.pool is not None
        path: Literal["prompt log-probabilities", "greedy generation", "prompt log-probabilities; greedy generation"]
        path = "greedy generation" if generates else "prompt log-probabilities"
        return VllmIdentity(
            device=self.device, version=self.vllm, dtype=self.checkpoint.computed_in, tensor_parallel=layout.tensor,
            pipeline_parallel=layout.pipeline, scoring="prompt log-probabilities; greedy generation" if mixed else path,
        )  # fmt: skip

    def batching(self, model: nn.Module) -> Batching | None:
        """Return how a scorer that knows several ways scores a model; None for scorers that know one, and for vLLM."""
        if self.layout is not None:
            return None
        tried: Callable[[nn.Module], Batching] | None = getattr(self.scorer, "batching", None)
        return tried(model) if tried else None

    @property
    def environment(self) -> Environment:
        """What scores of this process may depend on beside weights and items; says how rows were batched, and why."""
        return with_halves(self.environment_of(self.loaded), self.scorer if self.loaded else None)

    def environment_of(self, model: nn.Module | None) -> Environment:
        """Return the same where ``model`` was scored; None: none was."""
        here = environment(self.device)
        if self.layout is not None:
            return here.model_copy(update={"batching": str(self._vllm_engine(self.layout))})
        if model is None:
            return here
        if not rows_independent(model):
            return here.model_copy(update={"batching": ONE_ROW})
        batching = self.batching(model)
        return here.model_copy(update={"batching": str(batching) if batching else ""})

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The items as the activation engine asks them.

        Raises:
            ActivationRefused: answers that are generated, or scored by code that it does not know; rows that depend on
                their batch.
        """
        from certify.benchmarks.scoring import LikelihoodScorer
        from certify.noise.activation import questions

        if self.layout is not None:
            raise ActivationRefused("vLLM shows no activations")
        if not rows_independent(self.model):
            raise ActivationRefused("scores of this model depend on the other rows of a batch")
        scorer = self.scorer
        if type(scorer) is not LikelihoodScorer:
            raise ActivationRefused(f"{scorer.identity.name} is scored by {type(scorer).__name__}, not by likelihood")
        items = scorer.benchmark
        if items.perplexity is not None:
            raise ActivationRefused(f"{scorer.identity.name} is graded by perplexity, and margins know right and wrong")
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
            "environment": self.environment_of(self.loaded).model_dump(mode="json"),
        }

    @property
    def subject(self) -> Subject:
        """What its draws are of."""
        return Subject(self.scorer.identity, self.checkpoint.identity)

    def trials(self, purpose: Purpose, law: NoiseLaw, n: int, user_seed: int = 0) -> Trials:
        """Return ``n`` draws of ``law`` at this base for one purpose.

        Raises:
            InvalidPlan: on a pool of benchmarks, whose means over items say nothing of its weights.
        """
        if self.scorer.identity.pool is not None:
            raise InvalidPlan(f"{self.benchmark.name} is a pool of benchmarks: measure each of them")
        return Trials(purpose, self.subject, law, n, user_seed)

    def weight_law(self, sigma: float | Mapping[str, float]) -> WeightNoise:
        """Return the law with noise of ``sigma`` (for all tensors, or by name pattern)."""
        return weight_noise(self.sizes, sigma)


def _checked_device(device: str) -> str:
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
