"""Recipes of merges are checkpoints: refused by name, merged as they are needed, judged like what they make."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import models
import pytest
import torch
import yaml
from forked import certify
from safetensors.torch import load_file, save_file

from certify.checkpoints import Checkpoint, load_model, open_checkpoint
from certify.checkpoints.merge_methods import linear, slerp, task_arithmetic, ties
from certify.documents import Certificate, GateRecord, read_document
from certify.errors import CertifyWarning, CheckpointError, InvalidInput

pytestmark = pytest.mark.filterwarnings("default")  # of peft, at import and use

T = torch.tensor


def moved(seed: int, by: float) -> Any:
    """The base, each weight moved by a little noise of its own."""
    model = models.llama(tied=False)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data += by * torch.randn(weight.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two models near it, ten items that the base answers."""
    folder = tmp_path_factory.mktemp("merged")
    models.save_folder(folder / "base", models.llama(tied=False))
    models.save_folder(folder / "one", moved(1, 0.02))
    models.save_folder(folder / "two", moved(2, 0.02))
    models.write_jsonl(folder / "own.jsonl", models.own_answers(models.llama(tied=False), 10))
    return folder


AVERAGE = """
merge_method = "linear"
base_model = "base"
models = [
  {model = "one", parameters = {weight = 0.5}},
  {model = "two", parameters = {weight = 0.25}},
  {model = "base", parameters = {weight = 0.25}},
]
"""


def recipe(where: Path, text: str | Mapping[str, Any] = AVERAGE, name: str = "merge.toml") -> Path:
    file = where / name
    file.write_text(text if isinstance(text, str) else yaml.safe_dump(dict(text)))
    return file


