"""Open a checkpoint, whatever it is: a folder of weights, a single file, a model of the hub, an adapter of a base."""

from __future__ import annotations

from pathlib import Path

from certify.checkpoints.adapter import merged, named_base
from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.files import CONFIG, file_tensors, folder_tensors, is_adapter, read_json, what_it_is
from certify.checkpoints.source import locate
from certify.errors import CheckpointError
from certify.text import refuse_unseen


def open_checkpoint(source: str | Path, base: Checkpoint | None = None) -> Checkpoint:
    """Open a folder, a ``.safetensors`` file, a hub model (``hf://org/name@revision``) or the folder of a PEFT adapter.

    ``base`` is what an adapter is merged into; unless given, the folder that it names itself.

    Raises:
        CheckpointError: nothing is there, the weights are unreadable or not safetensors, the folder can be read in
            two ways, or an adapter does not fit.
    """
    path = locate(source)
    refuse_unseen("the checkpoint", path.name)
    if path.is_dir() and is_adapter(path):
        return merged(path, base or open_checkpoint(named_base(path)))
    if path.is_dir():
        return Checkpoint(path, folder_tensors(path), read_json(path / CONFIG))
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: expected a folder or a .safetensors file{what_it_is([path.name])}")
    return Checkpoint(path, file_tensors([path]), {})
