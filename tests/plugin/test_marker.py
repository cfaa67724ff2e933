"""The marker: one item per benchmark, and every mistake is named at collection with what is valid."""

import pytest

from certify.checkpoints.family import FAMILIES
from certify.cli.cover import DRAWS
from certify.evidence import KINDS
from pytest_basin import gates, markers

pytest_plugins = ["pytester"]

BOUND = """
import pytest

@pytest.mark.basin({})
def test_kept(basin_bound):
    assert basin_bound.verdict
"""


def test_evidence_names_are_the_librarys():
    """The plugin lists the kinds without importing the library, and lists the same ones and covers."""
    assert sorted(markers.EVIDENCE) == sorted([*KINDS, "cover"])
    assert markers.FAMILIES == FAMILIES
    assert gates.DRAWS_OF_A_COVER == DRAWS


def test_one_item_per_configured_benchmark(project):
    """Without `benchmarks` a test has one item for each configured benchmark, called by its name."""
    project.configure(benchmark=[str(project.files.digits), str(project.files.few)])
    result = project.run("same", "--co", "-q", test=BOUND.format("max_drop=0.2"))
    result.stdout.fnmatch_lines(["test_gate.py::test_kept[[]digits[]]", "test_gate.py::test_kept[[]few[]]"])


def test_named_benchmarks_only(project):
    """`benchmarks` chooses among the configured ones, and `-k` among those."""
    project.configure(benchmark=[str(project.files.digits), str(project.files.few)])
    result = project.run("same", "--co", "-q", "-k", "few", test=BOUND.format("benchmarks=['few'], max_drop=0.2"))
    result.stdout.fnmatch_lines(["test_gate.py::test_kept[[]few[]]"])
    result.stdout.no_fnmatch_line("*digits*")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ("0.95", "takes keywords only, got 0.95; valid: benchmarks, checkpoints, evidence, min_retention, max_drop"),
        ("max_drops=0.1", "no keyword 'max_drops'; valid: benchmarks, checkpoints, evidence, min_retention, max_drop"),
        (
            "max_drop=0.1, min_retention=0.9",
            "give one of min_retention, max_drop, max_score, not min_retention and max_drop",
        ),
        ("benchmarks=['mmlu']", "no benchmark is called 'mmlu'; configured: digits"),
        ("benchmarks='digits'", "benchmarks must be a list of different benchmark names, got 'digits'"),
        ("evidence='hope'", "evidence must be one of point, position, smoothed, distance, audit, cover, got 'hope'"),
        ("max_drop=5", "max_drop must be a number from 0 to 1, got 5"),
        ("min_retention=True", "min_retention must be a number from 0 to 1, got True"),
        ("confidence=1", "confidence must be a number strictly between 0 and 1, got 1"),
        ("evidence='smoothed', draws=0", "draws must be a positive whole number, got 0"),
        ("draws=50", "draws is the number of draws of smoothed or cover evidence; this gate asks for point evidence"),
    ],
)  # fmt: skip
def test_mistake_is_a_collection_error_in_one_line(project, keywords, message):
    """The message names the offending word, the value and what is valid; no traceback."""
    result = project.run("same", test=BOUND.format(keywords))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert message in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_marker_without_basin_bound_is_a_mistake(project):
    """A marker that would have no effect is refused."""
    test = "import pytest\n@pytest.mark.basin(max_drop=0.1)\ndef test_x(): pass"
    result = project.run("same", test=test)
    assert "the basin marker sets up basin_bound, which is none of this test's arguments" in result.stdout.str()


def test_closest_marker_wins(project):
    """A function's marker overrides its module's, unit included; the rest is inherited."""
    test = """
import pytest
pytestmark = pytest.mark.basin(max_drop=0.2, confidence=0.8)

@pytest.mark.basin(min_retention=0.5)
def test_kept(basin_bound):
    assert basin_bound >= 0.5 and basin_bound.unit == "retention" and basin_bound.required == 0.5
    assert basin_bound.certificate.alpha == 0.2
"""
    project.run("same", test=test).assert_outcomes(passed=1)


def test_an_inner_marker_without_a_limit_keeps_the_outer_one(project):
    """The unit and its limit travel together: what an inner marker does not say, an outer one says."""
    test = """
import pytest
pytestmark = pytest.mark.basin(min_retention=0.6, confidence=0.8)

@pytest.mark.basin(evidence="point")
def test_inherits(basin_bound):
    assert basin_bound >= 0.5 and basin_bound.unit == "retention" and basin_bound.required == 0.6

@pytest.mark.basin(max_drop=0.3, confidence=0.9)
def test_replaces(basin_bound):
    assert basin_bound <= 0.4 and basin_bound.unit == "drop" and basin_bound.required == 0.3
    assert basin_bound.certificate.alpha == pytest.approx(0.1)
"""
    project.run("same", test=test).assert_outcomes(passed=2)


def test_gate_that_cannot_pass_warns_and_is_undecided(project):
    """Thirty items can never show a drop of at most 0.05: said before anything runs, and nothing runs."""
    project.configure(benchmark=[str(project.files.few)])
    test = BOUND.format("max_drop=0.05").replace(".verdict", " <= basin_bound.required")
    result = project.run("same", test=test)
    result.stdout.fnmatch_lines(
        ["*BasinWarning: test_kept[[]few[]]: this gate cannot pass with 30 items: * are needed *"]
    )
    result.stdout.fnmatch_lines(["*1 undecided*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_infeasible_warning_as_an_error_stops_collection(project):
    """With warnings as errors the file is not collected."""
    project.configure(benchmark=[str(project.files.few)])
    result = project.run("same", "-W", "error", test=BOUND.format("max_drop=0.05"))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "this gate cannot pass with 30 items" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert "warn_explicit" not in result.stdout.str()


def test_marker_is_registered(project):
    """`pytest --markers` describes it."""
    result = project.run(None, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.basin(*, benchmarks=None, checkpoints=None, evidence='point', *"])
