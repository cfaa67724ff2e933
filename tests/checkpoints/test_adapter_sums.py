"""Several adapters of one base: the merge that PEFT makes of them, bit for bit; what it would make wrongly is named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from transformers import AutoModelForCausalLM

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.errors import CheckpointError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("default")  # of peft, at import and use

ADAPTERS: dict[str, dict[str, Any]] = {
    "one": {"r": 2, "target_modules": ["q_proj", "v_proj"]},
    "two": {"r": 2, "target_modules": ["q_proj", "down_proj"], "lora_alpha": 5},
    "wide": {"r": 5, "target_modules": ["q_proj", "up_proj"], "rank_pattern": {"up_proj": 3}},
    "rslora": {"r": 4, "target_modules": ["q_proj"], "use_rslora": True},
    "dora": {"r": 2, "target_modules": ["q_proj"], "use_dora": True},
    "saved": {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EPS = {"float32": 2**-24, "bfloat16": 2**-8}  # half a unit in the last place, relative


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in two dtypes, adapters of each."""
    folder = tmp_path_factory.mktemp("sums")
    for dtype in DTYPES:
        base = models.save_folder(folder / dtype / "base", models.llama(tied=False).to(DTYPES[dtype]))
        for name, fields in ADAPTERS.items():
            with torch.random.fork_rng():
                torch.manual_seed(len(name) + fields["r"])
                config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **fields)
                model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[dtype]), config)
                for place, weight in model.named_parameters():
                    if "modules_to_save" in place:
                        weight.data += 0.05
                model.save_pretrained(folder / dtype / name)
    return folder


def recipe(folder: Path, method: str, weights: dict[str, float], more: str = "", name: str = "sum.toml") -> Path:
    """A recipe in ``folder``: adapters and their weights."""
    parts = [f'[[models]]\nmodel = "{each}"\nparameters = {{ weight = {w} }}\n' for each, w in weights.items()]
    path = folder / name
    path.write_text(f'merge_method = "{method}"\nbase_model = "base"\n{more}\n' + "".join(parts))
    return path


def by_hand(folder: Path, kind: str, weights: dict[str, float], dtype: str) -> dict[str, torch.Tensor]:
    """What a user of PEFT merges."""
    first, *others = weights
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=DTYPES[dtype])
    model = peft.PeftModel.from_pretrained(base, folder / first, adapter_name=first)
    for name in others:
        model.load_adapter(folder / name, adapter_name=name)
    model.add_weighted_adapter([*weights], [*weights.values()], "sum", combination_type=kind)
    model.set_adapter("sum")
    return dict(model.merge_and_unload().state_dict())


def deltas(folder: Path, name: str, base: Checkpoint, tensor: str) -> torch.Tensor:
    """What one adapter changes of a tensor, in float64 from its own factors."""
    from safetensors.torch import load_file

    stored, fields = load_file(folder / name / "adapter_model.safetensors"), ADAPTERS[name]
    prefix = "base_model.model." + tensor.removesuffix(".weight")
    if f"{prefix}.lora_A.weight" not in stored:
        return torch.zeros(base.parameters[tensor].shape, dtype=torch.float64)
    a, b = stored[f"{prefix}.lora_A.weight"].double(), stored[f"{prefix}.lora_B.weight"].double()
    return fields.get("lora_alpha", 8) / len(a) * b @ a


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("adapter_cat", {"one": 0.75, "wide": -0.5, "two": 1.25}),
        ("adapter_cat", {"one": 0.5}),
        ("adapter_linear", {"one": 0.75, "two": 0.5}),
        ("adapter_linear", {"one": 0.75, "two": -0.5}),
    ],
)
def test_combined_as_peft_combines(where: Path, dtype: str, method: str, weights: dict[str, float]) -> None:
    """Bit for bit `add_weighted_adapter` and `merge_and_unload`, weights below zero and other ranks included."""
    folder = where / dtype
    found = open_checkpoint(recipe(folder, method, weights))
    expected = by_hand(folder, method.removeprefix("adapter_"), weights, dtype)
    for name in found.parameters:
        assert torch.equal(found.read(name), expected[name]), name
    base = open_checkpoint(folder / "base")
    assert found.identity.weights != base.identity.weights
    assert found.identity.companions == base.identity.companions
    assert {role.split(" (")[0] for role in found.parents} == {
        "merged into", *(f"{method}: model {name}" for name in weights)
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_cat_is_the_sum_of_what_they_change(where: Path, dtype: str) -> None:
    """Within three roundings of the dtype, from the factors in float64; linear is another thing."""
    folder, weights = where / dtype, {"one": 0.75, "two": 0.5}
    base = open_checkpoint(folder / "base")
    for method, close in (("adapter_cat", True), ("adapter_linear", False)):
        made, far = open_checkpoint(recipe(folder, method, weights)), 0.0
        for name in base.parameters:
            changes = sum(w * deltas(folder, each, base, name) for each, w in weights.items())
            exact = base.read(name).double() + changes
            bound = 3 * EPS[dtype] * (exact.abs() + torch.as_tensor(changes).abs() + 1.0)
            far = max(far, float(((made.read(name).double() - exact).abs() / bound).max()))
        assert (far <= 1.0) == close, (method, far)


def test_peft_scales_rank_stabilised_adapters_anew(where: Path) -> None:
    """Why they are refused: their combination at weight 1 is the square root of its rank times what they change."""
    folder = where / "float32"
    own = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder / "base"), folder / "rslora"
    ).merge_and_unload()
    base = open_checkpoint(folder / "base")
    combined, name = by_hand(folder, "cat", {"rslora": 1.0}, "float32"), "model.layers.0.self_attn.q_proj.weight"
    once, made = own.state_dict()[name] - base.read(name), combined[name] - base.read(name)
    assert float(made.norm() / once.norm()) == pytest.approx(math.sqrt(4), rel=1e-3)


