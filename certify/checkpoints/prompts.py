"""Prompts that were tuned: what PEFT puts before every input, beside a base whose weights stay as they are."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from certify.checkpoints.bits import examined, same_bits
from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.config import explained
from certify.checkpoints.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, TOKENIZER, file_tensors, read_json
from certify.checkpoints.model import AUTO, load_model
from certify.checkpoints.probes import moves_nothing, require_causal
from certify.errors import CheckpointError
from certify.records import ModelIdentity, canonical_json, digest
from certify.text import shortened

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

    from certify.checkpoints.parameters import Plan

PREFIX = "PREFIX_TUNING"
KINDS = ("PROMPT_TUNING", "P_TUNING", PREFIX)
STORED = "prompt_embeddings"
SILENT = re.compile(
    r"base_model_name_or_path|revision|peft_version|auto_mapping|inference_mode|modules_to_save|init_weights|"
    r"tokenizer_\w+|prompt_tuning_init\w*|prefix_projection|encoder_\w+"
)
"""Fields of adapter_config.json that say where a prompt came from: what PEFT stores is the prompt that came out."""


@dataclass(frozen=True)
class Prompted(Checkpoint):
    """A base with a prompt of virtual tokens before every input, as PEFT scores it.

    ``tensors`` are the prompt's; there are no weights of its own to noise, merge or subtract, and asking for them
    (``plan``, and all that rests on it) is refused.
    """

    base: Checkpoint = field(kw_only=True)
    kind: str = field(kw_only=True)

    @classmethod
    def open(cls, folder: Path, base: Checkpoint) -> Prompted:
        """Open the prompt in ``folder``; its tensor is read from the header alone.

        Raises:
            CheckpointError: another kind than :data:`KINDS`, or a config and a tensor that do not fit each other or
                the base.
        """
        written = read_json(folder / ADAPTER_CONFIG)
        tensors = file_tensors([folder / ADAPTER_WEIGHTS])
        virtual = written.get("num_virtual_tokens")
        if type(virtual) is not int or virtual < 1:
            raise CheckpointError(
                f"{folder}: num_virtual_tokens = {shortened(repr(virtual), 60)} in {ADAPTER_CONFIG}: must be a whole "
                "number from 1"
            )
        opened = cls(
            folder, tensors, base.written, settings=base.beside, parents={f"{written['peft_type']} of": base},
            base=base, kind=written["peft_type"], virtual_tokens=virtual,
        )  # fmt: skip
        opened._refuse_unfit(written)
        return opened

    def _refuse_unfit(self, written: dict[str, Any]) -> None:
        if self.kind not in KINDS:
            self._refuse(f"{self.kind} is not scored here: prompts of {', '.join(KINDS)} are, and adapters that merge")
        if written.get("task_type") != "CAUSAL_LM":
            self._refuse(
                f"task_type = {shortened(repr(written.get('task_type')), 60)} in {ADAPTER_CONFIG}: peft puts the "
                "prompt before the input of a causal language model for CAUSAL_LM alone"
            )
        if written.get("num_transformer_submodules") not in (None, 1):
            self._refuse("it is of an encoder with a decoder (num_transformer_submodules), and its base is none")
        limit = self.base.positions
        if limit is not None and self.virtual_tokens >= limit:
            self._refuse(f"{self.virtual_tokens} virtual tokens leave no room in the {limit} positions of its base")
        found = {name: info.shape for name, info in self.tensors.items()}
        expected = {STORED: (self.virtual_tokens, self._width(written))}
        if found != expected:
            self._refuse(
                f"{ADAPTER_WEIGHTS} holds {_shapes(found)}, and by {ADAPTER_CONFIG} and {self.base.path} it must be "
                f"{_shapes(expected)}: it is a prompt of another base, or its tensor and its config are of two prompts"
            )

    def _width(self, written: dict[str, Any]) -> int:
        """Return how many numbers a virtual token has: an embedding, or a key and a value for each layer."""
        embedding: Any = self.blueprint.get_input_embeddings()
        if self.kind != PREFIX:
            return int(embedding.weight.shape[1])
        layers, width = self.config.get_text_config().num_hidden_layers, written.get("token_dim")
        if written.get("num_layers") != layers or type(width) is not int or width < 1:
            self._refuse(
                f"num_layers = {shortened(repr(written.get('num_layers')), 30)} and token_dim = "
                f"{shortened(repr(width), 30)} in {ADAPTER_CONFIG}: {self.base.path} has {layers} layers"
            )
        return int(2 * layers * width)

    def _refuse(self, why: str) -> NoReturn:
        raise CheckpointError(f"{self.path}: {why}")

    @property
    def config(self) -> PretrainedConfig:
        """The base's."""
        return self.base.config

    @property
    def blueprint(self) -> PreTrainedModel:
        """The base's."""
        return self.base.blueprint

    @property
    def plan(self) -> Plan:
        """Refuse: there are no weights to speak of.

        Raises:
            CheckpointError: always, naming the evidence that there is.
        """
        self._refuse(
            f"{self.kind} puts {self.virtual_tokens} virtual tokens before every input and changes no weights, so "
            "there is nothing to noise, to merge or to measure a distance of: as a checkpoint of its base it takes "
            "point or audit evidence"
        )

    @property
    def tokenizer(self) -> Path:
        """The folder of its tokenizer: its own, or its base's."""
        return self.path if any((self.path / name).is_file() for name in TOKENIZER) else self.base.tokenizer

    @property
    def computed_in(self) -> str:
        """The base's."""
        return self.base.computed_in

    @property
    def additions(self) -> tuple[str, ...]:
        """Say what stands before every input."""
        return (f"{self.kind} puts {self.virtual_tokens} virtual tokens before every input",)

    @cached_property
    def prompt(self) -> torch.Tensor:
        """The virtual tokens as they are stored, shape (virtual tokens, numbers of each)."""
        return self.read_stored(STORED)

    @cached_property
    def identity(self) -> ModelIdentity:
        """Digests of the base, of the prompt and of what the adapter's config means.

        Raises:
            CheckpointError: a number of the prompt is not finite, or as the base's identity.
        """
        base, info = self.base.identity, self.tensors[STORED]
        found, wrong = examined(self.prompt)
        if wrong:
            self.refuse_not_finite(STORED, wrong, self.prompt.numel())
        header = canonical_json([STORED, info.dtype, list(info.shape)])
        whole = hashlib.sha256(f"pytest-basin prompt 1\n{base.weights}\n{header}\n{found}\n".encode())
        return ModelIdentity(
            name=self.name,
            weights="sha256:" + whole.hexdigest(),
            companions=self.companions,
            parameters=base.parameters + info.size,
            dtypes=tuple(sorted({*base.dtypes, info.dtype})),
            computed_in=self.computed_in,
            spelling=self.spelling,
        )

    @cached_property
    def companions(self) -> dict[str, str]:
        """The base's, and a digest of what computes of the adapter's config."""
        written = read_json(self.path / ADAPTER_CONFIG)
        counted = {k: v for k, v in written.items() if v is not None and not SILENT.fullmatch(k)}
        return {**self.base.companions, "adapter": digest(counted)}


