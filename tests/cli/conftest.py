"""Running commands in this process, in the folder of a test module's own fixture ``folder``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certify.__main__ import main
from certify.cli import output


@pytest.fixture
def certify(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in the folder; return its exit code and what it said."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("CERTIFY_DRAWS_DIR", str(tmp_path / "draws"))  # no test knows what others tried
        monkeypatch.setattr(output.out, "width", 200)
        monkeypatch.setattr(sys, "argv", ["certify", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return run
