"""The page on reports runs as it stands."""

import doctest
import glob
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from certify.__main__ import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reports.md"
GOLDEN = ROOT / "tests" / "golden" / "v1"


def test_examples_give_what_is_printed():
    """Every Python example."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert tried >= 6


def test_commands_run(tmp_path, monkeypatch, capsys):
    """Every command, in order, in a folder with certificates; comparing a certificate with itself is certified."""
    monkeypatch.chdir(tmp_path)
    Path("certs").mkdir()
    for name in ("first", "second"):
        shutil.copy(GOLDEN / "benign.addition.position.json", f"certs/{name}.json")
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines() if line]
    assert len(commands) == 9
    for command in commands:
        words = [file for word in command for file in (sorted(glob.glob(word)) or [word])]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, words
    assert capsys.readouterr().out.count("CERTIFIED") == 2
    assert Path("basin.html").stat().st_size > 10_000
    assert Path("summary.md").read_text(encoding="utf-8").startswith("## ")


def test_every_type_and_option_is_explained():
    """The table lists what the command takes."""
    from certify.report.render import ReportType

    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in text for kind in ReportType)
