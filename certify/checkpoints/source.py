"""Where a checkpoint lies: a path on this machine, or a hub model that is asked for by name."""

from __future__ import annotations

import re
from pathlib import Path

from certify.errors import CheckpointError
from certify.parsing import nearest
from certify.text import shortened

HUB = re.compile(r"hf:/{1,2}(?P<model>[^/@\s]+(?:/[^/@\s]+)?)(?:@(?P<revision>\S+))?")  # Path() writes hf:/ of hf://
PATTERNS = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def locate(source: str | Path) -> Path:
    """Return the folder or file that ``source`` names: a path, or ``hf://org/name@revision``.

    A path never reaches the network.

    Raises:
        CheckpointError: nothing is there (with the nearest names that are), or the hub does not give the model.
    """
    if str(source).startswith("hf:/"):
        return _from_hub(str(source))
    path = Path(source)
    try:
        if path.exists():
            return path
        close = nearest(path)
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null character
        raise CheckpointError(f"{shortened(str(path))}: no name of a folder or file ({error.args[-1]})") from None
    raise CheckpointError(f"{path}: no such folder or file{close}; a hub model is written hf://org/name@revision")


def _from_hub(source: str) -> Path:
    """Fetch a hub model into the local hub cache; honours HF_HUB_OFFLINE."""
    named = HUB.fullmatch(source)
    if named is None or named["revision"] is None:
        raise CheckpointError(f"{source}: a hub model is written hf://org/name@revision (a branch, a tag or a commit)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(named["model"], revision=named["revision"], allow_patterns=PATTERNS))
    except Exception as error:  # the hub client raises many unrelated types; all mean "not to be had"
        raise CheckpointError(
            f"{source}: the hub does not give it ({type(error).__name__}); fetch it beforehand and name the folder"
        ) from error
