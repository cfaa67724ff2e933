"""The model's own weights, held while the model is shown at others: who moves, who is tied, what must not change."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import nn

from certify.errors import CheckpointChanged, InvalidInput

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
VOID = (
    "base weights or buffers were written while noise was on: the scores drawn are void; a forward pass that changes "
    "its own state cannot be certified"
)


class Holdings:
    """The moving parameters of a model with every alias, and their base storage, which is never written.

    Parameters that are one view of one storage are tied: noised once, all repointed together. Views that overlap
    in part are refused, since no assignment of storage could keep both.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        parameters = dict(model.named_parameters())
        unknown = [name for name in names if name not in parameters]
        if unknown:
            raise InvalidInput(f"the noise law names tensors that the model does not have, e.g. {unknown[:3]}")
        for name in names:
            _check_noisable(name, parameters[name])
        self._model, self._names = model, tuple(names)
        self._tied = _tied(parameters, names)
        _check_overlaps(model, names)
        self.base: dict[str, torch.Tensor] = {}

    def open(self) -> None:
        """Remember the storage of every moving parameter, and the bits of all weights and buffers."""
        parameters = dict(self._model.named_parameters())
        self.base = {name: parameters[name].data for name in self._names}
        self._frozen = [p.data for name, p in parameters.items() if name not in self.base]
        self._fingerprint, self._sum = self._digest(), self._total()

    def point(self, name: str, storage: torch.Tensor) -> None:
        """Let every alias of one tensor use ``storage``."""
        for parameter in self._tied[name]:
            parameter.data = storage

    def restore(self) -> None:
        """Give every parameter object its own storage back."""
        for name, tensor in self.base.items():
            self.point(name, tensor)

    @property
    def aliases(self) -> dict[int, str]:
        """The name under which a parameter object moves, by the object's identity."""
        return {id(p): name for name, tied in self._tied.items() for p in tied}

    def check_sum(self) -> None:
        """Compare a wrapping sum of the base's bits with the one at the start: cheap enough to do between draws.

        Raises:
            CheckpointChanged: they differ.
        """
        if self._total() != self._sum:
            raise CheckpointChanged(VOID)

    def check_digest(self) -> None:
        """Compare the digest of all base weights and buffers with the one at the start.

        Raises:
            CheckpointChanged: they differ.
        """
        if self._digest() != self._fingerprint:
            raise CheckpointChanged(VOID)

    def _total(self) -> int:
        return sum(int(t.view(INTEGERS[t.itemsize]).sum(dtype=torch.int64)) for t in self.base.values())

    def _digest(self) -> str:
        whole = hashlib.blake2b(digest_size=32)
        for tensor in (*self.base.values(), *self._frozen, *self._model.buffers()):
            whole.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
        return whole.hexdigest()


def _check_noisable(name: str, parameter: nn.Parameter) -> None:
    if parameter.dtype not in DTYPES:
        raise InvalidInput(
            f"tensor {name!r} is {parameter.dtype}: quantised or packed weights cannot take noise; dequantise the "
            "model, or put the noise on adapter coordinates only"
        )


def _tied(parameters: dict[str, nn.Parameter], names: Sequence[str]) -> dict[str, list[nn.Parameter]]:
    """Map each moving name to its parameter and to others that are the same view of the same storage."""
    moving, groups = set(names), defaultdict(list)
    for name, parameter in parameters.items():
        groups[_view(parameter)].append(name)
    out = {}
    for name in names:
        group = groups[_view(parameters[name])]
        twice = [other for other in group if other in moving]
        if len(twice) > 1:
            raise InvalidInput(
                f"tensors {twice[0]!r} and {twice[1]!r} are one storage, so they cannot have independent noise: tie "
                f"them as one parameter, or give {twice[1]!r} sigma 0 (it moves along)"
            )
        out[name] = [parameters[other] for other in group]
    return out


def _view(tensor: torch.Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def _check_overlaps(model: nn.Module, names: Sequence[str]) -> None:
    """Refuse a moving tensor that shares some, but not all, of its bytes with another tensor of the model."""
    moving = set(names)
    named = [*model.named_parameters(), *model.named_buffers()]
    spans = sorted((*_span(t), name) for name, t in named if t.numel())
    tensors, (_, reach, furthest) = dict(named), spans[0]
    for start, end, name in spans[1:]:
        if start < reach and moving & {name, furthest} and _view(tensors[name]) != _view(tensors[furthest]):
            raise InvalidInput(
                f"tensors {furthest!r} and {name!r} overlap in part, so noise on one would be lost on the other: "
                "give each storage of its own (clone one of them)"
            )
        if end > reach:
            reach, furthest = end, name


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """First byte and the byte after the last."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (steps + 1) * tensor.itemsize
