"""``certify report``: kept certificates in every form; what contradicts itself is not repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from certify.__main__ import main
from certify.demo import DATA

GOLDEN = Path(__file__).parent.parent / "golden" / "v1"
KEPT = (
    "adversarial.addition.point",
    "benign.addition.position",
    "full.addition.smoothed",
    "merge.addition.distance",
    "subspace.addition.distance",
)
CERTIFICATES = [str(GOLDEN / f"{name}.json") for name in KEPT]
TASK = ("-t", "hf-eval-results", "--hub-task")
MEASUREMENT = str(GOLDEN / "measurement.json")


def certify(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run ``certify`` and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["certify", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize("kind", ["json", "markdown", "html", "csv", "cyclonedx"])
def test_each_form_holds_every_certificate(kind, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Without a destination the report goes to standard output, and nothing else does."""
    assert certify(monkeypatch, "report", *CERTIFICATES, "--type", kind) == 0
    out = capsys.readouterr().out
    for path in CERTIFICATES:
        checkpoint, benchmark, _, _ = Path(path).name.split(".")
        named = checkpoint if kind == "cyclonedx" else f"{checkpoint}[{benchmark}]"
        assert named in out.replace("\\", "").replace("<wbr>", "")
    starts = {"csv": "gate,checkpoint,", "cyclonedx": '{\n "$schema": "http://cyclonedx.org/',
              "json": "{", "markdown": "## ❔ Basin report\n\n**Release 1 of 5", "html": "<!DOCTYPE html>"}
    assert out.startswith(starts[kind])


