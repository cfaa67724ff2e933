"""A user's repository in miniature, and the guide that makes it, run with the wheel and not with the checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import pytest

ROOT = Path(__file__).parents[2]
REPO = ROOT / "examples" / "gated_repo"
GUIDE = ROOT / "docs" / "guide.md"
BLOCK = re.compile(r"<!-- (file|run)(?:: ([^>]*?))? -->\n```(\w+)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own that comes before everything else."""
    work = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", str(ROOT), "--no-deps", "-w", str(work)], check=True)
    (wheel,) = work.glob("pytest_basin-*.whl")
    subprocess.run([*pip, "install", str(wheel), "--no-deps", "--target", str(work / "site")], check=True)
    return work / "site"


@dataclass
class Shell:
    """Commands in a folder, with the wheel's package."""

    folder: Path
    site: Path

    def run(self, script: str, expected: int = 0) -> str:
        """Return what a script prints; its last command must exit with ``expected``, those before with 0."""
        commands, said = script.replace("\\\n", " ").strip().splitlines(), ""
        for i, command in enumerate(commands, 1):
            done, code = self._one(command), expected if i == len(commands) else 0
            assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
        return said

    def _one(self, command: str) -> subprocess.CompletedProcess[str]:
        program, *words = shlex.split(command)
        words = [str(found) for word in words for found in (sorted(self.folder.glob(word)) if "*" in word else [word])]
        how: Any = {"cwd": self.folder, "env": {"COLUMNS": "160"}}
        if program == "pytest":
            return forked.run_pytest(*words, **how, package=self.site)
        if program == "certify":
            return forked.certify_of(self.site, *words, **how)
        return self.apart(command)

    def apart(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process that shares nothing with this one, with the wheel's scripts."""
        path = f"{self.site / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
        env = {**plain, "PATH": path, "PYTHONPATH": str(self.site)}
        return subprocess.run(["bash", "-c", command], cwd=self.folder, env=env, text=True, capture_output=True)


@pytest.fixture
def shell(site: Path, tmp_path: Path) -> Shell:
    return Shell(tmp_path, site)


def test_the_package_under_test_is_the_wheel(shell: Shell) -> None:
    """Or these tests would say nothing of what users install."""
    (shell.folder / "test_where.py").write_text(
        "import sys, certify, pytest_basin\n\n"
        "def test_all():\n"
        "    names = [name for name in sys.modules if name.partition('.')[0] in ('certify', 'pytest_basin')]\n"
        f"    assert len(names) > 5 and all(sys.modules[n].__file__.startswith({str(shell.site)!r}) for n in names)\n"
    )
    shell.run("pytest test_where.py")
    assert shell.apart("pytest -q test_where.py").returncode == 0
    assert shell.apart("certify --version").stdout == shell.run("certify --version")


def test_the_recipe_gates_a_good_candidate(shell: Shell) -> None:
    """As it lies in the repository, with its measurement and its baselines."""
    shutil.copytree(REPO, shell.folder, dirs_exist_ok=True)
    shell.run("python get_models.py")
    good = shell.run("pytest --basin-compare")
    assert "4 certified" in good
    assert "since the baseline" in good
    shell.run("certify verify addition.measurement.json tests/__basin__/*.json certificates/*.json")


def test_the_guide_makes_the_recipe_from_nothing(shell: Shell) -> None:
    """Every file and command of the guide, in its order; its files are those of the recipe; at last a bad candidate."""
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    assert [kind for kind, *_ in blocks].count("file") == 5
    for kind, note, _, text in blocks:
        if kind == "file":
            assert text == (REPO / note).read_text(encoding="utf-8"), f"{note} differs from examples/gated_repo"
            (shell.folder / note).parent.mkdir(parents=True, exist_ok=True)
            (shell.folder / note).write_text(text, encoding="utf-8")
        else:
            said = shell.run(text, expected=int(note.removeprefix("exit ")) if note else 0)
    assert "REFUTED" in said
    assert (shell.folder / "report.html").stat().st_size > 5000
    assert len(list((shell.folder / "tests" / "__basin__").glob("*.json"))) == 4


def test_every_command_block_of_the_guide_is_run() -> None:
    """A block without its mark would be a snippet that nothing executes."""
    fences = re.findall(r"^```(\w+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == len(BLOCK.findall(GUIDE.read_text(encoding="utf-8")))
