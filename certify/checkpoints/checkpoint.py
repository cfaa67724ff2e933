"""A checkpoint on disk: opened, not read. What it is called by is a digest over what computes."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from certify.checkpoints.bits import examined
from certify.checkpoints.config import empty_model, meaning, parse_config
from certify.checkpoints.files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    GENERATION,
    TEMPLATE,
    TOKENIZER,
    TensorInfo,
    read_json,
)
from certify.checkpoints.generation_settings import generation_meaning, generation_settings
from certify.checkpoints.parameters import Group, Parameter, Plan, plain_plan, plan_for
from certify.checkpoints.threads import in_threads
from certify.errors import CheckpointError
from certify.records import ModelIdentity, canonical_json, digest

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

DTYPES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""The dtypes that compute, widest first: safetensors' name and torch's."""
TORCH_NAMES = {**DTYPES, "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
"""Likewise of every dtype that a model may hold."""
WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2}  # bytes, elsewhere 1


def held_tensors(held: Mapping[str, torch.Tensor], where: Path) -> dict[str, TensorInfo]:
    """Return what tensors in memory look like, as if they lay in ``where``."""
    names = {f"torch.{torch_name}": name for name, torch_name in TORCH_NAMES.items()}
    return {
        name: TensorInfo(where, names.get(str(tensor.dtype), str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in held.items()
    }


def digest_of_weights(parts: Iterable[tuple[str, str, Sequence[int], str]]) -> str:
    """Return the digest that names weights, from name, dtype as safetensors calls it, shape and SHA-256 of each tensor.

    ``parts`` come in the order of their names.
    """
    whole = hashlib.sha256(b"pytest-basin weights 1")
    for name, dtype, shape, found in parts:
        whole.update(f"{canonical_json([name, dtype, list(shape)])}\n{found}\n".encode())
    return "sha256:" + whole.hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """Weight files on disk, opened but not read.

    ``tensors`` maps each stored name to its place; ``parameters``, :meth:`read` and everything that follows speak in
    the model's own names. ``written`` is config.json as it stands; a single file has none. Weights that lie in no file
    are ``held``: an adapter's once it is merged, those of a model in memory, or those of a merge, each made when asked
    for. ``settings`` is the folder of config, tokenizer and the like where that is not ``path``; ``parents`` are the
    checkpoints that the weights were made of, by what each was to the merge. ``virtual_tokens`` is how many positions
    are taken by what an adapter puts before every input.
    """

    path: Path
    tensors: dict[str, TensorInfo]
    written: dict[str, Any]
    held: Mapping[str, torch.Tensor] | None = field(default=None, repr=False, compare=False)
    settings: Path | None = field(default=None, repr=False)
    parents: Mapping[str, Checkpoint] = field(default_factory=dict, repr=False)
    virtual_tokens: int = 0

    @property
    def name(self) -> str:
        """The folder's (or file's) own name."""
        return self.path.resolve().name

    @property
    def additions(self) -> tuple[str, ...]:
        """Say what is scored beside its weights and config: nothing."""
        return ()

    @property
    def beside(self) -> Path:
        """The folder of the files beside the weights: config, settings of generation."""
        return self.settings or self.path

    @property
    def tokenizer(self) -> Path:
        """The folder of its tokenizer: its own, or that of its settings where it brings none."""
        return self.path if any((self.path / name).is_file() for name in TOKENIZER) else self.beside

    @cached_property
    def config(self) -> PretrainedConfig:
        """What config.json means, parsed: what the model is built from."""
        if not self.written:
            raise CheckpointError(
                f"{self.path}: a single file has no config.json; name a model folder, or that of its config (--config)"
            )
        try:
            return parse_config(self.written, len(self.tensors))
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {error}") from error.__cause__

    @cached_property
    def blueprint(self) -> PreTrainedModel:
        """The model that the config describes, without weights."""
        config = self.config
        try:
            return empty_model(config, len(self.tensors))
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {error}") from error.__cause__

    @cached_property
    def plan(self) -> Plan:
        """How the stored tensors become the model's; those of a single file stand for themselves."""
        return plan_for(self.blueprint, self.tensors, self.path) if self.written else plain_plan(self.tensors)

    def like(self, base: Checkpoint) -> Checkpoint:
        """Return this checkpoint in the names of ``base``'s model, if it is a single file without a config."""
        return self if self.written or not base.written else Checkpoint(self.path, self.tensors, base.written)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Parameters and stored buffers by the model's names, tied ones once."""
        return self.plan.parameters

    @cached_property
    def _group_of(self) -> dict[str, int]:
        return {target: i for i, group in enumerate(self.plan.groups) for target in group.targets}

    def read(self, name: str) -> torch.Tensor:
        """Return one parameter, stored buffer or tied name, in the dtype of the files."""
        group = self.plan.groups[self._group_of[name]]
        return group.convert(self.read_stored)[name]

    def read_all(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield everything that is stored, by the model's names, tied ones that are stored as well included.

        Peak memory: the tensors of one conversion.
        """
        for group in self.plan.groups:
            yield from group.convert(self.read_stored).items()

    def read_stored(self, name: str) -> torch.Tensor:
        """Return one tensor by its name in the files, in their dtype."""
        from safetensors import SafetensorError, safe_open

        if self.held is not None:
            return self.held[name]
        info = self.tensors[name]
        try:
            with safe_open(info.file, framework="pt") as f:
                tensor: torch.Tensor = f.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{info.file}: cannot read tensor {name!r}: {error}") from error
        return tensor

    def copy_companions(self, folder: Path) -> None:
        """Copy every file beside the weights into ``folder``, which is made: config, tokenizer, template ..."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.beside.iterdir():
            if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
                shutil.copyfile(file, folder / file.name)

    @property
    def has_tokenizer(self) -> bool:
        """Whether it brings a tokenizer: in its own folder, or beside its settings."""
        return any((self.tokenizer / name).is_file() for name in TOKENIZER)

    @cached_property
    def positions(self) -> int | None:
        """The longest sequence that the config speaks of, None where it names no limit."""
        limit = getattr(self.config.get_text_config(), "max_position_embeddings", None) if self.written else None
        return limit if isinstance(limit, int) and limit > 0 else None

    @cached_property
    def vocabulary(self) -> int | None:
        """Rows of the input embedding; None for a single file."""
        if not self.written:
            return None
        embedding: Any = self.blueprint.get_input_embeddings()
        return int(embedding.weight.shape[0])

    @cached_property
    def generation(self) -> GenerationConfig:
        """The settings of generation: generation_config.json, or config.json's where there is none."""
        try:
            return generation_settings(self.written, self.written_generation)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {error}") from error.__cause__

    @cached_property
    def written_generation(self) -> dict[str, Any] | None:
        """generation_config.json as it stands, None where there is none."""
        file = self.beside / GENERATION
        return read_json(file) if file.is_file() else None

    @cached_property
    def computed_in(self) -> str:
        """The dtype of computation: that of most weights. The others must be exact in it, which loading checks.

        Raises:
            CheckpointError: weights in a dtype that only stores.
        """
        sizes = Counter(dict.fromkeys(DTYPES, 0))
        for name, parameter in self.parameters.items():
            if parameter.dtype in DTYPES:
                sizes[parameter.dtype] += parameter.size
            elif not parameter.buffer:
                raise CheckpointError(
                    f"{self.path}: tensor {name!r} is stored as {parameter.dtype}, which no model computes in: "
                    "dequantise the weights and gate what you deploy"
                )
        return DTYPES[max(DTYPES, key=lambda dtype: sizes[dtype])]

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the tensors that were hashed so far, by the model's names: each was finite where it must be."""
        return {}

    def bytes_of(self, name: str) -> int:
        """Return about how many bytes it takes to read a parameter: what it is made of included."""
        infos = [self.tensors[source] for source in self.plan.groups[self._group_of[name]].sources]
        return sum(info.size * WIDTHS.get(info.dtype, 1) for info in infos) * (1 + len(self.parents))

    def _hash(self, group: Group) -> None:
        if self.digests.keys() >= set(group.targets):
            return
        for name, tensor in group.convert(self.read_stored).items():
            found, wrong = examined(tensor)
            if wrong and not self.parameters[self.plan.aliases.get(name, name)].buffer:
                self.refuse_not_finite(name, wrong, tensor.numel())
            self.digests[name] = found

    def refuse_not_finite(self, name: str, wrong: int, size: int) -> NoReturn:
        """Refuse weights of which ``wrong`` numbers of a tensor are NaN or infinite."""
        raise CheckpointError(
            f"{self.path}: {wrong} of the {size:,} numbers of tensor {name!r} are NaN or infinite, "
            "so the model has no answers: such a training run has failed, or the file is damaged"
        )

    @cached_property
    def identity(self) -> ModelIdentity:
        """Digests of what computes and of how the files spell it; reads every byte once, several tensors at a time.

        What :func:`certify.checkpoints.difference` hashed on its way is not read again.

        Raises:
            CheckpointError: tied names that are both stored and differ, or a parameter that is not finite somewhere.
        """
        groups = self.plan.groups
        in_threads(lambda i: self._hash(groups[i]), {i: self.bytes_of(g.targets[0]) for i, g in enumerate(groups)})
        digests = self.digests
        for alias, owner in self.plan.aliases.items():
            if digests[alias] != digests[owner]:
                raise CheckpointError(
                    f"{self.path}: {alias!r} and {owner!r} are tied by config.json but differ in the files; delete one "
                    "of them or set tie_word_embeddings to false"
                )
        return ModelIdentity(
            name=self.name,
            weights=digest_of_weights((n, p.dtype, p.shape, digests[n]) for n, p in sorted(self.parameters.items())),
            companions=self.companions,
            parameters=sum(p.size for p in self.parameters.values()),
            dtypes=tuple(sorted({p.dtype for p in self.parameters.values()})),
            computed_in=self.computed_in,
            spelling=self.spelling,
        )

    @cached_property
    def companions(self) -> dict[str, str]:
        """A digest of the meaning of each part beside the weights; a single file has none."""
        if not self.written:
            return {}
        return {
            "config": digest(meaning(self.config)),
            "generation settings": digest(generation_meaning(self.generation)),
        }

    @cached_property
    def spelling(self) -> dict[str, str]:
        """A digest of each file beside the weights as it stands, and of each parent's: recorded, deciding nothing."""
        names = (CONFIG, GENERATION, ADAPTER_CONFIG, ADAPTER_WEIGHTS, *TOKENIZER, *TEMPLATE) if self.written else ()
        files = {name: path for name in names for path in (self.beside / name, self.path / name) if path.is_file()}
        if self.parents and self.path.is_file():
            files[self.path.name] = self.path  # the recipe
        written = {name: "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
        return written | {what: parent.identity.weights for what, parent in self.parents.items()}
