"""The fixture ``basin_scores``: gates on scores that another tool made, without models."""

from __future__ import annotations

import shutil
from pathlib import Path

pytest_plugins = ["pytester"]

LOGS = Path(__file__).parents[1] / "logs" / "of_lm_eval"
TEST = """
import pytest

{marker}
def test_kept(basin_scores):
    assert basin_scores <= basin_scores.required
"""


def run(project, checkpoint: str, *more: str, marker: str = ""):  # type: ignore[no-untyped-def]
    """Run one gate on logs alone: no base, checkpoint or benchmark is configured."""
    project.pytester.makepyfile(test_gate=TEST.format(marker=marker))
    arguments = [f"--basin-scores={LOGS / 'base'}", f"--basin-scores-of={LOGS / checkpoint}", "--basin-metric=acc"]
    return project.pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments, *more)


def test_an_item_for_each_task(project) -> None:  # type: ignore[no-untyped-def]
    """Certified, refuted and undecided, with the table and the certificate that every gate has."""
    folder = project.pytester.path / "out"
    result = run(project, "benign", "--basin-max-drop=0.06", "-v", f"--basin-cert-dir={folder}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_kept?prose? PASSED*", "*kept?prose?*point*CERTIFIED*", "*brought, by lm-eval*"])
    assert len(list(folder.glob("*.json"))) == 1
    refuted = run(project, "full", "--basin-max-drop=0.03", "-o", "basin_items=fixed")
    refuted.assert_outcomes(failed=1)
    refuted.stdout.fnmatch_lines(["*REFUTED*"])


def test_markers_ask_as_of_models(project) -> None:  # type: ignore[no-untyped-def]
    """A limit in the marker; a task that the logs do not hold, and evidence that scores cannot give, are refused."""
    run(project, "benign", marker="@pytest.mark.basin(max_drop=0.1, benchmarks=['prose'])").assert_outcomes(passed=1)
    refused = {
        "benchmarks=['sums']": "*no task is called sums; the logs hold prose*",
        "evidence='position'": "*scores made elsewhere give point evidence, not position*",
    }
    for marker, problem in refused.items():
        result = run(project, "benign", marker=f"@pytest.mark.basin({marker})")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([problem])


def test_a_pool_is_gated_in_the_place_of_its_tasks(project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One gate, of the weighted mean; a pool that names a task which the logs do not hold is refused by name."""
    for model in ("base", "benign"):
        folder = shutil.copytree(LOGS / model, tmp_path / model)
        (samples,) = folder.glob("samples_prose_*")
        text = samples.read_text(encoding="utf-8").replace('"doc": {', '"doc": {"verse": 1, ')
        samples.with_name(samples.name.replace("prose", "verse")).write_text(text, encoding="utf-8")
    (tmp_path / "suite.toml").write_text("[pool]\nprose = 2\nverse = 1\n")
    (tmp_path / "other.toml").write_text("[pool]\nprose = 2\npoem = 1\n")
    named = [f"--basin-scores={tmp_path / 'base'}", f"--basin-scores-of={tmp_path / 'benign'}", "--basin-max-drop=0.2"]
    result = run(project, "benign", *named, f"--basin-scores-pool={tmp_path / 'suite.toml'}", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_kept?suite? PASSED*", "*weighted mean of 2/3 of prose*"])
    result = run(project, "benign", *named, f"--basin-scores-pool={tmp_path / 'other.toml'}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*other.toml: the logs hold no task called poem; they hold prose, verse*"])


def test_nothing_passes_for_nothing(project) -> None:  # type: ignore[no-untyped-def]
    """Logs that are not named, that cannot be read, a gate that is compared with nothing, a baseline asked of it."""
    project.pytester.makepyfile(test_gate=TEST.format(marker=""))
    result = project.pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*basin_scores rests on the logs of both models*"])
    result = run(project, "nothing")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*nothing: no such file*"])
    result = run(project, "benign", "--basin-max-drop=0.1", "--basin-compare-fail=drop:0.01")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*scores made elsewhere are compared with no baseline*"])
    project.pytester.makepyfile(test_scores_unasked="def test_idle(basin_scores):\n    pass\n")
    run(project, "benign", "--basin-max-drop=0.1").assert_outcomes(passed=1, failed=1)
