"""The pytest plugin: what is loaded with every pytest run. It imports pytest alone until a basin test is collected."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ("pytest_basin.fixtures",)

USED_BY = frozenset({"basin", "basin_bound"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    from pytest_basin.options import add

    add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and resolve the options."""
    from pytest_basin.markers import DECLARATION
    from pytest_basin.options import SETTINGS, read

    config.addinivalue_line("markers", DECLARATION)
    config.stash[SETTINGS] = read(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Be ready for the gates of xdist's workers: its controller collects no items of its own."""
    if session.config.pluginmanager.hasplugin("dsession"):
        from pytest_basin.hooks import activate

        activate(session.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item per benchmark of each test with ``basin_bound``."""
    if not USED_BY.isdisjoint(metafunc.fixturenames) or _marked(metafunc):
        from pytest_basin.collecting import parametrise

        parametrise(metafunc)


def _marked(metafunc: pytest.Metafunc) -> bool:
    own: list[Any] = metafunc.definition.own_markers
    return any(mark.name == "basin" for mark in own)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip basin tests under ``--basin-disable``."""
    from pytest_basin.options import SETTINGS

    if config.stash[SETTINGS].value("disable"):
        for item in filter(uses_basin, items):
            item.add_marker(pytest.mark.skip(reason="--basin-disable"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Wake the rest of the plugin if a basin test is going to run."""
    if any(map(uses_basin, session.items)):
        from pytest_basin.hooks import activate

        activate(session.config)


def uses_basin(item: pytest.Item) -> bool:
    """Whether an item asks for a basin fixture."""
    return not USED_BY.isdisjoint(getattr(item, "fixturenames", ()))
