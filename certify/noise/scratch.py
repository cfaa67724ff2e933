"""The explicit engine for models that do not fit twice: each module's draw is written when its forward runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from certify.errors import InvalidInput
from certify.noise.contract import Place, Write
from certify.noise.explicit import aligned
from certify.noise.held import HeldEngine, place
from certify.noise.perturbation import Perturbation

Group = tuple[torch.device, torch.dtype]


class ScratchEngine(HeldEngine):
    """Writes a module's noised weights into scratch before its forward, and takes them away after it.

    Guarantee: inside its own forward a module sees the very bits that :class:`ExplicitEngine` would give it. Outside
    of it every moving weight reads as NaN, so a weight that another module reads directly (fused attention, a
    functional call) makes scores fail instead of escaping the noise.

    Extra memory: the largest module that owns moving weights (with its owning parents). Costs one writing of the
    weights for each forward pass, not for each draw: use large batches. For inference only: no backward pass.
    """

    _owned: dict[nn.Module, list[str]]
    _void: dict[str, torch.Tensor]
    _writers: dict[tuple[Any, ...], Write]
    _frames: list[_Frame]

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        super().__init__(model, perturbation)
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._release()

    def _prepare(self) -> None:
        self._owned = _owned(self._model, self._holdings.aliases)
        self._void = {name: _void(base) for name, base in self._holdings.base.items()}
        self._stack = _Stack(_capacities(self._model, self._owned, self._holdings.base))
        for module in self._owned:
            self._hooks.append(module.register_forward_pre_hook(self._before, prepend=True))
            self._hooks.append(module.register_forward_hook(self._after, always_call=True))
        for name, storage in self._void.items():
            self._holdings.point(name, storage)

    def _show(self, draw: int) -> None:
        while self._frames:  # an interrupt in the middle of a forward pass leaves frames behind
            self._drop(self._frames.pop())
        self._draw = draw

    def _before(self, module: nn.Module, inputs: Any) -> None:
        """Show the module its noised weights; weights that a module further out already shows stay as they are."""
        if self._draw >= 0:
            shown = {name for frame in self._frames for name in frame.work}
            self._frames.append(self._written(module, [n for n in self._owned[module] if n not in shown]))
            for name, storage in self._frames[-1].work.items():
                self._holdings.point(name, storage)

    def _after(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._frames and self._frames[-1].module is module:
            self._drop(self._frames.pop())

    def _written(self, module: nn.Module, names: list[str]) -> _Frame:
        """Take room on the stack for some of a module's weights and write the draw there."""
        base, before = self._holdings.base, dict(self._stack.used)
        work = {name: self._stack.take(base[name], module) for name in names}
        places = [place(name, base[name], work[name]) for name in names]
        for name in names:
            if not base[name].is_contiguous():
                work[name].copy_(base[name])
        key = (tuple(names), tuple(before.items()))
        if key not in self._writers:
            self._writers[key] = self._perturbation.writer(places)
        self._writers[key](self._draw)
        return _Frame(module, work, before, places)

    def _drop(self, frame: _Frame) -> None:
        for name in frame.work:
            self._holdings.point(name, self._void[name])
        self._stack.used = frame.before

    def _unmoved(self) -> tuple[int, int]:
        """Write every module once, and count."""
        still = size = 0
        for module, names in self._owned.items():
            frame = self._written(module, names)
            still += self._still(frame.places)
            size += sum(p.work.numel() for p in frame.places)
            self._stack.used = frame.before
        return still, size

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._draw = [], -1
        self._owned, self._void, self._writers, self._frames = {}, {}, {}, []
        self._stack = _Stack({})


@dataclass(frozen=True)
class _Frame:
    """One module whose forward is running: where its weights are, and how full the scratch was before."""

    module: nn.Module
    work: dict[str, torch.Tensor]
    before: dict[Group, int]
    places: list[Place]


class _Stack:
    """Scratch of fixed size for each device and dtype, given out from the bottom up. Starts as NaN."""

    def __init__(self, capacities: dict[Group, int]) -> None:
        self._buffers = {
            group: torch.full((size,), float("nan"), device=group[0], dtype=group[1])
            for group, size in capacities.items()
        }
        self.used = dict.fromkeys(capacities, 0)

    def take(self, like: torch.Tensor, module: nn.Module) -> torch.Tensor:
        group = (like.device, like.dtype)
        start = self.used[group]
        if start + aligned(like.numel()) > self._buffers[group].numel():
            raise InvalidInput(
                f"a {type(module).__name__} runs inside a module that is not its parent, so scratch memory is too "
                "small; use the flat engine"
            )
        self.used[group] = start + aligned(like.numel())
        return self._buffers[group][start : start + like.numel()].view(like.shape)


def _owned(model: nn.Module, aliases: dict[int, str]) -> dict[nn.Module, list[str]]:
    """Map each module to the moving weights that are its own attributes."""
    out = {}
    for module in model.modules():
        names = [aliases[id(p)] for p in module.parameters(recurse=False) if id(p) in aliases]
        if names:
            out[module] = list(dict.fromkeys(names))
    return out


def _capacities(model: nn.Module, owned: dict[nn.Module, list[str]], base: dict[str, torch.Tensor]) -> dict[Group, int]:
    """Elements of scratch: the largest sum along one path of the module tree."""
    out: dict[Group, int] = defaultdict(int)
    for sums in _paths(model, owned, base):
        for group, size in sums.items():
            out[group] = max(out[group], size)
    return dict(out)


def _paths(
    module: nn.Module, owned: dict[nn.Module, list[str]], base: dict[str, torch.Tensor]
) -> Iterator[dict[Group, int]]:
    """Yield, for each module below ``module``, what it and the modules around it own."""
    own: dict[Group, int] = defaultdict(int)
    for name in owned.get(module, ()):
        own[base[name].device, base[name].dtype] += aligned(base[name].numel())
    yield dict(own)
    for child in module.children():
        for below in _paths(child, owned, base):
            yield {group: own[group] + below.get(group, 0) for group in own.keys() | below.keys()}


def _void(base: torch.Tensor) -> torch.Tensor:
    """One NaN in the shape of a whole tensor."""
    return torch.full((), float("nan"), dtype=base.dtype, device=base.device).expand(base.shape)
