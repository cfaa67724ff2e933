"""Folders as ordinary work leaves them, through every kind of evidence and the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import models
import pytest
import torch
import transformers as tr

from certify.benchmarks import open_benchmark
from certify.benchmarks.batches import Batching
from certify.checkpoints import probes
from certify.errors import ActivationRefused, CheckpointError
from certify.measuring import Base, PlannedDraws, check, measure_base
from certify.measuring.environment import ONE_ROW

KINDS = ("point", "smoothed", "position", "distance")


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and a checkpoint that a trainer saved with nothing trained: other files, the same model."""
    folder = tmp_path_factory.mktemp("saved")
    model = models.llama()
    models.save_folder(folder / "base", model)
    models.write_jsonl(folder / "own.jsonl", models.own_answers(model, 100))
    again = tr.AutoModelForCausalLM.from_pretrained(folder / "base")
    again.config.use_cache = False
    again.save_pretrained(folder / "saved", max_shard_size="8KB")
    tokenizer = tr.AutoTokenizer.from_pretrained(folder / "base")
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    tokenizer.save_pretrained(folder / "saved")
    models.edit_config(folder / "saved", pad_token_id=0, torch_dtype="float16", trained_by="us")
    (folder / "saved" / "trainer_state.json").write_text("{}")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_base_passes_every_kind_of_evidence(where: Path, kind: str) -> None:
    """r = 0, nothing differs, the same scores; what is spelled differently is in the record."""
    base = Base.open(where / "base", where / "own.jsonl")
    law = base.weight_law(1e-4)
    measurement = measure_base(base, planned=[PlannedDraws(law, 150)], grid=(1e-5, 1e-4))
    (certificate,) = check(base, where / "saved", kinds=(kind,), measurement=measurement, draws=110)
    assert certificate.verdict == "certified", certificate.claim_text
    evidence = certificate.evidence
    assert getattr(evidence, "differences", ()) == ()
    if kind in ("position", "distance"):
        assert (evidence.displacement.delta_norm, evidence.displacement.differences) == (0.0, ())
    assert certificate.checkpoint.spelling != certificate.base.spelling
    assert certificate.checkpoint.weights == certificate.base.weights
    assert certificate.checkpoint.computed_in == "float32"


def test_a_measurement_of_the_saved_base_serves_the_base(where: Path) -> None:
    """They are one model: neither is refused as another base."""
    base, saved = (Base.open(where / name, where / "own.jsonl") for name in ("base", "saved"))
    measurement = measure_base(saved, planned=[PlannedDraws(saved.weight_law(1e-4), 150)], grid=(1e-4,))
    (certificate,) = check(base, where / "saved", kinds=("distance",), measurement=measurement)
    assert certificate.verdict == "certified"


