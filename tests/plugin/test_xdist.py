"""Under xdist each gate's result reaches the controller, and is what a run in one process finds."""

import json
import re
from collections import Counter

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

@pytest.mark.basin(max_drop=0.5, evidence="smoothed", draws=30)
def test_smooth(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(max_drop=0.6, evidence="smoothed", draws=30)
def test_smoother(basin_bound):
    assert basin_bound <= basin_bound.required

def test_other(): pass
"""


def files(folder):
    """Name and content of each file."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def rows(file):
    """The report's gates, less what a clock and a machine's load decide."""
    gates = json.loads(file.read_text())["gates"]
    for gate in gates:
        del gate["seconds"]
        gate["certificate"] = gate["certificate"].rpartition("/")[2]
        gate["replay"] = gate["replay"].replace("parallel", "DIR").replace("serial", "DIR")
    return gates


def test_workers_find_what_one_process_finds(project):
    """Two workers and none: the same table in the same order, the same certificates and rows to the byte.

    Workers share draws: none is taken twice. A random seed is drawn once for all of them.
    """
    project.configure(sigma=1e-4)
    root = project.pytester.path
    found = project.run_apart("near", "-n2", "--basin-seed=random", *outputs("parallel"), test=MIXED)
    assert found.ret == pytest.ExitCode.TESTS_FAILED
    (seed,) = set(re.findall(r"seed[ =](\d+)", found.stdout.str()))
    serial = project.run("near", f"--basin-seed={seed}", *outputs("serial"), test=MIXED)
    assert table(found) == table(serial)
    assert [line.split()[0] for line in table(found)[1:]] == [f"{name}[digits]" for name in
                                                              ("strict", "loose", "smooth", "smoother")]  # fmt: skip
    for result in (found, serial):
        result.stdout.fnmatch_lines(["*= UNDECIDED =*", "E *UNDECIDED  drop *"])
        result.stdout.fnmatch_lines(
            [" 3 certified, 1 undecided; 4 certificates in *", " Holm over 4 gates at 0.05: 3 certified jointly",
             " UNDECIDED test_gate.py::test_strict[[]digits[]] - drop *", "*4 passed, 1 undecided*"]
        )  # fmt: skip
    assert files(root / "parallel" / "certs") == files(root / "serial" / "certs")
    assert rows(root / "parallel" / "report.json") == rows(root / "serial" / "report.json")
    assert (root / "parallel" / "junit.xml").read_text().count('name="basin.verdict"') == 4
    drawn = Counter(
        (ledger.parent.name, json.loads(line.partition(" ")[2])[0])
        for ledger in (root / "draws").glob("*/ledger.*.jsonl")
        for line in ledger.read_text().splitlines()[1:]
    )
    assert set(drawn.values()) == {1}
    assert len(drawn) == 2 * 30


def outputs(folder):
    """Arguments that write everything into one folder; draws are shared."""
    return [f"--junitxml={folder}/junit.xml", f"--basin-cert-dir={folder}/certs",
            f"--basin-report=json:{folder}/report.json", "--basin-cache-dir=draws"]  # fmt: skip


def table(result):
    """The lines of the table, without the time."""
    row = r" (item|\w+\[digits\]) .* (estimate|CERTIFIED|UNDECIDED)"
    lines = [line for line in result.outlines if re.match(row, line)]
    return [re.sub(r"\s+(time|\d+\.\d s)$", "", line) for line in lines]


def test_no_workers(project):
    """`-n0` is a run in one process."""
    result = project.run("same", "-n0")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["basin: base *, seed 0", " 1 certified"])


def test_quiet_without_basin_tests(project):
    """The controller prints nothing when no gate ran."""
    result = project.run("same", "-n1", "-p", "no:hypothesispytest", test="def test_other(): pass")
    result.assert_outcomes(passed=1)
    assert "- basin -" not in result.stdout.str()


def test_without_xdist(project):
    """The plugin does not need it."""
    result = project.run("same", "-p", "no:xdist")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([" 1 certified"])
