"""Opening and identifying checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import models
import pytest
import torch
from safetensors.torch import load_file, save_file

from certify.checkpoints import load_model, open_checkpoint
from certify.errors import CheckpointError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("checkpoints") / "base", models.llama())


def resharded(source: Path, folder: Path) -> Path:
    """The same weights in two files with an index."""
    models.variant(source, folder, lambda tensors: None)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: file for file, part in files.items() for n in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_identity_does_not_depend_on_sharding(base: Path, tmp_path: Path) -> None:
    """One file or two shards: the same digest, and both load."""
    sharded = open_checkpoint(resharded(base, tmp_path / "sharded"))
    assert sharded.identity.weights == open_checkpoint(base).identity.weights
    load_model(sharded)


def test_identity_does_not_depend_on_the_folders_name(base: Path, tmp_path: Path) -> None:
    """A copy has the same identity but for its name."""
    copy = open_checkpoint(models.variant(base, tmp_path / "copy", lambda tensors: None)).identity
    original = open_checkpoint(base).identity
    assert copy.model_copy(update={"name": original.name}) == original


@pytest.mark.parametrize("change", ["byte", "name", "shape", "dtype"])
def test_identity_changes_with_anything_of_the_weights(base: Path, tmp_path: Path, change: str) -> None:
    """A bit of one weight, a tensor's name, shape or dtype: each gives another digest."""

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        norm = tensors.pop("model.norm.weight")
        if change == "byte":
            norm.view(torch.int32)[0] ^= 1
        renamed = "model.renamed.weight" if change == "name" else "model.norm.weight"
        shaped = norm.reshape(4, 4) if change == "shape" else norm
        tensors[renamed] = shaped.to(torch.float64) if change == "dtype" else shaped

    changed = open_checkpoint(models.variant(base, tmp_path / "x", edit))
    assert changed.identity.weights != open_checkpoint(base).identity.weights


def test_a_spelled_out_tie_counts_once(base: Path, tmp_path: Path) -> None:
    """A file that stores the tied head beside the embedding is the same checkpoint."""

    def spell_out(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    both = open_checkpoint(models.variant(base, tmp_path / "both", spell_out))
    assert both.ties == {"lm_head.weight": "model.embed_tokens.weight"}
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


def test_a_single_file_opens(base: Path) -> None:
    """A bare safetensors file is a checkpoint without companions."""
    single = open_checkpoint(base / "model.safetensors")
    assert single.identity.weights == open_checkpoint(base).identity.weights
    assert single.identity.companions == {}


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
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: convert to safetensors"):
        open_checkpoint(tmp_path)


def test_a_missing_shard_is_named(base: Path, tmp_path: Path) -> None:
    """The index names a file that is not there."""
    folder = resharded(base, tmp_path / "x")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"missing: model-00002-of-00002\.safetensors"):
        open_checkpoint(folder)


def test_a_folder_without_config_is_refused(base: Path, tmp_path: Path) -> None:
    """A model folder needs config.json."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: None)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        open_checkpoint(folder)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """No folder, no file, no hub id."""
    with pytest.raises(CheckpointError, match="no such folder or file"):
        open_checkpoint(tmp_path / "nothing")


def test_weights_that_do_not_fit_the_config_are_refused(base: Path, tmp_path: Path) -> None:
    """A missing tensor is an error when the model loads, never a random initialisation."""
    folder = models.variant(base, tmp_path / "x", lambda tensors: tensors.pop("model.layers.0.mlp.up_proj.weight"))
    with pytest.raises(CheckpointError, match="do not fit config"):
        load_model(open_checkpoint(folder))
