"""Which files make a checkpoint: one reading or none."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import models
import pytest
import torch
from safetensors.torch import load_file, save_file

from certify.checkpoints import load_model, load_tokenizer, open_checkpoint
from certify.errors import CertifyWarning, CheckpointError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("files") / "base", models.llama())


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    return models.variant(base, tmp_path / "folder", lambda tensors: None)


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def adapter_weights(folder: Path) -> None:
    save_file({"a": torch.ones(1)}, folder / "adapter_model.safetensors")


def shards_beside(folder: Path) -> None:
    other = models.resharded(folder, folder.parent / "other")
    for file in other.glob("model*"):
        shutil.copy(file, folder)


def stale_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')


def beside(name: str) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        shutil.copy(folder / "model.safetensors", folder / name)

    return add


@pytest.mark.parametrize(
    ("leave", "named"),
    [
        (adapter, r"two readings: .*adapter_config\.json.*delete the adapter's files, or merge"),
        (adapter_weights, r"two readings: .*adapter_model\.safetensors"),
        (shards_beside, r"two sets of weights: model\.safetensors, which .*names shards of its own"),
        (stale_index, r"shards that are missing .*: delete model\.safetensors\.index\.json, or model\."),
        (beside("model.fp16.safetensors"), r"two sets of weights: .*model\.fp16\.safetensors.*move one set away"),
        (beside("consolidated.safetensors"), r"two sets of weights: .*consolidated\.safetensors"),
        (beside("pytorch_model.bin"), r"two sets of weights: .*pytorch_model\.bin"),
        (beside("model-00001-of-00002.safetensors"), r"two sets of weights: .*model-00001-of-00002"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_a_folder_with_two_readings_is_refused(folder: Path, leave: Callable[[Path], None], named: str) -> None:
    """What ordinary work leaves behind: the line says what was found, who takes it, and what to do."""
    open_checkpoint(folder)
    leave(folder)
    with pytest.raises(CheckpointError, match=named) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)


def index(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        (folder / "model.safetensors.index.json").write_text(text)

    return write


def config(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "config.json").write_text(text)

    return write


def nothing_in_it(folder: Path) -> None:
    save_file({}, folder / "model.safetensors")


def pipe_as_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("leave", "named"),
    [
        (index("{"), r"model\.safetensors\.index\.json: not readable JSON: Expecting property name"),
        (index("[]"), r"index\.json: expected a JSON object, got list"),
        (index("{}"), r"index\.json: expected an object 'weight_map' of tensor name to file"),
        (index('{"weight_map": {"a": 1}}'), "expected an object 'weight_map' of tensor name to file"),
        (index('{"weight_map": {}}'), "its weight_map names no file"),
        (index('{"weight_map": {"a": "/etc/passwd"}}'), "names a file outside its folder: '/etc/passwd'"),
        (index('{"weight_map": {"a": "gone.safetensors"}}'), r"names files that are missing: gone\.safetensors"),
        (nothing_in_it, "holds no tensors"),
        (config("{"), r"config\.json: not readable JSON: Expecting property name"),
        (config('{"vocab_size": 20, "vocab_size": 21}'), "not readable JSON: the key 'vocab_size' is there twice"),
        (config("[" * 100_000), "not readable JSON: nested too deep"),
        (config('"llama"'), "expected a JSON object, got str"),
        (pipe_as_config, r"config\.json: not readable: it is no ordinary file"),
        (no_config, r"folder: config\.json is missing; a model folder needs it"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_folder_that_cannot_be_read_says_why(folder: Path, leave: Callable[[Path], None], named: str) -> None:
    """The file, what is wrong with it and the rule, in one line."""
    leave(folder)
    with pytest.raises(CheckpointError, match=named) as caught:
        _ = open_checkpoint(folder).identity
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_hidden_layers": 10**12}, r"num_hidden_layers = 1000000000000, but the files hold \d+ tensors"),
        ({"text_config": {"n_layer": 10**9}}, r"n_layer = 1000000000, but the files hold"),
        ({"num_hidden_layers": 900}, r"describes a model of more than \d+ parameters, far more than the files hold"),
    ],
)
def test_a_config_far_larger_than_its_files_is_refused_before_it_is_built(
    folder: Path, fields: dict[str, object], named: str
) -> None:
    """Building them would take minutes and gigabytes to learn the same."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=named):
        _ = open_checkpoint(folder).plan
    assert time.monotonic() - start < 5


