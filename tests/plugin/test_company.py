"""The plugin beside, and without, other plugins."""

from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]


def test_without_the_plugin_strict_mode_rejects_its_names(project):
    """`-p no:basin` removes marker, keys and fixtures, and strict mode says so; hence --basin-disable."""
    project.configure()
    result = project.run(None, "-p", "no:basin")
    assert result.ret != pytest.ExitCode.OK
    assert "basin_base" in result.stdout.str() + result.stderr.str()


def test_without_the_plugin_other_tests_run(project):
    """`-p no:basin` works where nothing names basin."""
    project.configure(base=None, benchmark=None)
    project.run(None, "-p", "no:basin", test="def test_other(): pass").assert_outcomes(passed=1)


@pytest.mark.parametrize("plugin", ["cacheprovider", "rerunfailures", "html", "warnings", "junitxml"])
def test_without_another_plugin(project, plugin):
    """None of pytest's parts is taken for granted."""
    result = project.run("near", "-p", f"no:{plugin}")
    result.stdout.fnmatch_lines(["E *UNDECIDED *", "*1 undecided*"])


def test_without_a_terminal(project):
    """Nothing to print on: the exit status still tells."""
    assert project.run("same", "-p", "no:terminal").ret == pytest.ExitCode.OK
    assert project.run("near", "-p", "no:terminal").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("checkpoint", ["near", "broken"])
def test_reruns_give_the_same_verdict(project, checkpoint):
    """Retrying a gate changes nothing: measured three times with the same result, shown once."""
    result = project.run(checkpoint, "--reruns=2", "--junitxml=junit.xml")
    verdict = {"near": "undecided", "broken": "refuted"}[checkpoint]
    rows = [line for line in result.outlines if line.startswith(" kept[")]
    assert len(rows) == 1
    assert verdict.upper() in rows[0]
    result.stdout.fnmatch_lines([f" 1 {verdict}", "*2 rerun*"])
    # pytest-rerunfailures reports every run, so JUnit lists each run's properties: they are the same.
    found = ElementTree.parse(project.pytester.path / "junit.xml").iter("property")
    properties = [(p.get("name"), p.get("value")) for p in found]
    assert len(properties) == 3 * len(set(properties)) == 42


def test_reruns_file_one_certificate(project):
    """A second gate of one kind in one test gets a number; the same gate again does not."""
    project.run("near", "--reruns=2", "--basin-cert-dir=certs")
    assert len(list((project.pytester.path / "certs").glob("*.json"))) == 1


def test_plain_assertions_fail_without_explanation(project):
    """With --assert=plain an undecided gate is an ordinary failure: never milder than asked."""
    result = project.run("near", "--assert=plain", "--basin-undecided=warn")
    result.assert_outcomes(failed=1)


def test_subtests_do_not_triple_the_gate(project):
    """A gate is reported once, however many subtests its test has."""
    test = """
def test_kept(basin_bound, subtests):
    for i in range(3):
        with subtests.test(i=i):
            assert i >= 0
    assert basin_bound <= basin_bound.required
"""
    result = project.run("same", test=test)
    assert len([line for line in result.outlines if line.startswith(" kept[")]) == 1


def test_classes_modules_and_parameters(project):
    """Gates live with classes, module markers and further parameters."""
    test = """
import pytest
pytestmark = pytest.mark.basin(max_drop=0.05)

class TestGroup:
    @pytest.mark.parametrize("x", [1, 2])
    def test_kept(self, x, basin_bound):
        assert basin_bound <= basin_bound.required

    def test_unrelated(self): pass
"""
    result = project.run("same", test=test)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([" kept[[]*1*[]]  point*", " 2 certified"])
