"""Turn a checkpoint into a model that can be evaluated, and ask which of its names are tied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from certify.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from certify.checkpoints.folder import Checkpoint


AUTO = "auto"


def load_model(checkpoint: Checkpoint, device: str = "cpu") -> PreTrainedModel:
    """Load the causal language model in its stored dtype, in evaluation mode, without remote code.

    ``device`` is a torch device, or ``auto`` to spread a model over all accelerators (accelerate's device map).

    Raises:
        CheckpointError: the folder is no causal language model, a weight is missing or left over, or the model
            does not fit into the devices' memory.
    """
    from transformers import AutoModelForCausalLM

    placement: dict[str, Any] = {"device_map": "auto"} if device == AUTO else {}

    with _quiet():
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                checkpoint.path,
                dtype="auto",
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **placement,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{checkpoint.path}: cannot be loaded as a causal language model: {first}") from error
    model, report = loaded
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *(k for k, *_ in report["mismatched_keys"])]
    if wrong:
        raise CheckpointError(f"{checkpoint.path}: weights do not fit config.json, e.g. {sorted(map(str, wrong))[:3]}")
    outside = [name for name, p in model.named_parameters() if p.is_meta]
    if outside:
        raise CheckpointError(
            f"{checkpoint.path}: {len(outside)} tensors do not fit into memory and would be read from disk in every "
            f"forward pass, e.g. {outside[0]!r}: noise needs them in memory; use more or larger devices"
        )
    ready: PreTrainedModel = model.eval().requires_grad_(False)
    if not placement:
        model.to(device)
    return ready


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Load the folder's own tokenizer, without remote code."""
    from transformers import AutoTokenizer

    with _quiet():
        try:
            return AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{checkpoint.path}: cannot load its tokenizer: {first}") from error


def tied_names(config: dict[str, Any]) -> dict[str, str]:
    """Map each alias to the parameter it is tied to, from an empty model built of ``config``."""
    if not config:
        return {}
    model = empty_model(config)
    first = {id(p): name for name, p in model.named_parameters()}
    everything = model.named_parameters(remove_duplicate=False)
    return {name: first[id(p)] for name, p in everything if first[id(p)] != name}


def empty_model(config: dict[str, Any]) -> PreTrainedModel:
    """Return the model that ``config`` describes, without memory for its weights.

    Raises:
        CheckpointError: the config is of no known causal language model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        settings = {k: v for k, v in config.items() if k != "model_type"}
        parsed = AutoConfig.for_model(config["model_type"], **settings)
        with torch.device("meta"), _quiet():
            factory: Any = AutoModelForCausalLM
            model: PreTrainedModel = factory.from_config(parsed)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise CheckpointError(f"config.json describes no known causal language model: {error}") from error
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bars and notes while a model loads, and put its settings back."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
