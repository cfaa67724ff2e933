"""A budgeted run never leaves the ball, whatever the dtype, and what it saves is certified."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import models
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW
from world import World

from certify.checkpoints import Checkpoint, difference, open_checkpoint
from certify.checkpoints.norms import ROUNDING
from certify.documents import Measurement
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import Requirement
from certify.measuring import Base, PlannedDraws, check, measure_base, subspace_law
from certify.measuring.candidate import Candidate
from certify.noise import Subspace
from certify.noise.subspace import save_basis
from certify.statistics.laws import mahalanobis
from certify.training import (
    Budget,
    GaussianAugmented,
    SubspaceModel,
    allowance,
    coordinate_budget,
    save_checkpoint,
    weight_budget,
)

TENTH = Requirement(limit=0.1)
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
Tensors = dict[str, torch.Tensor]


def exactly_inside(tensors: Tensors, centre: Tensors, sigma: Tensors, radius: float) -> bool:
    """Whether sum ((x - c) / s)² <= R² in rational arithmetic, x as it would be stored."""
    total = Fraction(0)
    for name, tensor in tensors.items():
        stored, scale = tensor.detach().to(centre[name].dtype), sigma[name].expand(tensor.shape)
        for x, c, s in zip(stored.flatten().tolist(), centre[name].flatten().tolist(), scale.flatten().tolist(),
                           strict=True):  # fmt: skip
            if s == 0.0 and x != c:
                return False
            total += ((Fraction(x) - Fraction(c)) / Fraction(s)) ** 2 if s else 0
    return total <= Fraction(radius) ** 2


def ball(dtype: torch.dtype, stored: torch.dtype, radius: float) -> tuple[Tensors, Tensors, Tensors, Budget]:
    """Two tensors near 1 with different sigmas and one that is frozen, all moved far away."""
    g = torch.Generator().manual_seed(0)
    centre = {n: (1 + torch.randn(7, generator=g, dtype=torch.float64)).to(stored) for n in ("a", "b", "frozen")}
    sigma = {n: torch.tensor(s, dtype=torch.float64) for n, s in {"a": 0.01, "b": 0.003, "frozen": 0.0}.items()}
    tensors = {n: (c.double() + 0.7 * torch.randn(7, generator=g, dtype=torch.float64)).to(dtype)
               for n, c in centre.items()}  # fmt: skip
    return tensors, centre, sigma, Budget(tensors, centre, sigma, radius)


# How far a fine-tune may go


def test_the_allowance_is_the_radius_that_the_certificate_states(world: World) -> None:
    """Bisection on the verdict finds the radius that the evidence computes by another way."""
    stated = world.certificates["distance"].judgement.quantities["certified_radius"]
    allowed = allowance(world.measurement, TENTH)
    assert stated is not None
    assert allowed.radius == pytest.approx(stated, rel=1e-9)
    assert allowed.length == pytest.approx(allowed.radius * 1e-4)


@pytest.mark.parametrize("requirement", [TENTH, Requirement(unit="retention", limit=0.8)])
def test_just_inside_is_certified_and_just_outside_is_not(world: World, requirement: Requirement) -> None:
    """In either unit."""
    evidence = world.certificates["distance"].evidence
    allowed = allowance(world.measurement, requirement)
    for factor, verdict in ((1 - 1e-9, "certified"), (1 + 1e-6, "undecided")):
        norms = {**dict.fromkeys(evidence.displacement.norms, 0.0), "model.norm.weight": allowed.radius * factor * 1e-4}
        moved = evidence.displacement.model_copy(update={"norms": norms})
        there = evidence.model_copy(update={"displacement": moved})
        assert there.judge(world.measurement.benchmark, requirement, 0.05).verdict.value == verdict


def test_of_several_sigmas_the_one_that_lets_weights_move_furthest_is_taken(world: World) -> None:
    """Each rung of a ladder pays its share of alpha."""
    (draws,) = world.measurement.draws
    wider = draws.law.model_copy(update={"sigma": dict.fromkeys(draws.law.sigma, 3e-4)})
    rungs = (draws.model_copy(update={"ladder": 2}), draws.model_copy(update={"ladder": 2, "law": wider}))
    found = allowance(world.measurement.model_copy(update={"draws": rungs}), TENTH)
    assert found.law == wider
    assert found.radius < allowance(world.measurement, TENTH).radius


def test_no_draws_and_no_room_are_refused(world: World, tmp_path: Path) -> None:
    """With what to measure, or what to change."""
    basis = save_basis(tmp_path / "basis.safetensors", [{"model.norm.weight": torch.ones(16)}])
    with pytest.raises(InvalidPlan, match="no draws in the subspace sha256"):
        allowance(world.measurement, subspace=basis)
    with pytest.raises(InvalidPlan, match=r"not even the base is certified for drop at most 0\.001 .* with 60 draws"):
        allowance(world.measurement, Requirement(limit=0.001))


# The ball


@pytest.mark.parametrize("radius", [1e-3, 0.3, 2.0, 50.0])
@pytest.mark.parametrize(
    ("dtype", "stored"), [*((d, d) for d in DTYPES), (torch.float32, torch.bfloat16), (torch.float32, torch.float16)]
)
def test_after_projection_the_stored_weights_are_inside(radius: float, dtype: torch.dtype, stored: torch.dtype) -> None:
    """Exactly, in rational arithmetic, and the budget says how much is used; frozen tensors are the centre's."""
    tensors, centre, sigma, budget = ball(dtype, stored, radius)
    assert not exactly_inside(tensors, centre, sigma, radius)
    used = budget.project()
    assert exactly_inside(tensors, centre, sigma, radius)
    assert torch.equal(tensors["frozen"], centre["frozen"].to(dtype))
    assert used == budget.used == budget.distance / radius <= 1
    if stored == torch.float64:
        assert used > 1 - 1e-8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_projection_without_a_look_at_the_rounding_leaves_the_ball(dtype: torch.dtype) -> None:
    """The textbook's delta * R / ||delta||, rounded to nearest, is outside for some radii: the check above can fail."""
    outside = []
    for radius in (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 50.0):
        tensors, centre, sigma, budget = ball(dtype, dtype, radius)
        tensors["frozen"].copy_(centre["frozen"])
        factor = radius / (budget._distance() / ROUNDING**2)
        for name in ("a", "b"):
            delta = tensors[name].double() - centre[name].double()
            tensors[name].copy_(centre[name].double() + factor * delta)
        outside.append(not exactly_inside(tensors, centre, sigma, radius))
    assert any(outside)


