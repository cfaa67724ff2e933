"""Cores between frozen factors: the map, its coordinates, and what is refused."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.noise import open_subspace
from certify.noise.subspace import Cores, random_factors, save_cores, svd_factors

Q, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(models.save_folder(tmp_path / "base", models.llama()))


def test_a_coordinate_is_a_product_of_a_column_and_a_row(base: Checkpoint, tmp_path: Path) -> None:
    """Coordinate (p, q) of a matrix moves it by column p of B times row q of A; matrices in order of their names."""
    cores = save_cores(tmp_path / "c.safetensors", random_factors(base, [UP, Q], 3))
    assert (cores.k, cores.names) == (18, (Q, UP))
    left, right = cores.factors[UP]
    for p in range(3):
        for q in range(3):
            unit = np.eye(18)[9 + 3 * p + q]
            expected = torch.outer(left[:, p], right[q]).reshape(-1)
            assert torch.equal(cores.combine(UP, unit), expected)
            assert not cores.combine(Q, unit).any()


def test_the_map_is_the_matrix_product(base: Checkpoint, tmp_path: Path) -> None:
    """B R A, up to the order of the sums."""
    cores = save_cores(tmp_path / "c.safetensors", random_factors(base, [Q], 4))
    core = np.random.default_rng(0).standard_normal(16)
    left, right = cores.factors[Q]
    expected = left @ torch.from_numpy(core).view(4, 4) @ right
    torch.testing.assert_close(cores.combine(Q, core).view_as(expected), expected, rtol=1e-13, atol=1e-13)


def test_the_order_of_the_sums_is_the_contracts(base: Checkpoint, tmp_path: Path) -> None:
    """Over the columns of B, then over the rows of A, each from zero: what numpy gives one product at a time.

    A matrix product that orders its sums freely gives other bits somewhere among these elements.
    """
    cores = save_cores(tmp_path / "c.safetensors", random_factors(base, [UP], 16, seed=1))
    core = np.random.default_rng(1).standard_normal((16, 16))
    left, right = (side.numpy() for side in cores.factors[UP])
    inner = np.zeros((len(left), 16))
    for p in range(16):
        inner = inner + np.multiply.outer(left[:, p], core[p])
    total = np.zeros((len(left), right.shape[1]))
    for q in range(16):
        total = total + np.multiply.outer(inner[:, q], right[q])
    got = cores.combine(UP, core.reshape(-1)).numpy()
    assert np.array_equal(got.view(np.int64), total.reshape(-1).view(np.int64))
    backwards = (left[:, ::-1] @ core[::-1]) @ right
    assert not np.array_equal(backwards.reshape(-1).view(np.int64), total.reshape(-1).view(np.int64))


def test_random_factors_are_a_function_of_the_seed(base: Checkpoint) -> None:
    """Same seed, same bits, whatever the global generators do; expected length of columns and rows is 1."""
    first = random_factors(base, [Q, UP], 8, seed=4)
    torch.manual_seed(0)
    again, other = random_factors(base, [UP, Q], 8, seed=4), random_factors(base, [Q, UP], 8, seed=5)
    for name, (left, right) in first.items():
        assert torch.equal(left, again[name][0])
        assert torch.equal(right, again[name][1])
        assert not torch.equal(left, other[name][0])
        assert abs(float(left.square().sum()) / 8 - 1) < 0.5  # 128 squares: 4 standard deviations
        assert abs(float(right.square().sum()) / 8 - 1) < 0.5
    assert not torch.equal(first[Q][0], first[UP][0][:16])


def test_svd_factors_are_orthonormal_and_rebuild_the_matrix(base: Checkpoint, tmp_path: Path) -> None:
    """With full rank, some core takes the matrix to zero: minus its singular values."""
    rank = 16
    cores = save_cores(tmp_path / "c.safetensors", svd_factors(base, [Q], rank))
    left, right = cores.factors[Q]
    one = torch.eye(rank, dtype=torch.float64)
    torch.testing.assert_close(left.T @ left, one, rtol=0, atol=1e-6)
    torch.testing.assert_close(right @ right.T, one, rtol=0, atol=1e-6)
    values = torch.linalg.svdvals(base.read(Q).double())
    emptied = cores.materialise(base, torch.diag(-values).reshape(-1).tolist())[Q]
    assert float(emptied.abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("name", "rank", "message"),
    [
        ("nowhere", 2, "'nowhere' is no tensor of its own"),
        ("model.norm.weight", 2, r"'model.norm.weight' is of shape \(16,\), no matrix"),
        (Q, 17, r"rank must be in \[1, 16\]"),
        (Q, 0, r"rank must be in \[1, 16\]"),
    ],
)
@pytest.mark.parametrize("make", [random_factors, svd_factors], ids=["random", "svd"])
def test_what_takes_no_core_is_refused(base: Checkpoint, make, name: str, rank: int, message: str) -> None:  # type: ignore[no-untyped-def]
    """The tensor or the rank is named, with the rule."""
    with pytest.raises(InvalidInput, match=message):
        make(base, [name], rank)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"left.a": (4, 2)}, "'a' has one factor"),
        ({"left.a": (4, 2), "right.a": (3,)}, "factors of 'a' must be matrices"),
    ],
)
def test_a_file_with_odd_factors_is_refused(tmp_path: Path, tensors: dict[str, tuple[int, ...]], message: str) -> None:
    """A missing factor or a vector in its place is one clear error."""
    save_file({n: torch.ones(shape) for n, shape in tensors.items()}, tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=message):
        open_subspace(tmp_path / "c.safetensors")


def test_factors_of_different_ranks_fit_together(tmp_path: Path) -> None:
    """A core need not be square: B of two columns and A of three rows take a core of six entries."""
    g = torch.Generator().manual_seed(0)
    cores = save_cores(
        tmp_path / "c.safetensors", {"a": (torch.randn(4, 2, generator=g), torch.randn(3, 5, generator=g))}
    )
    assert isinstance(open_subspace(tmp_path / "c.safetensors"), Cores)
    assert (cores.k, cores.shapes) == (6, {"a": (4, 5)})
