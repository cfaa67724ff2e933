"""Merges as mergekit itself writes them: the same tensors, bit for bit, for each method and dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import pytest
import torch
import yaml
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from certify.checkpoints import load_tokenizer, open_checkpoint

mergekit = pytest.importorskip("mergekit")
pytestmark = pytest.mark.filterwarnings("default")  # of mergekit, at import and use

WEIGHTED = {"weight": 0.7}, {"weight": 0.55}
GRADIENT = {"t": [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"filter": "mlp", "value": [1, 0.25]}, {"value": 0.5}]}
RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"merge_method": "linear", "models": WEIGHTED},
    "sum": {"merge_method": "linear", "models": WEIGHTED, "parameters": {"normalize": False}},
    "linear, weights by tensor": {
        "merge_method": "linear",
        "models": ({"weight": [0.1, 0.9]}, {"weight": [{"filter": "mlp", "value": 0.25}, {"value": "1e-1"}]}),
    },
    "task arithmetic": {"merge_method": "task_arithmetic", "base_model": "base", "models": WEIGHTED},
    "task arithmetic, normalised": {
        "merge_method": "task_arithmetic", "base_model": "base", "models": WEIGHTED,
        "parameters": {"normalize": True, "lambda": 0.8},
    },
    "ties": {
        "merge_method": "ties", "base_model": "base",
        "models": ({"weight": 0.7, "density": 0.5}, {"weight": 0.55, "density": 0.3}),
    },
    "ties, a sum": {
        "merge_method": "ties", "base_model": "base", "models": ({"weight": 0.7}, {"weight": [0.2, 0.4]}),
        "parameters": {"normalize": False, "density": 0.25, "lambda": 1.1, "int8_mask": True},
    },
    "slerp": {"merge_method": "slerp", "base_model": "base", "models": ({},), "parameters": {"t": 0.3}},
    "slerp by layer": {"merge_method": "slerp", "base_model": "base", "models": ({},), "parameters": GRADIENT},
    "cast before": {"merge_method": "linear", "models": WEIGHTED, "dtype": "bfloat16"},
    "cast after": {"merge_method": "ties", "base_model": "base", "models": WEIGHTED, "out_dtype": "bfloat16"},
}  # fmt: skip


def llama(seed: int) -> LlamaForCausalLM:
    """Wide enough that a tensor has several vectors of a processor, and a rest."""
    config = LlamaConfig(
        vocab_size=len(models.CHARACTERS) + 2, hidden_size=40, intermediate_size=91, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    return seeded(LlamaForCausalLM, config, seed)


def seeded(kind: Any, config: Any, seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config).eval().requires_grad_(False)


def family(folder: Path, make: Any, dtype: torch.dtype) -> Path:
    """A base and two models near it, saved as people save them."""
    base = make(0)
    for i, name in enumerate(("base", "one", "two")):
        moved = make(0)
        with torch.random.fork_rng():
            torch.manual_seed(10 + i)
            for ours, weight in zip(base.parameters(), moved.parameters(), strict=True):
                weight.data = ours + (0.3 * i * ours.std().nan_to_num() * torch.randn_like(ours))
        models.save_folder(folder / name, moved.to(dtype))
    return folder


def written_by_mergekit(recipe: dict[str, Any], where: Path, out: Path) -> Path:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    placed = {**recipe, "models": [{**each, "model": str(where / each["model"])} for each in recipe["models"]]}
    if "base_model" in recipe:
        placed["base_model"] = str(where / recipe["base_model"])
    run_merge(MergeConfiguration.model_validate(placed), str(out), MergeOptions(quiet=True, device="cpu"))
    return out


def recipe_of(written: dict[str, Any]) -> dict[str, Any]:
    named = [{"model": name, "parameters": own} for name, own in zip(("one", "two"), written["models"], strict=False)]
    return {**written, "models": named}


def agree(where: Path, out: Path, recipe: dict[str, Any]) -> None:
    (where / "merge.yaml").write_text(yaml.safe_dump(recipe))
    ours, theirs = open_checkpoint(where / "merge.yaml"), open_checkpoint(written_by_mergekit(recipe, where, out))
    assert {n: t.dtype for n, t in ours.read_all()} == {n: t.dtype for n, t in theirs.read_all()}
    different = [n for n, t in ours.read_all() if not torch.equal(t, theirs.read(n))]
    assert different == []
    assert ours.identity.weights == theirs.identity.weights
    assert ours.identity.companions == theirs.identity.companions
    assert ours.identity.weights != open_checkpoint(where / "one").identity.weights
    assert load_tokenizer(ours).get_vocab() == load_tokenizer(theirs).get_vocab()


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16, torch.float16], ids=str)
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family(tmp_path_factory.mktemp("family"), llama, request.param)


@pytest.mark.parametrize("name", RECIPES)
def test_merged_as_mergekit_merges(where: Path, tmp_path: Path, name: str) -> None:
    """The digest of what mergekit writes, for each method and dtype; not that of a model that went in."""
    agree(where, tmp_path / "out", recipe_of(RECIPES[name]))


def test_slices_of_whole_models_are_the_models(where: Path, tmp_path: Path) -> None:
    """SLERP recipes are often written so."""
    sources = [{"model": name, "layer_range": [0, 3]} for name in ("base", "one")]
    sliced = {
        "merge_method": "slerp", "base_model": "base", "parameters": GRADIENT, "slices": [{"sources": sources}],
    }  # fmt: skip
    (where / "sliced.yaml").write_text(yaml.safe_dump(sliced))
    whole = {"merge_method": "slerp", "base_model": "base", "parameters": GRADIENT, "models": [{"model": "one"}]}
    ours = open_checkpoint(where / "sliced.yaml")
    assert ours.identity.weights == open_checkpoint(written_by_mergekit(whole, where, tmp_path / "o")).identity.weights


def gpt2(seed: int) -> Any:
    config = GPT2Config(vocab_size=len(models.CHARACTERS) + 2, n_embd=20, n_layer=2, n_head=2, n_positions=64)
    return seeded(GPT2LMHeadModel, config, seed)


def mixtral(seed: int) -> Any:
    config = MixtralConfig(
        vocab_size=len(models.CHARACTERS) + 2, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, num_local_experts=3, max_position_embeddings=64,
    )  # fmt: skip
    return seeded(MixtralForCausalLM, config, seed)


@pytest.mark.parametrize("make", [gpt2, mixtral])
@pytest.mark.parametrize("name", ["linear", "ties", "slerp"])
def test_other_names_of_tensors(tmp_path: Path, make: Any, name: str) -> None:
    """Tied heads, transposed layers, experts that are stored one by one and computed together."""
    agree(family(tmp_path, make, torch.float32), tmp_path / "out", recipe_of(RECIPES[name]))


def test_a_tensor_of_several_million_elements(tmp_path: Path) -> None:
    """Whose norm SLERP sums in parts."""
    from mergekit.merge_methods.slerp import slerp as theirs

    from certify.checkpoints.merge_methods import slerp

    generator = torch.Generator().manual_seed(3)
    one, two = (torch.randn(1700, 1300, generator=generator) for _ in range(2))
    expected = theirs(torch.tensor([0.3]), one.unsqueeze(0), two.unsqueeze(0))[0]
    assert torch.equal(slerp(one, two, 0.3), expected)
    assert not torch.equal(slerp(one, two, 0.31), expected)
