"""A model that lies in memory, as the checkpoint that saving it would make."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.checkpoints.checkpoint import Checkpoint, held_tensors
from certify.checkpoints.config import explained
from certify.checkpoints.files import CONFIG, read_json
from certify.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

MARK = "in memory"
"""Stands in the name of such a checkpoint: no folder can be named for it later, unless it is saved."""


def in_memory(model: nn.Module, tokenizer: PreTrainedTokenizerBase | None = None) -> Checkpoint:
    """Return the checkpoint that ``model.save_pretrained`` and ``tokenizer.save_pretrained`` would write.

    The weights are copied to the CPU, once: training that goes on changes nothing. Config, settings of generation and
    tokenizer are written to a temporary folder, which goes with the checkpoint. What is gated is rebuilt from config
    and weights, as from a folder: hooks, and methods that were replaced, are not part of it.

    Raises:
        CheckpointError: no model that transformers builds from a config, one that is wrapped, or one whose weights are
            not in memory.
    """
    kind = type(model).__name__
    where = Path(f"{kind} ({MARK})")
    _refuse_wrapped(model, where)
    held = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    try:
        settings = Path(tempfile.mkdtemp(prefix="certify-"))
    except OSError as error:
        raise CheckpointError(f"{where}: no place for its config and tokenizer: {error.strerror}") from error
    checkpoint = None
    try:
        with explained(f"{where}: its config and tokenizer cannot be saved"):
            _save_settings(model, tokenizer, settings)
        checkpoint = Checkpoint(where, held_tensors(held, where), read_json(settings / CONFIG), held, settings)
        built = type(checkpoint.blueprint)
    except CheckpointError:
        shutil.rmtree(settings, ignore_errors=True)
        raise
    weakref.finalize(checkpoint, shutil.rmtree, settings, ignore_errors=True)
    if built is not type(model):
        raise CheckpointError(
            f"{where}: its config builds a {built.__module__}.{built.__name__}, which computes as transformers says, "
            f"and this is a {type(model).__module__}.{kind}"
        )
    return checkpoint


def _save_settings(model: Any, tokenizer: Any, folder: Path) -> None:
    model.config.save_pretrained(folder)
    if model.can_generate():
        written = model.generation_config.to_diff_dict()  # save_pretrained refuses values that act on no greedy answer
        (folder / "generation_config.json").write_text(json.dumps(written), encoding="utf-8")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def _refuse_wrapped(model: Any, where: Path) -> None:
    if hasattr(model, "merge_and_unload"):
        raise CheckpointError(f"{where}: an adapter around a model: give what merge_and_unload() returns, or save it")
    inner = next((name for name in ("_orig_mod", "module") if hasattr(model, name)), None)
    if inner is not None:
        raise CheckpointError(f"{where}: wraps another model: give its .{inner}")
    if not (hasattr(model, "config") and hasattr(model, "generation_config") and hasattr(model, "state_dict")):
        raise CheckpointError(
            f"{where}: expected a path, or a causal language model of transformers, which is rebuilt from its config"
        )
    outside = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if outside:
        raise CheckpointError(f"{where}: its tensor {outside[0]!r} is not in memory (device meta)")
