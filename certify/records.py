"""Records: what was used and what was counted, as frozen data that a file can hold.

A record states facts (identities, settings, counts); claims derived from them live in
:mod:`certify.evidence` and :mod:`certify.certificate`. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from certify.statistics.precision import eta_strict

Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Alpha = Annotated[float, Field(gt=0.0, lt=1.0)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Record(BaseModel):
    """A frozen piece of data whose meaning never changes; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Offer the class to Hypothesis where that is in use: its entry point has then loaded the module named here."""
        strategies = sys.modules.get("certify._hypothesis")
        if strategies is not None:
            strategies.offer(cls)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value`` that digests are taken over (sorted keys, no spaces)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return ``sha256:<hex>`` of the canonical JSON of ``value``."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


class ModelIdentity(Record):
    """Which model: the weights, and everything beside them that computes.

    ``weights`` covers the names, dtypes, shapes and bytes of the model's own parameters, whatever the files call them
    and however they are sharded. ``companions`` maps each other part that computes (``config``, ``generation
    settings``) to the digest of its meaning, ``computed_in`` is the dtype of computation. ``spelling`` maps each file
    beside the weights to a digest of its bytes: recorded, deciding nothing.

    Version 1 of the files had no ``computed_in`` (None) and no ``spelling``; its ``companions`` were digests of bytes.
    """

    name: str
    weights: Digest
    companions: dict[str, Digest]
    parameters: Annotated[int, Field(gt=0)]
    dtypes: tuple[str, ...]
    computed_in: str | None = None
    spelling: dict[str, Digest] = {}

    @property
    def fingerprint(self) -> str:
        """What tells it from others of its name: the digest of its weights."""
        return self.weights


def _numbered_as_they_come(groups: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Hold group numbers to the one way of writing a grouping: from 0, in the order in which groups first appear."""
    new = 0
    for number in groups or ():
        if not 0 <= number <= new:
            raise ValueError(f"groups are numbered from 0 as they first appear; {number} comes where {new} is next")
        new = max(new, number + 1)
    if groups is not None and new == len(groups):
        raise ValueError("groups of one item each are no groups; leave them out")
    return groups


Groups = Annotated[
    tuple[int, ...] | None, AfterValidator(_numbered_as_they_come), Field(exclude_if=lambda groups: groups is None)
]
"""The number of each item's group; None where every item stands for itself, which files then do not say."""


def refuse_ungrouped(groups: Groups, items: int) -> None:
    """Refuse groups of another number of items.

    Raises:
        ValueError: naming both numbers.
    """
    if groups is not None and len(groups) != items:
        raise ValueError(f"groups: {len(groups)} numbers for {items} items")


def units(items: int, groups: Groups) -> int:
    """Return how many independent units ``items`` are: as many, or as there are groups of them."""
    return items if groups is None else max(groups) + 1


def grouping(groups: Groups) -> str:
    """Say how items are grouped, in words that differ where groupings do."""
    if groups is None:
        return "no groups"
    return f"{units(len(groups), groups)} groups of {len(groups)} items ({digest(list(groups))})"


class Part(Record):
    """One benchmark of a pool: which items it has, and the weight that was declared for its mean."""

    name: str
    items: Annotated[int, Field(gt=0)]
    weight: Positive
    chance: Annotated[float, Field(ge=0.0, lt=1.0)]
    digest: Digest


SMALLEST_SHARE = Fraction(1, 1_000_000)
"""A benchmark with less of the weight would be in a pool by name only."""


def _several_and_different(pool: tuple[Part, ...] | None) -> tuple[Part, ...] | None:
    """Hold a pool to at least two benchmarks, none of them twice, each with a share that counts."""
    if pool is None:
        return pool
    if len(pool) < 2:
        raise ValueError("a pool is of two benchmarks or more")
    if small := next((part for part, share in zip(pool, shares(pool), strict=True) if share < SMALLEST_SHARE), None):
        raise ValueError(f"{small.name} has less than a millionth of the weight, so it would not count")
    for what in ("name", "digest"):
        named = [getattr(part, what) for part in pool]
        if again := next((each for each in named if named.count(each) > 1), None):
            raise ValueError(f"a pool counts each benchmark once, and {again} is in it twice")
    return pool


Pool = Annotated[
    tuple[Part, ...] | None, AfterValidator(_several_and_different), Field(exclude_if=lambda pool: pool is None)
]
"""The benchmarks whose weighted mean is judged, their items one after the other; None, which files do not say: one."""


def shares(pool: tuple[Part, ...]) -> tuple[Fraction, ...]:
    """Return the weight of each benchmark of a pool as a share of all weights, exactly as their decimals say."""
    weights = [Fraction(repr(part.weight)) for part in pool]
    return tuple(weight / sum(weights) for weight in weights)


