"""PEFT adapters: what is gated is what merging makes, bit for bit, and what does not merge is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import forked
import models
import pytest
import torch
from forked import certify
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from certify.checkpoints import Checkpoint, load_tokenizer, open_checkpoint
from certify.checkpoints.adapter import unmerged
from certify.documents import Certificate, read_document
from certify.errors import CertifyWarning, CheckpointError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("default")  # of peft, at import and use

TARGETS = ["q_proj", "v_proj", "down_proj"]
ADAPTERS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(r=2, target_modules=TARGETS, init_lora_weights=False),
    "rslora": lambda: peft.LoraConfig(r=4, target_modules=TARGETS, use_rslora=True, init_lora_weights=False),
    "dora": lambda: peft.LoraConfig(r=2, target_modules=TARGETS, use_dora=True, init_lora_weights=False),
    "ranks": lambda: peft.LoraConfig(
        r=2, target_modules=TARGETS, rank_pattern={"q_proj": 3}, alpha_pattern={"v_proj": 7}, init_lora_weights=False
    ),
    "embedding": lambda: peft.LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"], init_lora_weights=False),
    "saved": lambda: peft.LoraConfig(
        r=2, target_modules=TARGETS, modules_to_save=["lm_head"], init_lora_weights=False
    ),
    "ia3": lambda: peft.IA3Config(target_modules=TARGETS, feedforward_modules=["down_proj"], init_ia3_weights=False),
    "loha": lambda: peft.LoHaConfig(r=2, target_modules=TARGETS, init_weights=False),
}  # fmt: skip


def base_folder(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    return models.save_folder(folder, models.llama(tied=False).to(dtype))


def adapter_folder(base: Path, folder: Path, kind: str = "lora", dtype: torch.dtype = torch.float32) -> Path:
    """An adapter with random weights, saved as people save it."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), ADAPTERS[kind]())
        for name, weight in model.named_parameters():
            if "lora" in name or "ia3" in name or "hada" in name or "modules_to_save" in name:
                weight.data += 0.05 * torch.randn_like(weight)
        model.save_pretrained(folder)
    return folder


