"""The explicit engine: base never written, each draw written from it in one pass and rounded once."""

from __future__ import annotations

import hashlib
from types import TracebackType
from typing import Self

import torch
from torch import nn

from certify.errors import CheckpointChanged, InvalidInput
from certify.noise.perturbation import Perturbation
from certify.noise.philox import check_known_answers

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class ExplicitEngine:
    """Points the moving parameters at work storage that holds base + draw, and back at the base on exit.

    Extra memory: one copy of the moving tensors. Tied tensors are noised once, since all their names are one
    parameter object. Buffers are never noised.
    """

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        check_known_answers()
        parameters = dict(model.named_parameters())
        unknown = [name for name in perturbation.names if name not in parameters]
        if unknown:
            raise InvalidInput(f"the noise law names tensors that the model does not have, e.g. {unknown[:3]}")
        self._model, self._perturbation = model, perturbation
        self._parameters = {name: parameters[name] for name in perturbation.names}
        for name, parameter in self._parameters.items():
            _check_noisable(name, parameter)
        self._base: dict[str, torch.Tensor] = {}
        self._work: dict[str, torch.Tensor] = {}
        self._fingerprint = ""

    def __enter__(self) -> Self:
        for name, parameter in self._parameters.items():
            self._base[name] = parameter.data
            self._work[name] = torch.empty_like(parameter.data, memory_format=torch.contiguous_format)
        self._fingerprint = self._digest()
        for name, parameter in self._parameters.items():
            parameter.data = self._work[name]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, parameter in self._parameters.items():
            if name in self._base:
                parameter.data = self._base[name]
        changed = self._fingerprint != self._digest()
        self._base, self._work = {}, {}
        if changed and error is None:
            raise CheckpointChanged(
                "base weights or buffers were written while noise was on: the scores drawn are void; a forward pass "
                "that changes its own state cannot be certified"
            )

    def at(self, draw: int) -> nn.Module:
        """Write base + draw into the work storage: float64 sum, nearest float32, then the storage dtype."""
        if not self._work:
            raise InvalidInput("the engine is closed: use it as a context manager")
        for name, start, noise in self._perturbation.parts(draw):
            end = start + noise.numel()
            base = self._base[name].reshape(-1)[start:end]
            work = self._work[name].view(-1)[start:end]
            total = base.to(torch.float64) + noise.to(base.device)
            work.copy_(total if work.dtype == torch.float64 else total.to(torch.float32))
        return self._model

    def _digest(self) -> str:
        """Digest of the base's moving weights and of all buffers, which no draw and no forward may change."""
        whole = hashlib.blake2b(digest_size=32)
        for tensor in (*self._base.values(), *self._model.buffers()):
            whole.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
        return whole.hexdigest()


def _check_noisable(name: str, parameter: nn.Parameter) -> None:
    if parameter.dtype not in DTYPES:
        raise InvalidInput(
            f"tensor {name!r} is {parameter.dtype}: quantised or packed weights cannot take noise; dequantise the "
            "model, or put the noise on adapter coordinates only"
        )
