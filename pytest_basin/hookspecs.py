"""Hooks of the plugin's own, for a conftest.py or another plugin. Each is documented with an example in docs/plugin.md.

Where the plugin may be absent, mark an implementation with ``@pytest.hookimpl(optionalhook=True)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from certify.benchmarks import Benchmark


@pytest.hookspec(firstresult=True)
def pytest_basin_load_checkpoint(config: pytest.Config, source: str) -> str | Path | None:
    """Return the folder or .safetensors file that ``source`` (the base's or the checkpoint's name) stands for.

    Called once for each name in each process. None leaves it to the next implementation, and at last to the plugin,
    which knows folders, files and hub ids.
    """


@pytest.hookspec(firstresult=True)
def pytest_basin_benchmark(config: pytest.Config, name: str) -> Path | Benchmark | None:
    """Return the benchmark that a marker calls ``name``: a JSONL file, or an object with a score function of its own.

    Called during collection for names that are not configured, so it should import nothing heavy. None: unknown here.
    """


@pytest.hookspec
def pytest_basin_annotate(config: pytest.Config, result: Mapping[str, Any]) -> str | None:
    """Return a note to show with one gate's result, in failure texts and reports."""


@pytest.hookspec
def pytest_basin_veto(config: pytest.Config, result: Mapping[str, Any]) -> str | None:
    """Return why one gate's evidence must not count (say, the benchmark was trained on), or None.

    A veto turns certified into undecided and leaves no certificate and no baseline. It changes nothing else: what is
    refuted stays refuted.
    """
