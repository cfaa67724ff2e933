"""The budgeted fine-tune learns, stays inside and is certified, at a size that a test can afford."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from certify.cli.app import app


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The script, beside the modules that it imports."""
    examples = Path(__file__).parents[2] / "examples"
    for folder in (examples, examples / "demo_models"):
        monkeypatch.syspath_prepend(folder)
    import budgeted_finetune

    torch.set_num_threads(1)
    return budgeted_finetune


def test_it_learns_a_skill_inside_the_ball_and_the_printed_command_certifies_it(  # type: ignore[no-untyped-def]
    example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With few draws the allowed drop must be larger; on all weights nothing is learnt, or nothing is certified."""
    rows = example.study(tmp_path, example.Size(max_drop=0.2, subspace_draws=150, weight_draws=50, steps=40))
    within, vacuous, full, _ = rows.values()
    assert within.certificate.verdict == "certified"
    assert not within.certificate.judgement.vacuous
    assert within.new > 0.5
    assert within.old > 0.95
    assert vacuous.certificate.judgement.vacuous
    assert full.certificate.verdict == "certified"
    assert full.new == 0.0

    command = capsys.readouterr().out.split("certify check ")[1].replace("\\\n", "")
    assert CliRunner().invoke(app, ["check", *shlex.split(command)]).exit_code == 0


@pytest.mark.statistical
def test_the_full_example_learns_shift_within_a_drop_of_a_twentieth(  # type: ignore[no-untyped-def]
    example, tmp_path: Path
) -> None:
    """The page has its lines, and the budget is what made the difference."""
    within, vacuous, full, free = example.study(tmp_path, example.Size()).values()
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert [row.name for row in (within, vacuous, full, free) if row.line() not in page] == []
    assert within.certificate.verdict == "certified"
    assert within.new > 0.9
    assert full.new < 0.05
    assert free.certificate.verdict == "undecided"
