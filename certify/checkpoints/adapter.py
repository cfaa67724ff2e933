"""PEFT adapters: one that changes weights is the checkpoint that merging makes, a prompt stands beside its base."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certify.checkpoints.checkpoint import Checkpoint, held_tensors
from certify.checkpoints.config import explained
from certify.checkpoints.files import (
    ADAPTER_CONFIG,
    ADAPTER_PICKLE,
    ADAPTER_WEIGHTS,
    file_tensors,
    read_json,
    refuse_others,
)
from certify.checkpoints.model import load_model
from certify.checkpoints.prompts import KINDS, Prompted
from certify.checkpoints.recipe import COMBINATIONS, Recipe
from certify.errors import CertifyWarning, CheckpointError
from certify.text import shortened

MERGE_IT = (
    "after resize_token_embeddings({}) merge it (peft: merge_and_unload, then save_pretrained) and name that folder"
)
FACTOR = re.compile(r"\.lora_([AB]\.weight|embedding_[AB])$")  # of what a LoRA adapter changes


def named_base(folder: Path) -> Path:
    """Return the folder of the base that the adapter in ``folder`` names.

    Raises:
        CheckpointError: it names none, or none that lies here.
    """
    named = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if isinstance(named, str) and named and Path(named).is_dir():
        return Path(named)
    raise CheckpointError(
        f"{folder}: an adapter of the base {shortened(repr(named))}, which is no folder here: give the base that it "
        "changes (--base), or merge it (peft: merge_and_unload, then save_pretrained) and name that folder"
    )


def adapted(folder: Path, base: Checkpoint, scale: float = 1.0) -> Checkpoint:
    """Return the checkpoint that PEFT's ``merge_and_unload`` makes of ``base`` and the adapter in ``folder``.

    A prompt has no weights: it is a :class:`~certify.checkpoints.prompts.Prompted`, whatever the scale.

    ``scale`` multiplies the scaling of each of its layers beforehand, as ``peft.helpers.rescale_adapter_scale`` does.

    PEFT itself merges, on the CPU and in the base's dtype of computation; the weights stay in memory (once the
    model's size, twice while they are made) and nothing is written.

    Raises:
        CheckpointError: weights that are pickled or do not fit the base, an adapter that neither merges nor is a
            prompt, or peft is not installed.
    """
    config = _config(folder, base)
    if config.is_prompt_learning:
        return Prompted.open(folder, base)
    wrapped = _beside(folder, base)
    with explained(f"{folder}: cannot be merged into {base.path}"), warnings.catch_warnings(action="ignore"):
        _rescale(folder, wrapped, scale)
        made = _merge(folder, wrapped, config.peft_type.value)
    return _held(folder, base, made, {"merged into": base})


def unmerged(folder: Path, base: Checkpoint) -> Any:
    """Return PEFT's model of ``base`` with the adapter in ``folder`` beside it; raises what :func:`adapted` does.

    Raises:
        CheckpointError: a prompt, too, which changes no weights.
    """
    config = _config(folder, base)
    if config.is_prompt_learning:
        raise CheckpointError(f"{folder}: {config.peft_type.value} changes no weights, so there is nothing to scale")
    for rows in _added_tokens(folder, base).values():
        said = f"{folder}: tokens were added to its base, which no scale takes back"
        raise CheckpointError(f"{said}: {MERGE_IT.format(rows)}")
    return _beside(folder, base)


def _beside(folder: Path, base: Checkpoint) -> Any:
    import peft
    import torch

    model = load_model(base)
    failed = f"{folder}: cannot be merged into {base.path}"
    with explained(failed), warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=()):
        _make_room(folder, base, model)
        wrapped = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False, torch_device="cpu")
        _refuse_left_over(folder, base, wrapped)
    return wrapped


def combined(recipe: Recipe, folders: Sequence[Path], base: Checkpoint) -> Checkpoint:
    """Return the checkpoint that PEFT's ``add_weighted_adapter`` and ``merge_and_unload`` make of ``base``.

    ``cat`` is the sum of what the adapters change, each times its weight, rounded once; ``linear`` adds up their
    factors, with products of one adapter's A and another's B, and needs equal ranks. Memory as :func:`adapted`.

    Raises:
        CheckpointError: an adapter that is no LoRA, or has parts that PEFT does not combine or combines wrongly.
    """
    for folder in folders:
        _refuse_uncombined(folder, _config(folder, base), recipe)
    import peft

    names = [f"adapter{i}" for i in range(len(folders))]
    weights = [float(recipe.value("weight", "", 0.0, model)) for model in recipe.models]
    model = load_model(base)
    with explained(f"{recipe.path}: cannot be merged into {base.path}"), warnings.catch_warnings(action="ignore"):
        wrapped: Any = peft.PeftModel.from_pretrained(model, str(folders[0]), names[0], torch_device="cpu")
        for folder, name in zip(folders[1:], names[1:], strict=True):
            wrapped.load_adapter(str(folder), name, torch_device="cpu")
        for folder, name in zip(folders, names, strict=True):
            _refuse_left_over(folder, base, wrapped, name)
        wrapped.add_weighted_adapter(names, weights, "combined", combination_type=COMBINATIONS[recipe.method])
        wrapped.set_adapter("combined")
        made = wrapped.merge_and_unload()
    adapters = [Checkpoint(folder, file_tensors([folder / ADAPTER_WEIGHTS]), {}) for folder in folders]
    roles = [recipe.role(model) for model in recipe.models]
    return _held(recipe.path, base, made, {"merged into": base, **dict(zip(roles, adapters, strict=True))})


def _config(folder: Path, base: Checkpoint) -> Any:
    """Return an adapter's config as PEFT reads it, once its folder is one that is opened here."""
    _refuse_unread(folder)
    _say_other_name(folder, base)
    try:
        import peft
    except ImportError:
        raise CheckpointError(f"{folder}: an adapter is read by peft: pip install 'pytest-basin[adapters]'") from None
    with explained(f"{folder}: cannot be read as an adapter"), warnings.catch_warnings(action="ignore"):
        return peft.PeftConfig.from_pretrained(str(folder))


