"""The studies run, at a size that shows nothing but that they run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from certify.demo import DATA
from certify.landscape import Terrain
from certify.measuring import Base

SIZE = {"pretraining": 8, "fine_tuning": 4, "every": 2, "items": 60}
GRID = (0.001, 0.2)


@pytest.fixture(autouse=True)
def _study_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The studies are scripts beside each other."""
    for folder in ("demo_models", "studies"):
        monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples" / folder)


def test_the_optimizer_study_runs_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A study that was cut off goes on with the runs that are missing."""
    import optimizers
    from school import School

    school, path = School(tmp_path / "school", **SIZE), tmp_path / "optimizers.json"
    results = optimizers.study(path, school, seeds=(1,), grid=GRID)
    methods = [run["key"]["method"] for run in results["runs"]]
    assert methods == ["AdamW", "SAM", "continuous dropout", "GO"]
    for run in results["runs"]:
        assert [b["x"] for b in run["basins"]] == [2, 4, 6, 8]
        assert run["steps"] == [0, 2, 4]
        assert run["alpha_star"] > 0
    path.write_text(json.dumps({**results, "runs": results["runs"][:3]}))
    capsys.readouterr()
    again = optimizers.study(path, school, seeds=(1,), grid=GRID)
    assert capsys.readouterr().out.splitlines()[0].startswith("method GO, seed 1")
    fresh = {k: v for k, v in again["runs"][3].items() if k != "seconds"}
    assert fresh == {k: v for k, v in results["runs"][3].items() if k != "seconds"}


def test_a_study_of_another_design_is_not_mixed_in(tmp_path: Path) -> None:
    import optimizers
    from school import School

    path = tmp_path / "optimizers.json"
    path.write_text(json.dumps({"design": {"grid": [1]}, "machine": {}, "runs": []}))
    with pytest.raises(SystemExit, match="another design"):
        optimizers.study(path, School(tmp_path / "school", **SIZE), seeds=(1,), grid=GRID)


def test_the_scale_study_runs(tmp_path: Path) -> None:
    import scale
    from school import School

    school = School(tmp_path / "school", **SIZE)
    results = scale.study(tmp_path / "scale.json", school, seeds=(1,), hidden=(16, 32), grid=GRID)
    small, large = (run["parameters"] for run in results["runs"])
    assert small < large


def test_the_study_of_losses_runs(tmp_path: Path) -> None:
    """Losses over pre-training, one basin after it, and both skills by score and by likelihood."""
    import losses
    from school import School

    results = losses.study(tmp_path / "losses.json", School(tmp_path / "school", **SIZE), (1,), GRID, looks=2)
    assert [run["key"]["method"] for run in results["runs"]] == ["AdamW", "GO"]
    for run in results["runs"]:
        assert [step for step, _ in run["losses"]] == [4, 8]
        assert run["basin"]["x"] == 8
        assert len(run["old_nll"]) == len(run["new_nll"]) == len(run["steps"]) == 3


def test_an_exam_s_likelihood_is_that_of_the_product() -> None:
    """Score and nats of the demo's base, as a landscape finds them, and of choices as well as of exact answers."""
    from folders import character_tokenizer
    from skills import SKILLS
    from training import Exam

    for name in ("addition", "prose"):
        base = Base.open(DATA / "base", DATA / "benchmarks" / f"{name}.jsonl")
        sight = Terrain.of(base).look(base.model)
        found = Exam(SKILLS[name].benchmark(300, 20250516), character_tokenizer()).judged(base.model)
        assert found == pytest.approx((sight.score, sight.nll), rel=1e-4)


@pytest.mark.parametrize("method", ["AdamW", "SAM", "continuous dropout", "GO"])
def test_what_a_method_adds_is_gone_outside_its_steps(method: str) -> None:
    """Masks, ascents and noise leave the model as it was: examined weights are the trained ones."""
    from methods import METHODS

    class Units(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down_proj = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down_proj(x)

    torch.manual_seed(0)
    model, x = Units(), torch.randn(8, 4)
    before, weights = model(x), model.down_proj.weight.detach().clone()
    trained = METHODS[method](model, 1e-3, seed=1)
    with trained.training():
        trained.backward(lambda: model(x).square().mean())
    assert model.down_proj.weight.grad is not None
    assert torch.equal(model.down_proj.weight, weights)
    assert torch.equal(model(x), before)


def test_each_method_takes_another_gradient(tmp_path: Path) -> None:
    """If a method were silently plain AdamW, its gradient would be AdamW's."""
    from methods import METHODS

    def gradient(method: str) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Sequential()
        model.add_module("down_proj", torch.nn.Linear(4, 4))
        x = torch.randn(8, 4)
        trained = METHODS[method](model, 1e-3, seed=1)
        with trained.training():
            trained.backward(lambda: model(x).pow(4).mean())
        return torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None])

    plain = gradient("AdamW")
    for method in ("SAM", "continuous dropout", "GO"):
        assert not torch.allclose(gradient(method), plain, rtol=1e-3), method


def test_the_page_shows_the_kept_results(capsys: pytest.CaptureFixture[str]) -> None:
    """Every table of docs/studies.md is what the results say."""
    import tables

    tables.main()
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out.strip().split("\n\n")
    assert len(printed) == 4
    assert all(table in page for table in printed)


def test_what_the_page_says_of_losses_holds_for_every_seed() -> None:
    """GO's loss is above AdamW's at each look, and what it forgets in nats is below, whichever seeds are compared."""
    from results import RESULTS

    runs = json.loads((RESULTS / "losses.json").read_text(encoding="utf-8"))["runs"]
    plain, go = ([run for run in runs if run["key"]["method"] == method] for method in ("AdamW", "GO"))
    assert (len(plain), len(go)) == (3, 3)
    looks = list(zip(*([loss for _, loss in run["losses"]] for run in (*plain, *go)), strict=True))
    assert len(looks) == 20
    assert all(max(look[:3]) < min(look[3:]) for look in looks)
    forgotten = [[run["old_nll"][-1] for run in group] for group in (go, plain)]
    assert max(forgotten[0]) < 4.75 < 5.1 <= min(forgotten[1])
    assert round(max(forgotten[1])) == 14
    kept = [[run["old"][-1] for run in group] for group in (go, plain)]
    assert min(kept[0]) < max(kept[1])  # by score the ranges overlap
