"""Prompts that were tuned: scored as PEFT's wrapped model is by hand, and named where there are no weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from forked import certify
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from certify.checkpoints import load_for_scoring, load_model, open_checkpoint
from certify.checkpoints.prompts import Prompted
from certify.errors import BenchmarkError, CheckpointError
from certify.evidence import AuditEvidence, PointEvidence, Requirement
from certify.measuring import Base, check, measure_base
from certify.measuring.at_base import PlannedDraws
from certify.measuring.candidate import Candidate
from certify.measuring.replay import repeat, replay

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("default")  # of peft, at import and use

VIRTUAL = 5
PROMPTS: dict[str, Any] = {
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL),
    "p-tuning": lambda: peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL, encoder_hidden_size=8
    ),
    "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL),
    "projected": lambda: peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL, prefix_projection=True, encoder_hidden_size=8
    ),
}  # fmt: skip
FILE = "adapter_model.safetensors"


def gpt2() -> GPT2LMHeadModel:
    """Learned positions, which virtual tokens move."""
    config = GPT2Config(vocab_size=len(models.CHARACTERS) + 2, n_embd=16, n_layer=2, n_head=4, n_positions=64,
                        initializer_range=0.5, bos_token_id=1, eos_token_id=1)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval().requires_grad_(False)


BASES: dict[str, Callable[[], Any]] = {"llama": lambda: models.llama(tied=False), "gpt2": gpt2}


def tuned(base: Path, folder: Path, kind: str, dtype: torch.dtype = torch.float32) -> Path:
    """A prompt with random numbers, large enough to turn answers, saved as people save it."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), PROMPTS[kind]())
        for weight in (each for each in model.parameters() if each.requires_grad):
            weight.data += 0.5 * torch.randn_like(weight)
        model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bases with a prompt of each kind, and three benchmarks of ten items or more."""
    folder = tmp_path_factory.mktemp("prompted")
    for name, build in BASES.items():
        base = models.save_folder(folder / name, build())
        for kind in PROMPTS:
            tuned(base, folder / f"{name}-{kind}", kind)
    prompts = [f"{'1' * (i % 7)}{i}+b=" for i in range(30)]  # of many lengths
    models.write_jsonl(folder / "choices.jsonl", [
        {"prompt": p, "choices": [f"{c}{c} " if i % 3 else c for c in "789a"], "answer": i % 4}
        for i, p in enumerate(prompts)
    ])  # fmt: skip
    models.write_jsonl(folder / "written.jsonl", [{"prompt": p, "target": "7"} for p in prompts])
    (folder / "written.toml").write_text("[generation]\nmax_new_tokens = 6\n")
    return folder


def by_hand(base: Path, adapter: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The wrapped model that a user of PEFT has."""
    return peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), adapter).eval()


def logits_by_hand(wrapped: Any, ids: list[int]) -> torch.Tensor:
    """PEFT's forward for one row, without padding; the last places are those of the given tokens."""
    with torch.inference_mode():
        return wrapped(input_ids=torch.tensor([ids])).logits[0, -len(ids) :]


def test_likelihoods_are_those_of_the_wrapped_model(where: Path) -> None:
    """Item by item, for both kinds of positions and all kinds of prompt; and none is the base's without it."""
    for name in BASES:
        base = Base.open(where / name, where / "choices.jsonl")
        for kind in PROMPTS:
            adapter = where / f"{name}-{kind}"
            wrapped, found = by_hand(where / name, adapter), Candidate(base, open_checkpoint(adapter, base.checkpoint))
            expected, sums = [], []
            for item, entry in enumerate(base.scorer.benchmark.items):
                own = [c for c in base.scorer.continuations if c.item == item]
                values = []
                for c in own:
                    spread = logits_by_hand(wrapped, list(c.ids)).log_softmax(-1)
                    values.append(float(sum(spread[i - 1, c.ids[i]].double() for i in range(c.start, len(c.ids)))))
                others = [v for k, v in enumerate(values) if k != entry.answer]
                expected.append(float(values[entry.answer] > max(others)))
                sums += values
            assert list(found.scores) == expected, (name, kind)
            assert 0 < sum(expected) < len(expected), (name, kind)
            with torch.inference_mode():
                longest = max((c.ids for c in base.scorer.continuations), key=len)
                ours = found.model(input_ids=torch.tensor([longest])).logits[0]
                plain = base.model(input_ids=torch.tensor([longest])).logits[0]
            theirs = logits_by_hand(wrapped, list(longest))
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-4), (name, kind)
            assert float((plain - theirs).abs().max()) > 0.1, (name, kind)  # the prompt counts