def test_what_is_inside_is_not_touched() -> None:
    """Not a bit of it, frozen tensors apart."""
    tensors, centre, _, budget = ball(torch.float32, torch.float32, 1e4)
    before = {name: t.clone() for name, t in tensors.items()}
    budget.project()
    assert torch.equal(tensors["a"], before["a"])
    assert torch.equal(tensors["b"], before["b"])
    assert torch.equal(tensors["frozen"], centre["frozen"])


@example(delta=[0.0, 1.24e-210], sigma=1.0, radius=1.0, stored=torch.float64)
@given(
    delta=st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=6),
    sigma=st.floats(1e-6, 1e3),
    radius=st.floats(1e-6, 10.0),
    stored=st.sampled_from(DTYPES[:2]),
)
def test_projection_shrinks_and_keeps_the_direction(
    delta: list[float], sigma: float, radius: float, stored: torch.dtype
) -> None:
    """delta <- delta * min(1, R / ||delta||): inside, never longer than before, on the same ray around 0."""
    before = torch.tensor(delta, dtype=stored)
    tensors, scale = {"w": before.clone()}, {"w": torch.tensor(sigma, dtype=torch.float64)}
    centre = {"w": torch.zeros_like(before)}
    Budget(tensors, centre, scale, radius).project()
    after = tensors["w"]
    assert exactly_inside(tensors, centre, scale, radius)
    factor = min(1.0, radius * sigma / math.hypot(*before.tolist())) if before.any() else 1.0
    tiny = 1e-5 * factor * float(before.abs().max()) + 1e-37
    assert torch.allclose(after.double(), factor * before.double(), rtol=0, atol=tiny)