def load_for_scoring(checkpoint: Checkpoint, device: str = "cpu") -> nn.Module:
    """Load what a checkpoint's own scores come from: its model, or its base's with the prompt before every input.

    Raises:
        CheckpointError: as :func:`load_model`; a prompt that PEFT does not load as it is stored, or on ``auto``.
    """
    if not isinstance(checkpoint, Prompted):
        return load_model(checkpoint, device)
    if device == AUTO:
        raise CheckpointError(f"{checkpoint.path}: a prompt is not spread over several devices: name one")
    import peft

    from certify.checkpoints.prompted_model import PromptedModel

    model = load_model(checkpoint.base)
    failed = f"{checkpoint.path}: cannot be put before the inputs of {checkpoint.base.path}"
    with explained(failed), warnings.catch_warnings(action="ignore"):
        wrapped: Any = peft.PeftModel.from_pretrained(
            model, str(checkpoint.path), is_trainable=False, torch_device="cpu"
        )
        loaded = peft.get_peft_model_state_dict(wrapped)[STORED]
        if not same_bits(loaded, checkpoint.prompt.to(loaded.dtype)):
            raise CheckpointError(f"{checkpoint.path}: the prompt that peft loaded is not what the file says")
        ready = PromptedModel(wrapped, checkpoint.virtual_tokens, embedded=checkpoint.kind != PREFIX)
        ready.eval().requires_grad_(False).to(device)
        require_causal(ready, checkpoint.path)
        if moves_nothing(ready, ready.base):
            raise CheckpointError(
                f"{checkpoint.path}: its virtual tokens move no logit: peft {peft.__version__} and this transformers "
                "do not work together here"
            )
    return ready


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    shown = [f"{name!r} of shape {shape}" for name, shape in sorted(shapes.items())]
    return shortened(", ".join(shown), 120)