def _held(path: Path, base: Checkpoint, made: Any, parents: Mapping[str, Checkpoint]) -> Checkpoint:
    held = {name: tensor.detach().contiguous() for name, tensor in made.state_dict().items()}
    rows = made.get_input_embeddings().weight.shape[0]
    written = base.written if rows == base.vocabulary else {**base.written, "vocab_size": rows}
    return Checkpoint(path, held_tensors(held, path), written, held, base.beside, parents)


def _refuse_uncombined(folder: Path, config: Any, recipe: Recipe) -> None:
    """Refuse what ``add_weighted_adapter`` leaves out, or scales by the square root of a rank (rsLoRA)."""
    kind, stored = config.peft_type.value, file_tensors([folder / ADAPTER_WEIGHTS])
    beside = next((name for name in stored if not FACTOR.search(name)), None)
    if kind != "LORA":
        what = f"is {kind}, and {recipe.method} combines LORA alone"
    elif config.use_rslora:
        what = "has use_rslora, which peft combines at another scale than its own"
    elif beside is not None:
        what = f"has {beside!r} beside its factors, which peft does not combine"
    else:
        return
    raise CheckpointError(f"{recipe.path}: {folder} {what}: merge_method = \"task_arithmetic\" adds what each changes")


def _refuse_unread(folder: Path) -> None:
    if (folder / ADAPTER_WEIGHTS).is_file():
        refuse_others(folder, {path.name for path in folder.iterdir()} - {ADAPTER_WEIGHTS}, [ADAPTER_WEIGHTS])
        return
    if (folder / ADAPTER_PICKLE).is_file():
        raise CheckpointError(
            f"{folder}: {ADAPTER_PICKLE} is pickled, and nothing is unpickled here: load the adapter with peft and "
            "save_pretrained it anew"
        )
    raise CheckpointError(f"{folder}: {ADAPTER_CONFIG} without {ADAPTER_WEIGHTS}: the adapter's weights are missing")


