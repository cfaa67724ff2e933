"""What every engine that holds a model in memory does alike: open, show a draw, put back, check."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import torch
from torch import nn

from certify.errors import CertifyWarning, InvalidInput
from certify.noise.contract import Place
from certify.noise.holdings import Holdings
from certify.noise.perturbation import Perturbation, WeightPerturbation

DRAWS_BETWEEN_SUMS = 64
STILL = 0.2  # share of coordinates that do not move above which a warning is due
DRAWS = 1 << 32  # a draw is one 32-bit word of the Philox counter


class HeldEngine(ABC):
    """Shows a model that it holds at base + draw, and gives every parameter its own storage back on exit.

    Guarantee: however the block is left, by an error or an interrupt too, every parameter has the storage and the
    bytes it came with. Weights and buffers that changed in the meantime raise CheckpointChanged. Tied tensors are
    noised once, buffers never. How a draw gets before the model is the subclass's.
    """

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        self._model, self._perturbation = model, perturbation
        self._holdings = Holdings(model, perturbation.names)
        self._open, self._drawn = False, 0

    def __enter__(self) -> Self:
        if self._open:
            raise InvalidInput("the engine is open already: its base is what it was opened on")
        self._holdings.open()
        self._drawn, self._open = 0, True
        try:
            self._prepare()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if error is None:
            self._holdings.check_digest()

    def at(self, draw: int) -> nn.Module:
        """Show the model at base + draw: float64 sum, nearest float32, then the storage dtype.

        Raises:
            InvalidInput: the engine is closed, or ``draw`` is not in [0, 2^32).
            CheckpointChanged: the base was written since the engine was opened (looked at every 64 draws).
        """
        if not self._open:
            raise InvalidInput("the engine is closed: use it as a context manager")
        check_draw(draw)
        self._show(draw)
        if self._drawn == 0 and isinstance(self._perturbation, WeightPerturbation):
            warn_if_still(*self._unmoved())
        self._drawn += 1
        if self._drawn % DRAWS_BETWEEN_SUMS == 0:
            self._holdings.check_sum()
        return self._model

    def _close(self) -> None:
        self._open = False
        self._holdings.restore()
        self._release()

    @abstractmethod
    def _prepare(self) -> None:
        """Take the memory for draws, and point the moving parameters at it."""

    @abstractmethod
    def _show(self, draw: int) -> None:
        """Let the model compute with the weights of ``draw``."""

    @abstractmethod
    def _unmoved(self) -> tuple[int, int]:
        """Return how many moving weights the draw that is shown left where they were, and of how many."""

    @abstractmethod
    def _release(self) -> None:
        """Give the memory for draws back, however much of it there is."""

    def _still(self, places: list[Place]) -> int:
        """Return how many weights in these places are those of the base."""
        return sum(unmoved(self._holdings.base[p.name].reshape(-1), p.work) for p in places)


def place(name: str, base: torch.Tensor, work: torch.Tensor) -> Place:
    """Return where a tensor is read and written; one whose elements are not in order is first copied to work."""
    return Place(name, (base if base.is_contiguous() else work).view(-1), work.view(-1))


def check_draw(draw: int) -> None:
    """Refuse what does not fit the counter: it would repeat another draw."""
    if not 0 <= draw < DRAWS:
        raise InvalidInput(f"draw must be in [0, 2^32), got {draw}")


def unmoved(base: torch.Tensor, work: torch.Tensor, slab: int = 1 << 20) -> int:
    """Return how many elements of two flat tensors are equal."""
    starts = range(0, base.numel(), slab)
    return sum(int((base[s : s + slab] == work[s : s + slab]).sum()) for s in starts)


def warn_if_still(still: int, size: int) -> None:
    """Warn when rounding swallowed the noise of more than a fifth of the coordinates.

    The certificate stays true, since the rounding is part of the function it speaks of; but that function is then
    nearly the base itself. In bfloat16, weights near 0.02 stand still below sigma of about 1e-4 (32 % of them).
    """
    if still > STILL * size:
        warnings.warn(
            f"in the first draw {still / size:.0%} of {size:,} noised weights did not move: the noise is finer than "
            "the storage dtype; use a larger sigma, or a base in float32",
            CertifyWarning,
            stacklevel=3,
        )
