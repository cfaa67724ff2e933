"""A headless browser, where the machine has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browser, find_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless browser for all tests of pages."""
    program = find_browser()
    if program is None:
        pytest.skip("no chromium found: `apt-get install chromium` to look at the page in a real browser")
    with Browser(program) as running:
        yield running
