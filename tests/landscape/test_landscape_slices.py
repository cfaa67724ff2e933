"""Slices through landscapes whose edges, widths and alpha* are known in closed form."""

from __future__ import annotations

import json
from pathlib import Path

import hills
import pytest
import torch

from certify.errors import InvalidInput
from certify.landscape.directions import MOST, along, filter_case, gaussian, inner, most_case, norm_of, sft_case
from certify.landscape.grid import even, through
from certify.landscape.record import Edge, FilterNormalised, Slice, paper_transform
from certify.landscape.slices import slice_along
from certify.landscape.terrain import Terrain
from certify.measuring import Run
from certify.noise.explicit import ExplicitEngine
from certify.noise.law import weight_noise
from certify.noise.perturbation import WeightPerturbation

TAU = 0.05


def around(edge: Edge, truth: float, widest: float) -> bool:
    """The edge brackets the truth, and tightly."""
    return edge.outside is not None and abs(edge.inside) <= abs(truth) <= abs(edge.outside) <= abs(edge.inside) + widest


class TestHalfSpace:
    """Score 1 up to a plane, then 0: along a direction v the edge lies where a v_0 reaches the plane."""

    def test_every_direction_falls_on_one_side_where_the_plane_is(self) -> None:
        """Six directions, five halvings on either side: the first direction's bracket is narrow, none is wrong."""
        terrain = hills.half_space(edge=0.4)
        found = slice_along(terrain, most_case(terrain, 6), even(1.0, 9), refine=10)
        for (left, right), v in zip(found.edges(TAU), hills.lengths(terrain, 6, MOST), strict=True):
            truth = 0.4 / float(v[0])
            near, far = (right, left) if truth > 0 else (left, right)
            assert far.outside is None
            assert around(near, truth, 0.25) if abs(truth) <= 1.0 else near.outside is None

    def test_one_direction_is_bracketed_to_the_lattice(self) -> None:
        """A lone step is halved by every refinement until the lattice is reached: ten times and no more."""
        terrain = hills.half_space(edge=0.4)
        vector = {name: torch.zeros(size, dtype=torch.float64) for name, size in hills.SIZES.items()}
        vector["u"][0] = 1.0
        _, record = hills.moved(1.0)
        found = slice_along(terrain, along(terrain, [(record, vector)], "axis"), even(1.0, 3), refine=40)
        (left, right), = found.edges(TAU)  # fmt: skip
        assert left == Edge(-1.0, None)
        assert around(right, 0.4, 1.0 / 1024)
        assert len(found.a) == 3 + 10

    def test_the_score_is_a_step(self) -> None:
        """Raw scores are 1 and 0, and T is 0 and 1."""
        terrain = hills.half_space(edge=0.4)
        found = slice_along(terrain, most_case(terrain, 3), even(2.0, 9), refine=0)
        assert set(found.scores.ravel()) == {0.0, 1.0}
        for curve in found.scores:
            transform = paper_transform(curve)
            assert transform is not None
            assert list(transform) == list(1.0 - curve)


class TestBowl:
    """Score 1 - (a |v| / (WIDTH sqrt d))^2: widths are known for every direction."""

    def test_most_case_scores_are_those_of_the_direction_s_own_length(self) -> None:
        """Directions are not normalised: each has its own length, and its score follows it."""
        terrain = hills.bowl()
        found = slice_along(terrain, most_case(terrain, 4), even(1.0, 5), refine=3)
        for curve, v in zip(found.scores, hills.lengths(terrain, 4, MOST), strict=True):
            expected = [hills.half_way(abs(a) * float(v.norm()) / hills.ROOT) for a in found.a]
            assert curve == pytest.approx(expected, abs=2e-4)  # the noise lies on a lattice of sigma / 4096

    def test_the_edge_is_where_the_score_has_fallen_by_tau(self) -> None:
        """On the way to a checkpoint: width = WIDTH sqrt(tau), on both sides."""
        terrain = hills.bowl()
        checkpoint, record = hills.moved(0.5 * hills.ROOT)
        found = slice_along(terrain, sft_case(terrain, checkpoint, record), even(1.0, 9), refine=8)
        truth = hills.WIDTH * TAU**0.5
        (left, right), = found.edges(TAU)  # fmt: skip
        assert around(left, -truth, 0.1)
        assert around(right, truth, 0.1)

    def test_the_checkpoint_lies_at_alpha_star(self) -> None:
        """alpha* = |delta| / sqrt(d) is a point of its slice, and the score there is the checkpoint's own."""
        terrain = hills.bowl()
        checkpoint, record = hills.moved(0.7 * hills.ROOT)
        assert record.alpha_star == pytest.approx(0.7, rel=1e-9)
        found = slice_along(terrain, sft_case(terrain, checkpoint, record), through(record.alpha_star, 1.0, 9))
        assert found.at(record.alpha_star)[0] == terrain.look(checkpoint).score
        assert found.at(record.alpha_star)[0] == pytest.approx(hills.half_way(0.7), abs=1e-9)

    def test_negative_a_is_looked_at_and_not_reflected(self) -> None:
        """Behind a plane the two sides differ."""
        terrain = hills.half_space(edge=0.01)
        checkpoint, record = hills.moved(0.5 * hills.ROOT)
        found = slice_along(terrain, sft_case(terrain, checkpoint, record), even(1.0, 5), refine=0)
        assert list(found.scores[0]) == [1.0, 1.0, 1.0, 0.0, 0.0]

    def test_the_area_is_the_integral(self) -> None:
        """Mean score over [-1, 1] of 1 - (a/2)^2 is 11/12, up to the trapezoids."""
        terrain = hills.bowl()
        checkpoint, record = hills.moved(hills.ROOT)
        found = slice_along(terrain, sft_case(terrain, checkpoint, record), even(1.0, 81), refine=0)
        assert found.areas()[0] == pytest.approx(11 / 12, abs=1e-4)

    def test_scaling_the_direction_scales_the_slice(self) -> None:
        """Along 4 v at a/4 lie the very points of v at a."""
        terrain = hills.bowl(torch.float32)
        _, record = hills.moved(1.0)
        v = gaussian(terrain, MOST, 0)
        longer = {name: 4.0 * z for name, z in v.items()}
        one = slice_along(terrain, along(terrain, [(record, v)], "v"), even(1.0, 9), refine=4)
        two = slice_along(terrain, along(terrain, [(record, longer)], "4 v"), even(0.25, 9), refine=4)
        assert [4.0 * a for a in two.a] == list(one.a)
        assert (two.scores == one.scores).all()
        assert (two.nll == one.nll).all()


