"""The pytest plugin: what is loaded with every pytest run. It imports pytest alone until a basin test is collected."""

from __future__ import annotations

import sys
from types import NoneType
from typing import Any

import pytest

pytest_plugins = ("pytest_basin.fixtures",)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the plugin's own hooks."""
    from pytest_basin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    from pytest_basin.options import add

    add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and resolve the options."""
    from pytest_basin.markers import DECLARATION
    from pytest_basin.options import SETTINGS, read

    config.addinivalue_line("markers", DECLARATION)
    settings = config.stash[SETTINGS] = read(config)
    if settings.value("plan"):
        config.option.dist = "no"  # nothing will run, and xdist's controller would collect nothing


def pytest_sessionstart(session: pytest.Session) -> None:
    """Be ready for the gates of xdist's workers: its controller collects no items of its own."""
    if session.config.pluginmanager.hasplugin("dsession"):
        from pytest_basin.hooks import activate

        activate(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the seed on to one of xdist's workers: a random one is drawn once."""
    from pytest_basin.options import SETTINGS

    node.workerinput["basin_seed"] = node.config.stash[SETTINGS].value("seed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item per benchmark and checkpoint of each test with ``basin_bound``."""
    from pytest_basin.markers import USED_BY

    if not (USED_BY | {"basin_checkpoint"}).isdisjoint(metafunc.fixturenames) or _marked(metafunc):
        from pytest_basin.collecting import parametrise

        parametrise(metafunc)


def _marked(metafunc: pytest.Metafunc) -> bool:
    own: list[Any] = metafunc.definition.own_markers
    return any(mark.name == "basin" for mark in own)


def _refuse_test_cases(items: list[pytest.Item]) -> None:
    """Refuse markers on methods of a unittest.TestCase: they take no fixtures, so such a test would gate nothing."""
    case: type = getattr(sys.modules.get("unittest"), "TestCase", NoneType)
    for item in items:
        if issubclass(getattr(item, "cls", None) or object, case) and item.get_closest_marker("basin"):
            raise pytest.UsageError(
                f"{item.nodeid}: the basin marker gates nothing on a unittest.TestCase, whose methods take no "
                "fixtures: "
                "make it a function with the argument basin_bound"
            )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip basin tests under ``--basin-disable``; give those on one GPU one xdist group."""
    from pytest_basin.markers import uses_basin
    from pytest_basin.options import SETTINGS

    _refuse_test_cases(items)
    settings = config.stash[SETTINGS]
    if settings.value("disable"):
        for item in filter(uses_basin, items):
            item.add_marker(pytest.mark.skip(reason="--basin-disable"))
    elif settings.value("device") != "cpu" and config.pluginmanager.hasplugin("xdist"):
        from pytest_basin.gpu import group

        group(filter(uses_basin, items), settings.value("device"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Wake the rest of the plugin if a basin test is going to run."""
    from pytest_basin.markers import uses_basin

    if gated := list(filter(uses_basin, session.items)):
        from pytest_basin.collecting import announce
        from pytest_basin.hooks import activate, hooks_of

        basin = activate(session.config)
        basin.collected(session.items)
        hooks_of(session.config).refuse(announce(basin, gated), gated)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Under ``--basin-plan`` print what each gate needs, and run nothing."""
    from pytest_basin.options import SETTINGS

    if not session.config.stash[SETTINGS].value("plan"):
        return None
    from pytest_basin.plan import show

    show(session)
    return True
