"""``certify cover``: verdicts with their exit codes, records that verify, figures, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import models
import pytest

from certify.documents import CoverRecord, read_document
from certify.report.cover_figure import cover_figure

Certify = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on every item, a copy that keeps them, a wreck, and a merge of both."""
    where = tmp_path_factory.mktemp("cover")
    model = models.base_same_and_wreck(where)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 50))
    models.write_jsonl(where / "other.jsonl", models.own_answers(model, 40))
    listed = [{"model": name, "parameters": {"weight": 0.5}} for name in ("same", "wreck")]
    recipe = {"merge_method": "task_arithmetic", "base_model": "base", "models": listed}
    (where / "both.yaml").write_text(json.dumps(recipe))
    return where


def asked(family: str, *more: str) -> tuple[str, ...]:
    return ("cover", "base", "--family", family, "-b", "own.jsonl", *more)


SEGMENT = ("--range", "0,1.25", "--windows", "2", "-n", "150", "--max-drop", "0.1")
PLANE = ("--range", "0,0.5", "--range", "0,1", "--windows", "3", "--width", "0.4", "-n", "200", "--max-drop", "0.5")


def test_a_segment_is_covered_and_its_record_lives_on(certify: Certify, tmp_path: Path) -> None:
    """Exit 0; verify repeats it, show and every report take the file, and the figure lies beside it."""
    code, out, _ = certify(*asked("segment:same", *SEGMENT, "-o", str(tmp_path / "c")))
    assert code == 0
    assert "CERTIFIED  cover of the segment from the base to same on own" in out
    assert "note: the chosen point 1 lies in a window that is kept" in out
    (file,) = map(str, (tmp_path / "c").glob("*.json"))
    assert sorted(path.suffix for path in (tmp_path / "c").iterdir()) == [".json", ".png", ".svg"]
    named = ("--base", "base", "--checkpoint", "same", "--benchmark", "own.jsonl")
    code, out, _ = certify("verify", file, *named, "--replay", "9")
    assert code == 0
    assert "Repeated in the family, with the same scores: 9 of 150 draws." in out
    assert "Repeated at the base, with the same scores: every item without noise." in out
    assert "On trust: every draw of the family" in certify("verify", file, *named[:2], *named[4:], "--replay", "9")[1]
    shown = certify("show", file)[1]
    assert "found: 2 kept, 0 lost, 0 open, of 2 windows; 0 of 150 draws lost, 0 gained" in shown
    assert "[0.625, 1.25]: kept, drop at most 0.0" in shown
    assert "2 kept, 0 lost, 0 open" in certify("report", file)[1]
    assert "2 kept, 0 lost, 0 open" in certify("report", file, "-t", "html")[1]
    row = json.loads(certify("report", file, "-t", "json")[1])["gates"][0]
    family = "the segment from the base to same"
    assert (row["evidence"], row["checkpoint"], row["n"], row["of"]) == ("cover", family, 150, "draws")


def test_a_cover_releases_no_checkpoint(certify: Certify, tmp_path: Path) -> None:
    """Means over windows speak of no point, and here not even of a box that the checkpoint lies in."""
    aside = ("--range", "0,0.0001", "--windows", "2", "-n", "150", "--max-drop", "0.1")
    assert certify(*asked("segment:wreck", *aside, "-o", str(tmp_path / "c")))[0] == 0
    checked = ("check", "same", "wreck", "--base", "base", "-b", "own.jsonl", "--max-drop", "0.1", "--items", "fixed")
    assert certify(*checked, "-o", str(tmp_path / "c"))[0] == 1
    found = ("*.cover.json", "same*", "wreck*.point.json")
    cover, same, wreck = (str(next((tmp_path / "c").glob(each))) for each in found)
    alone = certify("report", cover)[1]
    assert "certified | the segment from the base to wreck" in alone and "Release" not in alone
    both = certify("report", cover, same, wreck)[1]
    assert "**Release** same:" in both and "**Do not release** wreck:" in both
    assert "wreck@" not in both, "a family is no other checkpoint of the same name"


def test_a_record_of_another_family_is_invalid(certify: Certify, tmp_path: Path) -> None:
    """Exit 4, naming the part; without the base nobody can say."""
    certify(*asked("segment:same", *SEGMENT, "-o", str(tmp_path / "c")))
    (file,) = map(str, (tmp_path / "c").glob("*.json"))
    code, out, _ = certify("verify", file, "--base", "base", "--checkpoint", "wreck")
    assert code == 4
    assert "family: wreck is not what was covered (end differs)" in out
    code, _, err = certify("verify", file, "--checkpoint", "same")
    assert code == 2
    assert "name the base with --base" in err