def greedy_by_hand(wrapped: Any, ids: list[int], new: int, ends: int | None) -> list[int]:
    written: list[int] = []
    while len(written) < new and (not written or written[-1] != ends):
        written.append(int(logits_by_hand(wrapped, [*ids, *written])[-1].argmax()))
    return written


def test_answers_are_those_of_the_wrapped_model(where: Path) -> None:
    """Greedy, token by token by PEFT's forward, whatever stands beside a row in its batch."""
    for name in BASES:
        base = Base.open(where / name, where / "written.jsonl")
        scorer: Any = base.scorer
        for kind in PROMPTS:
            adapter = where / f"{name}-{kind}"
            wrapped, model = by_hand(where / name, adapter), load_for_scoring(open_checkpoint(adapter, base.checkpoint))
            ends = model.generation_config.eos_token_id
            texts = scorer._decode(model, range(len(scorer.continuations)))
            for continuation, text in zip(scorer.continuations, texts, strict=True):
                own = greedy_by_hand(wrapped, list(continuation.ids), 6, ends)
                expected = scorer._tokenizer.decode([i for i in own if i != ends])
                assert text == expected, (name, kind, continuation)
            assert texts != scorer._decode(base.model, range(len(texts)))


def test_peft_generates_the_same_where_it_keeps_no_cache(where: Path) -> None:
    """Of prompts before the input, for one row; with a cache, transformers 5 and peft 0.21 write something else."""
    base = Base.open(where / "llama", where / "written.jsonl")
    scorer: Any = base.scorer
    for kind in ("prompt", "p-tuning"):
        wrapped = by_hand(where / "llama", where / f"llama-{kind}")
        model = load_for_scoring(open_checkpoint(where / f"llama-{kind}", base.checkpoint))
        for place, continuation in enumerate(scorer.continuations[:8]):
            ids = torch.tensor([continuation.ids])
            written = wrapped.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6, use_cache=False,
                pad_token_id=0,
            )  # fmt: skip
            ends = model.generation_config.eos_token_id
            text = scorer._text(written[0, len(continuation.ids) :].tolist(), ends)
            assert scorer._decode(model, [place]) == [text]


@pytest.mark.parametrize("kind", PROMPTS)
def test_one_prompt_in_bfloat16(where: Path, tmp_path: Path, kind: str) -> None:
    """Its logits are bit for bit those of PEFT's forward for the same row."""
    base = models.save_folder(tmp_path / "base", models.llama(tied=False).to(torch.bfloat16))
    adapter = tuned(base, tmp_path / "a", kind, torch.bfloat16)
    model, wrapped = load_for_scoring(open_checkpoint(adapter)), by_hand(base, adapter, torch.bfloat16)
    ids = [3, 9, 4, 5, 6, 11]
    with torch.inference_mode():
        assert torch.equal(model(input_ids=torch.tensor([ids])).logits[0], logits_by_hand(wrapped, ids))


def test_point_and_audit_evidence_repeat(where: Path) -> None:
    """The record names what stands before the input, and its scores come again from base and adapter."""
    base = Base.open(where / "llama", where / "choices.jsonl")
    adapter = open_checkpoint(where / "llama-prefix", base.checkpoint)
    point, audit = check(base, adapter, kinds=("point", "audit"), items="fixed")
    assert isinstance(point.evidence, PointEvidence)
    assert isinstance(audit.evidence, AuditEvidence)
    assert point.evidence.differences == (f"PREFIX_TUNING puts {VIRTUAL} virtual tokens before every input",)
    again = Base.open(where / "llama", where / "choices.jsonl")
    for record in (point, audit):
        assert replay(record, again, 3) == []
        assert repeat(record, again, open_checkpoint(where / "llama-prefix", again.checkpoint), 3)[0] == []
    other = open_checkpoint(where / "llama-projected", again.checkpoint)
    assert repeat(point, again, other, 3)[0] != []  # it can fail


