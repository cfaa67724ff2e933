"""Directions that a seed stands for: their values are a contract, and nothing of them is stored."""

from __future__ import annotations

import json
from pathlib import Path

import contract
import models
import numpy as np
import pytest
import torch
from scipy import stats

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.errors import CertifyError, CheckpointError, InvalidInput
from certify.noise import NormalStream, open_subspace
from certify.noise.subspace import SeededDirections, displacement_in, save_basis, save_member, save_seeded, seeded

FALSE_ALARM = 1e-6


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(models.save_folder(tmp_path / "base", models.llama(hidden=48)))


def vectors(subspace: SeededDirections) -> list[dict[str, torch.Tensor]]:
    """Every direction, as the map gives it at a unit vector (0 times a float is 0, so this is exact)."""
    unit = np.eye(subspace.k)
    return [
        {n: subspace.combine(n, e).to(torch.float32).view(shape) for n, shape in subspace.shapes.items()} for e in unit
    ]


def test_directions_are_the_normals_of_the_contract(base: Checkpoint, tmp_path: Path) -> None:
    """Element e of tensor t in direction i: float32(z / sqrt(d)), z of (seed, stream V, draw i, tensor t)."""
    names = ["model.norm.weight", "model.layers.0.mlp.up_proj.weight"]
    subspace = save_seeded(tmp_path / "v.json", base, 3, seed=99, names=names)
    d = sum(base.parameters[n].size for n in names)
    assert subspace.dimension == d > 4096
    for tensor, name in enumerate(sorted(names)):
        for i in range(3):
            z = NormalStream(99, "V").normals(i, tensor, base.parameters[name].size)
            expected = (z * (1.0 / d**0.5)).astype(np.float32)
            assert np.array_equal(expected.view(np.int32), subspace.rows(name, 0, len(z))[i].numpy().view(np.int32))


def test_values_that_must_never_change(tmp_path: Path) -> None:
    """A recipe means the same directions forever: some elements and the digest, as first released."""
    file = tmp_path / "v.json"
    recipe = seeded.Recipe(seed=f"{7:064x}", k=4, tensors={"b": (50, 41), "a": (3,)})
    file.write_text(recipe.model_dump_json(), encoding="utf-8")
    subspace = open_subspace(file)
    assert isinstance(subspace, SeededDirections)
    assert subspace.digest == KNOWN_DIGEST
    rows = {name: subspace.rows(name, 0, int(np.prod(shape))) for name, shape in subspace.shapes.items()}
    assert {(n, i, e): float(rows[n][i, e]).hex() for n, i, e in KNOWN_ELEMENTS} == KNOWN_ELEMENTS


KNOWN_DIGEST = "sha256:9cd6efac7a404251d01344eda9285fa19ed3884c4d6a296dd173a559cab4239a"
KNOWN_ELEMENTS = {
    ("a", 0, 0): "0x1.c485400000000p-7",
    ("a", 3, 2): "-0x1.81e93c0000000p-6",
    ("b", 0, 0): "-0x1.d934a00000000p-6",
    ("b", 1, 1024): "-0x1.5a749e0000000p-5",
    ("b", 2, 2049): "-0x1.3d17a40000000p-7",
}


def test_directions_have_length_one_and_little_in_common(base: Checkpoint, tmp_path: Path) -> None:
    """d |v|^2 is chi-squared with d degrees of freedom, sqrt(d) <v_i, v_j> nearly normal; Bonferroni over all."""
    subspace = save_seeded(tmp_path / "v.json", base, 20, seed=3)
    d = subspace.dimension
    matrix = torch.cat([subspace.rows(n, 0, int(np.prod(s))) for n, s in subspace.shapes.items()], 1).double()
    gram = (matrix @ matrix.T).numpy()
    squares, products = np.diag(gram) * d, gram[np.triu_indices(20, 1)] * d**0.5
    p = np.concatenate([2 * np.minimum(stats.chi2.cdf(squares, d), stats.chi2.sf(squares, d)),
                        2 * stats.norm.sf(np.abs(products))])  # fmt: skip
    assert p.min() * len(p) > FALSE_ALARM, f"k=20, d={d}, smallest p={p.min()}"
    assert stats.chi2.sf(squares.max() * 1.1, d) * len(p) < FALSE_ALARM, "a length off by 5 % would be noticed"