def test_a_wreck_is_refuted_and_nothing_is_replaced(certify: Certify, tmp_path: Path) -> None:
    """Exit 1. The same record is written once; one of another requirement gets a number."""
    command = asked("segment:wreck", *SEGMENT, "-o", str(tmp_path / "c"))
    for _ in range(2):
        code, out, _ = certify(*command)
        assert code == 1
        assert "REFUTED" in out
    certify(*command[:-4], "--max-drop", "0.2", *command[-2:])
    assert len(list((tmp_path / "c").glob("*.json"))) == 2
    assert len(list((tmp_path / "c").glob("*.png"))) == 2


def test_a_merge_is_mapped(certify: Certify, tmp_path: Path) -> None:
    """Nine windows that overlap, coloured by what they show; the recipe's own weights are marked."""
    code, out, _ = certify(*asked("merge:both.yaml", *PLANE, "-o", str(tmp_path / "c")))
    assert code in (1, 3)
    assert "the chosen point (0.5, 0.5) lies in a window" in out
    (file,) = (tmp_path / "c").glob("*.json")
    record = read_document(file)
    assert isinstance(record, CoverRecord)
    assert len(record.judgement.windows) == 9
    figure = cover_figure(record)
    (axes,) = figure.axes
    assert len(axes.patches) == 9
    assert axes.get_ylabel() == "weight of wreck" and axes.get_xlabel().startswith("weight of same")
    assert "the window of 0.4 x 0.4 around it" in axes.get_xlabel()
    names = {"certified": "window kept", "refuted": "window lost", "undecided": "window open"}
    found = {names[window.verdict.value] for window in record.judgement.windows}
    assert len(found) > 1, "a map of one colour shows nothing of colours"
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"chosen: (0.5, 0.5)", *found}
    named = ("--base", "base", "--checkpoint", "both.yaml")
    assert certify("verify", str(file), *named, "--benchmark", "own.jsonl", "--replay", "5")[0] == 0
    swapped = record.evidence.family.model_copy(update={"coefficients": ("weight of wreck", "weight of same")})
    forged = record.model_copy(update={"evidence": record.evidence.model_copy(update={"family": swapped})})
    forged = CoverRecord.model_validate_json(forged.model_dump_json(by_alias=True))
    forged.model_copy(update={"digest": forged.own_digest()}).to_json(tmp_path / "forged.json")
    code, out, _ = certify("verify", str(tmp_path / "forged.json"), *named)
    assert code == 4
    assert "family: its coefficients are, in order, weight of same and weight of wreck; recorded swapped" in out


def test_each_benchmark_is_a_cover_of_its_own(certify: Certify, tmp_path: Path) -> None:
    """Two records, and the worse verdict is the exit code."""
    code, out, _ = certify(*asked("segment:same", "-b", "other.jsonl", *SEGMENT, "-o", str(tmp_path / "c")))
    assert code == 0
    assert out.count("CERTIFIED  cover of") == 2
    assert len(list((tmp_path / "c").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (asked("segment", "--range", "0,1"), "must be KIND:PATH, KIND one of segment, adapter, merge"),
        (asked("segments:same", "--range", "0,1"), "must be KIND:PATH"),
        (asked("adapter:same", "--range", "0,1"), "is no folder of an adapter but folder of weights: --family"),
        (asked("segment:nowhere", "--range", "0,1"), "nowhere"),
        (asked("segment:same", "--range", "0"), "--range 0: must be two numbers, LOW,HIGH"),
        (asked("segment:same", "--range", "0,one"), "--range: 'one' is not a number"),
        (asked("segment:same", "--range", "1,0"), "range 1,0: must be two numbers, LOW,HIGH, the lower one first"),
        (asked("segment:same", "--range", "0,nan"), "range 0,nan"),
        (asked("segment:same", "--range", "0,inf"), "range 0,inf"),
        (asked("segment:same", "--range", "0,1", "--range", "0,1"), "range: 2 given, and the segment from the base"),
        (asked("merge:both.yaml", "--range", "0,1"), "takes 2 (weight of same and weight of wreck)"),
        (asked("segment:same", *["--range", "0,1"] * 3), "a family has one or two coefficients"),
        (asked("segment:same", "--range", "0,1", "--width", "0.01"), "10 windows of width 0.01 must cover the range"),
        (asked("segment:same", "--range", "0,1", "--chosen", "2"), "chosen 2: lies outside the box"),
        (asked("segment:same", "--range", "0,1", "--chosen", "1,1"), "chosen 1,1: must be 1 number"),
        (asked("segment:same", "--range", "0,1", "-n", "100"), "or more, or fewer windows"),
        (asked("segment:same", "-b", "own.jsonl", "--range", "0,1"), "the same items are named twice"),
        (asked("segment:same"), "Missing option"),
    ],
    ids=lambda each: " ".join(each[3:]) if isinstance(each, tuple) else None,
)
def test_bad_input_is_one_line_and_exit_2(
    certify: Certify, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """What, where, which rule; no traceback, and nothing is written."""
    code, _, err = certify(*arguments, "-o", str(tmp_path / "c"))
    assert code == 2
    assert said in err.replace("\n", " ")
    assert "Traceback" not in err
    assert not list((tmp_path / "c").glob("*"))
