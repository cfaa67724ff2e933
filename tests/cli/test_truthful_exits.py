"""What ends a command is said in one line, and by a code that means just that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from forked import certify

from certify.demo import DATA

GOLDEN = Path(__file__).parents[1] / "golden"
CERTIFICATE = sorted(GOLDEN.rglob("*.point.json"))[0]
BROKEN = """
import sys
import certify.documents
def broken(*_): raise RuntimeError("first line\\nsecond line")
certify.documents.read_as = broken
from certify.__main__ import main
main()
"""


def run_broken(*words: str, code: str = BROKEN) -> subprocess.CompletedProcess[str]:
    """Run a command line of a package that breaks where it is imported."""
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_an_error_of_certify_itself_is_five() -> None:
    """One line, and no traceback unless it is asked for, wherever that stands."""
    done = run_broken("show", str(CERTIFICATE))
    assert done.returncode == 5
    assert done.stderr.startswith("certify: error of certify itself: RuntimeError: first line second line (")
    assert done.stderr.count("\n") == 1
    shown = run_broken("show", str(CERTIFICATE), "--debug")
    assert shown.returncode == 5
    assert "Traceback" in shown.stderr


def test_no_place_for_temporary_files_is_bad_input() -> None:
    """Libraries ask for one where they are imported; a full disk is no error of certify itself."""
    told = "FileNotFoundError(2, 'No usable temporary directory found in [...]')"
    done = run_broken("show", str(CERTIFICATE), code=BROKEN.replace('RuntimeError("first line\\nsecond line")', told))
    assert done.returncode == 2
    assert done.stderr == (
        "certify: error: temporary files cannot be written: No usable temporary directory found in [...]; make room or "
        "set TMPDIR\n"
    )


def test_a_reader_that_goes_away_is_no_verdict() -> None:
    """`certify show FILE | head -1`: as of any other program."""
    words = [sys.executable, "-c", "from certify.__main__ import main; main()", "show", str(CERTIFICATE)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 141


def test_show_says_first_that_a_file_does_not_verify(tmp_path: Path) -> None:
    """A tampered file is not repeated as if it were true."""
    value = json.loads(CERTIFICATE.read_text(encoding="utf-8"))
    value["alpha"] = 0.04
    file = tmp_path / "tampered.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    done = certify("show", str(file))
    assert done.returncode == 4
    assert done.stdout.startswith(f"INVALID  {file}: ")
    assert certify("show", str(CERTIFICATE)).returncode == 0


@pytest.mark.parametrize("name", ["::error::b", "a\x1b[31mb", "##[error]"])
def test_names_are_shown_escaped_or_refused(tmp_path: Path, name: str) -> None:
    """No line begins with a command, and no control character reaches the terminal."""
    done = certify("show", str(tmp_path / f"{name}.json"))
    checked = certify("check", tmp_path / name, "--base", DATA / "base", "-b", tmp_path / f"{name}.jsonl")
    for each in (done, checked):
        assert each.returncode == 2
        for line in (each.stdout + each.stderr).splitlines():
            assert not line.lstrip().startswith("::")
            assert "\x1b" not in line
            assert "##[" not in line


def test_the_version_is_printed() -> None:
    """And no more."""
    assert certify("--version").stdout.startswith("certify ")
