"""What a gate cannot be judged without is asked for before anything runs, and only for gates that will run."""

from __future__ import annotations

import json

import pytest

TEST = """
import pytest

@pytest.mark.basin(max_drop=0.05)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(max_drop=0.05, evidence="smoothed", draws=70)
def test_robust(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(max_drop=0.05, evidence="position")
def test_inside(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(max_drop=0.05, evidence="smoothed", draws=10)
def test_hopeless(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def test_a_missing_measurement_and_sigma_are_errors_of_collection(project) -> None:
    """Nothing is scored; the command that makes the measurement is named; reports and JUnit have every gate."""
    outputs = ["--basin-report=json", "--basin-report=markdown", "--junitxml=junit.xml"]
    result = project.run("same", "-k", "not hopeless", *outputs, test=TEST)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    said = result.stdout.str()
    assert "test_gate.py::test_robust[digits]: smoothed evidence needs a sigma: give --basin-sigma" in said
    assert "test_gate.py::test_inside[digits]: position evidence rests on a measurement" in said
    assert "certify measure" in said
    assert "Traceback" not in said + result.stderr.str()
    result.stdout.fnmatch_lines([" 2 in error", " NOT RUN test_gate.py::test_kept[[]digits[]]",
                                 "ERROR test_gate.py::test_robust[[]digits[]] - *", "*2 errors in *"])  # fmt: skip
    root = project.pytester.path
    report = json.loads((root / "basin-report.json").read_text())
    assert [(gate["item"], gate["error"][:20]) for gate in report["gates"]] == [
        ("robust[digits]", "not judged: smoothed"), ("inside[digits]", "not judged: position")
    ]  # fmt: skip
    assert "Not enough data" in (root / "basin-report.md").read_text()
    assert (root / "junit.xml").read_text().count("<error ") == 2


def test_the_other_gates_run_where_that_is_asked(project) -> None:
    """`--continue-on-collection-errors`: one is judged, the report is not certified, and the exit code says so."""
    arguments = ["-k", "kept or inside", "--continue-on-collection-errors", "--basin-report=markdown"]
    result = project.run("same", *arguments, test=TEST)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([" kept[[]digits[]] *CERTIFIED*", " inside[[]digits[]] *ERROR*",
                                 " 1 certified, 1 in error"])  # fmt: skip
    assert "Not enough data" in (project.pytester.path / "basin-report.md").read_text()


def test_what_could_not_be_collected_is_named(project) -> None:
    """A file with a benchmark that nobody configured holds gates: a report without them would look whole."""
    (project.pytester.path / "test_typo.py").write_text(TEST.replace("max_drop=0.05)", "benchmarks=['mmlu'])", 1))
    arguments = ["--continue-on-collection-errors", "--basin-report=markdown", "--basin-report=annotations"]
    result = project.run("same", *arguments, "-k", "kept", test=TEST)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([" kept[[]digits[]] *CERTIFIED*", "::error *test_typo.py: could not be collected*",
                                 " NOT COLLECTED test_typo.py: *"])  # fmt: skip
    text = (project.pytester.path / "basin-report.md").read_text()
    assert "Not enough data" in text
    assert r"1 not collected: test\_typo.py" in text
    alone = project.run("same", "test_typo.py", "--basin-report=json")
    assert alone.ret == pytest.ExitCode.INTERRUPTED
    report = json.loads((project.pytester.path / "basin-report.json").read_text())
    assert not report["gates"]


def test_a_broken_measurement_is_no_matter_of_gates_without_one(project) -> None:
    """Point evidence rests on no measurement, so the file is not read."""
    project.configure(measurement=["nowhere.json"])
    project.run("same", "-k", "kept", test=TEST).assert_outcomes(passed=1, deselected=3)
    result = project.run("same", "-k", "inside", test=TEST)
    assert "nowhere.json" in result.stdout.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_gates_that_need_no_measurement_run_without_one(project) -> None:
    """What was deselected is neither asked for nor warned about."""
    result = project.run("same", "-k", "kept", test=TEST)
    result.assert_outcomes(passed=1, deselected=3)
    assert "BasinWarning" not in result.stdout.str()


def test_what_can_never_pass_is_warned_of_where_it_runs(project) -> None:
    """The same file, with the gate of too few draws."""
    result = project.run("same", "-k", "hopeless", "--basin-sigma=0.0001", test=TEST)
    result.stdout.fnmatch_lines(["*BasinWarning: test_hopeless[[]digits[]]: this gate cannot pass with 10 draws*"])


def test_tests_are_listed_without_settings(project) -> None:
    """`--collect-only` and `--basin-plan` judge nothing."""
    for option in ("--collect-only", "--basin-plan"):
        assert project.run("same", option, test=TEST).ret == pytest.ExitCode.OK


def test_a_worker_leaves_it_to_the_gate(project) -> None:
    """Under xdist the other gates are judged, and these are errors of their own."""
    result = project.run("same", "-n1", "-k", "kept or inside", test=TEST)
    assert "position evidence rests on a measurement" in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([" 1 certified, 1 in error"])
