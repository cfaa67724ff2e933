"""``certify landscape``: files, words and exit codes."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
from typer.testing import CliRunner, Result

from certify.cli.app import app
from certify.errors import BenchmarkError, InvalidInput, InvalidPlan
from certify.landscape import read_landscape


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a checkpoint near it, and a benchmark that the base gets right."""
    where = tmp_path_factory.mktemp("landscape")
    model = models.llama()
    models.save_folder(where / "base", model)
    models.variant(where / "base", where / "tuned", lambda t: t["model.norm.weight"].add_(0.3))
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 20))
    return where


def landscape(folder: Path, *arguments: str) -> Result:
    """Run the command at a small size in ``folder``."""
    sizes = {"--directions": "2", "--points": "3", "--refine": "1", "--side": "2", "--span": "0.2", "--steps": "3"}
    sizes["--restarts"] = "1"
    small = [word for pair in sizes.items() if pair[0] not in arguments for word in pair]
    command = ("landscape", str(folder / "base"), "-b", str(folder / "own.jsonl"), *small, *arguments)
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_it_writes_the_record_and_its_figures_and_says_what_it_found(folder: Path, tmp_path: Path) -> None:
    """By default: most, sft and worst, exit 0, and the limits in words."""
    done = landscape(folder, "-c", str(folder / "tuned"), "-o", str(tmp_path / "out"))
    assert done.exit_code == 0
    record = read_landscape(tmp_path / "out" / "landscape.json")
    assert [s.case for s in record.slices] == ["most", "sft", "worst"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {f"{name}.{kind}" for name in ("most-case", "sft-case", "worst-case") for kind in ("svg", "png")}
    assert names == {"landscape.json", *figures}
    for words in ("explores and proves nothing", "tuned", "mean score", f"wrote {tmp_path / 'out'}"):
        assert words in done.output


def test_show_says_it_again(folder: Path, tmp_path: Path) -> None:
    """From the file alone."""
    first = landscape(folder, "--cases", "most", "-o", str(tmp_path))
    again = CliRunner().invoke(app, ["show", str(tmp_path / "landscape.json")], catch_exceptions=False)
    assert again.exit_code == 0
    assert first.stdout.startswith(again.stdout)


def test_several_skills_are_looked_at_along_the_same_directions(folder: Path, tmp_path: Path) -> None:
    """Each in a folder of its own, over one axis, and all of them in one figure; a benchmark twice is refused."""
    lines = (folder / "own.jsonl").read_text().splitlines(keepends=True)
    (folder / "half.jsonl").write_text("".join(lines[:10]))
    half = ("-b", str(folder / "half.jsonl"))
    done = landscape(folder, *half, "--cases", "most", "-o", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"own", "half", "skills.svg", "skills.png"}
    own, of_half = (read_landscape(tmp_path / "out" / name / "landscape.json") for name in ("own", "half"))
    directions = [[curve.direction for curve in each.slices[0].curves] for each in (own, of_half)]
    assert directions[0] == directions[1]
    assert own.slices[0].planned == of_half.slices[0].planned
    alone = landscape(folder, "--cases", "most", "-o", str(tmp_path / "alone"))
    assert alone.exit_code == 0
    other = read_landscape(tmp_path / "alone" / "landscape.json").slices[0].curves[0].direction
    assert other != directions[0][0]  # the seed of all skills is that of none
    with pytest.raises(BenchmarkError, match="own is in it twice"):
        landscape(folder, "-b", str(folder / "own.jsonl"), "-o", str(tmp_path / "no"))


def test_cases_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    """Planes along random directions and filter-normalised slices on request."""
    done = landscape(folder, "--cases", "plane,filter", "-o", str(tmp_path))
    assert done.exit_code == 0
    record = read_landscape(tmp_path / "landscape.json")
    assert [s.case for s in record.slices] == ["filter"]
    assert [plane.kind for plane in record.planes] == ["random"]


def test_the_user_seed_and_the_radii_are_passed_on(folder: Path, tmp_path: Path) -> None:
    done = landscape(folder, "--cases", "worst", "--attack-at", "0.05, 0.1", "--seed", "7", "-o", str(tmp_path))
    assert done.exit_code == 0
    slices = read_landscape(tmp_path / "landscape.json").slices
    found = [s.curves[0].direction for s in slices]
    assert [round(d.radius, 4) for d in found] == [0.05, 0.1]  # type: ignore[union-attr]
    assert {d.seed.user_seed for d in found} == {7}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        (("--cases", "best"), InvalidInput, "must be some of"),
        (("--cases", "sft"), InvalidInput, "at least one checkpoint"),
        (("--points", "4"), InvalidInput, "odd"),
        (("--max-drop", "2"), InvalidInput, "tau = 2.0"),
        (("--attack-at", "near"), InvalidInput, "'near' is not a number"),
        (("--cases", "plane", "-c", "tuned"), InvalidInput, "two checkpoints"),
    ],
)
def test_bad_requests_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...],
    error: type[InvalidInput | InvalidPlan], problem: str,
) -> None:  # fmt: skip
    """One clear error, and nothing is written."""
    monkeypatch.chdir(folder)
    with pytest.raises(error, match=problem):
        landscape(folder, *arguments, "-o", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_second_run_finds_its_points_done(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the base is looked at again; the record is the same to the byte."""
    from certify.landscape.terrain import Terrain

    kept = ("--cases", "most,worst", "--draws-dir", str(tmp_path / "draws"))
    assert landscape(folder, *kept, "-o", str(tmp_path / "one")).exit_code == 0
    look, calls = Terrain.look, []
    monkeypatch.setattr(Terrain, "look", lambda self, model: calls.append(1) or look(self, model))
    assert landscape(folder, *kept, "-o", str(tmp_path / "two")).exit_code == 0
    assert len(calls) == 2  # once for each slice
    one, two = ((tmp_path / name / "landscape.json").read_bytes() for name in ("one", "two"))
    assert one == two
