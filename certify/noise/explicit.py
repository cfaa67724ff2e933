"""The explicit engine: base never written, each draw written from it in one pass and rounded once."""

from __future__ import annotations

import warnings
from collections import defaultdict
from types import TracebackType
from typing import Self

import torch
from torch import nn

from certify.errors import CertifyWarning, InvalidInput
from certify.noise.contract import Place, Write
from certify.noise.holdings import Holdings
from certify.noise.perturbation import Perturbation, WeightPerturbation

ALIGNMENT = 4096  # elements: tensors start on a chunk of either sampler, so no two share a cache line or a page
DRAWS_BETWEEN_SUMS = 64
STILL = 0.2  # share of coordinates that do not move above which a warning is due
DRAWS = 1 << 32  # a draw is one 32-bit word of the Philox counter


class ExplicitEngine:
    """Points the moving parameters at one flat work buffer that holds base + draw, and back at the base on exit.

    Guarantee: ``at(i)`` gives every moving weight the bits of round(base + noise_i), whatever was drawn before and
    however many threads write; on leaving the block, by an error or an interrupt too, every parameter has its own
    storage with the bytes it came with. Weights and buffers that changed in the meantime raise CheckpointChanged.

    Extra memory: one copy of the moving tensors. Tied tensors are noised once. Buffers are never noised.
    """

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        self._model, self._perturbation = model, perturbation
        self._holdings = Holdings(model, perturbation.names)
        self._open = False

    def __enter__(self) -> Self:
        if self._open:
            raise InvalidInput("the engine is open already: its base is what it was opened on")
        holdings = self._holdings
        holdings.open()
        work = work_storage(holdings.base)
        self._copies = [(work[n], base) for n, base in holdings.base.items() if not base.is_contiguous()]
        self._places = [place(name, base, work[name]) for name, base in holdings.base.items()]
        self._write: Write = self._perturbation.writer(self._places)
        self._drawn, self._open = 0, True
        try:
            for name, storage in work.items():
                holdings.point(name, storage)
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
        """Write base + draw into the work storage: float64 sum, nearest float32, then the storage dtype.

        Raises:
            InvalidInput: the engine is closed, or ``draw`` is not in [0, 2^32).
            CheckpointChanged: the base was written since the engine was opened (looked at every 64 draws).
        """
        if not self._open:
            raise InvalidInput("the engine is closed: use it as a context manager")
        check_draw(draw)
        for storage, base in self._copies:
            storage.copy_(base)
        self._write(draw)
        if self._drawn == 0 and isinstance(self._perturbation, WeightPerturbation):
            still = sum(unmoved(self._holdings.base[p.name].reshape(-1), p.work) for p in self._places)
            warn_if_still(still, sum(p.work.numel() for p in self._places))
        self._drawn += 1
        if self._drawn % DRAWS_BETWEEN_SUMS == 0:
            self._holdings.check_sum()
        return self._model

    def _close(self) -> None:
        self._open = False
        self._holdings.restore()
        self._copies, self._places = [], []
        del self._write


def work_storage(base: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a view into one flat buffer for each tensor, per device and dtype, with the tensor's shape.

    The buffer starts as NaN: weights that no draw has written give no score instead of a wrong one.
    """
    groups = defaultdict(list)
    for name, tensor in base.items():
        groups[tensor.device, tensor.dtype].append(name)
    out = {}
    for (device, dtype), names in groups.items():
        buffer = torch.full((sum(aligned(base[n].numel()) for n in names),), float("nan"), dtype=dtype, device=device)
        start = 0
        for name in names:
            out[name] = buffer[start : start + base[name].numel()].view(base[name].shape)
            start += aligned(base[name].numel())
    return out


def aligned(size: int) -> int:
    """Return ``size`` rounded up to whole chunks."""
    return -(-size // ALIGNMENT) * ALIGNMENT


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