def test_checked_and_replayed_on_the_command_line(where: Path, tmp_path: Path) -> None:
    """The record verifies with base and adapter, and not with another prompt."""
    asked = ("--base", where / "llama", "-b", where / "choices.jsonl", "--items", "fixed", "--max-drop", "0.9")
    done = certify("check", where / "llama-prefix", *asked, "-o", tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr
    assert "PREFIX_TUNING puts 5 virtual tokens before every input" in done.stdout
    (file,) = tmp_path.glob("*.json")
    beside = ("--base", where / "llama", "--benchmark", where / "choices.jsonl", "--replay", "2", "--checkpoint")
    found = certify("verify", file, *beside, where / "llama-prefix")
    assert found.returncode == 0, found.stdout + found.stderr
    assert certify("verify", file, *beside, where / "llama-projected").returncode == 4
    refused = certify("check", where / "llama-prefix", *asked, "--require", "smoothed", "--sigma", "1e-3")
    assert refused.returncode == 2
    assert "so there is nothing to noise" in refused.stderr


@pytest.mark.parametrize("kind", ["smoothed", "distance", "position"])
def test_evidence_about_weights_is_refused(where: Path, kind: str) -> None:
    """In one line that says why and what there is instead, before anything is scored."""
    base = Base.open(where / "llama", where / "choices.jsonl")
    candidate = Candidate(base, open_checkpoint(where / "llama-prompt", base.checkpoint))
    planned = [PlannedDraws(base.weight_law(1e-3), 12)]
    measured = None if kind == "smoothed" else measure_base(base, planned=planned, grid=(1e-3,))
    with pytest.raises(CheckpointError, match=r"PROMPT_TUNING puts 5 .* takes point or audit evidence") as caught:
        list(
            check(
                base, candidate, kinds=("point", kind), sigma=1e-3, measurement=measured,
                requirement=Requirement(limit=0.9),
            )
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    assert candidate._scores is None


def test_a_prompt_is_no_base(where: Path) -> None:
    """Nor part of a merge, nor what another adapter changes."""
    prompted = open_checkpoint(where / "llama-prompt")
    base = Base.open(prompted, where / "choices.jsonl")
    asked = (lambda: load_model(prompted), lambda: base.scores, lambda: measure_base(base, planned=(), grid=(1.0,)))
    for refused in asked:
        with pytest.raises(CheckpointError, match="changes no weights"):
            refused()
    (where / "half.toml").write_text(
        'merge_method = "task_arithmetic"\nbase_model = "llama"\n[[models]]\nmodel = "llama-prompt"\n'
        "parameters = { weight = 1.0 }\n"
    )
    with pytest.raises(CheckpointError, match="changes no weights, so there is nothing to noise, to merge"):
        _ = open_checkpoint(where / "half.toml")


def test_identity_covers_base_prompt_and_config(where: Path, tmp_path: Path) -> None:
    """Not who wrote the file, nor how the prompt was made."""
    folder = where / "llama-prefix"
    found = open_checkpoint(folder).identity

    def changed(name: str, change: Callable[[dict[str, torch.Tensor]], None] | None = None, **fields: object) -> Any:
        return open_checkpoint(edited(folder, tmp_path / name, change, **fields), open_checkpoint(where / "llama"))

    def last_bit(tensors: dict[str, torch.Tensor]) -> None:
        tensors["prompt_embeddings"].view(torch.int32)[-1, -1] ^= 1

    assert changed("as-it-is").identity.weights == found.weights
    assert changed("bit", last_bit).identity.weights != found.weights
    silent = {"revision": "main", "peft_version": "9", "encoder_hidden_size": 3, "init_weights": True}
    for field, value in silent.items():
        assert changed(field, **{field: value}).identity.companions == found.companions, field
    assert changed("heads", num_attention_heads=1).identity.companions != found.companions
    assert changed("new", some_new_field=1).identity.companions != found.companions
    other = models.save_folder(tmp_path / "llama", models.llama(tied=False, seed=1))
    assert open_checkpoint(folder, open_checkpoint(other)).identity.weights != found.weights
    assert found.weights != open_checkpoint(where / "llama").identity.weights


def edited(source: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], None] | None, **fields: Any) -> Path:
    """Copy a prompt with other tensors, or other fields of its config."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    if change is not None:
        tensors = load_file(folder / FILE)
        change(tensors)
        save_file(tensors, folder / FILE)
    return folder


def not_a_number(tensors: dict[str, torch.Tensor]) -> None:
    tensors["prompt_embeddings"][1, 2] = torch.nan


def shorter(tensors: dict[str, torch.Tensor]) -> None:
    tensors["prompt_embeddings"] = tensors["prompt_embeddings"][1:].clone()


def renamed(tensors: dict[str, torch.Tensor]) -> None:
    tensors["prompts"] = tensors.pop("prompt_embeddings")


def beside(tensors: dict[str, torch.Tensor]) -> None:
    tensors["another"] = torch.ones(2)


@pytest.mark.parametrize(
    ("kind", "change", "fields", "message"),
    [
        ("llama-prompt", not_a_number, {}, r"1 of the 80 numbers of tensor 'prompt_embeddings' are NaN"),
        ("llama-prompt", shorter, {}, r"holds 'prompt_embeddings' of shape \(4, 16\).*must be .*\(5, 16\)"),
        ("llama-prompt", renamed, {}, r"holds 'prompts' of shape .*must be 'prompt_embeddings'"),
        ("llama-prompt", beside, {}, r"holds 'another'.*must be 'prompt_embeddings'"),
        ("llama-prompt", None, {"num_virtual_tokens": 6}, r"of shape \(5, 16\).*must be .*\(6, 16\)"),
        ("llama-prompt", None, {"num_virtual_tokens": 0}, r"num_virtual_tokens = 0 .* must be a whole number from 1"),
        ("llama-prompt", None, {"num_virtual_tokens": "5"}, r"num_virtual_tokens = '5' .* must be a whole number"),
        ("llama-prompt", None, {"num_virtual_tokens": 64}, r"64 virtual tokens leave no room in the 64 positions"),
        ("llama-prompt", None, {"task_type": None}, r"task_type = None .* CAUSAL_LM alone"),
        ("llama-prompt", None, {"task_type": "SEQ_CLS"}, r"task_type = 'SEQ_CLS' .* CAUSAL_LM alone"),
        ("llama-prompt", None, {"num_transformer_submodules": 2}, r"of an encoder with a decoder"),
        ("llama-prefix", None, {"num_layers": 3}, r"num_layers = 3 and token_dim = 8 .*llama has 2 layers"),
        ("llama-prefix", None, {"token_dim": 4}, r"must be 'prompt_embeddings' of shape \(5, 16\)"),
        ("gpt2-prefix", None, {"num_attention_heads": 2}, r"cannot be put before the inputs of .*gpt2: "),
        ("llama-prompt", None, {"peft_type": "CARTRIDGE"}, r"CARTRIDGE is not scored here"),
        ("llama-prompt", None, {"peft_type": "MULTITASK_PROMPT_TUNING"}, r"MULTITASK_PROMPT_TUNING is not scored here"),
    ],
)
def test_what_lies_is_one_line(
    where: Path, tmp_path: Path, kind: str, change: Any, fields: dict[str, object], message: str
) -> None:
    """A tensor that is another's, fields that peft would follow without a word, numbers that are none."""
    folder = edited(where / kind, tmp_path / "a", change, **fields)
    with pytest.raises(CheckpointError, match=message) as caught:
        opened = open_checkpoint(folder, open_checkpoint(where / kind.split("-")[0]))
        _ = opened.identity
        load_for_scoring(opened)
    assert "\n" not in str(caught.value)


