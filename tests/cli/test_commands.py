"""The command line: exit codes agree with what is printed, and bad input is one clear line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import models
import pytest

from certify.__main__ import main
from certify.cli.exits import Exit, worst
from certify.records import digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on every item of its benchmark, a copy, and a wreck."""
    where = tmp_path_factory.mktemp("cli")
    model = models.base_same_and_wreck(where)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 100))
    models.write_jsonl(where / "few.jsonl", models.own_answers(model, 20))
    return where


def certify(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    """Run ``certify`` in ``folder`` and return its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["certify", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


ON_OWN = ("--base", "base", "--benchmark", "own.jsonl")


@pytest.fixture
def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """A measurement of the base, made once."""
    if not (folder / "m.json").exists():
        code = certify(
            monkeypatch, folder, "measure", "base", "-b", "own.jsonl", "-o", "m.json", "--sigma", "1e-4",
            "--grid", "1e-5,1e-4,1e-3", "-n", "101",
        )  # fmt: skip
        out = capsys.readouterr().out
        assert code == 0
        assert "wrote m.json" in out
        assert "No claim is made here" in out
    return "m.json"


def same(folder: Path) -> str:
    """The point certificate of the checkpoint that changed nothing; its name has eight digits of the weights."""
    (found,) = (folder / "certs").glob("same-*.own.point.json")
    assert re.fullmatch(r"same-[0-9a-f]{8}\.own\.point\.json", found.name)
    return f"certs/{found.name}"


def test_check_exits_0_when_certified(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The required evidence certifies: exit 0, and the certificate is written where it says."""
    assert certify(monkeypatch, folder, "check", "same", *ON_OWN, "-o", "certs") == 0
    out = capsys.readouterr().out
    assert "CERTIFIED" in out
    assert f"wrote {same(folder)}" in out
    assert json.loads((folder / same(folder)).read_text())["judgement"]["verdict"] == "certified"


def test_check_exits_1_when_refuted(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """A wreck is refuted."""
    assert certify(monkeypatch, folder, "check", "wreck", *ON_OWN) == 1
    assert "REFUTED" in capsys.readouterr().out


def test_check_exits_3_when_undecided(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """Distance evidence about a far checkpoint is undecided and vacuous."""
    arguments = ("check", "wreck", *ON_OWN, "--measurement", measured, "--require", "distance")
    assert certify(monkeypatch, folder, *arguments) == 3
    out = capsys.readouterr().out
    assert "UNDECIDED" in out
    assert "vacuous" in out


def test_undecided_says_how_many_items_would_decide(folder, monkeypatch, capsys, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """On the command line as in pytest; what is decided needs no more."""
    assert certify(monkeypatch, folder, "check", "wreck", *ON_OWN, "-o", str(tmp_path)) == 1
    assert "decide nine times in ten if these rates are right" not in capsys.readouterr().out
    (record,) = tmp_path.glob("wreck*.json")
    lost = json.loads(record.read_text())["judgement"]["value"]
    assert certify(monkeypatch, folder, "check", "wreck", *ON_OWN, "--max-drop", f"{lost - 0.03}") == 3
    assert "items decide nine times in ten if these rates are right" in " ".join(capsys.readouterr().out.split())


def test_informational_evidence_never_turns_the_code_red(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """Only required evidence sets the exit code; the rest is shown and marked."""
    arguments = ("check", "same", *ON_OWN, "--measurement", measured, "--also", "distance")
    assert certify(monkeypatch, folder, *arguments) == 0
    assert "for information" in capsys.readouterr().out.replace("\n", " ")


def test_the_worst_required_verdict_wins() -> None:
    """In the order 4, 1, 3, 0."""
    assert worst([Exit.CERTIFIED, Exit.UNDECIDED]) == 3
    assert worst([Exit.UNDECIDED, Exit.REFUTED]) == 1
    assert worst([Exit.REFUTED, Exit.CONTRADICTION]) == 4
    assert worst([Exit.CERTIFIED]) == 0


def test_verify_says_valid_or_names_the_difference(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Exit 0 for what recomputes, 4 with the first thing that differs for what does not."""
    certify(monkeypatch, folder, "check", "same", *ON_OWN, "-o", "certs")
    path = folder / same(folder)
    assert certify(monkeypatch, folder, "verify", str(path)) == 0
    value = json.loads(path.read_text())
    value["judgement"]["upper"] = 0.001
    (folder / "forged.json").write_text(json.dumps(value))
    capsys.readouterr()
    assert certify(monkeypatch, folder, "verify", "forged.json") == 4
    assert "judgement.upper: recorded 0.001, recomputed" in capsys.readouterr().out


def test_verify_hashes_what_it_is_given(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Named files are hashed: the right ones pass, another checkpoint is a contradiction."""
    certify(monkeypatch, folder, "check", "same", *ON_OWN, "-o", "certs")
    file = ("verify", same(folder), *ON_OWN)
    assert certify(monkeypatch, folder, *file, "--checkpoint", "same") == 0
    capsys.readouterr()
    assert certify(monkeypatch, folder, *file, "--checkpoint", "wreck") == 4
    assert "checkpoint: wreck is not what was measured" in capsys.readouterr().out


def test_verify_draws_again_what_it_is_asked_to(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """With the weights at hand, stored draws are drawn again; invented scores with fitting digests are found."""
    files = ("--base", "base", "--benchmark", "own.jsonl", "--replay", "3")
    assert certify(monkeypatch, folder, "verify", measured, *files) == 0
    assert "Repeated at the base, with the same scores: every item without noise, 3 of " in capsys.readouterr().out
    value = json.loads((folder / measured).read_text())
    value["draws"][0]["draws"]["scores"] = [0.5] * 101
    del value["digest"]
    (folder / "invented.json").write_text(json.dumps({**value, "digest": digest(value)}))
    assert certify(monkeypatch, folder, "verify", "invented.json") == 0  # nothing in the file contradicts it
    assert certify(monkeypatch, folder, "verify", "invented.json", *files) == 4
    assert "replay: draws.0, draw 0: recorded 0.5, drawn again " in capsys.readouterr().out
    assert certify(monkeypatch, folder, "verify", measured, "--replay", "3") == 2


def test_show_says_it_in_words(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """Claim, bounds, limits and identities of a certificate; counts of a measurement."""
    certify(monkeypatch, folder, "check", "same", *ON_OWN, "-o", "certs")
    capsys.readouterr()
    assert certify(monkeypatch, folder, "show", same(folder), measured) == 0
    out = capsys.readouterr().out
    assert "claim: With 95 % confidence over the items" in out
    assert "not covered: The items are taken to be an independent sample" in out
    assert "MEASUREMENT of base" in out


BAD = {
    "no checkpoint": (("check", "gone", *ON_OWN), "gone: no such folder"),
    "no benchmark": (("check", "same", "--base", "base", "-b", "gone.jsonl"), "gone.jsonl: no such file"),
    "confidence": (("check", "same", *ON_OWN, "--confidence", "95"), "confidence must lie strictly between 0 and 1"),
    "both limits": (
        ("check", "same", *ON_OWN, "--max-drop", "0.1", "--min-retention", "0.9"),
        "not max_drop and min_retention",
    ),
    "kind": (("check", "same", *ON_OWN, "--require", "vibes"), "unknown evidence vibes; choose from distance"),
    "no measurement": (("check", "same", *ON_OWN, "--require", "distance"), "run `certify measure`"),
    "too few items": (("check", "same", "--base", "base", "-b", "few.jsonl"), "with 20 items: 59 are needed"),
    "too few draws": (
        ("measure", "base", "-b", "own.jsonl", "-o", "x.json", "--sigma", "1e-4", "-n", "20"),
        "with 20 draws: 101 are needed",
    ),
    "sigma": (("measure", "base", "-b", "own.jsonl", "-o", "x.json", "--sigma", "-1"), "sigma must be positive"),
    "sigma text": (("measure", "base", "-b", "own.jsonl", "-o", "x.json", "--sigma", "big"), "'big' is not a number"),
    "grid": (
        ("measure", "base", "-b", "own.jsonl", "-o", "x.json", "--sigma", "1e-4", "--grid", "2,1"),
        "must hold at least one value and ascend, got [2.0, 1.0]",
    ),
    "pattern": (
        ("measure", "base", "-b", "own.jsonl", "-o", "x.json", "--sigma", "*.mpl=1e-4", "--grid", "1"),
        "sigma pattern '*.mpl' matches no tensor",
    ),
    "usage": (("check", "same"), "Missing option"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(folder, monkeypatch, capsys, name: str) -> None:  # type: ignore[no-untyped-def]
    """What, where, which value, which rule; exit 2; no traceback; nothing written."""
    arguments, message = BAD[name]
    assert certify(monkeypatch, folder, *arguments) == 2
    streams = capsys.readouterr()
    assert message in " ".join(streams.err.split())
    assert "Traceback" not in streams.err
    if name != "usage":
        assert streams.err.startswith("certify: error: ")
        assert streams.err.count("\n") == 1
    assert not (folder / "x.json").exists()


def test_a_measurement_of_another_base_is_a_contradiction(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """A measurement cannot be used for weights it was not made with: exit 4."""
    arguments = ("check", "same", "--base", "wreck", "-b", "own.jsonl", "--require", "distance")
    assert certify(monkeypatch, folder, *arguments, "--measurement", measured) == 4
    assert "the measurement is of another base" in capsys.readouterr().err


def test_an_undeclared_confidence_is_refused(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """Distance claims are made at the confidence that was declared before the draws."""
    arguments = ("check", "same", *ON_OWN, "--require", "distance", "--measurement", measured, "--confidence", "0.8")
    assert certify(monkeypatch, folder, *arguments) == 2
    assert "declared confidence 0.95 before its draws" in capsys.readouterr().err


def test_an_existing_measurement_is_not_overwritten(folder, monkeypatch, capsys, measured) -> None:  # type: ignore[no-untyped-def]
    """A measurement costs time; it is replaced only when asked."""
    before = (folder / measured).read_bytes()
    assert certify(monkeypatch, folder, "measure", "base", "-b", "own.jsonl", "-o", measured) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert (folder / measured).read_bytes() == before


def test_a_pilot_chooses_sigma_when_none_is_given(folder, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Without --sigma the pilot finds one, and the grid lies around it."""
    arguments = ("measure", "base", "-b", "own.jsonl", "-o", "pilot.json", "-n", "101")
    assert certify(monkeypatch, folder, *arguments) == 0
    value = json.loads((folder / "pilot.json").read_text())
    sigmas = [level["sigma"] for level in value["basin"]["levels"]]
    assert sigmas == sorted(sigmas)
    assert value["basin"]["grid"] == "pilot"
    assert sigmas[3] in value["draws"][0]["law"]["sigma"].values()


def test_the_module_runs_as_a_program() -> None:
    """``python -m certify --help`` lists the verbs, and imports no torch for it."""
    script = (
        "import sys, runpy; sys.argv = ['certify', '--help']\ntry: runpy.run_module('certify', run_name='__main__')\n"
    )
    script += "finally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in ("demo", "measure", "check", "verify", "show"):
        assert verb in done.stdout
