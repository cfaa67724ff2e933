"""Where randomness comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from certify.records.benchmark_identity import BenchmarkIdentity
from certify.records.model_identity import ModelIdentity, identity_key
from certify.records.noise_law import SubspaceNoise, WeightNoise
from certify.records.record import Record, digest


class Seed(Record):
    """Where the randomness of one piece of evidence comes from.

    The 256-bit seed is a function of what is measured and of the user's seed, never of a test's name, so
    pytest and the command line draw the same noise.
    """

    user_seed: Annotated[int, Field(ge=0)] = 0
    attempt: Annotated[int, Field(ge=0)] = 0
    value: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def integer(self) -> int:
        """The seed as the integer that keys the noise streams."""
        return int(self.value, 16)


class DrawnSeed(int):
    """A user seed that was drawn at random when the run began, so that no checkpoint can have been made for it."""


def derive_seed(
    kind: str,
    law: WeightNoise | SubspaceNoise | None,
    benchmark: BenchmarkIdentity | None,
    base: ModelIdentity,
    *,
    checkpoint: ModelIdentity | None = None,
    n: int | None = None,
    user_seed: int = 0,
    attempt: int = 0,
    plan: Mapping[str, Any] | None = None,
) -> Seed:
    """Return the seed of one piece of evidence: SHA-256 of everything that defines it.

    ``plan``: that of a gate, or family and box of a cover. ``law``: None where there is no noise, as in a cover and in
    the order of an audit. ``benchmark``: None where draws are written before it is known what they will be asked.
    """
    parts: Mapping[str, Any] = {
        "user_seed": user_seed,
        "kind": kind,
        "law": None if law is None else law.model_dump(mode="json"),
        "benchmark": None if benchmark is None else [benchmark.digest, benchmark.tokens],
        "base": identity_key(base),
        "checkpoint": identity_key(checkpoint) if checkpoint else None,
        "n": n,
        "attempt": attempt,
        **({} if plan is None else {"plan": plan}),
    }
    return Seed(user_seed=user_seed, attempt=attempt, value=digest(parts).removeprefix("sha256:"))


def order_of(benchmark: BenchmarkIdentity) -> Seed | None:
    """Return the seed of the order in which items, or groups, enter a betting bound: fixed by the items alone.

    None where items are right or wrong and each stands for itself, in one benchmark: their bounds count, whatever the
    order.
    Nobody who orders a file, groups it, picks a seed or trains a checkpoint has a say in it, short of other items; nor,
    in a pool, who writes its weights, short of another sequence of its benchmarks. Of scores made elsewhere the task's
    name is part of it.
    """
    if not benchmark.graded and benchmark.groups is None and benchmark.pool is None:
        return None
    pool = benchmark.pool
    items: Any = benchmark.digest if pool is None else [part.digest for part in pool]
    parts = {"kind": "order", "benchmark": [items, benchmark.tokens]}
    return Seed(value=digest(parts).removeprefix("sha256:"))
