"""`--basin-report=TYPE[:DEST]`, repeatable: one process writes each report when all tests are done."""

import json

import pytest

from certify.report.render import ReportType
from pytest_basin.options import REPORTS

pytest_plugins = ["pytester"]

BOTH = """
import pytest

@pytest.mark.basin(max_drop=0.5)
def test_loose(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(max_drop=0.05)
def test_strict(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def test_types_are_the_librarys():
    """The plugin lists them without importing the library; it knows no task of the hub and no past."""
    assert {*REPORTS} == {"term", *ReportType} - {"hf-eval-results", "trend"}


def test_each_type_has_a_default_file(project):
    """Beside where pytest was started; a line says where."""
    result = project.run("near", *(f"--basin-report={kind}" for kind in ("json", "markdown", "html")), test=BOTH)
    result.stdout.fnmatch_lines(
        [" json report: basin-report.json", " markdown report: basin-report.md", " html report: basin-report.html"]
    )
    read = {file.suffix: file.read_text() for file in project.pytester.path.glob("basin-report.*")}
    assert {*read} == {".json", ".md", ".html"}
    assert all("strict" in text for text in read.values())


def test_rows_of_the_json_report(project):
    """Every field of a gate, unrounded, and what holds for all gates."""
    project.run("near", "--basin-report=json:out/report.json", "--basin-seed=3", test=BOTH)
    report = json.loads((project.pytester.path / "out" / "report.json").read_text())
    loose, strict = report["gates"]
    assert (loose["item"], loose["verdict"], strict["verdict"]) == ("loose[digits]", "certified", "undecided")
    assert (strict["nodeid"], strict["n"], strict["of"]) == ("test_gate.py::test_strict[digits]", 120, "items")
    assert strict["replay"].startswith('pytest "test_gate.py::test_strict[digits]" --basin-seed=3 ')
    assert strict["settings"] == "max_drop 0.05 (marker), confidence 0.95 (default), evidence point (default)"
    assert loose["layers"] == []
    assert 0 < sum(share for _, share in strict["layers"]) <= 1
    assert strict["lower"] < strict["value"] < strict["upper"]
    context = report["context"]
    assert (context["seed"], context["checkpoint"]) == (3, str(project.files.near))
    assert context["holm"] == "Holm over 2 gates at 0.05: 1 certified jointly"


def test_appending_to_a_step_summary(project, monkeypatch):
    """The variable is expanded, and what is there stays."""
    summary = project.pytester.path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for argument in ("markdown-append", "markdown-append:$GITHUB_STEP_SUMMARY"):
        project.run("same", f"--basin-report={argument}", test=BOTH).assert_outcomes(passed=2)
    text = summary.read_text()
    assert text.startswith("before\n")
    assert text.count("Basin report") == 2


@pytest.mark.parametrize("argument", ["markdown-append", "markdown-append:", "markdown-append:$NOT_SET/x"])
def test_a_variable_that_is_not_set_is_said(project, monkeypatch, argument):
    """On another machine than the service's there is no summary: no failure, no file of an odd name."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    result = project.run("same", f"--basin-report={argument}", test=BOTH)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([" markdown-append report not written: $* is not set"])
    assert not list(project.pytester.path.glob("*$*"))


def test_a_report_that_cannot_be_written_fails_the_run(project):
    """All tests passed, and still the exit status is 1: somebody waits for the file."""
    (project.pytester.path / "file").touch()
    result = project.run("same", "--basin-report=json:file/report.json", test=BOTH)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([" json report NOT WRITTEN to file/report.json: *"])


def test_written_without_a_terminal(project):
    """A report needs no screen."""
    project.run("same", "--basin-report=json", "-p", "no:terminal", test=BOTH)
    assert (project.pytester.path / "basin-report.json").is_file()


def test_written_after_a_stop(project):
    """What ran before `-x` is reported."""
    project.run("broken", "--basin-report=json", "-x", test=BOTH)
    report = json.loads((project.pytester.path / "basin-report.json").read_text())
    assert [gate["item"] for gate in report["gates"]] == ["loose[digits]"]