def test_settings_of_generation_count_where_answers_are_generated(where: Path, tmp_path: Path) -> None:
    """A base that suppresses digits, a checkpoint whose generation_config.json is missing: named, r infinite."""
    shutil.copytree(where / "base", tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text('{"eos_token_id": 1, "suppress_tokens": [2, 3, 4]}')
    shutil.copytree(where / "base", tmp_path / "bare")
    (tmp_path / "bare" / "generation_config.json").unlink()
    shutil.copy(where / "own.jsonl", tmp_path / "own.jsonl")
    likelihood = Base.open(tmp_path / "base", tmp_path / "own.jsonl")
    law = likelihood.weight_law(1e-4)
    measurement = measure_base(likelihood, planned=[PlannedDraws(law, 150)], grid=(1e-4,))
    (certificate,) = check(likelihood, tmp_path / "bare", kinds=("distance",), measurement=measurement)
    assert certificate.evidence.r == 0.0
    (tmp_path / "own.toml").write_text("[generation]\nmax_new_tokens = 1\n")
    generated = Base.open(tmp_path / "base", tmp_path / "own.jsonl")
    measurement = measure_base(generated, planned=[PlannedDraws(law, 150)], grid=(1e-4,))
    (certificate,) = check(generated, tmp_path / "bare", kinds=("distance",), measurement=measurement)
    (named,) = certificate.evidence.displacement.differences
    assert named.startswith("generation settings differs: ")
    assert "suppress_tokens is not set, the base's [2, 3, 4]" in named
    assert certificate.verdict != "certified"


class LengthDependent(tr.LlamaForCausalLM):
    """Positions that know how wide the batch is, as relative or interpolated ones may."""

    def forward(self, input_ids=None, **kwargs):  # type: ignore[no-untyped-def]
        wave = torch.sin(torch.arange(self.config.hidden_size) * float(input_ids.shape[1]))
        return super().forward(inputs_embeds=self.get_input_embeddings()(input_ids) + 0.5 * wave, **kwargs)


def length_dependent() -> tr.LlamaForCausalLM:
    model = LengthDependent(models.llama().config).eval().requires_grad_(False)
    model.load_state_dict(models.llama().state_dict())
    return model


def test_scores_do_not_depend_on_the_other_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Length-dependent positions: the same 12 items score the same beside a long one; scored in batches they do not."""
    choices = list(models.CHARACTERS)
    items = [
        {"prompt": item["prompt"], "choices": choices, "answer": choices.index(item["target"])}
        for item in models.own_answers(length_dependent(), 12)
    ]
    long = [{"prompt": "1+2=" * 9, "choices": choices, "answer": 0}]
    few = open_benchmark(models.write_jsonl(tmp_path / "few.jsonl", items)).encode(models.tokenizer())
    more = open_benchmark(models.write_jsonl(tmp_path / "more.jsonl", items + long)).encode(models.tokenizer())
    assert few.score(length_dependent()) == more.score(length_dependent())[:12]
    monkeypatch.setattr("certify.benchmarks.batches.rows_independent", lambda model: True)
    monkeypatch.setattr(Batching, "of", classmethod(lambda cls, *_: cls("", 8192)))  # its trial would notice, too
    assert few.score(length_dependent()) != more.score(length_dependent())[:12]


def test_rows_scored_alone_are_recorded(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment and the engine's budget; the activation engine, which batches rows, refuses."""
    monkeypatch.setitem(probes.__dict__, "_rows_independent", lambda model: False)
    base = Base.open(where / "base", where / "own.jsonl")
    measurement = measure_base(base, planned=[PlannedDraws(base.weight_law(1e-4), 20)], grid=(1e-4,))
    assert measurement.environment.batching == ONE_ROW
    assert measurement.draws[0].engine.tokens_per_batch == 1
    with pytest.raises(ActivationRefused, match="depend on the other rows"):
        _ = base.questions


def masked(folder: Path) -> None:
    config = tr.BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
                           vocab_size=len(models.tokenizer()))  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tr.BertLMHeadModel(config)
    for parameter in model.parameters():
        parameter.data.mul_(5)
    model.save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)


@pytest.mark.parametrize("trouble", ["masked", "adapter", "typo", "shards"])
def test_the_command_line_says_usage_and_not_refuted(
    where: Path, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and one line."""
    from certify.__main__ import main

    bad = tmp_path / "bad"
    if trouble == "masked":
        masked(bad)
    elif trouble != "typo":
        shutil.copytree(where / "base", bad)
    if trouble == "adapter":
        (bad / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    elif trouble == "shards":
        models.resharded(where / "base", tmp_path / "shards")
        for file in (tmp_path / "shards").glob("model*"):
            shutil.copy(file, bad)
    arguments = ["certify", "check", str(bad), "--base", str(bad if trouble == "masked" else where / "base")]
    monkeypatch.setattr("sys.argv", [*arguments, "-b", str(where / "own.jsonl")])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    said = capsys.readouterr()
    named = {"masked": "not causal", "adapter": "two readings", "typo": "no such folder", "shards": "two sets"}[trouble]
    assert named in " ".join((said.out + said.err).split())


def test_a_masked_model_is_refused_at_load(tmp_path: Path) -> None:
    """Through the library as well."""
    from certify.checkpoints import load_model, open_checkpoint

    masked(tmp_path / "bert")
    with pytest.raises(CheckpointError, match="is not causal"):
        load_model(open_checkpoint(tmp_path / "bert"))