def identity_of_pool(pool: tuple[Part, ...]) -> dict[str, Any]:
    """Return what follows from the benchmarks of a pool and their shares: digest, number of items, chance."""
    of_each = list(zip(pool, shares(pool), strict=True))
    chance = sum(Fraction(repr(part.chance)) * share for part, share in of_each)
    return {
        "digest": digest({"pool": [[part.digest, str(share)] for part, share in of_each]}),
        "items": sum(part.items for part in pool),
        "chance": float(chance),
    }


class BenchmarkIdentity(Record):
    """Which frozen items, scored how. ``tokens`` covers the token ids the base's tokenizer gave them.

    It is None where another tool asked them.

    ``graded``: an item's score may lie between 0 and 1, which decides the bounds that are valid for it.

    ``groups``: which items come together (questions on one passage), so that a claim about a population counts each
    group once. It is no part of ``digest``: the seeds of draws and orders follow from what is asked alone, and nobody
    gets others by grouping the items otherwise.

    ``pool``: the benchmarks that are judged together, by the weighted mean of their scores; digest, items and chance
    are then what follows from them.
    """

    name: str
    items: Annotated[int, Field(gt=0)]
    scoring: str
    graded: bool = False
    chance: Annotated[float, Field(ge=0.0, lt=1.0)]
    digest: Digest
    tokens: Digest | None
    groups: Groups = None
    pool: Pool = None

    @model_validator(mode="after")
    def _a_group_for_each_item(self) -> BenchmarkIdentity:
        refuse_ungrouped(self.groups, self.items)
        return self

    @model_validator(mode="after")
    def _follows_from_its_pool(self) -> BenchmarkIdentity:
        for name, expected in (identity_of_pool(self.pool) if self.pool else {}).items():
            if (found := getattr(self, name)) != expected:
                raise ValueError(f"{name}: {found!r}, but its pool gives {expected!r}")
        return self

    @property
    def spelled(self) -> str:
        """Its name; of a pool also what is in it, and the share of each."""
        if self.pool is None:
            return self.name
        parts = ", ".join(
            f"{share} of {part.name} ({part.items} items)"
            for part, share in zip(self.pool, shares(self.pool), strict=True)
        )
        return f"{self.name}, the weighted mean of {parts}"


class BroughtScores(Record):
    """Whose scores another tool made, as its log says it: nobody here has seen the model.

    ``model`` is what the log calls it, ``name`` a short form; ``file`` the name of the log and ``digest`` that of its
    bytes. Versions are empty where the log does not say them.
    """

    name: str
    tool: str
    version: str
    task: str
    task_version: str
    model: str
    file: str
    digest: Digest

    @property
    def fingerprint(self) -> str:
        """What tells it from others of its name: what its log calls it, in each task's log alike, or the log itself."""
        return digest([self.tool, self.model]) if self.model else self.digest


class FamilyIdentity(Record):
    """Which models a cover speaks of: one for each point in the space of ``coefficients``, which name its axes.

    ``members`` are what these models are made of, in the order of the coefficients, each with its digest: the end of a
    segment; the weights and the config of an adapter; the recipe of a merge without what varies, and its models.
    """

    kind: Literal["segment", "adapter", "merge"]
    name: str
    coefficients: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    members: Annotated[tuple[tuple[str, Digest], ...], Field(min_length=1)]

    @property
    def title(self) -> str:
        """What it is, in words."""
        return {"segment": "the segment from the base to ", "adapter": "the scales of ", "merge": "the merges of "}[
            self.kind
        ] + self.name

    @property
    def fingerprint(self) -> str:
        """What tells it from others of its name: the digest of what it is made of, and how."""
        return digest([self.kind, len(self.coefficients), [each for _, each in self.members]])


class Axis(Record):
    """One coefficient of a cover: its range, and the windows of one ``width`` that lie evenly spaced along it.

    They are fixed before any draw and leave no gap; those wider than range/count overlap.
    """

    low: float
    high: float
    windows: Annotated[int, Field(gt=0, le=1000)]
    width: Positive

    @model_validator(mode="after")
    def _covered(self) -> Axis:
        span = self.high - self.low
        if not 0.0 < span < math.inf:
            raise ValueError(f"a range goes from a number to a larger one, got {self.low:g} to {self.high:g}")
        if not span / self.windows <= self.width * (1 + 1e-9) or self.width > span:
            raise ValueError(
                f"{self.windows} windows of width {self.width:g} must cover the range from {self.low:g} to "
                f"{self.high:g} and lie in it: a width from {span / self.windows:.6g} to {span:.6g}"
            )
        return self

    @property
    def places(self) -> tuple[tuple[float, float], ...]:
        """Both ends of each window."""
        step = (self.high - self.low - self.width) / max(1, self.windows - 1)
        starts = [self.low + i * step for i in range(self.windows)]
        return tuple((start, min(self.high, start + self.width)) for start in starts)


