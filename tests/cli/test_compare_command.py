"""``certify compare``: the exit code is that of the margin that was asked for, and the claim is printed first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from point_certificates import certificate

from certify.__main__ import main

GOLDEN = Path(__file__).parent.parent / "golden" / "v1"
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``certify compare`` beside three certificates: 40, 42 and 120 of 400 items wrong."""
    for name, wrong in (("a", 40), ("b", 42), ("worse", 120)):
        certificate(wrong, str(wrong)[0]).to_json(tmp_path / f"{name}.json")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["certify", "compare", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    return run


def test_without_a_margin_it_reports_and_exits_0(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was asked for, so nothing failed, however bad the second is."""
    assert run("a.json", "worse.json") == 0
    out = capsys.readouterr().out
    assert out.startswith("With 95 % confidence over the items, the change of the score from step-4 to step-1")
    assert "80 of 400 items lost, 0 gained" in out
    assert "change of the score: -0.200, bounds" in out
    assert "change of the retention: -0.205, bounds" in out
    assert "not covered: Both checkpoints must have been made and chosen without these trials" in out
    assert "No margin was asked for" in out


@pytest.mark.parametrize(
    ("second", "margin", "code", "word"),
    [
        ("b.json", "score=-0.05", 0, "CERTIFIED"),
        ("b.json", "retention=-0.05", 0, "CERTIFIED"),
        ("worse.json", "score=-0.05", 1, "REFUTED"),
        ("worse.json", "retention=-0.05", 1, "REFUTED"),
        ("b.json", "score=0", 3, "UNDECIDED"),
    ],
)
def test_the_code_agrees_with_the_verdict(
    run: Run, capsys: pytest.CaptureFixture[str], second: str, margin: str, code: int, word: str
) -> None:
    """0 within the margin, 1 worse, 3 not decided."""
    assert run("a.json", second, "--fail-under", margin) == code
    assert capsys.readouterr().out.startswith(f"{word}  ")


def test_more_confidence_gives_wider_bounds(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """What is certified at 95 % need not be at 99.9 %."""
    assert run("a.json", "b.json", "--fail-under", "score=-0.026") == 0
    assert run("a.json", "b.json", "--fail-under", "score=-0.026", "--confidence", "0.999") == 3
    assert "99.9 % one-sided each" in capsys.readouterr().out


BAD = {
    "metric": (("a.json", "b.json", "--fail-under", "accuracy=-0.1"), 2, "expected score=MARGIN or retention=MARGIN"),
    "number": (("a.json", "b.json", "--fail-under", "score=little"), 2, "--fail-under 'score=little'"),
    "margin": (("a.json", "b.json", "--fail-under", "score=-5"), 2, "margin -5.0: must lie in [-1, 1]"),
    "confidence": (("a.json", "b.json", "--confidence", "95"), 2, "confidence must lie strictly between 0 and 1"),
    "missing": (("a.json", "gone.json"), 2, "gone.json: no such file"),
    "measurement": (
        ("a.json", str(GOLDEN / "measurement.json")),
        2,
        "is a measurement; compare needs two certificates",
    ),
    "distance": ((str(GOLDEN / "merge.addition.distance.json"),) * 2, 2, "holds no scores of the checkpoint itself"),
    "other base": (
        ("a.json", str(GOLDEN / "adversarial.addition.point.json")),
        2,
        "cannot be compared; they differ in",
    ),
    "forged": (("a.json", "forged.json"), 4, "forged.json: judgement.verdict: recorded 'certified', recomputed"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(run: Run, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """What cannot be compared is refused by name; a file that contradicts itself is a contradiction."""
    Path("forged.json").write_text(Path("worse.json").read_text().replace('"refuted"', '"certified"'))
    arguments, code, message = BAD[name]
    assert run(*arguments) == code
    streams = capsys.readouterr()
    assert message in streams.err
    assert streams.err.count("\n") == 1
    assert streams.out == ""