@pytest.fixture(scope="module")
def found() -> Slice:
    """Forty directions through a half-space."""
    terrain = hills.half_space(edge=0.4)
    return slice_along(terrain, most_case(terrain, 40), even(1.0, 5), refine=2)


class TestWhatIsMeasured:
    """Spread, shares and drops over directions."""

    def test_gains_cancel_losses_in_the_one_sided_drop_only(self) -> None:
        """From a base between two steps, directions gain and lose alike."""
        terrain = hills.half_space(edge=0.0)
        object.__setattr__(terrain.scorer, "_score", lambda x: 0.5 if float(x[0]) == 0 else float(x[0] < 0))
        found = slice_along(terrain, most_case(terrain, 40), even(1.0, 3), refine=0)
        one, two = found.drop(1.0)
        assert two == 0.5
        assert abs(one) < 0.2

    def test_the_strict_share_counts_directions_that_lose_nothing(self, found: Slice) -> None:
        """Its interval is that of Clopper and Pearson over directions."""
        kept, share = found.strict_share(1.0, 0.05)
        assert kept == int((found.at(1.0) == 1.0).sum())
        assert share.lower < kept / 40 < share.upper
        assert found.drop(1.0) == (pytest.approx(1 - kept / 40), pytest.approx(1 - kept / 40))

    def test_a_share_at_a_point_placed_after_looking_is_refused(self, found: Slice) -> None:
        """Only points fixed beforehand have an interval."""
        placed = next(a for a in found.a if a not in found.planned)
        with pytest.raises(InvalidInput, match="planned a"):
            found.strict_share(placed)

    def test_points_off_the_grid_are_refused(self, found: Slice) -> None:
        with pytest.raises(InvalidInput, match="not on the slice's grid"):
            found.at(0.123)


