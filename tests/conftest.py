"""Settings for all tests: the default run is the same every time, a second profile explores.

Property tests have no time limit for one example, since machines are shared. By default their examples are derived from
the tests themselves, so a run is red because of a change and never by chance. ``--hypothesis-profile explore`` draws
fresh ones, ten times as many; what it finds becomes an ``@example``.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from world import World

EXPLORE = "explore"
settings.register_profile("pytest-basin", deadline=None, derandomize=True, database=None)
settings.register_profile(EXPLORE, deadline=None, print_blob=True)
settings.load_profile("pytest-basin")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Multiply the examples of each property test by ten where it explores, whatever number the test itself names."""
    if config.getoption("--hypothesis-profile") != EXPLORE:
        return
    for test in {getattr(item, "obj", None) for item in items}:
        # Hypothesis keeps a test's own settings there; it has no public way to scale them.
        own = getattr(test, "_hypothesis_internal_use_settings", None)
        if own is not None:
            inner = getattr(test, "__func__", test)
            inner._hypothesis_internal_use_settings = settings(own, max_examples=10 * own.max_examples)


@pytest.fixture(autouse=True, scope="session")
def draws_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes finished draws in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CERTIFY_DRAWS_DIR", str(tmp_path_factory.mktemp("draws")))
        yield


@pytest.fixture(autouse=True, scope="session")
def nobody_is_called() -> Iterator[None]:
    """No test of this process reaches another machine: what opens a folder has no business there."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test would connect to {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One small run, measured once for all tests of records and reports."""
    from world import make_world

    return make_world(tmp_path_factory.mktemp("world"))
