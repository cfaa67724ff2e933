"""What is declared once is the same wherever else it must stand: pins, sessions, hooks, the citation."""

from __future__ import annotations

import ast
import re
import runpy
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SESSIONS = {"tests", "statistical", "lint", "types", "docs", "wheel", "lm_eval", "oldest", "ray", "vllm"}
# Commands of the pinned pre-commit-hooks, which pre-commit installs for itself.
GENERAL = {"end-of-file-fixer", "trailing-whitespace-fixer", "check-toml", "check-yaml", "check-json"}


def sessions() -> dict[str, ast.FunctionDef]:
    """Functions of noxfile.py that nox takes for sessions; nox itself need not be installed."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: f for f in functions if any("nox.session" in ast.unparse(d) for d in f.decorator_list)}


def hooks() -> list[dict[str, Any]]:
    """All hooks of the pre-commit configuration."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    return [hook for repository in config["repos"] for hook in repository["hooks"]]


def is_a_command(hook: dict[str, Any]) -> bool:
    """Installed beside this Python, or of the pinned package that pre-commit installs."""
    command = hook["entry"].split()[0]
    if hook["language"] == "system":
        return shutil.which(command, path=sysconfig.get_path("scripts")) is not None
    (package,) = hook["additional_dependencies"]
    return command in GENERAL and re.fullmatch(r"pre-commit-hooks==[\d.]+", package) is not None


def test_sessions_are_there() -> None:
    """By name, and each says what it does."""
    assert set(sessions()) == SESSIONS
    assert all(ast.get_docstring(session) for session in sessions().values())


def test_every_session_but_the_oldest_installs_what_is_constrained() -> None:
    """The session with the lowest versions must not see the pins, all others must."""
    free = {name for name, body in sessions().items() if "'constraints.txt'" not in ast.unparse(body)}
    assert free == {"oldest"}


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_hooks_name_real_commands(hook: dict[str, Any]) -> None:
    """Each can be started, clones nothing, and says what it does."""
    assert is_a_command(hook)
    assert hook["name"]


def test_a_command_that_is_missing_is_noticed() -> None:
    """Neither installed nor of the pinned package."""
    assert not is_a_command({"entry": "no-such-linter --fix", "language": "system"})
    pinned = {"language": "python", "additional_dependencies": ["pre-commit-hooks==6.0.0"]}
    assert not is_a_command({"entry": "check-everything", **pinned})


def test_hooks_leave_kept_files_alone() -> None:
    """Golden files, results and shipped models are bytes that digests were taken of."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    kept = ["tests/golden/v1/measurement.json", "benchmarks/results/gpu.json", "certify/demo/data/base/config.json",
            "tests/plugin/snapshots/plan.txt"]  # fmt: skip
    for path in kept:
        assert (ROOT / path).is_file()
        assert re.search(config["exclude"], path)
    assert not re.search(config["exclude"], "certify/errors.py")


def test_the_oldest_versions_are_those_of_the_ranges() -> None:
    """One pin for each requirement, inside its range, with no release left below it in the range."""
    pins = {(r := Requirement(line)).name: r for line in runpy.run_path(str(ROOT / ".ci" / "pins.py"))["oldest"]()}
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["models"], *extras["sign"], *extras["test"]]
    declared = [line for line in lines if not line.startswith(PROJECT["name"])]
    assert len(pins) == len(declared) > 20
    for line in map(Requirement, declared):
        (pin,) = pins[line.name].specifier
        assert pin.operator == "=="
        assert line.specifier.contains(pin.version)
        assert not line.specifier.contains(f"{pin.version}.dev0", prereleases=True)


def test_this_python_is_one_of_the_classifiers() -> None:
    """Whose lowest is what is required."""
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert f">={min(named, key=Version)}" == PROJECT["requires-python"]
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in named


def test_the_citation_agrees() -> None:
    """Version, licence, title and authors are the package's; the paper is the README's."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {key: citation[key] for key in ("cff-version", "type")} == {"cff-version": "1.2.0", "type": "software"}
    assert citation["message"]
    for key, there in (("title", "name"), ("version", "version"), ("license", "license"), ("authors", "authors")):
        assert citation[key] == PROJECT[there]
    (paper,) = citation["references"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper["url"] in readme
    assert paper["title"] in readme
    assert {"type", "title", "authors"} <= set(paper)
