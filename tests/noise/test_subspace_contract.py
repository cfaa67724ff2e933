"""What every kind of subspace must do: one map, the same bits everywhere, membership to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import contract
import models
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.checkpoints.files import COORDINATES
from certify.errors import CheckpointError, InvalidInput
from certify.measuring import subspace_law
from certify.noise import Subspace, noised, open_subspace
from certify.noise.contract import Backend
from certify.noise.cpu import CpuBackend
from certify.noise.explicit import ExplicitEngine
from certify.noise.perturbation import SubspacePerturbation
from certify.noise.scratch import ScratchEngine
from certify.noise.subspace import (
    displacement_in,
    orthonormal,
    random_factors,
    save_basis,
    save_cores,
    save_member,
    save_seeded,
    seeded,
    svd_factors,
)
from certify.noise.tensor_ops import TensorBackend
from certify.records import Seed

Make = Callable[[Path, Checkpoint], Subspace]
FALSE_ALARM = 1e-6
MATRICES = ("table.weight", "turned.weight")


def stored(folder: Path, base: Checkpoint) -> Subspace:
    """Three directions in different dtypes; not all of them move every tensor."""
    g = torch.Generator().manual_seed(0)
    names = sorted(base.parameters)
    kinds = (torch.float32, torch.float64, torch.bfloat16)
    vectors = [
        {n: torch.randn(base.parameters[n].shape, generator=g).to(kind) for n in names[:: i + 1]}
        for i, kind in enumerate(kinds)
    ]
    return save_basis(folder / "basis.safetensors", vectors)


def spanned(folder: Path, base: Checkpoint) -> Subspace:
    """An orthonormal basis."""
    return save_basis(folder / "basis.safetensors", orthonormal(_vectors(base)))


def drawn(folder: Path, base: Checkpoint) -> Subspace:
    """Five seeded directions."""
    return save_seeded(folder / "seeded.json", base, 5, seed=7)


def random_cores(folder: Path, base: Checkpoint) -> Subspace:
    """Cores of rank 3 between random factors."""
    return save_cores(folder / "cores.safetensors", random_factors(base, _matrices(base), 3, seed=7))


def svd_cores(folder: Path, base: Checkpoint) -> Subspace:
    """Cores of rank 2 between singular vectors."""
    return save_cores(folder / "cores.safetensors", svd_factors(base, _matrices(base), 2))


MAKERS = (stored, spanned, drawn, random_cores, svd_cores)
every_kind = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def _vectors(base: Checkpoint) -> list[dict[str, torch.Tensor]]:
    g = torch.Generator().manual_seed(1)
    return [{n: torch.randn(i.shape, generator=g) for n, i in base.parameters.items()} for _ in range(3)]


def _matrices(base: Checkpoint) -> list[str]:
    return [name for name, info in base.parameters.items() if len(info.shape) == 2][:3]


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(models.save_folder(tmp_path / "base", models.llama()))


def odd_base(folder: Path, dtype: torch.dtype) -> tuple[torch.nn.Module, Checkpoint]:
    """The model of all difficulties, and its weights as a file."""
    model = contract.odd(dtype)
    save_file({n: p.detach().contiguous() for n, p in model.named_parameters()}, folder / "odd.safetensors")
    return model, open_checkpoint(folder / "odd.safetensors")


@every_kind
@pytest.mark.parametrize(
    ("engine", "backend"),
    [(ExplicitEngine, CpuBackend()), (ExplicitEngine, TensorBackend()), (ScratchEngine, CpuBackend())],
    ids=["flat-numba", "flat-torch", "scratch-numba"],
)
@pytest.mark.parametrize("dtype", contract.DTYPES, ids=str)
def test_the_engines_draw_what_the_map_says(
    tmp_path: Path, make: Make, dtype: torch.dtype, engine: type[ExplicitEngine | ScratchEngine], backend: Backend
) -> None:
    """A draw has the bits of ``materialise`` at its coordinates, in each dtype, backend and engine."""
    model, base = odd_base(tmp_path, dtype)
    subspace = make(tmp_path, base)
    perturbation = SubspacePerturbation(subspace_law(subspace, 0.1), subspace, 5, 12, backend=backend)
    expected = subspace.materialise(base, perturbation.coordinates(9).tolist())
    before = contract.state(model)
    with engine(model, perturbation) as opened:
        got = contract.seen(opened, model, 9)
    assert contract.bits({n: got[n] for n in subspace.names}) == contract.bits({n: expected[n] for n in subspace.names})
    assert any(not torch.equal(expected[n], base.read(n)) for n in subspace.names)
    assert contract.state(model) == before


@every_kind
def test_the_map_is_the_explicit_product_with_its_directions(base: Checkpoint, tmp_path: Path, make: Make) -> None:
    """V is what the unit vectors give; V a is its product with a, and V^T g its transpose's with g."""
    subspace = make(tmp_path, base)
    g = np.random.default_rng(0)
    a = g.standard_normal(subspace.k)
    for name, shape in subspace.shapes.items():
        matrix = torch.stack([subspace.combine(name, unit) for unit in np.eye(subspace.k)])
        assert matrix.shape == (subspace.k, int(np.prod(shape)))
        torch.testing.assert_close(subspace.combine(name, a), torch.from_numpy(a) @ matrix, rtol=1e-12, atol=1e-12)
        gradient = torch.from_numpy(g.standard_normal(matrix.shape[1]))
        slope = subspace.pull_back(name, gradient)
        torch.testing.assert_close(slope, matrix @ gradient, rtol=1e-4, atol=1e-4)
        assert slope.dtype == torch.float64


