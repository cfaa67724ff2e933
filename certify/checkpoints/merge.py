"""Merges: the checkpoint that a recipe makes of its models, tensor by tensor and only when one is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from certify.checkpoints import merge_methods
from certify.checkpoints.bits import same_bits
from certify.checkpoints.checkpoint import DTYPES, Checkpoint
from certify.checkpoints.files import TensorInfo
from certify.checkpoints.recipe import Input, Recipe
from certify.errors import CheckpointError, InvalidInput

if TYPE_CHECKING:
    import torch


def merge(recipe: Recipe, opened: Sequence[Checkpoint]) -> Checkpoint:
    """Return the checkpoint that mergekit 0.1.5 would write for ``recipe``; ``opened`` are its inputs in their order.

    Nothing is written, and no more is in memory than the inputs of one tensor. Config, tokenizer and settings of
    generation are those of the base, or of the first model where the recipe names none.

    Raises:
        CheckpointError: models of other architectures, tensors or shapes, layers that are left out, or dtypes that
            differ while the recipe names none.
    """
    donor = next((c for m, c in zip(recipe.inputs, opened, strict=True) if recipe.is_base(m)), opened[0])
    if not donor.written:
        raise CheckpointError(
            f"{recipe.path}: {donor.path} is a single file without a config, and the merge has its config from there: "
            "name its folder"
        )
    tensors = Merged(recipe, tuple(each.like(donor) for each in opened))
    for model, checkpoint in zip(recipe.inputs, tensors.opened, strict=True):
        _refuse_unlike(recipe, model, donor, checkpoint)
    recipe.warn_of_idle_filters(tensors)
    parents = {recipe.role(model): each for model, each in zip(recipe.inputs, tensors.opened, strict=True)}
    infos = {name: tensors.info(name) for name in tensors}
    return Checkpoint(recipe.path, infos, donor.written, tensors, donor.beside, parents)


@dataclass(frozen=True)
class Merged(Mapping[str, "torch.Tensor"]):
    """The tensors of a merge in the model's own names, as mergekit has them too, each made anew when it is read."""

    recipe: Recipe
    opened: tuple[Checkpoint, ...]

    @cached_property
    def _layers(self) -> int:
        return int(self.opened[0].config.get_text_config().num_hidden_layers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.opened[0].parameters)

    def __len__(self) -> int:
        return len(self.opened[0].parameters)

    def info(self, name: str) -> TensorInfo:
        """Return what a tensor of the merge looks like.

        Raises:
            CheckpointError: a model has it in another shape or dtype.
        """
        recipe, first = self.recipe, self.opened[0]
        shape, dtype = first.parameters[name].shape, first.parameters[name].dtype
        for each in self.opened:
            other = each.parameters[name]
            if other.shape != shape:
                raise CheckpointError(
                    f"{recipe.path}: tensor {name!r} has shape {other.shape} in {each.path} and {shape} in "
                    f"{first.path}: only models of one shape are merged"
                )
            if other.dtype != dtype and (recipe.dtype is None or other.dtype not in DTYPES or dtype not in DTYPES):
                raise CheckpointError(
                    f"{recipe.path}: tensor {name!r} is {other.dtype} in {each.path} and {dtype} in {first.path}: name "
                    "the dtype to merge in (dtype = ...)"
                )
        cast = recipe.out_dtype or recipe.dtype
        if cast is not None and dtype in DTYPES:
            dtype = next(stored for stored, torch_name in DTYPES.items() if torch_name == cast)
        return TensorInfo(recipe.path, dtype, shape)

    def __getitem__(self, name: str) -> torch.Tensor:
        import torch

        recipe = self.recipe
        tensors = [each.read(name) for each in self.opened]
        if not tensors[0].is_floating_point():
            if all(same_bits(tensor, tensors[0]) for tensor in tensors[1:]):
                return tensors[0]
            raise CheckpointError(f"{recipe.path}: {name!r} holds no weights and differs between the models")
        if recipe.dtype is not None:
            tensors = [tensor.to(getattr(torch, recipe.dtype)) for tensor in tensors]
        try:
            made = self._made(name, tensors)
        except InvalidInput as error:
            raise CheckpointError(f"{recipe.path}: tensor {name!r}: {error}") from None
        return (made if recipe.out_dtype is None else made.to(getattr(torch, recipe.out_dtype))).contiguous()

    def _made(self, name: str, tensors: list[torch.Tensor]) -> torch.Tensor:
        recipe, depth = self.recipe, self._depth(name)
        inputs = list(zip(recipe.inputs, tensors, strict=True))

        def each(parameter: str, models: Sequence[Input]) -> list[float]:
            return [recipe.value(parameter, name, depth, model) for model in models]

        def shared(parameter: str) -> float:
            return float(recipe.value(parameter, name, depth))

        if recipe.method == "linear":
            weights = each("weight", recipe.inputs)
            return merge_methods.linear(tensors, weights, normalize=bool(shared("normalize")))
        (base,) = (tensor for model, tensor in inputs if recipe.is_base(model))
        others = [(model, tensor) for model, tensor in inputs if not recipe.is_base(model)]
        models, changed = [model for model, _ in others], [tensor for _, tensor in others]
        if recipe.method == "slerp":
            return merge_methods.slerp(base, changed[0], shared("t"))
        normalize, scale, weights = bool(shared("normalize")), shared("lambda"), each("weight", models)
        if recipe.method == "task_arithmetic":
            return merge_methods.task_arithmetic(base, changed, weights, normalize=normalize, scale=scale)
        densities = each("density", models)
        return merge_methods.ties(base, changed, weights, densities, normalize=normalize, scale=scale)

    def _depth(self, name: str) -> float:
        """Return where a tensor's layer stands, 0 for the first, 1 for the last; 0 outside the layers, as mergekit."""
        layer = re.search(r"(?:^|\.)(\d+)\.", name)
        if layer is None:
            return 0.0
        return int(layer[1]) / (self._layers - 1) if self._layers > 1 else 1.0


def _refuse_unlike(recipe: Recipe, model: Input, donor: Checkpoint, checkpoint: Checkpoint) -> None:
    ours, theirs = donor.config.model_type, checkpoint.config.model_type
    if ours != theirs:
        raise CheckpointError(
            f"{recipe.path}: {checkpoint.path} is of another architecture ({theirs}) than {donor.path} ({ours})"
        )
    layers = checkpoint.config.get_text_config().num_hidden_layers
    if model.layers not in (None, (0, layers)):
        raise CheckpointError(
            f"{recipe.path}: layer_range {list(model.layers or ())} of {model.source} leaves out some of its {layers} "
            "layers, and only whole models are merged: write the merge with mergekit and give the folder"
        )
    missing = sorted(donor.parameters.keys() - checkpoint.parameters.keys())
    extra = sorted(checkpoint.parameters.keys() - donor.parameters.keys())
    if missing or extra:
        raise CheckpointError(
            f"{recipe.path}: tensors of {checkpoint.path} differ from those of {donor.path}: missing {missing[:5]}, "
            f"extra {extra[:5]}"
        )
