"""The plugin's page: its examples run as they stand, and its tables are complete."""

import re
from pathlib import Path

import models

from pytest_basin.markers import RULES
from pytest_basin.options import OPTIONS

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "plugin.md").read_text(encoding="utf-8")


def blocks(language, start=""):
    """The blocks of a language whose first line starts like this."""
    return [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if text.startswith(start)]


def lay_out(project):
    """Put models, benchmarks and configuration where the page has them."""
    root = project.pytester.path
    places = {"models/base": "base", "out/final": "same", "benchmarks/digits.jsonl": "digits",
              "benchmarks/digits.measurement.json": "measurement", "registry/v2": "near"}  # fmt: skip
    for name, file in places.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(getattr(project.files, file))
    (configuration,) = blocks("toml")
    (root / "pytest.toml").write_text(configuration)


def test_examples_run(project):
    """Configuration, tests and command of the page give two certified gates."""
    lay_out(project)
    (tests,) = blocks("python", "# test_release.py")
    (project.pytester.path / "test_release.py").write_text(tests)
    (command,) = re.findall(r"```\npytest (.*)\n```", PAGE)
    result = project.pytester.runpytest_inprocess(*command.split())
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([" 2 certified"])


def test_a_family_is_gated(project):
    """The page's example of a cover, on a checkpoint that keeps what it can."""
    lay_out(project)
    final = project.pytester.path / "out" / "final"
    final.unlink()
    models.variant(project.files.base, final, lambda tensors: tensors["model.norm.weight"].add_(1e-5))
    (test,) = blocks("python", "# test_family.py")
    result = project.run(None, "--basin-cache-dir=draws", test=test)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([" kept_on_the_way[[]digits-final[]]  cover *2 kept, 0 lost, 0 open*CERTIFIED*"])


def test_baseline_commands_run(project):
    """v1 is recorded; v2, the same weights, is compared with it: 120 items cannot show a loss of at most 0.02."""
    lay_out(project)
    for version in ("v1", "v2"):
        (project.pytester.path / "out" / version).symlink_to(project.files.same)
    (tests,) = blocks("python", "# test_release.py")
    (project.pytester.path / "test_release.py").write_text(tests)
    record, compare = re.findall(r"^pytest (--basin-checkpoint=out/v.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    project.pytester.runpytest_inprocess(*record.split()).assert_outcomes(passed=2)
    result = project.pytester.runpytest_inprocess(*compare.split())
    result.stdout.fnmatch_lines(["UNDECIDED against its baseline  kept*", "*2 undecided*"])


def test_hooks_run(project):
    """All four examples in one conftest.py: a registry, a score function, notes and a veto."""
    lay_out(project)
    examples = blocks("python", "# conftest.py")
    assert len(examples) == 4
    project.pytester.makeconftest("\n\n".join(examples))
    test = """
import pytest

@pytest.mark.basin(benchmarks=["confidence"], max_drop=0.5)
def test_sure(basin_bound):
    assert basin_bound.certificate.benchmark.graded
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(benchmarks=["digits"], max_drop=0.05)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""
    result = project.run(None, "--basin-checkpoint=registry:v2", "-v", test=test)
    result.stdout.fnmatch_lines(
        ["E *UNDECIDED  drop *", "E *owner: nobody", "E *vetoed: confidence is part of the training data",
         "E *UNDECIDED  drop * to 0.1*", "E *owner: arithmetic team"]
    )  # fmt: skip
    for hook in ("load_checkpoint", "benchmark", "annotate", "veto"):
        assert f"**`pytest_basin_{hook}(" in PAGE


def test_every_option_and_keyword_is_listed():
    """The tables name each once, with its default."""
    for option in OPTIONS:
        default = "" if option.default is None or option.kind == "flag" else str(option.default)
        default = "0.05" if option.word == "max-drop" else default
        assert PAGE.count(f"| `{option.flag}` | {default} |".replace("  ", " ")) == 1
    for keyword in RULES:
        assert re.search(rf"^\| .*`{keyword}=", PAGE, re.MULTILINE)
