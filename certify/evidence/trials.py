"""A run of draws before anything is scored: under which noise, which items each draw asks, from which seed.

One object for every design. Planned, it says what to draw; rebuilt from a record, it says what that record's seeds and
items must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from certify.evidence.paired_items import in_order, item_weights
from certify.records import (
    AnyEngine,
    Axis,
    BenchmarkIdentity,
    FamilyIdentity,
    ModelIdentity,
    NoiseLaw,
    Seed,
    derive_seed,
)
from certify.statistics import GatePlan

Purpose = Literal[
    "basin", "pairs", "distance", "drawn", "smoothed", "sequential", "audit", "cover", "skills", "pilot"
]
OF_A_CHECKPOINT = ("smoothed", "sequential", "audit")
"""Purposes whose draws are fresh for each checkpoint; the others serve all of them."""


@dataclass(frozen=True)
class Subject:
    """Whose scores they are: items, base, and the checkpoint or the family where one is judged."""

    benchmark: BenchmarkIdentity
    base: ModelIdentity
    checkpoint: ModelIdentity | None = None
    family: FamilyIdentity | None = None


@dataclass(frozen=True)
class Trials:
    """``n`` draws of one law for one purpose; seed and items follow from these fields and nothing else.

    ``plan``: that of a sequential gate, whose draws are its own. An audit has no noise, so no law: it draws an order.
    Nor has a cover, which draws points of its ``box``. What is "drawn" into folders may be asked any items. ``part``:
    which benchmark of a pool is asked, where all of them share the draws, whose seed is that of all.
    """

    purpose: Purpose
    subject: Subject
    law: NoiseLaw | None
    n: int
    user_seed: int = 0
    attempt: int = 0
    plan: GatePlan | None = None
    box: tuple[Axis, ...] = ()
    part: int = 0

    @cached_property
    def seed(self) -> Seed:
        """Where draws and items come from."""
        return derive_seed(
            self.purpose,
            self.law,
            None if self.purpose == "drawn" else self.subject.benchmark,
            self.subject.base,
            checkpoint=self.subject.checkpoint if self.purpose in OF_A_CHECKPOINT else None,
            n=self.n,
            user_seed=self.user_seed,
            attempt=self.attempt,
            plan=self._planned,
        )

    @property
    def _planned(self) -> dict[str, Any] | None:
        """What was fixed beforehand: windows that are chosen after a look are others, with draws of their own."""
        if self.subject.family is not None:
            axes = [axis.model_dump(mode="json") for axis in self.box]
            return {"family": self.subject.family.fingerprint, "box": axes}
        return None if self.plan is None else asdict(self.plan)

    @cached_property
    def items(self) -> tuple[int, ...] | None:
        """The only item that each draw asks, None: all of them.

        Every item once, by one pass in the file's order and by an audit in a random one; random items in pairs.
        """
        if self.purpose == "audit":
            return tuple(in_order(list(range(self.n)), self.seed, item_weights(self.subject.benchmark.pool)))
        if self.purpose == "basin":
            return tuple(range(self.n))
        if self.purpose == "skills":
            pool = self.subject.benchmark.pool
            sizes = [part.items for part in pool] if pool else [self.subject.benchmark.items]
            start, own = sum(sizes[: self.part]), random_items(self.seed, sizes[self.part], self.n, self.part)
            return tuple(start + item for item in own)
        if self.purpose not in ("pairs", "sequential", "cover"):
            return None
        return random_items(self.seed, self.subject.benchmark.items, self.n)

    @property
    def label(self) -> str:
        """What progress and errors call it."""
        if self.law is None:
            return self.purpose
        if self.purpose in ("basin", "skills"):
            sigma = max(self.law.sigma if self.law.kind == "subspace" else self.law.sigma.values())
            return f"{self.purpose}, sigma {sigma:g}"
        kind = {"pairs": "pairs at the base", "distance": "draws at the base"}.get(self.purpose, self.purpose)
        return f"{kind}, {self.law.kind}"


def random_items(seed: Seed, items: int, n: int, part: int | None = None) -> tuple[int, ...]:
    """Return ``n`` of so many items, each drawn independently of the others; of each ``part`` of a pool its own."""
    key = seed.integer if part is None else np.random.SeedSequence(seed.integer, spawn_key=(2, part))
    source = np.random.Generator(np.random.PCG64(key))
    return tuple(source.integers(items, size=n).tolist())


def random_points(seed: Seed, box: Sequence[Axis], n: int) -> NDArray[np.float64]:
    """Return ``n`` points, shape (n, k), independent and uniform in a box, and independent of :func:`random_items`."""
    source = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed.integer, spawn_key=(1,))))
    low, high = (np.array([getattr(axis, end) for axis in box]) for end in ("low", "high"))
    points: NDArray[np.float64] = low + (high - low) * source.random((n, len(box)))
    return points


@dataclass(frozen=True)
class RecordedRun:
    """What a record holds of one run: its trials, rebuilt from the record's identities, and what they scored.

    ``where`` is the field. ``unanswered`` is what an item without an answer was recorded as. ``engine``: None where
    no noise was drawn into weights, as in an audit.
    """

    where: str
    trials: Trials
    seed: Seed
    engine: AnyEngine | None
    scores: Sequence[float | None]
    unanswered: float | None = None

    @classmethod
    def of(
        cls,
        where: str,
        purpose: Purpose,
        subject: Subject,
        law: NoiseLaw,
        n: int,
        seed: Seed,
        engine: AnyEngine,
        scores: Sequence[float | None],
        unanswered: float | None = None,
        plan: GatePlan | None = None,
    ) -> RecordedRun:
        """Rebuild the trials from what was measured and from what the user chose of the seed."""
        trials = Trials(purpose, subject, law, n, seed.user_seed, seed.attempt, plan)
        return cls(where, trials, seed, engine, scores, unanswered)

    @property
    def contradictions(self) -> list[str]:
        """One line if the recorded seed is not the one that the measured identities give."""
        expected = self.trials.seed.value
        if self.seed.value == expected:
            return []
        return [
            f"{self.where}.seed: recorded {self.seed.value[:16]}..., the measured identities give {expected[:16]}..."
        ]
