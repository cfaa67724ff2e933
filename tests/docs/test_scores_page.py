"""docs/scores.md: each command of the page does what the page says, in its order, on logs that lm-eval wrote."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    """Commands and the test file are taken from the page."""
    page = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
    for name, run in (("base", "base"), ("tuned", "benign")):
        shutil.copytree(ROOT / "tests" / "logs" / "of_lm_eval" / run, tmp_path / "runs" / name)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "test_kept.py").write_text(code, encoding="utf-8")
    commands = [line for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert [command.split()[0] for command in commands] == ["certify"] * 4 + ["pytest"]
    for command in commands:
        tool, *arguments = shlex.split(command)
        files = [str(f) for a in arguments for f in (sorted(tmp_path.glob(a)) if "*" in a else [a])]
        done = subprocess.run([sys.executable, "-m", tool, *files], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "1 passed" in done.stdout
    assert (tmp_path / "report.html").is_file()