class WeightNoise(Record):
    """Independent Gaussian noise on weights: standard deviation ``sigma[name]`` for each tensor.

    A tensor with sigma 0 is frozen: a checkpoint that moved it is at distance infinity. Names are those of
    ``named_parameters()``, tied tensors once; ``sizes`` holds their numbers of elements.
    """

    kind: Literal["weights"] = "weights"
    sigma: dict[str, NonNegative]
    sizes: dict[str, Annotated[int, Field(gt=0)]]

    @model_validator(mode="after")
    def _a_size_for_each_sigma(self) -> WeightNoise:
        if unsized := sorted(self.sigma.keys() - self.sizes.keys()):
            raise ValueError(f"sizes: none is given for {unsized[0]}, which has a sigma")
        return self

    @property
    def dimension(self) -> int:
        """Number of noised coordinates."""
        return sum(self.sizes[name] for name, sigma in self.sigma.items() if sigma > 0)

    @property
    def noise_norm(self) -> float:
        """Root mean square norm of one draw, in weight units."""
        return math.hypot(*(math.sqrt(self.sizes[name]) * s for name, s in self.sigma.items()))

    def describe(self) -> str:
        """Return the law in words."""
        values = sorted({s for s in self.sigma.values() if s > 0})
        spread = f"sigma = {values[0]:g}" if len(values) == 1 else f"sigma from {values[0]:g} to {values[-1]:g}"
        frozen = sum(1 for s in self.sigma.values() if s == 0)
        rest = f", {frozen} tensors frozen" if frozen else ""
        return f"Gaussian noise on {self.dimension:,} weights, {spread}{rest}"


class SubspaceNoise(Record):
    """Gaussian noise on k coordinates a of the map a -> base + sum_i a_i v_i, fixed before any draw."""

    kind: Literal["subspace"] = "subspace"
    sigma: Annotated[tuple[Positive, ...], Field(min_length=1)]
    basis: Digest

    @property
    def dimension(self) -> int:
        """Number of noised coordinates, k."""
        return len(self.sigma)

    @property
    def noise_norm(self) -> float:
        """Root mean square norm of one draw, in coordinate units."""
        return math.hypot(*self.sigma)

    def describe(self) -> str:
        """Return the law in words."""
        values = sorted(set(self.sigma))
        spread = f"sigma = {values[0]:g}" if len(values) == 1 else f"sigma from {values[0]:g} to {values[-1]:g}"
        return f"Gaussian noise on {self.dimension} coordinates of a fixed subspace, {spread}"


NoiseLaw = Annotated[WeightNoise | SubspaceNoise, Field(discriminator="kind")]


Way = Literal["prefix tree", "distinct rows", ""]
WAYS: tuple[Way, ...] = ("prefix tree", "distinct rows", "")
"""How continuations become rows of a batch, from the cheapest: rows that branch where continuations part; rows that do
not, each distinct one once; one row for every continuation.

The last has no name: it is how draws were scored before the others came, which their records do not say.
"""


class ExplicitIdentity(Record):
    """Draws are written into the weights: the certified function is f(round(base + lattice noise)).

    ``batching`` and ``tokens_per_batch`` say how rows were scored: each plan rounds in its own way, and draws of two
    are not mixed.
    """

    name: Literal["explicit"] = "explicit"
    sampler: Literal["strict"] = "strict"
    lattice_bits: Literal[8, 12] = 12
    device: str
    tokens_per_batch: Annotated[int, Field(gt=0)]
    batching: Way = ""

    def eta(self, law: WeightNoise | SubspaceNoise) -> float:
        """Return the total variation between one implemented draw and the ideal Gaussian (theory S8)."""
        return float(eta_strict(law.dimension, self.lattice_bits))


