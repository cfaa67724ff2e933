"""Hooks of the plugin's own: load a checkpoint, provide a benchmark, annotate or veto a verdict."""

import pytest

pytest_plugins = ["pytester"]

NAMED = """
import pytest

@pytest.mark.basin(benchmarks=["{name}"], max_drop=0.05)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def conftest(project, name, body, arguments="config"):
    """Write a conftest with one hook."""
    project.pytester.makeconftest(f"def pytest_basin_{name}({arguments}):\n    {body}")


def test_load_checkpoint(project):
    """A name that means something to the project alone; asked once for each name."""
    project.configure(base="registry:base")
    body = f"print('ASKED', source); return {str(project.files.base.parent)!r} + '/' + source.partition(':')[2]"
    conftest(project, "load_checkpoint", body, "source")
    test = "".join(f"def test_{i}(basin_bound):\n    assert basin_bound <= 0.05\n" for i in range(2))
    result = project.run(None, "--basin-checkpoint=registry:near", "-s", test=test)
    result.stdout.fnmatch_lines(["E *UNDECIDED *", "*2 undecided*"])
    assert result.stdout.str().count("ASKED") == 2


def test_load_checkpoint_may_pass(project):
    """None leaves a name to the plugin."""
    conftest(project, "load_checkpoint", "return None")
    project.run("same").assert_outcomes(passed=1)


def test_benchmark_file(project):
    """A benchmark that is not configured; collection knows it, and warns if it is too small."""
    conftest(project, "benchmark", f"return {str(project.files.few)!r} if name == 'mine' else None", "name")
    result = project.run("same", test=NAMED.format(name="mine"))
    result.stdout.fnmatch_lines(["*BasinWarning: test_kept[[]mine[]]: this gate cannot pass with 30 items*"])
    project.run("same", test=NAMED.format(name="digits")).assert_outcomes(passed=1)


def test_benchmark_that_no_hook_knows(project):
    """Is a mistake, as before."""
    conftest(project, "benchmark", "return None")
    result = project.run("same", test=NAMED.format(name="other"))
    assert "no benchmark is called 'other'; configured: digits" in result.stdout.str()


def test_annotate(project):
    """A note in the failure text and with -v in the table."""
    conftest(project, "annotate", "return f\"owner of {result['benchmark']}: data team\"", "result")
    result = project.run("near", "-v")
    result.stdout.fnmatch_lines(["E *owner of digits: data team", "   owner of digits: data team"])


def test_veto_turns_certified_into_undecided(project):
    """With the reason first; neither certificate nor baseline is left."""
    conftest(project, "veto", "return 'digits was in the training data'")
    result = project.run("same", "--basin-cert-dir=certs", "--basin-update")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "E *UNDECIDED  drop *",
            "E *vetoed: digits was in the training data",
            " kept[[]digits[]] * UNDECIDED *",
            " 1 undecided",
        ]
    )
    assert not list(project.pytester.path.rglob("*-point-*.json"))


def test_veto_is_no_way_out(project):
    """What is refuted stays refuted, and a veto follows --basin-undecided like any undecided gate."""
    conftest(project, "veto", "return 'no'")
    project.run("broken", "--basin-undecided=warn").assert_outcomes(failed=1)
    project.run("same", "--basin-undecided=xfail").assert_outcomes(xfailed=1)


def test_veto_counts_for_nothing_with_all_gates(project):
    """Its p-value is 1."""
    test = "".join(f"def test_{i}(basin_bound):\n    assert basin_bound <= 0.2\n" for i in range(2))
    conftest(project, "veto", "return 'no' if '_1' in result['nodeid'] else None", "result")
    result = project.run("same", "--basin-max-drop=0.2", test=test)
    result.stdout.fnmatch_lines([" 1 certified, 1 undecided", " Holm over 2 gates at 0.05: 1 certified jointly"])
