"""``certify check --scores BASE --scores-of CHECKPOINT``: no model, no torch, a record like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from certify.__main__ import main

LOGS = Path(__file__).parents[1] / "logs" / "of_lm_eval"


def certify(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    """Run a command and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["certify", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def scores(checkpoint: str, *more: object) -> list[object]:
    return ["check", "--scores", LOGS / "base", "--scores-of", LOGS / checkpoint, "--metric", "acc", *more]


def test_judged_written_verified_and_shown(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The record goes through every command; with its logs beside it, their bytes are held against it."""
    assert certify(monkeypatch, *scores("benign", "--max-drop", "0.06", "-o", tmp_path)) == 0
    (file,) = tmp_path.glob("*.json")
    assert file.name.startswith("benign-")
    (base,), (tuned,) = ((LOGS / name).glob("samples_*") for name in ("base", "benign"))
    assert certify(monkeypatch, "verify", file, "--base", base, "--checkpoint", tuned) == 0
    assert certify(monkeypatch, "verify", file, "--checkpoint", base) == 4
    assert certify(monkeypatch, "verify", file, "--replay", 3, "--base", base, "--benchmark", base) == 2
    assert "nothing can be replayed" in capsys.readouterr().err

    assert certify(monkeypatch, "report", file) is None
    assert certify(monkeypatch, "show", file) is None
    shown = capsys.readouterr().out
    assert "brought, by lm-eval 0.4.13" in shown


def test_codes_agree_with_verdicts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Refuted and undecided, on a population and on exactly these items."""
    assert certify(monkeypatch, *scores("full", "--max-drop", "0.03", "--items", "fixed")) == 1
    assert certify(monkeypatch, *scores("full")) == 3
    assert certify(monkeypatch, *scores("benign", "--min-retention", "0.5")) == 0


def test_several_checkpoints_are_judged_in_one_command(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """A record and an answer each, and Holm over all; the worst verdict is the exit code."""
    both = scores("benign", "--scores-of", LOGS / "full", "-o", tmp_path)
    assert certify(monkeypatch, *both, "--max-drop", "0.2") == 0
    out = capsys.readouterr().out
    assert {file.name.partition("-")[0] for file in tmp_path.glob("*.json")} == {"benign", "full"}
    assert all(text in out for text in ("benign: Release.", "full: Release.", "Holm over 2 gates at 0.05: 2"))
    assert certify(monkeypatch, *both, "--max-drop", "0.03", "--items", "fixed") == 1
    assert certify(monkeypatch, *scores("benign", "--scores-of", f"{LOGS / 'benign'}/")) == 2
    assert "these scores are named twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(["--scores", "x.csv"], "come in pairs"),
     (["--scores", "x.csv", "--scores-of", "y.csv", "--base", "b"], "--base: scores made elsewhere"),
     (["--scores", "x.csv", "--scores-of", "y.csv", "--require", "position"], "--require position: scores made"),
     (["--metric", "acc"], "come in pairs"),
     (["model"], "Missing option --base, --benchmark (or --scores"),
     (["--scores", "x.csv", "--scores-of", "y.csv"], "x.csv: no such file")],
)  # fmt: skip
def test_what_does_not_fit_together_is_said(monkeypatch, capsys, arguments: list[str], problem: str) -> None:  # type: ignore[no-untyped-def]
    """One line, exit 2."""
    assert certify(monkeypatch, "check", *arguments) == 2
    err = capsys.readouterr().err
    assert problem in err
    assert err.count("\n") == 1


def test_no_torch_is_loaded() -> None:
    """A machine that has the logs and no model judges them in a second."""
    code = (
        "import sys\nfrom certify.__main__ import main\n"
        f"sys.argv = {['certify', *map(str, scores('benign'))]!r}\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'transformers', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
