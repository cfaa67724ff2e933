"""`--basin-force KEY=VALUE`: the only thing that beats a marker."""

import pytest

pytest_plugins = ["pytester"]

SHOW = """
import pytest

@pytest.mark.basin(max_drop=0.3, confidence=0.9)
def test_kept(basin_bound):
    print("GATE", basin_bound.gate.describe())
"""


def gate_line(result):
    """The line that the inner test printed."""
    return next(line[line.index("GATE ") :] for line in result.outlines if "GATE " in line)


def test_beats_the_marker(project):
    """Limit, confidence and evidence; the origin says so."""
    project.configure(measurement=[str(project.files.measurement)])
    forced = ["--basin-force=max_drop=0.4", "--basin-force=confidence=0.8", "--basin-force=evidence=position"]
    line = gate_line(project.run("same", "-s", "--basin-max-drop=0.1", *forced, test=SHOW))
    assert line == "GATE max_drop 0.4 (force), confidence 0.8 (force), evidence position (force)"


def test_leaves_the_rest_to_the_marker(project):
    """What is not forced stays."""
    line = gate_line(project.run("same", "-s", "--basin-force=confidence=0.8", test=SHOW))
    assert line == "GATE max_drop 0.3 (marker), confidence 0.8 (force), evidence point (default)"


def test_changes_the_unit(project):
    """A limit in another unit replaces the marker's."""
    line = gate_line(project.run("same", "-s", "--basin-force=min_retention=0.5", test=SHOW))
    assert line.startswith("GATE min_retention 0.5 (force)")


def test_draws_matter_to_smoothed_gates_alone(project):
    """Point gates run as they are."""
    line = gate_line(project.run("same", "-s", "--basin-force=draws=50", test=SHOW))
    assert "draws" not in line


def test_in_basin_asks_for_position_whatever_is_forced(project):
    """`checkpoint in basin` has one meaning."""
    project.configure(measurement=[str(project.files.measurement)])
    test = "def test_in(basin):\n    assert basin.checkpoint in basin"
    result = project.run("same", "--basin-force=evidence=point", test=test)
    result.stdout.fnmatch_lines([" in: digits  position *"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("benchmarks=digits", "--basin-force has no keyword 'benchmarks'; valid: evidence, min_retention, max_drop"),
        ("speed=1", "--basin-force has no keyword 'speed'"),
        ("confidence=high", "--basin-force confidence must be a number strictly between 0 and 1, got 'high'"),
        ("confidence=1", "--basin-force confidence must be a number strictly between 0 and 1, got 1.0"),
        ("evidence=hope", "evidence must be one of point, position, smoothed, distance, audit, cover, got 'hope'"),
        ("draws=1.5", "--basin-force draws must be a positive whole number, got '1.5'"),
    ],
)
def test_mistake_is_named(project, text, told):
    """Keyword, rule and value, in one line."""
    result = project.run("same", f"--basin-force={text}", test=SHOW)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert told in result.stdout.str()


def test_two_limits_are_a_mistake(project):
    """Which one counts is never guessed."""
    result = project.run("same", "--basin-force=max_drop=0.1", "--basin-force=max_score=0.1", test=SHOW)
    assert "--basin-force: give one limit, not max_drop and max_score" in result.stdout.str()
