"""Several checkpoints, and several bases, in one run: each has gates, rows, files and an answer of its own."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest

from certify import Base, PlannedDraws, measure_base, read_document
from certify.measuring import base as base_module

pytest_plugins = ["pytester"]

KEPT = """
import pytest

@pytest.mark.basin({})
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def both(project, *words):
    """Arguments that name several checkpoints."""
    return [argument for word in words for argument in project.named(word)]


def collected(result):
    """The ids of the items."""
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def test_an_item_for_each_benchmark_and_checkpoint(project):
    """From the command line or the ini file; ids end in the checkpoint, whose gates stand together."""
    files = project.files
    project.configure(benchmark=[str(files.digits), str(files.few)])
    ids = ["test_kept[digits-same]", "test_kept[few-same]", "test_kept[digits-near]", "test_kept[few-near]"]
    result = project.run(None, *both(project, "same", "near"), "--co", "-q", test=KEPT.format("max_drop=0.2"))
    assert collected(result) == ids
    project.configure(benchmark=[str(files.digits), str(files.few)], checkpoint=[str(files.same), str(files.near)])
    assert collected(project.run(None, "--co", "-q", test=KEPT.format("max_drop=0.2"))) == ids


def test_one_checkpoint_is_named_as_before(project):
    """A single string in the ini file, or a list of one: nothing changes in the ids."""
    for given in (str(project.files.same), [str(project.files.same)]):
        project.configure(checkpoint=given)
        assert collected(project.run(None, "--co", "-q", test=KEPT.format("max_drop=0.2"))) == ["test_kept[digits]"]
        project.run(None, test=KEPT.format("max_drop=0.2")).assert_outcomes(passed=1)


@pytest.mark.parametrize("table", ["[tool.pytest]", "[tool.pytest.ini_options]"])
def test_a_string_in_pyproject_is_one_checkpoint(project, table):
    """Of either kind of table."""
    (project.pytester.path / "pytest.toml").unlink()
    lines = [table, f"basin_base = {json.dumps(str(project.files.base))}",
             f"basin_benchmark = {json.dumps([str(project.files.digits)])}",
             f"basin_checkpoint = {json.dumps(str(project.files.same))}"]  # fmt: skip
    (project.pytester.path / "pyproject.toml").write_text("\n".join(lines))
    project.run(None, test=KEPT.format("max_drop=0.2")).assert_outcomes(passed=1)


def test_what_is_no_checkpoint_in_the_ini_file_is_a_usage_error(project):
    """A number is neither a string nor a list of them."""
    project.configure(checkpoint=3)
    result = project.run(None, test="def test_other(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "basin_checkpoint" in result.stderr.str()


def test_folders_of_one_name_are_told_apart(project):
    """By as much of their paths as it takes."""
    for run in ("a", "b"):
        shutil.copytree(project.files.same, project.pytester.path / run / "final")
    arguments = [f"--basin-checkpoint={run}/final" for run in ("a", "b")]
    result = project.run(None, *arguments, "--co", "-q", test=KEPT.format("max_drop=0.2"))
    assert collected(result) == ["test_kept[digits-a/final]", "test_kept[digits-b/final]"]


@pytest.mark.parametrize("second", ["same", "./same", "same/", "link"])
def test_a_checkpoint_named_twice_is_refused(project, second):
    """It would count as two gates; a symbolic link is no other checkpoint."""
    for name in ("same", "link"):
        (project.pytester.path / name).symlink_to(project.files.same)
    arguments = ["--basin-checkpoint=same", f"--basin-checkpoint={second}"]
    result = project.run(None, *arguments, test=KEPT.format("max_drop=0.2"))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "the same checkpoint is named twice" in result.stdout.str()


def test_a_marker_chooses_checkpoints(project):
    """By the name of a configured one, or a place below the root directory; it beats the settings, and is in the id."""
    (project.pytester.path / "models").mkdir()
    (project.pytester.path / "models" / "own").symlink_to(project.files.same)
    test = KEPT.format("max_drop=0.2, checkpoints=['same', 'models/own']")
    result = project.run(None, *both(project, "near", "broken", "same"), "--co", "-q", test=test)
    assert "the same checkpoint is named twice" in result.stdout.str()
    test = KEPT.format("max_drop=0.2, checkpoints=['near', 'models/own']")
    result = project.run(None, *both(project, "near", "broken"), "-rA", test=test)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["PASSED test_gate.py::test_kept[[]digits-near[]]",
                                 "PASSED test_gate.py::test_kept[[]digits-own[]]"])  # fmt: skip
    (alone,) = collected(project.run(None, "--co", "-q", test=KEPT.format("checkpoints=['models/own']")))
    assert alone == "test_kept[digits-own]"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ("checkpoints='out/final'", "checkpoints must be a list of different checkpoints, by name or place"),
        ("checkpoints=[]", "checkpoints must be a list of different checkpoints, by name or place"),
        ("checkpoints=['a', 'a']", "checkpoints must be a list of different checkpoints, by name or place"),
        ("checkpoints=['']", "checkpoints must be a list of different checkpoints, by name or place"),
    ],
)
def test_a_list_that_cannot_be_meant(project, keywords, message):
    """Refused at collection."""
    result = project.run("same", test=KEPT.format(keywords))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert message in result.stdout.str()


