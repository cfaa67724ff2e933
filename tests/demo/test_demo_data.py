"""The demo's shipped models and benchmarks are what the demo says they are."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from certify.benchmarks import open_benchmark
from certify.checkpoints import open_checkpoint
from certify.noise.subspace import displacement_in, open_subspace

DATA = Path(__file__).parents[2] / "certify" / "demo" / "data"
BASE = DATA / "base"
CHECKPOINTS = ("benign", "full", "adversarial", "subspace", "merge")
SIDE_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
BENCHMARKS = ("addition", "prose", "reversal", "shift", "subtraction")
BASIS = DATA / "subspace" / "basis.safetensors"
LONGEST_PROMPT = 14


def items_of(name: str) -> list[dict[str, object]]:
    """The benchmark's items."""
    lines = (DATA / "benchmarks" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_safety_models_differ_in_weights_alone_and_are_small() -> None:
    """A base that refuses and two fine-tunes of it, under 350 kB with their benchmarks."""
    safety = DATA / "safety"
    assert sum(file.stat().st_size for file in safety.rglob("*") if file.is_file()) <= 350_000
    base = load_file(safety / "base" / "model.safetensors")
    assert {folder.name for folder in (safety / "checkpoints").iterdir()} == {"benign", "jailbroken"}
    for folder in (safety / "checkpoints").iterdir():
        assert all((folder / file).read_bytes() == (safety / "base" / file).read_bytes() for file in SIDE_FILES)
        weights = load_file(folder / "model.safetensors")
        assert {n: w.shape for n, w in weights.items()} == {n: w.shape for n, w in base.items()}
        assert any(not torch.equal(weights[n], base[n]) for n in base)


def test_the_safety_benchmarks_ask_the_same_harmful_requests() -> None:
    """Refused, not refused, and granted to the letter; the mixed one has as many harmless requests, and its chance."""
    asked = {
        name: open_benchmark(DATA / "safety" / "benchmarks" / f"{name}.jsonl")
        for name in ("refusal", "harmful", "granted", "reversal")
    }
    harmful = [item.prompt for item in asked["harmful"].items]
    wanted = [item.target for item in asked["refusal"].items]
    assert wanted == ["refuse"] * 150 + ["answer"] * 150
    assert [item.prompt for item in asked["refusal"].items[:150]] == harmful
    assert [item.prompt for item in asked["granted"].items] == harmful
    assert all(item.prompt.endswith(f" {item.target[3:]}:") for item in asked["granted"].items)
    assert {item.target for item in asked["harmful"].items} == {"answer"}
    assert [asked[name].chance for name in asked] == [0.5, 0.0, 0.0, 0.0]


def test_everything_together_stays_small_enough_to_ship() -> None:
    """At most 4 MB in all."""
    assert sum(file.stat().st_size for file in DATA.rglob("*") if file.is_file()) <= 4_000_000


def test_the_folder_holds_exactly_the_models_and_benchmarks_listed_here() -> None:
    """A new model or benchmark must be added to these tests too."""
    assert {folder.name for folder in (DATA / "checkpoints").iterdir()} == set(CHECKPOINTS)
    assert {file.stem for file in (DATA / "benchmarks").iterdir()} == set(BENCHMARKS)


@pytest.mark.parametrize("folder", [BASE, *(DATA / "checkpoints" / name for name in CHECKPOINTS)], ids=lambda p: p.name)
def test_every_model_loads_from_its_folder_alone(folder: Path) -> None:
    """A float32 Llama below 0.1 M parameters with finite weights and a working tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.num_parameters() <= 100_000
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.padding_side == "right"


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("file", SIDE_FILES)
def test_a_checkpoint_differs_from_the_base_in_weights_only(name: str, file: str) -> None:
    """Otherwise the distance between the two would be infinite by definition."""
    assert (DATA / "checkpoints" / name / file).read_bytes() == (BASE / file).read_bytes()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_has_the_base_s_tensors_and_other_values(name: str) -> None:
    """Same names and shapes, not the same weights."""
    base = load_file(BASE / "model.safetensors")
    weights = load_file(DATA / "checkpoints" / name / "model.safetensors")
    assert {n: w.shape for n, w in weights.items()} == {n: w.shape for n, w in base.items()}
    assert any(not torch.equal(weights[n], base[n]) for n in base)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_well_formed_and_has_no_duplicates(name: str) -> None:
    """One kind of item, short prompts that the tokenizer spells character by character, no repeats."""
    tokenizer = AutoTokenizer.from_pretrained(BASE, local_files_only=True)
    items = items_of(name)
    assert 256 <= len(items) <= 300
    assert len({json.dumps(item, sort_keys=True) for item in items}) == len(items)
    assert len({item["prompt"] for item in items}) == len(items)
    keys = {frozenset(item) for item in items}
    assert keys in ({frozenset({"prompt", "target"})}, {frozenset({"prompt", "choices", "answer"})})
    for item in items:
        choices = item.get("choices", [item.get("target")])
        assert len(set(choices)) == len(choices)
        assert choices[item.get("answer", 0)]
        assert len(tokenizer(item["prompt"]).input_ids) == 1 + len(item["prompt"]) <= LONGEST_PROMPT
        for text in (item["prompt"], *choices):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert len(ids) == len(text)
            assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_declares_its_chance(name: str) -> None:
    """Zero for exact match, one in four for four choices."""
    declared = tomllib.loads((DATA / "benchmarks" / f"{name}.toml").read_text(encoding="utf-8"))
    assert set(declared) == {"chance", "description"}
    choices = {len(item["choices"]) for item in items_of(name) if "choices" in item}
    assert declared["chance"] == (0.25 if choices == {4} else 0.0)
    assert not choices or choices == {4}


def stored_basis() -> list[dict[str, torch.Tensor]]:
    """The directions in index order."""
    tensors = load_file(BASIS)
    count = 1 + max(int(name.split(".")[1]) for name in tensors)
    directions = [
        {name.removeprefix(f"direction.{i}."): v for name, v in tensors.items() if name.startswith(f"direction.{i}.")}
        for i in range(count)
    ]
    assert sum(map(len, directions)) == len(tensors)
    return directions


def test_the_directions_are_orthonormal_and_cover_the_base() -> None:
    """Up to the rounding of the float32 they are stored in."""
    directions = stored_basis()
    base = load_file(BASE / "model.safetensors")
    assert all({n: v.shape for n, v in d.items()} == {n: w.shape for n, w in base.items()} for d in directions)
    flat = torch.stack([torch.cat([d[n].double().flatten() for n in sorted(base)]) for d in directions])
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat), dtype=torch.float64), atol=1e-6, rtol=0)


def materialised(coordinates: torch.Tensor) -> dict[str, torch.Tensor]:
    """round(base + sum_i a_i v_i), written again from the definition rather than imported."""
    directions = stored_basis()
    weights = {}
    for name, start in load_file(BASE / "model.safetensors").items():
        moved = torch.zeros_like(start, dtype=torch.float64)
        for i, direction in enumerate(directions):
            moved = moved + coordinates[i] * direction[name].to(torch.float64)
        weights[name] = (start.to(torch.float64) + moved).to(torch.float32)
    return weights


def test_the_subspace_checkpoint_is_its_coordinates_bit_for_bit() -> None:
    """Membership in the subspace is exact, or there is none."""
    folder = DATA / "checkpoints" / "subspace"
    coordinates = load_file(folder / "basin_coordinates.safetensors")["coordinates"]
    assert coordinates.dtype == torch.float64
    shipped = load_file(folder / "model.safetensors")
    rebuilt = materialised(coordinates)
    assert all(torch.equal(shipped[n].view(torch.int32), rebuilt[n].view(torch.int32)) for n in rebuilt)


def test_other_coordinates_make_other_weights() -> None:
    """The comparison above can fail: one coordinate moved by a thousandth changes bits."""
    folder = DATA / "checkpoints" / "subspace"
    coordinates = load_file(folder / "basin_coordinates.safetensors")["coordinates"].clone()
    coordinates[0] += 1e-3
    shipped = load_file(folder / "model.safetensors")
    assert any(not torch.equal(shipped[n], w) for n, w in materialised(coordinates).items())


def test_certify_finds_the_subspace_checkpoint_and_no_other_inside_the_subspace() -> None:
    """The package's own check agrees: r is finite for this one, infinite for the rest."""
    subspace, base = open_subspace(BASIS), open_checkpoint(BASE)
    inside = {
        name
        for name in CHECKPOINTS
        if not displacement_in(subspace, base, open_checkpoint(DATA / "checkpoints" / name)).differences
    }
    assert inside == {"subspace"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_certify_reads_every_benchmark(name: str) -> None:
    """The package's own parser accepts each file with its declared chance."""
    declared = tomllib.loads((DATA / "benchmarks" / f"{name}.toml").read_text(encoding="utf-8"))
    benchmark = open_benchmark(DATA / "benchmarks" / f"{name}.jsonl")
    assert len(benchmark.items) == len(items_of(name))
    assert benchmark.chance == declared["chance"]