def beside_no_weights(*names: str) -> Callable[[Path], None]:
    def leave(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", *names):
            (folder / name).write_bytes(b"x")

    return leave


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def runs_of_a_trainer(folder: Path) -> None:
    for step in (500, 1000):
        shutil.copytree(folder, folder / f"checkpoint-{step}", ignore=shutil.ignore_patterns("checkpoint-*"))
    beside_no_weights()(folder)


@pytest.mark.parametrize(
    ("leave", "named"),
    [
        (beside_no_weights(), r"no model\.safetensors and no model\.safetensors\.index\.json$"),
        (beside_no_weights("pytorch_model.bin"), r"pytorch_model\.bin is pickled, and nothing is unpickled here"),
        (beside_no_weights("zero_to_fp32.py", "latest"), r"DeepSpeed's partitioned state: `python .*/folder OUTPUT"),
        (beside_no_weights(".metadata", "a.distcp"), "torch.*`accelerate merge-weights .*/folder OUTPUT`"),
        (beside_no_weights("model-q4.gguf"), r"model-q4\.gguf is GGUF, for another engine"),
        (beside_no_weights("model.onnx"), r"model\.onnx is ONNX"),
        (beside_no_weights("flax_model.msgpack"), "Flax weights"),
        (beside_no_weights("tf_model.h5"), "TensorFlow weights"),
        (beside_no_weights("model.safetensors.incomplete"), "an unfinished download: fetch it again"),
        (pointer, "a pointer of git-lfs, not the weights: run `git lfs pull`"),
        (runs_of_a_trainer, r"holds 2 checkpoints \(checkpoint-500, checkpoint-1000\): name one of them, or check"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_a_folder_is_instead_is_said(folder: Path, leave: Callable[[Path], None], named: str) -> None:
    """With the next command; the state of a trainer is no weights."""
    leave(folder)
    with pytest.raises(CheckpointError, match=named):
        open_checkpoint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_no_numbers_are_named(base: Path, tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    """Of a run that has failed, or a file that is damaged; large numbers are numbers."""

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor.to(dtype)
        tensors["model.norm.weight"][:] = torch.finfo(dtype).max / 2
        tensors["lm_head.weight" if "lm_head.weight" in tensors else "model.embed_tokens.weight"][1, 2] = value

    broken = open_checkpoint(models.variant(base, tmp_path / "broken", spoil))
    with pytest.raises(CheckpointError, match=r"1 of the [\d,]+ numbers of tensor '.*' are NaN or infinite"):
        _ = broken.identity


def test_half_a_character_is_no_text(folder: Path) -> None:
    """JSON can write it, and nothing can be digested that holds it."""
    settings = json.loads((folder / "generation_config.json").read_text()) | {"x": "\ud800"}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=r"generation_config\.json: not readable JSON: .*surrogates not allowed"):
        _ = open_checkpoint(folder).identity


@pytest.mark.parametrize(("written", "limit"), [(64, 64), (1, 1), (0, None), (-1, None)])
def test_positions_are_a_limit_only_where_the_config_names_one(folder: Path, written: object, limit: object) -> None:
    """Zero and less mean "no limit" in configs that say so."""
    fields = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": written}
    (folder / "config.json").write_text(json.dumps(fields))
    assert open_checkpoint(folder).positions == limit


def test_other_files_of_ordinary_work_are_no_weights(folder: Path) -> None:
    """A trainer's state, coordinates of a subspace and notes are left alone."""
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (folder / name).write_bytes(b"")
    save_file({"coordinates": torch.ones(1)}, folder / "basin_coordinates.safetensors")
    assert set(open_checkpoint(folder).tensors) == set(load_file(folder / "model.safetensors"))


def test_an_index_that_disagrees_with_its_shards_is_stale(base: Path, tmp_path: Path) -> None:
    """It names a tensor that no shard holds, or another shard, or forgets one: refused with the tensor's name."""
    file = models.resharded(base, tmp_path / "x") / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    name = "model.norm.weight"
    for change in ({**index["weight_map"], "more": index["weight_map"][name]},
                   {n: f for n, f in index["weight_map"].items() if n != name}):  # fmt: skip
        file.write_text(json.dumps({"weight_map": change}))
        with pytest.raises(CheckpointError, match=r"is stale: it and the shards disagree where '(more|model\.norm)"):
            open_checkpoint(file.parent)
    file.write_text(json.dumps({"weight_map": {name: "../folder/model.safetensors"}}))
    with pytest.raises(CheckpointError, match="names a file outside its folder"):
        open_checkpoint(file.parent)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"transformers_weights": "other.safetensors"}, "transformers_weights = 'other.safetensors' makes"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config .* quantised: dequantise"),
        ({"model_type": "nobody"}, "no known causal language model"),
        ({"model_type": "clip"}, "no known causal language model"),
        ({"hidden_size": "many"}, "no known causal language model"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(folder: Path, fields: dict[str, object], named: str) -> None:
    """By name, in one line, before any model is made."""
    models.edit_config(folder, **fields)
    with pytest.raises(CheckpointError, match=named) as caught:
        load_model(open_checkpoint(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_adapter_alone_is_named(base: Path, tmp_path: Path) -> None:
    """It needs the weights that it changes."""
    adapter(tmp_path)
    with pytest.raises(CheckpointError, match=r"the base None, which is no folder here: give the base"):
        open_checkpoint(tmp_path)


def test_the_folder_below_is_suggested(base: Path, tmp_path: Path) -> None:
    """A trainer's output folder holds checkpoints, and is none."""
    shutil.copytree(base, tmp_path / "run" / "checkpoint-500")
    with pytest.raises(CheckpointError, match=r"did you mean .*checkpoint-500"):
        open_checkpoint(tmp_path / "run")


def test_a_path_never_reaches_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening, loading and a mistyped path open no socket, whatever the environment says of being online."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("reached for the network")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    opened = open_checkpoint(folder)
    load_model(opened)
    load_tokenizer(opened)
    with pytest.raises(
        CheckpointError, match=r"no such folder or file \(did you mean .*folder\?\); a hub model is written hf://"
    ):
        open_checkpoint(folder.parent / "foldr")
    monkeypatch.chdir(folder.parent)
    for typo in ("org/name", "folde/name", Path("org/name@main")):
        with pytest.raises(CheckpointError, match="no such folder or file"):
            open_checkpoint(typo)


@pytest.mark.parametrize("source", ["hf://org/name", "hf://", "hf://a/b/c@main", "hf://org/na me@main"])
def test_a_hub_model_is_named_with_its_revision(source: str) -> None:
    """Anything else could be another model tomorrow."""
    with pytest.raises(CheckpointError, match="is written hf://org/name@revision"):
        open_checkpoint(source)


def test_a_hub_model_is_asked_for_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a path took one of its slashes."""
    asked: list[tuple[str, str]] = []

    def give(name: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    for source in ("hf://org/name@v1", Path("hf://org/name@v1")):
        assert open_checkpoint(source).path == folder
    assert asked == [("org/name", "v1")] * 2


def test_code_in_the_folder_never_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """auto_map in config and tokenizer, a module beside them, and a terminal that would say yes: nothing runs."""
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Model: ...\nclass Tokenizer: ...\n")
    models.edit_config(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *args: "y")
    opened = open_checkpoint(folder)
    load_model(opened)
    with contextlib.suppress(CheckpointError):
        load_tokenizer(opened)
    assert not ran.exists()


def test_a_folder_that_cannot_be_listed_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(CheckpointError, match="folder: cannot be listed: Permission denied"):
        open_checkpoint(folder)


def test_a_process_without_its_streams_loads_a_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon's, which closed them."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("certify.checkpoints.config._is_open", lambda fd: fd == 2)
    load_tokenizer(open_checkpoint(folder))


def test_a_tokenizer_that_panics_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its library prints the panic past Python, and the error says the same."""
    start, text = {"SpecialToken": {"id": "<eos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    value = json.loads((folder / "tokenizer.json").read_text())
    template = {"type": "TemplateProcessing", "single": [start, text], "pair": [start, text], "special_tokens": {}}
    (folder / "tokenizer.json").write_text(json.dumps({**value, "post_processor": template}))
    opened = open_checkpoint(folder)
    capfd.readouterr()
    with pytest.raises(CheckpointError, match=r"folder: cannot load its tokenizer: no entry found for key"):
        load_tokenizer(opened)
    assert capfd.readouterr() == ("", "")


def test_a_setting_that_a_tokenizer_ignores_is_a_warning(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its library says so past Python: held back, and not lost."""
    value = json.loads((folder / "tokenizer.json").read_text())
    value["added_tokens"][0]["single_ord"] = True
    (folder / "tokenizer.json").write_text(json.dumps(value))
    opened = open_checkpoint(folder)
    capfd.readouterr()
    with pytest.warns(CertifyWarning, match=r"folder: its tokenizer's library: Ignored unknown .* single_ord"):
        load_tokenizer(opened)
    assert capfd.readouterr() == ("", "")
