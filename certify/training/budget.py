"""Budgeted fine-tuning: weights, or coordinates, that never leave the ball that is certified around the base."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim import Optimizer

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.checkpoints.files import SINGLE
from certify.checkpoints.norms import norm_up, total_up
from certify.errors import InvalidInput
from certify.records import SubspaceNoise
from certify.training.radius import Allowance
from certify.writing import whole

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

FIRST_MARGIN = 1e-9


class Budget:
    """Holds ``tensors`` within ``radius`` of ``centre`` in the norm ||(tensor - centre) / sigma|| over them all.

    The distance is that of what will be stored, each tensor rounded to its centre's dtype; computed in float64,
    rounded up. ``sigma`` broadcasts over its tensor; where it is 0 the tensor stays at its centre.

    Guarantee: after ``project``, the distance is at most ``radius``.

    Raises:
        InvalidInput: a radius that is not positive and finite, or a tensor whose dtype cannot hold its centre.

    Source: theory, "Radius" (budgeted fine-tuning), "Anisotropic".
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        centre: Mapping[str, torch.Tensor],
        sigma: Mapping[str, torch.Tensor],
        radius: float,
    ) -> None:
        if not (math.isfinite(radius) and radius > 0):
            raise InvalidInput(f"the radius of a budget must be positive and finite, got {radius}")
        for name, tensor in tensors.items():
            if not torch.equal(centre[name].to(tensor.dtype).to(centre[name].dtype), centre[name]):
                raise InvalidInput(
                    f"tensor {name!r} is trained in {tensor.dtype}, which cannot hold the base's {centre[name].dtype} "
                    "values: train in a dtype that can"
                )
        self._tensors, self._centre, self._sigma = dict(tensors), dict(centre), dict(sigma)
        self._fixed = [name for name, s in self._sigma.items() if bool((s == 0).any())]
        self.radius = radius
        self.distance = self._distance()

    @property
    def used(self) -> float:
        """Share of the radius that is used, as of the last projection."""
        return self.distance / self.radius

    @torch.no_grad()
    def project(self) -> float:
        """Move what lies outside back onto the ball, delta <- delta * min(1, R / ||delta||), and return ``used``.

        Rounding to the storage dtype can push a point out again, so the distance is taken after it, and the factor
        is made smaller until it fits; in the end it is 0, which is the centre.

        Raises:
            InvalidInput: a tensor holds NaN or infinity.
        """
        for name in self._fixed:
            tensor, centre = self._tensors[name], self._centre[name]
            tensor.copy_(torch.where(self._sigma[name] > 0, tensor, centre.to(tensor.dtype)))
        self.distance, margin = self._distance(), FIRST_MARGIN
        while self.distance > self.radius:
            factor = max(0.0, 1.0 - margin) * min(1.0, self.radius / self.distance)
            for name, tensor in self._tensors.items():
                centre = self._centre[name].to(torch.float64)
                tensor.copy_(centre + factor * (tensor.to(torch.float64) - centre))
            self.distance, margin = self._distance(), 16 * margin
        return self.used

    def hold(self, optimizer: Optimizer) -> RemovableHandle:
        """Project now, and after each step of ``optimizer`` (bare, or wrapped by accelerate); remove() ends that."""
        self.project()
        while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
            optimizer = inner

        def after_step(*_: object) -> None:
            self.project()

        return optimizer.register_step_post_hook(after_step)

    @torch.no_grad()
    def _distance(self) -> float:
        # Rounded up for each tensor and once more in all: what is inside here is inside for `difference`.
        norms = []
        for name, tensor in self._tensors.items():
            centre, sigma = self._centre[name], self._sigma[name]
            delta = tensor.to(centre.dtype).to(torch.float64) - centre.to(torch.float64)
            if not bool(torch.isfinite(delta).all()):
                raise InvalidInput(f"tensor {name!r} holds NaN or infinity: no budget can hold it")
            whitened = torch.where(delta == 0, 0.0, delta / sigma)  # sigma 0: infinity if it moved
            norms.append(norm_up([whitened.reshape(-1)]))
        return total_up(norms)


def weight_budget(model: nn.Module, base: Checkpoint, allowed: Allowance) -> Budget:
    """Return the budget of a model whose weights are trained, around the weights in ``base``.

    Reads the base once for its identity, and keeps one copy of its weights on the model's devices.

    Raises:
        InvalidInput: the allowance speaks of a subspace or of another base, or the model has other tensors.
    """
    law = allowed.law
    if isinstance(law, SubspaceNoise):
        raise InvalidInput("the allowance speaks of coordinates of a subspace: use coordinate_budget")
    tensors = dict(model.named_parameters())
    odd = sorted({name for name in law.sigma if name not in base.parameters} | (tensors.keys() ^ law.sigma.keys()))
    if odd:
        raise InvalidInput(f"model, base and noise law differ in tensors, e.g. {odd[:3]}")
    allowed.refuse_other(base)
    centre = {name: base.read(name).to(p.device) for name, p in tensors.items()}
    sigma = {name: torch.tensor(law.sigma[name], dtype=torch.float64, device=p.device) for name, p in tensors.items()}
    return Budget(tensors, centre, sigma, allowed.radius)


def coordinate_budget(coordinates: torch.Tensor, base: Checkpoint, allowed: Allowance) -> Budget:
    """Return the budget of a subspace's trained ``coordinates``, shape (k,), around 0, which is ``base``.

    Raises:
        InvalidInput: the allowance speaks of weights, of another number of coordinates or of another base.
    """
    law = allowed.law
    if not isinstance(law, SubspaceNoise):
        raise InvalidInput("the allowance speaks of weights: use weight_budget")
    if tuple(coordinates.shape) != (law.dimension,):
        raise InvalidInput(f"coordinates have shape {tuple(coordinates.shape)}, the law speaks of ({law.dimension},)")
    allowed.refuse_other(base)
    sigma = torch.tensor(law.sigma, dtype=torch.float64, device=coordinates.device)
    name = "coordinates"
    return Budget({name: coordinates}, {name: torch.zeros_like(coordinates)}, {name: sigma}, allowed.radius)


def save_checkpoint(folder: Path, base: Checkpoint, model: nn.Module) -> Checkpoint:
    """Write the model's weights in the base's dtypes beside the base's own config and tokenizer, and open the folder.

    Names are the model's own; tied parameters are written once.
    """
    from safetensors.torch import save_file

    trained = dict(model.named_parameters())
    weights = {name: base.read(name) for name in base.parameters}
    for name, stored in weights.items():
        source = trained.get(name)
        weights[name] = stored if source is None else source.detach().to("cpu", stored.dtype).contiguous()
    base.copy_companions(folder)
    with whole(folder / SINGLE) as aside:
        save_file(weights, aside, metadata={"format": "pt"})
    return open_checkpoint(folder)