def test_a_report_says_what_all_files_agree_on(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The base is one and stands in the heading; checkpoints differ and stand in their rows; no date unless given."""
    arguments = ("report", *CERTIFICATES, "-t", "json", "--title", "Release", "--date", "2026-11-20")
    assert certify(monkeypatch, *arguments) == 0
    context = json.loads(capsys.readouterr().out)["context"]
    assert (context["base"], context["checkpoint"]) == ("base", "")
    assert (context["title"], context["date"]) == ("Release", "2026-11-20")
    assert context["versions"]["torch"]
    assert certify(monkeypatch, "report", *CERTIFICATES, "-t", "json") == 0
    assert json.loads(capsys.readouterr().out)["context"]["date"] == ""


def test_a_json_report_renders_again_into_the_same_page(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """One record for many outputs."""
    report, page, again = (str(tmp_path / name) for name in ("r.json", "a.html", "b.html"))
    assert certify(monkeypatch, "report", *CERTIFICATES, "-t", "json", "-o", report) == 0
    assert f"wrote {report}" in capsys.readouterr().out.replace("\n", "")
    assert certify(monkeypatch, "report", *CERTIFICATES, "-t", "html", "-o", page) == 0
    assert certify(monkeypatch, "report", report, "-t", "html", "-o", again) == 0
    assert Path(page).read_bytes() == Path(again).read_bytes()


def answers(monkeypatch, capsys, *arguments: str) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """What the report of these files says of each checkpoint."""
    assert certify(monkeypatch, "report", *arguments, "-t", "json") == 0
    return {each["checkpoint"]: each["answer"] for each in json.loads(capsys.readouterr().out)["checkpoints"]}


ADVERSARIAL, BENIGN = CERTIFICATES[:2]


def test_some_are_released_beside_others_by_their_p_values(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The benign one's p-value, 1e-5 of its record, is enough for one of two; not at a confidence above it."""
    assert answers(monkeypatch, capsys, BENIGN) == {"benign": "Release"}
    both = {"adversarial": "Do not release", "benign": "Release"}
    assert answers(monkeypatch, capsys, BENIGN, ADVERSARIAL) == both
    strict = answers(monkeypatch, capsys, BENIGN, ADVERSARIAL, "--confidence", "0.9999999")
    assert strict == {**both, "benign": "Not enough data"}


def test_a_file_that_was_set_aside_is_no_release(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Whatever it says: a later run made no claim of it."""
    stale = tmp_path / "benign.json.stale"
    stale.write_bytes(Path(BENIGN).read_bytes())
    assert answers(monkeypatch, capsys, str(stale)) == {"benign": "Not enough data"}
    assert answers(monkeypatch, capsys, str(stale), BENIGN) == {"benign": "Not enough data"}


def test_texts_are_shown_for_the_asking(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Of the benchmark that was judged on, found by its digest; otherwise numbers alone."""
    for more, shown in ((), False), (("-b", str(DATA / "benchmarks" / "addition.jsonl")), True):
        assert certify(monkeypatch, "report", ADVERSARIAL, *more, "-t", "html") == 0
        out = capsys.readouterr().out
        assert "283 items lost" in out
        assert ("48+32=" in out) == shown
    assert certify(monkeypatch, "report", ADVERSARIAL, "-b", str(DATA / "benchmarks" / "prose.jsonl")) == 2
    assert "prose.jsonl: no gate of this report was judged on these items" in capsys.readouterr().err


def test_the_score_of_a_task_of_the_hub(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The user says which task the items are; the record says the rest, whatever the verdict."""
    assert certify(monkeypatch, "report", ADVERSARIAL, *TASK, "addition=acme/sums:default") == 0
    out = capsys.readouterr().out
    assert out.startswith("- dataset:\n    id: acme/sums\n    task_id: default\n  value: 0.05666")
    assert "refuted: drop at least 0.898 (95 % one-sided each), drop at most 0.05 required" in out


def test_append_keeps_what_is_there(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """As a step summary wants it."""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    assert certify(monkeypatch, "report", CERTIFICATES[0], "-t", "markdown-append", "-o", str(summary)) == 0
    assert summary.read_text().startswith("before\n\n## ❌ Basin report")


BAD = {
    "type": ((CERTIFICATES[0], "-t", "pdf"), 2, "--type 'pdf': choose from json, markdown, markdown-append, html"),
    "two models": ((*CERTIFICATES[:2], "-t", "hf-model-index"), 2, "these gates are of 2: adversarial, benign"),
    "two records": ((*CERTIFICATES[:2], "-t", "in-toto"), 2, "a statement is of one record, and 2 are named"),
    "no task": ((CERTIFICATES[0], *TASK[:2]), 2, "Name it: --hub-task addition=OWNER/DATASET:TASK"),
    "no such task": ((CERTIFICATES[0], *TASK, "addition"), 2, "--hub-task 'addition': expected BENCHMARK="),
    "task twice": ((CERTIFICATES[0], *TASK, "a=b/c:d", "--hub-task", "a=b/c:e"), 2, "a is b/c:d already"),
    "task of none": ((CERTIFICATES[0], "-t", "csv", "--hub-task", "a=b/c:d"), 2, "--hub-task belongs to"),
    "forged statement": (("forged.json", "-t", "in-toto"), 4, "forged.json: judgement.lower: recorded 0.0, recomputed"),
    "append": ((CERTIFICATES[0], "-t", "markdown-append"), 2, "name it with --output"),
    "folder": ((CERTIFICATES[0], "-o", "."), 2, ".: is a folder; name a file in it"),
    "measurement": ((MEASUREMENT,), 2, "is a measurement, which makes no claim: `certify show`"),
    "missing": (("gone.json",), 2, "gone.json: no such file"),
    "forged": (("forged.json",), 4, "forged.json: judgement.lower: recorded 0.0, recomputed"),
    "foreign": (("foreign.json",), 2, "foreign.json: schema is None, expected one of pytest-basin/certificate"),
    "later": (("later.json",), 2, "later.json: report version 9; this release reads 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """What, where and why on stderr; nothing written, nothing on standard output."""
    arguments, code, message = BAD[name]
    value = json.loads(Path(CERTIFICATES[0]).read_text())
    value["judgement"]["lower"] = 0.0
    (tmp_path / "forged.json").write_text(json.dumps(value))
    (tmp_path / "foreign.json").write_text("[1]")
    (tmp_path / "later.json").write_text('{"schema": "pytest-basin/report", "version": 9}')
    monkeypatch.chdir(tmp_path)
    assert certify(monkeypatch, "report", *arguments) == code
    streams = capsys.readouterr()
    assert message in streams.err
    assert streams.err.count("\n") == 1
    assert streams.out == ""


def test_reporting_and_comparing_load_no_torch() -> None:
    """A page is made on a laptop from the files alone."""
    script = (
        "import sys\nfrom certify.cli.app import app\n"
        "for a in (['report', *sys.argv[1:], '-t', 'html'], ['compare', sys.argv[1], sys.argv[1]]):\n"
        "    app(a, standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *CERTIFICATES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "</html>" in done.stdout


def test_a_folder_is_the_records_in_it(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Numbers sort by value, what else lies there is named; what is damaged is an error, and an empty folder, too."""
    past = tmp_path / "past"
    for number, file in ((1000, BENIGN), (900, ADVERSARIAL)):
        (past / f"checkpoint-{number}").mkdir(parents=True)
        (past / f"checkpoint-{number}" / "point.json").write_bytes(Path(file).read_bytes())
    (past / "measurement.json").write_bytes(Path(MEASUREMENT).read_bytes())
    (past / "trainer_state.json").write_text("[]")
    (past / "old.json.stale").write_bytes(Path(BENIGN).read_bytes())
    (past / "summary.html").write_text("<p>")
    assert certify(monkeypatch, "report", str(past), "-t", "json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [gate["checkpoint"] for gate in report["gates"]] == ["adversarial", "benign"]
    (note,) = report["context"]["notes"]
    assert note.endswith("were set aside: measurement.json, trainer_state.json, old.json.stale")
    assert certify(monkeypatch, "report", str(past), "-t", "trend") == 0
    page = capsys.readouterr().out
    assert "From adversarial to benign, in the order in which the files were given" in page
    assert "trainer_state.json" in page
    (past / "cut.json").write_text(Path(BENIGN).read_text()[:500])
    assert certify(monkeypatch, "report", str(past), "-t", "trend") == 2
    assert "cut.json: not readable JSON" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert certify(monkeypatch, "report", str(tmp_path / "empty")) == 2
    assert "empty: holds no certificate (`certify check -o " in capsys.readouterr().err


@pytest.mark.filterwarnings("always::certify.errors.CertifyWarning")
@pytest.mark.parametrize("kind", ["csv", "hf-model-index", "json", "in-toto"])
def test_a_copy_of_a_record_is_no_second_gate(kind, tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Also one that is spelled otherwise; a file that was set aside is no copy, since it says something else."""
    text = Path(BENIGN).read_text()
    (tmp_path / "a.json").write_text(text)
    alone = f"{tmp_path}/a.json"
    assert certify(monkeypatch, "report", alone, "-t", kind) == 0
    expected = capsys.readouterr().out
    (tmp_path / "b.json").write_text(json.dumps(dict(reversed(json.loads(text).items()))))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.json").write_text(text)
    assert certify(monkeypatch, "report", str(tmp_path), "-t", kind) == 0
    found, said = capsys.readouterr()
    if kind == "json":
        report = json.loads(found)
        assert report["gates"] == json.loads(expected)["gates"]
        assert [note.endswith("a.json, and not shown") for note in report["context"]["notes"]] == [True, True]
    else:
        assert found == expected
    assert said.count(f"is a copy of {alone}, and not shown") == (0 if kind == "in-toto" else 2)
    if kind == "csv":
        (tmp_path / "a.json.stale").write_text(text)
        assert certify(monkeypatch, "report", alone, f"{alone}.stale", "-t", kind) == 0
        assert capsys.readouterr().out.count("\n") == 3