@pytest.mark.parametrize(
    ("method", "weights", "more", "message"),
    [
        ("adapter_cat", {"one": 1.0, "rslora": 1.0}, "", r"rslora has use_rslora, .*task_arithmetic"),
        ("adapter_cat", {"one": 1.0, "dora": 1.0}, "", r"dora has '.*lora_magnitude_vector.*' beside its factors"),
        ("adapter_cat", {"one": 1.0, "saved": 1.0}, "", r"saved has '.*lm_head.*' beside its factors"),
        ("adapter_linear", {"one": 1.0, "wide": 1.0}, "", r"base: All adapters must have the same"),
        ("adapter_cat", {"one": 1.0, "./one": 1.0}, "", r"named twice among the models"),
        ("adapter_cat", {"one": 1.0, "base": 1.0}, "", r"base: no adapter, and adapter_cat combines these alone"),
        ("adapter_cat", {"one": 1.0}, 'dtype = "float32"', r"merges in the base's own dtype: delete dtype"),
        ("adapter_cat", {"one": math.nan}, "", r"weight must be a number"),
        ("adapter_caat", {"one": 1.0}, "", r"did you mean adapter_cat"),
    ],
)
def test_what_peft_would_combine_wrongly_is_one_line(
    where: Path, method: str, weights: dict[str, float], more: str, message: str
) -> None:
    """With the method that there is instead."""
    path = recipe(where / "float32", method, weights, more, "asked.toml")
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "name", "message"),
    [
        ("parameters = { weight = [0.5, 1.0] }", "odd.toml", r"one: an adapter has one weight"),
        ('parameters = { weight = [{ filter = "q", value = 1.0 }] }', "odd.toml", r"odd\.toml: "),
        ("parameters = { weight = 1.0 }\nscale = 0.5", "odd.toml", r"one: its weight is its scale: delete scale"),
        ("", "odd.toml", r"adapter_cat needs weight of one"),
    ],
)
def test_a_weight_is_one_number(where: Path, line: str, name: str, message: str) -> None:
    """Not one for each layer, nor beside a scale."""
    path = where / "float32" / name
    path.write_text(f'merge_method = "adapter_cat"\nbase_model = "base"\n[[models]]\nmodel = "one"\n{line}\n')
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_mergekit_has_no_such_method(where: Path) -> None:
    """A YAML that claims it would not be what mergekit runs."""
    path = where / "float32" / "odd.yaml"
    path.write_text("merge_method: adapter_cat\nbase_model: base\nmodels: [{model: one, parameters: {weight: 1}}]\n")
    with pytest.raises(CheckpointError, match="mergekit knows no adapter_cat: write this recipe as TOML"):
        open_checkpoint(path)


def test_an_adapter_of_another_base_is_refused(where: Path, tmp_path: Path) -> None:
    """By its shapes."""
    wide = models.save_folder(tmp_path / "wide", models.llama(tied=False, hidden=32))
    config = peft.LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"])
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(wide), config)
    model.save_pretrained(where / "float32" / "other")
    with pytest.warns(match="was trained on"), pytest.raises(CheckpointError, match=r"cannot be merged into .*base: "):
        open_checkpoint(recipe(where / "float32", "adapter_cat", {"one": 1.0, "other": 1.0}))
