"""Options: the command line before the ini file before the default, and the origin of each value."""

import re

import pytest

from pytest_basin.options import OPTIONS

pytest_plugins = ["pytester"]

SHOW = """
import pytest

@pytest.mark.basin({})
def test_kept(basin_bound):
    print("GATE", basin_bound.gate.describe())
    assert basin_bound.verdict
"""


def gate_line(result):
    """The line that the inner test printed."""
    return next(line[line.index("GATE ") :] for line in result.outlines if "GATE " in line)


def test_help_names_what_each_option_takes(project, snapshot, monkeypatch):
    """On the command line and in ini files: kind of value, choices, default."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = project.pytester.runpytest_inprocess("--help").outlines
    command_line = [line for line in lines if line.strip().startswith("--basin")]
    ini = [line for line in lines if line.strip().startswith("basin_")]
    assert sum("(default: 0.95)" in line for line in lines) == 2
    snapshot("help", command_line + ini)


def test_default(project):
    """Without any setting a drop of 0.05 is allowed at 95 %."""
    line = gate_line(project.run("same", "-s", test=SHOW.format("")))
    assert line == "GATE max_drop 0.05 (default), confidence 0.95 (default), evidence point (default)"


def test_ini_beats_default(project):
    """Every word works in the ini file."""
    project.configure(max_drop=0.2, confidence=0.9)
    line = gate_line(project.run("same", "-s", test=SHOW.format("")))
    assert line == "GATE max_drop 0.2 (ini), confidence 0.9 (ini), evidence point (default)"


def test_command_line_beats_ini(project):
    """The unit too: a retention on the command line replaces a drop in the ini file."""
    project.configure(max_drop=0.2, confidence=0.9)
    arguments = ["--basin-min-retention=0.5", "--basin-confidence=0.8"]
    line = gate_line(project.run("same", "-s", *arguments, test=SHOW.format("")))
    assert line == "GATE min_retention 0.5 (command line), confidence 0.8 (command line), evidence point (default)"


def test_marker_beats_command_line(project):
    """What a test asks for itself is not overruled."""
    test = SHOW.format("max_drop=0.3, confidence=0.85")
    line = gate_line(project.run("same", "-s", "--basin-max-drop=0.2", "--basin-confidence=0.8", test=test))
    assert line == "GATE max_drop 0.3 (marker), confidence 0.85 (marker), evidence point (default)"


def test_origins_are_shown_with_v(project):
    """`-v` lists every value in effect with its origin, after collection."""
    project.configure(confidence=0.9)
    result = project.run("same", "-v", "--basin-seed=7")
    result.stdout.fnmatch_lines(
        [
            "basin: base */base, checkpoint */same, seed 7",
            "  basin_base = */base (ini)",
            "  basin_checkpoint = */same (command line)",
            "  basin_confidence = 0.9 (ini)",
            "  basin_seed = 7 (command line)",
        ]
    )


def test_every_option_has_help_and_an_ini_form(project):
    """`--help` lists each option and each ini key."""
    text = project.pytester.runpytest_inprocess("--help").stdout.str()
    assert len(OPTIONS) == 39
    for option in OPTIONS:
        assert re.search(rf"^  {option.flag}[=\s]", text, re.MULTILINE)
        assert f"\n  {option.dest} (" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence": "high"}, "basin_confidence"),
        ({"seed": 1.5}, "basin_seed"),
        ({"wait": -1.0}, "basin_wait: -1.0 is no number of seconds from 0"),
        ({"undecided": "skip"}, "basin_undecided: 'skip' is none of fail, xfail, warn"),
        ({"items": "all"}, "basin_items: 'all' is none of population, fixed"),
        ({"cert_dir": ["a", "b"]}, "basin_cert_dir"),
        ({"benchmark": "a.jsonl"}, "basin_benchmark"),
    ],
)  # fmt: skip
def test_wrong_type_is_a_usage_error_at_once(project, settings, message):
    """Types are checked even when no basin test exists: nothing else is."""
    project.configure(**settings)
    result = project.run(None, test="def test_other(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


@pytest.mark.parametrize("argument", ["--basin-confidence=high", "--basin-undecided=skip", "--basin-seed=1.5"])
def test_wrong_type_on_the_command_line_is_a_usage_error(project, argument):
    """Likewise on the command line."""
    assert project.run(None, argument).ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--basin-max-drop=0.1", "--basin-min-retention=0.9"],
            "give one limit, not basin_min_retention and basin_max_drop",
        ),
        (["--basin-confidence=95"], "basin confidence must be a number strictly between 0 and 1, got 95.0"),
        (["--basin-seed=-1"], "basin seed must be 0 or more, got -1"),
        (["--basin-max-drop=2"], "basin max_drop must be a number from 0 to 1, got 2.0"),
        (["--basin-benchmark=nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--basin-benchmark=a/x.jsonl", "--basin-benchmark=b/x.jsonl"], "two benchmarks are called 'x'"),
    ],
)  # fmt: skip
def test_contradiction_matters_only_to_basin_tests(project, arguments, message):
    """A contradiction is an error of files with basin tests, and of no others."""
    result = project.run("same", *arguments, test=SHOW.format(""))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert message in result.stdout.str()
    project.run("same", *arguments, test="def test_other(): pass").assert_outcomes(passed=1)


def test_no_benchmark_says_how_to_give_one(project):
    """Option, ini key and fixture are named."""
    project.configure(benchmark=None)
    result = project.run("same", test=SHOW.format(""))
    assert (
        "no benchmark to gate on: give --basin-benchmark=FILE.jsonl, the ini key basin_benchmark" in result.stdout.str()
    )


def test_ini_paths_are_relative_to_the_config_file(project):
    """They mean the same from any directory."""
    (project.pytester.path / "digits.jsonl").write_text(project.files.digits.read_text())
    (project.pytester.path / "model").symlink_to(project.files.base)
    project.configure(base="model", benchmark=["digits.jsonl"])
    folder = project.pytester.mkdir("sub")
    (folder / "test_gate.py").write_text(SHOW.format(""))
    project.pytester.chdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project.pytester.runpytest_inprocess(*project.named("same")).assert_outcomes(passed=1)


def test_a_test_that_changes_directory_changes_nothing(project, monkeypatch):
    """Relative paths on the command line belong to the directory where pytest was started."""
    (project.pytester.path / "ft").symlink_to(project.files.same)
    test = "import os\nos.chdir('/')\n" + SHOW.format("")
    project.run(None, "--basin-checkpoint=ft", test=test).assert_outcomes(passed=1)


def test_fixed_items_have_no_confidence(project):
    """With items=fixed the drop is known: few items are enough, and the text says so."""
    project.configure(items="fixed", benchmark=[str(project.files.few)])
    test = "def test_kept(basin_bound):\n    assert basin_bound <= basin_bound.required"
    project.run("same", test=test).assert_outcomes(passed=1)
    project.run("broken", test=test).stdout.fnmatch_lines(["E *REFUTED *(point, exactly these 30 items)"])


def test_disable_skips_basin_tests_and_keeps_names(project):
    """Markers, ini keys and fixtures stay known in strict mode, and nothing needs to be configured."""
    project.configure(base=None, benchmark=None)
    test = SHOW.format("max_drop=0.1") + "\ndef test_in(basin): pass\ndef test_other(): pass"
    project.run(None, "--basin-disable", test=test).assert_outcomes(skipped=2, passed=1)
    project.configure(base=None, benchmark=None, disable=True)
    project.run(None, test=test).assert_outcomes(skipped=2, passed=1)


def test_seed_reaches_the_certificate(project):
    """A user seed is recorded with the draws."""
    project.configure(sigma=1e-5)
    test = """
import pytest

@pytest.mark.basin(evidence="smoothed", draws=60, max_drop=0.3)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
    assert basin_bound.certificate.evidence.seed.user_seed == 11
"""
    project.run("same", "--basin-seed=11", test=test).assert_outcomes(passed=1)


@pytest.mark.parametrize("given", ["nan", "inf", "-1"])
def test_a_wait_that_is_no_time_is_a_usage_error(project, given):
    """A lock reads a negative wait as one without end."""
    result = project.run("same", f"--basin-wait={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is no number of seconds from 0" in result.stderr.str()
