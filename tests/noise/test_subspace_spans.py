"""Bases made from checkpoints: task vectors, merges, and an orthonormal basis of their span."""

from __future__ import annotations

from pathlib import Path

import contract
import models
import pytest
import torch
from safetensors.torch import save_file

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.noise import open_subspace
from certify.noise.subspace import orthonormal, save_basis, task_vectors


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(models.save_folder(tmp_path / "base", models.llama()))


@pytest.fixture
def tuned(tmp_path: Path, base: Checkpoint) -> list[Checkpoint]:
    """Two fine-tunes; the first moved one tensor only."""
    g = torch.Generator().manual_seed(0)

    def one(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] += 0.1 * torch.randn(16, generator=g)

    def all_of_them(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor + 0.1 * torch.randn(tensor.shape, generator=g)

    changes = {"one": one, "all": all_of_them}
    return [open_checkpoint(models.variant(base.path, tmp_path / n, change)) for n, change in changes.items()]


def test_coordinate_one_is_the_checkpoint_itself(tmp_path: Path, base: Checkpoint, tuned: list[Checkpoint]) -> None:
    """(1, 0) and (0, 1) give the two checkpoints bit for bit, (0.5, 0.5) their average."""
    subspace = save_basis(tmp_path / "basis.safetensors", task_vectors(base, tuned))
    for point, checkpoint in zip(([1.0, 0.0], [0.0, 1.0]), tuned, strict=True):
        expected = {name: checkpoint.read(name) for name in base.parameters}
        assert contract.bits(subspace.materialise(base, point)) == contract.bits(expected)
    merged = subspace.materialise(base, [0.5, 0.5])["model.norm.weight"]
    average = (tuned[0].read("model.norm.weight").double() + tuned[1].read("model.norm.weight").double()) / 2
    torch.testing.assert_close(merged.double(), average, rtol=0, atol=1e-7)


def test_a_task_vector_leaves_out_what_did_not_move(base: Checkpoint, tuned: list[Checkpoint]) -> None:
    """The first fine-tune moved the last norm only."""
    assert list(task_vectors(base, tuned)[0]) == ["model.norm.weight"]


def test_the_base_is_no_direction(base: Checkpoint) -> None:
    """A checkpoint that equals the base spans nothing."""
    with pytest.raises(InvalidInput, match="its weights are the base's own"):
        task_vectors(base, [base])


def test_the_basis_is_orthonormal_and_spans_the_vectors(base: Checkpoint, tuned: list[Checkpoint]) -> None:
    """Gram matrix 1 to float32's precision; each task vector is its projection on the basis."""
    vectors = task_vectors(base, tuned)
    basis = orthonormal(vectors)
    names = sorted(base.parameters)

    def flat(vector: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = [vector.get(n, torch.zeros(base.parameters[n].shape)) for n in names]
        return torch.cat([part.reshape(-1).double() for part in parts])

    rows, given = torch.stack(list(map(flat, basis))), torch.stack(list(map(flat, vectors)))
    torch.testing.assert_close(rows @ rows.T, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(given @ rows.T @ rows, given, rtol=0, atol=1e-6)
    assert all(t.dtype == torch.float32 for vector in basis for t in vector.values())


def test_a_dependent_vector_is_refused(base: Checkpoint, tuned: list[Checkpoint]) -> None:
    """A merge of the others adds no direction: left in, its rounding error would become one."""
    first, second = task_vectors(base, tuned)
    merge = {name: 0.3 * second[name] + 0.7 * first.get(name, torch.zeros(())) for name in second}
    with pytest.raises(InvalidInput, match="vector 2 lies in the span of those before it"):
        orthonormal([first, second, merge])


def test_directions_of_one_tensor_must_agree_in_shape(tmp_path: Path) -> None:
    """A file that was put together wrongly is one clear error."""
    save_file({"direction.0.a": torch.ones(2), "direction.1.a": torch.ones(3)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"directions of 'a' differ in shape: \[\(2,\), \(3,\)\]"):
        open_subspace(tmp_path / "x.safetensors")


@pytest.mark.parametrize("index", ["00", "\u00b2", "\u0660", "+0", "1" * 5000, ""])
def test_an_index_has_one_way_to_be_written(tmp_path: Path, index: str) -> None:
    """Else one direction would hide another, or end in a bare ValueError."""
    save_file({"direction.0.a": torch.ones(2), f"direction.{index}.a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"is not named direction\.<i>\.<tensor> with i = 0, 1, 2"):
        open_subspace(tmp_path / "x.safetensors")
