"""The fixture ``basin_scores``: gates on scores that another tool made, without models."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
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


SEVERAL = """
import pytest

@pytest.mark.basin(max_drop=0.2{more})
def test_kept(basin_scores):
    assert basin_scores <= basin_scores.required
"""


def several(project, *more: str, marker: str = ""):  # type: ignore[no-untyped-def]
    """Run the gates of two checkpoints' logs."""
    project.pytester.makepyfile(test_gate=SEVERAL.format(more=marker))
    named = [f"--basin-scores-of={LOGS / name}" for name in ("benign", "full")]
    arguments = [f"--basin-scores={LOGS / 'base'}", *named, "--basin-metric=acc", "-p", "no:cacheprovider"]
    return project.pytester.runpytest_inprocess(*arguments, *more)


def test_several_checkpoints_have_gates_rows_files_and_answers_of_their_own(project) -> None:  # type: ignore[no-untyped-def]
    """As of models: ids end in the checkpoint, one file each, JUnit names it, reports have a row and an answer each."""
    path = project.pytester.path
    result = several(project, "-v", f"--basin-cert-dir={path / 'out'}", f"--junitxml={path / 'junit.xml'}",
                     f"--basin-report=json:{path / 'report.json'}", "--basin-report=markdown:report.md")  # fmt: skip
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_kept?prose-benign? PASSED*", "*test_kept?prose-full? PASSED*",
                                 "*Holm over 2 gates at 0.05: 2 certified jointly*",
                                 "*benign: Release.*", "*full: Release.*"])  # fmt: skip
    assert len(list((path / "out").glob("*.json"))) == 2
    cases = ElementTree.parse(path / "junit.xml").iter("testcase")
    named = [{p.get("name"): p.get("value") for p in case.iter("property")}["basin.checkpoint"] for case in cases]
    assert named == ["benign", "full"]
    rows = json.loads((path / "report.json").read_text())["gates"]
    assert [row["checkpoint"] for row in rows] == named
    assert len({row["digests"]["checkpoint"] for row in rows}) == 2
    assert len({row["digests"]["base"] for row in rows}) == 1
    report = (path / "report.md").read_text()
    assert "benign" in report
    assert "full" in report


def test_a_marker_chooses_among_the_checkpoints(project) -> None:  # type: ignore[no-untyped-def]
    """By name or place; a place that is named twice, or holds nothing, is refused by name."""
    result = several(project, "-v", marker=", checkpoints=['full']")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_kept?prose-full? PASSED*"])
    several(project, marker=f", checkpoints=['full', {str(LOGS / 'full')!r}]").assert_outcomes(errors=1)
    result = several(project, marker=", checkpoints=['gone']")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*gone: no such file*"])
    result = several(project, f"--basin-scores-of={LOGS / 'full'}/")
    result.stdout.fnmatch_lines(["*the same checkpoint is named twice*"])


def test_the_ini_file_names_one_or_several(project) -> None:  # type: ignore[no-untyped-def]
    """A string is one, as it was before there could be several; paths start at the file."""
    project.pytester.makepyfile(test_gate=SEVERAL.format(more=""))
    (project.pytester.path / "logs").symlink_to(LOGS)
    for given, count in (('"logs/full"', 1), ('["logs/benign", "logs/full"]', 2)):
        (project.pytester.path / "pytest.toml").write_text(
            f'[pytest]\nbasin_scores = "logs/base"\nbasin_scores_of = {given}\nbasin_metric = ["acc"]\n'
        )
        result = project.pytester.runpytest_inprocess("-p", "no:cacheprovider")
        result.assert_outcomes(passed=count)


def test_checkpoints_of_other_tasks_are_no_release(project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Half a matrix would look whole."""
    for name, rows in (("base", 2), ("one", 1), ("both", 2)):
        (tmp_path / name).mkdir()
        for task in ("prose", "verse")[:rows]:
            (samples,) = (LOGS / ("base" if name == "base" else "benign")).glob("samples_prose_*")
            text = samples.read_text(encoding="utf-8").replace('"doc": {', f'"doc": {{"of": "{task}", ', 1)
            (tmp_path / name / f"samples_{task}_2026-11-27.jsonl").write_text(text, encoding="utf-8")
    project.pytester.makepyfile(test_gate=SEVERAL.format(more=""))
    named = [f"--basin-scores-of={tmp_path / name}" for name in ("both", "one")]
    result = project.pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", f"--basin-scores={tmp_path / 'base'}", "--basin-metric=acc", *named
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*tasks that only one of the two has: verse*"])


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


def test_a_base_near_chance_is_said_beside_a_green_gate(project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Below the table and in reports; with -q, which prints a count alone, it is not, nor beside a base that knows."""
    for name, right in (("weak", 84), ("strong", 200)):
        for model, odd in (("base", 0), ("tuned", 1)):
            rows = [f"{i},{int(i < right)},{odd}" for i in range(300)]
            (tmp_path / f"{name}-{model}.csv").write_text("\n".join(["id,score,seed", *rows]))
    project.pytester.makepyfile(test_gate=TEST.format(marker="@pytest.mark.basin(max_drop=0.02)"))

    def gate(name: str, *more: str):  # type: ignore[no-untyped-def]
        named = [f"--basin-scores={tmp_path / name}-base.csv", f"--basin-scores-of={tmp_path / name}-tuned.csv"]
        result = project.pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", *named, "--basin-chance=0.25", "--basin-metric=score", *more
        )
        result.assert_outcomes(passed=1)
        return result

    said = "*the base itself is not shown to score above chance 0.25 (its score is at least 0.2*, 95 % one-sided)*"
    page = project.pytester.path / "report.html"
    gate("weak", f"--basin-report=html:{page}").stdout.fnmatch_lines([said])
    assert "the base itself is not shown to score above chance" in page.read_text()
    gate("weak", "-v").stdout.fnmatch_lines([said])
    gate("weak", "-q").stdout.no_fnmatch_line(said)
    gate("strong").stdout.no_fnmatch_line(said)


def test_a_pool_is_gated_in_the_place_of_its_tasks(project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One gate, of the weighted mean; a pool that names a task which the logs do not hold is refused by name."""
    for model in ("base", "benign", "full"):
        folder = shutil.copytree(LOGS / model, tmp_path / model)
        (samples,) = folder.glob("samples_prose_*")
        text = samples.read_text(encoding="utf-8").replace('"doc": {', '"doc": {"verse": 1, ')
        samples.with_name(samples.name.replace("prose", "verse")).write_text(text, encoding="utf-8")
    (tmp_path / "suite.toml").write_text("[pool]\nprose = 2\nverse = 1\n")
    (tmp_path / "other.toml").write_text("[pool]\nprose = 2\npoem = 1\n")
    named, benign = [f"--basin-scores={tmp_path / 'base'}", "--basin-max-drop=0.2"], str(tmp_path / "benign")
    result = run(project, benign, *named, f"--basin-scores-pool={tmp_path / 'suite.toml'}", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_kept?suite? PASSED*", "*weighted mean of 2/3 of prose*"])
    also = f"--basin-scores-of={tmp_path / 'full'}"
    result = run(project, benign, *named, also, f"--basin-scores-pool={tmp_path / 'suite.toml'}", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_kept?suite-benign? PASSED*", "*test_kept?suite-full? PASSED*"])
    result = run(project, benign, *named, f"--basin-scores-pool={tmp_path / 'other.toml'}")
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
