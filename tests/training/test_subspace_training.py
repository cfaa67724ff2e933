"""Training coordinates: the gradient, what stays untouched, and a member that is certified end to end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import models
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from certify.__main__ import main
from certify.checkpoints import Checkpoint, load_model, open_checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.evidence import Requirement, Verdict
from certify.measuring import Base, PlannedDraws, check, measure_base, subspace_law
from certify.noise import Subspace
from certify.noise.subspace import random_factors, save_basis, save_cores, save_seeded, seeded
from certify.training import GaussianAugmented, SubspaceModel, allowance, coordinate_budget
from certify.verify import differences

NORM = "model.norm.weight"
IDS = torch.tensor([[3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3]])


def stored(folder: Path, base: Checkpoint) -> Subspace:
    """Two directions that have one tensor in common."""
    g = torch.Generator().manual_seed(0)
    names = sorted(base.parameters)
    parts = [names[:3], names[2:4]]
    vectors = [{n: 0.1 * torch.randn(base.parameters[n].shape, generator=g) for n in part} for part in parts]
    return save_basis(folder / "basis.safetensors", vectors)


def drawn(folder: Path, base: Checkpoint) -> Subspace:
    """Four seeded directions."""
    return save_seeded(folder / "v.json", base, 4, seed=2)


def cores(folder: Path, base: Checkpoint) -> Subspace:
    """Two cores of rank 2."""
    matrices = [name for name, info in sorted(base.parameters.items()) if len(info.shape) == 2]
    return save_cores(folder / "c.safetensors", random_factors(base, matrices[:2], 2, seed=2))


Make = Callable[[Path, Checkpoint], Subspace]
every_kind = pytest.mark.parametrize("make", [stored, drawn, cores], ids=lambda make: make.__name__)


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """The bytes of each tensor."""
    return {n: t.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for n, t in tensors.items()}


def state(model: nn.Module) -> dict[str, object]:
    """What training must leave alone: addresses, bytes, flags and hooks."""
    parameters = dict(model.named_parameters())
    facts: dict[str, object] = {n: (id(p), p.data_ptr(), p.requires_grad) for n, p in parameters.items()}
    hooks = {n: len(m._forward_pre_hooks) + len(m._forward_hooks) for n, m in model.named_modules()}
    return {**facts, "bits": bits(parameters), "hooks": hooks, "training": model.training}


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(models.save_folder(tmp_path / "base", models.llama()))


def loss_of(model: nn.Module) -> torch.Tensor:
    """A loss that every weight matters to."""
    logits = model(input_ids=IDS, use_cache=False).logits
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


@every_kind
def test_the_gradient_is_the_slope_of_the_loss(tmp_path: Path, make: Make) -> None:
    """Central differences along each coordinate, on a smooth float64 model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        inputs = torch.randn(8, 6).double()
    save_file({n: p.detach().clone() for n, p in model.named_parameters()}, tmp_path / "base.safetensors")
    space = SubspaceModel(model, make(tmp_path, open_checkpoint(tmp_path / "base.safetensors")))
    point = 0.3 * torch.arange(1.0, space.subspace.k + 1, dtype=torch.float64)

    def loss(at: torch.Tensor) -> torch.Tensor:
        space.coordinates.data.copy_(at)
        return space(inputs).square().sum()

    loss(point).backward()
    h = 1e-4
    units = torch.eye(space.subspace.k, dtype=torch.float64)
    slopes = torch.stack([(loss(point + h * u) - loss(point - h * u)).detach() / (2 * h) for u in units])
    torch.testing.assert_close(space.coordinates.grad, slopes, rtol=1e-6, atol=1e-7)
    assert float(slopes.abs().min()) > 1e-3