def test_the_budget_s_distance_is_never_below_that_of_a_check(world: World, tmp_path: Path) -> None:
    """What is inside for the budget is inside for `difference`, which streams the files in another order."""
    base, model = open_checkpoint(world.base), models.llama()
    law = world.measurement.draws[0].law
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1e-4 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    budget = weight_budget(model, base, replace(allowance(world.measurement, TENTH), radius=1.0))
    found = difference(base, save_checkpoint(tmp_path / "moved", base, model))
    names = sorted(law.sigma)
    theirs = mahalanobis([found.norms[n] for n in names], [law.sigma[n] for n in names])
    assert theirs < budget.distance < theirs * (1 + 1e-8)


def test_weights_that_diverged_are_an_error() -> None:
    """NaN has no distance."""
    tensors, _, _, budget = ball(torch.float32, torch.float32, 1.0)
    tensors["b"][3] = math.nan
    with pytest.raises(InvalidInput, match="'b' holds NaN or infinity"):
        budget.project()


def test_training_in_a_dtype_that_cannot_hold_the_base_is_refused() -> None:
    """The centre itself would be out of reach."""
    with pytest.raises(InvalidInput, match=r"'a' is trained in torch\.bfloat16, which cannot hold the base's"):
        ball(torch.bfloat16, torch.float32, 1.0)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_a_radius_that_is_no_budget_is_refused(radius: float) -> None:
    """Zero would forbid every step; infinity none."""
    with pytest.raises(InvalidInput, match="radius of a budget must be positive and finite"):
        ball(torch.float32, torch.float32, radius)


# Runs


def ascend(model: nn.Module) -> None:
    """A loss that pushes outwards."""
    ids = torch.tensor([[3, 5, 2, 9, 11, 4]])
    (-model(input_ids=ids, labels=ids).loss).backward()


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "inside GO"])
def test_a_budgeted_run_on_all_weights_never_leaves_the_ball_and_is_certified(
    world: World, tmp_path: Path, wrapped: bool
) -> None:
    """Checked at each step; without the hook the same steps leave it, and nothing is certified."""
    base = Base.open(world.base, world.benchmark)
    allowed = allowance(world.measurement, TENTH)
    for held in (False, True):
        model = models.llama().requires_grad_(True).train()
        optimizer: torch.optim.Optimizer = AdamW(model.parameters(), lr=1e-4)
        if wrapped:
            optimizer = GaussianAugmented(optimizer, 1e-4, model=model)
        budget, distances = weight_budget(model, base.checkpoint, allowed), []
        handle = budget.hold(optimizer) if held else None
        for _ in range(6):
            if isinstance(optimizer, GaussianAugmented):
                with optimizer.perturbed():
                    ascend(model)
            else:
                ascend(model)
            optimizer.step()
            optimizer.zero_grad()
            distances.append(budget._distance())
        assert (max(distances) <= allowed.radius) is held
        tuned = save_checkpoint(tmp_path / f"held {held}", base.checkpoint, model)
        (verdict,) = check(base, tuned, kinds=["distance"], requirement=TENTH, measurement=world.measurement)
        assert verdict.verdict == ("certified" if held else "undecided")
        if handle is not None:
            assert verdict.judgement.quantities["r"] <= allowed.radius
            handle.remove()
            model(input_ids=torch.tensor([[3, 5]]), labels=torch.tensor([[3, 5]])).loss.backward()
            (optimizer.optimizer if wrapped else optimizer).step()
            assert budget._distance() > allowed.radius


def subspace_world(world: World, folder: Path) -> tuple[Base, Subspace, Measurement]:
    """The small base, measured with noise on two coordinates."""
    base = Base.open(world.base, world.benchmark)
    g = torch.Generator().manual_seed(1)
    sizes = {name: p.shape for name, p in base.model.named_parameters()}
    subspace = save_basis(folder / "basis.safetensors", [
        {name: torch.randn(shape, generator=g) for name, shape in sizes.items()} for _ in range(2)
    ])  # fmt: skip
    planned = [PlannedDraws(subspace_law(subspace, 1e-4), 60, subspace)]
    return base, subspace, measure_base(base, planned=planned, grid=(1e-4,))


