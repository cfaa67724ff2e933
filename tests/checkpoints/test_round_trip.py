"""Every architecture as people save it: nothing trained is r = 0, a known change its float64 norm."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tr
from safetensors.torch import load_file, save_file
from saved_models import ARCHITECTURES

from certify.checkpoints import difference, load_model, open_checkpoint
from certify.checkpoints.difference import companion_differences
from certify.errors import CheckpointError
from certify.records import identity_key

IDS = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(0))


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_trained_is_at_zero(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Saved, loaded and saved again in shards, with a trainer's edits of the config: the same identity, r = 0."""
    model = ARCHITECTURES[name]().to(dtype)
    model.save_pretrained(tmp_path / "base")
    base = open_checkpoint(tmp_path / "base")
    again = tr.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype).eval()
    again.requires_grad_(False)  # some kernels for convolutions are chosen by it, and differ in the last bit
    assert torch.equal(logits(load_model(base)), logits(again))
    again.config.use_cache, again.config.pad_token_id = False, 0
    again.save_pretrained(tmp_path / "again", max_shard_size="30KB")
    found = open_checkpoint(tmp_path / "again")
    assert len({info.file for info in found.tensors.values()}) > 1
    assert identity_key(found.identity) == identity_key(base.identity)
    moved = difference(base, found)
    assert (moved.delta_norm, moved.differences) == (0.0, ())
    assert companion_differences(base, found, generated=True) == []
    assert set(moved.norms) == {n for n, _ in load_model(base).named_parameters()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_known_change_has_its_norm(name: str, tmp_path: Path) -> None:
    """Each parameter's norm is that of its change in float64, in the model's own names, rounded up by at most 1e-6."""
    model = ARCHITECTURES[name]()
    model.save_pretrained(tmp_path / "base")
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            if i % 2 == 0:
                parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(tmp_path / "moved")
    moved = difference(open_checkpoint(tmp_path / "base"), open_checkpoint(tmp_path / "moved"))
    exact = {n: float((p.detach().double() - before[n].double()).norm()) for n, p in model.named_parameters()}
    assert set(moved.norms) == set(exact)
    for parameter, norm in exact.items():
        assert norm * (1 - 1e-12) <= moved.norms[parameter] <= norm * (1 + 1e-6), parameter
    total = math.sqrt(math.fsum(n * n for n in exact.values()))
    assert moved.delta_norm == pytest.approx(total, rel=1e-6)
    assert moved.dimension == sum(p.numel() for p in model.parameters())


def test_files_without_the_prefix_of_the_model(tmp_path: Path) -> None:
    """The hub's GPT-2 names its tensors without "transformer." and stores masks: the same model all the same."""
    model = ARCHITECTURES["gpt2"]()
    model.save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "hub")
    tensors = load_file(tmp_path / "hub" / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril() for i in range(2)}
    save_file({**bare, **masks}, tmp_path / "hub" / "model.safetensors", metadata={"format": "pt"})
    base, hub = open_checkpoint(tmp_path / "base"), open_checkpoint(tmp_path / "hub")
    assert hub.plan.ignored == tuple(sorted(masks))
    assert identity_key(hub.identity) == identity_key(base.identity)
    assert difference(base, hub).delta_norm == 0.0
    assert torch.equal(logits(load_model(hub)), logits(model))
    save_file({**bare, "h.9.attn.unknown": torch.ones(1)}, tmp_path / "hub" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"extra \['h\.9\.attn\.unknown'\]"):
        load_model(open_checkpoint(tmp_path / "hub"))


def test_two_tensors_that_claim_one_place_are_refused(tmp_path: Path) -> None:
    """With and without the prefix: transformers would take whichever it meets first."""
    ARCHITECTURES["gpt2"]().save_pretrained(tmp_path / "x")
    tensors = load_file(tmp_path / "x" / "model.safetensors")
    tensors["wpe.weight"] = tensors["transformer.wpe.weight"] + 1
    save_file(tensors, tmp_path / "x" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"two stored tensors claim 'transformer\.wpe\.weight'"):
        load_model(open_checkpoint(tmp_path / "x"))


@pytest.mark.parametrize("name", ["gpt2", "llama tied", "qwen3 experts"])
def test_a_trainers_checkpoint_with_nothing_trained(name: str, tmp_path: Path) -> None:
    """One step at learning rate 0: the trainer's folder, with its optimizer and state, is the base."""
    ARCHITECTURES[name]().save_pretrained(tmp_path / "base")
    model = tr.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    rows = [{"input_ids": row, "labels": row} for row in IDS]
    arguments = tr.TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=1, learning_rate=0.0, save_steps=1, report_to=[], use_cpu=True,
        disable_tqdm=True, dataloader_pin_memory=False, per_device_train_batch_size=2,
    )  # fmt: skip
    tr.Trainer(model=model, args=arguments, train_dataset=rows).train()
    base, run = open_checkpoint(tmp_path / "base"), open_checkpoint(tmp_path / "run" / "checkpoint-1")
    assert (run.path / "optimizer.pt").is_file()
    assert identity_key(run.identity) == identity_key(base.identity)
    assert (difference(base, run).delta_norm, difference(base, run).differences) == (0.0, ())


def test_a_model_without_a_text_side_is_refused_by_name(tmp_path: Path) -> None:
    """Or one whose text side the library cannot load as a causal language model."""
    config = tr.Qwen2VLConfig(text_config={**ARCHITECTURES["qwen2 tied"]().config.to_dict()})
    config.save_pretrained(tmp_path)
    save_file({"model.x": torch.ones(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"no known causal language model: .*Qwen2VLConfig"):
        load_model(open_checkpoint(tmp_path))
