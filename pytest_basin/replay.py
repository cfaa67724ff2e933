"""The command that runs one test again, with the same draws and the same verdict to the digit."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_basin.options import Settings


def test_id(item: pytest.Item) -> str:
    """Return the item's node id as collected: under ``--dist loadgroup`` xdist adds a group to the item's own."""
    return f"{item.parent.nodeid}::{item.name}" if item.parent is not None else item.nodeid


def arguments(config: pytest.Config, settings: Settings) -> list[str]:
    """Return the arguments of this run that decide verdicts: the config file, the options, the overrides."""
    file = config.option.inifilename
    named = [f"--config-file={file}"] if file else []
    overrides = [o for o in config.getoption("override_ini") or () if o.startswith("basin_")]
    return [*named, *settings.command_line(), *(part for o in overrides for part in ("-o", o))]


def command(config: pytest.Config, settings: Settings, item: pytest.Item | None, more: Sequence[str]) -> str:
    """Return ``pytest "TEST" --basin-seed=N ...`` as it is typed in the directory where pytest was started."""
    if item is None:
        return ""
    _, separator, inside = test_id(item).partition("::")
    file = os.path.relpath(item.path, config.invocation_params.dir)
    test = f"{Path(file).as_posix()}{separator}{inside}"
    quoted = shlex.quote(test) if set(test) & set('"$`\\!') else f'"{test}"'
    return " ".join([f"pytest {quoted} --basin-seed={settings['seed']}", *map(shlex.quote, more)])
