"""Where finished draws are kept, so that workers share them and a run that was stopped goes on from them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_basin.options import Settings

if TYPE_CHECKING:
    from certify.measuring import Run


def folder(settings: Settings) -> Path:
    """Return the folder of finished draws: the option, else the command line's own, else the user's cache.

    ``certify`` uses the same folder and the same names in it, so its draws are found here.
    """
    named = settings.value("cache-dir") or os.environ.get("CERTIFY_DRAWS_DIR")
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("pytest-basin") / "draws"


def run(settings: Settings) -> Run:
    """Return how draws are carried out: each in a ledger under a file lock, or nowhere with ``--basin-resume=off``.

    With ``--log-cli-level=INFO`` what a gate will take is timed at the base and logged before its first draw.

    Raises:
        UsageError: the folder cannot be made or written to.
    """
    from certify.errors import InvalidInput
    from certify.measuring import Run
    from certify.writing import refuse_unwritable_folder

    filed = settings.value("cert-dir")
    if settings.value("resume") == "off":
        return Run(filed=filed)
    place = folder(settings)
    try:
        refuse_unwritable_folder(place)
    except InvalidInput as error:
        raise pytest.UsageError(
            f"finished draws cannot be kept: {error} with --basin-cache-dir, or give --basin-resume=off"
        ) from None
    log = logging.getLogger("pytest_basin")
    tell = log.info if log.isEnabledFor(logging.INFO) else None  # nobody asked: nothing is timed
    return Run(ledgers=place, filed=filed, longest_wait=settings.value("wait"), tell=tell)
