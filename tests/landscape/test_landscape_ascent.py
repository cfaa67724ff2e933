"""The attack: it finds the worst direction where that is known, and is never more than an attack."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import hills
import models
import pytest
import torch

from certify.demo import DATA
from certify.errors import CertifyWarning, InvalidInput, InvalidPlan
from certify.landscape import ascent
from certify.landscape.ascent import worst_case
from certify.landscape.directions import along, gaussian, norm_of
from certify.landscape.grid import even
from certify.landscape.record import attack_succeeded
from certify.landscape.slices import slice_along
from certify.landscape.surrogate import Gradient, _RightAnswers, gradient_of, loss_of, surrogate_of
from certify.landscape.terrain import Terrain
from certify.measuring import Base, Run
from certify.noise.walk import Normals, Walk


class TestKnownWorstCase:
    """Loss (1/2) x'Hx: at radius a the worst direction is the stiffest, with loss (1/2) h a^2 d."""

    RADIUS = 0.2
    TRUTH = 0.5 * hills.STIFF * (RADIUS * hills.ROOT) ** 2

    def test_the_ascent_finds_it(self) -> None:
        terrain = hills.bowl()
        record, vector = worst_case(terrain, self.RADIUS, steps=60, restarts=1)
        assert record.ascents[0].best == pytest.approx(self.TRUTH, rel=0.02)
        assert float(vector["u"][:3].norm()) == pytest.approx(hills.ROOT, rel=0.02)

    def test_a_random_direction_has_an_average_loss(self) -> None:
        """The start of every ascent: mean curvature instead of the largest."""
        record, _ = worst_case(hills.bowl(), self.RADIUS, steps=1, restarts=3)
        mean = self.TRUTH / hills.STIFF * (1 + 3 * (hills.STIFF - 1) / 4096)
        assert [a.start for a in record.ascents] == pytest.approx([mean] * 3, rel=0.1)

    def test_the_direction_has_norm_root_d(self) -> None:
        _, vector = worst_case(hills.bowl(), self.RADIUS, steps=5, restarts=1)
        assert norm_of(vector) == pytest.approx(hills.ROOT, rel=1e-6)

    def test_walking_blindly_finds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The broken sibling: sixty steps along gradients that are noise stay far below."""
        generator = torch.Generator().manual_seed(2)

        def blind(*arguments: Any) -> tuple[float, Gradient]:
            loss, gradient = gradient_of(*arguments)
            return loss, {name: torch.randn(g.shape, generator=generator) for name, g in gradient.items()}

        monkeypatch.setattr(ascent, "gradient_of", blind)
        record, _ = worst_case(hills.bowl(), self.RADIUS, steps=60, restarts=1)
        assert record.ascents[0].best < 0.2 * self.TRUTH  # type: ignore[operator]

    def test_the_best_restart_is_kept(self) -> None:
        """The slice along the direction has the record's loss at the radius."""
        terrain = hills.bowl()
        record, vector = worst_case(terrain, 0.25, steps=3, restarts=4)
        found = slice_along(terrain, along(terrain, [(record, vector)], "worst"), even(0.5, 5, outward=True), refine=0)
        assert len({a.best for a in record.ascents}) == 4
        assert found.nll[0][found.a.index(0.25)] == pytest.approx(max(a.best or 0 for a in record.ascents))

    def test_a_flat_score_survives_the_attack_which_says_so(self) -> None:
        """The surrogate rises, the score does not fall: the attack failed."""
        terrain = hills.bowl()
        object.__setattr__(terrain.scorer, "_score", lambda x: 1.0)
        record, vector = worst_case(terrain, 0.25, steps=3, restarts=1)
        found = slice_along(terrain, along(terrain, [(record, vector)], "worst"), even(0.5, 5, outward=True), refine=0)
        assert not attack_succeeded(found, 0.05)

    def test_the_model_is_put_back_after_an_interrupt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        terrain = hills.bowl(torch.float32)
        before = hills.bits(terrain.model)
        calls = []

        def interrupted(*arguments: Any) -> tuple[float, Gradient]:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return gradient_of(*arguments)

        monkeypatch.setattr(ascent, "gradient_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worst_case(terrain, 0.1, steps=5, restarts=1)
        assert hills.bits(terrain.model) == before
        assert not any(p.requires_grad for p in terrain.model.parameters())

    def test_an_overflow_ends_the_ascent_with_what_was_found(self) -> None:
        """Where the loss is no number any more, the best direction with a number stays."""
        bowl = hills.bowl()
        steep = hills.Loss(lambda x: torch.exp(100.0 * (x[:3] @ x[:3])))  # exp(4096) once the ascent has turned
        terrain = Terrain(bowl.model, bowl.scorer, steep, bowl.seed)
        record, vector = worst_case(terrain, 0.1, steps=30, restarts=1)
        start, best = record.ascents[0].start, record.ascents[0].best
        assert start is not None
        assert best is not None
        assert start <= best < math.inf
        assert norm_of(vector) == pytest.approx(hills.ROOT, rel=1e-6)

    def test_a_loss_that_is_never_a_number_leaves_the_start(self) -> None:
        bowl = hills.bowl()
        terrain = Terrain(bowl.model, bowl.scorer, hills.Loss(lambda x: x.sum() * math.nan), bowl.seed)
        record, vector = worst_case(terrain, 0.1, steps=3, restarts=2)
        assert [(a.start, a.best) for a in record.ascents] == [(None, None)] * 2
        assert norm_of(vector) == pytest.approx(hills.ROOT, rel=1e-6)

    def test_a_finished_restart_is_not_walked_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = Run(ledgers=tmp_path)
        first = worst_case(hills.bowl(), 0.1, steps=4, restarts=2, run=run)
        monkeypatch.setattr(ascent, "gradient_of", lambda *_: pytest.fail("walked again"))
        again = worst_case(hills.bowl(), 0.1, steps=4, restarts=2, run=run)
        assert again[0] == first[0]
        assert all(torch.equal(again[1][name], z) for name, z in first[1].items())

    def test_a_damaged_file_is_named_and_walked_again(self, tmp_path: Path) -> None:
        """Half a file, or one bit anywhere (every eighth byte is tried): found, said, and the same in the end."""
        run = Run(ledgers=tmp_path)
        first = worst_case(hills.bowl(), 0.1, steps=2, restarts=1, run=run)
        (file,) = tmp_path.glob("ascent.*")
        whole = file.read_bytes()
        damaged = [whole[:100], b""]
        for at in range(0, len(whole), 8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << (at // 8 % 8)
            damaged.append(bytes(flipped))
        for content in damaged:
            file.write_bytes(content)
            with pytest.warns(CertifyWarning, match=r"damaged: this ascent is walked again"):
                again = worst_case(hills.bowl(), 0.1, steps=2, restarts=1, run=run)
            assert again[0] == first[0]
            assert file.read_bytes() == whole

    @pytest.mark.parametrize(("radius", "steps", "restarts"), [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)])
    def test_bad_numbers_are_refused(self, radius: float, steps: int, restarts: int) -> None:
        with pytest.raises(InvalidInput):
            worst_case(hills.bowl(), radius, steps=steps, restarts=restarts)

    def test_without_a_gradient_there_is_no_worst_case(self) -> None:
        with pytest.raises(InvalidPlan, match="loss with a gradient"):
            worst_case(hills.half_space(1.0), 0.1)


class TestRightAnswers:
    """The surrogate is the likelihood that the items' right answers have, one by one."""

    @pytest.fixture(params=["choice", "exact"])
    def base(self, request: pytest.FixtureRequest, tmp_path: Path) -> Base:
        folder = models.save_folder(tmp_path / "base", models.llama())
        items: list[dict[str, object]] = [
            {"prompt": "1+2", "choices": ["=3", "=a1b", "c"], "answer": 2},
            {"prompt": "abcab", "choices": ["1", "23 4"], "answer": 1},
            {"prompt": "1", "choices": ["1", "9"], "answer": 0},
        ]
        if request.param == "exact":
            items = [{"prompt": "1+2", "target": "=3ab"}, {"prompt": "abcab", "target": "c"}]
        return Base.open(folder, models.write_jsonl(tmp_path / "items.jsonl", items))

    @staticmethod
    def right(base: Base) -> list[tuple[str, str]]:
        """Prompt and right answer of each item, from the benchmark itself."""
        return [(i.prompt, i.choices[i.answer] if hasattr(i, "choices") else i.target) for i in base.benchmark.items]  # type: ignore[attr-defined]

    def one_by_one(self, base: Base) -> float:
        """Each answer alone, token by token, without batches or padding."""
        tokenizer, losses = models.tokenizer(), []
        for prompt, answer in self.right(base):
            prefix, ids = tokenizer(prompt)["input_ids"], tokenizer(prompt + answer)["input_ids"]
            with torch.inference_mode():
                logits = base.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            losses.append(-sum(float(logits[p - 1, ids[p]]) for p in range(len(prefix), len(ids))))
        return math.fsum(losses) / len(losses)

    def test_it_is_the_mean_over_right_answers(self, base: Base) -> None:
        surrogate = surrogate_of(base.benchmark, base.scorer)
        assert surrogate is not None
        assert loss_of(surrogate, base.model) == pytest.approx(self.one_by_one(base), rel=1e-5)

    def test_batches_do_not_matter(self, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("certify.landscape.surrogate.TOKENS_PER_BATCH", 8)
        surrogate = surrogate_of(base.benchmark, base.scorer)
        assert surrogate is not None
        assert len(list(surrogate.parts(base.model))) > 1
        assert loss_of(surrogate, base.model) == pytest.approx(self.one_by_one(base), rel=1e-5)

    def test_the_gradient_is_that_of_differences(self, base: Base) -> None:
        """Along a random direction, in float64; the model's flags stay as they were."""
        model = base.model.double()
        surrogate = surrogate_of(base.benchmark, base.scorer)
        assert isinstance(surrogate, _RightAnswers)
        _, gradient = gradient_of(surrogate, model)
        assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
        generator, h = torch.Generator().manual_seed(1), 1e-3
        v = {name: torch.randn(p.shape, generator=generator).double() for name, p in model.named_parameters()}
        ends = []
        for sign in (1, -1):
            for name, p in model.named_parameters():
                p.data.add_(sign * h * v[name] * (1 if sign == 1 else 2))
            ends.append(loss_of(surrogate, model))
        slope = (ends[0] - ends[1]) / (2 * h)  # type: ignore[operator]
        assert slope == pytest.approx(sum(float((gradient[n] * v[n]).sum()) for n in v), rel=1e-2)

    def test_generated_answers_have_no_surrogate(self, base: Base, tmp_path: Path) -> None:
        path = models.write_jsonl(tmp_path / "written.jsonl", [{"prompt": "1+2", "target": "3"}])
        path.with_suffix(".toml").write_text("[generation]\nmax_new_tokens = 2\n")
        written = Base.open(base.checkpoint.path, path)
        assert surrogate_of(written.benchmark, written.scorer) is None


def demo_terrain() -> Terrain:
    return Terrain.of(Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl"))


def compared(terrain: Terrain, radius: float, count: int) -> tuple[list[float], list[float]]:
    """Losses and scores at ``count`` random directions, each scaled to norm sqrt(d) as the attack's is."""
    root, sights = math.sqrt(terrain.dimension), []
    with Walk(terrain.model, Normals(terrain.sizes, terrain.seed.integer, "landscape/compared")) as walk:
        for i in range(count):
            length = norm_of(gaussian(terrain, "landscape/compared", i))
            sights.append(terrain.look(walk.at((i, radius * root / length))))
    return [math.inf if s.nll is None else s.nll for s in sights], [s.score for s in sights]


def test_eight_steps_beat_ten_random_directions_on_the_demo() -> None:
    """At a distance where random directions lose next to nothing."""
    terrain = demo_terrain()
    record, _ = worst_case(terrain, 0.03, steps=8, restarts=1)
    assert record.ascents[0].best > 100 * max(compared(terrain, 0.03, 10)[0])  # type: ignore[operator]
