"""Which files make a checkpoint: the one function that decides it, for hashing, comparing and loading alike.

A folder that two programs could read in two ways is refused, naming both readings.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from certify.errors import CheckpointError
from certify.parsing import each_key_once, read_text, size_of
from certify.text import shortened

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
COORDINATES = "basin_coordinates.safetensors"
"""Where a member of a subspace keeps its coordinates; no weights of the model."""
CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
TEMPLATE = ("chat_template.jinja", "chat_template.json")
LFS = b"version https://git-lfs"
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS, ADAPTER_PICKLE = "adapter_model.safetensors", "adapter_model.bin"


@dataclass(frozen=True)
class TensorInfo:
    """Where one stored tensor lies and what it looks like, read from the file header."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights of ``folder``: one file, or the shards of an index.

    Raises:
        CheckpointError: there are none, other weights lie beside them that another program could take, or the folder
            cannot be listed.
    """
    try:
        found = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be listed: {error.strerror}") from error
    _refuse_adapter(folder, found)
    single, index = SINGLE in found, INDEX in found
    if not single and not index:
        raise CheckpointError(f"{folder}: no {SINGLE} and no {INDEX}{_hint(folder, found)}")
    shards = _shards(folder) if index else []
    missing = [name for name in shards if name not in found]
    if single and index:
        state = f"names shards that are missing ({', '.join(missing[:3])})" if missing else "names shards of its own"
        raise CheckpointError(
            f"{folder}: two sets of weights: {SINGLE}, which transformers takes, and {INDEX}, which {state} and which "
            f"other programs take: delete {INDEX + (' and its shards' if not missing else '')}, or {SINGLE}"
        )
    if missing:
        raise CheckpointError(f"{folder}: the index names files that are missing: {', '.join(missing)}")
    used = shards or [SINGLE]
    refuse_others(folder, found - set(used), used)
    return [folder / name for name in used]


def is_adapter(folder: Path) -> bool:
    """Whether ``folder`` is an adapter's, without weights of its own."""
    return (folder / ADAPTER_CONFIG).is_file() and not any(os.path.lexists(folder / name) for name in (SINGLE, INDEX))


def _refuse_adapter(folder: Path, found: set[str]) -> None:
    adapter = [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_PICKLE) if name in found]
    if adapter and (SINGLE in found or INDEX in found):
        raise CheckpointError(
            f"{folder}: two readings: its own weights, or these with the adapter in {', '.join(adapter)}, which "
            "transformers attaches where peft is installed: delete the adapter's files, or merge it into the weights"
        )
    if adapter:
        raise CheckpointError(
            f"{folder}: an adapter's weights ({', '.join(adapter)}) without its {ADAPTER_CONFIG}, which says what they "
            "change: save the adapter anew with peft's save_pretrained"
        )


def refuse_others(folder: Path, others: set[str], used: list[str]) -> None:
    """Refuse weights that are no part of ``used``: variants, leftovers, pickles."""
    weights = sorted(
        name
        for name in others
        if (name.endswith(".safetensors") and name != COORDINATES)
        or (name.startswith(("pytorch_model", "adapter_model")) and name.endswith((".bin", ".bin.index.json")))
    )
    if weights:
        more, reader = ", ..." if len(weights) > 3 else "", "peft" if ADAPTER_WEIGHTS in used else "transformers"
        raise CheckpointError(
            f"{folder}: two sets of weights: {used[0]}{' and the other shards' if len(used) > 1 else ''}, which "
            f"{reader} takes, and {', '.join(weights[:3])}{more}, which other programs take or add: move one set away"
        )


def _shards(folder: Path) -> list[str]:
    names = read_json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{folder / INDEX}: expected an object 'weight_map' of tensor name to file")
    files = sorted(set(names.values()))
    outside = [name for name in files if Path(name).name != name]
    if outside:
        raise CheckpointError(f"{folder / INDEX}: names a file outside its folder: {outside[0]!r}")
    if not files:
        raise CheckpointError(f"{folder / INDEX}: its weight_map names no file")
    return files


TORCH = (
    "a distributed checkpoint of torch, whose index is pickled: `accelerate merge-weights {folder} OUTPUT` writes its "
    "weights whole, for OUTPUT with --config FOLDER; where it holds more than weights, `python -m torch.distributed."
    "checkpoint.format_utils dcp_to_torch {folder} WHOLE.pt` does, to load with your own code and save_pretrained"
)
PICKLED = "pickled, and nothing is unpickled here: load the model with your own code and save_pretrained"
OTHERS = {
    "zero_to_fp32.py": "DeepSpeed's partitioned state: `python {folder}/zero_to_fp32.py {folder} OUTPUT "
    "--safe_serialization` joins it, for OUTPUT with --config FOLDER",
    "pytorch_model_fsdp_[0-9]*": "FSDP's shards: `accelerate merge-weights {folder}/{name} OUTPUT` joins them, for "
    "OUTPUT with --config FOLDER",
    "shard-*-model-*.safetensors": "a part of a distributed checkpoint of torch in safetensors: save it anew with "
    "HuggingFaceStorageWriter(..., enable_consolidation=True)",
    ".metadata": TORCH,
    "*.distcp": TORCH,
    "*.gguf": "GGUF, for another engine: gate the checkpoint that it was made from",
    "*.onnx": "ONNX, for another engine: gate the checkpoint that it was exported from",
    "*.msgpack": "Flax weights: convert them with transformers 4 (from_flax=True, save_pretrained)",
    "*.h5": "TensorFlow weights: convert them with transformers 4 (from_tf=True, save_pretrained)",
    "*.incomplete": "an unfinished download: fetch it again",
    "*.bin": PICKLED,
    "*.pt": PICKLED,
    "*.pth": PICKLED,
}
"""What lies where weights are looked for, and what to do about it; the first that fits is said."""
STATE = ("training_args.bin", "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*")  # of a trainer; no weights


