"""Gates on a pool of benchmarks: one gate on the weighted mean, its plan, and evidence that knows no weights."""

import pytest

from certify import Base, measure_base
from certify.measuring import base as base_module

pytest_plugins = ["pytester"]

TEST = """
import pytest

@pytest.mark.basin(max_drop=0.1, evidence={evidence!r})
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""


@pytest.fixture
def pooled(project, tmp_path):
    """The benchmark of the project and its first half under another name, in a pool."""
    lines = project.files.digits.read_text().splitlines()
    (tmp_path / "half.jsonl").write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    (tmp_path / "suite.toml").write_text(f'[pool]\n"{project.files.digits}" = 2\n"half.jsonl" = 1\n')
    project.configure(benchmark=[str(tmp_path / "suite.toml")])
    return project


@pytest.mark.parametrize("evidence", ["point", "audit"])
def test_a_pool_is_one_gate(pooled, evidence):
    """Certified in one row, named after the file."""
    result = pooled.run("same", "-v", test=TEST.format(evidence=evidence))
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*suite*"])


@pytest.mark.parametrize("evidence", ["point", "audit"])
def test_measurements_of_its_benchmarks_hold_the_scores_of_the_base(pooled, tmp_path, monkeypatch, evidence):
    """Where there is one of each; a single one serves other gates, and the base is scored."""
    half = measure_base(Base.open(pooled.files.base, tmp_path / "half.jsonl"), planned=[], grid=(1e-4,))
    one, both = [str(pooled.files.measurement)], [str(pooled.files.measurement), str(half.to_json(tmp_path / "h.json"))]
    monkeypatch.setattr(base_module, "item_scores", lambda model, scorer: pytest.fail("the base was scored"))
    for measured, passed in ((both, 1), (one, 0)):
        pooled.configure(benchmark=[str(tmp_path / "suite.toml")], measurement=measured)
        result = pooled.run("same", f"--basin-cache-dir=draws{passed}", test=TEST.format(evidence=evidence))
        result.assert_outcomes(passed=passed, errors=1 - passed)


def test_a_pool_is_planned(pooled):
    """With the number of all items; what may be lost depends on where, and is not said."""
    result = pooled.run(None, "--basin-plan", test=TEST.format(evidence="point"))
    result.stdout.fnmatch_lines(["*kept*suite*180 items * - * - *"])


def test_a_pool_that_is_too_small_is_undecided(pooled):
    """Warned of at collection, and nothing is scored for it."""
    result = pooled.run("same", test=TEST.format(evidence="point").replace("0.1", "0.001"))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*this gate cannot pass on suite, the weighted mean of 2/3 of digits*"])


def test_evidence_that_knows_no_weights_fails_in_one_line(pooled):
    """Nothing is drawn on a pool."""
    result = pooled.run("same", test=TEST.format(evidence="smoothed"))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*suite is a pool of benchmarks, which point and audit evidence judge together*"])