def test_an_overridden_fixture_and_several_checkpoints_contradict(project):
    """All ids but one would lie; an override that asks the plugin's own fixture is none."""
    override = "import pytest\n@pytest.fixture(scope='session')\ndef basin_checkpoint({}):\n    return {}\n"
    project.pytester.makeconftest(override.format("", repr(str(project.files.same))))
    result = project.run(None, *both(project, "near", "broken"), test=KEPT.format("max_drop=0.2"))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "the fixture basin_checkpoint is overridden" in result.stdout.str()
    project.pytester.makeconftest(override.format("basin_checkpoint", "basin_checkpoint"))
    result = project.run(None, *both(project, "same", "broken"), test=KEPT.format("max_drop=0.2"))
    result.assert_outcomes(passed=1, failed=1)


def test_a_plain_test_gets_each_checkpoint(project):
    """The fixture alone; asked for by name while a test runs it cannot say which."""
    test = """
def test_named(basin_checkpoint): assert basin_checkpoint.endswith(("same", "near"))
def test_late(request): request.getfixturevalue("basin_checkpoint")
"""
    result = project.run(None, *both(project, "same", "near"), test=test)
    result.assert_outcomes(passed=2, errors=0, failed=1)
    assert "several are configured: name basin_checkpoint among the arguments" in result.stdout.str()