@pytest.mark.parametrize("change", ["seed", "k", "names"])
def test_the_digest_names_everything_that_decides_the_map(base: Checkpoint, tmp_path: Path, change: str) -> None:
    """Another seed, number or choice of tensors is another subspace; a member of one is none of the other."""
    names = list(base.parameters)
    settings = {"k": 3, "seed": 1, "names": names}
    other = {**settings, **{"seed": {"seed": 2}, "k": {"k": 4}, "names": {"names": names[1:]}}[change]}
    first = save_seeded(tmp_path / "a.json", base, **settings)  # type: ignore[arg-type]
    second = save_seeded(tmp_path / "b.json", base, **other)  # type: ignore[arg-type]
    same = save_seeded(tmp_path / "c.json", base, **settings)  # type: ignore[arg-type]
    assert first.digest == same.digest != second.digest
    member = save_member(tmp_path / "member", base, first, [1.0, 2.0, 3.0])
    assert "made for another basis" in displacement_in(second, base, member).differences[0]


def test_fewer_directions_are_the_first_of_more(base: Checkpoint, tmp_path: Path) -> None:
    """Subspaces of one seed are nested, so that a study over k changes one thing only."""
    few, more = (save_seeded(tmp_path / f"{k}.json", base, k, seed=5) for k in (2, 6))
    name = few.names[0]
    assert torch.equal(few.rows(name, 0, 2048), more.rows(name, 0, 2048)[:2])


def test_seeded_directions_are_a_stored_basis_that_nobody_stores(base: Checkpoint, tmp_path: Path) -> None:
    """Exported direction by direction they give the same weights, bit for bit, from a file 100 times as large."""
    subspace = save_seeded(tmp_path / "v.json", base, 4, seed=8)
    stored = save_basis(tmp_path / "basis.safetensors", vectors(subspace))
    point = [1.5, -2.25, 0.125, 1e-3]
    assert contract.bits(stored.materialise(base, point)) == contract.bits(subspace.materialise(base, point))
    assert stored.digest != subspace.digest
    assert (tmp_path / "v.json").stat().st_size * 100 < (tmp_path / "basis.safetensors").stat().st_size


def test_what_does_not_fit_is_made_again_in_runs(
    base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for the k x d matrix the map, its transpose and the bits are the same; nothing is kept."""
    kept = save_seeded(tmp_path / "v.json", base, 5, seed=8)
    name = "model.layers.0.mlp.down_proj.weight"
    assert kept.resident
    gradient = torch.randn(base.parameters[name].size, generator=torch.Generator().manual_seed(0))
    point = [1.0, -2.0, 3.0, -4.0, 5.0]
    expected, slope = contract.bits(kept.materialise(base, point)), kept.pull_back(name, gradient)
    monkeypatch.setattr(seeded, "CACHED_BYTES", 0)
    monkeypatch.setattr(seeded, "RUN_BYTES", 4 * 5 * 2048)
    streamed = SeededDirections(kept.recipe)
    assert len(list(streamed.blocks(name))) == 3, "4,608 elements in runs of 2,048"
    assert contract.bits(streamed.materialise(base, point)) == expected
    torch.testing.assert_close(streamed.pull_back(name, gradient), slope, rtol=1e-5, atol=1e-5)
    assert streamed._kept == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, r"k must be in \[1, 2\^32\), got 0"),
        ({"seed": -1}, r"seed must be in \[0, 2\^256\), got -1"),
        ({"names": ["nowhere"]}, "no tensor 'nowhere' to move"),
        ({"names": []}, "names must hold at least one tensor"),
    ],
)
def test_what_makes_no_directions_is_refused(
    base: Checkpoint, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """The value and its rule are named, and no file is left."""
    with pytest.raises(InvalidInput, match=message):
        save_seeded(tmp_path / "v.json", base, **{"k": 2, **change})  # type: ignore[arg-type]
    assert not (tmp_path / "v.json").exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"sampler": "fast"}, "sampler: Input should be 'strict'"),
        ({"version": 2}, "version: Input should be 1"),
        ({"k": 0}, "k: Input should be greater than 0"),
        ({"scale": 2}, "scale: Extra inputs are not permitted"),
        ({"tensors": {}}, "tensors: Dictionary should have at least 1 item"),
    ],
)
def test_a_recipe_that_says_something_else_is_refused(
    base: Checkpoint, tmp_path: Path, edit: dict[str, object], message: str
) -> None:
    """An unknown sampler, version or field is never guessed at."""
    file = tmp_path / "v.json"
    save_seeded(file, base, 2)
    file.write_text(json.dumps({**json.loads(file.read_text()), **edit}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"not a recipe of seeded directions: {message}"):
        open_subspace(file)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """One clear error, not a traceback."""
    with pytest.raises(CertifyError, match=r"nowhere\.json: no such file"):
        open_subspace(tmp_path / "nowhere.json")
