"""What config.json means: the fields that change the computed function, whatever their spelling.

One rule. The file is parsed by the architecture's own class, which fills in defaults and translates older spellings. A
field counts if the class declares it or the architecture's code names it, unless :data:`SILENT` says why it does not
change the function of a model in evaluation mode. What does not count is taken away before the model is built, so it
cannot reach what is scored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from certify.errors import CertifyWarning, CheckpointError, panicked
from certify.text import shortened

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SILENT = {
    r"_?name_or_path|transformers_version|_commit_hash|architectures|auto_map": "who wrote the file, for which class",
    r"dtype|torch_dtype": "the stored tensors decide the dtype of computation, a part of identity by itself",
    r"use_cache|return_dict|output_(attentions|hidden_states|router_logits|past|scores)": "what is returned or kept",
    r"\w*dropout\w*|\w*_pdrop|layerdrop|\w*jitter\w*|gradient_checkpointing": "acts in training alone",
    r"initializer_\w+|init_std|router_\w*loss_coef": "acts in training alone",
    r"id2label|label2id|num_labels|problem_type|finetuning_task|task_specific_params|summary_\w+": "for other tasks",
    r"(pad|bos|eos|sep|decoder_start)_token_id": "settings of generation, a part of identity by themselves",
    r"_?(attn|experts)_implementation\w*": "kernels: chosen here, never by the file",
}
"""Names of fields that do not change what a model in evaluation mode computes, and why."""

REFUSED = {
    "transformers_weights": "makes transformers load other weights than the folder's: delete the field",
    "quantization_config": "says that its weights are quantised: dequantise them, or gate the scores of what you serve",
}
COUNTS_PADDING = "create_position_ids_from_input_ids"  # code that numbers positions by where the padding token stands


LAYERS = re.compile(r"num_hidden_layers|num_layers|n_layers?|(en|de)coder_layers")
PARAMETERS_PER_TENSOR, FEW_PARAMETERS = 4, 1000
"""More parameters than these for each stored tensor, and some, no model makes of its files."""


def parse_config(written: Mapping[str, Any], stored: int) -> PretrainedConfig:
    """Return the configuration that models are built from: the fields that count, and defaults for all others.

    ``stored``: the number of tensors in the files, each layer has at least one.

    Raises:
        CheckpointError: no known architecture, a value that its class refuses, more layers than the files hold, or a
            field that makes other programs read other weights.
    """
    from transformers import AutoConfig

    _refuse_more_layers(written, stored)
    for field, why in REFUSED.items():
        if written.get(field) is not None:
            raise CheckpointError(f"config.json: {field} = {str(written[field])[:60]!r} {why}")
    with explained("config.json describes no known causal language model"):
        kept = _without_silent(written)
        parsed = AutoConfig.for_model(kept["model_type"], **{k: v for k, v in kept.items() if k != "model_type"})
        _settle(parsed, written, _code_of(parsed))
    return parsed


def _refuse_more_layers(written: Mapping[str, Any], stored: int) -> None:
    """Refuse what would take for ever to build, before anything is built."""
    for name, value in written.items():
        if isinstance(value, Mapping):
            _refuse_more_layers(value, stored)
        elif LAYERS.fullmatch(name) and isinstance(value, int) and value > max(stored, FEW_PARAMETERS):
            raise CheckpointError(
                f"config.json: {name} = {shortened(str(value), 30)}, but the files hold {stored} tensors, fewer than "
                "one for each layer"
            )


def empty_model(config: PretrainedConfig, stored: int) -> PreTrainedModel:
    """Return the model that ``config`` describes, without memory for its weights.

    ``stored``: the number of tensors in the files, which bounds how many parameters are made.

    Raises:
        CheckpointError: it is of no known causal language model, or of one far larger than its files.
    """
    import torch
    from transformers import AutoModelForCausalLM

    factory: Any = AutoModelForCausalLM
    most = PARAMETERS_PER_TENSOR * stored + FEW_PARAMETERS
    with (
        torch.device("meta"),
        explained("config.json describes no known causal language model"),
        warnings.catch_warnings(action="ignore"),  # of layers without weights, which the files do not fit
        _at_most(most),
    ):
        model: PreTrainedModel = factory.from_config(config, trust_remote_code=False).eval()
    return model


@contextlib.contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Stop the building of a model that has more parameters."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    made = itertools.count()

    def count(*_: Any) -> None:
        if next(made) >= parameters:
            raise CheckpointError(
                f"config.json describes a model of more than {parameters} parameters, far more than the files hold"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def meaning(config: PretrainedConfig) -> dict[str, Any]:
    """Return what counts of a parsed configuration and differs from its class's defaults, as plain data.

    Defaults are left out so that a release of transformers that declares one more field changes no identity.
    """
    defaults = _default_fields(type(config))
    fields = {name: value for name, value in counted(config).items() if name not in defaults or value != defaults[name]}
    return {"model_type": config.model_type, **fields}


def changes(base: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> list[str]:
    """Return a line for each key that is spelled differently in two files of settings."""
    lines = []
    for key in sorted({*base, *checkpoint}):
        ours, theirs = (repr(file[key]) if key in file else "not set" for file in (base, checkpoint))
        if ours != theirs:
            lines.append(f"{key} is {theirs}, the base's {ours}")
    return lines


def _is_silent(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in SILENT)


def _without_silent(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_silent(v) for k, v in value.items() if not _is_silent(k)}
    return value


def _code_of(config: PretrainedConfig) -> str:
    """Return the source of what reads the configuration: its class's module, the model's, and the library's own."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as MODELS
    from transformers import PretrainedConfig

    classes = [PretrainedConfig, type(config)]
    if type(config) in MODELS:
        model = MODELS[type(config)]
        classes += model if isinstance(model, tuple) else [model]
    return "\n".join(inspect.getsource(sys.modules[each.__module__]) for each in classes)


