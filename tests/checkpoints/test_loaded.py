"""What was loaded is what the files say; what a scorer takes for granted is tried."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
import torch
import transformers as tr

from certify.checkpoints import load_model, open_checkpoint
from certify.checkpoints.model import check_loaded
from certify.checkpoints.probes import require_causal, rows_independent
from certify.errors import CheckpointError

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("loaded") / "base", models.llama())


@pytest.mark.parametrize(
    "name", ["model.norm.weight", "model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"]
)
def test_one_changed_bit_after_loading_is_found(base: Path, name: str) -> None:
    """Whoever changed it: the tensor is named. Without a change nothing is said."""
    opened = open_checkpoint(base)
    model = load_model(opened)
    check_loaded(opened, model)
    model.get_parameter(name).data.view(torch.int32).view(-1)[0] ^= 1
    with pytest.raises(CheckpointError, match=f"tensor '{name}' of the loaded model is not what its file says"):
        check_loaded(opened, model)


def test_a_loader_that_takes_other_weights_is_caught(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader with a mind of its own (an adapter attached, a cache, a patch) does not get past the comparison."""
    real = tr.LlamaForCausalLM.from_pretrained.__func__

    def meddling(cls, *args, **kwargs):  # type: ignore[no-untyped-def]
        model, report = real(cls, *args, **kwargs)
        model.model.layers[0].self_attn.q_proj.weight.data[0, 0] += 1
        return model, report

    monkeypatch.setattr(tr.LlamaForCausalLM, "from_pretrained", classmethod(meddling))
    with pytest.raises(CheckpointError, match=r"q_proj\.weight' of the loaded model is not what its file says"):
        load_model(open_checkpoint(base))


def seeded(model):  # type: ignore[no-untyped-def]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model().eval()


def test_causal_models_pass() -> None:
    """The negative of the two tests below."""
    require_causal(models.llama(), "here")
    assert rows_independent(models.llama())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_a_masked_language_model_is_refused(kind: str, dtype: torch.dtype) -> None:
    """It looks ahead, so an answer would see itself."""
    config = getattr(tr, f"{kind}Config")(**SMALL, intermediate_size=48)
    model = seeded(lambda: getattr(tr, "BertLMHeadModel" if kind == "Bert" else "RobertaForCausalLM")(config))
    for parameter in model.parameters():
        parameter.data.mul_(5)  # weights as training leaves them, not as initialised
    with pytest.raises(CheckpointError, match="is not causal: a later token moves earlier logits by"):
        require_causal(model.to(dtype), "here")


class LengthDependent(tr.LlamaForCausalLM):
    """Positions that count from the end of the batch, as relative or interpolated ones may."""

    def forward(self, input_ids=None, **kwargs):  # type: ignore[no-untyped-def]
        positions = torch.linspace(0, 20, input_ids.shape[1])[None].expand_as(input_ids)
        return super().forward(input_ids=input_ids, position_ids=positions, **kwargs)


class CapacityLimited(tr.LlamaForCausalLM):
    """A router whose experts take the first so many tokens of a batch; those that come later go without."""

    def forward(self, input_ids=None, **kwargs):  # type: ignore[no-untyped-def]
        out = super().forward(input_ids=input_ids, **kwargs)
        first_come = torch.arange(input_ids.numel()).view_as(input_ids) < 30
        rows_after = torch.flip(first_come, [0])
        out.logits = out.logits * rows_after[..., None]
        return out


@pytest.mark.parametrize("kind", [LengthDependent, CapacityLimited])
def test_rows_that_depend_on_their_batch_are_noticed(kind: type[tr.LlamaForCausalLM]) -> None:
    """Length-dependent positions and routers with a capacity move a row's logits when the batch changes."""
    assert not rows_independent(seeded(lambda: kind(models.llama().config)))
