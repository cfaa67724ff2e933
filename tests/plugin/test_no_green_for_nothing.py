"""A gate that judged nothing, or that nobody asked, is never green; and every report says so."""

import json

import pytest

pytest_plugins = ["pytester"]

IDLE = """
import pytest

@pytest.mark.basin(benchmarks=["digits"])
def test_idle(basin_bound):
    print(basin_bound.claim)
"""
CONTAINED = "def test_contained(basin):\n    assert basin.checkpoint\n"


@pytest.mark.parametrize(("test", "said"), [(IDLE, "compared with nothing"), (CONTAINED, "asks it nothing")])
def test_a_gate_that_is_asked_nothing_fails(project, test, said):
    """Measured, and compared with nothing: the message says what to write."""
    result = project.run("same", test=test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{said}*basin_unasked = allow*"])


@pytest.mark.parametrize("test", [IDLE, CONTAINED], ids=["bound", "basin"])
def test_who_means_it_may_say_so(project, test):
    """The ini switch."""
    project.run("same", "--basin-unasked=allow", test=test).assert_outcomes(passed=1)


@pytest.mark.parametrize("asks", ["assert basin_bound.verdict == 'certified'", "assert not basin_bound > 0.5"])
def test_reading_the_verdict_or_comparing_is_asking(project, asks):
    """The ways in which a test can rest on a gate."""
    project.run("same", test=IDLE.replace("print(basin_bound.claim)", asks)).assert_outcomes(passed=1)


def test_a_marker_on_a_test_case_is_a_usage_error(project):
    """Its methods take no fixtures, so it would pass without a gate."""
    test = """
import unittest
import pytest

class TestKept(unittest.TestCase):
    @pytest.mark.basin(max_drop=0.1)
    def test_kept(self):
        pass
"""
    result = project.run("same", test=test)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_gate.py::TestKept::test_kept: the basin marker gates nothing*"])


RAISES = """
import pytest

@pytest.mark.basin(benchmarks=["digits"])
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
    raise RuntimeError("lost the GPU")
"""
SKIPPED = """

@pytest.mark.skip(reason="not today")
@pytest.mark.basin(benchmarks=["digits"])
def test_other(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def reports(project, *options, **more):
    """Run with every report, and return the result, the JSON report and the texts of the others."""
    kinds = ("json:r.json", "markdown:r.md", "html:r.html")
    result = project.run("same", "--junit-xml=r.xml", *(f"--basin-report={kind}" for kind in kinds), *options, **more)
    folder = project.pytester.path
    texts = {name: (folder / f"r.{name}").read_text() for name in ("md", "html", "xml")}
    return result, json.loads((folder / "r.json").read_text()), texts


def test_a_test_that_crashes_beside_its_verdict_is_an_error_everywhere(project):
    """The gate is certified and the test is red: no report may say that all is well."""
    result, found, texts = reports(project, test=RAISES)
    result.stdout.fnmatch_lines(["*ERROR*", " 1 in error*"])
    assert found["verdict"] == "error"
    assert "lost the GPU" in found["gates"][0]["error"]
    assert "certified" not in texts["md"].splitlines()[2]
    assert "⛔" in texts["md"]
    assert "lost the GPU" in texts["html"]
    assert 'name="basin.verdict" value="error"' in texts["xml"]


def test_a_gate_that_could_not_be_judged_is_an_error_everywhere(project):
    """Position evidence without a measurement: the fixture fails, and the gate is still in every report."""
    test = IDLE.replace('["digits"]', '["digits"], evidence="position"')
    result, found, texts = reports(project, test=test)
    result.assert_outcomes(errors=1)
    assert (found["verdict"], found["counts"]["error"]) == ("error", 1)
    assert "not judged" in texts["md"]
    assert 'class="error"' in texts["html"]


def test_a_gate_without_a_judgement_counts_in_holm_as_having_shown_nothing(project):
    """Its p-value is 1 where several gates share a confidence; a single gate needs none."""
    failing = IDLE.replace('["digits"]', '["digits"], evidence="position"')
    _, found, _ = reports(project, test=failing)
    assert found["gates"][0]["p"] is None
    both = failing + failing.replace("test_idle", "test_other").partition("import pytest")[2]
    _, found, _ = reports(project, test=both)
    assert [gate["p"] for gate in found["gates"]] == [1.0, 1.0]


def test_gates_that_did_not_run_are_named(project):
    """Skipped: the others' verdict stands, and the headline names what is missing."""
    quiet = RAISES.replace('    raise RuntimeError("lost the GPU")\n', "")
    result, found, texts = reports(project, test=quiet + SKIPPED)
    assert found["verdict"] == "certified"
    assert found["context"]["not_run"] == ["test_gate.py::test_other[digits]"]
    result.stdout.fnmatch_lines([" NOT RUN test_gate.py::test_other*"])
    assert "not run" in texts["md"].splitlines()[2]


def test_a_worker_that_dies_forbids_certified(project):
    """One gate is certified, the other's process is killed under it."""
    test = RAISES.replace('raise RuntimeError("lost the GPU")', "pass") + SKIPPED.replace(
        '@pytest.mark.skip(reason="not today")\n', ""
    ).replace("    assert", "    import os\n    os._exit(9)\n    assert")
    result, found, _ = reports(project, "-n1", "--max-worker-restart=0", test=test)
    assert found["verdict"] == "error"
    assert found["context"]["crashed"] == ["test_gate.py::test_other[digits]"]
    result.stdout.fnmatch_lines([" CRASHED test_gate.py::test_other*"])


def test_reports_name_the_model_that_was_judged(project):
    """A fixture that names another checkpoint than the ini file is what stands above the report."""
    project.pytester.makeconftest(
        "import pytest\n\n@pytest.fixture(scope='session')\n"
        f"def basin_checkpoint():\n    return {str(project.files.near)!r}\n"
    )
    _, found, _ = reports(project, test=IDLE.replace("print(basin_bound.claim)", "assert basin_bound.verdict"))
    assert found["context"]["checkpoint"].endswith("near")