@every_kind
def test_a_subspace_is_what_its_file_says(base: Checkpoint, tmp_path: Path, make: Make) -> None:
    """Opened again from the file it has the same identity and gives the same bits."""
    subspace = make(tmp_path, base)
    files = [f for f in tmp_path.iterdir() if f.is_file()]
    again = open_subspace(files[0])
    assert len(files) == 1
    assert (again.k, again.digest, again.names) == (subspace.k, subspace.digest, subspace.names)
    point = [0.5] * subspace.k
    assert contract.bits(again.materialise(base, point)) == contract.bits(subspace.materialise(base, point))


@every_kind
def test_a_member_is_recognised_and_an_edited_one_is_not(base: Checkpoint, tmp_path: Path, make: Make) -> None:
    """|a_i| is the displacement of a member; one flipped bit of a weight, or another coordinate, ends membership."""
    subspace = make(tmp_path, base)
    point = [0.25 * (i + 1) for i in range(subspace.k)]
    member = save_member(tmp_path / "member", base, subspace, point)
    displacement = displacement_in(subspace, base, member)
    assert displacement.norms == {str(i): a for i, a in enumerate(point)}
    assert displacement.differences == ()

    moved = subspace.names[0]

    def flip(tensors: dict[str, torch.Tensor]) -> None:
        tensors[moved].view(torch.int32).view(-1)[3] ^= 1

    flipped = open_checkpoint(models.variant(member.path, tmp_path / "flipped", flip))
    assert f"tensor {moved!r} differs" in displacement_in(subspace, base, flipped).differences[0]

    def nearer(tensors: dict[str, torch.Tensor]) -> None:
        tensors["coordinates"][0] /= 2

    tampered = open_checkpoint(models.variant(member.path, tmp_path / "tampered", lambda tensors: None))
    _edit_coordinates(tampered.path / COORDINATES, nearer)
    assert "differs from what its coordinates give" in displacement_in(subspace, base, tampered).differences[0]


def _edit_coordinates(file: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as f:
        metadata = f.metadata()
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata=metadata)


@every_kind
def test_a_base_of_another_shape_is_refused(base: Checkpoint, tmp_path: Path, make: Make) -> None:
    """A map made for other tensors is named, at the files and at the engine."""
    subspace = make(tmp_path, base)
    wide = models.llama(hidden=32)
    other = open_checkpoint(models.save_folder(tmp_path / "wide", wide))
    with pytest.raises(CheckpointError, match=r"the subspace moves '.*' of shape .*, the base has shape"):
        subspace.materialise(other, [0.0] * subspace.k)
    with pytest.raises(InvalidInput, match=r"elements, the noise law says"):
        noised(wide, subspace_law(subspace, 0.1), Seed(value="0" * 64), subspace=subspace).__enter__()


