"""Under ``boundary = "lm-eval"`` each item gets the score that lm-eval gives it: same weights, same file, both ways.

Runs where lm-eval is installed (``pip install lm_eval``), in continuous integration in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from test_as_written import WORDS, sentencepiece
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from certify.benchmarks import open_benchmark
from certify.checkpoints import load_model, load_tokenizer, open_checkpoint
from certify.demo import DATA

lm_eval = pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("default")  # its libraries' warnings are theirs

Pair = tuple[Any, PreTrainedTokenizerFast]
BORDERS = ["a", "a ", "a  ", "b a ", "a= ", "1 2", "a=", "c.", "c. ", "1="]
CHOICES = [["a", "b", "c"], [" a", " b", "=1"], ["a b", "b b", "1 1"], ["1", "2", " 2"]]


def noisy(folder: Path, sigma: float) -> Pair:
    """A shipped model, so far off that it answers some items right and some wrong."""
    checkpoint = open_checkpoint(folder)
    model = load_model(checkpoint)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.add_(torch.randn(weight.shape, generator=generator), alpha=sigma)
    return model, load_tokenizer(checkpoint)


def with_spaces() -> Pair:
    """A tokenizer that joins space with the word behind it, so that borders move under lm-eval's convention.

    It puts nothing behind a text: where one does, lm-eval asks for that token in place of an answer.
    """
    tokenizer = sentencepiece()
    front_only = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.backend_tokenizer.post_processor = front_only
    config = LlamaConfig(vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                         initializer_range=0.5, bos_token_id=0, eos_token_id=1, pad_token_id=None)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LlamaForCausalLM(config).eval().requires_grad_(False), tokenizer


def by_lm_eval(pair: Pair, items: Path, task: dict[str, Any]) -> list[dict[str, Any]]:
    """What lm-eval says of each item, in order of the file."""
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = pair
    # Its cache of logits mixes up requests whose context and answer split the same tokens in two places.
    held = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=64, logits_cache=False)
    config = {"task": "ours", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(items)}},
              "test_split": "test", "doc_to_text": "{{prompt}}", "target_delimiter": "", **task}  # fmt: skip
    results = lm_eval.simple_evaluate(
        model=held, tasks=[config], log_samples=True, bootstrap_iters=0, random_seed=None, verbosity="ERROR"
    )
    return sorted(results["samples"]["ours"], key=lambda sample: sample["doc_id"])


def ours(pair: Pair, items: Path, settings: str = "") -> list[float]:
    """What this library says of each item, by lm-eval's convention."""
    items.with_suffix(".toml").write_text(f'boundary = "lm-eval"\n{settings}', encoding="utf-8")
    model, tokenizer = pair
    return open_benchmark(items).encode(tokenizer).score(model)


@pytest.fixture(autouse=True)
def nothing_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")


def first(source: Path, items: Path, count: int) -> Path:
    items.write_text("".join(source.read_text(encoding="utf-8").splitlines(keepends=True)[:count]), encoding="utf-8")
    return items


CHOICE = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}"}


@pytest.mark.parametrize(("metric", "settings"), [("acc", ""), ("acc_norm", "length_normalised = true\n")])
@pytest.mark.parametrize("make", [partial(noisy, DATA / "base", 0.15), with_spaces], ids=["shipped", "with_spaces"])
def test_multiple_choice_item_for_item(tmp_path: Path, make: Callable[[], Pair], metric: str, settings: str) -> None:
    """Including prompts that end in spaces, whose tokens move to the answer; some right, some wrong."""
    pair, items = make(), tmp_path / "items.jsonl"
    if isinstance(make, partial):
        first(DATA / "benchmarks" / "prose.jsonl", items, 120)
    else:
        models.write_jsonl(items, [{"prompt": p, "choices": c, "answer": k % len(c)}
                                   for k, (p, c) in enumerate((p, c) for p in BORDERS for c in CHOICES)])  # fmt: skip
    samples = by_lm_eval(pair, items, {**CHOICE, "metric_list": [{"metric": metric}]})
    theirs = [float(sample[metric]) for sample in samples]
    assert ours(pair, items, settings) == theirs
    assert 0.0 < sum(theirs) < len(theirs)  # a constant would agree with itself