def test_a_second_base_on_the_command_line_is_not_dropped(project):
    """Which of the two was meant cannot be known."""
    result = project.run("same", f"--basin-base={project.files.base}", f"--basin-base={project.files.near}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "basin_base: give one base, not " in result.stderr.str()


def test_every_output_names_the_checkpoint(project, monkeypatch):
    """Rows, JUnit, certificates, reports, answers; the base is loaded and scored once for all."""
    loads = Counter[str]()
    load, score = base_module.load_model, base_module.item_scores
    monkeypatch.setattr(base_module, "load_model", lambda *a: loads.update(["load"]) or load(*a))
    monkeypatch.setattr(base_module, "item_scores", lambda *a: loads.update(["score"]) or score(*a))
    arguments = ["--junitxml=junit.xml", "--basin-cert-dir=certs", "--basin-report=json", "--basin-report=markdown"]
    result = project.run(None, *both(project, "same", "broken"), *arguments, test=KEPT.format("max_drop=0.05"))
    result.assert_outcomes(passed=1, failed=1)
    assert loads == {"load": 1, "score": 1}
    result.stdout.fnmatch_lines([" kept[[]digits-same[]] *CERTIFIED*", " kept[[]digits-broken[]] *REFUTED*",
                                 " broken: Do not release. Drop at *", " same: Release. Certified: *"])  # fmt: skip
    root = project.pytester.path
    report = json.loads((root / "basin-report.json").read_text())
    assert [(gate["checkpoint"], gate["base"]) for gate in report["gates"]] == [("same", "base"), ("broken", "base")]
    properties = [{p.get("name"): p.get("value") for p in case.iter("property")}
                  for case in ElementTree.parse(root / "junit.xml").iter("testcase")]  # fmt: skip
    found = [(p["basin.checkpoint"], p["basin.base"], p["basin.verdict"]) for p in properties]
    assert found == [("same", "base", "certified"), ("broken", "base", "refuted")]
    assert len(list((root / "certs").glob("test_gate.py-test_kept-digits-*.json"))) == 2
    assert re.search(r"broken.*Do not release", (root / "basin-report.md").read_text())


def test_each_checkpoint_has_a_baseline_of_its_own(project):
    """Recorded under the item's name, and compared with it."""
    arguments = both(project, "same", "near")
    project.run(None, *arguments, "--basin-update", test=KEPT.format("max_drop=0.3")).assert_outcomes(passed=2)
    assert len(list((project.pytester.path / "__basin__").iterdir())) == 2
    result = project.run(None, *arguments, "--basin-compare", test=KEPT.format("max_drop=0.3"))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([" kept[[]digits-same[]] *drop *0.000*", " kept[[]digits-near[]] *drop *0.000*"])


def test_one_that_cannot_be_judged_holds_up_no_other(project):
    """A folder that is not there is an error of its own gates; two folders of one name do not mix their answers."""
    shutil.copytree(project.files.same, project.pytester.path / "a" / "final")
    arguments = ["--basin-checkpoint=a/final", "--basin-checkpoint=b/final", "--basin-report=json"]
    result = project.run(None, *arguments, test=KEPT.format("max_drop=0.05"))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([" b/final: Not enough data. Not judged: *"])
    gates = json.loads((project.pytester.path / "basin-report.json").read_text())["gates"]
    assert [(gate["checkpoint"], bool(gate["error"])) for gate in gates] == [("a/final", False), ("b/final", True)]


def test_in_basin_asks_of_each_checkpoint(project):
    """The session's basin is of one checkpoint at a time."""
    project.configure(measurement=[str(project.files.measurement)])
    test = "def test_stays(basin):\n    assert basin.checkpoint in basin"
    result = project.run(None, *both(project, "same", "broken"), "-rA", test=test)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["PASSED test_gate.py::test_stays[[]same[]]"])


def test_workers_find_the_same(project):
    """Under xdist the controller's table, report and answers name each checkpoint."""
    arguments = [*both(project, "same", "broken"), "-n2", "--basin-report=json"]
    result = project.run_apart(None, *arguments, test=KEPT.format("max_drop=0.05"))
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([" kept[[]digits-same[]] *CERTIFIED*", " kept[[]digits-broken[]] *REFUTED*",
                                 " broken: Do not release. *", " same: Release. *"])  # fmt: skip


def test_two_bases_in_one_session(project):
    """A folder of tests with its own base; a checkpoint that is open already is held against each of them."""
    near, root = project.files.near, project.pytester.path
    opened = Base.open(near, project.files.digits)
    measured = measure_base(opened, planned=[PlannedDraws(opened.weight_law(1e-4), n=60)], grid=(1e-5,))
    project.configure(measurement=[str(project.files.measurement), str(measured.to_json(root / "near.json"))])
    fixture = "import pytest, certify\n@pytest.fixture(scope='session')\ndef {}(made={}): return made\n"
    project.pytester.makeconftest(fixture.format("basin_checkpoint", f"certify.open_checkpoint({str(near)!r})"))
    (project.pytester.mkdir("other") / "conftest.py").write_text(fixture.format("basin_base", repr(str(near))))
    position = KEPT.format("max_drop=0.3, evidence='position'")
    (root / "other" / "test_other.py").write_text(position)
    result = project.run(None, "--basin-report=json", "--basin-cert-dir=certs", test=position)
    result.stdout.fnmatch_lines(["*1 passed, 1 undecided*"])  # beyond the one's width, at the other itself
    found = json.loads((root / "basin-report.json").read_text())["gates"]
    assert [(gate["base"], gate["checkpoint"]) for gate in found] == [("near", "near"), ("base", "near")]
    moved = [read_document(root / gate["certificate"]).evidence.displacement.delta_norm for gate in found]
    assert moved[0] == 0.0 < moved[1]
