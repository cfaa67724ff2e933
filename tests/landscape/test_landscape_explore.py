"""The whole survey, on small real models: one record, its figures, its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import models
import pytest
import torch
from rich.console import Console

from certify.checkpoints import open_checkpoint
from certify.errors import CheckpointError, InvalidInput, InvalidPlan
from certify.landscape import Landscape, Settings, Survey, Terrain, explore, read_landscape
from certify.landscape.record import SftCase, WorstCase
from certify.measuring import Base, PlannedDraws, Run, measure_base
from certify.measuring.candidate import Candidate
from certify.report.figures import _mean_score, save
from certify.report.landscape_figures import landscape_figures
from certify.report.landscape_table import landscape_table

SETTINGS = Settings(directions=2, points=5, refine=2, span=0.2, side=3, steps=4, restarts=2, attack_at=(0.04, 0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two checkpoints and a benchmark that the base gets right."""
    where = tmp_path_factory.mktemp("explore")
    model = models.llama()
    base = models.save_folder(where / "base", model)
    models.variant(base, where / "near", lambda t: t["model.norm.weight"].add_(0.5))
    models.variant(base, where / "far", lambda t: t["model.embed_tokens.weight"].mul_(-2.0))
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 20))
    return where


@pytest.fixture(scope="module")
def base(folder: Path) -> Base:
    return Base.open(folder / "base", folder / "own.jsonl")