class VllmIdentity(Record):
    """Draws are written into the weights of a model that vLLM serves: the same weights, computed by other code.

    ``version`` is vLLM's, ``scoring`` the one path by which it scores. Layout and dtype decide how sums round, so draws
    of two of them are not mixed.
    """

    name: Literal["vllm"] = "vllm"
    sampler: Literal["strict"] = "strict"
    lattice_bits: Literal[8, 12] = 12
    device: str
    version: str
    dtype: str
    tensor_parallel: Annotated[int, Field(gt=0)] = 1
    pipeline_parallel: Annotated[int, Field(gt=0)] = 1
    scoring: Literal["prompt log-probabilities", "greedy generation", "prompt log-probabilities; greedy generation"]

    def eta(self, law: WeightNoise | SubspaceNoise) -> float:
        """Return the total variation between one implemented draw and the ideal Gaussian (theory S8)."""
        return float(eta_strict(law.dimension, self.lattice_bits))

    def __str__(self) -> str:
        return (
            f"vLLM {self.version}, {self.dtype}, tensor parallel {self.tensor_parallel}, pipeline parallel "
            f"{self.pipeline_parallel}, {self.scoring}"
        )


WrittenIdentity = Annotated[ExplicitIdentity | VllmIdentity, Field(discriminator="name")]
"""Engines that write a draw into the weights, so that two models can be shown the same one."""


class ActivationIdentity(Record):
    """Draws are shown in activation space: the certified function is that of the unrounded weights, f(base + noise).

    ``guard`` is the smallest margin that counted, ``coupling`` the measured difference of logits from those of
    ordinary models with completed weights. ``guarded`` decisions had a margin within the guard; each is recorded
    as an item without an answer, so it counts against whatever is claimed.
    """

    name: Literal["activation"] = "activation"
    sampler: Literal["strict"] = "strict"
    device: str
    tokens_per_batch: Annotated[int, Field(gt=0)]
    guard: Positive
    coupling: NonNegative
    guarded: Annotated[int, Field(ge=0)] = 0

    def eta(self, law: WeightNoise | SubspaceNoise) -> float:
        """Return 0.0: this engine snaps no noise to a lattice, so the budget of S8 does not speak of it.

        Its float error is not a distance of laws. It moves margins, and every decision whose margin lies within the
        guard counts against the claim; that no error exceeds the guard is a premise that the claim states.
        """
        return 0.0


EngineIdentity = Annotated[ExplicitIdentity | VllmIdentity | ActivationIdentity, Field(discriminator="name")]
"""How draws were put into the model: decides which function exactly was certified."""


class BroughtIdentity(Record):
    """Draws were written into folders, and another tool scored them: the certified function is that tool's.

    Of each draw, in draw order, ``draws`` holds the digest of the weights that were written and that of the log that
    came back; ``base`` is the digest of the base's log, ``differences`` what is not alike in the logs, and may be.
    """

    name: Literal["brought"] = "brought"
    sampler: Literal["strict"] = "strict"
    lattice_bits: Literal[12] = 12
    tool: str
    version: str
    base: Digest
    draws: Annotated[tuple[tuple[Digest, Digest], ...], Field(min_length=1)]
    differences: tuple[str, ...] = ()

    def eta(self, law: WeightNoise | SubspaceNoise) -> float:
        """Return the total variation between one implemented draw and the ideal Gaussian (theory S8)."""
        return float(eta_strict(law.dimension, self.lattice_bits))


AnyEngine = Annotated[
    ExplicitIdentity | VllmIdentity | ActivationIdentity | BroughtIdentity, Field(discriminator="name")
]
"""The same of draws at a base, which another tool may have scored."""


class Environment(Record):
    """What scores may depend on beside the weights: versions, platform, and whose kernels ran (empty: not recorded).

    ``batching`` says how rows were scored, and why where that is not the cheapest way; empty: every continuation in a
    row of its own, many rows at once. Of a model that vLLM served it says which vLLM, how laid out and by which path.
    """

    python: str
    platform: str
    packages: dict[str, str]
    device: str = ""
    batching: str = ""


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


def identity_key(model: ModelIdentity) -> list[Any]:
    """Return the part of an identity that does not depend on what the folder is called, nor on how it is spelled."""
    key: list[Any] = [model.weights, model.companions]
    return key if model.computed_in is None else [*key, model.computed_in]


def short_digest(model: ModelIdentity | BroughtScores | FamilyIdentity) -> str:
    """Return the first eight digits of what tells models of one name apart."""
    return model.fingerprint.removeprefix("sha256:")[:8]


def same_model(found: ModelIdentity, recorded: ModelIdentity) -> bool:
    """Whether a file of any version speaks of ``found``; of version 1 only the weights can be compared."""
    if recorded.computed_in is None:
        return found.weights == recorded.weights
    return identity_key(found) == identity_key(recorded)


def items_key(benchmark: BenchmarkIdentity) -> dict[str, Any]:
    """Return the part of a benchmark's identity that scores depend on: neither what its file is called, nor groups."""
    return benchmark.model_dump(exclude={"name", "groups", "pool"})  # a pool is in its digest