def written(opened: Checkpoint, base: Path, folder: Path) -> Path:
    """The folder that people would make of the merge, by hand."""
    save = {name: tensor.contiguous() for name, tensor in opened.read_all()}
    models.variant(base, folder, lambda tensors: None)
    save_file(save, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# The arithmetic, in numbers that can be checked by hand; test_mergekit.py holds it to mergekit's bits.


def test_linear_is_the_weighted_mean() -> None:
    """Or the weighted sum; weights that sum to nothing have no mean."""
    one, two = T([1.0, 3.0]), T([5.0, -1.0])
    assert linear([one, two], [1, 3]).tolist() == [4.0, 0.0]
    assert linear([one, two], [1, 3], normalize=False).tolist() == [16.0, 0.0]
    with pytest.raises(InvalidInput, match=r"the weights 1, -1 sum to 0, and normalize divides by that"):
        linear([one, two], [1, -1])


def test_slerp_goes_along_the_arc() -> None:
    """Halfway between perpendicular vectors of one length is no shorter; parallel ones are mixed."""
    assert torch.allclose(slerp(T([2.0, 0.0]), T([0.0, 2.0]), 0.5), T([2**0.5, 2**0.5]))
    assert slerp(T([2.0, 0.0]), T([4.0, 0.0]), 0.25).tolist() == [2.5, 0.0]
    assert slerp(T([0.0, 0.0]), T([4.0, 0.0]), 0.0).tolist() == [0.0, 0.0]


def test_task_arithmetic_adds_changes() -> None:
    """What each model changed, weighted."""
    base, others = T([1.0, 1.0]), [T([2.0, 1.0]), T([1.0, 3.0])]
    assert task_arithmetic(base, others, [2, 0.5], normalize=False, scale=1).tolist() == [3.0, 2.0]
    assert task_arithmetic(base, others, [3, 1], normalize=True, scale=2).tolist() == [2.5, 2.0]


def test_ties_keeps_the_largest_and_elects_signs() -> None:
    """The example of the paper's figure: small changes go, then those against the majority."""
    base = torch.zeros(4)
    others = [T([4.0, -1.0, 0.1, 3.0]), T([-2.0, -3.0, 5.0, 1.0])]
    made = ties(base, others, [1, 1], [0.5, 0.75], normalize=True, scale=1)
    assert made.tolist() == [4.0, -3.0, 5.0, 3.0]
    assert ties(base, others, [1, 1], [0.0, 0.0], normalize=True, scale=1).tolist() == [0.0] * 4


# A recipe is a checkpoint.


def test_a_merge_has_the_identity_of_its_folder(where: Path, tmp_path: Path) -> None:
    """Weights, config and all that computes; the recipe and the parents are recorded beside it, deciding nothing."""
    ours = open_checkpoint(recipe(where))
    theirs = open_checkpoint(written(ours, where / "base", tmp_path / "folder"))
    assert ours.identity.weights == theirs.identity.weights
    assert ours.identity.companions == theirs.identity.companions
    spelled = ours.identity.spelling
    assert spelled["linear: model one (weight 0.5)"] == open_checkpoint(where / "one").identity.weights
    assert spelled["linear: base_model base (weight 0.25)"] == open_checkpoint(where / "base").identity.weights
    assert {"merge.toml", "config.json", "tokenizer.json"} <= set(spelled)
    loaded, expected = load_model(ours).state_dict(), load_file(tmp_path / "folder" / "model.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_yaml_and_toml_say_the_same(where: Path) -> None:
    """One set of keys, mergekit's; paths are relative to the recipe, wherever it is read from."""
    parameters = [("one", 0.5), ("two", 0.25), ("base", 0.25)]
    entries = [{"model": name, "parameters": {"weight": weight}} for name, weight in parameters]
    same = recipe(where, {"merge_method": "linear", "base_model": "base", "models": entries}, "merge.yaml")
    assert open_checkpoint(same).identity.weights == open_checkpoint(recipe(where)).identity.weights


def test_no_weight_gives_back_the_base(where: Path) -> None:
    """At both ends of the segment, bit for bit; and a step in between is neither."""
    found = {}
    for weight in (0.0, 0.5, 1.0):
        text = 'merge_method = "task_arithmetic"\nbase_model = "base"\nmodels = [{model = "one"}]\n'
        text += f"parameters = {{weight = {weight}}}\n"
        found[weight] = open_checkpoint(recipe(where, text, "segment.toml")).identity.weights
    assert found[0.0] == open_checkpoint(where / "base").identity.weights
    assert len(set(found.values())) == 3


def test_checked_gated_and_replayed_like_its_folder(where: Path, tmp_path: Path) -> None:
    """`certify check RECIPE` finds what it finds of the written merge; the record verifies and replays with it."""
    asked = ("--base", where / "base", "-b", where / "own.jsonl", "--items", "fixed", "--max-drop", "0.5")
    folder = written(open_checkpoint(recipe(where)), where / "base", tmp_path / "folder")
    ours = certify("check", where / "merge.toml", *asked, "-v", "-o", tmp_path / "ours", cwd=tmp_path)
    theirs = certify("check", folder, *asked, "-o", tmp_path / "theirs")
    assert ours.returncode == theirs.returncode
    assert ours.returncode in (0, 1), ours.stderr
    assert "linear: model one (weight 0.5): only the checkpoint has it" in " ".join(ours.stdout.split())
    (file,), (other,) = ((tmp_path / name).glob("*.json") for name in ("ours", "theirs"))
    record, plain = read_document(file), read_document(other)
    assert isinstance(record, Certificate) and isinstance(plain, Certificate)
    assert record.evidence == plain.evidence
    for checkpoint in (where / "merge.toml", folder):
        found = certify(
            "verify", file, "--base", where / "base", "--checkpoint", checkpoint, "--benchmark", where / "own.jsonl",
            "--replay", "1",
        )  # fmt: skip
        assert found.returncode == 0, found.stdout + found.stderr
    wrong = certify("verify", file, "--base", where / "base", "--checkpoint", where / "one")
    assert wrong.returncode == 4


def test_a_gate_takes_a_recipe_and_replays_it(where: Path, tmp_path: Path) -> None:
    """Noise goes into the merged weights, which stay what they were."""
    out = tmp_path / "gate.json"
    done = certify(
        "gate", recipe(where), "--base", where / "base", "-b", where / "own.jsonl", "--sigma", "1e-4", "--p1", "0.95",
        "--at-least", "0.2", "--power", "0.5", "--draws-dir", tmp_path, "-o", out,
    )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stderr
    record = read_document(out)
    assert isinstance(record, GateRecord)
    assert record.checkpoint.weights == open_checkpoint(where / "merge.toml").identity.weights
    items = ("--benchmark", where / "own.jsonl")
    found = certify("verify", out, "--checkpoint", where / "merge.toml", *items, "--replay", "2")
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_recipe_as_base(where: Path) -> None:
    """What is fine-tuned further is often a merge."""
    found = certify("check", where / "one", "--base", recipe(where), "-b", where / "own.jsonl", "--items", "fixed")
    assert found.returncode in (0, 1), found.stderr


LARGE = 40  # MB of each model below


def test_a_merge_is_streamed(tmp_path: Path) -> None:
    """Its identity takes no more memory than tensors: far less than one of the three models."""
    config = models.LlamaConfig(
        vocab_size=len(models.CHARACTERS) + 2, hidden_size=256, intermediate_size=512, num_hidden_layers=16,
        num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    for name in ("base", "one", "two"):
        models.save_folder(tmp_path / name, models.LlamaForCausalLM(config))
    size = (tmp_path / "one" / "model.safetensors").stat().st_size / 2**20
    assert size > LARGE
    text = 'merge_method="ties"\nbase_model="base"\nparameters={weight=1.0,density=0.5}\n'
    file = recipe(tmp_path, text + 'models=[{model="one"},{model="two"}]')
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from certify.checkpoints import open_checkpoint as o\n"
        "small = o(Path(sys.argv[2])).plan\n"
        "a = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; m = o(Path(sys.argv[1]))\n"
        "for _ in m.read_all(): pass\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - a) / 1024)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, file, tmp_path / "one"], capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.75 * size, f"{done.stdout} MB for models of {size:.0f} MB"



# Adapters in recipes.


def test_an_adapter_is_a_model_of_a_recipe(where: Path, tmp_path: Path) -> None:
    """Merged into the recipe's base, else into the one that is gated against; scaled where the recipe says so."""
    peft = pytest.importorskip("peft")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        adapted = peft.get_peft_model(
            models.llama(tied=False),
            peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
        )
    adapted.save_pretrained(where / "adapter")

    def at(scale: float, base: str = 'base_model = "base"\n', weight: float = 1.0) -> Checkpoint:
        entry = f'models = [{{model = "adapter", scale = {scale}}}, {{model = "base", parameters = {{weight = 0.0}}}}]'
        text = f'merge_method = "linear"\n{base}parameters = {{weight = {weight}}}\n{entry}'
        return open_checkpoint(recipe(where, text, "scaled.toml"), open_checkpoint(where / "base"))

    base = open_checkpoint(where / "base")
    whole = open_checkpoint(where / "adapter", base)
    assert at(1.0).identity.weights == at(1.0, base="").identity.weights == whole.identity.weights
    assert at(0.0).identity.weights == base.identity.weights
    half = at(0.5)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.allclose(half.read(name), (base.read(name) + whole.read(name)) / 2)
    assert "linear: model adapter (scale 0.5)" in half.identity.spelling
    wrong = 'merge_method = "linear"\nmodels = [{model = "one", scale = 0.5, parameters = {weight = 1.0}}]'
    with pytest.raises(CheckpointError, match=r"one: scale is of adapters, and this is none: give it a weight"):
        open_checkpoint(recipe(where, wrong, "wrong.toml"))


# What is refused, and how it is said.

LINEAR: dict[str, Any] = {"merge_method": "linear", "models": [{"model": "one", "parameters": {"weight": 1.0}}]}
SLERP: dict[str, Any] = {"merge_method": "slerp", "base_model": "base", "models": [{"model": "one"}]}


def models_of(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return LINEAR | {"models": list(entries)}


BAD: dict[str, tuple[str | Mapping[str, Any], str]] = {
    "another method": (LINEAR | {"merge_method": "dare_ties"}, r"'dare_ties' is not known: one of .*ties \(of anoth"),
    "a method of nobody": (LINEAR | {"merge_method": 3}, r"merge_method = 3 is not known: one of linear, slerp, task_"),
    "no recipe": ({"a": 1}, r"merge\.yaml: no key merge_method, as a recipe of a merge has"),
    "a typo of the method": ({"merge_metod": "linear"}, r"did you mean merge_method by 'merge_metod'\?"),
    "a typo of a key": (LINEAR | {"base_modle": "base"}, r"no key 'base_modle' is known: did you mean base_model\?"),
    "a typo of a parameter": (
        models_of({"model": "one", "parameters": {"wieght": 1}}),
        r"models, number 1: parameters: no key 'wieght' of linear is known: did you mean weight\?",
    ),
    "a parameter of another method": (
        LINEAR | {"parameters": {"density": 0.5}}, r"no key 'density' of linear is known: known are weight, normalize",
    ),
    "a parameter of all in one": (
        models_of({"model": "one", "parameters": {"weight": 1, "normalize": True}}), r"no key 'normalize' of linear",
    ),
    "no weight": (models_of({"model": "one"}), r"linear needs weight of one for tensor"),
    "a weight that is no number": (
        models_of({"model": "one", "parameters": {"weight": "much"}}), r"weight must be a number, got 'much'",
    ),
    "an endless weight": (models_of({"model": "one", "parameters": {"weight": float("inf")}}), r"must be a number"),
    "a density above 1": (
        {"merge_method": "ties", "base_model": "base", "models": [{"model": "one", "parameters": {"density": 50}}]},
        r"density must lie in \[0, 1\], got 50",
    ),
    "normalize that is no flag": (LINEAR | {"parameters": {"normalize": "yes please"}}, r"normalize must be true or"),
    "no base": ({**SLERP, "base_model": None}, r"slerp needs base_model"),
    "three to slerp": (SLERP | {"models": [{"model": "one"}, {"model": "two"}]}, r"one other model, and 3 are named"),
    "the base alone": (
        {"merge_method": "ties", "base_model": "base", "models": [{"model": "base"}]}, r"a model beside base_model",
    ),
    "one model twice": (
        models_of({"model": "one"}, {"model": "./one"}), r"one is named twice among the models",
    ),
    "no models": (LINEAR | {"models": []}, r"models must be a list of models, got \[\]"),
    "models and slices": (LINEAR | {"slices": []}, r"give the models to merge under the one key models"),
    "a name as model": (LINEAR | {"models": ["one"]}, r"models, number 1: must have a key model, got 'one'"),
    "a table as model": (models_of({"model": {"path": "one"}}), r"must be the path of a folder, got \{'path': 'one'\}"),
    "a hub name": (
        models_of({"model": "mistralai/Mistral-7B", "parameters": {"weight": 1}}),
        r"'mistralai/Mistral-7B': there is no such folder beside the recipe, and no name is looked up on the",
    ),
    "model and adapter in one": (models_of({"model": "one+adapter"}), r"an adapter is named alone, and merged into"),
    "a path that is not there": (
        models_of({"model": "onne", "parameters": {"weight": 1}}), r"no such folder or file \(did you mean .*/one",
    ),
    "a scale in YAML": (models_of({"model": "one", "scale": 0.5}), r"no key 'scale' is known"),
    "another tokenizer": (LINEAR | {"tokenizer_source": "union"}, r"tokenizer_source = 'union': the merge has the tok"),
    "modules": ({"merge_method": "linear", "modules": {"a": 1}}, r"modules = \{'a': 1\}: parts of a model"),
    "another dtype": (LINEAR | {"dtype": "bf16"}, r"dtype = 'bf16' is not known: did you mean bfloat16\?"),
    "slices that stack": (
        {"merge_method": "linear", "slices": [{"sources": []}, {"sources": []}]}, r"slices puts layers together anew",
    ),
    "layers left out": (
        {**SLERP, "models": None, "parameters": {"t": 0.5}, "slices": [
            {"sources": [{"model": "base", "layer_range": [0, 2]}, {"model": "one", "layer_range": [0, 1]}]}]},
        r"layer_range \[0, 1\] of one leaves out some of its 2 layers",
    ),
    "a range of nothing": (
        {**SLERP, "models": None, "slices": [{"sources": [{"model": "base", "layer_range": 2}]}]},
        r"layer_range must be two whole numbers, got 2",
    ),
    "no keys": ("- a\n- b\n", r"expected keys and values of a recipe, got list"),
    "no YAML": ("a: [", r"merge\.yaml: not readable YAML: "),
    "a key twice": ("merge_method: linear\nmerge_method: ties\n", r"the key 'merge_method' is there twice"),
    "an alias": ("a: &x [1]\nb: *x\n", r"an alias \(\*name\), which is not read: write the value out"),
    "code": ("!!python/object/apply:os.system ['true']\n", r"not readable YAML: could not determine a constructor"),
    "depth": ("[" * 5000, r"not readable"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_recipe_is_named(where: Path, case: str) -> None:
    """One line: the file, the key, what stands there, what may."""
    text, named = BAD[case]
    text = text if isinstance(text, str) else {k: v for k, v in text.items() if v is not None}
    file = recipe(where, text, "merge.yaml")
    with pytest.raises(CheckpointError, match=named) as caught:
        _ = open_checkpoint(file).identity
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))


def other_architecture(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=18, n_embd=16, n_layer=1, n_head=2)).save_pretrained(folder)


def less(folder: Path) -> None:
    models.save_folder(folder, models.llama(tied=True))


def wider(folder: Path) -> None:
    models.save_folder(folder, models.llama(tied=False, hidden=32))


def half(folder: Path) -> None:
    models.save_folder(folder, models.llama(tied=False).to(torch.float16))


def nested(folder: Path) -> None:
    folder.mkdir()
    recipe(folder, AVERAGE.replace('"one"', '"../one"').replace('"two"', '"../two"').replace('"base"', '"../base"'))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (other_architecture, r"other is of another architecture \(gpt2\) than .*one \(llama\)"),
        (less, r"tensors of .*other differ from those of .*one: missing \['lm_head.weight'\], extra \[\]"),
        (wider, r"tensor 'lm_head.weight' has shape \(18, 32\) in .*other and \(18, 16\) in .*one: only models of one"),
        (half, r"tensor 'lm_head.weight' is F16 in .*other and F32 in .*one: name the dtype to merge in"),
        (nested, r"merge\.toml: a recipe in a recipe: write that merge"),
    ],
)
def test_models_that_do_not_fit_together(
    where: Path, tmp_path: Path, make: Callable[[Path], None], named: str
) -> None:
    """The tensor and both models, before anything is merged."""
    other = tmp_path / "other"
    make(other)
    source = other / "merge.toml" if make is nested else other
    entries = [{"model": str(m), "parameters": {"weight": 0.5}} for m in (where / "one", source)]
    with pytest.raises(CheckpointError, match=named) as caught:
        open_checkpoint(recipe(tmp_path, LINEAR | {"models": entries}, "merge.yaml"))
    assert "\n" not in str(caught.value)


def test_a_filter_that_fits_no_tensor_is_named(where: Path) -> None:
    """Mistyped, it leaves the merge the base itself, which a gate certifies: a warning says so."""

    def weighed(part: str) -> str:
        return (
            f"merge_method: task_arithmetic\nbase_model: base\nmodels:\n- model: one\n  parameters:\n    weight:\n"
            f"    - {{filter: {part}, value: 1}}\n    - {{value: 0}}\n"
        )

    with pytest.warns(CertifyWarning, match=r"weight: the filter 'mlpp' is in no tensor's name .* does nothing"):
        open_checkpoint(recipe(where, weighed("mlpp"), "typo.yaml"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CertifyWarning)
        open_checkpoint(recipe(where, weighed("mlp"), "fits.yaml"))


def test_weights_that_sum_to_nothing(where: Path) -> None:
    """Named with the tensor, whichever it is first."""
    entries = [{"model": "one", "parameters": {"weight": 1}}, {"model": "two", "parameters": {"weight": -1}}]
    file = recipe(where, LINEAR | {"models": entries}, "none.yaml")
    with pytest.raises(CheckpointError, match=r"tensor '.*': the weights 1.0, -1.0 sum to 0, and normalize divides"):
        _ = open_checkpoint(file).identity


def test_a_bad_recipe_is_exit_2_in_one_line(where: Path) -> None:
    """As any other bad input on the command line."""
    file = recipe(where, LINEAR | {"merge_method": "tis"}, "typo.yaml")
    found = certify("check", file, "--base", where / "base", "-b", where / "own.jsonl")
    assert found.returncode == 2
    assert "did you mean ties?" in " ".join(found.stderr.split())
    assert "Traceback" not in found.stderr