def what_it_is(folder: Path, names: Iterable[str]) -> str:
    """Say what is there instead of weights; nothing if nothing is known."""
    kept = sorted(name for name in names if not any(fnmatch(name, state) for state in STATE))
    for pattern, what in OTHERS.items():
        if fits := [name for name in kept if fnmatch(name, pattern)]:
            return f": {fits[0]} is {what.format(folder=folder, name=fits[0])}"
    return ""


def _hint(folder: Path, found: set[str]) -> str:
    if below := checkpoints_below(folder):
        names = [path.name for path in below]
        shown = names if len(names) <= 6 else [*names[:3], "...", *names[-2:]]
        if len(names) == 1:
            return f" (did you mean {below[0]}, the checkpoint in it?)"
        return (
            f"; it holds {len(names)} checkpoints ({', '.join(shown)}): name one of them, or check them all in this "
            "order (certify check --all)"
        )
    shards = sorted(name for name in found if name.endswith(".safetensors"))
    if shards and not fnmatch(shards[0], "shard-*-model-*"):
        return f" (found {', '.join(shards[:3])}: name one file, or write its {INDEX})"
    return what_it_is(folder, found)


def checkpoints_below(folder: Path) -> list[Path]:
    """Return the checkpoints that a trainer left in ``folder``, by their steps: 500 comes before 1000.

    A folder with weights and without a config is among them: it is refused by name, and not passed over.
    """
    below = (path for path in folder.iterdir() if path.is_dir())
    found = [path for path in below if re.fullmatch(r"checkpoint-\d+", path.name) or _holds_a_model(path)]
    return sorted(found, key=lambda path: _by_number(path.name))


def _holds_a_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG)) or any(folder.glob("*.safetensors"))


def _by_number(name: str) -> tuple[int, str]:
    digits = re.search(r"\d+$", name)
    return int(digits[0]) if digits else -1, name


def folder_tensors(folder: Path) -> dict[str, TensorInfo]:
    """Return every tensor of the one set of weights in ``folder``, by its stored name.

    Raises:
        CheckpointError: as :func:`weight_files` and :func:`file_tensors`; an index that lists other tensors than its
            shards hold.
    """
    seen = file_tensors(_weight_files(folder))
    if (folder / INDEX).is_file():
        listed = read_json(folder / INDEX)["weight_map"]
        wrong = sorted(n for n in {*listed, *seen} if n not in seen or listed.get(n) != seen[n].file.name)
        if wrong:
            raise CheckpointError(
                f"{folder}: {INDEX} is stale: it and the shards disagree where {wrong[0]!r} lies"
                f"{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''}: write the checkpoint anew into an empty "
                "folder"
            )
    return seen


def file_tensors(files: Sequence[Path]) -> dict[str, TensorInfo]:
    """Return every tensor of ``files`` by its stored name, from the headers alone.

    Raises:
        CheckpointError: a file is unreadable or truncated, holds nothing, or repeats a tensor of another.
    """
    seen: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in _header(file):
            if name in seen:
                raise CheckpointError(f"tensor {name!r} is in {seen[name].file} and in {file}")
            seen[name] = info
    if not seen:
        raise CheckpointError(f"{files[0]}: holds no tensors")
    return seen


def _header(file: Path) -> Iterator[tuple[str, TensorInfo]]:
    from safetensors import SafetensorError, safe_open

    size_of(file, CheckpointError)
    try:
        with safe_open(file, framework="pt") as f:
            for name in f.keys():  # noqa: SIM118  (a safetensors handle is not a mapping)
                part = f.get_slice(name)
                yield name, TensorInfo(file, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError) as error:
        with file.open("rb") as f:
            if f.read(len(LFS)) == LFS:
                raise CheckpointError(f"{file}: a pointer of git-lfs, not the weights: run `git lfs pull`") from None
        raise CheckpointError(f"{file}: not a readable safetensors file: {shortened(str(error))}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``.

    Raises:
        CheckpointError: it is missing, no ordinary file, not JSON, no object, or holds a key twice.
    """
    if not os.path.lexists(path):
        raise CheckpointError(f"{path.parent}: {path.name} is missing; a model folder needs it")
    text = read_text(path, CheckpointError)
    try:  # Infinity is no JSON, and stands in the configs of some models
        value = json.loads(text, object_pairs_hook=each_key_once)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half a character, of which there is no digest
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else shortened(str(error))
        raise CheckpointError(f"{path}: not readable JSON: {what}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
