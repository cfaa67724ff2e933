"""What an engine is: something that shows a model at base + draw i, and puts the base back."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from certify.errors import InvalidInput
from certify.records import NoiseLaw, Seed, WeightNoise

if TYPE_CHECKING:
    from torch import nn

    from certify.noise.subspace import Subspace


class Engine(Protocol):
    """Use as a context manager; the model is its own again, bit for bit, when the block is left.

    ``at(i)`` is a pure function of the base weights, the law, the seed and i: in any order, on any machine.
    """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def at(self, draw: int) -> nn.Module:
        """Return a module that computes with the weights of draw ``draw``, until the next call."""
        ...


def noised(
    model: nn.Module,
    law: NoiseLaw,
    seed: Seed,
    *,
    subspace: Subspace | None = None,
    lattice_bits: int = 12,
    pilot: bool = False,
    scratch: bool = False,
) -> Engine:
    """Return the explicit engine for ``law`` on ``model``; ``pilot`` draws from streams of their own.

    ``scratch`` needs memory for the largest module only, and writes at every forward pass; the bits are the same.

    Raises:
        InvalidInput: a subspace law without its subspace, with another one, or on a model that vLLM serves.
    """
    from certify.checkpoints.served import Served
    from certify.noise.explicit import ExplicitEngine
    from certify.noise.perturbation import SubspacePerturbation, WeightPerturbation
    from certify.noise.scratch import ScratchEngine

    engine = ScratchEngine if scratch else ExplicitEngine
    prefix = "pilot/" if pilot else ""
    if isinstance(model, Served):
        from certify.noise.streaming import StreamingEngine

        if not isinstance(law, WeightNoise):
            raise InvalidInput("noise in a subspace is not streamed into vLLM: leave --engine vllm out")
        return StreamingEngine(model, law, seed, lattice_bits, prefix + "E")
    if isinstance(law, WeightNoise):
        return engine(model, WeightPerturbation(law, seed.integer, lattice_bits, prefix + "E"))
    if subspace is None or subspace.digest != law.basis:
        raise InvalidInput(f"the law speaks of the subspace {law.basis}, which was not given")
    return engine(model, SubspacePerturbation(law, subspace, seed.integer, lattice_bits, prefix + "S"))
