"""By what scores were computed: the engine that showed draws to the model, and the machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from certify.records.noise_law import SubspaceNoise, WeightNoise
from certify.records.record import Digest, NonNegative, Positive, Record
from certify.statistics.precision import eta_strict

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
    as an item without an answer, so it counts against whatever is claimed. ``batching`` says how rows were made, which
    decides which noise a token is shown: two ways are other draws of one law, and are not mixed.
    """

    name: Literal["activation"] = "activation"
    sampler: Literal["strict"] = "strict"
    device: str
    tokens_per_batch: Annotated[int, Field(gt=0)]
    guard: Positive
    coupling: NonNegative
    guarded: Annotated[int, Field(ge=0)] = 0
    batching: Way = ""

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
