"""Training inside a subspace: k coordinates are learnt, the base and the map stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from certify.checkpoints import Checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.noise import Subspace
from certify.noise.backend import backend_for
from certify.noise.contract import Place
from certify.noise.subspace import save_member


class SubspaceModel(nn.Module):
    """``model`` at base + V a: differentiable in the coordinates a, its only parameter, and in nothing else.

    ``coordinates``: float64, shape (k,), zero at first. Any torch optimizer, scheduler or wrapper takes it, and any
    loss on what the model returns: calls go to ``model`` with the weights at a in place of its own. These have the
    bits that the engines draw and that ``save`` writes; the gradient is V^T times the weights' gradient, as if
    nothing were rounded. ``model`` itself is never written, its buffers are shared, and whether dropout is on is its
    own setting (``model.train()``).

    The model's weights and their device are taken at construction. Extra memory: two copies of the tensors that move.

    Raises:
        InvalidInput: the model lacks a tensor that moves, or has it in another shape.

    Source: theory, 3.7.
    """

    def __init__(self, model: nn.Module, subspace: Subspace) -> None:
        super().__init__()
        self._held = (model,)  # in a tuple, so that its parameters are not this module's
        self.subspace = subspace
        self.coordinates = nn.Parameter(torch.zeros(subspace.k, dtype=torch.float64))
        own = dict(model.named_parameters())
        for name, shape in subspace.shapes.items():
            if name not in own or tuple(own[name].shape) != shape:
                has = f"shape {tuple(own[name].shape)}" if name in own else "no such parameter"
                raise InvalidInput(f"the subspace moves {name!r} of shape {shape}, the model has {has}")
        bases = {name: own[name].detach().contiguous().view(-1) for name in subspace.names}
        self._work = {name: torch.empty_like(base) for name, base in bases.items()}
        self._moves = {
            name: subspace.mover(Place(name, base, self._work[name]), backend_for(base.device, base.dtype))
            for name, base in bases.items()
        }

    @property
    def model(self) -> nn.Module:
        """The model at its own weights, the base's."""
        return self._held[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns at the present coordinates."""
        frozen = {name: p.detach() for name, p in self.model.named_parameters()}
        return torch.func.functional_call(self.model, {**frozen, **self.weights()}, args, kwargs)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the tensors that move, at the present coordinates; gradients flow back to these."""
        shapes = self.subspace.shapes
        flat = _At.apply(self.coordinates, self)  # type: ignore[no-untyped-call]
        return {name: w.view(shapes[name]) for name, w in zip(shapes, flat, strict=True)}

    def save(self, folder: Path, base: Checkpoint) -> Checkpoint:
        """Write the present point as a member of the subspace, with its coordinates, and open it.

        Raises:
            CheckpointError: ``base`` does not have the weights of the model that was trained.
        """
        own = dict(self.model.named_parameters())
        for name in self.subspace.names:
            if name not in base.parameters or not torch.equal(base.read(name), own[name].detach().cpu()):
                raise CheckpointError(f"{base.path}: its tensor {name!r} is not the one that the model was trained on")
        return save_member(folder, base, self.subspace, self.coordinates.tolist())

    def _at(self, coordinates: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Copies, since a graph may live on when the work storage is written again."""
        point = coordinates.detach().cpu().numpy()
        for move in self._moves.values():
            move(point)
        return tuple(work.clone() for work in self._work.values())


class _At(torch.autograd.Function):
    """The map itself: linear, so its derivative is its transpose."""

    @staticmethod
    def forward(ctx: Any, coordinates: torch.Tensor, space: SubspaceModel) -> tuple[torch.Tensor, ...]:
        ctx.subspace, ctx.device = space.subspace, coordinates.device
        ctx.set_materialize_grads(False)
        return space._at(coordinates)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:
        pairs = zip(ctx.subspace.names, gradients, strict=True)
        slopes = [ctx.subspace.pull_back(name, g.reshape(-1)).to(ctx.device) for name, g in pairs if g is not None]
        return torch.stack(slopes).sum(0) if slopes else None, None