@every_kind
def test_the_gradient_is_the_weights_gradient_times_the_basis(base: Checkpoint, tmp_path: Path, make: Make) -> None:
    """V^T g with g from the ordinary model at the same weights, and V from unit vectors."""
    subspace = make(tmp_path, base)
    space = SubspaceModel(load_model(base), subspace)
    space.coordinates.data.fill_(0.4)
    loss_of(space).backward()
    plain = models.llama().requires_grad_(True)
    with torch.no_grad():
        for name, p in plain.named_parameters():
            p.copy_(subspace.materialise(base, [0.4] * subspace.k)[name])
    loss_of(plain).backward()
    expected = torch.zeros(subspace.k, dtype=torch.float64)
    for name in subspace.names:
        gradient = plain.get_parameter(name).grad.double().reshape(-1)  # type: ignore[union-attr]
        for i, unit in enumerate(torch.eye(subspace.k)):
            expected[i] += subspace.combine(name, unit.tolist()) @ gradient
    torch.testing.assert_close(space.coordinates.grad, expected, rtol=1e-4, atol=1e-6)


@every_kind
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_trained_is_what_is_saved(tmp_path: Path, make: Make, dtype: torch.dtype) -> None:
    """The weights of the forward pass have the bits of the map, in every storage dtype."""
    model = models.llama().to(dtype)
    save_file({n: p.detach().clone() for n, p in model.named_parameters()}, tmp_path / "base.safetensors")
    base = open_checkpoint(tmp_path / "base.safetensors")
    subspace = make(tmp_path, base)
    space = SubspaceModel(model, subspace)
    space.coordinates.data.copy_(torch.linspace(-2, 3, subspace.k))
    expected = subspace.materialise(base, space.coordinates.tolist())
    shown = bits({n: w.detach() for n, w in space.weights().items()})
    assert shown == bits({n: expected[n] for n in subspace.names})


def test_training_touches_nothing_but_the_coordinates(base: Checkpoint, tmp_path: Path) -> None:
    """The module's only parameter is the coordinates; the model keeps its bytes, flags, hooks and gradients."""
    model = load_model(base).requires_grad_(True)
    before = state(model)
    space = SubspaceModel(model, save_seeded(tmp_path / "v.json", base, 4, names=[NORM]))
    assert [n for n, _ in space.named_parameters()] == ["coordinates"]
    optimizer = torch.optim.Adam(space.parameters(), lr=0.5)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = loss_of(space)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert state(model) == before
    assert all(p.grad is None for p in model.parameters())


def test_a_graph_survives_the_next_forward_pass(base: Checkpoint, tmp_path: Path) -> None:
    """Two forward passes at different points, then backward through both: each sees its own weights."""
    space = SubspaceModel(load_model(base), drawn(tmp_path, base))

    def slope(points: list[float]) -> torch.Tensor:
        space.coordinates.grad = None
        losses = []
        for a in points:
            space.coordinates.data.fill_(a)
            losses.append(loss_of(space))
        torch.stack(losses).sum().backward()
        return space.coordinates.grad.clone()  # type: ignore[union-attr]

    torch.testing.assert_close(slope([0.0, 2.0]), slope([0.0]) + slope([2.0]), rtol=1e-6, atol=1e-9)
    assert not torch.allclose(slope([0.0]), slope([2.0]), rtol=1e-2)


