"""Opening and identifying checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import models
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from certify.checkpoints import difference, load_model, open_checkpoint
from certify.checkpoints.difference import companion_differences, spelling_differences
from certify.checkpoints.generation_settings import generation_meaning
from certify.errors import CheckpointError
from certify.records import ModelIdentity, identity_key


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("checkpoints") / "base", models.llama())


def logits(model) -> torch.Tensor:  # type: ignore[no-untyped-def]
    with torch.inference_mode():
        return model(input_ids=torch.arange(2, 14)[None]).logits


def test_identity_does_not_depend_on_sharding(base: Path, tmp_path: Path) -> None:
    """One file or two shards: the same digest, and both load."""
    sharded = open_checkpoint(models.resharded(base, tmp_path / "sharded"))
    assert sharded.identity.weights == open_checkpoint(base).identity.weights
    load_model(sharded)


def test_identity_does_not_depend_on_the_folders_name(base: Path, tmp_path: Path) -> None:
    """A copy has the same identity but for its name."""
    copy = open_checkpoint(models.variant(base, tmp_path / "copy", lambda tensors: None)).identity
    original = open_checkpoint(base).identity
    assert copy.model_copy(update={"name": original.name}) == original


@pytest.mark.parametrize("change", ["byte", "dtype"])
def test_identity_changes_with_anything_of_the_weights(base: Path, tmp_path: Path, change: str) -> None:
    """A bit of one weight or a tensor's dtype: each gives another digest."""

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        norm = tensors.pop("model.norm.weight")
        if change == "byte":
            norm.view(torch.int32)[0] ^= 1
        tensors["model.norm.weight"] = norm.to(torch.float64) if change == "dtype" else norm

    changed = open_checkpoint(models.variant(base, tmp_path / "x", edit))
    assert changed.identity.weights != open_checkpoint(base).identity.weights


def test_a_spelled_out_tie_counts_once(base: Path, tmp_path: Path) -> None:
    """A file that stores the tied head beside the embedding is the same checkpoint."""

    def spell_out(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    both = open_checkpoint(models.variant(base, tmp_path / "both", spell_out))
    assert both.plan.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
    assert both.identity.weights == open_checkpoint(base).identity.weights


def test_a_broken_tie_is_an_error(base: Path, tmp_path: Path) -> None:
    """Tied by the config, different in the file: nobody knows which counts, so it is refused."""

    def contradict(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1

    both = open_checkpoint(models.variant(base, tmp_path / "both", contradict))
    with pytest.raises(CheckpointError, match=r"tied by config\.json but differ"):
        _ = both.identity


def test_versions_in_the_config_do_not_matter(base: Path, tmp_path: Path) -> None:
    """Who wrote config.json is no part of the identity; what it says is."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_version": "0.0"}))
    assert open_checkpoint(folder).identity.companions == open_checkpoint(base).identity.companions
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert open_checkpoint(folder).identity.companions["config"] != open_checkpoint(base).identity.companions["config"]


NOISE = {
    "use_cache": False,
    "pad_token_id": 1,
    "torch_dtype": "float16",
    "dtype": "bfloat16",
    "attention_dropout": 0.5,
    "initializer_range": 3.0,
    "id2label": {"0": "no"},
    "architectures": ["SomethingElse"],
    "a_trainers_note": {"run": 7},
    "_attn_implementation": "eager",
    "attn_implementation": "eager",
    "temperature": 0.3,
    "fusion_config": {"patch": True},
}


@pytest.mark.parametrize("field", NOISE)
def test_spelling_is_not_meaning(base: Path, tmp_path: Path, field: str) -> None:
    """What does not compute changes no identity and reaches no model; it is recorded all the same."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: None)
    models.edit_config(folder, **{field: NOISE[field]})
    ours, theirs = open_checkpoint(base), open_checkpoint(folder)
    assert identity_key(theirs.identity) == identity_key(ours.identity)
    assert theirs.identity.spelling["config.json"] != ours.identity.spelling["config.json"]
    assert any(field in line for line in spelling_differences(ours, theirs))
    loaded = load_model(theirs)
    assert loaded.dtype == torch.float32
    assert loaded.config.attention_dropout == 0.0
    assert torch.equal(logits(loaded), logits(load_model(ours)))


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_parameters": None, "rope_theta": 10000.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000}},
        {"rope_parameters": None, "rope_theta": 10000, "rope_scaling": None},
        {"head_dim": 4},
        {"rms_norm_eps": 1e-6},
    ],
    ids=["older rope", "whole number", "older rope scaling", "what the class derives", "what is the default"],
)
def test_older_and_longer_spellings_are_the_same_config(base: Path, tmp_path: Path, fields: dict[str, object]) -> None:
    """The architecture's own class decides what is meant."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: None)
    models.edit_config(folder, **fields)
    assert open_checkpoint(folder).companions == open_checkpoint(base).companions


@pytest.mark.parametrize(
    "fields",
    [{"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, {"hidden_act": "gelu"},
     {"rms_norm_eps": 1e-5}, {"rope_parameters": {"rope_type": "default", "rope_theta": 10001.0}}],
)  # fmt: skip
def test_what_computes_is_another_config(base: Path, tmp_path: Path, fields: dict[str, object]) -> None:
    """A field that changes logits changes the identity, and the difference names it."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: None)
    models.edit_config(folder, **fields)
    ours, theirs = open_checkpoint(base), open_checkpoint(folder)
    assert theirs.companions["config"] != ours.companions["config"]
    assert not torch.equal(logits(load_model(theirs)), logits(load_model(ours)))
    (named,) = difference(ours, theirs).differences
    assert named.startswith(f"config differs: {next(iter(fields))} is ")


