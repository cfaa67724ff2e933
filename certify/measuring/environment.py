"""What scores may depend on beside the weights: versions and platform."""

from __future__ import annotations

import platform
from importlib.metadata import version

from certify.records import Environment

PACKAGES = ("pytest-basin", "torch", "transformers", "tokenizers", "numpy", "scipy")


def environment() -> Environment:
    """Return the versions of this process."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages={name: version(name) for name in PACKAGES},
    )
