"""Bounds, laws, gates and planning load nothing heavy: a certificate is checked without torch."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from certify.errors import MODELS

CORE = (
    "certify.statistics",
    "certify.statistics.laws",
    "certify.statistics.precision",
    "certify.errors",
)
HEAVY = (
    "torch",
    "transformers",
    "accelerate",
    "statsmodels",
    "matplotlib",
    "pandas",
    "pytest",
    "scipy.stats",
)


def heavy_modules_after(code):
    """The heavy modules that are loaded in a fresh interpreter after running the code."""
    probe = f"{code}\nimport sys\nprint(','.join(m for m in {HEAVY!r} if m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return {name for name in result.stdout.strip().split(",") if name}


@pytest.mark.parametrize("module", CORE)
def test_core_module_loads_nothing_heavy(module):
    """A fresh interpreter stays light, for each module alone."""
    assert heavy_modules_after(f"import {module}") == set()


def test_core_computes_without_anything_heavy():
    """Not even using the functions loads more: lazy imports count too."""
    code = (
        "from certify import statistics\nfrom certify.statistics import laws\n"
        "statistics.score_band([.9] * 20, .05).radius_for_mean(.5)\n"
        "statistics.drop_bounds(1, 1, 20, .05)\n"
        "statistics.betting_lower([.9] * 20, .05)\n"
        "statistics.GatePlan(.8, .9, .05, 20).power\n"
        "statistics.draws_for_power(.5, .8, .05)\n"
        "statistics.feasible('table', 20, .05, .9)\n"
        "laws.mean_noise_norm(10)"
    )
    assert heavy_modules_after(code) == set()


@pytest.mark.parametrize("name", ["statsmodels", "pytest", "scipy.stats"])
def test_the_check_can_fail(name):
    """A module that does load something heavy is caught."""
    assert name in heavy_modules_after(f"import certify.statistics\nimport {name}")


def test_without_models_the_line_names_the_extra(tmp_path):
    """Every library of the extra is missing: records are verified, and what needs a model says so in one line."""
    golden = sorted(str(path) for path in (Path(__file__).parent / "golden" / "v2").glob("*.json"))[:3]
    gone = f"""
import sys
class Gone:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {MODELS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Gone())
from certify.__main__ import main
"""

    def run(*arguments):
        code = f"{gone}sys.argv = {['certify', *arguments]!r}\nmain()"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert run("verify", *golden).returncode == 0
    for command in (["show"], ["report", "-t", "html", "-o", "page.html"]):
        assert run(*command, *golden).returncode == 0
    assert run("plan", "--max-drop", "0.05").returncode == 0
    needs = run("check", "x", "--base", "y", "-b", "z.jsonl")
    assert needs.returncode == 2
    assert needs.stderr.count("\n") == 1
    assert "pip install 'pytest-basin[models]'" in needs.stderr


def test_the_extra_lists_what_the_line_knows():
    """pyproject.toml and the names that are caught are one list; nothing else of it is imported at the core."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extra = {line.partition(">")[0] for line in project["optional-dependencies"]["models"]}
    assert extra == set(MODELS)
    core = {line.partition(">")[0] for line in project["dependencies"]}
    assert core.isdisjoint(MODELS)
