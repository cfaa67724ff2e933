"""A model in memory is the checkpoint that saving it would make."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

import certify
from certify.checkpoints import load_model, load_tokenizer, open_checkpoint
from certify.errors import CheckpointError


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=18, n_embd=16, n_layer=2, n_head=2))


def mixtral() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return MixtralForCausalLM(MixtralConfig(vocab_size=18, num_key_value_heads=1, num_local_experts=3, **sizes))


def own_settings() -> Any:
    model = models.llama()
    model.generation_config.repetition_penalty = 1.5
    model.generation_config.temperature = 0.3
    return model


@pytest.mark.parametrize(
    "make", [models.llama, lambda: models.llama(tied=False).to(torch.bfloat16), gpt2, mixtral, own_settings]
)
def test_the_identity_of_its_folder(tmp_path: Path, make: Any) -> None:
    """Weights, config, settings of generation and tokenizer, whatever the files would have called the tensors."""
    model = make()
    ours = open_checkpoint(model, tokenizer=models.tokenizer())
    if model.generation_config.temperature is not None:
        model.generation_config.temperature = None  # which save_pretrained refuses without sampling
    theirs = open_checkpoint(models.save_folder(tmp_path / "saved", model))
    assert ours.identity.weights == theirs.identity.weights
    assert ours.identity.companions == theirs.identity.companions
    assert ours.identity.computed_in == theirs.identity.computed_in
    assert load_tokenizer(ours).get_vocab() == load_tokenizer(theirs).get_vocab()
    ids = torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        assert torch.equal(load_model(ours)(ids).logits, load_model(theirs)(ids).logits)


def test_training_that_goes_on_changes_nothing() -> None:
    """The weights are those of the moment at which it was opened; the model keeps its mode and gradients."""
    model = models.llama().requires_grad_(True).train()
    opened = open_checkpoint(model, tokenizer=models.tokenizer())
    with torch.no_grad():
        model.model.norm.weight += 1
    assert opened.identity.weights != open_checkpoint(model).identity.weights
    assert not torch.equal(load_model(opened).model.norm.weight, model.model.norm.weight)
    assert model.training and model.model.norm.weight.requires_grad


def test_judged_and_verified_without_a_folder(tmp_path: Path) -> None:
    """One call; the record is that of the saved folder, and says that it was a model in memory."""
    base = models.save_folder(tmp_path / "base", models.llama())
    items = models.write_jsonl(tmp_path / "own.jsonl", models.own_answers(models.llama(), 100))
    tuned = models.llama()
    tuned.model.norm.weight += 1e-4
    found = certify.certify(base, open_checkpoint(tuned, tokenizer=models.tokenizer()), items)
    expected = certify.certify(base, models.save_folder(tmp_path / "tuned", tuned), items)
    assert found.evidence == expected.evidence
    assert found.checkpoint.weights == expected.checkpoint.weights
    assert found.checkpoint.name == "LlamaForCausalLM (in memory)"
    assert certify.differences(found) == []
    of_base = certify.certify(open_checkpoint(models.llama(), tokenizer=models.tokenizer()), tmp_path / "tuned", items)
    assert of_base.base.weights == found.base.weights
    file = found.file_in(tmp_path)
    from typer.testing import CliRunner

    from certify.cli.app import app

    words = ["verify", str(file), "--base", str(base), "--benchmark", str(items), "--replay", "1"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "a model in memory: save_pretrained it, with its tokenizer" in " ".join(said.output.split())
    assert CliRunner().invoke(app, [*words, "--checkpoint", str(tmp_path / "tuned")]).exit_code == 0


def test_its_temporary_folder_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is refused."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened = open_checkpoint(models.llama(), tokenizer=models.tokenizer())
    assert len(os.listdir(tmp_path)) == 1
    del opened
    gc.collect()
    with pytest.raises(CheckpointError):
        open_checkpoint(Other(models.llama().config))
    gc.collect()
    assert os.listdir(tmp_path) == []


class Other(type(models.llama())):  # type: ignore[misc]
    """A model that computes otherwise under the config of another."""

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return super().forward(*args, **keywords)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return type(models.llama())(models.llama().config)


def wrapped() -> nn.Module:
    return nn.DataParallel(models.llama())


def adapted() -> Any:
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(models.llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))


@pytest.mark.filterwarnings("default")  # of peft, at import
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: nn.Linear(2, 2), r"Linear \(in memory\): expected a path, or a causal language model of transformers"),
        (lambda: 3, r"int \(in memory\): expected a path, or"),
        (lambda: Other(models.llama().config), r"its config builds a .*\.LlamaForCausalLM, which computes as"),
        (lambda: models.llama().model, r"LlamaModel \(in memory\): expected a path, or a causal language model"),
        (on_meta, r"its tensor '.*' is not in memory \(device meta\)"),
        (wrapped, r"DataParallel \(in memory\): wraps another model: give its \.module"),
        (adapted, r"an adapter around a model: give what merge_and_unload\(\) returns"),
        (lambda: torch.compile(models.llama()), r"wraps another model: give its \._orig_mod"),
    ],
    ids=["module", "number", "subclass", "headless", "meta", "wrapped", "adapter", "compiled"],
)
def test_what_is_no_such_model(make: Any, named: str) -> None:
    """In one line, with what to give instead."""
    with pytest.raises(CheckpointError, match=named) as caught:
        open_checkpoint(make())
    assert "\n" not in str(caught.value)


def test_a_tokenizer_beside_a_path_is_refused(tmp_path: Path) -> None:
    """A folder brings its own."""
    with pytest.raises(CheckpointError, match="brings the tokenizer of its folder"):
        open_checkpoint(models.save_folder(tmp_path / "base", models.llama()), tokenizer=models.tokenizer())
