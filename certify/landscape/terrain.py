"""What is walked over: a model, its encoded benchmark, a surrogate with a gradient, and the seed of all directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certify.landscape.record import Sight
from certify.landscape.surrogate import Surrogate, loss_of, surrogate_of
from certify.measuring import Base, Run
from certify.measuring.ledger import Entry
from certify.measuring.scores import item_scores, mean
from certify.records import BenchmarkIdentity, Seed, derive_seed

if TYPE_CHECKING:
    from torch import nn

    from certify.benchmarks import Scorer


@dataclass(frozen=True)
class Terrain:
    """A model and what is looked at: ``identity`` is all that a score depends on beside the point."""

    model: nn.Module
    scorer: Scorer
    surrogate: Surrogate | None
    seed: Seed
    identity: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, base: Base, user_seed: int = 0, beside: BenchmarkIdentity | None = None) -> Terrain:
        """Return the terrain around ``base``. Its seed is one of its own, and no certificate's.

        ``beside``: the pool of all skills that are looked at along the same directions.
        """
        seed = derive_seed(
            "landscape", base.weight_law(1.0), beside or base.scorer.identity, base.checkpoint.identity,
            user_seed=user_seed,
        )  # fmt: skip
        surrogate = surrogate_of(base.benchmark, base.scorer)
        return cls(base.model, base.scorer, surrogate, seed, base.run_identity(seed))

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements of every parameter, tied ones once."""
        return {name: p.numel() for name, p in self.model.named_parameters()}

    @property
    def dimension(self) -> int:
        """Number of weights, d."""
        return sum(self.sizes.values())

    def look(self, model: nn.Module) -> Sight:
        """Return what is found at the model's present weights; items without an answer count as 0."""
        nll = None if self.surrogate is None else loss_of(self.surrogate, model)
        return Sight(score=mean(item_scores(model, self.scorer)), nll=nll)

    def sights(
        self, run: Run, points: Sequence[int], show: Callable[[int], nn.Module], label: str, what: Mapping[str, Any]
    ) -> list[Sight]:
        """Return what is found at every numbered point, in order; points that a ledger holds are not repeated."""

        def score(point: int) -> Entry:
            sight = self.look(show(point))
            return sight.nll, sight.score

        surrogate = None if self.surrogate is None else self.surrogate.name
        identity = {**self.identity, "design": "landscape", "surrogate": surrogate, **what}
        return [Sight(score=s, nll=nll) for nll, s in run.carry_out(points, score, label, identity)]
