"""What each verdict does to a test: outcome, exit code, letters, sections."""

import json
import time

import pytest

from certify.measuring import base as base_module
from certify.measuring import candidate as candidate_module

pytest_plugins = ["pytester"]

RETENTION = """
import pytest

@pytest.mark.basin(min_retention=0.8)
def test_kept(basin_bound):
    assert basin_bound >= basin_bound.required
"""


def test_certified_gate_passes(project):
    """The same weights keep everything."""
    result = project.run("same")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK


def test_refuted_gate_fails(project):
    """A broken checkpoint is an ordinary failure."""
    result = project.run("broken", test=RETENTION)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["E *assert kept[[]digits[]] >= 0.8", "E *REFUTED  retention * at least 0.8 required*"])


def test_undecided_gate_shows_U_and_fails(project):
    """U, a section of its own since pytest lists none, and exit status 1."""
    result = project.run("near")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "test_gate.py U *",
            "*= UNDECIDED =*",
            "E *assert kept[[]digits[]] <= 0.05",
            "E *UNDECIDED  drop * to 0.*, at most 0.05 required  (point, 95 % one-sided each, 120 items)",
            "E *about * items decide nine times in ten if these rates are right; a retry is another test",
            " UNDECIDED test_gate.py::test_kept[[]digits[]] - drop * to *, at most 0.05 required",
            "*= 1 undecided in *",
        ]
    )


def test_undecided_is_a_word_with_v(project):
    """`-v` writes the word."""
    result = project.run("near", "-v")
    result.stdout.fnmatch_lines(["test_gate.py::test_kept[[]digits[]] UNDECIDED*"])


def test_undecided_may_be_expected(project):
    """`--basin-undecided=xfail` reports it as pytest reports expected failures; exit status 0."""
    result = project.run("near", "--basin-undecided=xfail", "-rx")
    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["XFAIL test_gate.py::test_kept[[]digits[]] - UNDECIDED  drop *"])


def test_undecided_may_warn(project):
    """`--basin-undecided=warn` lets it pass, still shown as U, with a warning that carries the verdict."""
    result = project.run("near", "--basin-undecided=warn")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["test_gate.py U *", "*BasinWarning: test_gate.py::test_kept* is undecided: UNDECIDED *"]
    )


def test_undecided_warning_as_an_error_fails(project):
    """Where warnings are errors, a warning is no way out."""
    result = project.run("near", "--basin-undecided=warn", "-W", "error::pytest.PytestWarning")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*1 undecided*"])


@pytest.mark.parametrize("action", ["xfail", "warn"])
def test_other_failures_stay_failures(project, action):
    """Only the very assertion that an undecided gate explained is treated as undecided."""
    test = """
import pytest

@pytest.mark.basin(benchmarks=["digits"])
def test_other(basin_bound):
    kept = basin_bound <= basin_bound.required
    assert not kept
    assert 1 == 2

@pytest.mark.basin(benchmarks=["digits"])
def test_caught(basin_bound):
    try:
        assert basin_bound <= basin_bound.required
    except AssertionError:
        pass
    assert 1 == 2
"""
    project.run("near", f"--basin-undecided={action}", test=test).assert_outcomes(failed=2)


@pytest.mark.parametrize("action", ["xfail", "warn"])
def test_refuted_stays_a_failure(project, action):
    """The option speaks of undecided gates alone."""
    project.run("broken", f"--basin-undecided={action}").assert_outcomes(failed=1)


def test_user_message_keeps_the_verdict(project):
    """An assertion with a message of its own is still undecided."""
    test = """
import pytest

@pytest.mark.basin(benchmarks=["digits"])
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required, "digits got worse"
"""
    result = project.run("near", test=test)
    result.stdout.fnmatch_lines(["E *AssertionError: digits got worse", "*1 undecided*"])


def test_truth_value_fails_with_advice(project):
    """`assert basin_bound` is an error that says what to write."""
    result = project.run("same", test="def test_kept(basin_bound):\n    assert basin_bound\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *TypeError: a bound is certified, refuted or undecided*use `basin_bound <= x`*"])