def test_a_base_without_the_tensor_is_refused(base: Checkpoint, tmp_path: Path) -> None:
    """A direction of a tensor that the base does not have would otherwise be lost silently."""
    subspace = save_basis(tmp_path / "basis.safetensors", [{"nowhere.weight": torch.ones(4)}])
    with pytest.raises(CheckpointError, match=r"'nowhere\.weight' of shape \(4,\), the base has no such tensor"):
        subspace.materialise(base, [1.0])


def test_tied_tensors_move_together(tmp_path: Path) -> None:
    """A file that spells out both names of a tied tensor stays tied at every point of the subspace."""
    folder = models.save_folder(tmp_path / "base", models.llama())
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    base = open_checkpoint(folder)
    assert base.plan.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
    subspace = drawn(tmp_path, base)
    assert "lm_head.weight" not in subspace.names
    member = save_member(tmp_path / "member", base, subspace, [3.0, 1.0, 0.0, 0.0, 0.0])
    assert "lm_head.weight" not in member.tensors  # the config ties it: written once
    assert not torch.equal(member.read("model.embed_tokens.weight"), base.read("model.embed_tokens.weight"))
    assert displacement_in(subspace, base, member).differences == ()


# The squares of n k standard normals sum to chi-squared with n k degrees of freedom.
DRAWS = 2000


def coordinate_p_value(coordinates: np.ndarray, sigma: float) -> float:
    """Two-sided p-value of the sum of squares, and of the mean products of two coordinates (normal for many draws)."""
    n, k = coordinates.shape
    z = coordinates / sigma
    total = float((z * z).sum())
    spread = 2 * min(stats.chi2.cdf(total, n * k), stats.chi2.sf(total, n * k))
    products = np.array([(z[:, i] * z[:, j]).mean() * n**0.5 for i in range(k) for j in range(i)])
    means = z.mean(0) * n**0.5
    tails = 2 * stats.norm.sf(np.abs(np.concatenate([products, means])))
    return float(min(spread, tails.min() * len(tails)))


@pytest.mark.parametrize("make", [drawn, random_cores], ids=lambda make: make.__name__)
def test_noise_on_the_coordinates_is_the_law(base: Checkpoint, tmp_path: Path, make: Make) -> None:
    """Means, variances and products of the drawn coordinates are those of N(0, sigma^2 I).

    One two-sided test and one with Bonferroni over means and pairs: false alarm at most 2e-6.
    """
    subspace = make(tmp_path, base)
    perturbation = SubspacePerturbation(subspace_law(subspace, 0.3), subspace, 11, 12)
    columns = slice(0, 8)
    coordinates = np.array([perturbation.coordinates(i)[columns] for i in range(DRAWS)])
    p = coordinate_p_value(coordinates, 0.3)
    assert p > FALSE_ALARM, f"n={DRAWS}, k={coordinates.shape[1]}, p={p}"
    # Siblings that are broken by a little must be noticed.
    assert coordinate_p_value(coordinates * 1.1, 0.3) < FALSE_ALARM
    shared = coordinates + 0.2 * coordinates[:, :1]
    assert coordinate_p_value(shared / shared.std(), 1.0) < FALSE_ALARM


@pytest.fixture
def threads() -> Iterator[None]:
    """Let every normal be worth a thread, and give the setting back."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeded, "NORMALS_PER_THREAD", 1)
        yield
    torch.set_num_threads(before)


@every_kind
@pytest.mark.usefixtures("threads")
def test_any_number_of_threads_gives_the_same_bits(base: Checkpoint, tmp_path: Path, make: Make) -> None:
    """Materialised under one, two and five threads."""
    found = set()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        make(tmp_path, base)
        (file,) = (f for f in tmp_path.iterdir() if f.is_file())
        subspace = open_subspace(file)
        found.add(frozenset(contract.bits(subspace.materialise(base, [0.1] * subspace.k)).items()))
    assert len(found) == 1


def test_every_kind_is_held_to_this_contract() -> None:
    """The list above misses none: each concrete class of subspace is made by one of the makers."""

    def leaves(cls: type) -> set[type]:
        below = cls.__subclasses__()
        return {cls} if not below else set().union(*map(leaves, below))

    makers = {"StoredDirections": stored, "SeededDirections": drawn, "Cores": svd_cores}
    assert {cls.__name__ for cls in leaves(Subspace)} == set(makers)
    assert set(makers.values()) <= set(MAKERS)
