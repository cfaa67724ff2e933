"""Families: at each point the bits of what would be served there, and what is no family is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import models
import pytest
import torch
from test_adapters import adapter_folder, base_folder

from certify.checkpoints import load_model, open_checkpoint
from certify.checkpoints.adapter import adapted
from certify.checkpoints.family import Family, open_family
from certify.errors import CheckpointError
from certify.noise.walk import Span, Walk, towards

RECIPES = {
    "task_arithmetic": ({"base_model": "base", "parameters": {"lambda": 0.7}}, ["one", "two"], ["weight", "weight"]),
    "linear": ({}, ["one", "two"], ["weight", "weight"]),
    "ties": ({"base_model": "base", "parameters": {"density": 0.5}}, ["one", "two"], ["weight", "weight"]),
}


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two fine-tunes; one of them leaves some tensors as they were."""
    folder = tmp_path_factory.mktemp("families")
    models.save_folder(folder / "base", models.llama())
    for seed, name in enumerate(("one", "two")):
        noise = torch.Generator().manual_seed(seed)

        def tune(tensors: dict[str, torch.Tensor], noise: torch.Generator = noise, name: str = name) -> None:
            for key, tensor in tensors.items():
                if name == "two" or "layers" in key:
                    tensor += 0.01 * torch.randn(tensor.shape, generator=noise)

        models.variant(folder / "base", folder / name, tune)
    return folder


def recipe(where: Path, method: str, weights: tuple[float, ...], name: str = "recipe.yaml") -> Path:
    """A recipe as JSON, which is YAML."""
    more, names, _ = RECIPES[method]
    listed = [{"model": n, "parameters": {"weight": w}} for n, w in zip(names, weights, strict=True)]
    (where / name).write_text(json.dumps({"merge_method": method, "models": listed, **more}))
    return where / name


def same(family: Family, point: tuple[float, ...], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(family.tensor(name, point), other[name]) for name in family.names)


def test_a_segment_has_the_bits_of_the_walk_and_of_both_ends(where: Path) -> None:
    """What position evidence scores between the ends, and nothing where nothing moved."""
    base, end = open_checkpoint(where / "base"), open_checkpoint(where / "one")
    family = open_family("segment", where / "one", base)
    assert family.identity.coefficients == ("a",) and family.own == (1.0,)
    assert family.names and all("layers" in name for name in family.names)
    assert same(family, (0.0,), {name: base.read(name) for name in family.names})
    assert same(family, (1.0,), {name: end.read(name) for name in family.names})
    model, theirs = load_model(base), {name: end.read(name) for name in family.names}
    with Walk(model, Span(theirs, towards(theirs))) as walk:
        for a in (0.3, 1.25, -0.5):
            assert same(family, (a,), dict(walk.at((a,)).named_parameters()))


@pytest.mark.parametrize("method", RECIPES)
def test_a_merge_has_the_bits_of_a_recipe_with_these_weights(where: Path, method: str) -> None:
    """At several points, in any order, and whatever the recipe itself says."""
    base = open_checkpoint(where / "base")
    family = open_family("merge", recipe(where, method, (1.0, 0.5)), base)
    assert family.identity.coefficients == ("weight of one", "weight of two") and family.own == (1.0, 0.5)
    for point in ((0.25, 0.75), (1.0, 0.0), (0.25, 0.75)):
        written = open_checkpoint(recipe(where, method, point, "other.yaml"), base)
        assert same(family, point, {name: written.read(name) for name in family.names})


