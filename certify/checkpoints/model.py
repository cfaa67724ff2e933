"""Turn a checkpoint into a model that can be evaluated, from exactly the tensors that its identity covers."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from certify.checkpoints.bits import same_bits
from certify.checkpoints.config import explained, heard
from certify.checkpoints.probes import require_causal
from certify.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from certify.checkpoints.checkpoint import Checkpoint


AUTO = "auto"


def load_model(checkpoint: Checkpoint, device: str = "cpu") -> PreTrainedModel:
    """Load the causal language model in its dtype of computation, in evaluation mode, without remote code.

    The loader is handed the checkpoint's own tensors and its parsed config and never sees the folder. Afterwards every
    parameter and every stored buffer is compared, bit by bit, with what the files say: one more pass over the weights.

    ``device`` is a torch device, or ``auto`` to spread a model over all accelerators (accelerate's device map).

    Raises:
        CheckpointError: the folder is no causal language model, tensors are missing, left over or not exact in the
            dtype of computation, the loaded model differs from its files, looks ahead, or does not fit into memory.
    """
    import torch

    plan, dtype = checkpoint.plan, getattr(torch, checkpoint.computed_in)  # refuses what does not fit the config
    kind: Any = type(checkpoint.blueprint)
    placement: dict[str, Any] = {"device_map": "auto"} if device == AUTO else {}
    with ExitStack() as files, explained(f"{checkpoint.path}: cannot be loaded as a causal language model"):
        model, report = kind.from_pretrained(
            None,
            config=checkpoint.config,
            state_dict={name: part for name, part in _slices(checkpoint, files).items() if name not in plan.ignored},
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **placement,
        )
        model.generation_config = checkpoint.generation
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *(k for k, *_ in report["mismatched_keys"])]
    if wrong:
        raise CheckpointError(f"{checkpoint.path}: weights do not fit config.json, e.g. {sorted(map(str, wrong))[:3]}")
    _refuse_offloaded(checkpoint, model)
    ready: PreTrainedModel = model.eval().requires_grad_(False)
    if not placement:
        model.to(device)
    check_loaded(checkpoint, ready)
    require_causal(ready, checkpoint.path)
    return ready


def check_loaded(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    """Compare every parameter and stored buffer of a loaded model with the files, bit by bit.

    Raises:
        CheckpointError: naming the first tensor that is not what its file says.
    """
    here = {**dict(model.named_buffers()), **dict(model.named_parameters(remove_duplicate=False))}
    for name, stored in checkpoint.read_all():
        loaded = here[name]
        expected = stored.to(loaded.device, loaded.dtype)
        if loaded.dtype != stored.dtype and not same_bits(expected.to(stored.dtype), stored.to(loaded.device)):
            raise CheckpointError(
                f"{checkpoint.path}: tensor {name!r} is stored in {stored.dtype} and computed in {loaded.dtype}, which "
                "cannot hold its values exactly: cast the checkpoint to one dtype yourself and gate what you deploy"
            )
        if not same_bits(loaded, expected):
            raise CheckpointError(
                f"{checkpoint.path}: tensor {name!r} of the loaded model is not what its file says: another file, an "
                "adapter or the loader changed it"
            )


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Load a checkpoint's own tokenizer, without remote code and without the network.

    Raises:
        CheckpointError: it cannot be read, or gives up at the first text that it is given.
    """
    from transformers import AutoTokenizer

    where = checkpoint.path
    with explained(f"{where}: cannot load its tokenizer"), heard(f"{where}: its tokenizer's library"):
        found = AutoTokenizer.from_pretrained(checkpoint.tokenizer, local_files_only=True, trust_remote_code=False)
        with contextlib.suppress(Exception):  # a vocabulary without this letter; a panic is no Exception
            found("a", verbose=False)
    return found


def _slices(checkpoint: Checkpoint, files: ExitStack) -> dict[str, Any]:
    """Return every stored tensor, mapped and not read, for as long as ``files`` is open."""
    from safetensors import safe_open

    if checkpoint.held is not None:
        return {name: tensor.clone() for name, tensor in checkpoint.held.items()}  # the model's own, to be noised
    opened = {
        file: files.enter_context(safe_open(file, framework="pt"))
        for file in sorted({info.file for info in checkpoint.tensors.values()})
    }
    return {name: opened[info.file].get_slice(name) for name, info in checkpoint.tensors.items()}


def _refuse_offloaded(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    outside = [name for name, p in model.named_parameters() if p.is_meta]
    if outside:
        raise CheckpointError(
            f"{checkpoint.path}: {len(outside)} tensors do not fit into memory and would be read from disk in every "
            f"forward pass, e.g. {outside[0]!r}: noise needs them in memory; use more or larger devices"
        )