def test_the_dtype_of_computation_is_that_of_most_weights(base: Path, tmp_path: Path) -> None:
    """Other dtypes must be exact in it: then the model computes as stored, else the tensor is named."""

    def halve(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            if name != "model.norm.weight":
                tensors[name] = tensors[name].to(torch.bfloat16)

    folder = models.variant(base, tmp_path / "x", halve)
    opened = open_checkpoint(folder)
    assert (opened.computed_in, opened.identity.computed_in) == ("bfloat16", "bfloat16")
    assert load_model(opened).dtype == torch.bfloat16  # a norm of ones is exact in it
    inexact = models.variant(folder, tmp_path / "y", lambda t: t["model.norm.weight"].fill_(1 + 2**-20))
    with pytest.raises(CheckpointError, match=r"'model\.norm\.weight' is stored in torch\.float32 and computed in"):
        load_model(open_checkpoint(inexact))


def test_the_dtype_of_computation_is_identity() -> None:
    """Two identities that differ in it alone are two models."""
    one = ModelIdentity(name="a", weights="sha256:" + "0" * 64, companions={}, parameters=1, dtypes=("F32",),
                        computed_in="float32")  # fmt: skip
    assert identity_key(one) != identity_key(one.model_copy(update={"computed_in": "bfloat16"}))


def test_a_single_file_opens(base: Path) -> None:
    """A bare safetensors file is a checkpoint without companions."""
    single = open_checkpoint(base / "model.safetensors")
    assert single.identity.weights == open_checkpoint(base).identity.weights
    assert single.identity.companions == {}
    assert single.like(open_checkpoint(base)).identity.weights == single.identity.weights
    for one, other in ((single, open_checkpoint(base)), (open_checkpoint(base), single)):
        assert companion_differences(one, other) == []


def test_a_truncated_file_is_one_clear_error(base: Path, tmp_path: Path) -> None:
    """A file that was cut off is named, whether in its header or in its data."""
    whole = (base / "model.safetensors").read_bytes()
    for keep in (4, 200, len(whole) - 10):
        folder = models.variant(base, tmp_path / str(keep), lambda tensors: None)
        (folder / "model.safetensors").write_bytes(whole[:keep])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: not a readable safetensors file"):
            open_checkpoint(folder)


def test_pickled_weights_are_refused_by_name(tmp_path: Path) -> None:
    """Nothing is unpickled; the error names the files and the way out."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is pickled"):
        open_checkpoint(tmp_path)


def test_a_missing_shard_is_named(base: Path, tmp_path: Path) -> None:
    """The index names a file that is not there."""
    folder = models.resharded(base, tmp_path / "x")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"missing: model-00002-of-00002\.safetensors"):
        open_checkpoint(folder)


def test_a_folder_without_config_is_refused(base: Path, tmp_path: Path) -> None:
    """A model folder needs config.json."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: None)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        open_checkpoint(folder)


def test_weights_that_do_not_fit_the_config_are_refused(base: Path, tmp_path: Path) -> None:
    """A missing tensor is an error when the model loads, never a random initialisation."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: tensors.pop("model.layers.0.mlp.up_proj.weight"))
    with pytest.raises(CheckpointError, match="do not fit config"):
        load_model(open_checkpoint(folder))


def test_one_end_is_one_end_however_it_is_written() -> None:
    """A list of one token, or of the same one twice, ends answers where the token itself does."""
    single = generation_meaning(GenerationConfig(eos_token_id=2))
    for written in ([2], [2, 2]):
        assert generation_meaning(GenerationConfig(eos_token_id=written)) == single
    assert generation_meaning(GenerationConfig(eos_token_id=[3, 2])) == {**single, "eos_token_id": [2, 3]}


@pytest.mark.parametrize("ends", [[], [[1]], [None], "x", 1.5, True, {"a": 1}])
def test_ends_that_are_no_tokens_are_refused(base: Path, tmp_path: Path, ends: object) -> None:
    """An empty list, a list of lists: in one line that names the folder and the field."""
    folder = tmp_path / "x"
    shutil.copytree(base, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    with pytest.raises(CheckpointError, match=r"x: generation_config\.json cannot be used: ") as caught:
        _ = open_checkpoint(folder).identity
    assert "\n" not in str(caught.value)


def test_tied_weights_may_be_stored_under_either_name(base: Path, tmp_path: Path) -> None:
    """Only the head is in the file: it is the embedding, and the model is the same."""
    config = json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": True}
    ours, theirs = (shutil.copytree(base, tmp_path / name) for name in ("embedding", "head"))
    tensors = load_file(base / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    save_file(tensors, ours / "model.safetensors", metadata={"format": "pt"})
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, theirs / "model.safetensors", metadata={"format": "pt"})
    for folder in (ours, theirs):
        (folder / "config.json").write_text(json.dumps(config))
    assert open_checkpoint(theirs).identity.weights == open_checkpoint(ours).identity.weights
    assert set(open_checkpoint(theirs).parameters) == set(open_checkpoint(ours).parameters)
