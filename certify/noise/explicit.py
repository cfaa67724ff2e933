"""The explicit engine: base never written, each draw written from it in one pass and rounded once."""

from __future__ import annotations

from collections import defaultdict

import torch

from certify.noise.contract import Place, Write
from certify.noise.held import HeldEngine, place

ALIGNMENT = 4096  # elements: tensors start on a chunk of either sampler, so no two share a cache line or a page


class ExplicitEngine(HeldEngine):
    """Points the moving parameters at one flat work buffer that holds base + draw.

    Guarantee: ``at(i)`` gives every moving weight the bits of round(base + noise_i), whatever was drawn before and
    however many threads write.

    Extra memory: one copy of the moving tensors.
    """

    _copies: list[tuple[torch.Tensor, torch.Tensor]]
    _places: list[Place]
    _write: Write | None

    def _prepare(self) -> None:
        base = self._holdings.base
        work = work_storage(base)
        self._copies = [(work[name], each) for name, each in base.items() if not each.is_contiguous()]
        self._places = [place(name, each, work[name]) for name, each in base.items()]
        self._write = self._perturbation.writer(self._places)
        for name, storage in work.items():
            self._holdings.point(name, storage)

    def _show(self, draw: int) -> None:
        for storage, base in self._copies:
            storage.copy_(base)
        assert self._write is not None  # the engine is open
        self._write(draw)

    def _unmoved(self) -> tuple[int, int]:
        return self._still(self._places), sum(p.work.numel() for p in self._places)

    def _release(self) -> None:
        self._copies, self._places, self._write = [], [], None


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
