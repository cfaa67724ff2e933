"""What scores may depend on beside the weights: versions and platform."""

from __future__ import annotations

import platform

from certify._version import version_of
from certify.benchmarks import Scorer
from certify.records import Environment

ONE_ROW = "one row at a time: scores depend on the other rows of a batch"

PACKAGES = ("pytest-basin", "torch", "transformers", "tokenizers", "numpy", "scipy")


def environment(device: str = "") -> Environment:
    """Return the versions of this process, and the kind and name of a torch device ("cuda (NVIDIA H100 80GB HBM3)")."""
    return Environment(
        device=_described(device),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages={name: version_of(name) for name in PACKAGES},
    )


def with_halves(here: Environment, scorer: Scorer | None) -> Environment:
    """Return the environment of a record, which says where memory ended; what is kept under a key does not ask."""
    if not (halved := getattr(scorer, "halved", ())):
        return here
    words = [here.batching] if here.batching else []
    words.append(f"memory ended with {min(halved)} rows or more in some batches, which were done in halves")
    return here.model_copy(update={"batching": "; ".join(words)})


def _described(device: str) -> str:
    if not device.startswith(("cuda", "auto")):
        return device
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda ({torch.cuda.get_device_name(None if device == 'auto' else device)})"
