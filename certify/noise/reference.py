"""The reference engine: slow, float64, one tensor at a time, obviously right. Every engine is held to it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from certify.noise.law import lattice_pitch
from certify.noise.philox import NormalStream
from certify.records import WeightNoise


class ReferenceEngine:
    """Weight noise by ``functional_call``: the model itself is never touched."""

    def __init__(self, model: nn.Module, law: WeightNoise, seed: int, lattice_bits: int = 12) -> None:
        self._model, self._law, self._lattice_bits = model, law, lattice_bits
        self._stream = NormalStream(seed, "E")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def weights(self, draw: int) -> dict[str, torch.Tensor]:
        """Return base + draw for every noised tensor, rounded to the model's dtype."""
        out = {}
        for tensor_id, name in enumerate(sorted(self._law.sigma)):
            sigma = self._law.sigma[name]
            if sigma > 0:
                base = self._model.get_parameter(name).detach()
                z = self._stream.normals(draw, tensor_id, base.numel())
                pitch = lattice_pitch(sigma, self._lattice_bits)
                noise = torch.from_numpy(np.rint(sigma * z / pitch) * pitch).reshape(base.shape)
                total = base.to(torch.float64).cpu() + noise
                out[name] = (total if base.dtype == torch.float64 else total.to(torch.float32)).to(base)
        return out

    def at(self, draw: int) -> nn.Module:
        """Return a module that calls the model with the weights of draw ``draw``."""
        return _Substituted(self._model, self.weights(draw))


class _Substituted(nn.Module):
    def __init__(self, model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._call = (model, weights)  # in a tuple, so that the model does not become a submodule

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        model, weights = self._call
        return torch.func.functional_call(model, weights, args, kwargs)