@pytest.fixture(scope="module")
def landscape(folder: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    """Everything at once."""
    before = {name: p.clone() for name, p in base.model.named_parameters()}
    assert Survey(Terrain.of(base), SETTINGS).plane().kind == "random"
    found = explore(
        base,
        checkpoints=[folder / "near", folder / "far"],
        cases=("plane", "filter", "worst", "sft", "most"),
        settings=SETTINGS,
        run=Run(ledgers=tmp_path_factory.mktemp("ledgers")),
    )
    assert all(torch.equal(before[name], p) for name, p in base.model.named_parameters())
    return found


def test_the_record_holds_every_case(landscape: Landscape, base: Base, folder: Path) -> None:
    """In a fixed order, with identities, the surrogate's name and the allowed drop."""
    assert [s.case for s in landscape.slices] == ["most", "sft", "sft", "worst", "worst", "filter"]
    assert [len(s.curves) for s in landscape.slices] == [2, 1, 1, 1, 1, 2]
    assert [plane.kind for plane in landscape.planes] == ["checkpoints"]
    assert landscape.base == base.checkpoint.identity
    assert "negative log-likelihood" in str(landscape.surrogate)
    assert landscape.tau == 0.05


def test_the_base_is_on_every_slice(landscape: Landscape, base: Base) -> None:
    """And it is one and the same."""
    assert {s.base for s in landscape.slices} == {landscape.slices[0].base}
    assert landscape.slices[0].base.score == 1.0


def test_each_checkpoint_scores_at_alpha_star_what_it_scores(landscape: Landscape, folder: Path) -> None:
    """Its own weights, loaded from its own folder, give the same score and likelihood."""
    for found, name in zip(landscape.of_case("sft"), ("near", "far"), strict=True):
        record = found.curves[0].direction
        assert isinstance(record, SftCase)
        own = Terrain.of(Base.open(folder / name, folder / "own.jsonl"))
        assert found.curves[0].sights[found.a.index(record.alpha_star)] == own.look(own.model)


def test_position_evidence_looks_at_points_of_the_same_slice(landscape: Landscape, base: Base, folder: Path) -> None:
    """At a quarter, half, three quarters of the way and at the checkpoint: one line, one score."""
    measured = measure_base(base, planned=[PlannedDraws(base.weight_law(1e-4), 2)], grid=(1e-4,))
    evidence = Candidate(base, open_checkpoint(folder / "far")).position(measured)
    found = landscape.of_case("sft")[1]
    there = [float(found.at(p.fraction * evidence.alpha_star)[0]) for p in evidence.points]
    assert there == [_mean_score(p.scores) for p in evidence.points]
    assert len(set(there)) > 1


def test_attacks_lie_at_their_radii(landscape: Landscape) -> None:
    """To the lattice of the grid, and only outward."""
    for found, radius in zip(landscape.of_case("worst"), (0.04, 0.1), strict=True):
        record = found.curves[0].direction
        assert isinstance(record, WorstCase)
        assert record.radius == pytest.approx(radius, abs=1e-4)
        assert record.radius in found.planned
        assert found.a[0] == 0.0


def test_the_same_survey_gives_the_same_record(landscape: Landscape, base: Base, folder: Path) -> None:
    """Without any ledger, and with the cases in another order."""
    again = explore(base, checkpoints=[folder / "near"], cases=("sft", "most"), settings=SETTINGS)
    assert again.slices == (landscape.slices[0], landscape.slices[1])


def test_another_user_seed_gives_other_directions(landscape: Landscape, base: Base) -> None:
    other = explore(base, cases=("most",), user_seed=1, settings=SETTINGS)
    assert other.slices[0].curves[0].direction != landscape.slices[0].curves[0].direction
    assert other.slices[0] != landscape.slices[0]


def test_without_a_span_the_pilot_chooses_one(base: Base) -> None:
    """Five times the sigma that it finds harmless."""
    found = explore(base, cases=("most",), settings=Settings(directions=1, points=3, refine=0))
    assert found.slices[0].a[-1] > 0


def test_cases_default_to_what_is_possible(base: Base, folder: Path, tmp_path: Path) -> None:
    """Generated answers have no surrogate: the worst case is left out, and refused when asked for."""
    path = models.write_jsonl(tmp_path / "written.jsonl", [{"prompt": "1+2", "target": "3"}])
    path.with_suffix(".toml").write_text("[generation]\nmax_new_tokens = 1\n")
    written = Base.open(folder / "base", path)
    found = explore(written, settings=Settings(directions=1, points=3, refine=0, span=0.1))
    assert [s.case for s in found.slices] == ["most"]
    assert found.slices[0].base.nll is None
    assert set(landscape_figures(found)) == {"most-case"}
    with pytest.raises(InvalidPlan, match="case worst"):
        explore(written, cases=("worst",), settings=SETTINGS)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"cases": ("best",)}, "best: must be some of most, sft"),
        ({"cases": ()}, "none: must be some of"),
        ({"cases": ("sft",)}, "at least one checkpoint"),
        ({"cases": ("plane",), "checkpoints": ("near",)}, "two checkpoints, or along random directions; got 1"),
    ],
)
def test_cases_without_what_they_need_are_refused(
    base: Base, folder: Path, arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        explore(base, settings=SETTINGS, **arguments)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"attack_at": (0.5,)}, "attack_at = 0.5: must lie in the slice"),
        ({"attack_at": (-0.1,)}, "attack_at = -0.1"),
        ({"directions": 0}, "directions = 0: must be a whole number of at least 1"),
        ({"points": 4}, "points = 4: must be odd"),
        ({"span": -1.0}, "span = -1.0"),
        ({"side": 1}, "side = 1"),
        ({"steps": 0}, "steps = 0"),
        ({"restarts": 0}, "restarts = 0"),
        ({"refine": -1}, "refine = -1"),
        ({"tau": 1.5}, "tau = 1.5"),
    ],
)
def test_settings_are_checked_before_anything_is_looked_at(setting: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        replace(SETTINGS, **setting)


def test_radii_are_held_against_the_pilot_s_span(base: Base) -> None:
    """Without a span given, the radius can be judged only then; no slice was looked at."""
    with pytest.raises(InvalidInput, match="up to the span"):
        explore(base, cases=("most", "worst"), settings=replace(SETTINGS, span=None, attack_at=(1e3,)))


def test_a_checkpoint_that_is_the_base_has_no_direction(base: Base, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no direction"):
        explore(base, checkpoints=[folder / "base"], settings=SETTINGS)


def test_a_checkpoint_with_another_tokenizer_is_refused(base: Base, folder: Path, tmp_path: Path) -> None:
    other = models.variant(folder / "near", tmp_path / "other", lambda t: None)
    models.swap_tokens(other, "0", "1")
    with pytest.raises(CheckpointError, match="tokenizer differs"):
        explore(base, checkpoints=[other], settings=SETTINGS)


def test_figures_are_drawn_for_all_that_was_found(landscape: Landscape, tmp_path: Path) -> None:
    """SVG and PNG, the same input giving the same file; legends name alpha*, the attack's end, and chance."""
    figures = landscape_figures(landscape)
    assert set(figures) == {"most-case", "filter-normalised", "worst-case", "sft-case", "plane-checkpoints"}
    texts = {}
    for name, figure in figures.items():
        svg, png = save(figure, tmp_path, name)
        assert png.stat().st_size > 10_000
        texts[name] = "".join(ElementTree.parse(svg).getroot().itertext())
    assert "median of 2" in texts["most-case"]
    assert "paper's T" in texts["most-case"]
    assert "alpha*" in texts["sft-case"]
    assert "succeeded" in texts["worst-case"] or "failed" in texts["worst-case"]
    assert "near" in texts["plane-checkpoints"]
    first = (tmp_path / "plane-checkpoints.svg").read_bytes()
    save(landscape_figures(landscape)["plane-checkpoints"], tmp_path, "plane-checkpoints")
    assert (tmp_path / "plane-checkpoints.svg").read_bytes() == first


def test_chance_is_drawn_in(landscape: Landscape) -> None:
    benchmark = landscape.benchmark.model_copy(update={"chance": 0.25})
    other = landscape.model_copy(update={"benchmark": benchmark})
    figures = landscape_figures(other)
    for name in ("most-case", "filter-normalised", "sft-case", "worst-case"):
        (legend,) = figures[name].legends
        assert "chance 0.25" in [text.get_text() for text in legend.get_texts()]
    assert "chance 0.25" in figures["plane-checkpoints"].get_suptitle()


def test_the_table_says_it_in_words(landscape: Landscape) -> None:
    """Every slice and plane has its row; an attack is called one."""
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115  (the console keeps it)
    console.print(landscape_table(landscape))
    console.file.close()
    text = console.export_text()
    rows = ("2 random directions", "towards near", "towards far", "worst case found at a = 0.04", "filter-normalised")
    words = ("plane through near and far", "directions lose nothing there", "the attack", "alpha*", "mean change")
    assert [part for part in (*rows, *words) if part not in text] == []


def test_the_record_survives_its_file(landscape: Landscape, tmp_path: Path) -> None:
    assert read_landscape(landscape.to_json(tmp_path / "landscape.json")) == landscape


def test_a_slice_fits_its_checkpoint_where_nobody_gave_a_span(
    folder: Path, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times as far as one much nearer than the pilot's span; a given span stands. Told before: at most."""
    monkeypatch.setattr("certify.landscape.survey.pilot_sigma", lambda *_: 10.0)
    lines: list[str] = []

    def reach(span: float | None) -> tuple[float, float]:
        looked = Settings(directions=1, points=5, refine=0, span=span)
        found = explore(
            base, checkpoints=[folder / "near"], cases=("sft",), settings=looked, run=Run(tell=lines.append)
        )
        (curve,) = found.slices[0].curves
        assert isinstance(curve.direction, SftCase)
        return max(found.slices[0].a), curve.direction.alpha_star

    farthest, mark = reach(None)
    assert 2.9 * mark <= farthest <= 4.5 * mark < 50.0
    assert reach(50.0)[0] >= 50.0
    assert [line.partition(" m")[0] for line in lines] == ["estimate: at"] * 2
