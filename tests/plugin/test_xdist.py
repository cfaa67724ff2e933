"""Under xdist each gate's result reaches the controller's table and the JUnit file."""

import pytest

pytest_plugins = ["pytester"]

MIXED = """
import pytest

@pytest.mark.basin(max_drop=0.05)
def test_strict(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(max_drop=0.5)
def test_loose(basin_bound):
    assert basin_bound <= basin_bound.required

def test_other(): pass
"""


@pytest.mark.parametrize("workers", ["-n2", "-n0"])
def test_gates_of_workers_reach_the_table(project, workers):
    """With two workers, and with none, the same verdicts are printed, once each, and the exit status is 1."""
    result = project.run("near", workers, "--junitxml=junit.xml", "--basin-cert-dir=certs", test=MIXED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    table = [line.split()[0] for line in result.outlines if line.startswith((" strict[", " loose["))]
    assert sorted(table) == ["loose[digits]", "strict[digits]"]
    result.stdout.fnmatch_lines(["*= UNDECIDED =*", "E *UNDECIDED  drop *"])
    result.stdout.fnmatch_lines([" 1 certified, 1 undecided; 2 certificates in *certs", "*2 passed, 1 undecided*"])
    xml = (project.pytester.path / "junit.xml").read_text()
    assert xml.count('name="basin.verdict"') == 2
    assert len(list((project.pytester.path / "certs").iterdir())) == 2


def test_quiet_without_basin_tests(project):
    """The controller prints nothing when no gate ran."""
    result = project.run("same", "-n1", test="def test_other(): pass")
    result.assert_outcomes(passed=1)
    assert "- basin -" not in result.stdout.str()


def test_without_xdist(project):
    """The plugin does not need it."""
    result = project.run("same", "-p", "no:xdist")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([" 1 certified"])