def _added_tokens(folder: Path, base: Checkpoint) -> dict[str, int]:
    """Return the whole embeddings that have more rows than the base's, by the base's names, with their rows."""
    found = file_tensors([folder / ADAPTER_WEIGHTS])
    stored = {name.removeprefix("base_model.model."): info.shape for name, info in found.items()}
    own = {name: base.tensors[name].shape for name in stored.keys() & base.tensors.keys()}
    return {n: stored[n][0] for n, shape in own.items() if stored[n][1:] == shape[1:] and stored[n][0] > shape[0]}


def _make_room(folder: Path, base: Checkpoint, model: Any) -> None:
    """Resize the model's embeddings for added tokens, as for training; every new row is the adapter's."""
    added = _added_tokens(folder, base)
    if not added:
        return
    rows = max(added.values())
    model.resize_token_embeddings(rows, mean_resizing=False)
    state, own = model.state_dict(), base.tensors
    bare = sorted(n for n in state.keys() & own.keys() - added.keys() if tuple(state[n].shape) != tuple(own[n].shape))
    if bare or "vocab_size" not in base.written:
        what = f"{bare[0]!r} has no rows for them in it" if bare else f"the config of {base.path} has no vocab_size"
        raise CheckpointError(f"{folder}: tokens were added to its base, and {what}: {MERGE_IT.format(rows)}")


def _say_other_name(folder: Path, base: Checkpoint) -> None:
    """Say where the adapter names a base of another name: same shapes do not show that it is the right one."""
    named = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if isinstance(named, str) and named and Path(named).name != base.name:
        warnings.warn(
            f"{folder}: was trained on {shortened(repr(named))} and is merged into {base.path}, which was given",
            CertifyWarning,
            stacklevel=4,
        )


def _refuse_left_over(folder: Path, base: Checkpoint, wrapped: Any, name: str = "default") -> None:
    """Refuse tensors of the adapter that found no place, which peft drops, and places that found no tensor."""
    import peft

    stored = set(file_tensors([folder / ADAPTER_WEIGHTS]))
    own = set(peft.get_peft_model_state_dict(wrapped, adapter_name=name, save_embedding_layers=False))
    wrong = sorted((stored - own - set(wrapped.state_dict()) - _written_twice(folder)) | (own - stored))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{folder}: {wrong[0]!r}{more} of the adapter does not fit {base.path}: it is an adapter of another base, "
            "or its weights and its config are of two adapters"
        )


def _written_twice(folder: Path) -> set[str]:
    """Return tensors that peft wrote once more: whole embeddings that were trained, and resized as well."""
    import torch

    file = Checkpoint(folder, file_tensors([folder / ADAPTER_WEIGHTS]), {})
    twice = {name: name.replace(".modules_to_save.", ".") for name in file.tensors if ".modules_to_save." in name}
    return {
        name for name, other in twice.items()
        if other in file.tensors and torch.equal(file.read_stored(name), file.read_stored(other))
    }  # fmt: skip


def _merge(folder: Path, wrapped: Any, kind: str) -> Any:
    try:
        return wrapped.merge_and_unload()
    except (AttributeError, NotImplementedError):  # what peft's tuners raise that have no such thing
        raise CheckpointError(
            f"{folder}: peft merges no {kind} into weights: only adapters that it merges are gated, and prompts of "
            f"{', '.join(KINDS)}"
        ) from None


def _rescale(folder: Path, wrapped: Any, scale: float) -> None:
    if scale != 1:
        for layer in scaled_layers(folder, wrapped):
            layer.scaling = {name: scale * own for name, own in layer.scaling.items()}


def scaled_layers(folder: Path, wrapped: Any) -> list[Any]:
    """Return the layers of PEFT's model that a scale multiplies.

    Raises:
        CheckpointError: one of them is no LoRA layer.
    """
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in wrapped.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        if not isinstance(layer, LoraLayer):
            raise CheckpointError(f"{folder}: scale is of LoRA adapters, and this one has a {type(layer).__name__}")
    return layers