def test_not_written_without_gates(project):
    """A run of other tests leaves no report."""
    project.run("same", "--basin-report=json", test="def test_other(): pass").assert_outcomes(passed=1)
    assert not (project.pytester.path / "basin-report.json").exists()


def test_annotations_are_printed_where_the_service_reads_them(project):
    """At the start of lines of the output, or in a file that is named."""
    arguments = ("--basin-report=annotations", "--basin-report=annotations:errors.txt", "--basin-seed=3")
    result = project.run("near", *arguments, test=BOTH)
    result.stdout.fnmatch_lines(["::error file=test_gate.py,title=Not enough data%2C strict*undecided::*"])
    text = (project.pytester.path / "errors.txt").read_text()
    assert text.count("::error ") == 1
    assert text.strip() in result.stdout.str()


def test_the_answer_of_a_run(project):
    """The undecided gate withholds the release, by name; without it there is one."""
    project.run("near", "--basin-report=json", test=BOTH)
    (head,) = json.loads((project.pytester.path / "basin-report.json").read_text())["checkpoints"]
    assert (head["checkpoint"], head["answer"]) == ("near", "Not enough data")
    assert "point on digits" in head["because"]
    project.run("same", "--basin-report=json", test=BOTH)
    report = json.loads((project.pytester.path / "basin-report.json").read_text())
    assert [each["answer"] for each in report["checkpoints"]] == ["Release"]
    assert report["rests_on"].startswith("Release says that every required gate is certified")


def test_term_prints_the_table_even_with_q(project):
    """Otherwise -q leaves one line."""
    table = " item * evidence * bound *"
    project.run("same", "-q", test=BOTH).stdout.no_fnmatch_line(table)
    project.run("same", "-q", "--basin-report=term", test=BOTH).stdout.fnmatch_lines([table])


def test_in_the_ini_file(project):
    """A list; files are relative to the ini file."""
    project.configure(report=["term", "json:reports/gates.json"])
    project.run("same", test=BOTH)
    assert (project.pytester.path / "reports" / "gates.json").is_file()


def test_unknown_type_is_a_usage_error(project):
    """With the valid ones."""
    result = project.run("same", "--basin-report=pdf:x", test="def test_other(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "'pdf:x': the type is none of term, json, markdown, markdown-append, html" in result.stderr.str()


def test_a_card_of_two_models_is_a_usage_error(project):
    """Before any gate runs; of one model it is none."""
    given, test = "--basin-report=hf-model-index:card.yaml", "def test_other(): pass"
    result = project.run(None, given, "--basin-checkpoint=a", "--basin-checkpoint=b", test=test)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "basin_report: hf-model-index is of one model; give one basin_checkpoint" in result.stderr.str()
    project.run(None, given, "--basin-checkpoint=a", test=test).assert_outcomes(passed=1)


def test_baselines_that_were_missed_are_in_the_report(project):
    """A page full of certified gates must not hide why the run failed."""
    project.run("same", "--basin-update", test=BOTH)
    project.run("near", "--basin-compare-fail=drop:0.01", "--basin-report=json", "-k", "loose", test=BOTH)
    report = json.loads((project.pytester.path / "basin-report.json").read_text())
    assert report["context"]["notes"] == ["missed the baseline: loose[digits]"]
    (note,) = report["gates"][0]["notes"]
    assert note.startswith("since the baseline: score lost since same: ")


def test_paths_are_as_they_would_be_typed(project):
    """A report may be published: it does not tell in which folder of which user it was made."""
    (project.pytester.path / "kept").mkdir()
    project.run("same", "--basin-report=html:r.html", "--basin-report=json:r.json", "--basin-cert-dir=kept", test=BOTH)
    for name in ("r.html", "r.json"):
        text = (project.pytester.path / name).read_text()
        assert f"{project.pytester.path}/kept" not in text
        assert "kept/" in text