class TestMostCaseIsTheEngine:
    """The most-case slice at a is the engine's draw under noise of sigma a, bit for bit."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
    def test_the_same_bits(self, dtype: torch.dtype) -> None:
        terrain = hills.bowl(dtype)
        for p in terrain.model.parameters():
            p.data.copy_(torch.linspace(-0.05, 0.05, p.numel()))
        kept: list[torch.Tensor] = []
        object.__setattr__(terrain.scorer, "_score", lambda x: kept.append(x.clone()) or 1.0)
        slice_along(terrain, most_case(terrain, 2), even(0.5, 3), refine=0)  # the base, then a = -0.5, 0.5 for each
        law = weight_noise(terrain.sizes, 0.5)
        with ExplicitEngine(terrain.model, WeightPerturbation(law, terrain.seed.integer, 12, MOST)) as engine:
            assert torch.equal(kept[2], hills.flat(engine.at(0)))
            assert torch.equal(kept[4], hills.flat(engine.at(1)))
            assert not torch.equal(kept[4], hills.flat(engine.at(0)))


class TestTheModelIsPutBack:
    """Same storage, same bytes, whatever happens."""

    def test_after_every_kind_of_slice(self) -> None:
        terrain = hills.bowl(torch.float32)
        before = hills.bits(terrain.model)
        checkpoint, record = hills.moved(3.0, torch.float32)
        for lines in (most_case(terrain, 2), sft_case(terrain, checkpoint, record)):
            slice_along(terrain, lines, even(1.0, 3), refine=2)
            assert hills.bits(terrain.model) == before

    def test_after_an_exception_in_the_middle(self) -> None:
        terrain = hills.bowl(torch.float32)
        before = hills.bits(terrain.model)

        def fails(x: torch.Tensor) -> float:
            if terrain.scorer.calls == 4:  # type: ignore[attr-defined]
                raise KeyboardInterrupt
            return 1.0

        object.__setattr__(terrain.scorer, "_score", fails)
        with pytest.raises(KeyboardInterrupt):
            slice_along(terrain, most_case(terrain, 2), even(1.0, 5))
        assert hills.bits(terrain.model) == before


class TestFilterNormalised:
    """Rows have the norms of the base's rows; one-dimensional tensors do not move."""

    def test_rows_have_the_base_s_norms(self) -> None:
        model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.LayerNorm(4)).requires_grad_(False)
        model[0].weight.data[2] = 0.0
        terrain = Terrain(model, hills.Rule(lambda x: 1.0), None, hills.SEED)
        lines = filter_case(terrain, 3)
        found = slice_along(terrain, lines, even(1.0, 3), refine=0)
        assert (found.scores == 1.0).all()
        for record in lines.directions:
            assert isinstance(record, FilterNormalised)
            assert record.norm == pytest.approx(float(model[0].weight.norm()), rel=1e-6)
        seen: list[torch.Tensor] = []
        object.__setattr__(terrain.scorer, "_score", lambda x: seen.append(x.clone()) or 1.0)
        slice_along(terrain, lines, even(1.0, 3), refine=0)
        shift = (seen[2] - seen[0]).reshape(-1)[:24].view(4, 6)
        assert shift.norm(dim=1) == pytest.approx(model[0].weight.double().norm(dim=1), rel=1e-5)
        assert torch.equal(seen[2][24:], seen[0][24:])

    def test_gaussian_directions_have_norm_about_root_d(self) -> None:
        """|z|^2 is chi-squared with d = 4096 degrees of freedom: 5.33 standard deviations are 0.118 of d."""
        terrain = hills.bowl(torch.float32)
        for i in range(5):
            v = gaussian(terrain, MOST, i)
            assert abs(inner(v, v) / 4096 - 1) < 5.33 * (2 / 4096) ** 0.5
            assert norm_of(v) != pytest.approx(hills.ROOT, rel=1e-6)  # not normalised

    def test_a_model_without_matrices_is_refused(self) -> None:
        terrain = hills.bowl()
        with pytest.raises(InvalidInput, match="two or more dimensions"):
            filter_case(terrain, 1)


class TestResuming:
    """Finished points are kept, so a killed run goes on where it was."""

    def test_a_killed_run_looks_at_no_point_twice(self, tmp_path: Path) -> None:
        whole = hills.bowl()
        expected = slice_along(whole, most_case(whole, 3), even(1.0, 7), refine=4)
        all_calls = whole.scorer.calls  # type: ignore[attr-defined]

        terrain = hills.bowl()
        rule = terrain.scorer._score  # type: ignore[attr-defined]

        def killed(x: torch.Tensor) -> float:
            if terrain.scorer.calls == 8:  # type: ignore[attr-defined]
                raise KeyboardInterrupt
            return float(rule(x))

        object.__setattr__(terrain.scorer, "_score", killed)
        with pytest.raises(KeyboardInterrupt):
            slice_along(terrain, most_case(terrain, 3), even(1.0, 7), refine=4, run=Run(ledgers=tmp_path))
        again = hills.bowl()
        found = slice_along(again, most_case(again, 3), even(1.0, 7), refine=4, run=Run(ledgers=tmp_path))
        assert found == expected
        assert 1 + again.scorer.calls + 6 == all_calls + 1  # type: ignore[attr-defined]  # 6 kept; the base is looked at again

    def test_more_directions_reuse_the_first_ones(self, tmp_path: Path) -> None:
        """A direction's points do not depend on how many others there are."""
        few, many = hills.bowl(), hills.bowl()
        slice_along(few, most_case(few, 2), even(1.0, 7), refine=0, run=Run(ledgers=tmp_path))
        slice_along(many, most_case(many, 3), even(1.0, 7), refine=0, run=Run(ledgers=tmp_path))
        assert many.scorer.calls == 1 + 6  # type: ignore[attr-defined]

    def test_another_surrogate_is_another_run(self, tmp_path: Path) -> None:
        """Scores without a likelihood are not taken for scores with one."""
        with_loss = hills.bowl()
        without = Terrain(with_loss.model, with_loss.scorer, None, with_loss.seed)
        slice_along(without, most_case(without, 1), even(1.0, 3), refine=0, run=Run(ledgers=tmp_path))
        found = slice_along(with_loss, most_case(with_loss, 1), even(1.0, 3), refine=0, run=Run(ledgers=tmp_path))
        assert all(sight.nll is not None for sight in found.curves[0].sights)


def test_a_slice_survives_its_file() -> None:
    """JSON holds everything, to the last bit."""
    terrain = hills.bowl()
    found = slice_along(terrain, most_case(terrain, 2), even(1 / 3, 5), refine=3)
    assert Slice.model_validate(json.loads(found.model_dump_json())) == found