def test_a_prompt_that_peft_would_leave_out_is_refused(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As versions that do not know each other's names may do: the scores would be the base's."""
    monkeypatch.setattr(
        peft.PeftModelForCausalLM, "forward",
        lambda self, input_ids, **kwargs: self.base_model(input_ids=input_ids, use_cache=False),
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="virtual tokens move no logit"):
        load_for_scoring(open_checkpoint(where / "llama-prefix"))


def test_a_prompt_of_another_base_is_refused(where: Path, tmp_path: Path) -> None:
    """One of another width; one of the same shapes is said by its name."""
    wide = open_checkpoint(models.save_folder(tmp_path / "llama", models.llama(tied=False, hidden=32)))
    with pytest.raises(CheckpointError, match=r"must be .*a prompt of another base"):
        open_checkpoint(where / "llama-prompt", wide)


def test_virtual_tokens_take_positions(where: Path, tmp_path: Path) -> None:
    """An item that fits the base alone is refused by its number."""
    models.write_jsonl(tmp_path / "long.jsonl", [
        {"prompt": "1" * length, "choices": ["2", "3"], "answer": 0} for length in (10, 58, 59)
    ])  # fmt: skip
    base = Base.open(where / "llama", tmp_path / "long.jsonl")
    assert len(base.scores) == 3
    with pytest.raises(BenchmarkError, match=r"item 3: 60 tokens, after 5 virtual tokens, are more than .* 64 "):
        _ = Candidate(base, open_checkpoint(where / "llama-prefix", base.checkpoint)).scores


def test_its_own_tokenizer_asks(where: Path, tmp_path: Path) -> None:
    """A tokenizer in the adapter's folder is its own; else the base's."""
    folder = edited(where / "llama-prompt", tmp_path / "a", None)
    base = open_checkpoint(where / "llama")
    assert open_checkpoint(folder, base).tokenizer == where / "llama"
    models.tokenizer().save_pretrained(folder)
    opened = open_checkpoint(folder, base)
    assert isinstance(opened, Prompted)
    assert opened.tokenizer == folder


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("ADAPTION_PROMPT", lambda: peft.AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=4, adapter_layers=2)),
        ("POLY", lambda: peft.PolyConfig(task_type="CAUSAL_LM", r=2, n_tasks=2, n_skills=2, target_modules=["q_proj"])),
    ],
)
def test_what_neither_merges_nor_is_a_prompt_is_named(where: Path, tmp_path: Path, kind: str, config: Any) -> None:
    """With what is taken."""
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(where / "llama"), config()).save_pretrained(tmp_path / "a")
    with pytest.raises(CheckpointError, match=f"peft merges no {kind} into weights"):
        open_checkpoint(tmp_path / "a")
