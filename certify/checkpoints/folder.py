"""Open a checkpoint: a Hugging Face folder, a single safetensors file, or a hub id.

Identity does not depend on sharding: it is a digest over tensor names, dtypes, shapes and bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.errors import CheckpointError
from certify.records import ModelIdentity, canonical_json

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
COMPANIONS = {
    "config": ("config.json",),
    "generation settings": ("generation_config.json",),
    "tokenizer": (
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
    ),
    "chat template": ("chat_template.jinja", "chat_template.json"),
}
# Fields that record who wrote a file and not what the model does.
VOLATILE = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "_from_model_config",
    "dtype",  # the tensors' own dtypes are part of the weights' digest
    "torch_dtype",
}


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies and what it looks like, read from the file header."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for extent in self.shape:
            n *= extent
        return n


@dataclass(frozen=True)
class Checkpoint:
    """Weight files on disk, opened but not read. ``tensors`` maps each name in the files to its place."""

    path: Path
    tensors: dict[str, TensorInfo]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's (or file's) own name."""
        return self.path.resolve().name

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor in its stored dtype."""
        from safetensors import SafetensorError, safe_open

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
        for file in self.path.iterdir():
            if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
                shutil.copyfile(file, folder / file.name)

    @cached_property
    def ties(self) -> dict[str, str]:
        """Map each alias among the stored tensors to the parameter it is tied to (the config decides)."""
        from certify.checkpoints.model import tied_names

        return {a: c for a, c in tied_names(self.config).items() if a in self.tensors and c in self.tensors}

    @cached_property
    def identity(self) -> ModelIdentity:
        """Digests of the weights and of everything beside them; reads every byte once."""
        names = [n for n in sorted(self.tensors) if n not in self.ties]
        for alias, canonical in self.ties.items():
            if self._tensor_digest(alias) != self._tensor_digest(canonical):
                raise CheckpointError(
                    f"{self.path}: {alias!r} and {canonical!r} are tied by config.json but differ in the files; "
                    "delete one of them or set tie_word_embeddings to false"
                )
        whole = hashlib.sha256(b"pytest-basin weights 1")
        for name in names:
            info = self.tensors[name]
            header = canonical_json([name, info.dtype, list(info.shape)])
            whole.update(f"{header}\n{self._tensor_digest(name)}\n".encode())
        return ModelIdentity(
            name=self.name,
            weights="sha256:" + whole.hexdigest(),
            companions=dict(_companions(self.path)),
            parameters=sum(self.tensors[n].size for n in names),
            dtypes=tuple(sorted({self.tensors[n].dtype for n in names})),
        )

    def _tensor_digest(self, name: str) -> str:
        import torch

        data = self.read(name).contiguous().reshape(-1).view(torch.uint8).numpy()
        return hashlib.sha256(data.data).hexdigest()


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a folder, a ``.safetensors`` file or a hub id (``org/name`` or ``org/name@revision``).

    Raises:
        CheckpointError: nothing is there, a file is truncated, or the weights are not safetensors.
    """
    path = Path(source)
    if not path.exists():
        path = _download(str(source))
    if path.is_file():
        if path.suffix != ".safetensors":
            raise CheckpointError(f"{path}: expected a folder or a .safetensors file")
        return Checkpoint(path, dict(_headers([path])), {})
    return Checkpoint(path, dict(_headers(_weight_files(path))), _read_json(path / "config.json"))


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        shards = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict):
            raise CheckpointError(f"{folder / INDEX}: expected an object 'weight_map' of tensor name to file")
        files = [folder / name for name in sorted(set(shards.values()))]
        missing = [f.name for f in files if not f.is_file()]
        if missing:
            raise CheckpointError(f"{folder}: the index names files that are missing: {', '.join(missing)}")
        return files
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern))
    hint = f" (found {', '.join(pickled)}: convert to safetensors; nothing is unpickled)" if pickled else ""
    raise CheckpointError(f"{folder}: no {SINGLE} and no {INDEX}{hint}")


def _headers(files: list[Path]) -> Iterator[tuple[str, TensorInfo]]:
    from safetensors import SafetensorError, safe_open

    seen: dict[str, Path] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as f:
                for name in f.keys():  # noqa: SIM118  (a safetensors handle is not a mapping)
                    if name in seen:
                        raise CheckpointError(f"tensor {name!r} is in {seen[name]} and in {file}")
                    seen[name] = file
                    part = f.get_slice(name)
                    yield name, TensorInfo(file, part.get_dtype(), tuple(part.get_shape()))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: not a readable safetensors file: {error}") from error
    if not seen:
        raise CheckpointError(f"{files[0]}: holds no tensors")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent}: {path.name} is missing; a model folder needs it") from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _companions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield a digest for each part beside the weights; a single file has none."""
    folder = path if path.is_dir() else None
    for part, names in COMPANIONS.items():
        files = [folder / n for n in names if folder and (folder / n).is_file()]
        if files:
            text = "\n".join(f"{f.name}\n{_stable_text(f)}" for f in files)
            yield part, "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _stable_text(file: Path) -> str:
    if file.suffix == ".json":
        value = _read_json(file)
        return canonical_json({k: v for k, v in value.items() if k not in VOLATILE})
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _download(source: str) -> Path:
    """Fetch a hub id into the local hub cache; honours HF_HUB_OFFLINE."""
    name, _, revision = source.partition("@")
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise CheckpointError(f"{source}: no such folder or file (and not a hub id of the form org/name@revision)")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"],
            )
        )
    except Exception as error:  # the hub client raises many unrelated types; all mean "not to be had"
        raise CheckpointError(
            f"{source}: no such folder, and the hub does not give it ({type(error).__name__}); fetch it beforehand "
            "and name the folder"
        ) from error
