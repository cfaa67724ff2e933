"""Open a checkpoint, whatever it is: a folder of weights, a single file, a model of the hub, an adapter, a merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from certify.checkpoints.adapter import adapted, combined, named_base
from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.files import (
    ADAPTER_CONFIG,
    CONFIG,
    TensorInfo,
    file_tensors,
    folder_tensors,
    is_adapter,
    read_json,
    what_it_is,
)
from certify.checkpoints.in_memory import in_memory
from certify.checkpoints.merge import merge
from certify.checkpoints.recipe import COMBINATIONS, SUFFIXES, Input, Recipe, read_recipe
from certify.checkpoints.source import locate
from certify.errors import CheckpointError
from certify.text import refuse_unseen

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


def open_checkpoint(
    source: str | Path | nn.Module,
    base: Checkpoint | None = None,
    *,
    config: str | Path | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Checkpoint:
    """Open a folder, a ``.safetensors`` file, a hub model (``hf://org/name@revision``), an adapter, a merge or a model.

    An adapter is the folder that PEFT writes; ``base`` is what it is merged into, unless given the folder that it
    names itself. A merge is its recipe: a file of mergekit's keys, as YAML or TOML. Weights without a config take that
    of the folder ``config``, and its tokenizer. A model in memory is taken as it is now, with ``tokenizer``.

    Raises:
        CheckpointError: nothing is there, the weights are unreadable or not safetensors, the folder can be read in
            two ways, or an adapter, the models of a recipe or a config do not fit.
    """
    if not isinstance(source, str | Path):
        return in_memory(source, tokenizer)
    if tokenizer is not None:
        raise CheckpointError(f"{source}: brings the tokenizer of its folder; one is given for a model in memory alone")
    path = locate(source)
    refuse_unseen("the checkpoint", path.name)
    if config is not None:
        return _with_config(path, Path(config))
    if path.is_dir() and is_adapter(path):
        return adapted(path, base or open_checkpoint(named_base(path)))
    if path.is_dir():
        return Checkpoint(path, folder_tensors(path), read_json(path / CONFIG))
    if path.suffix in SUFFIXES:
        return _merge(read_recipe(path), base)
    return Checkpoint(path, _of_one_file(path), {})


def _of_one_file(path: Path) -> dict[str, TensorInfo]:
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"{path}: expected a folder, a .safetensors file or the recipe of a merge "
            f"({', '.join(SUFFIXES)}){what_it_is(path.parent, [path.name])}"
        )
    return file_tensors([path])


def _with_config(path: Path, config: Path) -> Checkpoint:
    """Open weights that have no config beside them with that of another folder."""
    own = next((name for name in (CONFIG, ADAPTER_CONFIG) if (path / name).is_file()), None)
    if own is not None or path.suffix in SUFFIXES:
        has = f"has its own {own}" if own else "is a recipe, whose models have their own"
        raise CheckpointError(f"{path}: {has}: a config is named for weights without one alone")
    if not config.is_dir():
        raise CheckpointError(f"{config}: expected the folder of a config.json for {path}, and there is no such folder")
    tensors = folder_tensors(path) if path.is_dir() else _of_one_file(path)
    return Checkpoint(path, tensors, read_json(config / CONFIG), settings=config)


def _merge(recipe: Recipe, base: Checkpoint | None) -> Checkpoint:
    """Open the models of a recipe: adapters are merged into its own base, else into ``base``."""
    own = base if recipe.base is None else _opened(recipe, Input(recipe.base, {}), base)
    if own is not None and recipe.method in COMBINATIONS:
        return combined(recipe, [_adapter(recipe, model) for model in recipe.models], own)
    models = [own if own and recipe.is_base(model) else _opened(recipe, model, own) for model in recipe.inputs]
    return merge(recipe, models)


def _adapter(recipe: Recipe, model: Input) -> Path:
    path = locate(recipe.place(model.source))
    if not (path.is_dir() and is_adapter(path)):
        raise CheckpointError(f"{recipe.path}: {path}: no adapter, and {recipe.method} combines these alone")
    return path


def _opened(recipe: Recipe, model: Input, base: Checkpoint | None) -> Checkpoint:
    try:
        path = locate(recipe.place(model.source))
        if path.suffix in SUFFIXES and path.is_file():
            raise CheckpointError(f"{path}: a recipe in a recipe: write that merge (mergekit-yaml) and name its folder")
        if path.is_dir() and is_adapter(path):
            return adapted(path, base or open_checkpoint(named_base(path)), model.scale)
        if model.scale != 1:
            raise CheckpointError(f"{path}: scale is of adapters, and this is none: give it a weight")
        return open_checkpoint(path)
    except CheckpointError as error:
        raise CheckpointError(f"{recipe.path}: {error}") from error.__cause__
