"""Engines, designs and audits from the command line: what is chosen is said, and every step ends in the right code."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import models
import pytest

from certify.__main__ import main
from certify.noise.activation import Audit
from certify.records import digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a near copy, and a measurement of pairs in activation space."""
    where = tmp_path_factory.mktemp("engines")
    model = models.llama()
    models.save_folder(where / "base", model)
    models.variant(where / "base", where / "near", lambda t: t["model.norm.weight"].add_(1e-7))
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 80))
    return where


def certify(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    """Run ``certify`` in ``folder`` and return its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["certify", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


MEASURE = ("measure", "base", "-b", "own.jsonl", "--sigma", "1e-4", "--grid", "1e-4,1e-3", "-n", "100")
WITH_BASE = ("--base", "base", "--benchmark", "own.jsonl")


@pytest.fixture
def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The file of that measurement, audited when it was made."""
    if not (folder / "m.json").exists():
        options = ("--engine", "activation", "--design", "pairs", "--audit", "2", "-o", "m.json")
        assert certify(monkeypatch, folder, *MEASURE, *options) == 0
        out = capsys.readouterr().out
        assert out.startswith("engine: activation, as asked\n")
        assert "audit: draws.0, 2 draws as ordinary models: logits differ by at most" in out
        assert "one random item each (design pairs): mean score 1.000" in out
        assert "what is certified under noise is the function of the unrounded weights" in out
    return "m.json"


def test_a_distance_certificate_from_pairs_verifies(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """check, verify and show speak of the design; the number of draws that the table would need is not asked for."""
    options = ("check", "near", *WITH_BASE, "--require", "position,distance", "--measurement", measured)
    assert certify(monkeypatch, folder, *options, "--max-drop", "0.2", "-o", "certs") == 0
    assert "100 draws at the base with one random item each" in capsys.readouterr().out
    files = [str(file) for kind in ("distance", "position") for file in Path("certs").glob(f"near-*.own.{kind}.json")]
    assert len(files) == 2
    assert certify(monkeypatch, folder, "verify", *files, measured) == 0
    assert certify(monkeypatch, folder, "show", *files) == 0
    assert capsys.readouterr().out.count("Premise: float error (of layers and of normals) is below the guard") == 2


def test_draws_of_a_file_are_drawn_again_and_audited(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """Each run is named with its difference and the limit."""
    assert certify(monkeypatch, folder, "verify", measured, *WITH_BASE, "--replay", "30", "--audit", "2") == 0
    out = capsys.readouterr().out
    assert "Repeated at the base, with the same scores: every item without noise, 30 of " in out
    assert out.count("2 draws as ordinary models: logits differ by at most") == 3


def test_an_audit_that_finds_more_than_rounding_is_a_contradiction(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """Exit 4 in verify; in measure nothing is written."""
    monkeypatch.setattr(
        "certify.noise.activation.pairs.ActivationPairs.audit", lambda *_: Audit(difference=3e-3, limit=1e-5)
    )
    assert certify(monkeypatch, folder, "verify", measured, *WITH_BASE, "--audit", "2") == 4
    out = capsys.readouterr().out
    assert "INVALID" in out and "logits differ by at most 3.0e-03 (limit 1.0e-05)" in out
    options = ("--engine", "activation", "--audit", "1", "-o", "unwritten.json")
    assert certify(monkeypatch, folder, *MEASURE, *options, "--max-drop", "0.5") == 4
    assert "logits differ by at most" in capsys.readouterr().err
    assert not (folder / "unwritten.json").exists()


def test_a_forged_pair_is_found_by_drawing_it_again(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """A resealed file with one outcome turned passes recomputation and fails the replay, by name."""
    value = json.loads((folder / measured).read_text())
    value["draws"][0]["draws"]["scores"][0] = 0.0
    del value["digest"]
    (folder / "forged.json").write_text(json.dumps({**value, "digest": digest(value)}))
    assert certify(monkeypatch, folder, "verify", "forged.json") == 0
    assert certify(monkeypatch, folder, "verify", "forged.json", *WITH_BASE, "--replay", "5") == 4
    assert "replay: draws.0, draw 0: recorded 0.0, drawn again 1.0" in capsys.readouterr().out


def test_an_engine_that_the_model_does_not_bear_out_is_a_contradiction(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """A record that names activation space for weights it cannot serve is not believed."""
    monkeypatch.setattr(sys.modules["certify.noise.activation.refusals"], "rule_of", lambda _: None)
    assert certify(monkeypatch, folder, "verify", measured, *WITH_BASE, "--replay", "5") == 4
    assert "the recorded engine cannot have drawn this" in capsys.readouterr().out


def test_the_planner_speaks_before_and_after(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """auto: the choice with its reasons, then what it took; a table is explicit whatever serves the basin."""
    assert certify(monkeypatch, folder, *MEASURE, "--max-drop", "0.2", "-o", "auto.json", "--audit", "1") == 0
    streams = capsys.readouterr()
    out = streams.out.splitlines()
    assert re.match(r"estimate: about [\d.]+ (ms|s), [\d.]+ GB of memory; \w+ engine on cpu", streams.err)
    assert out[0].startswith("engine: ") and "for 160 trials of one item each; predicted" in out[0]
    assert out[1].startswith("pilot, Gaussian noise on")
    (took,) = (line for line in out if line.startswith("measured in "))
    assert "; predicted " in took
    value = json.loads((folder / "auto.json").read_text())
    named = {level["engine"]["name"] for level in value["basin"]["levels"]}
    assert named == {out[0].split()[1]}
    assert value["draws"][0]["engine"]["name"] == "explicit" and value["draws"][0]["design"] == "table"


def test_a_base_in_sixteen_bits_is_shown_in_float32_where_that_is_declared(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The folder is refused in one line that names the recipe; the recipe is measured, and the record says so."""
    models.variant(folder / "base", folder / "brain", lambda t: t.update({n: v.bfloat16() for n, v in t.items()}))
    toml = 'merge_method = "linear"\ndtype = "float32"\n[[models]]\nmodel = "brain"\nparameters = { weight = 1.0 }\n'
    (folder / "float32.toml").write_text(toml)
    options = (*MEASURE[2:], "--engine", "activation", "--design", "pairs", "-o", "wide.json")
    assert certify(monkeypatch, folder, "measure", "brain", *options) == 2
    said = capsys.readouterr().err
    assert said.count("torch.bfloat16") == 1 and "name a recipe with dtype = float32" in said
    assert certify(monkeypatch, folder, "measure", "float32.toml", *options) == 0
    value = json.loads((folder / "wide.json").read_text())
    assert value["base"]["computed_in"] == "float32"
    assert {level["engine"]["name"] for level in value["basin"]["levels"]} == {"activation"}
    assert certify(monkeypatch, folder, "verify", "wide.json", "--base", "float32.toml", "--benchmark", "own.jsonl",
                   "--replay", "3") == 0  # fmt: skip
    assert certify(monkeypatch, folder, "verify", "wide.json", "--base", "brain", "--benchmark", "own.jsonl") == 4


def test_planning_compares_the_engines(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Pairs have floors of their own; a table or pairs are counted where they are asked for."""
    options = ("plan", "base", "--benchmark", "own.jsonl", "--evidence", "distance", "--design", "pairs")
    assert certify(monkeypatch, folder, *options, "--sigma", "1e-3") == 0
    out = capsys.readouterr().out
    assert "59 draws" in out and "pairs bound the mean alone" in out
    assert "for 400 trials of one item each; predicted" in out and "(basin at 5 sigmas)" in out
    assert certify(monkeypatch, folder, *options, "-n", "100", "--price-per-hour", "3") == 0
    out = capsys.readouterr().out
    assert "for 500 trials of one item each; predicted" in out
    assert re.search(r"measure: about \S+ m?s, \S+ GB of memory, \S+ at 3 an hour \(basin at 5 sigmas, 100 draws", out)


def test_the_basin_alone_is_measured_where_no_draws_are_asked_for(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """-n 0 and no -n are one record; it serves position evidence, and what rests on draws says what to do."""
    grid = ("measure", "base", "-b", "own.jsonl", "--grid", "1e-4,1e-3", "--engine", "explicit")
    assert certify(monkeypatch, folder, *grid, "-n", "0", "-o", "none.json") == 0
    assert certify(monkeypatch, folder, *grid, "--sigma", "1e-4", "-o", "absent.json") == 0
    one, other = (json.loads((folder / name).read_text()) for name in ("none.json", "absent.json"))
    assert one == other
    assert one["draws"] == []
    assert certify(monkeypatch, folder, "verify", "none.json") == 0
    assert certify(monkeypatch, folder, "show", "none.json") == 0
    judged = ("check", "near", *WITH_BASE, "--measurement", "none.json", "--max-drop", "0.2")
    assert certify(monkeypatch, folder, *judged, "--require", "position") == 0
    capsys.readouterr()
    assert certify(monkeypatch, folder, *judged, "--require", "position,distance") == 2
    assert "the measurement holds the basin alone, and distance evidence rests on draws" in capsys.readouterr().err
    assert certify(monkeypatch, folder, *judged, "--require", "smoothed") == 2
    assert "smoothed evidence needs a sigma" in capsys.readouterr().err


def test_a_finished_measurement_is_repeated_without_work(folder, monkeypatch, capsys, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Sigma, engine, proof, the base's scores and every draw are kept: the same bytes, and nothing is scored."""
    monkeypatch.setenv("CERTIFY_DRAWS_DIR", str(tmp_path))
    measure = ("measure", "base", "-b", "own.jsonl", "--engine", "activation", "-n", "100")
    assert certify(monkeypatch, folder, *measure, "--max-drop", "0.2", "-o", "first.json") == 0

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("certify.benchmarks.scoring.LikelihoodScorer.score", fail)
    monkeypatch.setattr("certify.noise.activation.pairs.ActivationPairs._prove", fail)
    monkeypatch.setattr("certify.noise.activation.pairs.ActivationPairs._margins", fail)
    assert certify(monkeypatch, folder, *measure, "--max-drop", "0.2", "-o", "again.json") == 0
    assert (folder / "first.json").read_bytes() == (folder / "again.json").read_bytes()
    assert "estimate: " in capsys.readouterr().err
    assert certify(monkeypatch, folder, *measure, "--max-drop", "0.3", "-o", "other.json") == 5  # another pilot


BAD = {
    "draws in a subspace": (("--subspace", "no.json", "--subspace-sigma", "1", "-n", "0"), "none is drawn"),
    "a negative price": (("--price-per-hour", "-1"), "should be greater than or equal to 0"),
    "few pairs": (("--design", "pairs", "--engine", "explicit", "-n", "58"), "with 58 draws: 59 are needed"),
    "unknown engine": (("--engine", "quantum"), "'quantum' is not one of"),
    "unknown design": (("--design", "tables"), "'tables' is not one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_choices_are_refused(folder, monkeypatch, capsys, name: str) -> None:  # type: ignore[no-untyped-def]
    """Exit 2, and nothing is written."""
    options, message = BAD[name]
    given = dict(zip(MEASURE[2::2], MEASURE[3::2], strict=True)) | dict(zip(options[::2], options[1::2], strict=True))
    line = [word for pair in given.items() for word in pair]
    assert certify(monkeypatch, folder, *MEASURE[:2], *line, "-o", "bad.json") == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (folder / "bad.json").exists()


@pytest.mark.parametrize("option", ["--replay", "--audit"])
def test_drawing_again_needs_weights_and_items(folder, monkeypatch, capsys, measured, option: str) -> None:  # type: ignore[no-untyped-def]
    """One clear line."""
    assert certify(monkeypatch, folder, "verify", measured, option, "3") == 2
    assert f"{option} needs the weights and the items: name --base and --benchmark" in capsys.readouterr().err