def merged_by_hand(base: Path, adapter: Path, folder: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """The folder that users made until now."""
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), adapter)
    models.save_folder(folder, model.merge_and_unload())
    return open_checkpoint(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_merged_as_peft_merges(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    """The same weights as `merge_and_unload` and `save_pretrained` leave, bit for bit, and not the base's."""
    base = base_folder(tmp_path / "base", dtype)
    adapter = adapter_folder(base, tmp_path / "adapter", kind, dtype)
    found, expected = open_checkpoint(adapter), merged_by_hand(base, adapter, tmp_path / "merged", dtype)
    assert found.identity.weights == expected.identity.weights
    assert found.identity.companions == expected.identity.companions
    assert found.identity.weights != open_checkpoint(base).identity.weights
    assert "adapter_model.safetensors" in found.identity.spelling


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter of it, ten items."""
    folder = tmp_path_factory.mktemp("adapted")
    base = base_folder(folder / "base")
    adapter_folder(base, folder / "adapter")
    models.write_jsonl(folder / "own.jsonl", models.own_answers(models.llama(tied=False), 10))
    return folder


def one_record(folder: Path) -> Certificate:
    (file,) = folder.glob("*.json")
    record = read_document(file)
    assert isinstance(record, Certificate)
    return record


def test_checked_and_verified_like_its_merge(where: Path, tmp_path: Path) -> None:
    """`certify check ADAPTER --base BASE`: the scores of the merged folder; the record verifies and replays."""
    asked = ("--base", where / "base", "-b", where / "own.jsonl", "--items", "fixed", "--max-drop", "0.5")
    merged_by_hand(where / "base", where / "adapter", tmp_path / "merged")
    ours = certify("check", where / "adapter", *asked, "-o", tmp_path / "ours")
    theirs = certify("check", tmp_path / "merged", *asked, "-o", tmp_path / "theirs")
    assert ours.returncode == theirs.returncode
    assert ours.returncode in (0, 1), ours.stderr
    record = one_record(tmp_path / "ours")
    assert record.evidence == one_record(tmp_path / "theirs").evidence
    (file,) = (tmp_path / "ours").glob("*.json")
    found = certify(
        "verify", file, "--base", where / "base", "--checkpoint", where / "adapter",
        "--benchmark", where / "own.jsonl", "--replay", "1",
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr


def test_smoothed_evidence_noises_what_was_merged(where: Path, tmp_path: Path) -> None:
    """Noise is put into a model of its own: the merged weights stay what they were, and all engines take them."""
    done = certify(
        "check", where / "adapter", "--base", where / "base", "-b", where / "own.jsonl", "--require", "smoothed",
        "--sigma", "1e-3", "-n", "40", "--max-drop", "0.9", "--draws-dir", tmp_path, "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stderr
    assert one_record(tmp_path / "out").checkpoint.weights == open_checkpoint(where / "adapter").identity.weights


def test_another_base_is_said_or_refused(where: Path, tmp_path: Path) -> None:
    """One of the same shapes by its name, one of other shapes or depth by the tensor."""
    other = open_checkpoint(models.save_folder(tmp_path / "other", models.llama(tied=False, seed=1)))
    with pytest.warns(CertifyWarning, match=r"was trained on .*base' and is merged into .*other, which was given"):
        open_checkpoint(where / "adapter", other)
    wide = open_checkpoint(models.save_folder(tmp_path / "base", models.llama(tied=False, hidden=32)))
    with pytest.raises(CheckpointError, match=r"adapter: cannot be merged into .*base: ") as caught:
        open_checkpoint(where / "adapter", wide)
    assert "\n" not in str(caught.value)


def added_tokens(where: Path, folder: Path, **settings: Any) -> Path:
    """An adapter of the base with three tokens more, and beside it what peft and transformers make of it."""
    model = AutoModelForCausalLM.from_pretrained(where / "base")
    with torch.random.fork_rng():
        model.resize_token_embeddings(model.config.vocab_size + 3)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, **settings)
    wrapped = peft.get_peft_model(model, config)
    wrapped.save_pretrained(folder / "added")
    models.save_folder(folder / "merged", wrapped.merge_and_unload())
    return folder / "added"


@pytest.mark.parametrize("settings", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}], ids=["resized", "saved"])
def test_an_adapter_brings_the_rows_of_added_tokens(where: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """The embeddings are resized as they were for training: what is gated is the merge, bit for bit."""
    adapter = added_tokens(where, tmp_path, **settings)
    state = torch.random.get_rng_state()
    found = open_checkpoint(adapter, open_checkpoint(where / "base"))
    assert torch.equal(state, torch.random.get_rng_state())
    merged = open_checkpoint(tmp_path / "merged")
    assert found.identity.weights == merged.identity.weights
    assert found.vocabulary == merged.vocabulary == open_checkpoint(where / "base").vocabulary + 3
    asked = ("--base", where / "base", "-b", where / "own.jsonl", "--items", "fixed", "--max-drop", "0.5")
    certify("check", adapter, *asked, "-o", tmp_path / "ours")
    certify("check", tmp_path / "merged", *asked, "-o", tmp_path / "theirs")
    assert one_record(tmp_path / "ours").evidence == one_record(tmp_path / "theirs").evidence


def test_new_rows_that_are_in_no_file_are_named(where: Path, tmp_path: Path) -> None:
    """They would be drawn at random, and no scale of an adapter takes added tokens back."""
    adapter = added_tokens(where, tmp_path)
    base = open_checkpoint(where / "base")
    with pytest.raises(CheckpointError, match="which no scale takes back: after resize_token_embeddings"):
        unmerged(adapter, base)
    stored = load_file(adapter / "adapter_model.safetensors")
    del stored["base_model.model.lm_head.weight"]
    save_file(stored, adapter / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"and 'lm_head\.weight' has no rows for them in it: after"):
        open_checkpoint(adapter, base)


def edited(where: Path, folder: Path, change: Any = None, **fields: object) -> Path:
    """Copy the adapter with other tensors, or other fields of its config."""
    import shutil

    shutil.copytree(where / "adapter", folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    if change is not None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")
    return folder


DEEPER = "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"


def deeper(tensors: dict[str, torch.Tensor]) -> None:
    tensors[DEEPER] = torch.ones(2, 16)


def without_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[min(tensors)]


def emptied(tensors: dict[str, torch.Tensor]) -> None:
    tensors.clear()


def not_a_number(tensors: dict[str, torch.Tensor]) -> None:
    tensors[min(tensors)][0] = torch.nan


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        (deeper, {}, r"layers\.9\..* of the adapter does not fit .*base: it is an adapter of another base"),
        (without_one, {}, r"of the adapter does not fit"),
        (not_a_number, {}, r"numbers of tensor .* are NaN or infinite"),
        (None, {"target_modules": ["nowhere"]}, r"cannot be merged into .*nowhere"),
        (None, {"peft_type": "SOMETHING"}, r"cannot be read as an adapter"),
        (None, {"base_model_name_or_path": "org/model"}, r"the base 'org/model', which is no folder here: give the ba"),
        (None, {"base_model_name_or_path": None}, r"the base None, which is no folder here"),
        (None, {"r": 3}, r"cannot be merged into"),
        (None, {"r": 0}, r"cannot be merged into"),
        (emptied, {}, r"adapter_model\.safetensors: holds no tensors"),
    ],
)
def test_what_does_not_fit_is_one_line(
    where: Path, tmp_path: Path, change: Any, fields: dict[str, object], message: str
) -> None:
    """Tensors that peft would drop without a word are refused, as are its own complaints."""
    folder = edited(where, tmp_path / "a", change, **fields)
    with pytest.raises(CheckpointError, match=message) as caught:
        _ = open_checkpoint(folder).identity
    assert "\n" not in str(caught.value)


def test_without_peft_the_extra_is_named(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, before anything is loaded."""
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CheckpointError, match=r"pip install 'pytest-basin\[adapters\]'"):
        open_checkpoint(where / "adapter")


def test_pickled_adapters_are_not_opened(where: Path, tmp_path: Path) -> None:
    """With the way out."""
    folder = edited(where, tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=r"adapter_model\.bin is pickled"):
        open_checkpoint(folder)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"without adapter_model\.safetensors"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_model.bin", "model-00001-of-00002.safetensors"])
def test_leftovers_beside_an_adapter_are_refused(where: Path, tmp_path: Path, name: str) -> None:
    """Another program could take them."""
    folder = edited(where, tmp_path / "a")
    (folder / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"two sets of weights: adapter_model\.safetensors, which peft.*{name}"):
        open_checkpoint(folder)


def test_what_a_trainer_leaves_is_an_adapter(where: Path, tmp_path: Path) -> None:
    """State of training and a tokenizer lie beside it; the tokenizer asks."""
    folder = edited(where, tmp_path / "checkpoint-500")
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth"):
        (folder / name).write_bytes(b"x")
    models.tokenizer().save_pretrained(folder)
    found = open_checkpoint(folder)
    assert found.identity.weights == open_checkpoint(where / "adapter").identity.weights
    assert load_tokenizer(found)("1+1")["input_ids"] == models.tokenizer()("1+1")["input_ids"]


def test_an_adapter_upon_an_adapter(where: Path, tmp_path: Path) -> None:
    """Two stages of training: the settings of generation are the base's."""
    (where / "base" / "generation_config.json").write_text('{"eos_token_id": 1, "suppress_tokens": [3]}')
    first = open_checkpoint(where / "adapter")
    second = open_checkpoint(edited(where, tmp_path / "adapter", base_model_name_or_path="adapter"), first)
    assert second.identity.companions == open_checkpoint(where / "base").identity.companions
    assert second.identity.weights != first.identity.weights


def test_gated_in_pytest(where: Path, tmp_path: Path) -> None:
    """The plugin gives an adapter the base of the gate, wherever the adapter says that it lies."""
    folder = edited(where, tmp_path / "base-of-somebody", base_model_name_or_path="org/base")
    (tmp_path / "test_kept.py").write_text(
        "import pytest\n\n@pytest.mark.basin(max_drop=0.99)\n"
        "def test_kept(basin_bound):\n    assert basin_bound <= 0.99\n"
    )
    words = ["--basin-base", where / "base", "--basin-checkpoint", folder, "--basin-benchmark", where / "own.jsonl"]
    done = forked.run_pytest("-q", "-p", "no:cacheprovider", "--basin-items=fixed", *words, "-vv", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