def test_last_failed_remembers_undecided(project):
    """`--lf` runs an undecided test again, and not the certified one."""
    test = """
import pytest

@pytest.mark.basin(benchmarks=["digits"], max_drop=0.05)
def test_strict(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(benchmarks=["digits"], max_drop=0.5)
def test_loose(basin_bound):
    assert basin_bound <= basin_bound.required
"""
    project.run("near", test=test)
    result = project.run("near", "--lf", "--co", "-q", test=test)
    result.stdout.fnmatch_lines(["test_gate.py::test_strict*"])
    result.stdout.no_fnmatch_line("*test_loose*")


@pytest.mark.parametrize("missing", ["checkpoint", "base"])
def test_unreadable_model_is_an_error_in_one_line(project, missing):
    """The library's message, no traceback: an error of the test, not a failed gate."""
    result = project.run("same" if missing == "base" else None, f"--basin-{missing}=nowhere")
    result.assert_outcomes(errors=1)
    assert "kept[digits]: nowhere: no such folder or file" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert "During handling" not in result.stdout.str()


@pytest.mark.parametrize("word", ["base", "checkpoint"])
def test_missing_model_says_how_to_give_it(project, word):
    """Option, ini key and fixture are named."""
    project.configure(base=None) if word == "base" else None
    result = project.run("same" if word == "base" else None)
    result.assert_outcomes(errors=1)
    assert (
        f"no {word} to gate: give --basin-{word}=FOLDER, the ini key basin_{word}, or override" in result.stdout.str()
    )


ABSENCE = """
import pytest

@pytest.mark.basin(max_score=0.3)
def test_unlearned(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def test_an_absent_capability_is_gated_from_above(project):
    """With max_score the score itself must be low: what the base can do refutes it, the wreck certifies it."""
    project.run("broken", test=ABSENCE).assert_outcomes(passed=1)
    result = project.run("same", test=ABSENCE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *REFUTED  score at least 0.9*, at most 0.3 required*"])


@pytest.mark.parametrize(
    ("limit", "comparison", "said"),
    [
        ("min_retention=0.8", ">= basin_bound.required", "refuted: retention <= 0.* < 0.8"),
        ("max_drop=0.05", "<= basin_bound.required", "refuted: drop >= 0.* > 0.05"),
        ("max_drop=0.05", "<= 0.06", "refuted: drop >= 0.* > 0.06"),
    ],
)
def test_the_short_summary_says_the_verdict(project, limit, comparison, said):
    """One line for a test: verdict, bound and limit, which JUnit has, too; no frame but the test's is shown."""
    test = RETENTION.replace("min_retention=0.8", limit).replace(">= basin_bound.required", comparison)
    result = project.run("broken", "--junitxml=junit.xml", test=test)
    result.stdout.fnmatch_lines([f"FAILED test_gate.py::test_kept[[]digits[]] - {said}"])
    assert 'message="refuted: ' in (project.pytester.path / "junit.xml").read_text()
    assert [line for line in result.outlines if line.endswith("Error")] == ["test_gate.py:5: AssertionError"]


def test_the_short_summary_of_any_other_failure_is_pytests(project):
    """A refuted gate explains nothing but its own assertion."""
    test = "def test_kept(basin_bound):\n    basin_bound.verdict\n    assert 1 == 2\n"
    result = project.run("broken", test=test)
    result.stdout.fnmatch_lines(["FAILED test_gate.py::test_kept[[]digits[]] - assert 1 == 2"])


@pytest.mark.parametrize("misuse", ["basin_bound == 1", "basin_bound >= 0.5", "basin_bound <= 7", "bool(basin_bound)"])
def test_a_mistake_shows_the_test_alone(project, misuse):
    """No frame of the plugin's stands between the line and what is wrong with it."""
    result = project.run("same", test=f"def test_kept(basin_bound):\n    assert {misuse}\n")
    result.assert_outcomes(failed=1)
    assert "pytest_basin" not in result.stdout.str()


def test_the_time_of_a_gate_leaves_loading_out(project, monkeypatch):
    """On a clock by which each model takes a quarter of an hour to load."""
    real, late = time.perf_counter, []
    for place in (time, base_module, candidate_module):
        monkeypatch.setattr(place, "perf_counter", lambda: real() + 900 * len(late))
    for module, name in ((base_module, "load_model"), (candidate_module, "load_for_scoring")):
        load = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, load=load: late.append(1) or load(*a))
    project.run("same", "--basin-report=json").assert_outcomes(passed=1)
    (gate,) = json.loads((project.pytester.path / "basin-report.json").read_text())["gates"]
    assert len(late) == 2
    assert 0 < gate["seconds"] < 900