def test_slerp_has_one_coefficient(where: Path) -> None:
    """Its t."""
    base = open_checkpoint(where / "base")
    written = {"merge_method": "slerp", "base_model": "base", "models": [{"model": "base"}, {"model": "two"}]}
    for t, name in ((0.5, "slerp.yaml"), (0.2, "other.yaml")):
        (where / name).write_text(json.dumps({**written, "parameters": {"t": t}}))
    family = open_family("merge", where / "slerp.yaml", base)
    assert (family.identity.coefficients, family.own) == (("t",), (0.5,))
    other = open_checkpoint(where / "other.yaml", base)
    assert same(family, (0.2,), {name: other.read(name) for name in family.names})


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "ranks", "embedding", "saved"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.filterwarnings("default")
def test_an_adapter_has_the_bits_of_pefts_merge_at_each_scale(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    """In any order: nothing is left of the scale before. What an adapter replaces as a whole stays replaced."""
    pytest.importorskip("peft")
    where = base_folder(tmp_path / "base", dtype)
    adapter, base = adapter_folder(where, tmp_path / "adapter", kind, dtype), open_checkpoint(where)
    family = open_family("adapter", adapter, base)
    assert family.identity.coefficients == ("scale",)
    for scale in (0.37, 1.0, 0.0, 1.2, 0.37):
        other = adapted(adapter, base, scale)
        assert same(family, (scale,), {name: other.read(name) for name in family.names})
        still = [name for name, part in base.parameters.items() if name not in family.names and not part.buffer]
        assert all(torch.equal(base.read(name), other.read(name)) for name in still)


def test_the_identity_is_of_what_it_is_made_of(where: Path, tmp_path: Path) -> None:
    """Not of names: a copy is the same family; another end, another recipe, other weights of its models are not."""
    base = open_checkpoint(where / "base")
    one = open_family("segment", where / "one", base).identity
    (tmp_path / "copy").symlink_to(where / "one")
    assert open_family("segment", tmp_path / "copy", base).identity.fingerprint == one.fingerprint
    found = [one, open_family("segment", where / "two", base).identity]
    merges = [recipe(where, "task_arithmetic", (1.0, 1.0)), recipe(where, "linear", (1.0, 1.0), "linear.yaml")]
    found += [open_family("merge", each, base).identity for each in merges]
    assert len({each.fingerprint for each in found}) == 4
    other = recipe(where, "task_arithmetic", (0.3, 0.1), "weights.yaml")
    assert open_family("merge", other, base).identity.fingerprint == found[2].fingerprint


def test_what_is_no_family_is_refused(where: Path, tmp_path: Path) -> None:
    """Another kind, the base itself, another config, weights for each layer, three of them: each by name."""
    base = open_checkpoint(where / "base")
    written = recipe(where, "task_arithmetic", (1.0, 1.0))

    def refused(kind: str, path: Path, said: str) -> None:
        with pytest.raises(CheckpointError, match=said):
            open_family(kind, path, base)  # type: ignore[arg-type]

    refused("segment", written, f"is no folder of weights but recipe of a merge: --family merge:{written}")
    refused("merge", where / "one", "is no recipe of a merge but folder of weights")
    refused("segment", where / "base", "has the weights of the base")
    refused("segment", tmp_path / "nowhere", "nowhere")
    config = json.loads((where / "two" / "config.json").read_text())
    odd = models.variant(where / "two", tmp_path / "odd", lambda tensors: None)
    (odd / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    refused("segment", odd, "more than weights, so nothing lies between them: config differs: rms_norm_eps")
    layered = {"merge_method": "task_arithmetic", "base_model": "base", "models": [{"model": "two"}]}
    (where / "layers.yaml").write_text(json.dumps({**layered, "parameters": {"weight": [0.0, 1.0]}}))
    refused("merge", where / "layers.yaml", r"weight of two must be one number for all tensors, got \[0.0, 1.0\]")
    three = [{"model": name, "parameters": {"weight": 1.0}} for name in ("base", "one", "two")]
    (where / "three.yaml").write_text(json.dumps({"merge_method": "linear", "models": three}))
    refused("merge", where / "three.yaml", "3 models have a weight, and a family has one or two coefficients")
    halved = {**layered, "parameters": {"weight": 1.0}, "dtype": "float32", "out_dtype": "bfloat16"}
    (where / "half.yaml").write_text(json.dumps(halved))
    refused("merge", where / "half.yaml", "computes in bfloat16, the base in float32")


@pytest.mark.filterwarnings("default")
def test_an_adapter_without_a_scale_is_refused(tmp_path: Path) -> None:
    """IA3 multiplies, and PEFT rescales LoRA alone."""
    pytest.importorskip("peft")
    where = base_folder(tmp_path / "base")
    adapter = adapter_folder(where, tmp_path / "adapter", "ia3")
    with pytest.raises(CheckpointError, match="scale is of LoRA adapters"):
        open_family("adapter", adapter, open_checkpoint(where))
