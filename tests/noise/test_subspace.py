"""Subspaces: the map, its noise, and membership to the bit."""

from __future__ import annotations

from pathlib import Path

import contract
import models
import pytest
import torch
from safetensors.torch import save_file

from certify.checkpoints import Checkpoint, load_model, open_checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.measuring import subspace_law
from certify.noise import Subspace, noised, open_subspace
from certify.noise.contract import Backend
from certify.noise.cpu import CpuBackend
from certify.noise.explicit import ExplicitEngine
from certify.noise.perturbation import SubspacePerturbation
from certify.noise.scratch import ScratchEngine
from certify.noise.subspace import displacement_in, save_basis, save_member
from certify.noise.tensor_ops import TensorBackend
from certify.records import Seed

SEED = Seed(value="0" * 64)


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(models.save_folder(tmp_path / "base", models.llama()))


@pytest.fixture
def subspace(tmp_path: Path, base: Checkpoint) -> Subspace:
    g = torch.Generator().manual_seed(0)
    names = ["model.norm.weight", "model.embed_tokens.weight"]
    vectors = [{n: torch.randn(base.parameters[n].shape, generator=g) for n in names[: i + 1]} for i in range(2)]
    return save_basis(tmp_path / "basis.safetensors", vectors)


def test_a_member_carries_its_coordinates(tmp_path: Path, base: Checkpoint, subspace: Subspace) -> None:
    """A checkpoint written inside the subspace is recognised, and |a_i| is its displacement."""
    member = save_member(tmp_path / "member", base, subspace, [0.25, -0.5])
    displacement = displacement_in(subspace, base, member)
    assert displacement.norms == {"0": 0.25, "1": 0.5}
    assert displacement.differences == ()
    load_model(member)  # a complete folder


def test_one_flipped_bit_ends_membership(tmp_path: Path, base: Checkpoint, subspace: Subspace) -> None:
    """The least change of one weight makes r infinite, and the tensor is named."""
    save_member(tmp_path / "member", base, subspace, [0.25, -0.5])

    def flip(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"].view(torch.int32)[3] ^= 1

    changed = open_checkpoint(_edited(tmp_path, flip))
    assert "model.norm.weight" in displacement_in(subspace, base, changed).differences[0]


def test_a_stranger_is_at_distance_infinity(tmp_path: Path, base: Checkpoint, subspace: Subspace) -> None:
    """A full fine-tune without coordinates is no member, however small its change."""
    stranger = open_checkpoint(models.save_folder(tmp_path / "stranger", models.llama(seed=1)))
    assert "carries no basin_coordinates" in displacement_in(subspace, base, stranger).differences[0]


def test_coordinates_of_another_base_are_refused(tmp_path: Path, base: Checkpoint, subspace: Subspace) -> None:
    """Coordinates count only for the base and the basis that they were made for."""
    member = save_member(tmp_path / "member", base, subspace, [0.25, -0.5])
    other = open_checkpoint(models.save_folder(tmp_path / "other", models.llama(seed=2)))
    assert "another base" in displacement_in(subspace, other, member).differences[0]


def test_the_engine_draws_members(base: Checkpoint, subspace: Subspace) -> None:
    """A draw of the subspace law is exactly the map at the drawn coordinates, and the base comes back."""
    model = load_model(base)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    engine = noised(model, subspace_law(subspace, 0.1), SEED, subspace=subspace)
    with engine:
        engine.at(4)
        drawn = {n: p.detach().clone() for n, p in model.named_parameters()}
    coordinates = engine._perturbation.coordinates(4)
    expected = subspace.materialise(base, coordinates)
    assert all(torch.equal(drawn[n], expected[n]) for n in drawn)
    assert not torch.equal(drawn["model.norm.weight"], before["model.norm.weight"])
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_another_subspace_is_refused(tmp_path: Path, base: Checkpoint, subspace: Subspace) -> None:
    """A law cannot be drawn from directions other than its own."""
    other = save_basis(tmp_path / "other.safetensors", [{"model.norm.weight": torch.ones(16)}])
    with pytest.raises(InvalidInput, match="which was not given"):
        noised(load_model(base), subspace_law(subspace, 0.1), SEED, subspace=other)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["weight"], "not named direction"), (["direction.0.a", "direction.2.a"], "numbered 0 to 1")],
)
def test_a_file_that_is_no_basis_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    """Wrong names and gaps in the numbering are one clear error."""
    save_file({n: torch.ones(2) for n in names}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=message):
        open_subspace(tmp_path / "x.safetensors")


def _edited(tmp_path: Path, change) -> Path:  # type: ignore[no-untyped-def]
    return models.variant(tmp_path / "member", tmp_path / "edited", change)


@pytest.mark.parametrize("scratch", [False, True], ids=["flat", "scratch"])
@pytest.mark.parametrize("backend", [CpuBackend(), TensorBackend()], ids=lambda b: b.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_every_engine_materialises_the_same_bits(
    tmp_path: Path, dtype: torch.dtype, backend: Backend, scratch: bool
) -> None:
    """Base + sum_i c_i v_i: float64 in index order, nearest float32, storage dtype; directions may be partial."""
    model = contract.odd(dtype)
    g = torch.Generator().manual_seed(0)
    names = ["table.weight", "turned.weight", "scale", "norm.bias"]
    parameters = dict(model.named_parameters())
    kinds = [torch.float32, torch.float64, torch.bfloat16]
    vectors = [
        {n: torch.randn(parameters[n].shape, generator=g).to(kind) for n in names[i:] if n != "scale" or i}
        for i, kind in enumerate(kinds)
    ]
    subspace = save_basis(tmp_path / "basis.safetensors", vectors)
    law = subspace_law(subspace, 0.1)
    perturbation = SubspacePerturbation(law, subspace, 5, 12, backend=backend)
    c = perturbation.coordinates(9)
    expected = {}
    for name in names:
        total = torch.zeros(parameters[name].shape, dtype=torch.float64)
        for i, vector in enumerate(vectors):
            if name in vector:
                total = total + float(c[i]) * vector[name].to(torch.float64)
        whole = parameters[name].to(torch.float64) + total
        expected[name] = whole if dtype == torch.float64 else whole.to(torch.float32).to(dtype)
    before = contract.state(model)
    with (ScratchEngine if scratch else ExplicitEngine)(model, perturbation) as engine:
        got = contract.seen(engine, model, 9)
    assert contract.bits({n: got[n] for n in names}) == contract.bits(expected)
    assert contract.state(model) == before


def test_directions_of_another_size_are_refused(tmp_path: Path) -> None:
    """A basis for another architecture cannot move half a tensor."""
    subspace = save_basis(tmp_path / "basis.safetensors", [{"weight": torch.ones(3)}])
    engine = noised(torch.nn.Linear(2, 2), subspace_law(subspace, 0.1), SEED, subspace=subspace)
    with pytest.raises(InvalidInput, match="'weight' has 4 elements, the noise law says 3"):
        engine.__enter__()