def test_answers_written_token_by_token_item_for_item(tmp_path: Path) -> None:
    """Generated text, cut at a stop, stripped and compared exactly."""
    pair = noisy(DATA / "base", 0.05)
    items = first(DATA / "benchmarks" / "addition.jsonl", tmp_path / "items.jsonl", 120)
    task = {
        "output_type": "generate_until",
        "doc_to_target": "{{target}}",
        "generation_kwargs": {"until": [" "], "max_gen_toks": 4, "do_sample": False},
        "filter_list": [{"name": "cut", "filter": [{"function": "regex", "regex_pattern": r"\d+"},
                                                   {"function": "take_first"}]}],
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    theirs = [float(sample["exact_match"]) for sample in by_lm_eval(pair, items, task)]
    settings = '[generation]\nmax_new_tokens = 4\nstop = " "\npattern = "^[^0-9]*([0-9]+)"\n'
    assert ours(pair, items, settings) == theirs
    assert 0.0 < sum(theirs) < len(theirs)


def test_as_written_differs_where_a_border_moves(tmp_path: Path) -> None:
    """The other convention asks something else of the same file: a boundary that does nothing would be noticed."""
    _, tokenizer = with_spaces()
    items = models.write_jsonl(tmp_path / "items.jsonl", [{"prompt": "a ", "choices": ["b", "c"], "answer": 0}])
    tokens = {}
    for boundary in ("written", "lm-eval"):
        items.with_suffix(".toml").write_text(f"boundary = {json.dumps(boundary)}\n", encoding="utf-8")
        tokens[boundary] = open_benchmark(items).encode(tokenizer).identity.tokens
    assert tokens["written"] != tokens["lm-eval"]


TASK = """task: ours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}}}
test_split: test
fewshot_split: test
num_fewshot: 2
fewshot_delimiter: " "
doc_to_text: "{{{{prompt}}}}"
metric_list: [{{metric: {metric}}}]
{more}
"""


def written_task(tmp_path: Path, items: Path, metric: str = "acc", **more: Any) -> Path:
    file = tmp_path / "ours.yaml"
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in more.items())
    file.write_text(TASK.format(items=items, metric=metric, more=lines), encoding="utf-8")
    return file


FILTERS = [{"name": "first", "filter": [{"function": "take_first"}]}]
LIKELIHOOD = {"output_type": "loglikelihood", "doc_to_target": "{{target}}"}


@pytest.mark.parametrize(("source", "task"), [("prose", CHOICE), ("addition", LIKELIHOOD)])
def test_imported_tasks_item_for_item(tmp_path: Path, source: str, task: dict[str, str]) -> None:
    """The items of a task with examples in its prompts, written by one command, get the scores lm-eval gives them."""
    from lm_eval.models.huggingface import HFLM
    from typer.testing import CliRunner

    from certify.cli.app import app

    model, tokenizer = noisy(DATA / "base", 0.1)
    items = first(DATA / "benchmarks" / f"{source}.jsonl", tmp_path / "items.jsonl", 40)
    file, out = written_task(tmp_path, items, **task), tmp_path / "out.jsonl"
    done = CliRunner().invoke(app, ["import-task", str(file), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "task ours, version Yaml, 2-shot" in done.output
    held = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=512, logits_cache=False)
    results = lm_eval.simple_evaluate(
        model=held, tasks=[str(file)], log_samples=True, bootstrap_iters=0, verbosity="ERROR"
    )
    theirs = [float(s["acc"]) for s in sorted(results["samples"]["ours"], key=lambda sample: sample["doc_id"])]
    found = open_benchmark(out)
    assert found.items[0].prompt != json.loads(items.read_text().splitlines()[0])["prompt"]  # examples come before it
    assert found.encode(tokenizer).score(model) == theirs
    assert len(theirs) == 40


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_such_task", r"no_such_task: lm-eval cannot make it: .*not a registered task"),
        ("ours@many", r"expected TASK@NUMBER, .*got 'many'"),
        ("ours.yaml@5", r"its config says 0-shot, and then lm-eval takes no other number"),
        ("filtered", r"filters or scores answers by code of its own"),
        ("generate", r"asks by generate_until and is scored by exact_match; only tasks with acc by likelihood"),
    ],
)
def test_tasks_that_cannot_be_taken_over(tmp_path: Path, source: str, message: str) -> None:
    """In one line."""
    from certify.benchmarks.lm_eval_tasks import task_items
    from certify.errors import BenchmarkError

    if source == "generate":
        items = first(DATA / "benchmarks" / "addition.jsonl", tmp_path / "items.jsonl", 5)
        generate = {"output_type": "generate_until", "doc_to_target": "{{target}}"}
        source = str(written_task(tmp_path, items, "exact_match", **generate))
    elif source in ("ours.yaml@5", "filtered"):
        items = first(DATA / "benchmarks" / "addition.jsonl", tmp_path / "items.jsonl", 5)
        more = {"filter_list": FILTERS} if source == "filtered" else {}
        file = written_task(tmp_path, items, **{**LIKELIHOOD, **more})
        if not more:
            file.write_text(file.read_text(encoding="utf-8").replace("num_fewshot: 2", "num_fewshot: 0"))
        source = f"{file}@5" if not more else str(file)
    with pytest.raises(BenchmarkError, match=message) as caught:
        task_items(source)
    assert "\n" not in str(caught.value)
