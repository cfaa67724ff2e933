"""The plugin's page: its examples run as they stand, and its tables are complete."""

import re
from pathlib import Path

from pytest_basin.markers import RULES
from pytest_basin.options import OPTIONS

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "plugin.md").read_text(encoding="utf-8")


def block(language):
    """The one block of a language, less its file name."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_examples_run(project):
    """Configuration, tests and command of the page give two certified gates."""
    root = project.pytester.path
    places = {"models/base": "base", "out/final": "same", "benchmarks/digits.jsonl": "digits",
              "benchmarks/digits.measurement.json": "measurement"}  # fmt: skip
    for name, file in places.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(getattr(project.files, file))
    (root / "pytest.toml").write_text(block("toml"))
    (root / "test_release.py").write_text(block("python"))
    (command,) = re.findall(r"```\npytest (.*)\n```", PAGE)
    result = project.pytester.runpytest_inprocess(*command.split())
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([" 2 certified"])


def test_every_option_and_keyword_is_listed():
    """The tables name each once, with its default."""
    for option in OPTIONS:
        default = "" if option.default is None or option.kind == "flag" else str(option.default)
        default = "0.05" if option.word == "max-drop" else default
        assert PAGE.count(f"| `{option.flag}` | {default} |".replace("  ", " ")) == 1
    for keyword in RULES:
        assert re.search(rf"^\| .*`{keyword}=", PAGE, re.MULTILINE)