def _settle(config: PretrainedConfig, written: Mapping[str, Any], code: str) -> None:
    """Take away what does not count: undeclared fields that no code names, and ids of special tokens."""
    declared = _declared(type(config))
    for name, value in list(vars(config).items()):
        if hasattr(value, "model_type"):
            _settle(value, written.get(name) or {}, code)
        elif name not in declared and not name.startswith("_") and not re.search(rf"\b{re.escape(name)}\b", code):
            delattr(config, name)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if name in declared:
            setattr(config, name, written.get(name) if name == "pad_token_id" and COUNTS_PADDING in code else None)


def _declared(kind: type[PretrainedConfig]) -> set[str]:
    other_names = getattr(kind, "attribute_map", {})
    return {field.name for field in dataclasses.fields(kind)} | {*other_names, *other_names.values()}


def counted(config: PretrainedConfig) -> dict[str, Any]:
    """Return every field that counts, defaults included, as plain data."""
    out = {}
    for name, value in config.to_dict().items():
        inner: Any = getattr(config, name, None)
        if name == "model_type" or name.startswith("_") or (_is_silent(name) and not _positions(name, value)):
            continue
        out[name] = meaning(inner) if hasattr(inner, "model_type") else _plain(value)
    return out


def _positions(name: str, value: Any) -> bool:
    return name == "pad_token_id" and value is not None


def _default_fields(kind: type[PretrainedConfig]) -> dict[str, Any]:
    try:
        with quiet():
            return counted(kind())
    except Exception:  # a class that cannot be made without arguments: then every field is named
        return {}


def _plain(value: Any) -> Any:
    """Return a value as JSON data in which equal numbers are spelled equally."""
    if isinstance(value, Mapping):
        items = {str(k): _plain(v) for k, v in value.items()}
        if items.get("type") == items.get("rope_type"):  # the older name of the same thing
            items.pop("type", None)
        return items
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever the library raises into one line; it has no common type for what it refuses."""
    try:
        with quiet():
            yield
    except CheckpointError:
        raise
    except BaseException as error:
        if not (isinstance(error, Exception) or panicked(error)):
            raise
        first = shortened((str(error).strip() or type(error).__name__).splitlines()[0])
        raise CheckpointError(f"{what}: {first}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def heard(what: str) -> Iterator[None]:
    """Take what a library writes past Python, to standard output or error, for a warning; where it fails, for nothing.

    One in Rust prints lines of its own, or its whole stack, before its panic arrives here and says the same.
    """
    with tempfile.TemporaryFile() as held:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # one that was closed is None
            stream.flush()
        ours = {fd: os.dup(fd) for fd in (1, 2) if _is_open(fd)}
        try:
            for fd in ours:
                os.dup2(held.fileno(), fd)
            yield
        finally:
            for fd, kept in ours.items():
                os.dup2(kept, fd)
                os.close(kept)
        held.seek(0)
        if said := held.read().decode(errors="replace").strip():
            warnings.warn(f"{what}: {shortened(said)}", CertifyWarning, stacklevel=4)
