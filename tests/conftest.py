"""Settings for all tests: property tests have no time limit for one example, since machines are shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from world import World

settings.register_profile("pytest-basin", deadline=None)
settings.load_profile("pytest-basin")


@pytest.fixture(autouse=True, scope="session")
def draws_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes finished draws in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CERTIFY_DRAWS_DIR", str(tmp_path_factory.mktemp("draws")))
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One small run, measured once for all tests of records and reports."""
    from world import make_world

    return make_world(tmp_path_factory.mktemp("world"))
