"""`--basin-plan`: what each gate needs, and nothing runs."""

import pytest

from certify.evidence import PointEvidence
from certify.evidence.paired_items import PairedScores
from certify.records import BenchmarkIdentity
from pytest_basin.gates import Gate
from pytest_basin.plan import _may_lose

pytest_plugins = ["pytester"]

ALL = """
import pytest

@pytest.mark.basin(max_drop=0.05)
def test_kept(basin_bound):
    raise RuntimeError("ran")

@pytest.mark.basin(evidence="smoothed", min_retention=0.8, draws=100)
def test_smooth(basin_bound):
    raise RuntimeError("ran")

@pytest.mark.basin(evidence="distance", max_drop=0.2, confidence=0.9)
def test_near(basin_bound):
    raise RuntimeError("ran")

def test_in(basin):
    raise RuntimeError("ran")

def test_other():
    raise RuntimeError("ran")
"""


def plan_of(result):
    """The lines of the plan."""
    start = next(i for i, line in enumerate(result.outlines) if "basin plan" in line)
    return result.outlines[start : start + 12]


def test_every_gate_is_planned_and_none_runs(project, snapshot):
    """Floors, what may be lost, and the cost; warnings of gates that cannot pass come too."""
    both = [str(project.files.digits), str(project.files.few)]
    project.configure(benchmark=both, measurement=[str(project.files.measurement)])
    result = project.run(None, "--basin-plan", test=ALL)
    assert result.ret == pytest.ExitCode.OK
    assert "ran" not in result.stdout.str().replace("no tests ran", "")
    snapshot("plan", plan_of(result))
    result.stdout.fnmatch_lines(["*BasinWarning: test_kept[[]few[]]: this gate cannot pass with 30 items*"])


def test_no_torch_is_needed(project):
    """Nor are models: a plan is made anywhere."""
    project.configure(base=None)
    project.pytester.makeconftest("import sys\ndef pytest_unconfigure(): print('TORCH', 'torch' in sys.modules)")
    result = project.run_apart(None, "--basin-plan", "-s", "-n2", test=ALL.replace("def test_in", "def helper"))
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([" kept[[]digits[]] * 59 items * 1 of 120 *", "TORCH False"])


def test_without_gates(project):
    """Nothing runs then either."""
    result = project.run(None, "--basin-plan", test="def test_other():\n    raise RuntimeError('ran')")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([" no gate was collected"])


def test_without_a_terminal(project):
    """Nobody to tell: nothing runs."""
    assert project.run(None, "--basin-plan", "-p", "no:terminal", test=ALL).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("items", [58, 59, 120, 400])
@pytest.mark.parametrize(("unit", "limit"), [("drop", 0.05), ("retention", 0.9)])
def test_may_lose_is_what_the_judge_allows(unit, limit, items):
    """Exactly the printed number of lost items is certified, and one more is not."""
    gate = Gate("b", "point", unit, limit, 0.95, 200, {})
    found = _may_lose(gate, items, chance=0.25)
    digest = "sha256:" + "0" * 64
    benchmark = BenchmarkIdentity(name="b", items=items, scoring="x", chance=0.25, digest=digest, tokens=digest)

    def verdict(lost):
        checkpoint = (0.0,) * lost + (1.0,) * (items - lost)
        scores = PairedScores(rule="trinomial", base=(1.0,) * items, checkpoint=checkpoint)
        return PointEvidence(scores=scores).judge(benchmark, gate.requirement, gate.alpha).verdict.value

    if found == "cannot pass":
        assert verdict(0) == "undecided"
    else:
        lost = int(found.split()[0])
        assert (verdict(lost), verdict(lost + 1)) == ("certified", "undecided")
