"""PEFT adapters: a folder that changes a base's weights is the checkpoint that merging it makes."""

from __future__ import annotations

import warnings
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
from certify.errors import CertifyWarning, CheckpointError
from certify.text import shortened


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


def merged(folder: Path, base: Checkpoint, scale: float = 1.0) -> Checkpoint:
    """Return the checkpoint that PEFT's ``merge_and_unload`` makes of ``base`` and the adapter in ``folder``.

    ``scale`` multiplies the scaling of each of its layers beforehand, as ``peft.helpers.rescale_adapter_scale`` does.

    PEFT itself merges, on the CPU and in the base's dtype of computation; the weights stay in memory (once the
    model's size, twice while they are made) and nothing is written.

    Raises:
        CheckpointError: weights that are pickled or do not fit the base, an adapter that changes no weights (prompts,
            prefixes), or peft is not installed.
    """
    _refuse_unread(folder)
    _say_other_name(folder, base)
    try:
        import peft
    except ImportError:
        raise CheckpointError(f"{folder}: an adapter is merged by peft: pip install 'pytest-basin[adapters]'") from None
    with explained(f"{folder}: cannot be read as an adapter"), warnings.catch_warnings(action="ignore"):
        config = peft.PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning:
        raise CheckpointError(
            f"{folder}: {config.peft_type.value} puts something before the input and changes no weights, so it is no "
            "checkpoint: only adapters that merge into weights can be gated"
        )
    model = load_model(base)
    failed = f"{folder}: cannot be merged into {base.path}"
    with explained(failed), warnings.catch_warnings(action="ignore"):  # what it warns of is refused here
        wrapped: Any = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False, torch_device="cpu")
        _refuse_left_over(folder, base, wrapped)
        _rescale(folder, wrapped, scale)
        made = wrapped.merge_and_unload()
    held = {name: tensor.detach().contiguous() for name, tensor in made.state_dict().items()}
    return Checkpoint(folder, held_tensors(held, folder), base.written, held, base.beside, {"merged into": base})


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


def _say_other_name(folder: Path, base: Checkpoint) -> None:
    """Say where the adapter names a base of another name: same shapes do not show that it is the right one."""
    named = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if isinstance(named, str) and named and Path(named).name != base.name:
        warnings.warn(
            f"{folder}: was trained on {shortened(repr(named))} and is merged into {base.path}, which was given",
            CertifyWarning,
            stacklevel=4,
        )


def _refuse_left_over(folder: Path, base: Checkpoint, wrapped: Any) -> None:
    """Refuse tensors of the adapter that found no place, which peft drops, and places that found no tensor."""
    import peft

    stored = set(file_tensors([folder / ADAPTER_WEIGHTS]))
    own = set(peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    wrong = sorted((stored - own - set(wrapped.state_dict())) | (own - stored))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{folder}: {wrong[0]!r}{more} of the adapter does not fit {base.path}: it is an adapter of another base, "
            "or its weights and its config are of two adapters"
        )


def _rescale(folder: Path, wrapped: Any, scale: float) -> None:
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    if scale == 1:
        return
    for layer in (module for module in wrapped.modules() if isinstance(module, BaseTunerLayer)):
        if not isinstance(layer, LoraLayer):
            raise CheckpointError(f"{folder}: scale is of LoRA adapters, and this one has a {type(layer).__name__}")
        layer.scaling = {name: scale * own for name, own in layer.scaling.items()}