def test_directions_that_are_not_kept_train_the_same(
    base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made again at each pass, they give the same loss to the bit and the same gradient."""
    found = []
    for bound in (seeded.CACHED_BYTES, 0):
        monkeypatch.setattr(seeded, "CACHED_BYTES", bound)
        space = SubspaceModel(load_model(base), drawn(tmp_path, base))
        space.coordinates.data.fill_(1.5)
        loss = loss_of(space)
        loss.backward()
        found.append((float(loss.detach()), space.coordinates.grad))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-6, atol=1e-9)


def test_a_model_that_does_not_fit_is_refused(base: Checkpoint, tmp_path: Path) -> None:
    """Another width, and a tensor that is not there, are named before anything is trained."""
    subspace = drawn(tmp_path, base)
    with pytest.raises(InvalidInput, match=r"the subspace moves '.*' of shape .*, the model has shape"):
        SubspaceModel(models.llama(hidden=32), subspace)
    with pytest.raises(InvalidInput, match="the model has no such parameter"):
        SubspaceModel(nn.Linear(2, 2), subspace)


def test_a_member_of_another_base_is_not_saved(base: Checkpoint, tmp_path: Path) -> None:
    """Coordinates that were trained on other weights would be certified for a model that nobody trained."""
    space = SubspaceModel(models.llama(seed=5), drawn(tmp_path, base))
    with pytest.raises(CheckpointError, match="is not the one that the model was trained on"):
        space.save(tmp_path / "member", base)
    assert not (tmp_path / "member").exists()


def test_go_smooths_over_the_coordinates(base: Checkpoint, tmp_path: Path) -> None:
    """GO around the coordinates: the gradient is taken at a + eps, the step is made at a."""
    space = SubspaceModel(load_model(base), drawn(tmp_path, base))
    go = GaussianAugmented(torch.optim.SGD(space.parameters(), lr=1.0), 0.5, model=space, seed=3)
    master = space.coordinates
    with go.perturbed():
        shown = space.coordinates.detach().clone()
        loss_of(space).backward()
    assert not torch.equal(shown, torch.zeros(4))
    there = SubspaceModel(load_model(base), space.subspace)
    there.coordinates.data.copy_(shown)
    loss_of(there).backward()
    torch.testing.assert_close(master.grad, there.coordinates.grad)
    go.step()
    assert there.coordinates.grad is not None
    torch.testing.assert_close(space.coordinates.detach(), -there.coordinates.grad)


def test_a_budgeted_member_is_certified_end_to_end(base: Checkpoint, tmp_path: Path) -> None:
    """Measure the base in the subspace, train inside the certified radius, save: certified, and it verifies.

    The same run without the budget goes beyond the radius and stays undecided.
    """
    model = load_model(base)
    opened = Base.open(base.path, models.write_jsonl(tmp_path / "own.jsonl", models.own_answers(model, 60)))
    subspace = drawn(tmp_path, base)
    law, requirement = subspace_law(subspace, 0.05), Requirement(limit=0.2)
    measurement = measure_base(opened, planned=[PlannedDraws(law, 120, subspace)], grid=(1e-3,))
    allowed = allowance(measurement, requirement, subspace=subspace)
    verdicts = {}
    for name in ("budgeted", "free"):
        space = SubspaceModel(model, subspace)
        optimizer = torch.optim.Adam(space.parameters(), lr=0.05)
        if name == "budgeted":
            budget = coordinate_budget(space.coordinates, base, allowed)
            budget.hold(optimizer)
        for _ in range(20):
            optimizer.zero_grad()
            loss_of(space).backward()
            optimizer.step()
        member = space.save(tmp_path / name, base)
        (found,) = check(
            opened, member, kinds=("distance",), requirement=requirement, measurement=measurement, subspaces=[subspace]
        )
        r = found.judgement.quantities["r"]
        assert r == pytest.approx(float(space.coordinates.detach().norm()) / 0.05, rel=1e-6)
        assert differences(found) == []
        verdicts[name] = (found.verdict, r)
    assert verdicts["budgeted"][0] == Verdict.CERTIFIED
    assert budget.used == pytest.approx(1.0, rel=1e-6)
    assert verdicts["budgeted"][1] <= allowed.radius < verdicts["free"][1]
    assert verdicts["free"][0] == Verdict.UNDECIDED


@pytest.mark.parametrize("make", [drawn, cores], ids=lambda make: make.__name__)
def test_the_command_line_takes_every_kind_of_file(
    base: Checkpoint, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measure with noise in the subspace, check a member, verify with draws taken again: exit code 0 each time."""
    models.write_jsonl(tmp_path / "own.jsonl", models.own_answers(models.llama(), 60))
    subspace = make(tmp_path, base)
    (file,) = {*tmp_path.glob("*.json"), *tmp_path.glob("*.safetensors")}
    space = SubspaceModel(load_model(base), subspace)
    space.coordinates.data.fill_(1e-4)
    space.save(tmp_path / "member", base)
    on = f"--benchmark own.jsonl --subspace {file.name}"
    commands = [
        f"measure base {on} -o m.json --sigma 1e-4 --grid 1e-4 -n 120 --subspace-sigma 0.02 --max-drop 0.3",
        f"check member --base base {on} --measurement m.json --require distance --max-drop 0.3",
        f"verify m.json --base base {on} --replay 3",
    ]
    monkeypatch.chdir(tmp_path)
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["certify", *command.split()])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, f"{command}: {capsys.readouterr().out}"
    assert "noise on" in capsys.readouterr().out