def test_a_budgeted_run_in_a_subspace_is_a_certified_member(world: World, tmp_path: Path) -> None:
    """Coordinates are trained and projected in their own norm; what is saved is certified by construction."""
    base, subspace, measurement = subspace_world(world, tmp_path)
    allowed = allowance(measurement, TENTH, subspace=subspace)
    space = SubspaceModel(base.model, subspace)
    optimizer = SGD(space.parameters(), lr=1e-3)
    budget = coordinate_budget(space.coordinates, base.checkpoint, allowed)
    budget.hold(optimizer)
    for _ in range(5):
        ascend(space)
        optimizer.step()
        optimizer.zero_grad()
        r = mahalanobis(space.coordinates.detach().abs().tolist(), allowed.law.sigma)
        assert r <= budget.distance <= allowed.radius
    assert budget.used > 0.99
    member = space.save(tmp_path / "member", base.checkpoint)
    (found,) = check(base, member, kinds=["distance"], requirement=TENTH, measurement=measurement, subspaces=[subspace])
    assert found.verdict == "certified"
    assert not found.judgement.vacuous
    assert Candidate(base, member).distance(measurement, TENTH, 0.05, [subspace]).r <= allowed.radius


# Bad input


def test_an_allowance_for_other_coordinates_is_refused(world: World, tmp_path: Path) -> None:
    """Weights and coordinates are not exchangeable, and the model must be the base's."""
    base, subspace, measurement = subspace_world(world, tmp_path)
    of_weights, of_subspace = allowance(world.measurement, TENTH), allowance(measurement, TENTH, subspace=subspace)
    with pytest.raises(InvalidInput, match="use coordinate_budget"):
        weight_budget(base.model, base.checkpoint, of_subspace)
    with pytest.raises(InvalidInput, match="use weight_budget"):
        coordinate_budget(torch.zeros(2), base.checkpoint, of_weights)
    with pytest.raises(InvalidInput, match=r"shape \(3,\), the law speaks of \(2,\)"):
        coordinate_budget(torch.zeros(3), base.checkpoint, of_subspace)
    with pytest.raises(InvalidInput, match="differ in tensors"):
        weight_budget(nn.Linear(2, 2), base.checkpoint, of_weights)


@pytest.mark.parametrize("part", ["weights", "config"])
def test_another_base_than_the_measured_one_is_refused(world: World, tmp_path: Path, part: str) -> None:
    """Nothing is certified around it, however much its tensors look alike; other weights, or other companions."""

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] += 1e-3 * (part == "weights")

    folder = models.variant(world.base, tmp_path / "other", nudge)
    if part == "config":
        models.edit_config(folder, rms_norm_eps=0.5)
    other, (_, subspace, measurement) = open_checkpoint(folder), subspace_world(world, tmp_path)
    message = r"other is not the base of this allowance, which was measured at base \(weights sha256:.* on own; here"
    with pytest.raises(InvalidInput, match=message):
        weight_budget(models.llama(), other, allowance(world.measurement, TENTH))
    with pytest.raises(InvalidInput, match=message):
        coordinate_budget(torch.zeros(2), other, allowance(measurement, TENTH, subspace=subspace))


def test_a_saved_checkpoint_differs_from_the_base_in_weights_only(world: World, tmp_path: Path) -> None:
    """In the base's dtypes and with its companions: masters in a wider dtype are rounded as the budget counted them."""
    base: Checkpoint = open_checkpoint(world.base)
    model = models.llama().double()
    with torch.no_grad():
        model.get_parameter("model.norm.weight").add_(1e-12)
    saved = save_checkpoint(tmp_path / "saved", base, model)
    assert saved.identity.companions == base.identity.companions
    assert saved.identity.weights == base.identity.weights
