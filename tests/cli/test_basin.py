"""``certify basin`` and ``certify tokens``: what they print and write agrees with `measure`, `verify` and itself."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import models
import pytest

from certify.__main__ import main
from certify.documents import BasinRecord, read_document, read_measurement
from certify.evidence import Requirement
from certify.evidence.judgement import down, up
from certify.evidence.position import PILOT_LIMIT
from certify.measuring import Base, Run, measure_width, pilot_grid
from certify.report.basin_figure import basin_record_figure
from certify.report.basin_table import _both_ends
from certify.report.words import document_lines
from certify.verify import differences

GRID, SIGMAS = "1e-4,1e-3,2", (1e-4, 1e-3, 2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on every item of its benchmark, and a checkpoint close by."""
    where = tmp_path_factory.mktemp("basin")
    model = models.llama()
    models.save_folder(where / "base", model)
    models.variant(where / "base", where / "near", lambda t: t["model.norm.weight"].add_(1e-4))
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 100))
    models.write_jsonl(where / "few.jsonl", models.own_answers(model, 20))
    return where


def certify(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    """Run ``certify`` in ``folder`` and return its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "argv", ["certify", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.fixture
def record(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BasinRecord:
    """The basin of the base, measured once by the command."""
    if not (folder / "b.json").exists():
        arguments = ("--grid", GRID, "-c", "near", "-n", "20", "--engine", "explicit", "--max-drop", "0.1")
        assert certify(monkeypatch, folder, "basin", "base", "-b", "own.jsonl", "-o", "b.json", *arguments) == 0
        out = capsys.readouterr().out
        assert "CERTIFIED  basin of base on own" in out
        assert "near: alpha* = ||delta||/sqrt(d)" in out
        assert "geometry, no verdict" in out
        assert "0/20 0.000" in out
    found = read_document(folder / "b.json")
    assert isinstance(found, BasinRecord)
    return found


def test_record_and_figures_are_written(folder: Path, record: BasinRecord) -> None:
    """JSON, SVG and PNG beside each other; the width has both ends, and every sigma its share."""
    assert {p.name for p in folder.glob("b.*")} == {"b.json", "b.svg", "b.png"}
    assert (record.judgement.sigma_star, record.judgement.refuted_from) == (1e-3, 2.0)
    clean = [sum(s >= d.base_score for s in d.draws.scores) for d in record.evidence.draws]
    assert [level.strict.clean for level in record.judgement.levels if level.strict] == clean
    assert clean[0] > clean[2] == 0
    (place,) = record.judgement.places
    assert place.within and place.name == "near"
    assert place.alpha_star == pytest.approx(1e-4 * 16**0.5 / record.base.parameters**0.5, rel=1e-3)


def test_it_verifies_and_a_forged_width_does_not(folder, monkeypatch, capsys, record) -> None:  # type: ignore[no-untyped-def]
    """Every claim is recomputed, seeds included; draws are drawn again when asked for."""
    files = ("--base", "base", "--benchmark", "own.jsonl", "--replay", "2")
    assert certify(monkeypatch, folder, "verify", "b.json", *files) == 0
    assert "Repeated at the base, with the same scores: every item without noise, 2 of " in capsys.readouterr().out
    value = json.loads((folder / "b.json").read_text())
    value["judgement"]["sigma_star"] = 2.0
    value["evidence"]["draws"][0]["seed"]["value"] = "0" * 64
    (folder / "forged.json").write_text(json.dumps(value))
    assert certify(monkeypatch, folder, "verify", "forged.json") == 4
    out = capsys.readouterr().out
    assert "judgement.sigma_star: recorded 2.0, recomputed 0.001" in out
    assert "evidence.draws.0.seed" in out
    assert certify(monkeypatch, folder, "verify", "b.json", "--checkpoint", "near") == 4
    assert "is about a base and names no checkpoint" in capsys.readouterr().out


def test_it_agrees_with_measure_and_with_position_evidence(folder, monkeypatch, capsys, record) -> None:  # type: ignore[no-untyped-def]
    """The same sigmas have the same item scores, whichever command drew them, and sigma* is one number."""
    arguments = ("--grid", GRID, "--sigma", "1e-4", "-n", "101", "--engine", "explicit", "--max-drop", "0.1")
    assert certify(monkeypatch, folder, "measure", "base", "-b", "own.jsonl", "-o", "m.json", *arguments) == 0
    measurement = read_measurement(folder / "m.json")
    assert measurement.basin == record.evidence.basin
    on = ("--base", "base", "-b", "own.jsonl", "--measurement", "m.json", "--require", "position", "--max-drop", "0.1")
    assert certify(monkeypatch, folder, "check", "near", *on, "-o", "certs") == 0
    certificate = json.loads(next((folder / "certs").glob("near-*.own.position.json")).read_text())
    judged = certificate["judgement"]["quantities"]
    assert judged["sigma_star"] == record.judgement.sigma_star
    assert judged["alpha_star"] == record.judgement.places[0].alpha_star


def test_show_says_everything_that_limits_the_claim(folder, monkeypatch, capsys, record) -> None:  # type: ignore[no-untyped-def]
    """Claim, both ends at every sigma, shares on one side and on both, and what is not covered."""
    assert certify(monkeypatch, folder, "show", "b.json") == 0
    out = capsys.readouterr().out
    assert record.claim_text in out
    assert all(limit in out for limit in record.judgement.limits)
    assert "directions that lose nothing: 0 of 20: >= 0.000, 0.000 to 0.169" in out
    assert "not invariant under reparametrisation" in out


def test_the_same_draws_are_not_drawn_twice(folder: Path, tmp_path: Path) -> None:
    """A run that was cut off in the middle goes on, and ends with the record of one that was not."""
    drawn: list[int] = []

    def cut_off(indices: Sequence[int], label: str) -> Iterable[int]:
        for i in indices:
            if len(drawn) == 130:
                raise KeyboardInterrupt
            drawn.append(i)
            yield i

    def counted(indices: Sequence[int], label: str) -> Iterable[int]:
        drawn.extend(indices)
        return indices

    def measured(run: Run) -> BasinRecord:
        base = Base.open(folder / "base", folder / "own.jsonl")
        return measure_width(base, SIGMAS[:2], draws=5, requirement=Requirement(limit=0.1), run=run)

    with pytest.raises(KeyboardInterrupt):
        measured(Run(cut_off, tmp_path))
    drawn.clear()
    resumed = measured(Run(counted, tmp_path))
    assert len(drawn) == 1 + 2 * 100 + 2 * 5 - 130  # the base's own scores are kept as one batch
    assert resumed == measured(Run())
    assert differences(resumed) == []


def test_exit_codes_agree_with_the_verdict(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """1 when even the smallest sigma breaks the base, 3 when the limit is so lax that nothing is claimed."""
    basin = ("basin", "base", "-b", "own.jsonl", "-n", "0", "--engine", "explicit")
    assert certify(monkeypatch, folder, *basin, "-o", "r.json", "--grid", "2", "--max-drop", "0.1") == 1
    assert "REFUTED" in capsys.readouterr().out
    assert certify(monkeypatch, folder, *basin, "-o", "u.json", "--grid", "1e-4", "--max-drop", "1") == 3
    out = capsys.readouterr().out
    assert "UNDECIDED" in out and "vacuous" in out


def test_who_placed_the_grid_is_recorded(folder, monkeypatch, capsys, record) -> None:  # type: ignore[no-untyped-def]
    """A pilot on the same items is said in the record and its limits; a grid that was given is not."""
    arguments = ("-o", "pilot.json", "-n", "0", "--engine", "explicit", "--max-drop", "0.1")
    certify(monkeypatch, folder, "basin", "base", "-b", "own.jsonl", *arguments)
    placed = read_document(folder / "pilot.json")
    assert isinstance(placed, BasinRecord)
    assert (record.evidence.basin.grid, placed.evidence.basin.grid) == ("given", "pilot")
    assert PILOT_LIMIT in placed.judgement.limits
    assert PILOT_LIMIT not in record.judgement.limits
    assert differences(placed) == []


def test_a_pilot_places_the_grid_as_measure_does(folder: Path) -> None:
    """Five ascending sigmas; a laxer requirement moves them out, never in."""
    base = Base.open(folder / "base", folder / "own.jsonl")
    strict, lax = (pilot_grid(base, Requirement(limit=limit)) for limit in (0.05, 0.6))
    assert len(strict) == 5 and list(strict) == sorted(set(strict))
    assert lax[0] >= strict[0]


BAD = {
    "exists": (("-o", "b.json"), "pass --overwrite"),
    "grid": (("-o", "x.json", "--grid", "2,1"), "must hold at least one value and ascend"),
    "few items": (("-b", "few.jsonl", "-o", "x.json", "--grid", "1e-4"), "basin: this gate cannot pass with 20 items"),
    "no drop": (("-o", "x.json", "--max-drop", "0"), "allows a base that scores 1.000 (chance 0) no drop"),
    "checkpoint": (("-o", "x.json", "--grid", "1e-4", "-c", "gone"), "gone: no such folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(folder, monkeypatch, capsys, record, name: str) -> None:  # type: ignore[no-untyped-def]
    """Before anything is drawn; nothing is written."""
    arguments, message = BAD[name]
    benchmark = () if "-b" in arguments else ("-b", "own.jsonl")
    assert certify(monkeypatch, folder, "basin", "base", *benchmark, *arguments) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert error.startswith("certify: error: ") and error.count("\n") == 1
    assert not (folder / "x.json").exists()


def test_the_figure_has_a_panel_for_shares_only_with_draws(record: BasinRecord) -> None:
    """Every checkpoint's alpha* is a line in each panel, and named once."""
    panels = basin_record_figure(record).axes
    assert len(panels) == 2
    bare = record.model_copy(update={"evidence": record.evidence.model_copy(update={"draws": ()})})
    assert len(basin_record_figure(bare).axes) == 1
    labels = [text.get_text() for text in basin_record_figure(record).legends[0].get_texts()]
    assert labels.count("alpha* of near") == 1
    assert {
        "certified width sigma* = 0.001",
        "refuted from sigma = 2 on",
        "whole benchmark, 20 draws each, 95 % two-sided",
    } <= set(labels)


def test_words_need_no_draws(record: BasinRecord) -> None:
    """A record without whole-benchmark draws speaks of the width alone."""
    evidence = record.evidence.model_copy(update={"draws": ()})
    judgement = evidence.judge(record.benchmark, record.requirement, record.alpha)
    bare = record.model_copy(update={"evidence": evidence, "judgement": judgement})
    assert "directions that lose nothing" not in "\n".join(document_lines(bare))


DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_quotes_the_record_that_is_beside_it() -> None:
    """Every row of the table in docs/basin.md is the shipped record's, which verifies; so are sigma* and alpha*."""
    shipped = read_document(DOCS / "figures" / "basin.json")
    assert isinstance(shipped, BasinRecord)
    assert differences(shipped) == []
    page = (DOCS / "basin.md").read_text(encoding="utf-8")
    j = shipped.judgement
    rows = []
    for level in j.levels:
        share = level.strict
        assert share is not None and level.change is not None and level.gained == 0
        cells = (
            f"{level.sigma:g}", f"{level.lost}", up(level.bounds.upper), _both_ends(level.two_sided),
            f"{share.clean} of {share.draws}", down(share.lower), _both_ends(share.two_sided), up(level.change.upper),
            level.verdict.value,
        )  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    assert re.findall(r"^\| 0\.\d+ \|.*$", page, re.MULTILINE) == rows
    assert f"σ* = {j.sigma_star:g}, refuted from {j.refuted_from:g}." in page
    adversarial = next(place for place in j.places if place.name == "adversarial")
    assert f"at α* = {up(adversarial.alpha_star, 4)}" in page
    assert all(place.within for place in j.places)


def test_tokens_lists_pairs_and_calls_itself_heuristic(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The nearest pairs by name, a figure, a file; an existing file stays."""
    assert certify(monkeypatch, folder, "tokens", "base", "-o", "t.json", "--rho", "2.5", "--list", "2") == 0
    out = capsys.readouterr().out
    assert "model.embed_tokens.weight of base: 18 tokens of width 16" in out
    assert "Heuristic" in out
    value = json.loads((folder / "t.json").read_text())
    assert len(value["nearest"]) == min(2, value["below"])
    assert all(ascii(text) in out for pair in value["nearest"] for text in pair["texts"])
    assert {p.name for p in folder.glob("t.*")} == {"t.json", "t.svg", "t.png"}
    assert certify(monkeypatch, folder, "tokens", "base", "-o", "t.json") == 2
    assert "pass --overwrite" in capsys.readouterr().err
